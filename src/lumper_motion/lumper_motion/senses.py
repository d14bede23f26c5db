"""What the broker knows of the world: the newest valid message of each input, and what was wrong with the others."""

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lumper_msgs.msg import Carton, Wall
from numpy.typing import NDArray

from lumper_motion.parameters import MotionParameters
from lumper_motion.stages import KnownCarton
from lumper_ros.convert import matrix, pose_fault, seconds, vector
from lumper_ros.core import Now
from lumper_ros.robot import Robot
from lumper_ros.tf import TransformBuffer, TransformError

Array = NDArray[np.float64]

# Superseded wall versions remembered.
WALLS_KEPT = 64


@dataclass(frozen=True, slots=True, eq=False)
class Joints:
    """Measured arm: stamp in ROS time, receipt in steady time, rad, rad/s."""

    stamp_s: float
    received_s: float
    position: Array
    velocity: Array


@dataclass(frozen=True, slots=True)
class Gripper:
    received_s: float
    holds: bool
    zones_on: int
    zones_sealed: int
    vacuum_kpa: float


@dataclass(frozen=True, slots=True, eq=False)
class KnownWall:
    version: int
    seen_ros_s: float
    cartons: tuple[KnownCarton, ...]
    gone: frozenset[int]


@dataclass(slots=True)
class _Faults:
    """Per input: how many messages were dropped, and why the last one."""

    count: int = 0
    text: str = ""


@dataclass(slots=True)
class Senses:
    """Takes messages, keeps what is valid. `take_*` return why a message was dropped, or an empty string."""

    robot: Robot
    parameters: MotionParameters
    joints: Joints | None = None
    gripper: Gripper | None = None
    conveyor_ready: bool = False
    conveyor_received_s: float = -math.inf
    wall: KnownWall | None = None
    versions: "OrderedDict[int, float]" = field(default_factory=OrderedDict)
    transforms: TransformBuffer = field(default_factory=TransformBuffer)
    still_since_s: float | None = None
    still_stamp_s: float = -math.inf
    empty_since_s: float | None = None
    faults: dict[str, _Faults] = field(default_factory=dict)
    _order: tuple[tuple[str, ...], Array] | None = None

    def drop(self, name: str, text: str) -> str:
        fault = self.faults.setdefault(name, _Faults())
        fault.count += 1
        fault.text = text
        return text

    def take_joints(self, message: Any, now: Now) -> str:
        names = tuple(message.name)
        if self._order is None or self._order[0] != names:
            missing = [name for name in self.robot.joint_names if name not in names]
            if missing:
                return self.drop("joint_states", f"lacks joints {missing}")
            self._order = (names, np.array([names.index(name) for name in self.robot.joint_names]))
        order = self._order[1]
        position = np.asarray(message.position, dtype=float)
        velocity = np.asarray(message.velocity, dtype=float)
        if len(position) != len(names) or len(velocity) not in (0, len(names)):
            return self.drop(
                "joint_states", f"{len(names)} names, {len(position)} positions, {len(velocity)} velocities"
            )
        position = position[order]
        stamp_s = seconds(message.header.stamp)
        if not np.all(np.isfinite(position)) or not np.all(np.isfinite(velocity)):
            return self.drop("joint_states", "position or velocity is not finite")
        before = self.joints
        if before is not None and stamp_s <= before.stamp_s:
            if stamp_s > before.stamp_s - 1.0:
                return self.drop("joint_states", f"stamp {stamp_s:.3f} s does not rise")
            before = None  # time began anew
        if len(velocity):
            velocity = velocity[order]
        elif before is not None:
            velocity = (position - before.position) / (stamp_s - before.stamp_s)
        else:
            velocity = np.full(len(order), math.inf)
        self.joints = Joints(stamp_s, now.steady_s, position, velocity)
        if float(np.abs(velocity).max()) < self.parameters.standstill_radps:
            if self.still_since_s is None or before is None:
                self.still_since_s = stamp_s
        else:
            self.still_since_s = None
        return ""

    def take_gripper(self, message: Any, now: Now) -> str:
        if not math.isfinite(message.vacuum_kpa):
            return self.drop("gripper/state", "vacuum_kpa is not finite")
        self.gripper = Gripper(
            now.steady_s,
            bool(message.part_held),
            int(message.zones_on),
            int(message.zones_sealed),
            float(message.vacuum_kpa),
        )
        if message.part_held:
            self.empty_since_s = None
        elif self.empty_since_s is None:
            self.empty_since_s = now.steady_s
        return ""

    def take_conveyor(self, message: Any, now: Now) -> str:
        self.conveyor_ready = bool(message.ready) and not message.jammed
        self.conveyor_received_s = now.steady_s
        return ""

    def take_wall(self, message: Any, now: Now) -> str:
        if message.header.frame_id.lstrip("/") != "trailer":
            return self.drop("wall", f"frame_id {message.header.frame_id!r}: must be trailer")
        if message.status not in (Wall.STATUS_OK, Wall.STATUS_EMPTY):
            return ""
        cartons = []
        for carton in message.cartons:
            size = vector(carton.size_m)
            fault = pose_fault(carton.pose)
            if fault or not np.all(np.isfinite(size)) or size.min() <= 0.0:
                return self.drop("wall", f"carton {carton.id}: {fault or f'size {size.tolist()}'}")
            if carton.state != Carton.STATE_HELD:
                cartons.append(
                    KnownCarton(int(carton.id), matrix(carton.pose), (float(size[0]), float(size[1]), float(size[2])))
                )
        gone = frozenset((*message.removed_ids, *message.moved_ids))
        self.wall = KnownWall(int(message.version), now.ros_s, tuple(cartons), gone)
        self.versions[int(message.version)] = now.ros_s
        self.versions.move_to_end(int(message.version))
        while len(self.versions) > WALLS_KEPT:
            self.versions.popitem(last=False)
        return ""

    def take_transforms(self, message: Any, static: bool) -> str:
        faults = self.transforms.add(message.transforms, static)
        return self.drop("/tf", faults[0]) if faults else ""

    def sharpened(self, now: Now) -> Now:
        """`now` with a finer ROS time: /clock may step coarsely, and joint_states carry a newer stamp."""
        if self.joints is None:
            return now
        since_s = min(max(now.steady_s - self.joints.received_s, 0.0), 0.02)
        ahead_s = self.joints.stamp_s + since_s - now.ros_s
        return Now(now.ros_s + ahead_s, now.steady_s, now.system_s) if 0.0 < ahead_s < 0.1 else now

    def base_in_trailer(self) -> Array | None:
        """4x4 of base_link in trailer; None while unknown."""
        try:
            return self.transforms.lookup("trailer", "base_link")
        except TransformError:
            return None

    def joints_fresh(self, now: Now) -> bool:
        return self.joints is not None and now.steady_s - self.joints.received_s <= self.parameters.joints_max_age_s

    def gripper_fresh(self, now: Now) -> bool:
        return self.gripper is not None and now.steady_s - self.gripper.received_s <= self.parameters.gripper_max_age_s

    def holds(self) -> bool:
        return self.gripper is not None and self.gripper.holds

    def stands(self, now: Now) -> bool:
        """Whether joint_states, fresh ones, show standstill for long enough."""
        if not self.joints_fresh(now) or self.still_since_s is None or self.joints is None:
            return False
        return self.joints.stamp_s - self.still_since_s >= self.parameters.standstill_s

    def conveyor_fresh_ready(self, now: Now) -> bool:
        return self.conveyor_ready and now.steady_s - self.conveyor_received_s <= 1.0
