"""What the operator's page shows: the newest of every topic, made into a `View`. Knows no browser and no rclpy."""

import math
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lumper_msgs.msg import Event, JobState, SafetyState

from lumper_ros import interfaces
from lumper_ros.convert import seconds
from lumper_ros.core import Now
from lumper_view import words
from lumper_view.scene import MAX_ASKED
from lumper_view.sessions import plain
from lumper_view.words import Headline

MAX_EVENTS = 60
MAX_OPTIONS = 12
SILENT_AFTER_S = 3.0
HISTORY_MINUTES = 60
_SEVERITY_SIGN = {Event.DEBUG: "·", Event.INFO: "ℹ", Event.WARN: "▲", Event.ERROR: "✖", Event.FATAL: "✖"}
_LEVEL_WORDS = {0: ("✔", "ok"), 1: ("▲", "warning"), 2: ("✖", "fault"), 3: ("?", "stale")}
_NOT_HEARD = ("?", "not heard yet")
STAGE_ORDER = ("sense", "plan", "approach", "grasp", "extract", "carry", "place", "retreat", "base", "wait")


@dataclass(frozen=True, slots=True)
class EventLine:
    at: str
    sign: str
    severity: int
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """One node: the worst of its diagnostics, and whether it is heard at all."""

    name: str
    sign: str
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class InputAge:
    """One topic: how old its newest message is, against what is allowed."""

    name: str
    late: bool
    text: str


@dataclass(frozen=True, slots=True)
class OptionView:
    key: str
    label: str
    detail: str
    is_default: bool
    choices: tuple[int, ...] = ()  # cartons of which the answer names `choose_min` to `choose_max`; empty = no choice
    choose_min: int = 0
    choose_max: int = 0


@dataclass(frozen=True, slots=True)
class QuestionView:
    """The open question of the robot."""

    question_id: str
    text: str
    what: str
    remaining: str
    options: tuple[OptionView, ...]
    answering: str  # who is answering right now; empty = nobody


@dataclass(frozen=True, slots=True)
class View:
    """Everything on the page but the 3-D scene."""

    headline: Headline
    safety_line: str
    speed: str
    limit_percent: int
    counts: tuple[tuple[str, str], ...]  # label, value
    cycle: tuple[tuple[str, float], ...]  # stage, seconds per carton
    per_minute: tuple[int, ...]  # cartons in each of the last 60 minutes, oldest first
    events: tuple[EventLine, ...]
    nodes: tuple[NodeHealth, ...]
    inputs: tuple[InputAge, ...]
    question: QuestionView | None
    last_question: str
    plan_lines: tuple[str, ...]
    enabled: frozenset[str]  # commands that make sense now
    stopped: bool


@dataclass(slots=True)
class _Status:
    level: int
    text: str
    heard_s: float


class PanelModel:
    """The newest of every topic, and what follows from it for people."""

    def __init__(self) -> None:
        self.newest: dict[str, Any] = {}
        self._heard_s: dict[str, float] = {}
        self._events: deque[EventLine] = deque(maxlen=MAX_EVENTS)
        self._status: dict[str, dict[str, _Status]] = {}
        self._delivered: deque[tuple[float, int]] = deque()
        self._job_id = ""
        self._done = 0
        self.answering: dict[str, str] = {}  # question id -> who is answering
        self.closed: dict[str, str] = {}  # question id -> how it ended, for people
        self.limit = 1.0

    def take(self, name: str, message: Any, now: Now) -> None:
        """Keep a message."""
        self._heard_s[name] = now.steady_s
        if name == "events":
            self._take_event(message)
        elif name == "/diagnostics":
            self._take_diagnostics(message, now)
        else:
            self.newest[name] = message
            if name == "job/state":
                self._take_job(message, now)
            elif name == "assist/request":
                self._take_question(message)

    def heard(self, name: str, now: Now) -> None:
        """Note that a topic that is kept elsewhere had a message."""
        self._heard_s[name] = now.steady_s

    def _take_event(self, event: Any) -> None:
        if event.severity > Event.DEBUG:
            sign = _SEVERITY_SIGN.get(event.severity, "?")
            line = EventLine(
                clock_text(seconds(event.stamp)), sign, event.severity, plain(event.node, 24), plain(event.text, 200)
            )
            self._events.appendleft(line)

    def _take_diagnostics(self, message: Any, now: Now) -> None:
        for status in list(message.status)[:50]:
            node, _, part = plain(status.name, 80).partition(":")
            level = (
                status.level[0]
                if isinstance(status.level, bytes | bytearray) and status.level
                else int(status.level or 0)
            )
            self._status.setdefault(node.strip(), {})[part.strip()] = _Status(
                level, plain(status.message, 160), now.steady_s
            )
        while len(self._status) > 40:
            del self._status[min(self._status, key=lambda n: max(s.heard_s for s in self._status[n].values()))]

    def _take_job(self, job: Any, now: Now) -> None:
        if job.job_id != self._job_id:
            self._job_id, self._done = job.job_id, int(job.done)
        new = int(job.done) - self._done
        self._done = int(job.done)
        if 0 < new < 100:
            self._delivered.append((now.ros_s, new))
        while self._delivered and self._delivered[0][0] < now.ros_s - 60.0 * HISTORY_MINUTES:
            self._delivered.popleft()

    def _take_question(self, request: Any) -> None:
        if request.open:
            # One publisher, in order: an id that opens again is open, whatever was before.
            self.closed.pop(request.question_id, None)
            return
        by = plain(request.answered_by, 40) or "nobody"
        self.closed[request.question_id] = f"answered by {by}: {plain(request.answer_key, 40) or 'closed'}"
        self.answering.pop(request.question_id, None)
        while len(self.closed) > 100:
            del self.closed[next(iter(self.closed))]

    def age_s(self, name: str, now: Now) -> float:
        """Seconds since the last message of a topic; inf when there was none."""
        return now.steady_s - self._heard_s[name] if name in self._heard_s else math.inf

    def late(self, name: str, now: Now, allowance: float = 1.0) -> bool:
        """Whether a topic is older than its age limit (times `allowance`)."""
        limit = interfaces.TOPICS[name].max_age_s
        return limit is not None and self.age_s(name, now) > limit * allowance

    def open_question(self) -> Any | None:
        """The AssistRequest that is open, or None."""
        request = self.newest.get("assist/request")
        if request is None or not request.open:
            return None
        return request

    def view(self, now: Now) -> View:
        """All that the page shows now."""
        safety, job = self.newest.get("safety/state"), self.newest.get("job/state")
        # The page's word "silent" is for people: it waits longer than the 0.1 s after which the broker stops the arm.
        safety_silent = self.age_s("safety/state", now) > 1.0
        job_silent = self.age_s("job/state", now) > SILENT_AFTER_S
        conveyor = None if self.late("conveyor/state", now, 2.0) else self.newest.get("conveyor/state")
        headline = words.headline(safety, safety_silent, job, job_silent, conveyor)
        if self.open_question() is not None and headline.title == words.ASKING_TITLE:
            headline = replace(headline, why="See the question below. Meanwhile the robot does what it safely can.")
        stopped = safety is None or safety_silent or safety.mode >= SafetyState.PROTECTIVE_STOP
        return View(
            headline=replace(headline, why=plain(headline.why, 400)),
            safety_line=words.separation(None if safety_silent else safety),
            speed=self._speed(safety, safety_silent),
            limit_percent=round(100 * self.limit),
            counts=self._counts(job),
            cycle=self._cycle(job),
            per_minute=self._per_minute(now),
            events=tuple(self._events),
            nodes=self._nodes(now),
            inputs=self._inputs(now),
            question=self._question(now),
            last_question=self._last_question(),
            plan_lines=self._plan_lines(),
            enabled=self._enabled(safety, safety_silent, job, job_silent),
            stopped=stopped,
        )

    def _speed(self, safety: Any | None, silent: bool) -> str:
        if safety is None or silent:
            return "unknown"
        if safety.mode >= SafetyState.PROTECTIVE_STOP or safety.mode == SafetyState.STARTING:
            return "0 %"
        return words.percent(safety.speed_scale)

    def _enabled(self, safety: Any | None, safety_silent: bool, job: Any | None, job_silent: bool) -> frozenset[str]:
        names = {"stop", "limit"}
        if safety is not None and not safety_silent and words.needs_reset(safety):
            names.add("reset")
        if job is not None and not job_silent:
            if job.phase in (JobState.IDLE, JobState.DONE, JobState.FAILED):
                names.add("start")
            elif job.phase == JobState.PAUSED:
                names |= {"resume", "end"}
            else:
                names |= {"pause", "end"}
                if job.phase == JobState.WAITING:
                    names.add("resume")
        return frozenset(names)

    def _counts(self, job: Any | None) -> tuple[tuple[str, str], ...]:
        if job is None:
            return (("delivered", "–"), ("per hour", "–"), ("left in sight", "–"), ("time", "–"))
        per_1000 = f"{1000 * job.assists / job.done:.0f}" if job.done else "–"
        return (
            ("delivered", str(job.done)),
            ("per hour", f"{job.rate_per_h:.0f}" if math.isfinite(job.rate_per_h) else "–"),
            ("left in sight", str(job.seen)),
            ("time", words.minutes(job.elapsed_s)),
            ("dropped", str(job.dropped)),
            ("skipped", str(job.skipped)),
            ("stops", str(job.protective_stops)),
            ("questions", str(job.assists)),
            ("questions per 1,000", per_1000),
            ("waited for people", words.minutes(job.waiting_for_person_s)),
        )

    def _cycle(self, job: Any | None) -> tuple[tuple[str, float], ...]:
        if job is None or not job.done:
            return ()
        total: dict[str, float] = {}
        for item in list(job.stages)[:40]:
            if math.isfinite(item.duration_s) and item.duration_s > 0:
                total[plain(item.stage, 16)] = total.get(plain(item.stage, 16), 0.0) + item.duration_s
        known = [name for name in STAGE_ORDER if name in total]
        other = sorted(set(total) - set(known))[:4]
        return tuple((name, total[name] / job.done) for name in (*known, *other))

    def _per_minute(self, now: Now) -> tuple[int, ...]:
        bins = [0] * HISTORY_MINUTES
        for at_s, count in self._delivered:
            minute = int((now.ros_s - at_s) // 60.0)
            if 0 <= minute < HISTORY_MINUTES:
                bins[HISTORY_MINUTES - 1 - minute] += count
        return tuple(bins)

    def _nodes(self, now: Now) -> tuple[NodeHealth, ...]:
        expected = interfaces.TOPICS["/diagnostics"].publishers
        extra = sorted(set(self._status) - set(expected))
        lines = []
        for name in (*expected, *extra):
            parts = self._status.get(name)
            if not parts:
                lines.append(NodeHealth(name, _NOT_HEARD[0], 3, _NOT_HEARD[1]))
                continue
            age_s = now.steady_s - max(status.heard_s for status in parts.values())
            if age_s > SILENT_AFTER_S:
                lines.append(NodeHealth(name, "✖", 2, f"silent for {words.minutes(age_s)}"))
                continue
            worst = max(parts.values(), key=lambda s: s.level)
            sign, word = _LEVEL_WORDS.get(worst.level, ("?", "unknown"))
            lines.append(NodeHealth(name, sign, worst.level, word if worst.level == 0 else f"{word}: {worst.text}"))
        return tuple(lines)

    def _inputs(self, now: Now) -> tuple[InputAge, ...]:
        lines = []
        for topic in interfaces.subscribed_by(interfaces.PANEL):
            if topic.max_age_s is None:
                continue
            age_s = self.age_s(topic.name, now)
            # A page update looks every 0.1 s: shorter limits are judged by the nodes that depend on them.
            late = age_s > max(topic.max_age_s, 0.5)
            text = "never" if math.isinf(age_s) else ("now" if age_s < 1.0 else words.minutes(age_s))
            lines.append(InputAge(topic.name, late, text))
        return tuple(lines)

    def _question(self, now: Now) -> QuestionView | None:
        request = self.open_question()
        if request is None:
            return None
        left_s = seconds(request.expires) - now.ros_s
        safe = next((option for option in request.options if option.is_safe_default), None)
        then = f", then: {plain(safe.text or safe.key, 60)}" if safe is not None else ""
        remaining = f"{words.minutes(left_s)} left{then}" if left_s > 0 else f"time is up{then}"
        named = ", ".join(str(i) for i in list(request.carton_ids)[:8])
        why = words.OUTCOMES.get(request.code.code, f"code {request.code.code}")
        return QuestionView(
            request.question_id,
            plain(request.text, 500),
            f"Why it asks: {why}." + (f" About carton {named}." if named else ""),
            remaining,
            tuple(_option(option) for option in list(request.options)[:MAX_OPTIONS]),
            plain(self.answering.get(request.question_id, ""), 40),
        )

    def _last_question(self) -> str:
        if not self.closed:
            return ""
        return f"Last question: {next(reversed(self.closed.values()))}."

    def _plan_lines(self) -> tuple[str, ...]:
        plan = self.newest.get("plan")
        if plan is None:
            return ("No plan yet.",)
        lines = []
        for place, pick in enumerate(list(plan.picks)[:5], start=1):
            ids = " and ".join(str(i) for i in pick.carton_ids)
            stroke = words.STROKES.get(pick.stroke, "take")
            lines.append(f"{place}. Carton {ids}: {stroke}, {pick.mass_kg:.0f} kg, about {pick.expected_s:.0f} s")
        if not lines:
            lines.append(plain(plan.text, 200) or words.OUTCOMES.get(plan.outcome.code, "Nothing is planned."))
        return tuple(lines)


def _option(option: Any) -> OptionView:
    label = plain(option.text or option.key, 120)
    parts = []
    if option.is_safe_default:
        parts.append("safe choice")
    if math.isfinite(option.risk_s):
        parts.append(f"risk {option.risk_s:.1f} s")
    else:
        parts.append("risk not known")
    if math.isfinite(option.predicted_s) and option.predicted_s > 0:
        parts.append(f"takes {words.minutes(option.predicted_s)}")
    least, most = int(option.choose_min), int(option.choose_max)
    if most:
        choices = tuple(int(i) for i in option.carton_ids[:MAX_ASKED])
        parts.append("you say which")
        return OptionView(option.key, label, ", ".join(parts), bool(option.is_safe_default), choices, least, most)
    if option.carton_ids:
        parts.append("carton " + ", ".join(str(i) for i in list(option.carton_ids)[:6]))
    return OptionView(option.key, label, ", ".join(parts), bool(option.is_safe_default))


def clock_text(stamp_s: float) -> str:
    """Time of day where the stamp is one (a real clock), else minutes and seconds since the start of simulated time."""
    if stamp_s > 1e8:
        return datetime.fromtimestamp(stamp_s).strftime("%H:%M:%S")
    whole = int(stamp_s)
    return f"{whole // 3600:d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
