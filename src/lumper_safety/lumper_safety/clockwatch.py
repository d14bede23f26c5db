"""Watches the clocks against the steady one: a jump, a step back or a standstill of time is a cause, not a blindness."""

from lumper_ros.core import Now
from lumper_safety.causes import Limits

# Closer than this to the system clock, ROS time is the system clock.
_SAME_CLOCK_S = 0.005


class ClockWatch:
    """Fed at every tick and message. `rate` is the speed of ROS time against the steady clock, at least 1."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last: Now | None = None
        self._changed_steady_s = 0.0
        self._inputs = 0
        self._anchor: Now | None = None
        self.rate = 1.0

    @property
    def started(self) -> bool:
        """Whether ROS time is known (simulated time is 0 until the first /clock)."""
        return self._last is not None and self._last.ros_s > 0.0

    def input_came(self) -> None:
        """A stamped message arrived."""
        self._inputs += 1

    def step(self, now: Now) -> str:
        """What is wrong with the clocks at this instant, or an empty string."""
        last, self._last = self._last, now
        if last is None or last.ros_s <= 0.0:
            self._changed_steady_s, self._inputs, self._anchor = now.steady_s, 0, now
            return ""
        passed_s = now.steady_s - last.steady_s
        system_step_s = (now.system_s - last.system_s) - passed_s
        if abs(system_step_s) > self._limits.clock_jump_s:
            return f"the system clock stepped by {system_step_s:+.3f} s"
        if abs(now.ros_s - now.system_s) < _SAME_CLOCK_S and abs(last.ros_s - last.system_s) < _SAME_CLOCK_S:
            self.rate = 1.0
            return ""
        return self._simulated(now, now.ros_s - last.ros_s, passed_s)

    def _simulated(self, now: Now, ros_step_s: float, passed_s: float) -> str:
        if ros_step_s < -1e-6:
            self._anchor, self._changed_steady_s, self._inputs = now, now.steady_s, 0
            return f"ROS time ran backwards by {-ros_step_s:.3f} s"
        if ros_step_s > self._limits.clock_rate_max * passed_s + self._limits.clock_jump_s:
            self._anchor = now
            return f"ROS time jumped by {ros_step_s:+.3f} s within {passed_s:.3f} s"
        if ros_step_s > 0.0:
            self._changed_steady_s, self._inputs = now.steady_s, 0
        elif now.steady_s - self._changed_steady_s > self._limits.clock_still_s and self._inputs >= 10:
            return f"ROS time stands still for {now.steady_s - self._changed_steady_s:.2f} s while inputs keep coming"
        anchor = self._anchor
        if anchor is None or now.steady_s - anchor.steady_s > 1.0:
            if anchor is not None:
                self.rate = max(1.0, (now.ros_s - anchor.ros_s) / (now.steady_s - anchor.steady_s))
            self._anchor = now
        return ""
