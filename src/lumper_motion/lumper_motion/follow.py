"""Where the arm is on its trajectory, and how it changes pace without leaving the path or jumping in speed.

The trajectory is q(tau); a pace tau(t) runs through it. A change of pace is a cubic ramp of d tau/dt (C1, so that joint
accelerations have no jump), over as soon as the acceleration limits allow.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from numpy.typing import NDArray
from trajectory_msgs.msg import JointTrajectoryPoint

from lumper_motion.timing import Trajectory
from lumper_ros.convert import to_duration, to_time

Array = NDArray[np.float64]

RAMPS_S = (0.1, 0.14, 0.2, 0.28, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0)
WAITS_S = (0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5)
# (wait, ramp), soonest over first.
AT_ONCE_S = tuple((0.0, ramp_s) for ramp_s in RAMPS_S)
CHANGES_S = tuple(
    sorted(((wait_s, ramp_s) for wait_s in WAITS_S for ramp_s in RAMPS_S), key=lambda two: (sum(two), two))
)
# Accelerations of a ramp may exceed the planned limits by so much: the sampling of the check.
RAMP_SLACK = 1.02
RAMP_SAMPLES = 40
# A pace below this is standing still.
STILL_PACE = 1e-3
SHORTEST_STEP = 1e-3


@dataclass(frozen=True, slots=True)
class Pace:
    """d tau/dt over time: `before` (slope `slope` per s) for `wait_s` from `begins_s`, to `after` during `ramp_s`, then constant.

    begins_s: ROS time. tau_s: place on the trajectory at `begins_s`. A pace that waits has no slope.
    """

    begins_s: float
    tau_s: float
    before: float
    slope: float
    after: float
    ramp_s: float
    wait_s: float = 0.0

    @property
    def settled_s(self) -> float:
        """ROS time from which on the pace is `after`."""
        return self.begins_s + self.wait_s + self.ramp_s

    def rate(self, t: Array) -> tuple[Array, Array]:
        """Pace and its derivative at ROS times."""
        if self.ramp_s <= 0.0:
            return np.full(t.shape, self.after), np.zeros(t.shape)
        past = t - self.begins_s - self.wait_s
        u = np.clip(past / self.ramp_s, 0.0, 1.0)
        d, m = self.after - self.before, self.slope * self.ramp_s
        rate = self.before + m * u + (3 * d - 2 * m) * u**2 + (m - 2 * d) * u**3
        slope = (m + 2 * (3 * d - 2 * m) * u + 3 * (m - 2 * d) * u**2) / self.ramp_s
        inside = (past >= 0.0) & (past < self.ramp_s)
        return np.maximum(rate, 0.0), np.where(inside, slope, 0.0)

    def tau(self, t: Array) -> Array:
        """Place on the trajectory at ROS times."""
        past = np.maximum(t - self.begins_s, 0.0)
        if self.ramp_s <= 0.0:
            return np.asarray(self.tau_s + past * self.after)
        waited = np.minimum(past, self.wait_s)
        past = past - waited
        u = np.minimum(past / self.ramp_s, 1.0)
        d, m = self.after - self.before, self.slope * self.ramp_s
        gone = self.before * u + m * u**2 / 2 + (3 * d - 2 * m) * u**3 / 3 + (m - 2 * d) * u**4 / 4
        after = np.maximum(past - self.ramp_s, 0.0) * self.after
        return np.asarray(self.tau_s + self.before * waited + self.ramp_s * gone + after)


class Follower:
    """One trajectory being executed. ROS times in s."""

    def __init__(self, trajectory: Trajectory, goal_id: str, starts_s: float, pace: float) -> None:
        self.trajectory = trajectory
        self.goal_id = goal_id
        self.pace = Pace(starts_s, 0.0, pace, 0.0, pace, 0.0)
        self.target = pace
        self.retimed_s = starts_s
        self._anchored = 0

    def tau(self, ros_s: float) -> float:
        """Place on the trajectory, 0 … duration."""
        return min(float(self.pace.tau(np.array([ros_s]))[0]), self.trajectory.duration_s)

    def stage_fraction(self, tau_s: float) -> float:
        """How much of the stage at `tau_s` is done, 0 … 1."""
        marks = self.trajectory.marks
        begins = max((at for _, at in marks if at <= tau_s), default=0.0)
        ends = min((at for _, at in marks if at > begins), default=self.trajectory.duration_s)
        return float(np.clip((tau_s - begins) / max(ends - begins, 1e-6), 0.0, 1.0))

    def rate(self, ros_s: float) -> float:
        return float(self.pace.rate(np.array([ros_s]))[0][0])

    def commanded(self, ros_s: float) -> Array:
        """(6,) joint positions commanded at a time."""
        return self.trajectory.sample(np.array([self.tau(ros_s)]))[0][0]

    def anchor(self, stamp_s: float, position: Array) -> None:
        """Correct the clock by what the controller says it commanded at `stamp_s`; the first few reports count."""
        if self._anchored >= 3 or self.pace.ramp_s > 0.0:
            return
        expected = self.tau(stamp_s)
        around = np.clip(np.linspace(expected - 0.15, expected + 0.15, 301), 0.0, self.trajectory.duration_s)
        positions, velocities, _ = self.trajectory.sample(around)
        distance = np.abs(positions - position).max(axis=1)
        best = int(np.argmin(distance))
        if distance[best] > 0.02 or float(np.abs(velocities[best]).max()) < 0.05:
            return
        shift = float(around[best]) - expected
        self.pace = replace(self.pace, begins_s=self.pace.begins_s - shift / max(self.pace.after, 0.05))
        self._anchored += 1

    def ends_s(self) -> float:
        """ROS time at which the trajectory, or a pause on it, is reached; inf when the pace never gets there."""
        settled_s = self.pace.settled_s
        left = self.trajectory.duration_s - float(self.pace.tau(np.array([settled_s]))[0])
        if left <= 0.0 or self.pace.after < STILL_PACE:
            return settled_s
        return settled_s + left / self.pace.after

    def change(self, target: float, from_s: float) -> bool:
        """Go over to another pace from `from_s` on; False where the trajectory is all but over."""
        nearly_there = self.tau(from_s) >= self.trajectory.duration_s - 0.03
        if nearly_there and target > STILL_PACE and self.rate(from_s) > STILL_PACE:
            return False
        self.pace = self._ramp(target, from_s)
        self.target = target
        return True

    def reaches_end(self) -> bool:
        """Whether the present pace brings the arm to the trajectory's end, and not to a pause before it."""
        return self.tau(self.ends_s()) >= self.trajectory.duration_s - 1e-3

    def stopping_tau(self, from_s: float) -> float:
        """Place on the trajectory where a stop begun at `from_s` would end."""
        pace = self._ramp(0.0, from_s)
        return float(pace.tau(np.array([pace.settled_s]))[0])

    def _ramp(self, target: float, from_s: float) -> Pace:
        """The soonest change of pace that keeps within the acceleration limits, else the one that exceeds them least.

        While the trajectory itself brakes with all that the arm has, nothing can be added: then it is waited for.
        """
        tau, (rate, slope) = self.tau(from_s), self.pace.rate(np.array([from_s]))
        now = Pace(from_s, tau, float(rate[0]), float(slope[0]), target, RAMPS_S[-1])
        best, least = now, math.inf
        for wait_s, ramp_s in CHANGES_S if now.slope == 0.0 else AT_ONCE_S:
            pace = replace(now, ramp_s=ramp_s, wait_s=wait_s)
            worst = self._worst(pace)
            if worst < least - 1e-6:
                best, least = pace, worst
            if worst <= RAMP_SLACK:
                break
        return best

    def _worst(self, pace: Pace) -> float:
        """Largest joint acceleration of a ramp over its limit; inf where the pace would turn negative."""
        t = pace.begins_s + pace.wait_s + np.linspace(0.0, pace.ramp_s, RAMP_SAMPLES)
        rate, slope = pace.rate(t)
        _, velocity, acceleration = self.trajectory.sample(pace.tau(t))
        total = velocity * slope[:, None] + acceleration * (rate**2)[:, None]
        return float((np.abs(total) / self.trajectory.limits.accel_radps2).max())

    def goal(
        self,
        joint_names: tuple[str, ...],
        stamp_s: float,
        period_s: float,
        path_rad: float,
        goal_rad: float,
        time_s: float,
    ) -> Any:
        """FollowJointTrajectory goal of what is still to come.

        Args:
            stamp_s: 0 = from standstill, now; else ROS time at or before now; the points begin at the pace's begin.
        """
        goal = FollowJointTrajectory.Goal()
        goal.trajectory.joint_names = list(joint_names)
        ends_s = self.ends_s()
        first_s = self.pace.begins_s
        # A last step shorter than this share of a period is none: its time could round to that of the step before.
        count = max(1, math.ceil((ends_s - first_s) / period_s - SHORTEST_STEP))
        t = np.minimum(first_s + period_s * np.arange(count + 1), ends_s)
        t[-1] = ends_s
        if stamp_s == 0.0:
            origin = first_s
            # The controller starts from its own present state.
            t = t[1:]
        else:
            origin = stamp_s
            goal.trajectory.header.stamp = to_time(stamp_s)
        tau = self.pace.tau(t)
        rate, slope = self.pace.rate(t)
        position, velocity, acceleration = self.trajectory.sample(tau)
        acceleration = acceleration * (rate**2)[:, None] + velocity * slope[:, None]
        velocity = velocity * rate[:, None]
        velocity[-1] = 0.0
        acceleration[-1] = 0.0
        goal.trajectory.points = [
            JointTrajectoryPoint(
                positions=position[i], velocities=velocity[i], accelerations=acceleration[i], time_from_start=when
            )
            for i, when in enumerate(to_duration(float(at - origin)) for at in t)
        ]
        goal.path_tolerance = [JointTolerance(name=name, position=path_rad) for name in joint_names]
        goal.goal_tolerance = [JointTolerance(name=name, position=goal_rad) for name in joint_names]
        goal.goal_time_tolerance = to_duration(time_s)
        return goal
