"""What a recording shows of the robot's behaviour, in the figures that regression tests assert."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lumper_msgs.msg import SafetyState

from lumper_replay.names import Names
from lumper_replay.reader import open_bag
from lumper_replay.redo import topic_class

_STOPPED = (SafetyState.PROTECTIVE_STOP, SafetyState.EMERGENCY_STOP)
# Slower than this the arm counts as standing, rad/s.
STANDSTILL_RADPS = 0.01
_TOPICS = ("safety/state", "joint_states", "motion/state", "job/state", "plan", "events")


@dataclass(frozen=True, slots=True)
class Stop:
    """A withdrawn permit.

    at_s: receive stamp from the start of the recording. to_standstill_s: until the arm stood; None = it did not, or the
    recording ends. moving: the arm moved when the permit went. causes: texts.
    """

    at_s: float
    mode: int
    moving: bool
    to_standstill_s: float | None
    causes: tuple[str, ...]
    codes: frozenset[int]


@dataclass(slots=True)
class Behaviour:
    """Figures of a recording. Times in s from its start.

    dispatched_without_permit: as the broker counts at its door. modes: (time, mode) at each change.
    """

    span_s: float = 0.0
    delivered: int = 0
    dropped: int = 0
    plans: int = 0
    dispatched: int = 0
    dispatched_without_permit: int = 0
    stops: list[Stop] = field(default_factory=list)
    modes: list[tuple[float, int]] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)

    def stops_while_moving(self) -> list[Stop]:
        """Stops that stopped something."""
        return [stop for stop in self.stops if stop.moving]


@dataclass(slots=True)
class _Open:
    """A stop whose standstill is not seen yet."""

    at_s: float
    mode: int
    causes: tuple[str, ...]
    codes: frozenset[int]
    moving: bool


class _Follower:
    def __init__(self) -> None:
        self.made = Behaviour()
        self._open: _Open | None = None
        self._speed = 0.0
        self._mode: int | None = None

    def take(self, name: str, message: Any, at_s: float) -> None:
        made = self.made
        match name:
            case "safety/state":
                self._safety(message, at_s)
            case "joint_states":
                velocity = np.abs(np.asarray(message.velocity, dtype=float))
                self._speed = float(velocity.max()) if velocity.size and np.isfinite(velocity).all() else self._speed
                if self._open is not None and self._speed < STANDSTILL_RADPS:
                    self._close(at_s)
            case "motion/state":
                made.dispatched = max(made.dispatched, int(message.dispatched))
                made.dispatched_without_permit = max(
                    made.dispatched_without_permit, int(message.dispatched_without_permit)
                )
            case "job/state":
                made.delivered, made.dropped = max(made.delivered, message.done), max(made.dropped, message.dropped)
            case "plan":
                made.plans += 1
            case "events":
                made.events[message.code] = made.events.get(message.code, 0) + 1

    def _safety(self, message: Any, at_s: float) -> None:
        mode = int(message.mode)
        if mode == self._mode:
            return
        self.made.modes.append((at_s, mode))
        was_permitted = self._mode in (SafetyState.RUN, SafetyState.REDUCED)
        self._mode = mode
        if mode in _STOPPED and was_permitted:
            self._close(None)
            present = [cause for cause in message.causes if cause.effect >= 2]
            codes = frozenset(int(cause.code) for cause in present)
            texts = tuple(str(cause.text) for cause in present)
            self._open = _Open(at_s, mode, texts, codes, self._speed >= STANDSTILL_RADPS)

    def _close(self, at_s: float | None) -> None:
        stop, self._open = self._open, None
        if stop is not None:
            spent = None if at_s is None else at_s - stop.at_s
            self.made.stops.append(Stop(stop.at_s, stop.mode, stop.moving, spent, stop.causes, stop.codes))

    def end(self, span_s: float) -> Behaviour:
        self._close(None)
        self.made.span_s = span_s
        return self.made


def behaviour(path: Path) -> Behaviour:
    """Figures of a recording.

    Raises:
        BagError: there is nothing readable.
    """
    bag = open_bag(path)
    known = Names(bag).known
    wanted = {absolute for absolute, name in known.items() if name in _TOPICS}
    first_ns, last_ns = bag.span_ns()
    follower = _Follower()
    for message in bag.by_stamp(wanted):
        name = known[message.topic]
        decoded = bag.decoded(message.topic, message.data, topic_class(name))
        if decoded is not None:
            follower.take(name, decoded, (message.stamp_ns - first_ns) * 1e-9)
    return follower.end((last_ns - first_ns) * 1e-9)
