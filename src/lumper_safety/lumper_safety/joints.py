"""Supervision of the arm: position, speed, acceleration and distance from the active trajectory."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumper_safety.causes import Code, Limits

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Violation:
    """A joint beyond a limit; rad, rad/s or rad/s^2."""

    code: Code
    joint: str
    value: float
    limit: float
    text: str


class JointWatch:
    """Fed with valid joint states in order of their stamps.

    Args:
        names: joint names.
        lower_rad, upper_rad, speed_radps, accel_radps2: (n,) of the robot description.
    """

    def __init__(
        self,
        names: Sequence[str],
        lower_rad: Array,
        upper_rad: Array,
        speed_radps: Array,
        accel_radps2: Array,
        limits: Limits,
    ) -> None:
        self._names = tuple(names)
        self._limits = limits
        self._lower = lower_rad - limits.joint_position_margin_rad
        self._upper = upper_rad + limits.joint_position_margin_rad
        self._speed = speed_radps * limits.joint_speed_factor
        self._full_speed = speed_radps
        self._accel = accel_radps2 * limits.joint_acceleration_factor
        self._history: deque[tuple[float, Array, Array]] = deque(maxlen=400)  # stamp, position, velocity
        self._commanded: tuple[float, Array] | None = None
        self._off_path = 0
        self.stamp_s = float("-inf")
        self.position_rad: Array | None = None
        self.velocity_radps: Array = np.zeros(len(self._names))

    @property
    def moving(self) -> bool:
        """Whether the arm was measured to move when it was last heard of."""
        return bool(np.abs(self.velocity_radps).max() > self._limits.moving_radps)

    @property
    def speed_fraction(self) -> float:
        """Largest joint speed over its limit, 0..1 and above."""
        return float((np.abs(self.velocity_radps) / self._full_speed).max())

    def forget(self) -> None:
        """Time was set back: what came before does not compare with what comes now."""
        self._history.clear()
        self._commanded, self._off_path = None, 0

    def update(self, stamp_s: float, position_rad: Array, velocity_radps: Array) -> list[Violation]:
        """Take a joint state; what is beyond its limit, one violation per kind (the worst joint)."""
        self.stamp_s, self.position_rad, self.velocity_radps = stamp_s, position_rad, velocity_radps
        found = []
        over = np.maximum(self._lower - position_rad, position_rad - self._upper)
        if over.max() > 0.0:
            i = int(over.argmax())
            limit = float(self._lower[i] if position_rad[i] < self._lower[i] else self._upper[i])
            found.append(self._violation(Code.JOINT_POSITION, i, float(position_rad[i]), limit, "position", "rad"))
        speed = np.abs(velocity_radps)
        if (speed > self._speed).any():
            i = int((speed / self._speed).argmax())
            found.append(self._violation(Code.JOINT_SPEED, i, float(speed[i]), float(self._speed[i]), "speed", "rad/s"))
        violation = self._acceleration(stamp_s, velocity_radps)
        if violation is not None:
            found.append(violation)
        self._history.append((stamp_s, position_rad, velocity_radps))
        violation = self._following()
        if violation is not None:
            found.append(violation)
        return found

    def command(self, stamp_s: float, position_rad: Array | None) -> None:
        """Where the active trajectory is at `stamp_s`; None = there is none."""
        if position_rad is None:
            self._commanded, self._off_path = None, 0
        else:
            self._commanded = (stamp_s, position_rad)

    def _acceleration(self, stamp_s: float, velocity_radps: Array) -> Violation | None:
        """Mean acceleration over the window; no statement across a gap in the data."""
        window_s = self._limits.acceleration_window_s
        for past_s, _, past_radps in reversed(self._history):
            if stamp_s - past_s >= window_s:
                if stamp_s - past_s > 3.0 * window_s:
                    return None
                accel = np.abs(velocity_radps - past_radps) / (stamp_s - past_s)
                if not (accel > self._accel).any():
                    return None
                i = int((accel / self._accel).argmax())
                return self._violation(
                    Code.JOINT_ACCELERATION, i, float(accel[i]), float(self._accel[i]), "acceleration", "rad/s^2"
                )
        return None

    def _following(self) -> Violation | None:
        """Distance from the commanded position, judged once joint states on both sides of its stamp are known.

        The stamp of the command and those of the joints may be off by a period of the clock: the smallest error within
        `following_time_s` counts. Two commands in a row must be missed.
        """
        if self._commanded is None:
            return None
        stamp_s, commanded = self._commanded
        near_s = self._limits.following_time_s
        if self.stamp_s < stamp_s + near_s:
            return None
        self._commanded = None
        window = [(p, v) for s, p, v in self._history if abs(s - stamp_s) <= near_s]
        if not window:
            return None
        positions, speeds = np.array([p for p, _ in window]), np.abs(np.array([v for _, v in window])).max(axis=0)
        # Between two samples the joint passes every position in between.
        low, high = positions.min(axis=0), positions.max(axis=0)
        error = np.maximum(np.maximum(low - commanded, commanded - high), 0.0)
        limit = self._limits.following_error_rad + near_s * speeds
        if not (error > limit).any():
            self._off_path = 0
            return None
        self._off_path += 1
        if self._off_path < 2:
            return None
        i = int((error / limit).argmax())
        return self._violation(
            Code.FOLLOWING_ERROR, i, float(error[i]), float(limit[i]), "distance from the active trajectory", "rad"
        )

    def _violation(self, code: Code, i: int, value: float, limit: float, what: str, unit: str) -> Violation:
        name = self._names[i]
        return Violation(code, name, value, limit, f"{name}: {what} {value:.3f} {unit}, limit {limit:.3f} {unit}")
