"""The drive base's motion along x: trapezoid of speed, cancel, and a look at whether the wheels follow."""

import math
from dataclasses import dataclass
from enum import IntEnum


class DriveEnd(IntEnum):
    REACHED = 0
    CANCELED = 1
    BLOCKED = 2


@dataclass(frozen=True, slots=True)
class DriveSpec:
    max_speed_mps: float
    max_accel_mps2: float
    min_x_m: float
    max_x_m: float
    blocked_m: float = 0.05


class DriveError(ValueError):
    """An advance that cannot be made; the text names the field."""


class Drive:
    """Reference position of the base. `step` returns (x, v, a) in m, m/s, m/s^2."""

    def __init__(self, spec: DriveSpec, x_m: float) -> None:
        self._spec = spec
        self.x_m = x_m
        self._v = 0.0
        self._target = x_m
        self._start = x_m
        self._limit = spec.max_speed_mps
        self.goal_id = ""
        self._canceling = False
        self._ended: list[tuple[str, DriveEnd, float]] = []

    def start(self, goal_id: str, distance_m: float, max_speed_mps: float) -> None:
        """Move by so much.

        Raises:
            DriveError: not finite, outside the trailer and dock, speed not positive, or moving already.
        """
        if self.goal_id:
            raise DriveError("the base is moving already; cancel that first")
        if not math.isfinite(distance_m):
            raise DriveError(f"distance_m={distance_m} is not finite")
        if not math.isfinite(max_speed_mps) or max_speed_mps <= 0.0:
            raise DriveError(f"max_speed_mps={max_speed_mps} must be positive")
        target = self.x_m + distance_m
        if not self._spec.min_x_m <= target <= self._spec.max_x_m:
            raise DriveError(
                f"distance_m={distance_m} would bring the base to x={target:.2f} m, outside {self._spec.min_x_m:.2f} .. {self._spec.max_x_m:.2f} m"
            )
        self.goal_id, self._target, self._start = goal_id, target, self.x_m
        self._limit, self._canceling = min(max_speed_mps, self._spec.max_speed_mps), False

    def cancel(self, goal_id: str) -> bool:
        """Brake; ends CANCELED at standstill."""
        if not goal_id or goal_id != self.goal_id:
            return False
        self._canceling = True
        return True

    @property
    def moved_m(self) -> float:
        return self.x_m - self._start

    def step(self, dt_s: float, measured_x_m: float, allowed: bool) -> tuple[float, float, float]:
        """One period on. `allowed` false (E-stop) brakes and ends the goal as blocked."""
        accel = self._spec.max_accel_mps2
        before = self._v
        if not self.goal_id:
            return self.x_m, 0.0, 0.0
        if abs(self.x_m - measured_x_m) > self._spec.blocked_m:
            self.x_m, self._v = measured_x_m, 0.0
            self._finish(DriveEnd.BLOCKED)
            return self.x_m, 0.0, 0.0
        remaining = self._target - self.x_m
        braking = self._canceling or not allowed
        speed = 0.0 if braking else min(self._limit, math.sqrt(max(0.0, 2 * accel * abs(remaining) * 0.98)))
        wanted = math.copysign(speed, remaining)
        change = max(-accel * dt_s, min(accel * dt_s, wanted - self._v))
        self._v += change
        self.x_m += self._v * dt_s
        if braking and self._v == 0.0:
            self._finish(DriveEnd.CANCELED if self._canceling else DriveEnd.BLOCKED)
        elif not braking and abs(self._target - self.x_m) < 5e-4 and abs(self._v) <= 2 * accel * dt_s + 0.02:
            self.x_m, self._v = self._target, 0.0
            self._finish(DriveEnd.REACHED)
        return self.x_m, self._v, (self._v - before) / dt_s

    def _finish(self, end: DriveEnd) -> None:
        self._ended.append((self.goal_id, end, self.moved_m))
        self.goal_id = ""

    def take_ended(self) -> list[tuple[str, DriveEnd, float]]:
        """(goal id, how, metres moved) of what ended since the last call."""
        done, self._ended = self._ended, []
        return done
