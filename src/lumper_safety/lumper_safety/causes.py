"""The cause table: what may forbid or slow motion. Meaning and effect are code; ages, limits and latches are data.

Source of the rows: the project's safety specification, docs/safety.md, which is generated from this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

from lumper_msgs.msg import SafetyCause

from lumper_ros.parameters import ParameterError, from_mapping, parameter


class Code(IntEnum):
    """Cause codes; values as in lumper_msgs/SafetyCause."""

    ESTOP_OPEN = SafetyCause.ESTOP_OPEN
    ESTOP_STALE = SafetyCause.ESTOP_STALE
    SCAN_STALE = SafetyCause.SCAN_STALE
    JOINTS_STALE = SafetyCause.JOINTS_STALE
    GRIPPER_STALE = SafetyCause.GRIPPER_STALE
    BROKER_STALE = SafetyCause.BROKER_STALE
    PLANNER_STALE = SafetyCause.PLANNER_STALE
    PERSON_NEAR = SafetyCause.PERSON_NEAR
    JOINT_POSITION = SafetyCause.JOINT_POSITION
    JOINT_SPEED = SafetyCause.JOINT_SPEED
    FOLLOWING_ERROR = SafetyCause.FOLLOWING_ERROR
    CARTON_LOST = SafetyCause.CARTON_LOST
    COLLAPSE = SafetyCause.COLLAPSE
    CLOCK_JUMP = SafetyCause.CLOCK_JUMP
    SECOND_MONITOR = SafetyCause.SECOND_MONITOR
    MALFORMED_INPUT = SafetyCause.MALFORMED_INPUT
    STOP_CALLED = SafetyCause.STOP_CALLED
    NEVER_SEEN = SafetyCause.NEVER_SEEN
    JOINT_ACCELERATION = SafetyCause.JOINT_ACCELERATION
    WALL_STALE = SafetyCause.WALL_STALE
    OPERATOR_LIMIT = SafetyCause.OPERATOR_LIMIT


class Effect(IntEnum):
    """What a cause does, rising in restriction; values as in lumper_msgs/SafetyCause."""

    REDUCE = SafetyCause.EFFECT_REDUCE
    PROTECTIVE_STOP = SafetyCause.EFFECT_PROTECTIVE_STOP
    EMERGENCY_STOP = SafetyCause.EFFECT_EMERGENCY_STOP


class Latch(Enum):
    """When a cause that is over still needs a reset."""

    NEVER = "never"
    MOVING = "moving"  # when it appeared while the arm moved
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a cause means; for people, too."""

    effect: Effect
    seen_by: str
    when: str
    remedy: str
    test: str  # the test that proves the row, within src/lumper_safety/test


_STOP, _EMERGENCY = Effect.PROTECTIVE_STOP, Effect.EMERGENCY_STOP
_TRUTH = "test_truth_table.py"
MEANINGS: Mapping[Code, Meaning] = {
    Code.ESTOP_OPEN: Meaning(
        _EMERGENCY, "estop", "the emergency-stop circuit is open", "close the circuit, then reset", _TRUTH
    ),
    Code.ESTOP_STALE: Meaning(
        _EMERGENCY, "estop", "the circuit's state is older than its max age", "restore the topic, then reset", _TRUTH
    ),
    Code.SCAN_STALE: Meaning(
        _STOP, "scan/front, scan/rear", "a scanner is older than its max age", "restore the scanner", _TRUTH
    ),
    Code.JOINTS_STALE: Meaning(
        _STOP, "joint_states", "joint states are older than their max age", "restore the drives' feedback", _TRUTH
    ),
    Code.GRIPPER_STALE: Meaning(
        _STOP, "gripper/state", "the gripper's state is older than its max age", "restore the gripper", _TRUTH
    ),
    Code.BROKER_STALE: Meaning(
        _STOP, "motion/state", "the motion broker's heartbeat is older than its max age", "restart the broker", _TRUTH
    ),
    Code.PLANNER_STALE: Meaning(
        _STOP, "job/state", "the planner's heartbeat is older than its max age", "restart the planner", _TRUTH
    ),
    Code.PERSON_NEAR: Meaning(
        Effect.REDUCE,
        "scan/front, scan/rear, joint_states",
        "a person is nearer than full speed allows; PROTECTIVE_STOP when no speed worth having is left",
        "keep away from the arm",
        "test_core_people.py",
    ),
    Code.JOINT_POSITION: Meaning(
        _STOP, "joint_states", "a joint is outside its range", "bring the joint back by hand", "test_core_motion.py"
    ),
    Code.JOINT_SPEED: Meaning(
        _STOP, "joint_states", "a joint is faster than its limit", "look at drive and controller", "test_core_motion.py"
    ),
    Code.JOINT_ACCELERATION: Meaning(
        _STOP,
        "joint_states",
        "a joint changes its speed faster than its drive should",
        "look for a collision",
        "test_core_motion.py",
    ),
    Code.FOLLOWING_ERROR: Meaning(
        _STOP,
        "joint_states against motion/state",
        "a joint is away from the active trajectory",
        "look for a collision or a weak drive",
        "test_core_motion.py",
    ),
    Code.CARTON_LOST: Meaning(
        _STOP,
        "gripper/state",
        "vacuum is on and the carton is gone",
        "find the carton; a fresh wall must come before the reset",
        "test_core_motion.py",
    ),
    Code.COLLAPSE: Meaning(
        _STOP,
        "wall",
        "cartons moved without being touched",
        "let the load settle; a fresh wall must come before the reset",
        "test_core_motion.py",
    ),
    Code.CLOCK_JUMP: Meaning(
        _STOP,
        "/clock, system clock against the steady clock",
        "a clock jumped, ran backwards, or stands still while inputs keep coming",
        "set the clocks right",
        "test_clockwatch.py",
    ),
    Code.SECOND_MONITOR: Meaning(
        _STOP, "the graph", "somebody else publishes permits", "stop the other publisher", _TRUTH
    ),
    Code.MALFORMED_INPUT: Meaning(
        _STOP, "every input", "a message broke its contract: see the text", "correct the field named", _TRUTH
    ),
    Code.STOP_CALLED: Meaning(
        _STOP, "safety/stop", "a person or a program asked for a stop", "reset when it is safe", _TRUTH
    ),
    Code.NEVER_SEEN: Meaning(
        _STOP, "every required input", "a required input was not seen since start", "start what publishes it", _TRUTH
    ),
    Code.WALL_STALE: Meaning(
        _STOP,
        "wall",
        "cartons are being moved and the picture of the wall is older than its max age",
        "restore perception",
        _TRUTH,
    ),
    Code.OPERATOR_LIMIT: Meaning(
        Effect.REDUCE, "safety/speed_limit", "a person limited the speed", "set the limit to 1", _TRUTH
    ),
}


@dataclass(frozen=True, slots=True)
class CauseRule:
    """Policy of a cause. `clear_s`: the cause must have been away so long before it counts as over."""

    latch: Latch
    clear_s: float


@dataclass(frozen=True, slots=True)
class InputRule:
    """Policy of an input. Older than `max_age_s` = missing = cause `stale`."""

    topic: str
    max_age_s: float
    stale: Code


@dataclass(frozen=True)
class Limits:
    """Limits of the supervision of motion, clocks and scans."""

    joint_position_margin_rad: float = parameter(doc="a joint may be so far outside its range", low=0.0, high=0.2)
    joint_speed_factor: float = parameter(doc="a joint may be so many times as fast as its limit", low=1.0, high=2.0)
    joint_acceleration_factor: float = parameter(
        doc="a joint may accelerate so many times as hard as planned motion does", low=1.0, high=50.0
    )
    acceleration_window_s: float = parameter(doc="acceleration is the mean over this time", low=0.005, high=0.5)
    following_error_rad: float = parameter(
        doc="a joint may be so far from its trajectory at standstill", low=0.01, high=1.0
    )
    following_time_s: float = parameter(doc="and as far more as it moves in this time", low=0.0, high=0.5)
    moving_radps: float = parameter(doc="faster than this is moving", low=0.001, high=0.5)
    future_s: float = parameter(doc="a stamp may be so far ahead of our clock", low=0.0, high=1.0)
    clock_jump_s: float = parameter(doc="a clock may step so far against the steady clock", low=0.01, high=1.0)
    clock_rate_max: float = parameter(
        doc="simulated time may run so many times as fast as real time", low=1.0, high=1000.0
    )
    clock_still_s: float = parameter(doc="ROS time may stand still so long while inputs come", low=0.1, high=10.0)
    scan_invalid_fraction: float = parameter(doc="part of a scan's beams that may be invalid", low=0.0, high=0.5)
    scan_invalid_run_rad: float = parameter(doc="widest run of invalid beams", low=0.0, high=0.2)


REQUIRED = ("scan/front", "scan/rear", "estop", "joint_states", "gripper/state", "motion/state", "job/state")
OPTIONAL = ("wall",)


@dataclass(frozen=True, slots=True)
class Table:
    """The whole policy."""

    causes: Mapping[Code, CauseRule]
    inputs: Mapping[str, InputRule]
    limits: Limits


def _number(where: str, raw: Any, low: float, high: float, faults: list[str]) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not low <= raw <= high:
        faults.append(f"{where}={raw!r}: must be a number in {low} … {high}")
        return low
    return float(raw)


def _rows(raw: Mapping[str, Any], section: str, faults: list[str]) -> Mapping[str, Any]:
    rows = raw.get(section) or {}
    if isinstance(rows, Mapping):
        return rows
    faults.append(f"{section}: {rows!r} is no mapping")
    return {}


def parse_table(raw: Mapping[str, Any]) -> Table:
    """The table from parsed YAML with the keys `inputs`, `causes` and `limits`.

    Raises:
        ParameterError: names every row that is missing, unknown, or has a wrong value.
    """
    faults = [f"{key}: unknown section" for key in raw if key not in ("inputs", "causes", "limits")]
    inputs, causes, limited = (_rows(raw, section, faults) for section in ("inputs", "causes", "limits"))
    faults += [f"inputs.{name}: is missing" for name in (*REQUIRED, *OPTIONAL) if name not in inputs]
    faults += [f"inputs.{name}: no such input" for name in inputs if name not in (*REQUIRED, *OPTIONAL)]
    faults += [f"causes.{code.name}: is missing" for code in Code if code.name not in causes]
    faults += [f"causes.{name}: no such cause" for name in causes if name not in Code.__members__]
    for section, rows in (("inputs", inputs), ("causes", causes)):
        faults += [
            f"{section}.{name}: {row!r} is no mapping" for name, row in rows.items() if not isinstance(row, Mapping)
        ]
    if faults:
        raise ParameterError("; ".join(faults))
    rules: dict[Code, CauseRule] = {}
    for name, row in causes.items():
        if name in Code.__members__:
            latch = str(row.get("latch"))
            if latch not in [item.value for item in Latch]:
                faults.append(f"causes.{name}.latch={latch}: must be never, moving or always")
                continue
            clear_s = _number(f"causes.{name}.clear_s", row.get("clear_s"), 0.0, 60.0, faults)
            rules[Code[name]] = CauseRule(Latch(latch), clear_s)
    ages: dict[str, InputRule] = {}
    for name, row in inputs.items():
        stale = str(row.get("stale"))
        if stale not in Code.__members__:
            faults.append(f"inputs.{name}.stale={stale}: no such cause")
            continue
        ages[name] = InputRule(
            name, _number(f"inputs.{name}.max_age_s", row.get("max_age_s"), 0.01, 10.0, faults), Code[stale]
        )
    limits: Limits | None = None
    try:
        limits = from_mapping(Limits, limited)
    except ParameterError as error:
        faults.append(f"limits: {error}")
    if faults or limits is None:
        raise ParameterError("; ".join(faults))
    return Table(rules, ages, limits)
