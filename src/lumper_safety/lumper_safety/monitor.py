"""Modes and latches: from causes that come and go to one decision. The most restrictive cause decides."""

from dataclasses import dataclass
from enum import IntEnum

from lumper_msgs.msg import SafetyState

from lumper_safety.causes import MEANINGS, Code, Effect, Latch, Table


class Mode(IntEnum):
    """Modes; values as in lumper_msgs/SafetyState."""

    STARTING = SafetyState.STARTING
    RUN = SafetyState.RUN
    REDUCED = SafetyState.REDUCED
    PROTECTIVE_STOP = SafetyState.PROTECTIVE_STOP
    EMERGENCY_STOP = SafetyState.EMERGENCY_STOP


MOVING_MODES = (Mode.RUN, Mode.REDUCED)


@dataclass(slots=True)
class Cause:
    """One cause at work. `present` False = over, but latched."""

    code: Code
    source: str
    effect: Effect
    text: str
    value: float
    limit: float
    present: bool
    latched: bool
    since_s: float  # steady clock
    gone_s: float | None = None  # steady clock, when it was last found away
    latency_s: float = 0.0  # from the input's stamp, or from the end of its age, to the decision


@dataclass(frozen=True, slots=True)
class Decision:
    """What holds now. `speed_scale` is 0 where no motion is allowed."""

    mode: Mode
    speed_scale: float
    causes: tuple[Cause, ...]

    @property
    def permitted(self) -> bool:
        return self.mode in MOVING_MODES


class Monitor:
    """The ledger of causes. Every method takes the steady time."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._causes: dict[tuple[Code, str], Cause] = {}

    def report(
        self,
        code: Code,
        source: str,
        steady_s: float,
        *,
        text: str,
        value: float = 0.0,
        limit: float = 0.0,
        moving: bool = False,
        effect: Effect | None = None,
        latency_s: float = 0.0,
    ) -> None:
        """A cause is there now. `moving`: the arm moves, so that a latch of policy `moving` falls."""
        latch = self._table.causes[code].latch
        effect = MEANINGS[code].effect if effect is None else effect
        cause = self._causes.get((code, source))
        if cause is None:
            cause = Cause(code, source, effect, text, value, limit, True, False, steady_s, None, latency_s)
            self._causes[code, source] = cause
        elif not cause.present:
            cause.since_s, cause.latency_s = steady_s, latency_s
        if latch is Latch.ALWAYS or (latch is Latch.MOVING and moving):
            cause.latched = True
        cause.effect, cause.text, cause.value, cause.limit = effect, text, value, limit
        cause.present, cause.gone_s = True, None

    def withdraw(self, code: Code, source: str, steady_s: float) -> None:
        """A cause is away now; it is over once it has been away for its `clear_s`."""
        cause = self._causes.get((code, source))
        if cause is None or not cause.present:
            return
        if cause.gone_s is None:
            cause.gone_s = steady_s
        if steady_s - cause.gone_s >= self._table.causes[code].clear_s:
            cause.present = False
            if not cause.latched:
                del self._causes[code, source]

    def has(self, code: Code, source: str) -> bool:
        """Whether the cause is present or latched."""
        return (code, source) in self._causes

    def present(self, code: Code) -> tuple[str, ...]:
        """Sources for which the cause is present."""
        return tuple(source for (kind, source), cause in self._causes.items() if kind is code and cause.present)

    @property
    def latched(self) -> tuple[Cause, ...]:
        return tuple(cause for cause in self._causes.values() if cause.latched)

    def restore(self, code: Code, source: str, text: str, steady_s: float) -> None:
        """Put back a latch of an earlier life."""
        self._causes[code, source] = Cause(code, source, MEANINGS[code].effect, text, 0.0, 0.0, False, True, steady_s)

    def reset(self) -> tuple[Cause, ...]:
        """Clear all latches; returns the causes still present, and clears nothing when there is one.

        An operator's speed limit is a wish, not a hazard: it does not stand in the way.
        """
        blocking = tuple(
            cause for cause in self._causes.values() if cause.present and cause.code is not Code.OPERATOR_LIMIT
        )
        if not blocking:
            for key, cause in list(self._causes.items()):
                cause.latched = False
                if not cause.present:
                    del self._causes[key]
        return blocking

    def decide(self, speed_scale: float) -> Decision:
        """The decision at a speed scale that separation and operator leave, 0..1."""
        causes = tuple(sorted(self._causes.values(), key=_severity)) if self._causes else ()
        worst = causes[0].effect if causes else None
        if worst is Effect.EMERGENCY_STOP:
            mode = Mode.EMERGENCY_STOP
        elif worst is Effect.PROTECTIVE_STOP:
            starting = all(cause.code is Code.NEVER_SEEN for cause in causes if cause.effect is Effect.PROTECTIVE_STOP)
            mode = Mode.STARTING if starting else Mode.PROTECTIVE_STOP
        elif speed_scale <= 0.0:
            mode = Mode.PROTECTIVE_STOP
        else:
            mode = Mode.RUN if speed_scale >= 1.0 else Mode.REDUCED
        return Decision(mode, speed_scale if mode in MOVING_MODES else 0.0, causes)


def _severity(cause: Cause) -> tuple[int, int, str]:
    return (-cause.effect, cause.code, cause.source)
