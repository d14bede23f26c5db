"""The trajectory server: every error code, splines, replacement, cancel. The arm here is a perfect follower or a stuck one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumper_sim.trajectory import (
    SHORTEST_STOP_S,
    STOP_STEP_S,
    Code,
    Defaults,
    Ending,
    Finished,
    Goal,
    Limits,
    Point,
    Reference,
    Spline,
    Tolerance,
    TrajectoryServer,
    stopping,
)

NAMES = ("a", "b")
LIMITS = Limits(NAMES, np.array([-3.0, -3.0]), np.array([3.0, 3.0]), np.array([2.0, 2.0]), np.array([6.0, 6.0]))
DT = 0.004
Z2 = (0.0, 0.0)


def server() -> TrajectoryServer:
    return TrajectoryServer(LIMITS, np.zeros(2), Defaults(goal_time_s=0.5))


def goal(*points: Point, name: str = "g", **more: object) -> Goal:
    return Goal(name, more.pop("joint_names", NAMES), points, **more)  # type: ignore[arg-type]


MOVE = Point(1.0, (0.5, -0.5), Z2)


def run(
    s: TrajectoryServer, start_s: float, seconds: float, stuck: bool = False
) -> tuple[list[Finished], list[Reference]]:
    """Step with an arm that follows at once, or stays at zero."""
    ended: list[Finished] = []
    trace: list[Reference] = []
    position, velocity = np.zeros(2) if stuck else s.reference.position.copy(), np.zeros(2)
    for k in range(round(seconds / DT)):
        reference = s.step(start_s + k * DT, position, velocity)
        if not stuck:
            position, velocity = reference.position, reference.velocity
        trace.append(reference)
        ended += s.take_finished()
    return ended, trace


def refused(bad: Goal, now_s: float = 100.0) -> Finished:
    s = server()
    assert not s.submit(bad, now_s)
    (done,) = s.take_finished()
    assert done.ending is Ending.ABORTED
    np.testing.assert_array_equal(s.step(now_s, np.zeros(2), np.zeros(2)).position, np.zeros(2))
    return done


def test_a_goal_is_followed_and_succeeds() -> None:
    s = server()
    assert s.submit(goal(MOVE), 10.0)
    ended, trace = run(s, 10.0, 1.2)
    assert ended == [Finished("g", Ending.SUCCEEDED, Code.SUCCESSFUL, "goal reached")]
    np.testing.assert_allclose(trace[-1].position, [0.5, -0.5], atol=1e-12)


@pytest.mark.parametrize(
    ("bad", "code", "text"),
    [
        (goal(), Code.INVALID_GOAL, "empty"),
        (goal(MOVE, Point(1.0, (0.1, 0.1), Z2)), Code.INVALID_GOAL, r"points\[1\].time_from_start"),
        (goal(Point(-0.5, (0.1, 0.1))), Code.INVALID_GOAL, r"points\[0\].time_from_start"),
        (goal(Point(math.nan, (0.1, 0.1))), Code.INVALID_GOAL, r"points\[0\].time_from_start"),
        (goal(Point(1.0, (0.1,))), Code.INVALID_GOAL, r"positions has 1 values for 2"),
        (goal(Point(1.0, ())), Code.INVALID_GOAL, r"positions is empty"),
        (goal(Point(1.0, (math.nan, 0.0))), Code.INVALID_GOAL, "not finite"),
        (goal(Point(1.0, (0.1, 0.1), (math.inf, 0.0))), Code.INVALID_GOAL, "velocities is not finite"),
        (goal(Point(1.0, (0.1, 0.1), (), Z2)), Code.INVALID_GOAL, "no velocities"),
        (goal(Point(1.0, (0.1, 0.1), Z2, (), (1.0, 1.0))), Code.INVALID_GOAL, "effort"),
        (goal(Point(1.0, (3.5, 0.0))), Code.INVALID_GOAL, "outside"),
        (goal(Point(1.0, (0.1, 0.1), (0.2, 0.0))), Code.INVALID_GOAL, "must be zero"),
        (goal(MOVE, multi_dof=True), Code.INVALID_GOAL, "multi_dof"),
        (goal(MOVE, goal_time_tolerance_s=-1.0), Code.INVALID_GOAL, "goal_time_tolerance"),
        (goal(MOVE, path_tolerance=(Tolerance("a", -2.0),)), Code.INVALID_GOAL, r"path_tolerance\[a\].position"),
        (goal(MOVE, path_tolerance=(Tolerance("z", 0.1),)), Code.INVALID_JOINTS, "unknown joint 'z'"),
        (goal(MOVE, joint_names=("a",)), Code.INVALID_JOINTS, "absent"),
        (goal(MOVE, joint_names=("a", "c")), Code.INVALID_JOINTS, "unknown"),
        (goal(MOVE, joint_names=("a", "a")), Code.INVALID_JOINTS, "once"),
        (goal(MOVE, start_s=98.0), Code.OLD_HEADER_TIMESTAMP, "before now"),
    ],
)
def test_malformed_goals_move_nothing_and_are_named(bad: Goal, code: Code, text: str) -> None:
    done = refused(bad)
    assert done.code is code
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(done.text)


def test_joints_may_come_in_any_order() -> None:
    s = server()
    s.submit(goal(Point(1.0, (-0.5, 0.5), Z2), joint_names=("b", "a")), 0.0)
    _, trace = run(s, 0.0, 1.2)
    np.testing.assert_allclose(trace[-1].position, [0.5, -0.5])


def test_a_start_in_the_future_waits() -> None:
    s = server()
    s.submit(goal(MOVE, start_s=11.0), 10.0)
    ended, trace = run(s, 10.0, 0.9)
    assert not ended
    np.testing.assert_array_equal(trace[-1].position, [0.0, 0.0])
    ended, trace = run(s, 10.9, 1.3)
    assert ended[0].ending is Ending.SUCCEEDED


def test_a_trajectory_that_began_earlier_is_joined() -> None:
    s = server()
    points = (Point(0.1, (1.0, 1.0), (1.0, 1.0)), Point(1.0, (0.5, -0.5), Z2))
    assert s.submit(goal(*points, start_s=9.5), 10.0)
    ended, trace = run(s, 10.0, 0.7)
    assert ended[0].ending is Ending.SUCCEEDED
    assert max(np.abs(r.position).max() for r in trace) < 0.8


def test_a_single_point_without_velocities_is_a_straight_line() -> None:
    s = server()
    s.submit(goal(Point(1.0, (0.5, -0.5))), 0.0)
    _, trace = run(s, 0.0, 0.5)
    np.testing.assert_allclose(trace[-1].velocity, [0.5, -0.5], atol=1e-9)


def test_path_tolerance_is_watched() -> None:
    s = server()
    s.submit(goal(MOVE, path_tolerance=(Tolerance("a", 0.05),)), 0.0)
    ended, _ = run(s, 0.0, 1.5, stuck=True)
    assert ended[0].code is Code.PATH_TOLERANCE_VIOLATED
    assert ended[0].ending is Ending.ABORTED
    assert ended[0].text.startswith("a is 0.05")


def test_after_a_violation_the_arm_is_held_where_it_is() -> None:
    s = server()
    s.submit(goal(MOVE, path_tolerance=(Tolerance("a", 0.05),)), 0.0)
    _, trace = run(s, 0.0, 3.0, stuck=True)
    np.testing.assert_allclose(trace[-1].position, [0.0, 0.0], atol=1e-9)


def test_tolerance_minus_one_means_none_and_zero_the_default() -> None:
    s = server()
    s.submit(goal(MOVE, path_tolerance=(Tolerance("a", -1.0), Tolerance("b", -1.0))), 0.0)
    ended, _ = run(s, 0.0, 0.9, stuck=True)
    assert not ended
    s = server()
    s.submit(goal(MOVE, path_tolerance=(Tolerance("a", 0.0),)), 0.0)
    ended, _ = run(s, 0.0, 0.9, stuck=True)
    assert ended[0].code is Code.PATH_TOLERANCE_VIOLATED


def test_goal_tolerance_is_watched_for_the_time_allowed() -> None:
    s = server()
    loose = (Tolerance("a", -1.0), Tolerance("b", -1.0))
    s.submit(goal(MOVE, path_tolerance=loose, goal_time_tolerance_s=0.3), 0.0)
    ended, _ = run(s, 0.0, 1.29, stuck=True)
    assert not ended
    ended, _ = run(s, 1.29, 0.1, stuck=True)
    assert ended[0].code is Code.GOAL_TOLERANCE_VIOLATED
    assert ended[0].ending is Ending.ABORTED


def test_a_new_goal_replaces_the_old_one_without_a_jump() -> None:
    s = server()
    s.submit(goal(MOVE, name="old"), 0.0)
    _, first = run(s, 0.0, 0.5)
    s.submit(goal(Point(1.0, (0.0, 0.0), Z2), name="new"), 0.5)
    ended, second = run(s, 0.5, 1.2)
    assert [(e.goal_id, e.ending) for e in ended] == [("old", Ending.ABORTED), ("new", Ending.SUCCEEDED)]
    assert "replaced" in ended[0].text
    np.testing.assert_allclose(second[0].velocity, first[-1].velocity, atol=0.05)
    np.testing.assert_allclose(second[0].position, first[-1].position, atol=0.01)


def test_a_refused_goal_leaves_the_active_one_alone() -> None:
    s = server()
    s.submit(goal(MOVE, name="good"), 0.0)
    run(s, 0.0, 0.5)
    assert not s.submit(goal(name="bad"), 0.5)
    ended, _ = run(s, 0.5, 0.8)
    assert [(e.goal_id, e.ending) for e in ended] == [("bad", Ending.ABORTED), ("good", Ending.SUCCEEDED)]


def test_cancel_slows_down_on_the_path_and_ends_at_standstill() -> None:
    s = server()
    s.submit(goal(Point(2.0, (2.0, -1.0), Z2)), 0.0)
    run(s, 0.0, 1.0)
    assert s.cancel("g", 1.0)
    ended, trace = run(s, 1.0, 2.0)
    assert [(e.ending, e.code) for e in ended] == [(Ending.CANCELED, Code.SUCCESSFUL)]
    for reference in trace:
        # On the path: b = -a / 2.
        assert reference.position[1] == pytest.approx(-reference.position[0] / 2, abs=1e-9)
    np.testing.assert_allclose(trace[-1].velocity, 0.0, atol=1e-12)
    assert 1.0 < trace[-1].position[0] < 2.0


def test_cancel_is_not_reported_while_the_arm_still_moves() -> None:
    s = server()
    s.submit(goal(MOVE), 0.0)
    run(s, 0.0, 0.5)
    s.cancel("g", 0.5)
    for k in range(500):
        s.step(0.5 + k * DT, np.zeros(2), np.array([0.02, 0.0]))
    assert not s.take_finished()
    s.step(3.0, np.zeros(2), np.array([0.005, 0.0]))
    assert s.take_finished()[0].ending is Ending.CANCELED


def test_cancel_of_another_goal_does_nothing() -> None:
    s = server()
    s.submit(goal(MOVE), 0.0)
    assert not s.cancel("other", 0.1)
    ended, _ = run(s, 0.0, 1.2)
    assert ended[0].ending is Ending.SUCCEEDED


def test_a_fault_of_the_drives_aborts_and_refuses() -> None:
    s = server()
    s.submit(goal(MOVE), 0.0)
    run(s, 0.0, 0.5)
    s.fault = "no drives"
    s.abort(Code.INVALID_GOAL, "no drives", 0.5)
    assert not s.submit(goal(MOVE, name="next"), 0.6)
    ended, trace = run(s, 0.5, 1.0)
    assert [(e.goal_id, e.text) for e in ended] == [("g", "no drives"), ("next", "no drives")]
    np.testing.assert_allclose(trace[-1].velocity, 0.0, atol=1e-12)


FLOATS = st.floats(-2.0, 2.0)


@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS, FLOATS), min_size=2, max_size=6), st.booleans())
@settings(max_examples=80, deadline=None)
def test_splines_pass_through_their_points(rows: list[tuple[float, ...]], quintic: bool) -> None:
    accel = np.array([0.3, -0.2]) if quintic else None
    points = [(1.0 + k * 0.5, np.array(r[:2]), np.array(r[2:]), accel) for k, r in enumerate(rows)]
    start = Reference(np.zeros(2), np.zeros(2), np.zeros(2))
    spline = Spline.through(0.0, start, points)
    for time_s, position, velocity, acceleration in points[:-1]:
        at = spline.sample(time_s)
        np.testing.assert_allclose(at.position, position, atol=1e-9)
        np.testing.assert_allclose(at.velocity, velocity, atol=1e-8)
        if acceleration is not None:
            np.testing.assert_allclose(at.acceleration, acceleration, atol=1e-7)
    h = 1e-6
    for t in np.linspace(0.05, spline.end_s - 0.05, 7):
        slope = (spline.sample(t + h).position - spline.sample(t - h).position) / (2 * h)
        np.testing.assert_allclose(spline.sample(t).velocity, slope, atol=1e-4)


@given(st.floats(0.5, 1.8), st.floats(0.1, 0.9))
@settings(max_examples=40, deadline=None)
def test_a_stop_keeps_within_the_acceleration_limits(distance: float, when: float) -> None:
    s = server()
    s.submit(goal(Point(1.6, (distance, -distance / 3), Z2)), 0.0)
    run(s, 0.0, 1.6 * when)
    s.cancel("g", 1.6 * when)
    _, trace = run(s, 1.6 * when, 2.0)
    assert max(np.abs(r.acceleration).max() for r in trace) <= 6.0 + 1e-6


@given(st.floats(0.5, 1.8), st.floats(0.05, 0.95), st.floats(0.3, 1.0))
@settings(max_examples=60, deadline=None)
def test_a_stop_of_a_path_at_its_limits_stays_within_them(distance: float, when: float, share: float) -> None:
    """A path that itself accelerates and brakes with a share of what the arm can: braking gives way where both would be too much."""
    accel = share * LIMITS.max_accel_radps2
    half = math.sqrt(distance / accel[0])

    def sample(t: float) -> Reference:
        t = min(max(t, 0.0), 2.0 * half)
        sign = 1.0 if t < half else -1.0
        v = accel * (t if t < half else 2.0 * half - t)
        q = 0.5 * accel * t**2 if t < half else accel * half**2 - 0.5 * accel * (2.0 * half - t) ** 2
        return Reference(q, v, sign * accel)

    stop = stopping(sample, 2.0 * half * when, LIMITS)
    for i, (gone, rate, change) in enumerate(zip(stop.gone_s, stop.rate, stop.change, strict=True)):
        at = sample(2.0 * half * when + gone)
        beyond = np.abs(at.velocity * change + at.acceleration * rate**2) / LIMITS.max_accel_radps2
        assert float(beyond.max()) <= 1.0 + 1e-9, (i, rate, change)
    assert np.all(np.diff(stop.rate) <= 0.0) and stop.rate[-1] == 0.0
    # The steepest braking there is from that speed, and as much again for giving way and for the half cosine.
    quickest_s = float((np.abs(sample(2.0 * half * when).velocity) / LIMITS.max_accel_radps2).max())
    speed = [
        float(np.abs(sample(2.0 * half * when + gone).velocity).max()) * rate
        for gone, rate in zip(stop.gone_s, stop.rate, strict=True)
    ]
    moves = np.flatnonzero(np.array(speed) > 1e-3)
    assert STOP_STEP_S * len(moves) <= 2.0 * quickest_s + SHORTEST_STOP_S


def test_a_stop_from_standstill_is_short() -> None:
    still = Reference(np.zeros(2), np.zeros(2), np.zeros(2))
    assert stopping(lambda t: still, 0.0, LIMITS).duration_s < 0.08
