"""The ledger of causes as a state machine: whatever comes in whatever order, unknown is unsafe and latches hold."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from robot_bench import RAW_TABLE, table

from lumper_ros.interfaces import TOPICS
from lumper_ros.parameters import ParameterError
from lumper_safety.causes import MEANINGS, REQUIRED, Code, Effect, Latch, parse_table
from lumper_safety.monitor import Mode, Monitor

TABLE = table()
codes = st.sampled_from([code for code in Code if code is not Code.NEVER_SEEN])


class Ledger(RuleBasedStateMachine):
    """Model: which causes are reported now, which latches fell since the last reset."""

    def __init__(self) -> None:
        super().__init__()
        self.monitor = Monitor(TABLE)
        self.now = 0.0
        self.reported: dict[Code, float | None] = {}  # None = reported; else since when it is away
        self.latched: set[Code] = set()

    @rule(code=codes, moving=st.booleans())
    def report(self, code: Code, moving: bool) -> None:
        self.monitor.report(code, "x", self.now, text="t", moving=moving)
        self.reported[code] = None
        latch = TABLE.causes[code].latch
        if latch is Latch.ALWAYS or (latch is Latch.MOVING and moving):
            self.latched.add(code)

    @rule(code=codes)
    def withdraw(self, code: Code) -> None:
        self.monitor.withdraw(code, "x", self.now)
        if code in self.reported:
            away = self.reported[code]
            away = self.now if away is None else away
            self.reported[code] = away
            if self.now - away >= TABLE.causes[code].clear_s:
                del self.reported[code]

    @rule(passed_s=st.floats(0.01, 2.0))
    def wait(self, passed_s: float) -> None:
        self.now += passed_s

    @rule()
    def reset(self) -> None:
        blocking = self.monitor.reset()
        present = set(self.reported) - {Code.OPERATOR_LIMIT}
        assert {cause.code for cause in blocking} == present
        if not present:
            self.latched.clear()

    @invariant()
    def decision_is_the_most_restrictive(self) -> None:
        decision = self.monitor.decide(1.0)
        active = set(self.reported) | self.latched
        assert {cause.code for cause in decision.causes} == active
        worst = max((MEANINGS[code].effect for code in active), default=Effect.REDUCE)
        assert decision.permitted == (worst is Effect.REDUCE)
        assert (decision.mode is Mode.EMERGENCY_STOP) == (worst is Effect.EMERGENCY_STOP)
        assert (decision.speed_scale > 0.0) == decision.permitted


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize(("scale", "mode"), [(1.0, Mode.RUN), (0.5, Mode.REDUCED), (0.0, Mode.PROTECTIVE_STOP)])
def test_scale_decides_the_mode_when_nothing_stops(scale: float, mode: Mode) -> None:
    assert Monitor(TABLE).decide(scale).mode is mode


def test_max_ages_agree_with_the_interface_table() -> None:
    assert {name: rule.max_age_s for name, rule in TABLE.inputs.items()} == {
        name: TOPICS[name].max_age_s for name in TABLE.inputs
    }


def test_what_needs_a_person_needs_a_person() -> None:
    """The latches that the specification demands, whatever somebody writes into the file."""
    always = {
        Code.ESTOP_OPEN, Code.ESTOP_STALE, Code.JOINT_POSITION, Code.JOINT_SPEED, Code.JOINT_ACCELERATION,
        Code.FOLLOWING_ERROR, Code.CARTON_LOST, Code.COLLAPSE, Code.CLOCK_JUMP, Code.SECOND_MONITOR,
        Code.MALFORMED_INPUT, Code.STOP_CALLED,
    }  # fmt: skip
    moving = {Code.SCAN_STALE, Code.JOINTS_STALE, Code.GRIPPER_STALE, Code.BROKER_STALE, Code.PLANNER_STALE}
    assert {code for code, rule in TABLE.causes.items() if rule.latch is Latch.ALWAYS} == always
    assert {code for code, rule in TABLE.causes.items() if rule.latch is Latch.MOVING} == moving


def _without(section: str, name: str) -> dict[str, object]:
    return RAW_TABLE | {section: {k: v for k, v in RAW_TABLE[section].items() if k != name}}


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (_without("causes", "ESTOP_OPEN"), "causes.ESTOP_OPEN"),
        (_without("inputs", "scan/front"), "inputs.scan/front"),
        (_without("limits", "future_s"), "future_s"),
        ({}, "causes.ESTOP_OPEN: is missing"),
        (RAW_TABLE | {"more": {}}, "more"),
        (RAW_TABLE | {"inputs": RAW_TABLE["inputs"] | {"x": {"max_age_s": 1, "stale": "SCAN_STALE"}}}, "inputs.x"),
        (RAW_TABLE | {"causes": RAW_TABLE["causes"] | {"WIND": {"latch": "never", "clear_s": 0}}}, "causes.WIND"),
        (RAW_TABLE | {"causes": RAW_TABLE["causes"] | {"COLLAPSE": {"latch": "off", "clear_s": 0}}}, "COLLAPSE.latch"),
        (RAW_TABLE | {"causes": RAW_TABLE["causes"] | {"COLLAPSE": {"latch": "never", "clear_s": -1}}}, "clear_s"),
        (
            RAW_TABLE | {"inputs": RAW_TABLE["inputs"] | {"wall": {"max_age_s": 0, "stale": "WALL_STALE"}}},
            "wall.max_age_s",
        ),
        (RAW_TABLE | {"limits": RAW_TABLE["limits"] | {"clock_jump_s": 0.0}}, "clock_jump_s"),
    ],
)
def test_wrong_table_is_refused_by_name(raw: dict[str, object], named: str) -> None:
    with pytest.raises(ParameterError, match=named.replace(".", r"\.")):
        parse_table(raw)


def test_required_inputs_are_those_of_the_specification() -> None:
    assert set(REQUIRED) == {
        "scan/front", "scan/rear", "estop", "joint_states", "gripper/state", "motion/state", "job/state",
    }  # fmt: skip


@pytest.mark.parametrize("section", ["inputs", "causes", "limits"])
@pytest.mark.parametrize("rows", ["text", ["list"], {"estop": "text", "ESTOP_OPEN": 3}])
def test_a_table_of_another_shape_is_named(section: str, rows: object) -> None:
    with pytest.raises(ParameterError, match=section):
        parse_table({**RAW_TABLE, section: rows})
