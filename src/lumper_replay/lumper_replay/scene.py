"""What a recording shows at one moment: arm, cartons, plan, safety mode, scans and cloud, in the frame `trailer`."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lumper_msgs.msg import Carton, CoreStep, SafetyState
from numpy.typing import NDArray

from lumper_replay import steps
from lumper_replay.cores import write_files
from lumper_replay.differ import parsed
from lumper_replay.names import Names
from lumper_replay.reader import Bag
from lumper_replay.writer import BagError
from lumper_ros import journal
from lumper_ros.cloud import CloudError, xyz
from lumper_ros.convert import matrix, matrix_of, quaternion, seconds, vector
from lumper_ros.robot import Robot, load_robot
from lumper_ros.tf import TransformBuffer, TransformError

Array = NDArray[np.float64]

STATES = {
    Carton.STATE_SEEN: ("seen", (196, 154, 108)),
    Carton.STATE_UNCERTAIN: ("uncertain", (150, 150, 150)),
    Carton.STATE_HELD: ("held", (46, 125, 50)),
    Carton.STATE_ON_FLOOR: ("on the floor", (211, 47, 47)),
    Carton.STATE_HIDDEN: ("hidden", (120, 110, 160)),
}
PICKED = (25, 118, 210)
MODES = {
    SafetyState.STARTING: "STARTING",
    SafetyState.RUN: "RUN",
    SafetyState.REDUCED: "REDUCED",
    SafetyState.PROTECTIVE_STOP: "PROTECTIVE STOP",
    SafetyState.EMERGENCY_STOP: "EMERGENCY STOP",
}
_CLOUD_POINTS = 6000


@dataclass(frozen=True, slots=True)
class Box:
    """A carton: centre and half size in m, rotation 3x3, colour of its state, id."""

    ident: int
    centre: Array
    half: Array
    rotation: Array
    colour: tuple[int, int, int]
    state: str

    def corners(self) -> Array:
        """(8, 3) m."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
        return np.asarray(self.centre + (signs * self.half) @ self.rotation.T)


def boxes(wall: Any, picked: frozenset[int] = frozenset()) -> list[Box]:
    """Cartons of a wall; those that a plan takes have a colour of their own."""
    found = []
    for carton in wall.cartons:
        pose = matrix(carton.pose)
        name, colour = STATES.get(carton.state, ("unknown", (0, 0, 0)))
        colour = PICKED if carton.id in picked else colour
        found.append(Box(carton.id, pose[:3, 3], vector(carton.size_m) / 2, pose[:3, :3], colour, name))
    return found


@dataclass(slots=True)
class Scene:
    """Follows the messages of a recording."""

    robot: Robot | None
    tf: TransformBuffer = field(default_factory=lambda: TransformBuffer(extrapolation_s=1.0))
    joints: Array | None = None
    wall: Any = None
    plan: Any = None
    safety: Any = None
    job: Any = None

    def take(self, name: str, message: Any) -> None:
        """A message on a topic of the interface table."""
        match name:
            case "/tf" | "/tf_static":
                self.tf.add(message.transforms, static=name == "/tf_static")
            case "joint_states":
                self._joint_states(message)
            case "wall":
                self.wall = message
            case "plan":
                self.plan = message
            case "safety/state":
                self.safety = message
            case "job/state":
                self.job = message

    def _joint_states(self, message: Any) -> None:
        if self.robot is None:
            return
        at = dict(zip(message.name, message.position, strict=False))
        if all(name in at for name in self.robot.joint_names):
            self.joints = np.array([at[name] for name in self.robot.joint_names], dtype=float)

    def base(self) -> Array | None:
        """base_link in trailer, 4x4; None = not known yet."""
        try:
            return self.tf.lookup("trailer", "base_link")
        except TransformError:
            return None

    def arm(self) -> tuple[Array, Array, Array] | None:
        """Capsules of the arm: ends (k, 3), (k, 3) in m, radii (k,)."""
        base = self.base()
        if self.robot is None or self.joints is None or base is None or not np.all(np.isfinite(self.joints)):
            return None
        a, b, radii = self.robot.capsules_at(self.joints)
        return a @ base[:3, :3].T + base[:3, 3], b @ base[:3, :3].T + base[:3, 3], radii

    def scan(self, message: Any) -> Array | None:
        """Points of a LaserScan, (n, 3) m."""
        ranges = np.asarray(message.ranges, dtype=float)
        angles = message.angle_min + message.angle_increment * np.arange(len(ranges))
        good = np.isfinite(ranges) & (ranges >= message.range_min) & (ranges <= message.range_max)
        flat = np.column_stack([ranges * np.cos(angles), ranges * np.sin(angles), np.zeros(len(ranges))])[good]
        return self._placed(flat, message.header)

    def cloud(self, message: Any) -> Array | None:
        """Some points of a cloud, (n, 3) m."""
        try:
            points = xyz(message).reshape(-1, 3).astype(float)
        except CloudError:
            return None
        points = points[:: max(1, len(points) // _CLOUD_POINTS)]
        return self._placed(points[np.isfinite(points).all(axis=1)], message.header)

    def _placed(self, points: Array, header: Any) -> Array | None:
        try:
            frame = self.tf.lookup("trailer", header.frame_id, seconds(header.stamp))
        except TransformError:
            return None
        return np.asarray(points @ frame[:3, :3].T + frame[:3, 3])

    def picked(self) -> frozenset[int]:
        """Cartons that the plan takes."""
        return frozenset() if self.plan is None else frozenset(i for pick in self.plan.picks for i in pick.carton_ids)


def grasp(pick: Any) -> tuple[Array, Array]:
    """Where a pick takes hold and how the load leaves: points (3,) and (3,), m."""
    pose = matrix_of(vector(pick.grasp_pose.position), quaternion(pick.grasp_pose.orientation))
    start = pose[:3, 3] + [0.0, 0.0, pick.lift_m]
    return pose[:3, 3], start + vector(pick.extract_m)


def robot_of(bag: Bag) -> Robot | None:
    """The robot that a recording was made with; None = the recording does not say."""
    names = Names(bag)
    wanted = {absolute for absolute, name in names.known.items() if name == journal.TOPIC}
    for message in bag.messages(wanted) if wanted else ():
        try:
            about, batch = steps.batch(message.data)
        except ValueError:
            continue
        if about.first_sequence or batch[0].kind != CoreStep.BUILD:
            continue
        with tempfile.TemporaryDirectory(prefix="lumper_replay_") as folder:
            named = write_files(parsed(batch[0].data), Path(folder))
            try:
                return load_robot(Path(named["robot_folder"]))
            except (KeyError, ValueError) as error:
                raise BagError(f"{bag.path.name}: the robot in it cannot be read: {error}") from error
    return None
