"""Clocks: what jumps, runs backwards or stands still is named; what merely runs at another rate is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lumper_msgs.msg import SafetyCause, SafetyState
from robot_bench import Bench, table

from lumper_ros.core import Now
from lumper_safety.clockwatch import ClockWatch

LIMITS = table().limits


def drive(watch: ClockWatch, moments: list[Now], inputs: int = 1) -> list[str]:
    faults = []
    for now in moments:
        for _ in range(inputs):
            watch.input_came()
        faults.append(watch.step(now))
    return faults


@given(rate=st.floats(0.05, 40.0), start=st.floats(0.0, 1e9))
def test_simulated_time_at_any_rate_is_well(rate: float, start: float) -> None:
    moments = [Now(start + rate * i * 0.02, 5.0 + i * 0.02, 1.8e9 + i * 0.02) for i in range(200)]
    watch = ClockWatch(LIMITS)
    assert not any(drive(watch, moments))
    assert watch.rate == pytest.approx(max(1.0, rate), rel=1e-3)


@given(st.lists(st.floats(0.0001, 3.0), min_size=2, max_size=50))
def test_wall_time_with_any_pauses_of_ours_is_well(pauses: list[float]) -> None:
    t, moments = 0.0, []
    for pause in pauses:
        t += pause
        moments.append(Now(1.8e9 + t, 5.0 + t, 1.8e9 + t))
    assert not any(drive(ClockWatch(LIMITS), moments))


@pytest.mark.parametrize(
    ("jump_s", "named"),
    [(-0.01, "backwards"), (-100.0, "backwards"), (2.0, "jumped"), (1e6, "jumped")],
)
def test_jump_of_simulated_time(jump_s: float, named: str) -> None:
    before = [Now(50 + i * 0.02, 5 + i * 0.02, 1.8e9 + i * 0.02) for i in range(10)]
    after = Now(before[-1].ros_s + jump_s, before[-1].steady_s + 0.02, before[-1].system_s + 0.02)
    faults = drive(ClockWatch(LIMITS), [*before, after])
    assert not any(faults[:-1]) and named in faults[-1]


@pytest.mark.parametrize("step_s", [-3600.0, -0.5, 0.5, 3600.0])
def test_step_of_the_system_clock(step_s: float) -> None:
    before = [Now(1.8e9 + i * 0.02, 5 + i * 0.02, 1.8e9 + i * 0.02) for i in range(10)]
    t = before[-1]
    after = Now(t.ros_s + 0.02 + step_s, t.steady_s + 0.02, t.system_s + 0.02 + step_s)
    assert "system clock" in drive(ClockWatch(LIMITS), [*before, after])[-1]


def test_standstill_is_a_fault_only_while_inputs_come() -> None:
    still = [Now(50.0, 5 + i * 0.02, 1.8e9 + i * 0.02) for i in range(100)]
    first = [Now(49.98, 4.98, 1.8e9 - 0.02)]
    assert "stands still" in drive(ClockWatch(LIMITS), first + still)[-1]
    assert not any(drive(ClockWatch(LIMITS), first + still, inputs=0))


def test_beginning_of_simulated_time_is_no_jump() -> None:
    moments = [Now(0.0, 5 + i * 0.02, 1.8e9 + i * 0.02) for i in range(100)]
    moments += [Now(1234.5 + i * 0.02, 7 + i * 0.02, 1.8e9 + 2 + i * 0.02) for i in range(10)]
    watch = ClockWatch(LIMITS)
    assert not watch.started
    assert not any(drive(watch, moments))
    assert watch.started


def test_before_simulated_time_begins_the_monitor_is_starting() -> None:
    bench = Bench(ros_start_s=0.0)
    bench.ros_rate = 0.0
    bench.run(1.0)
    assert bench.state.mode == SafetyState.STARTING and not bench.permitted
    assert "/clock" in {c.source for c in bench.state.causes}
    bench.ros_start_s, bench.ros_rate = 5.0 - bench.t, 1.0
    bench.run(1.5)
    assert bench.state.mode == SafetyState.RUN, [c.text for c in bench.state.causes]


@pytest.mark.parametrize("rate", [0.2, 5.0])
def test_monitor_runs_when_simulated_time_is_slow_or_fast(rate: float) -> None:
    bench = Bench()
    bench.ros_rate = rate
    bench.run(6.0)
    assert bench.state.mode == SafetyState.RUN and {e.values["to"] for e in bench.events} <= {"STARTING", "RUN"}


def test_frozen_time_withdraws_the_permit_on_the_steady_clock() -> None:
    bench = Bench()
    bench.run(0.5)
    bench.ros_start_s, bench.ros_rate = bench.ros_s, 0.0
    bench.run(0.6)
    assert not bench.permitted
    assert SafetyCause.CLOCK_JUMP in bench.codes(present=True)
    bench.ros_start_s, bench.ros_rate = bench.ros_s - bench.t, 1.0
    bench.run(1.5)
    assert not bench.cause(SafetyCause.CLOCK_JUMP).present and not bench.permitted
    assert bench.reset().accepted
    bench.run(0.02)
    assert bench.permitted
