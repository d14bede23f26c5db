"""A core in process with the real robot description, and a little robot to feed it."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from lumper_msgs.msg import BrokerState, Wall
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState
from tf2_msgs.msg import TFMessage

from lumper_perception.core import PerceptionIntake
from lumper_perception.parameters import PerceptionParameters
from lumper_ros.convert import to_quaternion, to_time, to_vector3
from lumper_ros.core import Diagnose, Emit, Now, Persist, Publish
from lumper_ros.parameters import from_mapping
from lumper_ros.robot import load_robot, load_trailer

sys.path.insert(0, str(Path(__file__).parent))
ROOT = Path(__file__).resolve().parents[3]


def data_folder() -> Path:
    return Path(os.environ.get("LUMPER_DATA", ROOT / "../shared/data")).resolve()


class Rig:
    """Drives a PerceptionIntake as the host would. Time in s."""

    def __init__(self, segment=None, **parameters) -> None:
        config = ROOT / "config"
        given = {"robot_folder": str(config / "robot"), "trailer_file": str(config / "trailer.yaml")} | parameters
        self.robot = load_robot(config / "robot")
        self.core = PerceptionIntake(
            from_mapping(PerceptionParameters, given), self.robot, load_trailer(config / "trailer.yaml"), segment
        )
        self.time_s = 100.0
        self.base_x = 2.0
        self.walls: list[Wall] = []
        self.events: list[Emit] = []
        self.diagnoses: dict[str, Diagnose] = {}
        self.persisted: list[Persist] = []
        self.joints = np.array(self.robot.poses["scan"])
        self._kind, self._requests = 0, 0

    def start(self) -> "Rig":
        self.take(self.core.activate(self.now))
        self.send("/tf_static", self.static())
        self.move()
        return self

    @property
    def now(self) -> Now:
        return Now(self.time_s, self.time_s, self.time_s)

    def take(self, effects) -> None:
        from lumper_ros.core import Compute

        for effect in effects:
            if isinstance(effect, Publish):
                self.walls.append(effect.message)
            elif isinstance(effect, Emit):
                self.events.append(effect)
            elif isinstance(effect, Diagnose):
                self.diagnoses[effect.name] = effect
            elif isinstance(effect, Persist):
                self.persisted.append(effect)
            elif isinstance(effect, Compute):
                try:
                    result = effect.function()
                except Exception as error:  # as the host does
                    result = error
                self.take(self.core.computed(effect.tag, result, self.now))

    def send(self, name: str, message) -> None:
        self.take(self.core.message(name, message, self.now))

    def tick(self) -> None:
        self.take(self.core.tick(self.now))

    def static(self) -> TFMessage:
        message = TFMessage()
        for child, mount in self.robot.mounts.items():
            message.transforms.append(transform(mount.parent, child, mount.matrix(), 0.0))
        return message

    def move(self) -> None:
        """Say where base and arm are now."""
        pose = np.eye(4)
        pose[0, 3] = self.base_x
        self.send("/tf", TFMessage(transforms=[transform("trailer", "base_link", pose, self.time_s)]))
        state = JointState(name=list(self.robot.joint_names), position=self.joints.tolist())
        state.header.stamp = to_time(self.time_s)
        self.send("joint_states", state)

    def step(self, elapsed_s: float = 0.1) -> None:
        self.time_s += elapsed_s
        self.move()

    def broker(self, held=(), kind=0, stage=0, outcome=0, state=BrokerState.IDLE) -> None:
        """What the broker says. Another kind than before is another request; `outcome` is that of the newest one that ended."""
        self._requests += bool(kind and kind != self._kind)
        self._kind = kind
        message = BrokerState(
            state=state, active_kind=kind, stage=stage, holding_carton=bool(held), held_carton_ids=list(held)
        )
        message.stamp = to_time(self.time_s)
        message.active_request_id = f"request {self._requests}" if kind else ""
        message.last_request_ids = [f"request {self._requests - bool(kind)}"]
        message.last_outcomes = [outcome_code(outcome)]
        self.send("motion/state", message)

    @property
    def wall(self) -> Wall:
        return self.walls[-1]


def outcome_code(code: int):
    from lumper_msgs.msg import OutcomeCode

    return OutcomeCode(code=code)


def transform(parent: str, child: str, pose: np.ndarray, stamp_s: float) -> TransformStamped:
    item = TransformStamped()
    item.header.frame_id, item.child_frame_id = parent, child
    item.header.stamp = to_time(stamp_s)
    item.transform.translation = to_vector3(pose[:3, 3])
    item.transform.rotation = to_quaternion(Rotation.from_matrix(pose[:3, :3]).as_quat())
    return item


@pytest.fixture
def rig():
    return Rig


@pytest.fixture
def world(rig):
    """A row of cartons before a rig."""
    from seen_world import World, one_row

    return World(rig().start(), one_row())
