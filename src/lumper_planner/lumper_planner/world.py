"""What the planner has been told of the world: the newest good inputs, how old they are, and what was wrong with others."""

import math
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lumper_msgs.msg import BrokerState, ConveyorState, SafetyCause, SafetyState, Wall
from numpy.typing import NDArray

from lumper_ros.auth import MonitorFeed
from lumper_ros.convert import pose_fault, seconds
from lumper_ros.core import Diagnose, Effect, Now

Array = NDArray[np.float64]

# A change of the base's place by more is a move, m.
BASE_STILL_M = 0.002
# A stamp so far ahead of this node's clock cannot be jitter between nodes.
FUTURE_S = 0.5
TRAILER_FRAME = "trailer"
BASE_FRAME = "base_link"


@dataclass(frozen=True, slots=True)
class Picture:
    """The cartons of one wall version as arrays; rows in ascending order of id. Frame trailer, m."""

    version: int
    ids: tuple[int, ...]
    states: tuple[int, ...]
    centre: Array  # (n, 3)
    orientation: Array  # (n, 4)
    size: Array  # (n, 3)
    low: Array  # (n, 3) lower corner of the axis-aligned bounding box
    high: Array  # (n, 3)

    def differs(self, other: "Picture", tolerance_m: float) -> bool:
        """Whether a plan for this picture may be wrong for the other one."""
        if self.ids != other.ids or self.states != other.states:
            return True
        if not self.ids or self.version == other.version:
            return False
        moved = max(float(np.abs(self.low - other.low).max()), float(np.abs(self.high - other.high).max()))
        return moved > tolerance_m

    def without(self, gone: Set[int]) -> "Picture":
        """The picture of the other cartons only."""
        rows = [row for row, carton in enumerate(self.ids) if carton not in gone]
        if len(rows) == len(self.ids):
            return self
        return Picture(
            self.version,
            tuple(self.ids[row] for row in rows),
            tuple(self.states[row] for row in rows),
            self.centre[rows],
            self.orientation[rows],
            self.size[rows],
            self.low[rows],
            self.high[rows],
        )


def rotations(quaternions: Array) -> Array:
    """(n, 3, 3) of unit quaternions x y z w."""
    x, y, z, w = quaternions.T
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )


def picture_of(wall: Wall) -> Picture:
    """Arrays of a wall that `wall_fault` has found good."""
    cartons = sorted(wall.cartons, key=lambda carton: carton.id)
    count = len(cartons)
    centre = np.empty((count, 3))
    orientation = np.empty((count, 4))
    size = np.empty((count, 3))
    for row, carton in enumerate(cartons):
        position, turn, extent = carton.pose.position, carton.pose.orientation, carton.size_m
        centre[row] = position.x, position.y, position.z
        orientation[row] = turn.x, turn.y, turn.z, turn.w
        size[row] = extent.x, extent.y, extent.z
    half = np.abs(rotations(orientation)) @ (size / 2)[:, :, None]
    low, high = centre - half[:, :, 0], centre + half[:, :, 0]
    return Picture(
        int(wall.version),
        tuple(int(carton.id) for carton in cartons),
        tuple(int(carton.state) for carton in cartons),
        centre,
        orientation,
        size,
        low,
        high,
    )


def wall_fault(wall: Wall, now_s: float) -> str:
    """Why a wall cannot be used, naming carton and field; empty = it can."""
    if wall.header.frame_id != TRAILER_FRAME:
        return f"header.frame_id is {wall.header.frame_id[:64]!r}, must be {TRAILER_FRAME!r}"
    if seconds(wall.header.stamp) > now_s + FUTURE_S:
        return f"header.stamp is {seconds(wall.header.stamp) - now_s:.2f} s in the future"
    if wall.status not in (Wall.STATUS_UNKNOWN, Wall.STATUS_OK, Wall.STATUS_STALE, Wall.STATUS_EMPTY):
        return f"status {wall.status} is not one of the message's constants"
    if wall.status == Wall.STATUS_EMPTY and len(wall.cartons):
        return f"status is EMPTY, but {len(wall.cartons)} cartons are listed"
    seen: set[int] = set()
    for carton in wall.cartons:
        if carton.id in seen:
            return f"carton {carton.id} is listed twice"
        seen.add(carton.id)
        fault = pose_fault(carton.pose)
        if fault:
            return f"carton {carton.id}: {fault}"
        size = (carton.size_m.x, carton.size_m.y, carton.size_m.z)
        if not all(math.isfinite(value) and 0.0 < value < 10.0 for value in size):
            return f"carton {carton.id}: size_m {size} must be positive and finite"
        if not math.isfinite(carton.mass_kg) or carton.mass_kg < 0.0:
            return f"carton {carton.id}: mass_kg {carton.mass_kg} must be finite and not negative"
    return ""


@dataclass(slots=True)
class World:
    """The newest good input of each kind, with the time of its receipt (steady clock)."""

    wall: Wall | None = None
    picture: Picture | None = None
    monitor: MonitorFeed = field(default_factory=lambda: MonitorFeed(None))
    safety: SafetyState | None = None
    safety_s: float = -math.inf
    broker: BrokerState | None = None
    broker_s: float = -math.inf
    conveyor: ConveyorState | None = None
    conveyor_s: float = -math.inf
    base: tuple[float, float, float] | None = None  # x m, y m, yaw rad of base_link in the trailer
    base_moved_s: float = -math.inf  # ROS time when the base was last seen in another place
    faults: dict[str, int] = field(default_factory=dict)

    def take(self, name: str, message: Any, now: Now) -> tuple[bool, list[Effect]]:
        """Take a message in. Returns whether something changed that a decision may hang on, and effects."""
        match name:
            case "wall":
                return self._wall(message, now)
            case "safety/state":
                if not self.monitor.takes(message):
                    return False, [self._complain(name, "not the monitor's own, or an old one repeated")]
                before, self.safety, self.safety_s = self.safety, message, now.steady_s
                return before is None or before.mode != message.mode or _latched(before) != _latched(message), []
            case "motion/state":
                state, self.broker, self.broker_s = self.broker, message, now.steady_s
                return (
                    state is None
                    or state.state != message.state
                    or state.active_request_id != message.active_request_id
                    or state.permit_valid != message.permit_valid
                    or state.holding_carton != message.holding_carton
                ), []
            case "conveyor/state":
                belt, self.conveyor, self.conveyor_s = self.conveyor, message, now.steady_s
                return belt is None or belt.ready != message.ready or belt.jammed != message.jammed, []
            case "/tf":
                return self._transforms(message, now), []
        return False, []

    def _wall(self, wall: Wall, now: Now) -> tuple[bool, list[Effect]]:
        if self.wall is not None and wall.version == self.wall.version and self.picture is not None:
            same = [carton.id for carton in wall.cartons] == [carton.id for carton in self.wall.cartons]
        else:
            same = False
        if self.wall is not None and seconds(self.wall.header.stamp) > now.ros_s + FUTURE_S:
            # ROS time was set back (a simulation started anew): the old picture is of another life of the world.
            self.wall, self.picture, same = None, None, False
        fault = wall_fault(wall, now.ros_s)
        if not fault and self.wall is not None and seconds(wall.header.stamp) < seconds(self.wall.header.stamp):
            fault = "header.stamp is older than that of the wall before"
        if fault:
            return False, [self._complain("wall", fault)]
        effects: list[Effect] = []
        if "wall" in self.faults:
            effects.append(Diagnose("input wall", 0, "good again", {"dropped": self.faults["wall"]}))
        self.wall = wall
        if not same or self.picture is None:
            self.picture = picture_of(wall)
        return True, effects

    def _complain(self, name: str, fault: str) -> Effect:
        self.faults[name] = self.faults.get(name, 0) + 1
        return Diagnose(f"input {name}", 1, f"dropped: {fault}", {"dropped": self.faults[name]})

    def _transforms(self, message: Any, now: Now) -> bool:
        for item in message.transforms:
            if item.child_frame_id == BASE_FRAME and item.header.frame_id == TRAILER_FRAME:
                place, turn = item.transform.translation, item.transform.rotation
                norm = turn.x * turn.x + turn.y * turn.y + turn.z * turn.z + turn.w * turn.w
                if not (abs(norm - 1.0) < 0.02 and math.isfinite(place.x) and math.isfinite(place.y)):
                    continue
                yaw = math.atan2(2 * (turn.w * turn.z + turn.x * turn.y), 1 - 2 * (turn.y * turn.y + turn.z * turn.z))
                first = self.base is None
                if (
                    self.base is None
                    or math.dist(self.base[:2], (place.x, place.y)) > BASE_STILL_M
                    or self.base_moved_s > now.ros_s
                ):
                    self.base_moved_s = now.ros_s
                else:
                    continue
                self.base = (place.x, place.y, yaw)
                return first
        return False

    # --- questions about the present ---

    def wall_stamp_s(self) -> float:
        """Stamp of the newest evidence in the wall, ROS time; -inf = there is none."""
        return -math.inf if self.wall is None else seconds(self.wall.header.stamp)

    def stop_text(self, now: Now, max_age_s: float) -> str:
        """Why safety does not let the robot move now, in words; empty = it does."""
        if self.safety is None:
            return "waiting for the safety monitor: safety/state was never heard"
        if now.steady_s - self.safety_s > max_age_s:
            return "waiting for the safety monitor: safety/state is silent"
        if self.safety.mode in (SafetyState.RUN, SafetyState.REDUCED):
            return ""
        mode = {
            SafetyState.STARTING: "safety monitor is starting",
            SafetyState.PROTECTIVE_STOP: "protective stop",
            SafetyState.EMERGENCY_STOP: "emergency stop",
        }.get(self.safety.mode, f"safety mode {self.safety.mode}")
        causes = [cause.text[:200] for cause in self.safety.causes if cause.effect != cause.EFFECT_REDUCE]
        return f"waiting for the permit: {mode}" + (f" ({'; '.join(causes)})" if causes else "")

    def kept_by_somebody(self) -> bool:
        """Whether a person, or what safety cannot tell from one, is a present cause of the stop."""
        return self.safety is not None and any(
            cause.code == SafetyCause.PERSON_NEAR and cause.effect != SafetyCause.EFFECT_REDUCE and cause.present
            for cause in self.safety.causes
        )

    def broker_text(self, now: Now, max_age_s: float, ended_id: str = "") -> str:
        """Why the motion broker cannot take a request now; empty = it can.

        `ended_id`: a request whose result is known here already, though motion/state may still name it.
        """
        if self.broker is None:
            return "waiting for the motion broker: motion/state was never heard"
        if now.steady_s - self.broker_s > max_age_s:
            return "waiting for the motion broker: motion/state is silent"
        ended = bool(ended_id) and self.broker.active_request_id == ended_id
        if not ended and (self.broker.state != BrokerState.IDLE or self.broker.active_request_id):
            names = {
                BrokerState.INACTIVE: "is not active",
                BrokerState.EXECUTING: "carries out another request",
                BrokerState.STOPPING: "is stopping the arm",
                BrokerState.HOLDING: "holds the arm",
                BrokerState.RECOVERING: "is recovering after a restart",
            }
            return f"waiting for the motion broker: it {names.get(self.broker.state, 'is busy')}"
        if not self.broker.permit_valid:
            return "waiting for the motion broker: it has no valid permit"
        return ""

    def conveyor_text(self, now: Now, max_age_s: float) -> str:
        """Why nothing can be laid down now; empty = the conveyor is ready."""
        if self.conveyor is None or now.steady_s - self.conveyor_s > max_age_s:
            return "waiting for the conveyor: conveyor/state is silent"
        if self.conveyor.jammed:
            return "waiting: conveyor jammed"
        if not self.conveyor.ready:
            return "waiting: conveyor blocked"
        return ""


def _latched(state: SafetyState) -> bool:
    return any(cause.latched for cause in state.causes)
