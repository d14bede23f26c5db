"""Speed and separation: the worked case of the specification, and what must hold for any numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from robot_bench import ROBOT, Bench

from lumper_safety.separation import RunningMax, SpeedScale, required_separation

CONSTANT_M = 0.35


def a_scale(**more: float) -> SpeedScale:
    values = {"full_speed_mps": 4.0, "constant_m": CONSTANT_M, "human_mps": 1.6, "hold_s": 0.5, "smallest": 0.05} | more
    return SpeedScale(ROBOT.stopping_time, **values)


def test_worked_case_to_a_millimetre() -> None:
    """vh 1.6, vr 1.0 m/s, Tr 0.10, Ts 0.30 s, C 0.20, Zd 0.10, Zr 0.05: 0.64 + 0.10 + 0.15 + 0.35 = 1.24 m."""
    assert required_separation(1.6, 1.0, 0.10, 0.30, 0.20, 0.10, 0.05) == pytest.approx(1.24, abs=1e-3)


def test_worked_case_through_the_scale() -> None:
    """The same case, found by the speed scale: an arm of 1 m/s that stops in 0.30 s may go at full speed from 1.24 m on."""
    scale = SpeedScale(lambda fraction, mass: 0.30, 1.0, 0.35, 1.6, 0.5, 0.01)
    assert scale.required(1.0, 0.10, 0.0) == pytest.approx(1.24, abs=1e-3)
    assert scale.required_at_speed(1.0, 1.0, 0.10, 0.0) == pytest.approx(1.24, abs=1e-3)
    assert scale.largest(1.2401, 0.0, 0.10, 0.0) == 1.0
    assert scale.largest(1.2390, 0.0, 0.10, 0.0) == pytest.approx(0.996, abs=1e-3)


@given(
    separation=st.floats(0.0, 8.0),
    lag=st.floats(0.0, 0.5),
    reaction=st.floats(0.02, 0.5),
    mass=st.floats(0.0, 60.0),
    human=st.floats(0.0, 4.0),
)
@settings(max_examples=500, deadline=None)
def test_largest_scale_keeps_sp_and_a_larger_one_would_not(
    separation: float, lag: float, reaction: float, mass: float, human: float
) -> None:
    scale = a_scale()

    def spare(s: float) -> float:
        closing = (max(1.6, human) + s * 4.0) * lag
        return separation - closing - scale.required(s, reaction, mass, human)

    found = scale.largest(separation, lag, reaction, mass, human)
    if found > 0.0:
        assert spare(found) >= -1e-9
    if found < 0.99:
        assert spare(min(1.0, found + 0.011)) < 0.0


@given(a=st.floats(0.0, 8.0), b=st.floats(0.0, 8.0))
def test_nearer_is_never_faster(a: float, b: float) -> None:
    scale = a_scale()
    near, far = sorted((a, b))
    assert scale.largest(near, 0.1, 0.1, 0.0) <= scale.largest(far, 0.1, 0.1, 0.0)


def test_scale_is_continuous_in_the_distance() -> None:
    scale = a_scale()
    values = [scale.largest(d, 0.1, 0.1, 0.0) for d in np.arange(0.3, 6.0, 0.001)]
    assert values[0] == 0.0 and values[-1] == 1.0
    # The steepest part is at a crawl, where the stopping time hardly falls any more.
    assert np.abs(np.diff(values)).max() < 0.005


def test_nobody_means_full_speed() -> None:
    assert a_scale().largest(np.inf, 0.5, 0.5, 60.0) == 1.0


def test_load_and_slow_reaction_and_fast_person_cost_speed() -> None:
    scale = a_scale()
    base = scale.largest(2.0, 0.1, 0.1, 0.0)
    assert scale.largest(2.0, 0.1, 0.1, 30.0) < base
    assert scale.largest(2.0, 0.1, 0.2, 0.0) < base
    assert scale.largest(2.0, 0.2, 0.1, 0.0) < base
    assert scale.largest(2.0, 0.1, 0.1, 0.0, 2.5) < base
    assert scale.largest(2.0, 0.1, 0.1, 0.0, 0.5) == base, "a slow person may start to walk"


def test_hysteresis_falls_at_once_and_rises_after_half_a_second() -> None:
    scale = a_scale()
    assert scale.step(0.0, 1.0) == 1.0
    assert scale.step(0.02, 0.4) == 0.4
    assert scale.step(0.3, 1.0) == 0.4
    assert scale.step(0.51, 1.0) == 0.4
    assert scale.step(0.53, 1.0) == 1.0
    assert scale.step(0.54, 0.04) == 0.0, "too slow to be worth it: stop"


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=200))
def test_step_is_the_minimum_of_the_last_half_second(values: list[float]) -> None:
    scale = a_scale(smallest=0.0)
    for i, value in enumerate(values):
        # Sixteen periods of 0.03 s are within half a second, seventeen are not.
        assert scale.step(i * 0.03, value) == min(values[max(0, i - 16) : i + 1])


def test_reaction_time_is_the_largest_measured_and_is_forgotten_after_its_window() -> None:
    largest = RunningMax(100.0, 0.05)
    assert largest.value == 0.05
    largest.add(0.0, 0.01)
    assert largest.value == 0.05
    largest.add(5.0, 0.2)
    largest.add(50.0, 0.1)
    assert largest.value == 0.2
    largest.add(104.0, 0.1)
    assert largest.value == 0.2
    largest.add(125.0, 0.1)
    assert largest.value == 0.1


def test_reaction_time_in_the_permit_is_measured() -> None:
    """A scan that is 0.12 s old on arrival, and a broker that receives permits 0.03 s late: Tr is 0.15 s from then on."""
    bench = Bench()
    bench.run(0.5)
    assert bench.state.reaction_time_s == pytest.approx(0.05)
    bench.broker.permit_latency_s = 0.03
    bench.run(0.3)
    scan = bench.make("scan/front")
    bench.run(0.12)
    bench.core._inputs["scan/front"].stamp_s = 0.0
    bench.send("scan/front", scan)
    bench.run(0.04)
    assert bench.state.reaction_time_s == pytest.approx(0.15, abs=1e-3)
    bench.run(5.0)
    assert bench.state.reaction_time_s == pytest.approx(0.15, abs=1e-3)
