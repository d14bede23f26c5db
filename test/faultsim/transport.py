"""How messages travel in a run: at once and in order, but for the windows in which something is wrong with the network.

Within each topic's promises: best effort may lose, reliable is late instead; one writer's messages on one topic never overtake
one another, while those of different topics and writers do. Each window draws from a generator of its own, so that taking one
away changes nothing about the others.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from lumper_ros import interfaces
from lumper_ros.interfaces import Profile
from lumper_ros.virtual import VirtualGraph

DELAY_S, COMPUTE_S = 0.002, 0.02
_ON_TIME = (DELAY_S,)
_LOSSY = (Profile.SENSOR, Profile.CLOUD, Profile.CLOCK)
# A reliable writer asks again after so long.
RESEND_S = 0.02


class Trouble(Enum):
    """What may be wrong with the network, a worker or a disk."""

    DELAY = "delay"
    DROP = "drop"
    DOUBLE = "double"
    PARTITION = "partition"
    SLOW = "slow"
    DISK = "disk"


@dataclass(slots=True)
class Window:
    """Something is wrong until `until_s` with what touches `target`, a node or a topic; "" = everything.

    amount: largest delay in s, probability of loss or of doubling, or factor of computing time.
    """

    trouble: Trouble
    target: str
    amount: float
    until_s: float
    rng: random.Random

    def touches(self, name: str, source: str, target: str) -> bool:
        return self.target in ("", name, source, target)


class FaultyTransport:
    """See `lumper_ros.virtual.Transport`."""

    def __init__(self) -> None:
        self._graph: VirtualGraph | None = None
        self._windows: list[Window] = []
        self._newest: dict[tuple[str, str, str], float] = {}

    def bind(self, graph: VirtualGraph) -> None:
        self._graph = graph

    def open(self, window: Window) -> None:
        self._windows.append(window)

    def _now_s(self) -> float:
        assert self._graph is not None
        return self._graph.now_s

    def _live(self) -> list[Window]:
        now_s = self._now_s()
        if any(window.until_s <= now_s for window in self._windows):
            self._windows = [window for window in self._windows if window.until_s > now_s]
        return self._windows

    def troubled(self, *names: str) -> bool:
        """Whether anything is late or lost now on its way from or to these nodes or topics."""
        bad = (Trouble.DELAY, Trouble.DROP, Trouble.PARTITION)
        return any(w.trouble in bad and w.target in ("", *names) for w in self._live())

    def topic(self, name: str, source: str, target: str) -> Sequence[float]:
        if not self._windows and not self._newest:
            return _ON_TIME
        now_s, key = self._now_s(), (name, source, target)
        delay_s, copies = DELAY_S, 1
        lossy = interfaces.TOPICS[name].profile in _LOSSY
        for window in self._live():
            if not window.touches(name, source, target):
                continue
            match window.trouble:
                case Trouble.DELAY:
                    delay_s += window.rng.random() * window.amount
                case Trouble.DROP:
                    lost = window.rng.random() < window.amount
                    if lost and lossy:
                        return ()
                    while lost:
                        delay_s += RESEND_S
                        lost = window.rng.random() < window.amount
                case Trouble.DOUBLE:
                    copies += window.rng.random() < window.amount
                case Trouble.PARTITION:
                    if lossy:
                        return ()
                    delay_s = max(delay_s, window.until_s - now_s + RESEND_S)
                case Trouble.SLOW | Trouble.DISK:
                    pass
        arrives_s = max(now_s + delay_s, self._newest.get(key, 0.0))
        if delay_s > DELAY_S:
            self._newest[key] = arrives_s
        elif arrives_s <= now_s + delay_s:
            self._newest.pop(key, None)
        return [arrives_s - now_s] * copies

    def request(self, name: str, source: str, target: str) -> float:
        delay_s, now_s = DELAY_S, self._now_s()
        for window in self._live() if self._windows else ():
            if not window.touches(name, source, target):
                continue
            if window.trouble is Trouble.DELAY:
                delay_s += window.rng.random() * window.amount
            elif window.trouble is Trouble.PARTITION:
                delay_s = max(delay_s, window.until_s - now_s + RESEND_S)
            elif window.trouble is Trouble.DROP:
                while window.rng.random() < window.amount:
                    delay_s += RESEND_S
        return delay_s

    def compute(self, node: str, tag: str) -> float:
        factor = 1.0
        for window in self._live() if self._windows else ():
            if window.trouble is Trouble.SLOW and window.touches("", node, node):
                factor += window.rng.random() * window.amount
        return COMPUTE_S * factor

    def persist_fails(self, node: str, kind: str, key: str) -> str:
        for window in self._live() if self._windows else ():
            if window.trouble is Trouble.DISK and window.touches(kind, node, node):
                return "No space left on device"
        return ""
