"""One life of one node, decided again: the recorded inputs go into a core of today, its answers are held against the recorded ones."""

import hashlib
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lumper_msgs.msg import CoreEffect, CoreStep
from rclpy.serialization import deserialize_message, serialize_message

from lumper_replay.cores import rebuild
from lumper_replay.differ import MEASURED, Difference, Verdict, differences, parsed, reason, without_measured
from lumper_replay.steps import Effect, Step
from lumper_ros import core as c
from lumper_ros import interfaces, journal

KINDS = {
    getattr(CoreStep, name): name.lower()
    for name in (
        "BUILD", "RESTORE", "ACTIVATE", "DEACTIVATE", "MESSAGE", "TICK", "GOAL", "CANCEL", "SERVICE", "GOAL_ACCEPTED",
        "GOAL_FEEDBACK", "GOAL_RESULT", "SERVICE_RESULT", "COMPUTED", "PERSIST_FAILED", "OBSERVED",
    )
}  # fmt: skip
EFFECTS = {
    getattr(CoreEffect, name): name.lower()
    for name in (
        "PUBLISH", "SEND_GOAL", "CANCEL_GOAL", "FINISH_GOAL", "FEEDBACK", "CALL_SERVICE", "RESPOND", "COMPUTE",
        "PERSIST", "EVENT",
    )
}  # fmt: skip
_SHOWN_DIFFERENCES = 12

# A recorded message by topic of the table and digest; None = it was lost on the way to the recording.
Recorded = Callable[[str, int], Any | None]
# The message of a topic from its bytes.
Decode = Callable[[str, bytes], Any]


@dataclass(frozen=True, slots=True)
class Divergence:
    """A decision that differs. Times: ROS time in s."""

    node: str
    life: int
    step: int
    ros_s: float
    trigger: str
    decision: str
    verdict: Verdict
    fields: tuple[Difference, ...]
    then: str
    now: str


@dataclass(slots=True)
class Tally:
    """What came of one node's lives. `decisions`: by kind of decision, then by verdict."""

    node: str
    lives: int = 0
    steps: int = 0
    undecided_steps: int = 0
    decisions: dict[str, Counter[Verdict]] = field(default_factory=lambda: defaultdict(Counter))
    divergences: list[Divergence] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    plans: list[tuple[float, str, float, float]] = field(default_factory=list)
    modes: list[tuple[float, int, int]] = field(default_factory=list)
    hash: str = ""

    def count(self, verdict: Verdict) -> int:
        """Decisions with that verdict."""
        return sum(row[verdict] for row in self.decisions.values())

    def total(self) -> int:
        """All decisions compared."""
        return sum(sum(row.values()) for row in self.decisions.values())


class Redo:
    """Drives one core. Steps come in order from `take`."""

    def __init__(
        self,
        node: str,
        life: int,
        tally: Tally,
        recorded: Recorded,
        decode: Decode,
        changes: Mapping[str, Any],
        key_file: str = "",
    ) -> None:
        self._node, self._life, self._tally, self._recorded = node, life, tally, recorded
        self._decode, self._changes, self._key_file = decode, changes, key_file
        self._core: c.Core | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="lumper_replay_")
        self._functions: dict[str, list[Callable[[], Any]]] = defaultdict(list)
        self._ids: dict[str, str] = {}
        self._number = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self.broken = ""
        self.software: dict[str, str] = {}

    def close(self) -> str:
        """Remove the recorded files; returns the hash of all decisions of now."""
        self._folder.cleanup()
        return self._hash.hexdigest()

    def take(self, step: Step, large: Any | None) -> None:
        """One step. `large`: its message, where it is on its topic and not in the step."""
        number, self._number = self._number, self._number + 1
        if self.broken:
            self._tally.undecided_steps += 1
            return
        try:
            if step.kind == CoreStep.BUILD:
                record = parsed(step.data)
                self.software = record.get("software", {})
                self._core = rebuild(self._node, record, Path(self._folder.name), self._changes, self._key_file)
                return
            assert self._core is not None
            self._tally.steps += 1
            effects = self._give(self._core, step, large)
        except Exception as error:
            what = "cannot be built" if step.kind == CoreStep.BUILD else "raises"
            text = f"today's code {what}: {type(error).__name__}: {error}"
            self.broken = text
            self._report(step, number, "exception", Verdict.DIFFERENT, (), "no exception", text)
            return
        if effects or step.effects:
            self._compare(step, number, effects)

    def _give(self, core: c.Core, step: Step, large: Any | None) -> c.Effects:
        now = c.Now(step.ros_s, step.steady_s, step.system_s)
        name, ident = step.name, self._ids.get(step.id, step.id)
        match step.kind:
            case CoreStep.TICK:
                return core.tick(now)
            case CoreStep.MESSAGE:
                if not step.present and large is None:
                    raise LookupError(f"a message on {name} is not in the recording")
                return core.message(name, self._decode(name, step.data) if step.present else large, now)
            case CoreStep.RESTORE:
                return core.restore(parsed(step.data), now)
            case CoreStep.ACTIVATE:
                return core.activate(now)
            case CoreStep.DEACTIVATE:
                return core.deactivate(now)
            case CoreStep.GOAL:
                return core.goal(name, ident, _message(interfaces.ACTIONS[name].type, "Goal", step.data), now)
            case CoreStep.CANCEL:
                return core.cancel(name, ident, now)
            case CoreStep.SERVICE:
                return core.service(name, _message(interfaces.SERVICES[name].type, "Request", step.data), now)
            case CoreStep.GOAL_ACCEPTED:
                return core.goal_accepted(name, ident, now)
            case CoreStep.GOAL_FEEDBACK:
                feedback = _message(interfaces.ACTIONS[name].type, "Feedback", step.data)
                return core.goal_feedback(name, ident, feedback, now)
            case CoreStep.GOAL_RESULT:
                result = _message(interfaces.ACTIONS[name].type, "Result", step.data) if step.present else None
                return core.goal_result(name, ident, c.GoalStatus(step.status), result, now)
            case CoreStep.SERVICE_RESULT:
                response = _message(interfaces.SERVICES[name].type, "Response", step.data) if step.present else None
                return core.service_result(name, ident, response, now)
            case CoreStep.COMPUTED:
                gave_up = parsed(step.data) if step.status == journal.GAVE_UP else None
                return self._computed(core, ident, now, gave_up)
            case CoreStep.PERSIST_FAILED:
                return core.persist_failed(name, step.id, parsed(step.data), now)
            case CoreStep.OBSERVED:
                return core.observed(name, parsed(step.data), now)
        raise ValueError(f"step of unknown kind {step.kind}")

    def _computed(self, core: c.Core, tag: str, now: c.Now, gave_up: str | None) -> c.Effects:
        """Compute again what was computed then, and hand it over when it was ready then; not what a clock ended."""
        functions = self._functions.get(tag)
        if not functions:
            return c.NOTHING
        function = functions.pop(0)
        if gave_up is not None:
            return core.computed(tag, c.GaveUpError(gave_up), now)
        try:
            result = function()
        except Exception as error:  # the live host hands it on as well
            result = error
        return core.computed(tag, result, now)

    def _compare(self, step: Step, number: int, effects: c.Effects) -> None:
        kept: list[tuple[CoreEffect, c.Effect]] = []
        for effect in effects:
            if isinstance(effect, c.Compute):
                self._functions[effect.tag].append(effect.function)
            if isinstance(effect, c.Publish) and effect.name in MEASURED:
                effect = c.Publish(effect.name, without_measured(effect.name, _copy(effect.message)))
            record = journal.effect_record(effect)
            if record is not None:
                kept.append((record, effect))
                self._hash.update(f"{number} {record.kind} {record.name} {record.id} {record.digest}\n".encode())
        waiting = list(kept)
        for then in step.effects:
            match = next((pair for pair in waiting if (pair[0].kind, pair[0].name) == (then.kind, then.name)), None)
            if match is None:
                text = self._told(then, None)
                self._judge(step, number, then, Verdict.DIFFERENT, (), text, "no such decision")
                continue
            waiting.remove(match)
            self._pair(step, number, then, *match)
        for now, effect in waiting:
            self._judge(step, number, now, Verdict.DIFFERENT, (), "no such decision", self._told(now, effect))

    def _pair(self, step: Step, number: int, then: Effect, now: CoreEffect, effect: c.Effect) -> None:
        if then.id != now.id:
            self._ids[then.id] = now.id
        self._follow(step, then, effect, then.digest == now.digest)
        if (then.digest, then.id, then.status) == (now.digest, now.id, now.status):
            self._tally.decisions[_decision(then)][Verdict.IDENTICAL] += 1
            return
        before, after = self._content(then, effect), self._now(effect)
        if before is None:
            lost = "differs; the recorded message was lost on its way to the recording"
            self._judge(step, number, then, Verdict.DIFFERENT, (), lost, reason(after))
            return
        found = list(differences(before, after))
        if then.id != now.id:
            found.insert(0, Difference("id", then.id, now.id, Verdict.DIFFERENT))
        if then.status != now.status:
            found.insert(0, Difference("status", then.status, now.status, Verdict.DIFFERENT))
        verdict = max((entry.verdict for entry in found), default=Verdict.IDENTICAL)
        self._judge(step, number, then, verdict, tuple(found[:_SHOWN_DIFFERENCES]), reason(before), reason(after))

    def _follow(self, step: Step, then: Effect, effect: c.Effect, same: bool) -> None:
        """Keep what the report's plots show."""
        if not isinstance(effect, c.Publish) or effect.name not in ("plan", "safety/state"):
            return
        if effect.name == "plan":
            before = self._content(then, effect)
            expected_s = float("nan") if before is None else float(before.expected_s)
            self._tally.plans.append((step.ros_s, effect.message.plan_id, expected_s, float(effect.message.expected_s)))
            return
        now_mode = int(effect.message.mode)
        then_mode = now_mode
        if not same:
            before = self._content(then, effect)
            then_mode = now_mode if before is None else int(before.mode)
        if not self._tally.modes or self._tally.modes[-1][1:] != (then_mode, now_mode):
            self._tally.modes.append((step.ros_s, then_mode, now_mode))

    def _content(self, then: Effect | CoreEffect, effect: c.Effect | None) -> Any:
        """The recorded message or record behind an effect, as an object; None = not in the recording, or damaged there."""
        try:
            return self._content_of(then, effect)
        except (RuntimeError, ValueError, LookupError):
            return None

    def _content_of(self, then: Effect | CoreEffect, effect: c.Effect | None) -> Any:
        match then.kind:
            case CoreEffect.PUBLISH:
                message = self._recorded(then.name, then.digest)
                return None if message is None else without_measured(then.name, message)
            case CoreEffect.SEND_GOAL:
                return _message(interfaces.ACTIONS[then.name].type, "Goal", then.data)
            case CoreEffect.FINISH_GOAL:
                return _message(interfaces.ACTIONS[then.name].type, "Result", then.data)
            case CoreEffect.FEEDBACK:
                return _message(interfaces.ACTIONS[then.name].type, "Feedback", then.data)
            case CoreEffect.CALL_SERVICE:
                return _message(interfaces.SERVICES[then.name].type, "Request", then.data)
            case CoreEffect.RESPOND:
                return (
                    deserialize_message(bytes(then.data), type(effect.response))
                    if isinstance(effect, c.Respond)
                    else {}
                )
            case CoreEffect.PERSIST | CoreEffect.EVENT:
                return parsed(then.data)
        return {}

    @staticmethod
    def _now(effect: c.Effect) -> Any:
        """The same of now."""
        match effect:
            case c.Publish(_, message):
                return _wire(message)
            case c.SendGoal(_, _, message) | c.FinishGoal(_, _, _, message) | c.Feedback(_, _, message):
                return _wire(message)
            case c.CallService(_, _, message) | c.Respond(message):
                return _wire(message)
            case c.Persist() | c.Emit():
                record = journal.effect_record(effect)
                assert record is not None
                return parsed(record.data)
        return {}

    def _told(self, record: Effect | CoreEffect, effect: c.Effect | None) -> str:
        content = self._content(record, effect) if effect is None else self._now(effect)
        return f"{EFFECTS[record.kind]} {record.name} {reason(content) if content else ''}".strip()

    def _judge(
        self, step: Step, number: int, effect: Effect | CoreEffect, verdict: Verdict, fields: tuple[Difference, ...],
        then: str, now: str,
    ) -> None:  # fmt: skip
        decision = _decision(effect)
        self._tally.decisions[decision][verdict] += 1
        if verdict is not Verdict.IDENTICAL:
            self._report(step, number, decision, verdict, fields, then, now)

    def _report(
        self, step: Step, number: int, decision: str, verdict: Verdict, fields: tuple[Difference, ...], then: str,
        now: str,
    ) -> None:  # fmt: skip
        trigger = f"{KINDS.get(step.kind, step.kind)} {step.name} {step.id}".strip()
        self._tally.divergences.append(
            Divergence(self._node, self._life, number, step.ros_s, trigger, decision, verdict, fields, then, now)
        )


def _decision(effect: Effect | CoreEffect) -> str:
    """What kind of decision an effect is, in the report's words."""
    names = {"wall": "walls", "plan": "plans", "safety/state": "safety modes", "assist/request": "questions"}
    match effect.kind:
        case CoreEffect.PUBLISH:
            return names.get(effect.name, f"states ({effect.name})")
        case CoreEffect.FINISH_GOAL:
            return "verdicts"
        case CoreEffect.SEND_GOAL | CoreEffect.CANCEL_GOAL | CoreEffect.CALL_SERVICE:
            return f"requests ({effect.name})"
        case CoreEffect.EVENT:
            return "events"
        case CoreEffect.PERSIST:
            return "records"
        case CoreEffect.RESPOND:
            return "answers"
        case CoreEffect.COMPUTE:
            return "computations"
    return "feedback"


@cache
def topic_class(name: str) -> Any:
    """Message class of a topic of the table."""
    return interfaces.resolve_type(interfaces.TOPICS[name].type)


def _message(type_name: str, part: str, data: Sequence[int]) -> Any:
    return deserialize_message(bytes(data), getattr(interfaces.resolve_type(type_name), part))


def _wire(message: Any) -> Any:
    """As a reader would get it: float32 fields rounded."""
    return deserialize_message(serialize_message(message), type(message))


_copy = _wire
