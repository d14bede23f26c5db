"""Changes of pace along a trajectory: soon over, continuous, within the limits, from any moment of a motion."""

import numpy as np
from harness import CONFIG
from hypothesis import given, settings
from hypothesis import strategies as st

from lumper_motion.follow import CHANGES_S, RAMP_SLACK, Follower, Pace
from lumper_motion.kinematics import ArmKinematics
from lumper_motion.path import Leg, line, make_path
from lumper_motion.timing import Limits, time_path
from lumper_ros.robot import load_robot

ROBOT = load_robot(CONFIG / "robot")
KIN = ArmKinematics(ROBOT)
LIMITS = Limits(ROBOT.max_speed_radps, ROBOT.max_accel_radps2)
HOME = ROBOT.poses["home"]
MIDDLE = HOME + np.array([0.7, 0.3, -0.4, 0.0, 0.2, 0.0])
END = MIDDLE + np.array([0.6, -0.5, 0.1, 0.3, -0.4, 1.0])
TRAJECTORY = time_path(
    make_path([Leg(line(HOME, MIDDLE), 1), Leg(line(MIDDLE, END), 2)]),
    KIN,
    LIMITS,
    0.048,
)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.0, TRAJECTORY.duration_s), st.sampled_from([0.0, 0.2, 0.5]))
def test_any_moment_can_be_stopped_or_slowed_soon_and_within_the_limits(at_s: float, target: float) -> None:
    follower = Follower(TRAJECTORY, "1", 0.0, 1.0)
    before = follower.pace
    if not follower.change(target, at_s):
        assert at_s >= TRAJECTORY.duration_s - 0.03
        return
    pace = follower.pace
    t = np.linspace(at_s, pace.settled_s, 400)
    tau, (rate, slope) = pace.tau(t), pace.rate(t)
    _, velocity, acceleration = TRAJECTORY.sample(tau)
    asked = np.abs(velocity * slope[:, None] + acceleration * (rate**2)[:, None])
    assert (asked <= LIMITS.accel_radps2 * (RAMP_SLACK + 0.02)).all()
    assert pace.settled_s - at_s < 1.0
    assert tau[0] == float(before.tau(np.array([at_s]))[0]) and rate[0] == 1.0
    assert np.abs(np.gradient(tau, t) - rate)[1:-1].max() < 0.02, "the place moves as fast as the pace says"


@given(st.sampled_from(CHANGES_S), st.floats(0.1, 1.0), st.floats(0.0, 1.0))
def test_a_pace_that_waits_goes_on_as_before_and_then_changes(
    change: tuple[float, float], before: float, after: float
) -> None:
    wait_s, ramp_s = change
    pace = Pace(10.0, 1.0, before, 0.0, after, ramp_s, wait_s)
    t = np.array([10.0, 10.0 + wait_s, pace.settled_s, pace.settled_s + 1.0])
    rate, slope = pace.rate(t)
    assert np.allclose(rate, [before, before, after, after]) and np.allclose(slope, 0.0, atol=1e-9)
    gone = np.diff(pace.tau(t))
    assert np.allclose(gone, [before * wait_s, 0.5 * (before + after) * ramp_s, after])
