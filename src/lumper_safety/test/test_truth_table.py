"""The whole truth table. Expectations are written down here from the specification, not taken from the table's data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from lumper_msgs.msg import BrokerState, JobState, SafetyCause, SafetyState
from robot_bench import PERIODS_S, ROBOT, Bench

from lumper_safety.causes import Code

C = SafetyCause
STARTING, RUN, REDUCED = SafetyState.STARTING, SafetyState.RUN, SafetyState.REDUCED
STOP, EMERGENCY = SafetyState.PROTECTIVE_STOP, SafetyState.EMERGENCY_STOP
MODES = {"STARTING": STARTING, "RUN": RUN, "REDUCED": REDUCED, "PROTECTIVE_STOP": STOP, "EMERGENCY_STOP": EMERGENCY}
RANK = {RUN: 0, REDUCED: 1, STARTING: 2, STOP: 3, EMERGENCY: 4}
STALE = {
    "scan/front": (C.SCAN_STALE, 0.25),
    "scan/rear": (C.SCAN_STALE, 0.25),
    "estop": (C.ESTOP_STALE, 0.3),
    "joint_states": (C.JOINTS_STALE, 0.1),
    "gripper/state": (C.GRIPPER_STALE, 0.25),
    "motion/state": (C.BROKER_STALE, 0.6),
    "job/state": (C.PLANNER_STALE, 2.5),
    "wall": (C.WALL_STALE, 2.0),
}


def bench_in(mode: int, *, moving: bool, avoid: str = "", never: str = "") -> Bench:
    """A monitor brought into a mode. `avoid`: input not to be used for that; `never`: input silent from the start."""
    bench = Bench()
    bench.silent |= {never} if never else set()
    if moving:
        bench.move()
    if mode == STARTING:
        bench.silent.add("motion/state" if avoid == "job/state" else "job/state")
    bench.run(0.14)
    if mode == REDUCED:
        assert bench.limit(0.5).accepted
    elif mode == STOP:
        bench.stop()
    elif mode == EMERGENCY:
        bench.estop_closed = False
        bench.run(0.12)
    if not never:
        assert bench.state.mode == mode, [c.text for c in bench.state.causes]
        assert bench.permitted == (mode in (RUN, REDUCED))
    return bench


def worst(*modes: int) -> int:
    return max(modes, key=RANK.__getitem__)


def spoil_message(topic: str) -> Callable[[object], None]:
    def spoil(message: object) -> None:
        if topic.startswith("scan"):
            message.angle_increment = 0.0  # type: ignore[attr-defined]
        elif topic == "joint_states":
            message.position[0] = float("nan")  # type: ignore[attr-defined]
        elif topic == "gripper/state":
            message.vacuum_kpa = float("nan")  # type: ignore[attr-defined]
        elif topic == "motion/state":
            message.state = 99  # type: ignore[attr-defined]
        elif topic == "job/state":
            message.phase = 99  # type: ignore[attr-defined]
        elif topic == "wall":
            message.header.frame_id = "elsewhere"  # type: ignore[attr-defined]

    return spoil


def resume(bench: Bench, topic: str) -> None:
    bench.silent.discard(topic)
    bench.spoil.clear()
    bench._due[topic] = 0.0


@pytest.mark.parametrize("moving", [False, True], ids=["still", "moving"])
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("topic", STALE)
def test_stale_input(topic: str, mode: int, moving: bool) -> None:
    if topic == "estop" and mode == EMERGENCY:
        pytest.skip("the circuit is open: its age adds nothing to the mode; see test_estop_stale_while_open")
    bench = bench_in(mode, moving=moving, avoid=topic)
    bench.job.phase = JobState.PICKING
    code, max_age_s = STALE[topic]
    if topic == "wall" and mode == STARTING:
        pytest.skip("no job is known to run while the planner was never seen")
    bench.run(1.05 if topic == "wall" else 0.0)
    bench._due[topic] = 0.0
    bench.run(0.02)
    bench.silent.add(topic)
    bench.run(max_age_s - 0.03)
    assert code not in bench.codes()
    bench.run(0.08)
    cause = bench.cause(code)
    assert cause.present and cause.source == topic and cause.text.startswith(topic)
    assert cause.value > cause.limit == pytest.approx(max_age_s)
    assert bench.state.mode == worst(mode, EMERGENCY if topic == "estop" else STOP)
    assert not bench.permitted and bench.state.speed_scale == 0.0
    refused = bench.reset()
    assert not refused.accepted and code in {c.code for c in refused.causes}
    resume(bench, topic)
    bench.run(0.9)
    assert bench.cause(code).present, "must be back for one second first"
    bench.run(0.3)
    latched = topic == "estop" or (moving and topic != "wall")
    assert (code in bench.codes()) == latched
    if latched:
        assert not bench.cause(code).present and bench.cause(code).latched and not bench.permitted
    else:
        assert bench.state.mode == mode


@pytest.mark.parametrize("mode", ["STARTING", "PROTECTIVE_STOP", "EMERGENCY_STOP"])
@pytest.mark.parametrize("topic", [t for t in STALE if t != "wall"])
def test_input_never_seen(topic: str, mode: str) -> None:
    if topic == "estop" and mode == "EMERGENCY_STOP":
        pytest.skip("without the topic nobody knows the circuit to be open")
    bench = bench_in(MODES[mode], moving=False, avoid=topic, never=topic)
    bench.run(3.0)
    assert topic in {c.source for c in bench.state.causes if c.code == C.NEVER_SEEN and c.present}
    assert STALE[topic][0] not in bench.codes(), "never seen is not stale"
    assert bench.state.mode == MODES[mode]
    assert not bench.permitted
    assert not bench.reset().accepted


def test_wall_never_seen_matters_only_once_cartons_are_moved() -> None:
    bench = bench_in(RUN, moving=False, never="wall")
    bench.run(3.0)
    assert bench.state.mode == RUN
    bench.job.phase = JobState.PICKING
    bench.run(1.1)
    assert bench.state.mode == STARTING
    assert "wall" in {c.source for c in bench.state.causes if c.code == C.NEVER_SEEN}


@pytest.mark.parametrize("moving", [False, True], ids=["still", "moving"])
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("topic", [t for t in STALE if t != "estop"])
def test_malformed_input(topic: str, mode: int, moving: bool) -> None:
    bench = bench_in(mode, moving=moving, avoid=topic)
    message = bench.make(topic)
    spoil_message(topic)(message)
    good = bench.core._inputs[topic].good
    bench.send(topic, message)
    assert bench.state.mode == worst(mode, STOP) and not bench.permitted, "before the next tick"
    assert bench.core._inputs[topic].malformed == 1 and bench.core._inputs[topic].good == good
    bench.run(0.02)
    cause = bench.cause(C.MALFORMED_INPUT)
    assert cause.present and cause.latched and cause.source == topic and topic in cause.text
    assert not bench.reset().accepted
    bench.run(1.2)
    cause = bench.cause(C.MALFORMED_INPUT)
    assert not cause.present and cause.latched, "over, and waiting for a person"


@pytest.mark.parametrize("topic", [t for t in STALE if t not in ("estop", "wall")])
def test_input_that_stays_malformed_counts_as_missing(topic: str) -> None:
    bench = bench_in(RUN, moving=False)
    bench.spoil[topic] = spoil_message(topic)
    bench.run(STALE[topic][1] + 2 * PERIODS_S[topic] + 0.1)
    assert {C.MALFORMED_INPUT, STALE[topic][0]} <= bench.codes(present=True)


@pytest.mark.parametrize("topic", [t for t in STALE if t not in ("estop", "wall")])
def test_input_stamped_too_old_counts_as_missing(topic: str) -> None:
    bench = bench_in(RUN, moving=False)
    late_s = STALE[topic][1] + 0.05
    normal = bench._stamp

    def delayed() -> object:
        bench.t -= late_s
        try:
            return normal()
        finally:
            bench.t += late_s

    bench.silent.add(topic)
    for _ in range(int((STALE[topic][1] + 0.2) / 0.02)):
        bench.run(0.02)
        bench._stamp = delayed  # type: ignore[method-assign]
        message = bench.make(topic)
        bench._stamp = normal  # type: ignore[method-assign]
        bench.send(topic, message)
    assert STALE[topic][0] in bench.codes(present=True)
    assert C.MALFORMED_INPUT not in bench.codes()


@dataclass(frozen=True)
class Case:
    """A cause: how it comes and goes, what it must do."""

    come: Callable[[Bench], None]
    go: Callable[[Bench], None]
    mode: int = STOP
    latched_still: bool = True
    latched_moving: bool = True
    lasts: bool = True  # present until it goes (else: an instant)
    needs: tuple[int, ...] = tuple(MODES.values())


def _open(b: Bench) -> None:
    b.estop_closed = False
    b.run(0.12)


def _close(b: Bench) -> None:
    b.estop_closed = True
    b.run(0.12)


def _silence(topic: str, age_s: float) -> Callable[[Bench], None]:
    def come(b: Bench) -> None:
        b._due[topic] = 0.0
        b.run(0.02)
        b.silent.add(topic)
        b.run(age_s + 0.06)

    return come


def _back(topic: str) -> Callable[[Bench], None]:
    def go(b: Bench) -> None:
        resume(b, topic)
        b.run(1.15)

    return go


def _stale(topic: str, **more: object) -> Case:
    return Case(_silence(topic, STALE[topic][1]), _back(topic), latched_still=False, **more)  # type: ignore[arg-type]


def _person(b: Bench) -> None:
    b.people = [(2.6, 0.3)]
    b.run(0.1)


def _nobody(b: Bench) -> None:
    b.people = []
    b.run(0.8)


def _position(b: Bench) -> None:
    b.position[1] = ROBOT.upper_rad[1] + 0.05
    b.run(0.02)


def _home(b: Bench) -> None:
    b.position = ROBOT.poses["home"].copy()
    b.run(0.7)


def _speed(b: Bench) -> None:
    b._kept = b.velocity.copy()  # type: ignore[attr-defined]
    b.run(0.3)
    for fraction in np.linspace(0.1, 1.15, 40):
        b.velocity = ROBOT.max_speed_radps * [fraction, 0, 0, 0, 0, 0]
        b.run(0.01)


def _slow(b: Bench) -> None:
    b.velocity = b._kept  # type: ignore[attr-defined]
    b.run(0.7)


def _jolt(b: Bench) -> None:
    b._kept = b.velocity.copy()  # type: ignore[attr-defined]
    b.run(0.1)
    b.velocity = b.velocity + np.eye(6)[4] * 3.0
    b.run(0.03)


def _off_path(b: Bench) -> None:
    b.broker.joint_names = list(ROBOT.joint_names)
    b.broker.commanded_position_rad = (b.position + np.eye(6)[2] * 0.5).tolist()
    b.run(0.7)


def _on_path(b: Bench) -> None:
    b.broker.commanded_position_rad = b.position.tolist()
    b.run(0.8)


def _lose(b: Bench) -> None:
    b.broker.stage = BrokerState.STAGE_CARRY
    b.gripper.part_held, b.gripper.zones_on, b.gripper.vacuum_kpa = True, 63, 58.0
    b.run(0.3)
    b.gripper.part_held, b.gripper.vacuum_kpa = False, 4.0
    b.silent.add("wall")
    b.run(0.06)


def _fresh_wall(b: Bench) -> None:
    b.gripper.zones_on = 0
    b.moved_ids = []
    b.wall_version += 1
    resume(b, "wall")
    b.run(0.1)


def _collapse(b: Bench) -> None:
    b.moved_ids = [7, 8]
    b.wall_version += 1
    b._due["wall"] = 0.0
    b.run(0.03)


def _jump(b: Bench) -> None:
    b.ros_start_s += 5.0
    b.run(0.02)


def _wait(b: Bench) -> None:
    b.run(1.2)


def _rival(b: Bench) -> None:
    b._take(b.core.permit_publishers(2, b.now))
    b.run(0.02)


def _garbage(b: Bench) -> None:
    message = b.make("joint_states")
    message.name = message.name[:5]
    b.send("joint_states", message)
    b.run(0.02)


CASES: dict[int, Case] = {
    C.ESTOP_OPEN: Case(_open, _close, mode=EMERGENCY, needs=(STARTING, RUN, REDUCED, STOP)),
    C.ESTOP_STALE: Case(_silence("estop", 0.3), _back("estop"), mode=EMERGENCY),
    C.SCAN_STALE: _stale("scan/rear"),
    C.JOINTS_STALE: _stale("joint_states"),
    C.GRIPPER_STALE: _stale("gripper/state"),
    C.BROKER_STALE: _stale("motion/state"),
    C.PLANNER_STALE: _stale("job/state", needs=(RUN, REDUCED, STOP, EMERGENCY)),
    # While STARTING nobody is looked for (test_person_there_before_the_start): there is no permit anyway.
    C.PERSON_NEAR: Case(
        _person, _nobody, latched_still=False, latched_moving=False, needs=(RUN, REDUCED, STOP, EMERGENCY)
    ),
    C.JOINT_POSITION: Case(_position, _home),
    C.JOINT_SPEED: Case(_speed, _slow),
    C.JOINT_ACCELERATION: Case(_jolt, _slow),
    C.FOLLOWING_ERROR: Case(_off_path, _on_path),
    C.CARTON_LOST: Case(_lose, _fresh_wall),
    C.COLLAPSE: Case(_collapse, _fresh_wall),
    C.CLOCK_JUMP: Case(_jump, _wait),
    C.SECOND_MONITOR: Case(_rival, _wait),
    C.MALFORMED_INPUT: Case(_garbage, _wait),
    C.STOP_CALLED: Case(lambda b: b.stop(), lambda b: None, lasts=False),
}


@pytest.mark.parametrize("moving", [False, True], ids=["still", "moving"])
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize(
    "code", CASES, ids=lambda code: next(k for k in dir(C) if getattr(C, k) == code and k.isupper())
)
def test_cause(code: int, mode: int, moving: bool) -> None:
    """It comes: mode, no permit, reset refused. It goes: cleared, or latched until a named person resets."""
    case = CASES[code]
    if mode not in case.needs:
        pytest.skip("the cause is what makes this mode")
    bench = bench_in(mode, moving=moving)
    case.come(bench)
    cause = bench.cause(code)
    assert cause.text and cause.source
    assert bench.state.mode == worst(mode, case.mode), [c.text for c in bench.state.causes]
    assert not bench.permitted and bench.state.speed_scale == 0.0
    if case.lasts:
        assert cause.present
        refused = bench.reset()
        assert not refused.accepted and cause.text[:20] in refused.text
        assert code in bench.codes()
    case.go(bench)
    latched = case.latched_moving if moving else case.latched_still
    assert code not in bench.codes(present=True), [c.text for c in bench.state.causes]
    assert (code in bench.codes()) == latched, [(c.code, c.text) for c in bench.state.causes]
    assert not (latched and bench.permitted)
    # What brought the monitor into its mode goes too; then a named person resets.
    bench.people, bench.silent = [], set()
    bench.estop_closed = True
    bench.broker.commanded_position_rad = []
    bench.run(1.3)
    assert bench.reset().accepted, [c.text for c in bench.state.causes]
    bench.run(0.04)
    assert bench.state.mode == (REDUCED if mode == REDUCED else RUN)
    assert bench.state.last_reset_by == "Ada"


def test_estop_stale_while_open() -> None:
    bench = bench_in(EMERGENCY, moving=False)
    bench.silent.add("estop")
    bench.run(0.5)
    assert {C.ESTOP_OPEN, C.ESTOP_STALE} <= bench.codes(present=True)


def test_operator_limit_reduces_and_never_widens() -> None:
    bench = bench_in(RUN, moving=False)
    assert bench.limit(0.4).accepted
    assert bench.state.mode == REDUCED and bench.state.speed_scale == pytest.approx(0.4)
    assert bench.cause(C.OPERATOR_LIMIT).value == pytest.approx(0.4)
    bench.people = [(4.2, 0.3)]
    bench.run(0.3)
    person_only = bench.state.speed_scale
    assert bench.limit(1.0).accepted and bench.limit(0.99).accepted
    bench.run(0.1)
    assert bench.state.speed_scale < 0.99, "the person still decides"
    assert person_only <= 0.4 + 1e-6
    bench.people = []
    bench.run(1.0)
    assert bench.limit(1.0).accepted
    bench.run(0.04)
    assert bench.state.mode == RUN and C.OPERATOR_LIMIT not in bench.codes()
    assert bench.limit(0.0).accepted
    assert bench.state.mode == STOP and not bench.permitted


def test_every_cause_has_a_case() -> None:
    tested = set(CASES) | {C.NEVER_SEEN, C.WALL_STALE, C.OPERATOR_LIMIT}
    assert tested == {int(code) for code in Code}
