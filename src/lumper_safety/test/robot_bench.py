"""A robot in a trailer, as messages: feeds a SafetyMonitor the way real inputs would, under a virtual clock."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from geometry_msgs.msg import TransformStamped
from lumper_msgs.msg import BrokerState, Carton, GripperState, JobState, SafetyState, Wall
from lumper_msgs.srv import ResetSafety, SetSpeedLimit
from sensor_msgs.msg import JointState, LaserScan
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from lumper_ros.auth import sign_command
from lumper_ros.convert import seconds, to_time
from lumper_ros.core import Emit, Now, Publish, Respond
from lumper_ros.parameters import from_mapping
from lumper_ros.robot import Robot, load_robot, load_trailer
from lumper_safety.causes import Table, parse_table
from lumper_safety.core import SafetyMonitor
from lumper_safety.parameters import Parameters

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "config"
FILES = {
    "robot_folder": str(CONFIG / "robot"),
    "trailer_file": str(CONFIG / "trailer.yaml"),
    "causes_file": str(CONFIG / "safety_causes.yaml"),
}
ROBOT: Robot = load_robot(CONFIG / "robot")
TRAILER = load_trailer(CONFIG / "trailer.yaml")
RAW_TABLE: dict[str, Any] = yaml.safe_load((CONFIG / "safety_causes.yaml").read_text())
KEY = bytes(range(32))
SYSTEM_S = 1_800_000_000.0
PERIODS_S = {
    "/tf": 0.02,
    "scan/front": 0.04,
    "scan/rear": 0.04,
    "estop": 0.1,
    "joint_states": 0.01,
    "gripper/state": 0.04,
    "motion/state": 0.2,
    "job/state": 1.0,
    "wall": 1.0,
}


def table() -> Table:
    return parse_table(RAW_TABLE)


class Bench:
    """Everything fresh and well unless told otherwise. Times in s since start; `person` etc. are set by tests."""

    def __init__(self, ros_start_s: float = 50.0, authentication: bool = True, **parameters: Any) -> None:
        self.parameters = from_mapping(Parameters, FILES | parameters)
        self.key = KEY if authentication else None
        self.core = SafetyMonitor(self.parameters, ROBOT, TRAILER, table(), self.key, 0xABCDEF)
        self.t = 0.0
        self.ros_start_s = ros_start_s
        self.ros_rate = 1.0
        self.silent: set[str] = set()
        self.estop_closed = True
        self.position = ROBOT.poses["home"].copy()
        self.velocity = np.zeros(6)
        self.broker = BrokerState(state=BrokerState.IDLE)
        self.gripper = GripperState()
        self.job = JobState(phase=JobState.IDLE)
        self.cartons: list[Carton] = []
        self.wall_version = 1
        self.moved_ids: list[int] = []
        self.people: list[tuple[float, float]] = []  # trailer frame
        self.base_xy = (1.0, 0.0)
        self.states: list[SafetyState] = []
        self.events: list[Emit] = []
        self.effects: list[Any] = []
        self._cast: dict[str, tuple[Any, Any]] = {}
        self.spoil: dict[str, Callable[[Any], None]] = {}
        self._due = dict.fromkeys(PERIODS_S, 0.0)
        self._next_tick = 0.0
        self._nonce = 0
        self._take(self.core.restore({}, self.now))
        self._take(self.core.activate(self.now))

    @property
    def now(self) -> Now:
        return Now(self.ros_s, 1000.0 + self.t, SYSTEM_S + self.t)

    @property
    def ros_s(self) -> float:
        return self.ros_start_s + self.t * self.ros_rate

    @property
    def state(self) -> SafetyState:
        return self.states[-1]

    @property
    def permitted(self) -> bool:
        return seconds(self.state.permit_until) > SYSTEM_S + self.t

    def codes(self, present: bool | None = None) -> set[int]:
        return {c.code for c in self.state.causes if present is None or c.present == present}

    def cause(self, code: int) -> Any:
        return next(c for c in self.state.causes if c.code == code)

    def _take(self, effects: Sequence[Any]) -> list[Any]:
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, Publish):
                assert effect.name == "safety/state"
                self.states.append(effect.message)
            elif isinstance(effect, Emit):
                self.events.append(effect)
        return list(effects)

    def send(self, name: str, message: Any) -> list[Any]:
        return self._take(self.core.message(name, message, self.now))

    def run(self, duration_s: float, step_s: float = 0.01, each: Callable[[], None] | None = None) -> None:
        """Feed inputs at their periods and tick at 50 Hz."""
        end = self.t + duration_s
        while self.t < end - 1e-9:
            self.t = round(self.t + step_s, 6)
            if each is not None:
                each()
            for name, period_s in PERIODS_S.items():
                if self.t >= self._due[name] - 1e-9:
                    self._due[name] = self.t + period_s
                    if name not in self.silent:
                        message = self.make(name)
                        if name in self.spoil:
                            self.spoil[name](message)
                        self.send(name, message)
            if self.t >= self._next_tick - 1e-9:
                self._next_tick = self.t + 0.02
                self._take(self.core.tick(self.now))

    def make(self, name: str) -> Any:
        return getattr(self, "_" + name.replace("/", "_").strip("_"))()

    def _stamp(self) -> Any:
        return to_time(max(self.ros_s, 0.0))

    def _scan_front(self) -> LaserScan:
        return self.scan("front")

    def _scan_rear(self) -> LaserScan:
        return self.scan("rear")

    def scan(self, side: str) -> LaserScan:
        """Ray-cast of trailer walls, people (two legs of 0.12 m) and the fronts of cartons in the scanners' plane."""
        scanner = self.core._space.scanners[f"scan/{side}"]
        scene = (
            tuple(self.people),
            tuple((c.id, c.pose.position.x, c.pose.position.y) for c in self.cartons),
            self.base_xy,
        )
        if self._cast.get(side, (None,))[0] != scene:
            self._cast[side] = (scene, self._ranges(scanner))
        scan = LaserScan(
            angle_min=scanner.angle_min_rad,
            angle_max=scanner.angle_min_rad + scanner.step_rad * (scanner.beams - 1),
            angle_increment=scanner.step_rad,
            scan_time=0.04,
            range_min=0.05,
            range_max=12.0,
            ranges=self._cast[side][1],
        )
        scan.header.frame_id = scanner.frame
        scan.header.stamp = self._stamp()
        return scan

    def _ranges(self, scanner: Any) -> Any:
        angles = scanner.angles()
        origin = np.array(scanner.pose[:2]) + self.base_xy
        direction = np.column_stack([np.cos(angles), np.sin(angles)])
        ranges = np.full(len(angles), np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            for y in (-TRAILER.width_m / 2, TRAILER.width_m / 2):
                r = (y - origin[1]) / direction[:, 1]
                x = origin[0] + r * direction[:, 0]
                ranges = np.where((r > 0) & (x > 0) & (x < TRAILER.length_m), np.minimum(ranges, r), ranges)
            r = (TRAILER.length_m - origin[0]) / direction[:, 0]
            y = origin[1] + r * direction[:, 1]
            ranges = np.where((r > 0) & (np.abs(y) <= TRAILER.width_m / 2), np.minimum(ranges, r), ranges)
            for carton in self.cartons:
                ranges = np.minimum(ranges, _box_ranges(origin, direction, carton))
        for person in self.people:
            for leg in ((0.0, 0.11), (0.0, -0.11)):
                relative = np.array(person) + leg - origin
                along = direction @ relative
                across2 = (relative**2).sum() - along**2
                hit = (along > 0) & (across2 < 0.06**2)
                ranges = np.where(hit, np.minimum(ranges, along - np.sqrt(np.maximum(0.06**2 - across2, 0))), ranges)
        ranges[ranges > 12.0] = np.inf
        return array("f", ranges.astype(np.float32).tobytes())

    def _estop(self) -> Bool:
        return Bool(data=self.estop_closed)

    def _joint_states(self) -> JointState:
        message = JointState(
            name=list(ROBOT.joint_names), position=self.position.tolist(), velocity=self.velocity.tolist()
        )
        message.header.stamp = self._stamp()
        return message

    def _gripper_state(self) -> GripperState:
        self.gripper.stamp = self._stamp()
        return copy.copy(self.gripper)

    def _motion_state(self) -> BrokerState:
        self.broker.stamp = self._stamp()
        return copy.copy(self.broker)

    def _job_state(self) -> JobState:
        self.job.stamp = self._stamp()
        return copy.copy(self.job)

    def _wall(self) -> Wall:
        wall = Wall(version=self.wall_version, status=Wall.STATUS_OK, cartons=self.cartons, moved_ids=self.moved_ids)
        wall.header.frame_id = "trailer"
        wall.header.stamp = self._stamp()
        return wall

    def _tf(self) -> TFMessage:
        item = TransformStamped(child_frame_id="base_link")
        item.header.frame_id = "trailer"
        item.header.stamp = self._stamp()
        item.transform.translation.x, item.transform.translation.y = float(self.base_xy[0]), float(self.base_xy[1])
        return TFMessage(transforms=[item])

    def call(self, name: str, request: Any) -> Any:
        effects = self._take(self.core.service(name, request, self.now))
        answers = [effect for effect in effects if isinstance(effect, Respond)]
        assert len(answers) == 1
        return answers[0].response

    def reset(self, operator: str = "Ada", reason: str = "looked, all clear") -> ResetSafety.Response:
        self._nonce += 1
        auth = sign_command(self.key, "safety/reset", {"reason": reason}, operator, SYSTEM_S + self.t, self._nonce)
        return self.call("safety/reset", ResetSafety.Request(reason=reason, auth=auth))

    def limit(self, scale: float, operator: str = "Ada") -> SetSpeedLimit.Response:
        self._nonce += 1
        scale = float(np.float32(scale))
        auth = sign_command(
            self.key, "safety/speed_limit", {"speed_scale": scale}, operator, SYSTEM_S + self.t, self._nonce
        )
        return self.call("safety/speed_limit", SetSpeedLimit.Request(speed_scale=scale, auth=auth))

    def stop(self) -> Trigger.Response:
        return self.call("safety/stop", Trigger.Request())

    def move(self, speed_radps: float = 0.3) -> None:
        """From now on the arm swings about joint 1, as the broker says too."""
        self.velocity = np.array([speed_radps, 0, 0, 0, 0, 0], dtype=float)
        self.broker.state = BrokerState.EXECUTING

    def halt(self) -> None:
        self.velocity = np.zeros(6)
        self.broker.state = BrokerState.IDLE


def _box_ranges(origin: np.ndarray, direction: np.ndarray, carton: Carton) -> np.ndarray:
    """Ranges to an axis-aligned carton, +inf where missed."""
    centre = np.array([carton.pose.position.x, carton.pose.position.y])
    half = np.array([carton.size_m.x, carton.size_m.y]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        t0, t1 = (centre - half - origin) / direction, (centre + half - origin) / direction
    near, far = np.minimum(t0, t1).max(axis=1), np.maximum(t0, t1).min(axis=1)
    return np.where((near <= far) & (near > 0), near, np.inf)


def a_carton(
    number: int, x: float, y: float, z: float = 0.2, size: tuple[float, float, float] = (0.4, 0.4, 0.4)
) -> Carton:
    carton = Carton(id=number, state=Carton.STATE_SEEN, mass_kg=10.0, pose_sigma=[0.005] * 6)
    carton.pose.position.x, carton.pose.position.y, carton.pose.position.z = x, y, z
    carton.pose.orientation.w = 1.0
    carton.size_m.x, carton.size_m.y, carton.size_m.z = size
    return carton
