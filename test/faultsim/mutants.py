"""Planted bugs: each is put into the running code by replacing one method, and must be found within `SEEDS` seeds.

python test/faultsim/mutants.py            every planted bug: the first seed that finds it, and by which rule

A simulator that finds nothing proves nothing; this list is what it is held against.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from lumper_msgs.msg import OutcomeCode, SafetyState, Wall
from scenario import Scenario, run

import lumper_motion.permit
from lumper_motion import planning
from lumper_motion.active import Active, Step
from lumper_motion.core import MotionBroker
from lumper_motion.journal import Journal
from lumper_motion.permit import Permission, Permit
from lumper_motion.runner import Runner
from lumper_motion.senses import Senses
from lumper_planner import doubts, moves, outcomes
from lumper_planner.core import UnloadPlanner
from lumper_planner.tree import Leaf
from lumper_planner.unloading import Unloading
from lumper_ros import core as c
from lumper_safety.core import SafetyMonitor
from lumper_safety.guard import PersonGuard
from lumper_safety.monitor import Monitor

SEEDS = 150


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug. `finder`: a seed known to find it, tried first by the tests; rules that may find it."""

    name: str
    plant: Callable[[], Any]
    rules: tuple[str, ...]
    finder: int = 0


def _swap(owner: Any, name: str, replacement: Any) -> Callable[[], Any]:
    return lambda: mock.patch.object(owner, name, replacement)


def _permit_now(self: Permit, now: c.Now) -> Permission:
    return Permission(True, "", 1.0)


def _judge_replayed(self: Permit, state: SafetyState, now: c.Now) -> str:
    """Genuine is good enough, however old."""
    if not lumper_motion.permit.permit_genuine(self._key, state):
        return "not genuine"
    self._monitor_id, self._sequence = state.monitor_id, state.sequence
    self._received_steady_s, self._stamp_system_s = now.steady_s, now.system_s
    self._until_system_s = now.system_s + 0.1
    self._fault, self._scale = ("", 1.0) if state.mode in (SafetyState.RUN, SafetyState.REDUCED) else ("stop", 0.0)
    return ""


def _write_nothing(self: Journal, request_id: str, record: Any) -> list[c.Effect]:
    self._records[request_id] = record
    return []


def _slow_only(original: Callable[..., None]) -> Callable[..., None]:
    def stop(self: Runner, code: int, text: str, now: c.Now, again: bool = False, at_once: bool = False) -> None:
        """Slows down along the path also when the permit is gone, and tells nobody."""
        permission, self.permission = self.permission, Permission(True, "", 1.0)
        original(self, code, text, now, again, False)
        self.permission = permission

    return stop


def _end_at_once(original: Callable[..., None]) -> Callable[..., None]:
    def standing_still(self: Runner, now: c.Now) -> None:
        if self.active is not None and self.active.stop is not None:
            self.active.in_flight = False
        with mock.patch.object(Senses, "stands", return_value=True):
            original(self, now)

    return standing_still


def _reset_anyway(self: Monitor) -> tuple[Any, ...]:
    self._causes.clear()
    return ()


def _blind(original: Callable[..., None]) -> Callable[..., None]:
    def age(self: SafetyMonitor, topic: str, now: c.Now) -> None:
        state = self._inputs[topic]
        if state.seen_s is not None:
            state.seen_s = now.steady_s
        original(self, topic, now)

    return age


def _nobody(self: PersonGuard, now: c.Now, joints: Any, oldest_stamp_s: float, mass_kg: float) -> None:
    return None


def _keeps_no_promise(original: Callable[..., None]) -> Callable[..., None]:
    def send(self: Unloading, *given: Any, **named: Any) -> None:
        original(self, *given, **named)
        self.dirty = False

    return send


def _all_delivered(original: Callable[..., None]) -> Callable[..., None]:
    def gone(unloading: Unloading, *, delivered: bool, why: str) -> None:
        original(unloading, delivered=True, why=why)

    return gone


def _never_pauses(original: Callable[..., None]) -> Callable[..., None]:
    def changed(self: UnloadPlanner, state: SafetyState) -> None:
        original(self, state)
        if self._u.job is not None:
            self._u.job.paused = ""

    return changed


def _empty_when_unsure(original: Callable[..., Any]) -> Callable[..., Any]:
    def update(self: Leaf) -> Any:
        u = self._unloading
        if self.name == "looking" and u.world.wall is not None and u.world.wall.status == Wall.STATUS_STALE:
            u.finish(OutcomeCode.NONE, "nothing is to be seen")
        return original(self)

    return update


def _no_recovery(original: Callable[..., Any]) -> Callable[..., Any]:
    def restore(self: MotionBroker, records: Any, now: c.Now) -> Any:
        effects = original(self, records, now)
        self._recovering, self._unknown = False, {}
        return effects

    return restore


def _ends_twice(original: Callable[..., None]) -> Callable[..., None]:
    def end(self: Runner, code: int, text: str, now: c.Now) -> None:
        original(self, code, text, now)
        self.out += [effect for effect in self.out if isinstance(effect, c.FinishGoal)]

    return end


def _of(owner: Any, name: str, change: Callable[[Any], Any]) -> Callable[[], Any]:
    return _swap(owner, name, change(getattr(owner, name)))


def _lets_go_only_when_placing(self: Active) -> bool:
    return self.step is Step.PLACE


_PERMIT_RULES = ("dispatch without permit", "moves without permit", "believes a stranger")
MUTANTS = (
    Mutant("the broker does not check the permit", _swap(Permit, "now", _permit_now), _PERMIT_RULES, 0),
    Mutant("the broker takes replayed permits", _swap(Permit, "_judge", _judge_replayed), _PERMIT_RULES, 9),
    Mutant("the broker takes forged permits", _swap(lumper_motion.permit, "permit_genuine", lambda key, state: True), _PERMIT_RULES, 13),
    Mutant("the broker goes on moving when the permit is lost", _of(Runner, "stop", _slow_only), _PERMIT_RULES, 3),
    Mutant("the broker forgets the journal", _swap(Journal, "write", _write_nothing), ("not written down",), 0),
    Mutant("the broker forgets what it has done", _swap(Journal, "find", lambda self, request_id: None), ("stage twice", "ends twice"), 12),
    Mutant("the broker says CANCELED before the arm stands", _of(Runner, "standing_still", _end_at_once), ("says it stands",), 5),
    Mutant("the broker ends a request twice", _of(Runner, "_end", _ends_twice), ("ends twice",), 0),
    Mutant("the broker moves before it has looked after a restart", _of(MotionBroker, "restore", _no_recovery), ("begins in motion", "stage twice", "never ends", "no progress"), 21),
    Mutant("the broker keeps what it was only to pull at", _swap(Active, "lets_go_here", property(_lets_go_only_when_placing)), ("probe",), 0),
    Mutant("the broker pulls a test like a pick", _swap(planning, "probing", lambda pick, by_m: pick), ("probe",), 0),
    Mutant("the monitor resets with a cause present", _swap(Monitor, "reset", _reset_anyway), ("reset with cause present", "permits in emergency", "permits blindly"), 18),
    Mutant("the monitor does not notice silence", _of(SafetyMonitor, "_age", _blind), ("permits blindly",), 5),
    Mutant("the monitor does not heed the E-stop", _swap(SafetyMonitor, "_estop", lambda self, closed, now: None), ("permits in emergency",), 27),
    Mutant("the monitor sees nobody", _swap(PersonGuard, "assess", _nobody), ("separation",), 3),
    Mutant("the monitor forgets its latches when it dies", _swap(SafetyMonitor, "restore", lambda self, records, now: ()), ("stop forgotten",), 23),
    Mutant("the planner takes a stale picture", _swap(moves, "fresh", lambda u: u.world.wall is not None), ("stale picture",), 34),
    Mutant("the planner sends before it has written", _of(Unloading, "send_motion", _keeps_no_promise), ("not written down",), 0),
    Mutant("the planner counts every load as delivered", _of(outcomes, "load_gone", _all_delivered), ("cartons",), 130),
    Mutant("the planner goes on after a latched stop", _of(UnloadPlanner, "_safety_changed", _never_pauses), ("goes on by itself",), 5),
    Mutant("the planner never believes a test", _swap(doubts, "settle", lambda u, carton: None), ("no progress", "restless"), 0),
    Mutant("the planner says empty when it sees nothing", _of(Leaf, "update", _empty_when_unsure), ("cartons",), 33),
)  # fmt: skip


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The bug is in the code while this is open."""
    with mutant.plant():
        yield


def hunt(mutant: Mutant, seeds: Iterator[int] | range) -> tuple[int, str]:
    """The first of the seeds that finds the bug, and what it found; -1 = none does."""
    with planted(mutant):
        for seed in seeds:
            violation = run(Scenario.of(seed)).violation
            if violation.split(":")[0] in mutant.rules or violation.startswith("crash"):
                return seed, violation
    return -1, ""


def main() -> int:
    missed = 0
    for mutant in MUTANTS:
        begun = time.process_time()
        seed, violation = hunt(mutant, range(SEEDS))
        missed += seed < 0
        found = f"seed {seed:3d}: {violation[:110]}" if seed >= 0 else f"NOT FOUND within {SEEDS} seeds"
        print(f"{mutant.name:56s} {found}  ({time.process_time() - begun:.0f} s CPU)", flush=True)
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} planted bugs found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
