"""When to be where: a path becomes a trajectory, time-optimal within limits (TOPPRA), with acceleration ramps smoothed.

TOPPRA (Pham & Pham 2018, doi 10.1109/TRO.2018.2819195) gives piecewise constant path acceleration. A moving average of s(t)
over `smoothing_s` makes it continuous without leaving the path. Where an acceleration then exceeds its limit, less of the limit is
given to TOPPRA there, and the rest removed by stretching time.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import minimum_filter1d

from lumper_motion.kinematics import ArmKinematics
from lumper_motion.path import Path
from lumper_motion.toppra_lean import fastest

Array = NDArray[np.float64]

# Sampling of a trajectory before it is stretched.
SAMPLE_S = 0.004
# No path is gone faster than this in rad/s of its length, whatever the limits: the solver wants numbers.
MAX_RATE = 100.0
# Passes of TOPPRA at most, and the stretching of time from which another one pays.
PASSES = 3
ENOUGH = 1.005
# Where an acceleration exceeded its limit it is to come so near to it, however much of the limit that leaves.
AIM = 0.995
LEAST_SHARE = 0.2


class TimingError(Exception):
    """No timing within the limits exists; the text says what TOPPRA said."""


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """What the arm may do on one trajectory.

    speed_radps, accel_radps2: (6,).
    load_accel_mps2: largest acceleration of the load's centre per axis; inf = no load to lose.
    load_in_tool: (3,) m, the load's centre.
    """

    speed_radps: Array
    accel_radps2: Array
    load_accel_mps2: float = math.inf
    load_in_tool: Array = field(default_factory=lambda: np.zeros(3))


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """A timed path from standstill to standstill: uniform samples, `step_s` apart.

    position, velocity, acceleration: (n, 6) in rad, rad/s, rad/s^2. s: (n,) path parameter, never falling.
    marks: (stage, time it begins), first at 0.
    """

    path: Path
    step_s: float
    s: Array
    position: Array
    velocity: Array
    acceleration: Array
    marks: tuple[tuple[int, float], ...]
    limits: Limits

    @property
    def duration_s(self) -> float:
        return (len(self.s) - 1) * self.step_s

    def sample(self, at_s: Array) -> tuple[Array, Array, Array]:
        """Position, velocity and acceleration (n, 6) at times (n,), clamped to the trajectory's ends."""
        x = np.clip(at_s / self.step_s, 0.0, len(self.s) - 1.0)
        i = np.minimum(x.astype(np.intp), len(self.s) - 2)
        f = (x - i)[:, None]
        h = self.step_s
        q0, q1, v0, v1 = self.position[i], self.position[i + 1], self.velocity[i], self.velocity[i + 1]
        f2, f3 = f * f, f * f * f
        position = (2 * f3 - 3 * f2 + 1) * q0 + (f3 - 2 * f2 + f) * h * v0 + (3 * f2 - 2 * f3) * q1 + (f3 - f2) * h * v1
        velocity = (1 - f) * v0 + f * v1
        acceleration = (1 - f) * self.acceleration[i] + f * self.acceleration[i + 1]
        return position, velocity, acceleration

    def s_at(self, at_s: float) -> float:
        """Path parameter at a time."""
        return float(np.interp(at_s, np.arange(len(self.s)) * self.step_s, self.s))

    def time_at(self, s: float) -> float:
        """Time at which path parameter `s` is reached."""
        return float(np.interp(s, self.s, np.arange(len(self.s)) * self.step_s))

    def stage_at(self, at_s: float) -> int:
        stage = self.marks[0][0]
        for mark, begins_s in self.marks:
            if at_s >= begins_s - 1e-9:
                stage = mark
        return stage

    def mark_s(self, stage: int) -> float:
        """Time at which a stage begins; 0 if the trajectory has none such."""
        return next((begins_s for mark, begins_s in self.marks if mark == stage), 0.0)


class _Demand:
    """What a path asks of the arm, at the points of a grid of s."""

    def __init__(self, path: Path, kinematics: ArmKinematics, limits: Limits) -> None:
        grid = self.grid = _grid(path)
        self.first, self.second, self.accel = path.at(grid, 1), path.at(grid, 2), limits.accel_radps2
        tools = kinematics.tool(path.at(grid))
        tip = tools[:, :3, 3]
        tip_rate = np.linalg.norm(np.gradient(tip, grid, axis=0), axis=1)
        leg_limit = np.array([leg.max_tool_mps for leg in path.legs])[path.leg_index(grid)]
        # At a change of limit the slower one holds on both sides of it.
        leg_limit = np.minimum(leg_limit, np.minimum(np.roll(leg_limit, 1), np.roll(leg_limit, -1)))
        by_joint = (limits.speed_radps / np.maximum(np.abs(self.first), 1e-9)).min(axis=1)
        self.rate_max = np.minimum(np.minimum(leg_limit / np.maximum(tip_rate, 1e-9), by_joint), MAX_RATE)
        if math.isfinite(limits.load_accel_mps2):
            curve = CubicSpline(grid, tools[:, :3, :3] @ limits.load_in_tool + tip, bc_type="natural")
            self.first, self.second = np.hstack([self.first, curve(grid, 1)]), np.hstack([self.second, curve(grid, 2)])
            self.accel = np.concatenate([self.accel, np.full(3, limits.load_accel_mps2)])

    def fastest(self, share: Array | float = 1.0) -> Array:
        """(n,) the fastest ds/dt on the grid (TOPPRA), from and to standstill.

        Args:
            share: (n, 1) how much of the acceleration limits may be used there, 0 … 1.

        Raises:
            TimingError: the path cannot be timed.
        """
        rates = fastest(self.grid, self.first / share, self.second / share, self.accel, self.rate_max)
        if rates is None:
            raise TimingError("no timing of the path within speed and acceleration limits")
        return rates


def _grid(path: Path) -> Array:
    """(n,) s, evenly, and at the knots of the path that stand closer: a sharp corner is not to be missed."""
    even = np.linspace(0.0, path.length_rad, int(np.clip(path.length_rad / 0.025, 40, 160)))
    knots, step = path.curve.x, even[1]
    close = np.diff(knots) < 0.7 * step
    dense = knots[np.concatenate([close, [False]]) | np.concatenate([[False], close])]
    if not len(dense):
        return even
    near = np.abs(even[:, None] - dense).min(axis=1) < 0.5 * np.median(np.diff(knots)[close])
    near[[0, -1]] = False
    return np.unique(np.concatenate([even[~near], dense]))


def optimal_profile(path: Path, kinematics: ArmKinematics, limits: Limits) -> tuple[Array, Array]:
    """Grid of s and the fastest ds/dt on it (TOPPRA), from and to standstill.

    Raises:
        TimingError: the path cannot be timed.
    """
    demand = _Demand(path, kinematics, limits)
    return demand.grid, demand.fastest()


def profile_times(grid: Array, rate: Array) -> Array:
    """Time at each grid point for path speeds whose squares are linear in s between grid points."""
    pace = np.maximum(rate[1:] + rate[:-1], 1e-9)
    return np.concatenate([[0.0], np.cumsum(2.0 * np.diff(grid) / pace)])


def _smoothed(grid: Array, rate: Array, length: float, smoothing_s: float) -> tuple[Array, Array, Array]:
    """s, ds/dt and its derivative every SAMPLE_S, averaged over `smoothing_s` of time."""
    at = profile_times(grid, rate)
    total = float(at[-1])
    width = max(1, round(smoothing_s / SAMPLE_S))
    t = np.arange(math.ceil(total / SAMPLE_S) + 1) * SAMPLE_S
    i = np.clip(np.searchsorted(at, t, side="right") - 1, 0, len(at) - 2)
    past = np.minimum(t, total) - at[i]
    slope = (rate[i + 1] - rate[i]) / np.maximum(at[i + 1] - at[i], 1e-9)
    running = t < total
    ds = np.where(running, rate[i] + slope * past, 0.0)
    s = np.where(running, grid[i] + rate[i] * past + 0.5 * slope * past**2, length)
    dds = np.where(running, slope, 0.0)
    kernel = np.full(width, 1.0 / width)

    def averaged(values: Array, after: float) -> Array:
        padded = np.concatenate([np.zeros(width - 1), values, np.full(width - 1, after)])
        return np.asarray(np.convolve(padded, kernel, mode="valid"))

    return averaged(s, length), averaged(ds, 0.0), averaged(dds, 0.0)


def _gentler_where_over(over: Array, used: Array, reach: int) -> Array:
    """Less of the acceleration limits where smoothing made an acceleration exceed them, and nowhere else.

    Args:
        over: (n,) accelerations by their limits at samples of a trajectory.
        used: (n,) the share of the limits that they were planned with.
        reach: samples to both sides that the averaging mixes with one.
    """
    wanted = np.where(over > 1.0, AIM * used / np.maximum(over, 1.0), used)
    return np.asarray(np.maximum(minimum_filter1d(wanted, 2 * reach + 1, mode="nearest"), LEAST_SHARE))


def time_path(path: Path, kinematics: ArmKinematics, limits: Limits, smoothing_s: float) -> Trajectory:
    """The trajectory along `path`, from standstill to standstill.

    Raises:
        TimingError: as `optimal_profile`.
    """
    demand = _Demand(path, kinematics, limits)
    share = np.ones(len(demand.grid))
    best, stretch = (np.empty(0), np.empty((0, 0)), np.empty((0, 0))), math.inf
    for _ in range(PASSES):
        rate = demand.fastest(share[:, None])
        s, ds, dds = _smoothed(demand.grid, rate, path.length_rad, smoothing_s)
        first, second = path.at(s, 1), path.at(s, 2)
        velocity = first * ds[:, None]
        acceleration = second * (ds**2)[:, None] + first * dds[:, None]
        over = (np.abs(acceleration) / limits.accel_radps2).max(axis=1)
        slower = max(1.0, float((np.abs(velocity) / limits.speed_radps).max()), math.sqrt(float(over.max())))
        if len(s) * slower < len(best[0]) * stretch or not len(best[0]):
            best, stretch = (s, velocity, acceleration), slower
        if slower <= ENOUGH:
            break
        used = np.interp(s, demand.grid, share)
        gentler = _gentler_where_over(over, used, round(0.5 * smoothing_s / SAMPLE_S))
        share = np.interp(demand.grid, s, gentler)
    s, velocity, acceleration = best
    position = path.at(s)
    acceleration[0] = acceleration[-1] = 0.0
    velocity[0] = velocity[-1] = 0.0
    step_s = SAMPLE_S * stretch
    times = np.arange(len(s)) * step_s
    starts = (0.0, *path.ends[:-1])
    marks: list[tuple[int, float]] = []
    for leg, begins in zip(path.legs, starts, strict=True):
        if not marks or marks[-1][0] != leg.stage:
            marks.append((leg.stage, float(np.interp(begins, s, times)) if begins > 0.0 else 0.0))
    return Trajectory(path, step_s, s, position, velocity / stretch, acceleration / stretch**2, tuple(marks), limits)
