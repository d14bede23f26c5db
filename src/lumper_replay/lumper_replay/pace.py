"""When each recorded message is due: bag time against steady time, with rate, pause and steps."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """Maps receive stamps (ns) to steady time (s).

    rate: recorded seconds per second.
    """

    rate: float
    paused: bool = False
    _origin_ns: int = 0
    _origin_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < 1e4:
            raise ValueError(f"rate {self.rate:g}: must be above 0 and below 10000")

    def due_s(self, stamp_ns: int) -> float:
        """Steady time at which a message is due."""
        return self._origin_s + (stamp_ns - self._origin_ns) * 1e-9 / self.rate

    def stamp_ns(self, now_s: float) -> int:
        """Bag time."""
        return self._origin_ns if self.paused else self._origin_ns + int((now_s - self._origin_s) * 1e9 * self.rate)

    def pause(self, now_s: float) -> None:
        """Bag time stands still from now on."""
        if not self.paused:
            self._origin_ns, self._origin_s, self.paused = self.stamp_ns(now_s), now_s, True

    def resume(self, now_s: float) -> None:
        """Bag time goes on from where it stood."""
        if self.paused:
            self._origin_s, self.paused = now_s, False

    def jump(self, stamp_ns: int, now_s: float) -> None:
        """This stamp is due now; paused or not stays as it is."""
        self._origin_ns, self._origin_s = stamp_ns, now_s
