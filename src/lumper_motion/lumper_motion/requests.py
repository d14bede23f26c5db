"""What a request goes through: its states, the whole transition table, the queue. Pure data, no time of its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class State(Enum):
    """Where a request is."""

    QUEUED = "queued"
    PLANNING = "planning"
    MOVING = "moving"
    PAUSED = "paused"
    GRIPPING = "gripping"
    RELEASING = "releasing"
    STOPPING = "stopping"
    ENDED = "ended"


class Happening(Enum):
    """What changes a request's state."""

    STARTED = "started: its turn has come"
    DROPPED = "dropped: cancelled, overdue or not permitted before its turn"
    DISPATCHED = "a motion was planned and sent"
    FAILED = "no motion could be planned; the arm stands"
    HELD_BACK = "speed 0: pause asked, or the conveyor is not ready"
    RELEASED_ON = "may go on along the path"
    ARRIVED_NEXT = "arrived; another motion follows"
    ARRIVED_GRIP = "arrived at the face"
    ARRIVED_RELEASE = "arrived where the load is let go"
    ARRIVED_LAST = "arrived; nothing is left to do"
    GRIPPED = "the gripper holds"
    GRIP_AGAIN = "the gripper does not hold; try another way"
    LET_GO = "the load is released"
    STOP = "permit lost, cancelled, preempted, overdue, fault, carton lost or wall changed"
    STANDS_END = "standstill measured, or none in time; the outcome is told"
    STANDS_AGAIN = "standstill measured; the stage is planned again from here"


S, H = State, Happening
TRANSITIONS: dict[tuple[State, Happening], State] = {
    (S.QUEUED, H.STARTED): S.PLANNING,
    (S.QUEUED, H.DROPPED): S.ENDED,
    (S.PLANNING, H.DISPATCHED): S.MOVING,
    (S.PLANNING, H.FAILED): S.ENDED,
    (S.PLANNING, H.STOP): S.STOPPING,
    (S.MOVING, H.HELD_BACK): S.PAUSED,
    (S.MOVING, H.ARRIVED_NEXT): S.PLANNING,
    (S.MOVING, H.ARRIVED_GRIP): S.GRIPPING,
    (S.MOVING, H.ARRIVED_RELEASE): S.RELEASING,
    (S.MOVING, H.ARRIVED_LAST): S.ENDED,
    (S.MOVING, H.STOP): S.STOPPING,
    (S.PAUSED, H.RELEASED_ON): S.MOVING,
    (S.PAUSED, H.STOP): S.STOPPING,
    (S.GRIPPING, H.GRIPPED): S.PLANNING,
    (S.GRIPPING, H.GRIP_AGAIN): S.PLANNING,
    (S.GRIPPING, H.STOP): S.STOPPING,
    (S.RELEASING, H.LET_GO): S.PLANNING,
    (S.RELEASING, H.STOP): S.STOPPING,
    (S.STOPPING, H.STANDS_END): S.ENDED,
    (S.STOPPING, H.STANDS_AGAIN): S.PLANNING,
    # A second reason to stop does not change the first one's outcome.
    (S.STOPPING, H.STOP): S.STOPPING,
}


class TransitionError(Exception):
    """A defect: something happened that cannot happen in this state."""


def after(state: State, happening: Happening) -> State:
    """The next state.

    Raises:
        TransitionError: not in the table.
    """
    try:
        return TRANSITIONS[state, happening]
    except KeyError:
        raise TransitionError(f"{happening.name} cannot happen while {state.name}") from None


def transition_table() -> str:
    """The table as Markdown, as it stands in docs/motion.md."""
    rows = ["| state | what happens | next state |", "|---|---|---|"]
    rows += [f"| {a.name} | {h.name}: {h.value} | {b.name} |" for (a, h), b in TRANSITIONS.items()]
    return "\n".join(rows)


@dataclass(frozen=True, slots=True, eq=False)
class Pick:
    """Target of PICK, PLACE and PROBE. Matrices 4x4; grasp in trailer, place in infeed, load in tool0."""

    carton_ids: tuple[int, ...]
    stroke: int
    grasp: Array
    zones: int
    extract_m: Array
    lift_m: float
    tilt_rad: float
    speed_limit_mps: float
    place: Array
    size_m: tuple[float, float, float]
    load_in_tool: Array
    mass_kg: float


@dataclass(frozen=True, slots=True, eq=False)
class Jog:
    """Either joints by name and displacement, or a displacement of the tool (4x4 in tool0)."""

    joint_delta_rad: Array | None
    tool_delta: Array | None


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One valid request. `number` counts arrivals; `deadline_s` is ROS time."""

    request_id: str
    number: int
    job_id: str
    plan_id: str
    kind: int
    priority: int
    deadline_s: float
    wall_version: int
    pick: Pick | None = None
    jog: Jog | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not executed: OutcomeCode and a text that names field and remedy."""

    code: int
    text: str


class Queue:
    """Bounded; the highest priority first, then the oldest."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: list[Request] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._waiting)

    def has_room(self) -> bool:
        return len(self._waiting) < self._size

    def push(self, request: Request) -> None:
        """
        Raises:
            OverflowError: no room; ask `has_room` first.
        """
        if not self.has_room():
            raise OverflowError(f"the queue holds {self._size} requests")
        self._waiting.append(request)
        self._waiting.sort(key=lambda item: (-item.priority, item.number))

    def head(self) -> Request | None:
        return self._waiting[0] if self._waiting else None

    def pop(self) -> Request:
        return self._waiting.pop(0)

    def remove(self, request_id: str) -> Request | None:
        """Take out a waiting request; None when it is not there."""
        for i, request in enumerate(self._waiting):
            if request.request_id == request_id:
                return self._waiting.pop(i)
        return None

    def overdue(self, now_s: float) -> list[Request]:
        """Take out and return those whose deadline has passed."""
        late = [request for request in self._waiting if request.deadline_s <= now_s]
        self._waiting = [request for request in self._waiting if request.deadline_s > now_s]
        return late
