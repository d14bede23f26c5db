"""Speed and separation: how fast the arm may move for a person at a distance.

ISO/TS 15066:2016, 5.5.4 (now in ISO 10218-2:2025), constant deceleration:
Sp = vh (Tr + Ts) + vr Tr + 1/2 vr Ts + C + Zd + Zr.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def required_separation(
    human_mps: float,
    robot_mps: float,
    reaction_s: float,
    stopping_s: float,
    intrusion_m: float,
    human_uncertainty_m: float,
    robot_uncertainty_m: float,
) -> float:
    """Sp in m. C = intrusion distance, Zd = uncertainty of the person's position, Zr = of the robot's."""
    return (
        human_mps * (reaction_s + stopping_s)
        + robot_mps * reaction_s
        + 0.5 * robot_mps * stopping_s
        + intrusion_m
        + human_uncertainty_m
        + robot_uncertainty_m
    )


class RunningMax:
    """Largest value of the last `window_s`, in ten steps."""

    def __init__(self, window_s: float, floor: float) -> None:
        self._step_s = window_s / 10.0
        self._floor = floor
        self._peaks: deque[tuple[float, float]] = deque()  # start of the step, its peak

    def add(self, steady_s: float, value: float) -> None:
        if not self._peaks or steady_s - self._peaks[-1][0] >= self._step_s:
            self._peaks.append((steady_s, value))
        elif value > self._peaks[-1][1]:
            self._peaks[-1] = (self._peaks[-1][0], value)
        while self._peaks and steady_s - self._peaks[0][0] > 11.0 * self._step_s:
            self._peaks.popleft()

    @property
    def value(self) -> float:
        return max(self._floor, max((peak for _, peak in self._peaks), default=0.0))


class SpeedScale:
    """The largest speed scale that keeps the separation at Sp or more.

    Args:
        stopping_s: stopping time of the arm by (speed as fraction of its limits, mass carried in kg).
        full_speed_mps: no point of the arm is faster than this at scale 1.
        constant_m: C + Zd + Zr.
        human_mps: assumed of every person; a person measured to be faster counts with that speed.
        hold_s: the scale rises only to what held throughout this time: it falls at once and rises late (hysteresis).
        smallest: below this scale the arm stops.
    """

    def __init__(
        self,
        stopping_s: Callable[[float, float], float],
        full_speed_mps: float,
        constant_m: float,
        human_mps: float,
        hold_s: float,
        smallest: float,
    ) -> None:
        self._stopping = stopping_s
        self._full_mps = full_speed_mps
        self._constant_m = constant_m
        self._human_mps = human_mps
        self._hold_s = hold_s
        self._smallest = smallest
        self._grid = np.linspace(0.0, 1.0, 101)
        self._tables: dict[float, Array] = {}
        self._recent: deque[tuple[float, float]] = deque()  # rising scales: (steady time, scale)

    def _stopping_table(self, mass_kg: float) -> Array:
        """Stopping time on the grid; masses rounded up to 5 kg."""
        mass_kg = 5.0 * float(np.ceil(mass_kg / 5.0))
        table = self._tables.get(mass_kg)
        if table is None:
            table = np.array([self._stopping(float(scale), mass_kg) for scale in self._grid])
            self._tables[mass_kg] = table
        return table

    def required(self, scale: float, reaction_s: float, mass_kg: float, human_mps: float = 0.0) -> float:
        """Sp in m at a scale."""
        return required_separation(
            max(self._human_mps, human_mps),
            scale * self._full_mps,
            reaction_s,
            float(np.interp(scale, self._grid, self._stopping_table(mass_kg))),
            self._constant_m,
            0.0,
            0.0,
        )

    def required_at_speed(
        self, robot_mps: float, speed_fraction: float, reaction_s: float, mass_kg: float, human_mps: float = 0.0
    ) -> float:
        """Sp in m for a measured speed."""
        stopping_s = self._stopping(min(speed_fraction, 1.0), mass_kg)
        return required_separation(
            max(self._human_mps, human_mps), robot_mps, reaction_s, stopping_s, self._constant_m, 0.0, 0.0
        )

    def largest(
        self, separation_m: float, lag_s: float, reaction_s: float, mass_kg: float, human_mps: float = 0.0
    ) -> float:
        """Largest scale, 0..1, that keeps Sp when it takes effect `lag_s` after the separation was measured.

        Until then person and arm may close in on each other: separation - (vh + vr) lag >= Sp(vr).
        """
        if separation_m == np.inf:
            return 1.0
        human_mps = max(self._human_mps, human_mps)
        robot = self._grid * self._full_mps
        stopping = self._stopping_table(mass_kg)
        spare = (
            separation_m
            - (human_mps + robot) * lag_s
            - (human_mps * (reaction_s + stopping) + robot * reaction_s + 0.5 * robot * stopping + self._constant_m)
        )
        if spare[-1] >= 0.0:
            return 1.0
        if spare[0] < 0.0:
            return 0.0
        i = int(np.argmax(spare < 0.0))
        # Sp is convex in the speed between two rows of the table: the chord errs on the safe side.
        share = spare[i - 1] / (spare[i - 1] - spare[i])
        return float(self._grid[i - 1] + share * (self._grid[i] - self._grid[i - 1]))

    def step(self, steady_s: float, largest: float) -> float:
        """The scale to apply now: follows `largest` down at once, and up after it has stayed up for `hold_s`."""
        while self._recent and self._recent[-1][1] >= largest:
            self._recent.pop()
        self._recent.append((steady_s, largest))
        while steady_s - self._recent[0][0] > self._hold_s and len(self._recent) > 1:
            self._recent.popleft()
        scale = self._recent[0][1]
        return scale if scale >= self._smallest else 0.0
