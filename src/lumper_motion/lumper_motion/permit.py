"""The permit, broker's side: a short lease that many things can void and only one can grant (docs/motion.md, SAFETY.md)."""

import math
from dataclasses import dataclass
from typing import Any

from lumper_msgs.msg import SafetyState

from lumper_ros.auth import permit_genuine
from lumper_ros.convert import seconds
from lumper_ros.core import Now

# A monitor that has been silent so long may be followed by another one (its restart).
SUCCESSION_S = 0.15
# A system clock that is set back by less is caught up with soon, s.
SET_BACK_S = 0.25
_MODES = {
    SafetyState.STARTING: "starting: a required input was never seen",
    SafetyState.PROTECTIVE_STOP: "protective stop",
    SafetyState.EMERGENCY_STOP: "emergency stop",
}


@dataclass(frozen=True, slots=True)
class PermitRules:
    """Times in s, as in MotionParameters."""

    max_age_s: float
    clock_tolerance_s: float
    distrust_s: float


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether motion is allowed now, why not, and how fast (fraction of the planned speed)."""

    valid: bool
    text: str
    speed_scale: float


class Permit:
    """Judges every SafetyState. Pure: times come with the call."""

    def __init__(self, rules: PermitRules, key: bytes | None) -> None:
        self._rules = rules
        self._key = key
        self._monitor_id: int | None = None
        self._sequence = -1
        self._until_system_s = -math.inf
        self._stamp_system_s = -math.inf
        # Of all stamps believed, whatever the clock did since.
        self._newest_system_s = -math.inf
        self._received_steady_s = -math.inf
        self._ahead_s = -math.inf  # system clock ahead of the steady one
        self._scale = 0.0
        self._fault = "safety/state was never received"
        self._distrust_until_s = -math.inf
        self._distrust = ""
        self._latencies: list[tuple[float, float]] = []
        self.rejected = 0

    def receive(self, state: Any, now: Now) -> str:
        """Take one message; returns what is wrong with it, or an empty string."""
        self._watch_clock(now)
        fault = self._judge(state, now)
        if fault:
            self.rejected += 1
        return fault

    def _judge(self, state: Any, now: Now) -> str:
        if not permit_genuine(self._key, state):
            # It may come from the monitor's own name: somebody is on the bus who should not be.
            return self._doubt("a message without this robot's code was on safety/state", now)
        stamp_s, until_s = seconds(state.stamp), seconds(state.permit_until)
        if self._monitor_id is None:
            self._monitor_id = state.monitor_id
        elif state.monitor_id != self._monitor_id:
            if now.steady_s - self._received_steady_s < SUCCESSION_S:
                return self._doubt(f"two monitors publish: {self._monitor_id} and {state.monitor_id}", now)
            if stamp_s < self._newest_system_s:
                # The clock was set back: what an earlier monitor said an hour ago looks like now.
                return self._void("another monitor while the clock catches up: restart the broker")
            self._monitor_id, self._sequence = state.monitor_id, -1
        if state.sequence <= self._sequence:
            return self._void(f"sequence went from {self._sequence} to {state.sequence}")
        age_s = now.system_s - stamp_s
        if age_s < -self._rules.clock_tolerance_s:
            return self._void(f"stamped {-age_s:.3f} s in the future")
        if stamp_s < self._stamp_system_s:
            return self._void(f"its stamp went back by {self._stamp_system_s - stamp_s:.3f} s")
        if not (math.isfinite(state.speed_scale) and 0.0 <= state.speed_scale <= 1.0):
            return self._void(f"speed_scale {state.speed_scale} is not within 0 … 1")
        self._sequence, self._stamp_system_s, self._received_steady_s = state.sequence, stamp_s, now.steady_s
        self._newest_system_s = max(self._newest_system_s, stamp_s)
        self._latencies.append((now.steady_s, age_s))
        while self._latencies and now.steady_s - self._latencies[0][0] > 1.0:
            self._latencies.pop(0)
        if age_s > self._rules.max_age_s:
            return self._void(f"{age_s:.3f} s old on arrival")
        if state.mode not in (SafetyState.RUN, SafetyState.REDUCED):
            causes = "; ".join(cause.text or cause.source for cause in state.causes if cause.present or cause.latched)
            self._void(_MODES.get(state.mode, f"unknown mode {state.mode}") + (f": {causes}" if causes else ""))
            return ""
        # However long a lease is granted for, no longer is believed.
        self._until_system_s = min(until_s, stamp_s + self._rules.max_age_s)
        self._scale = float(state.speed_scale)
        self._fault = "" if until_s > stamp_s else "the monitor grants no permit"
        return ""

    def _void(self, why: str) -> str:
        self._until_system_s = -math.inf
        self._fault = why
        return why

    def _doubt(self, why: str, now: Now) -> str:
        self._distrust_until_s = now.steady_s + self._rules.distrust_s
        self._distrust = why
        return why

    def _watch_clock(self, now: Now) -> None:
        """When the system clock is set back the lease is void; later stamps of this monitor are those of the clock as it is now."""
        ahead_s = now.system_s - now.steady_s
        back_s = self._ahead_s - ahead_s
        self._ahead_s = ahead_s
        if back_s > SET_BACK_S:
            self._stamp_system_s -= back_s
            self._void(f"the system clock was set back by {back_s:.3f} s")

    def now(self, now: Now) -> Permission:
        """Judged on the system clock and, against clock jumps, on the steady clock since receipt."""
        self._watch_clock(now)
        if now.steady_s < self._distrust_until_s:
            return Permission(False, self._distrust, 0.0)
        if self._fault:
            return Permission(False, self._fault, 0.0)
        if now.system_s >= self._until_system_s:
            return Permission(False, f"the permit ran out {now.system_s - self._until_system_s:.3f} s ago", 0.0)
        if now.steady_s - self._received_steady_s > self._rules.max_age_s:
            silent = now.steady_s - self._received_steady_s
            return Permission(False, f"safety/state has been silent for {silent:.3f} s", 0.0)
        return Permission(True, "", self._scale)

    def latency_s(self, now: Now) -> float:
        """Largest receipt minus stamp of the last second."""
        return max((age for at, age in self._latencies if now.steady_s - at <= 1.0), default=0.0)


class Door:
    """Counts trajectories that leave while the last message seen did not permit motion.

    Written without `Permit` on purpose: a mistake there must not be repeated here.
    """

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._last: tuple[float, float, bool] = (-math.inf, -math.inf, False)
        self.dispatched = 0
        self.without_permit = 0
        self._forbidden = False  # the last one

    def hear(self, state: Any, now: Now) -> None:
        runs = state.mode in (SafetyState.RUN, SafetyState.REDUCED)
        self._last = (seconds(state.permit_until), now.steady_s, runs)

    def pass_through(self, now: Now) -> None:
        """A trajectory leaves now."""
        until_s, heard_s, runs = self._last
        self._forbidden = not (runs and now.system_s < until_s and now.steady_s - heard_s <= self._max_age_s)
        self.dispatched += 1
        self.without_permit += self._forbidden

    def stayed(self) -> None:
        """The last one did not leave after all: what had to be written down first could not be."""
        self.dispatched -= 1
        self.without_permit -= self._forbidden
