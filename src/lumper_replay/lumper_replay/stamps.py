"""Receive stamps in ROS time, also between two messages on /clock."""

from dataclasses import dataclass


@dataclass(slots=True)
class Stamper:
    """Simulated time moves in steps of /clock; a bag stamped so would play in bursts. Between two steps the stamp goes on with
    the rate of the last ones, never past one step, and never back unless the clock itself does."""

    _clock_ns: int = 0
    _seen_s: float = 0.0
    _step_ns: int = 0
    _rate: float = 1.0
    _last_ns: int = 0

    def stamp(self, clock_ns: int, steady_s: float) -> int | None:
        """Receive stamp in ns; None = no /clock was heard yet.

        Args:
            clock_ns: what the node's clock says. steady_s: monotonic clock, s.
        """
        if clock_ns <= 0:
            return None
        if clock_ns != self._clock_ns:
            step_ns, passed_s = clock_ns - self._clock_ns, steady_s - self._seen_s
            if step_ns < 0 or self._clock_ns == 0:
                self._last_ns, self._step_ns = clock_ns, 0
            else:
                self._step_ns = step_ns
                self._rate = step_ns * 1e-9 / passed_s if passed_s > 1e-6 else 1.0
            self._clock_ns, self._seen_s = clock_ns, steady_s
        ahead_ns = min((steady_s - self._seen_s) * 1e9 * self._rate, float(self._step_ns))
        self._last_ns = max(self._last_ns, clock_ns + int(ahead_ns))
        return self._last_ns
