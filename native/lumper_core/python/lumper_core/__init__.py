"""Which carton next, proved safe. Signatures and meanings: __init__.pyi; derivations: docs/planning-core.md."""

from enum import IntEnum

from ._core import (
    BOX_DTYPE,
    CONTACT_DTYPE,
    GRASP_DTYPE,
    REMOVAL_DTYPE,
    STROKE_DTYPE,
    Arm,
    Conveyor,
    Gripper,
    InputError,
    LeastBad,
    Pick,
    Pile,
    Plan,
    Planner,
    PlanParameters,
    Rejection,
    StaticsParameters,
    Trailer,
    check,
)
from ._core import Certificate as Certificate
from ._files import read_wall

__version__ = "0.1.0"


class Verdict(IntEnum):
    STABLE = 0
    COLLAPSES = 1
    UNDECIDED = 2


class Stroke(IntEnum):
    FRONT_PULL = 0
    LIFT_PULL = 1
    TOP_PICK = 2
    SLOW_PULL = 3
    TILT_PULL = 4


class Reason(IntEnum):
    UNSTABLE = 1
    UNDECIDED = 2
    NO_GRASP = 3
    TOO_HEAVY = 4
    UNREACHABLE = 5
    STROKE_UNSAFE = 6
    UNCERTAIN = 7
    BLOCKED = 8
    COSTLIER = 9
    SKIPPED_BY_PERSON = 10
    FAILED_BEFORE = 11
    DEAD_END = 12


class Outcome(IntEnum):
    NONE = 0
    NO_REMOVABLE_CARTON = 400


Certificate.verdict = property(lambda self: Verdict(self._verdict))
Pick.stroke = property(lambda self: Stroke(self._stroke))
Rejection.reason = property(lambda self: Reason(self._reason))
Plan.outcome = property(lambda self: Outcome(self._outcome))

__all__ = [
    "BOX_DTYPE",
    "CONTACT_DTYPE",
    "GRASP_DTYPE",
    "REMOVAL_DTYPE",
    "STROKE_DTYPE",
    "Arm",
    "Certificate",
    "Conveyor",
    "Gripper",
    "InputError",
    "LeastBad",
    "Outcome",
    "Pick",
    "Pile",
    "Plan",
    "PlanParameters",
    "Planner",
    "Reason",
    "Rejection",
    "StaticsParameters",
    "Stroke",
    "Trailer",
    "Verdict",
    "check",
    "read_wall",
]
