"""The one request being executed: its steps, its state, and what was measured. Data; the rules are in runner.py."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState
from numpy.typing import NDArray

from lumper_motion.follow import Follower
from lumper_motion.journal import Record
from lumper_motion.obstacles import Load
from lumper_motion.requests import Happening, Pick, Request, State, after
from lumper_motion.timing import Trajectory

Array = NDArray[np.float64]
G = ExecuteMotion.Goal
B = BrokerState

STAGE_NAMES = {
    B.STAGE_APPROACH: "approach",
    B.STAGE_GRASP: "grasp",
    B.STAGE_EXTRACT: "extract",
    B.STAGE_CARRY: "carry",
    B.STAGE_PLACE: "place",
    B.STAGE_RETREAT: "retreat",
    B.STAGE_MOVE: "move",
}


class Step(Enum):
    """One motion of a request; the value is the stage it begins with."""

    APPROACH = B.STAGE_APPROACH
    PRESS = B.STAGE_GRASP
    EXTRACT = B.STAGE_EXTRACT
    PLACE = B.STAGE_CARRY
    BACK_OFF = B.STAGE_RETREAT
    MOVE = B.STAGE_MOVE


STEPS: Mapping[int, tuple[Step, ...]] = {
    G.PICK: (Step.APPROACH, Step.EXTRACT),
    G.PLACE: (Step.PLACE, Step.BACK_OFF),
    G.PROBE: (Step.APPROACH, Step.EXTRACT, Step.BACK_OFF),
    G.RETREAT: (Step.MOVE,),
    G.HOME: (Step.MOVE,),
    G.SCAN: (Step.MOVE,),
    G.JOG: (Step.MOVE,),
}
# Stages that a request of higher priority may break into at once; the others are finished first.
INTERRUPTIBLE = (B.STAGE_APPROACH, B.STAGE_CARRY, B.STAGE_RETREAT, B.STAGE_MOVE, B.STAGE_NONE)


@dataclass(slots=True)
class Stop:
    """Why the request is being stopped. `again`: the stage is planned again at standstill."""

    code: int
    text: str
    again: bool = False
    since_steady_s: float = 0.0


@dataclass(slots=True)
class Active:
    """Everything about the running request."""

    request: Request
    steps: list[Step]
    record: Record
    state: State = State.QUEUED
    stage: int = B.STAGE_NONE
    stage_since_s: float = 0.0
    pick: Pick | None = None
    tag: str = ""
    planning_since_s: float = 0.0
    ready: Trajectory | None = None
    follower: Follower | None = None
    in_flight: bool = False
    cancel_sent: bool = False
    stop: Stop | None = None
    preempt: bool = False
    zones_commanded: bool = False
    grip_since_s: float = 0.0
    grip_tries: int = 0
    gate_since_s: float | None = None
    failure: Stop | None = None
    overdue_s: float = 0.0
    rechecked_version: int = 0
    replans: int = 0
    begun: bool = False

    def fire(self, happening: Happening) -> None:
        """Change the state by the table.

        Raises:
            TransitionError: a defect.
        """
        self.state = after(self.state, happening)

    @property
    def step(self) -> Step:
        return self.steps[0]

    @property
    def lets_go_here(self) -> bool:
        """Whether the load is let go at the end of this step."""
        return self.step is Step.PLACE or (self.step is Step.EXTRACT and self.request.kind == G.PROBE)

    def enter_stage(self, stage: int, ros_s: float) -> None:
        """Close the running stage's time and begin another's."""
        if self.stage != B.STAGE_NONE:
            name = STAGE_NAMES[self.stage]
            duration = float(max(0.0, ros_s - self.stage_since_s))
            times = dict(self.record.stages)
            times[name] = times.get(name, 0.0) + duration
            self.record.stages = list(times.items())
        self.stage, self.stage_since_s = stage, ros_s
        if stage != B.STAGE_NONE:
            self.record.stage = stage


@dataclass(slots=True)
class Ahead:
    """A motion planned before it is asked for, and everything it depends on."""

    tag: str
    key: tuple[Any, ...]
    motion: Any = None


@dataclass(slots=True)
class Held:
    """What the gripper holds, by what was picked; the pick, to lay it down; whether the stroke is done."""

    load: Load
    pick: Pick
    out: bool = False


@dataclass(slots=True)
class Memory:
    """What outlives a request while the broker lives."""

    held: Held | None = None
    end: Array | None = None  # (6,) where the controller holds the arm after a motion that succeeded
    trail: Trajectory | None = None
    trail_tau_s: float = 0.0
    laid_down: tuple[int, ...] = ()  # cartons released whose retreat is missing
    ahead: list[Ahead] = field(default_factory=list)
