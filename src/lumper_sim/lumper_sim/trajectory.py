"""The joint trajectory server, without ROS: validation, splines, tolerances, replacement, cancel.

Behaves as ros2_controllers' joint_trajectory_controller with position and velocity command interfaces, with three
differences that real drives force or that the robot relies on: a malformed goal is accepted and aborted at once, so that its
error code and text reach the client; positions outside the joint range are refused; a cancelled goal ends only when
the reference stands still, having slowed down along its own path.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_FINE = 1e-9


class Code(IntEnum):
    """Error codes of control_msgs/action/FollowJointTrajectory."""

    SUCCESSFUL = 0
    INVALID_GOAL = -1
    INVALID_JOINTS = -2
    OLD_HEADER_TIMESTAMP = -3
    PATH_TOLERANCE_VIOLATED = -4
    GOAL_TOLERANCE_VIOLATED = -5


class Ending(IntEnum):
    SUCCEEDED = 0
    ABORTED = 1
    CANCELED = 2


@dataclass(frozen=True, slots=True)
class Point:
    """One trajectory point in the goal's joint order; absent derivatives are empty."""

    time_s: float
    positions: Sequence[float]
    velocities: Sequence[float] = ()
    accelerations: Sequence[float] = ()
    effort: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Allowed deviation of one joint: 0 = the server's default, -1 = none, other negatives are refused."""

    name: str
    position: float = 0.0
    velocity: float = 0.0
    acceleration: float = 0.0


@dataclass(frozen=True, slots=True)
class Goal:
    """A FollowJointTrajectory goal. `start_s`: header stamp; 0 = now."""

    goal_id: str
    joint_names: Sequence[str]
    points: Sequence[Point]
    start_s: float = 0.0
    path_tolerance: Sequence[Tolerance] = ()
    goal_tolerance: Sequence[Tolerance] = ()
    goal_time_tolerance_s: float = 0.0
    multi_dof: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    goal_id: str
    ending: Ending
    code: Code
    text: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Arrays ordered as the server's joints."""

    names: tuple[str, ...]
    lower_rad: Array
    upper_rad: Array
    max_speed_radps: Array
    max_accel_radps2: Array


@dataclass(frozen=True, slots=True)
class Defaults:
    """Constraints used where a goal states none."""

    path_rad: float = 0.2
    goal_rad: float = 0.01
    stopped_radps: float = 0.01
    goal_time_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Reference:
    """What the drives are to follow at an instant: (n,) rad, rad/s, rad/s^2."""

    position: Array
    velocity: Array
    acceleration: Array


class Spline:
    """Piecewise polynomials through points: linear, cubic or quintic by what both ends of a segment state."""

    def __init__(self, times_s: Array, coefficients: Array) -> None:
        self.times_s = times_s
        # (segments, 6, joints), ascending powers of the time since the segment's start.
        self._c = coefficients

    @staticmethod
    def through(
        start_s: float, start: Reference, points: Sequence[tuple[float, Array, Array | None, Array | None]]
    ) -> "Spline":
        """`points`: absolute time, position, velocity or None, acceleration or None, each (n,)."""
        knots = [(start_s, start.position, start.velocity, start.acceleration), *points]
        if points and points[0][0] <= start_s + _FINE:
            knots = list(points)
            if len(knots) == 1:
                knots.append((knots[0][0] + _FINE, *knots[0][1:]))
        segments = []
        for (t0, p0, v0, a0), (t1, p1, v1, a1) in pairwise(knots):
            segments.append(_segment(t1 - t0, p0, p1, v0, v1, a0, a1))
        return Spline(np.array([k[0] for k in knots]), np.array(segments))

    @property
    def start_s(self) -> float:
        return float(self.times_s[0])

    @property
    def end_s(self) -> float:
        return float(self.times_s[-1])

    def sample(self, time_s: float) -> Reference:
        """Reference at a time; held at the ends outside of the span."""
        if time_s >= self.end_s:
            end = self._at(len(self._c) - 1, self.end_s - float(self.times_s[-2]))
            zero = np.zeros_like(end.position)
            return Reference(end.position, zero, zero)
        time_s = max(time_s, self.start_s)
        segment = int(np.searchsorted(self.times_s, time_s, side="right")) - 1
        return self._at(segment, time_s - float(self.times_s[segment]))

    def index(self, time_s: float) -> int:
        """Index of the segment that holds at a time."""
        return int(np.clip(np.searchsorted(self.times_s, time_s, side="right") - 1, 0, len(self._c) - 1))

    def _at(self, segment: int, s: float) -> Reference:
        c = self._c[segment]
        s2, s3 = s * s, s * s * s
        position = c[0] + c[1] * s + c[2] * s2 + c[3] * s3 + c[4] * (s2 * s2) + c[5] * (s2 * s3)
        velocity = c[1] + 2 * c[2] * s + 3 * c[3] * s2 + 4 * c[4] * s3 + 5 * c[5] * (s2 * s2)
        acceleration = 2 * c[2] + 6 * c[3] * s + 12 * c[4] * s2 + 20 * c[5] * s3
        return Reference(position, velocity, acceleration)


def _segment(
    h: float, p0: Array, p1: Array, v0: Array | None, v1: Array | None, a0: Array | None, a1: Array | None
) -> Array:
    c = np.zeros((6, p0.size))
    c[0] = p0
    if v1 is None or v0 is None:
        c[1] = (p1 - p0) / h
        return c
    c[1] = v0
    if a0 is None or a1 is None:
        c[2] = (3 * (p1 - p0) / h - 2 * v0 - v1) / h
        c[3] = (-2 * (p1 - p0) / h + v0 + v1) / (h * h)
        return c
    c[2] = a0 / 2
    h2, d = h * h, p1 - p0
    c[3] = (20 * d - (8 * v1 + 12 * v0) * h - (3 * a0 - a1) * h2) / (2 * h * h2)
    c[4] = (-30 * d + (14 * v1 + 16 * v0) * h + (3 * a0 - 2 * a1) * h2) / (2 * h2 * h2)
    c[5] = (12 * d - 6 * (v1 + v0) * h + (a1 - a0) * h2) / (2 * h * h2 * h2)
    return c


class GoalError(ValueError):
    """A goal cannot be executed: code and text say why."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def _derivative(goal: Goal, number: int, name: str, values: Sequence[float]) -> Array | None:
    if len(values) == 0:
        return None
    array = np.asarray(values, dtype=float)
    if array.shape != (len(goal.joint_names),):
        raise GoalError(
            Code.INVALID_GOAL, f"points[{number}].{name} has {array.size} values for {len(goal.joint_names)} joints"
        )
    if not np.all(np.isfinite(array)):
        raise GoalError(Code.INVALID_GOAL, f"points[{number}].{name} is not finite")
    return array


def check_goal(
    goal: Goal, limits: Limits, now_s: float
) -> tuple[float, list[tuple[float, Array, Array | None, Array | None]]]:
    """Start time and points in the server's joint order and absolute time.

    Raises:
        GoalError: with the code and the field at fault.
    """
    names = list(goal.joint_names)
    if len(set(names)) != len(names) or set(names) != set(limits.names):
        unknown, absent = sorted(set(names) - set(limits.names)), sorted(set(limits.names) - set(names))
        raise GoalError(
            Code.INVALID_JOINTS,
            f"joint_names must be each of {list(limits.names)} once: unknown {unknown}, absent {absent}",
        )
    if goal.multi_dof:
        raise GoalError(Code.INVALID_GOAL, "multi_dof_trajectory is not supported by this arm; leave it empty")
    if not goal.points:
        raise GoalError(Code.INVALID_GOAL, "trajectory.points is empty")
    order = [names.index(name) for name in limits.names]
    start_s = goal.start_s if goal.start_s > 0.0 else now_s
    points: list[tuple[float, Array, Array | None, Array | None]] = []
    previous = -math.inf
    for number, point in enumerate(goal.points):
        if not math.isfinite(point.time_s) or point.time_s < 0.0 or point.time_s <= previous:
            raise GoalError(
                Code.INVALID_GOAL,
                f"points[{number}].time_from_start={point.time_s} s is not after {previous} s: times must be >= 0 and strictly rise",
            )
        previous = point.time_s
        if len(point.effort):
            raise GoalError(
                Code.INVALID_GOAL, f"points[{number}].effort must be empty: the arm is commanded by position"
            )
        position = _derivative(goal, number, "positions", point.positions)
        if position is None:
            raise GoalError(Code.INVALID_GOAL, f"points[{number}].positions is empty")
        velocity = _derivative(goal, number, "velocities", point.velocities)
        acceleration = _derivative(goal, number, "accelerations", point.accelerations)
        if acceleration is not None and velocity is None:
            raise GoalError(Code.INVALID_GOAL, f"points[{number}] has accelerations but no velocities")
        position = position[order]
        outside = (position < limits.lower_rad - 1e-6) | (position > limits.upper_rad + 1e-6)
        if outside.any():
            j = int(np.argmax(outside))
            raise GoalError(
                Code.INVALID_GOAL,
                f"points[{number}]: {limits.names[j]}={position[j]:.4f} rad is outside "
                f"{limits.lower_rad[j]:.4f} .. {limits.upper_rad[j]:.4f}",
            )
        points.append(
            (
                start_s + point.time_s,
                position,
                None if velocity is None else velocity[order],
                None if acceleration is None else acceleration[order],
            )
        )
    last = points[-1][2]
    if last is not None and np.abs(last).max() > 1e-6:
        j = int(np.argmax(np.abs(last)))
        raise GoalError(
            Code.INVALID_GOAL, f"the last point's velocity of {limits.names[j]} is {last[j]:.4f} rad/s: it must be zero"
        )
    if points[-1][0] < now_s:
        raise GoalError(
            Code.OLD_HEADER_TIMESTAMP,
            f"the trajectory starts at {start_s:.3f} s and ends at {points[-1][0]:.3f} s, before now ({now_s:.3f} s)",
        )
    # What has passed already cannot be followed.
    return start_s, [point for point in points if point[0] >= now_s - _FINE]


def _tolerances(
    given: Sequence[Tolerance], names: Sequence[str], default_rad: float, what: str
) -> tuple[Array, Array, Array]:
    position, velocity, acceleration = (
        np.full(len(names), default_rad),
        np.full(len(names), np.inf),
        np.full(len(names), np.inf),
    )
    for tolerance in given:
        if tolerance.name not in names:
            raise GoalError(Code.INVALID_JOINTS, f"{what} names unknown joint {tolerance.name!r}")
        j = list(names).index(tolerance.name)
        for array, value, field_name in (
            (position, tolerance.position, "position"),
            (velocity, tolerance.velocity, "velocity"),
            (acceleration, tolerance.acceleration, "acceleration"),
        ):
            if value == -1.0:
                array[j] = np.inf
            elif not math.isfinite(value) or value < 0.0:
                raise GoalError(
                    Code.INVALID_GOAL, f"{what}[{tolerance.name}].{field_name}={value}: must be -1, 0 or positive"
                )
            elif value > 0.0:
                array[j] = value
    return position, velocity, acceleration


# Sampling of a stop, how long it takes at least, and the share of the acceleration limits that it plans with.
STOP_STEP_S, SHORTEST_STOP_S, STOP_SHARE = 0.002, 0.05, 0.99


@dataclass(frozen=True, slots=True)
class Stop:
    """How a path is run through ever slower: path time gone (s), its rate and the rate's change (1/s), STOP_STEP_S apart."""

    gone_s: Array
    rate: Array
    change: Array

    @property
    def duration_s(self) -> float:
        return (len(self.rate) - 1) * STOP_STEP_S

    def at(self, elapsed_s: float) -> tuple[float, float, float]:
        """(path time gone, its rate, its rate of change), interpolated."""
        x = min(max(elapsed_s / STOP_STEP_S, 0.0), len(self.rate) - 1.0)
        i = min(int(x), len(self.rate) - 2)
        f = x - i
        gone, rate, change = ((1.0 - f) * row[i] + f * row[i + 1] for row in (self.gone_s, self.rate, self.change))
        return float(gone), float(rate), float(change)


def stopping(sample: Callable[[float], Reference], time_s: float, limits: Limits) -> Stop:
    """A stop along a path from `time_s` on within the acceleration limits, where the path itself keeps them.

    The path's rate falls as a half cosine, less steeply wherever braking and the path's own acceleration together would
    exceed a joint's limit. A rate that stays is always within it, so that no braking leads into a dead end.
    """
    bound = limits.max_accel_radps2 * STOP_SHARE
    speed = np.abs(sample(time_s).velocity)
    steepness = math.pi / max(SHORTEST_STOP_S, float((speed * (math.pi / 2) / bound).max()))

    def steepest(at: Reference, rates: tuple[float, float]) -> float:
        """-bound <= velocity * change + acceleration * rate^2 at both rates, with signs such that the velocity is positive."""
        if bool((np.abs(at.acceleration) * rates[0] ** 2 > limits.max_accel_radps2).any()):
            # The path itself is beyond the limits: standing still comes first.
            return -math.inf
        moving = np.abs(at.velocity) > 1e-6
        if not moving.any():
            return -math.inf
        velocity = at.velocity[moving]
        own = np.sign(velocity) * at.acceleration[moving]
        room = bound[moving] + np.minimum(own * rates[0] ** 2, own * rates[1] ** 2)
        return -float((room / np.abs(velocity)).min())

    rows = [(0.0, 1.0, 0.0)]
    gone, rate = 0.0, 1.0
    while rate > 1e-3:
        wanted = -steepness * math.sqrt(max(rate * (1.0 - rate), 1e-3))
        rates = rate, max(rate + wanted * STOP_STEP_S, 0.0)
        near = (sample(time_s + gone), sample(time_s + gone + rate * STOP_STEP_S))
        change = min(max(wanted, *(steepest(at, rates) for at in near)), 0.0)
        after = max(rate + change * STOP_STEP_S, 0.0)
        gone += 0.5 * (rate + after) * STOP_STEP_S
        rate = after
        rows.append((gone, rate, change))
    rows[0] = (0.0, 1.0, rows[1][2])
    rows.append((gone, 0.0, 0.0))
    return Stop(*np.array(rows).T)


@dataclass
class _Active:
    goal: Goal
    spline: Spline
    path: tuple[Array, Array, Array]
    end: tuple[Array, Array, Array]
    goal_time_s: float
    canceling: bool = False


@dataclass
class TrajectoryServer:
    """One arm's trajectory execution. Times are seconds of one rising clock.

    `step` gives the reference for an instant, judges the measured state, and collects what ended.
    """

    limits: Limits
    hold: Array
    defaults: Defaults = field(default_factory=Defaults)

    def __post_init__(self) -> None:
        zero = np.zeros_like(self.hold)
        self._active: _Active | None = None
        self._reference = Reference(self.hold.copy(), zero, zero)
        self._stop: tuple[Callable[[float], Reference], float, Stop] | None = None
        self._finished: list[Finished] = []
        self.fault = ""

    @property
    def reference(self) -> Reference:
        return self._reference

    @property
    def active_id(self) -> str:
        return self._active.goal.goal_id if self._active else ""

    def submit(self, goal: Goal, now_s: float) -> bool:
        """Start a goal now; False where it was refused (then it is among the next finished)."""
        if self.fault:
            self._end(goal.goal_id, Ending.ABORTED, Code.INVALID_GOAL, self.fault)
            return False
        try:
            start_s, points = check_goal(goal, self.limits, now_s)
            path = _tolerances(goal.path_tolerance, self.limits.names, self.defaults.path_rad, "path_tolerance")
            end = _tolerances(goal.goal_tolerance, self.limits.names, self.defaults.goal_rad, "goal_tolerance")
            if not math.isfinite(goal.goal_time_tolerance_s) or goal.goal_time_tolerance_s < 0.0:
                raise GoalError(
                    Code.INVALID_GOAL, f"goal_time_tolerance={goal.goal_time_tolerance_s} s is negative or not finite"
                )
        except GoalError as error:
            self._end(goal.goal_id, Ending.ABORTED, error.code, str(error))
            return False
        if self._active is not None:
            self._end(self._active.goal.goal_id, Ending.ABORTED, Code.INVALID_GOAL, "replaced by a new goal")
        # A start in the future: the present state is held until then.
        spline = Spline.through(max(now_s, start_s), self._reference, points)
        wait = goal.goal_time_tolerance_s or self.defaults.goal_time_s
        self._active = _Active(goal, spline, path, end, wait)
        self._stop = None
        return True

    def cancel(self, goal_id: str, now_s: float) -> bool:
        """Slow down along the path; the goal ends CANCELED when the arm stands. False where it is not the active goal."""
        if self._active is None or self._active.goal.goal_id != goal_id:
            return False
        if not self._active.canceling:
            self._active.canceling = True
            self._slow_down(self._active.spline.sample, now_s)
        return True

    def abort(self, code: Code, text: str, now_s: float) -> None:
        """End the active goal and stop along its path (a fault of the drives)."""
        if self._active is not None:
            self._slow_down(self._active.spline.sample, now_s)
            self._end(self._active.goal.goal_id, Ending.ABORTED, code, text)
            self._active = None

    def _slow_down(self, sample: Callable[[float], Reference], now_s: float) -> None:
        self._stop = (sample, now_s, stopping(sample, now_s, self.limits))

    def _stop_off_path(self, position: Array, velocity: Array, now_s: float) -> None:
        """Hold where the arm is: straight on from the measured state, braking."""
        zero = np.zeros_like(velocity)
        p, v = position.copy(), np.clip(velocity, -self.limits.max_speed_radps, self.limits.max_speed_radps)
        self._slow_down(lambda t: Reference(p + v * (t - now_s), v, zero), now_s)

    def step(self, now_s: float, position: Array, velocity: Array) -> Reference:
        """Reference at `now_s`; `position`, `velocity`: measured now."""
        active = self._active
        if self._stop is not None:
            sample, since_s, stop = self._stop
            gone, rate, change = stop.at(now_s - since_s)
            at = sample(since_s + gone)
            self._reference = Reference(
                at.position, at.velocity * rate, at.velocity * change + at.acceleration * rate**2
            )
            if now_s - since_s >= stop.duration_s:
                self._rest(at.position)
        elif active is not None and now_s >= active.spline.start_s:
            self._reference = active.spline.sample(now_s)
        elif active is not None:
            self._rest(self._reference.position)
        if active is not None:
            self._judge(active, now_s, position, velocity)
        return self._reference

    def _rest(self, position: Array) -> None:
        zero = np.zeros_like(position)
        self._reference = Reference(position, zero, zero)

    def _judge(self, active: _Active, now_s: float, position: Array, velocity: Array) -> None:
        error = np.abs(self._reference.position - position)
        moving = bool(np.abs(velocity).max() > self.defaults.stopped_radps)
        if active.canceling:
            assert self._stop is not None
            if now_s - self._stop[1] >= self._stop[2].duration_s and not moving:
                self._end(active.goal.goal_id, Ending.CANCELED, Code.SUCCESSFUL, "cancelled; the arm stands still")
                self._active = None
            return
        rate_error = np.abs(self._reference.velocity - velocity)
        if now_s < active.spline.end_s:
            off = (error > active.path[0]) | (rate_error > active.path[1])
            if off.any():
                j = int(np.argmax(off))
                text = f"{self.limits.names[j]} is {error[j]:.4f} rad, {rate_error[j]:.4f} rad/s off its path"
                self._stop_off_path(position, velocity, now_s)
                self._end(active.goal.goal_id, Ending.ABORTED, Code.PATH_TOLERANCE_VIOLATED, text)
                self._active = None
            return
        reached = bool(np.all(error <= active.end[0]) and np.all(np.abs(velocity) <= active.end[1]))
        if reached and not moving:
            self._end(active.goal.goal_id, Ending.SUCCEEDED, Code.SUCCESSFUL, "goal reached")
            self._active = None
        elif now_s > active.spline.end_s + active.goal_time_s:
            near = bool(np.all(error <= active.end[0]))
            j = int(np.argmax(np.abs(velocity) if near else error))
            what = f"still moves at {velocity[j]:.4f} rad/s" if near else f"is {error[j]:.4f} rad from its goal"
            text = f"{active.goal_time_s:.2f} s after the end {self.limits.names[j]} {what}"
            self._stop_off_path(position, velocity, now_s)
            self._end(active.goal.goal_id, Ending.ABORTED, Code.GOAL_TOLERANCE_VIOLATED, text)
            self._active = None

    def _end(self, goal_id: str, ending: Ending, code: Code, text: str) -> None:
        self._finished.append(Finished(goal_id, ending, code, text))

    def take_finished(self) -> list[Finished]:
        """What ended since the last call, in order."""
        done, self._finished = self._finished, []
        return done

    def progress(self, now_s: float) -> Mapping[str, float]:
        """Seconds since the active goal's start, and its segment; empty when idle."""
        if self._active is None:
            return {}
        return {"elapsed_s": now_s - self._active.spline.start_s, "index": float(self._active.spline.index(now_s))}
