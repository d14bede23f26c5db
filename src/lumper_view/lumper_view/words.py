"""The robot's state in plain words. Everything shown to people as a sentence is made here.

Each state also has a sign (a character) so that colour is never the only one.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lumper_msgs.msg import BrokerState, JobState, OutcomeCode, PlannedPick, RejectedCarton, SafetyCause, SafetyState


class Tone(Enum):
    """How serious a statement is; decides colour and frame on the page."""

    GOOD = "good"
    BUSY = "busy"
    CAUTION = "caution"
    STOP = "stop"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Headline:
    """The one statement at the top of the page: sign, a few words, and why."""

    tone: Tone
    sign: str
    title: str
    why: str


PHASES: dict[int, str] = {
    JobState.IDLE: "ready, no job",
    JobState.SENSING: "looking at the load",
    JobState.PLANNING: "choosing the next carton",
    JobState.PICKING: "picking",
    JobState.PLACING: "laying down on the conveyor",
    JobState.ADVANCING: "driving the base",
    JobState.WAITING: "waiting",
    JobState.ASKING: "needs your answer",
    JobState.PAUSED: "paused",
    JobState.DONE: "job done",
    JobState.FAILED: "job ended without success",
}
ASKING_TITLE = "Needs your answer"
RUNNING_PHASES = frozenset(
    (
        JobState.SENSING,
        JobState.PLANNING,
        JobState.PICKING,
        JobState.PLACING,
        JobState.ADVANCING,
        JobState.WAITING,
        JobState.ASKING,
    )
)
MODES: dict[int, str] = {
    SafetyState.STARTING: "starting",
    SafetyState.RUN: "free to run",
    SafetyState.REDUCED: "reduced speed",
    SafetyState.PROTECTIVE_STOP: "protective stop",
    SafetyState.EMERGENCY_STOP: "emergency stop",
}
STAGES: dict[int, str] = {
    BrokerState.STAGE_NONE: "",
    BrokerState.STAGE_APPROACH: "moving to the carton",
    BrokerState.STAGE_GRASP: "taking hold",
    BrokerState.STAGE_EXTRACT: "pulling out",
    BrokerState.STAGE_CARRY: "carrying",
    BrokerState.STAGE_PLACE: "laying down",
    BrokerState.STAGE_RETREAT: "backing out",
    BrokerState.STAGE_MOVE: "moving",
}
STROKES: dict[int, str] = {
    PlannedPick.STROKE_FRONT_PULL: "pull straight out",
    PlannedPick.STROKE_LIFT_PULL: "lift a little, pull out",
    PlannedPick.STROKE_TOP_PICK: "take from above",
    PlannedPick.STROKE_SLOW_PULL: "pull out slowly",
    PlannedPick.STROKE_TILT_PULL: "tilt, pull out",
}
CAUSES: dict[int, str] = {
    SafetyCause.ESTOP_OPEN: "emergency stop pressed",
    SafetyCause.ESTOP_STALE: "no signal from the emergency stop",
    SafetyCause.SCAN_STALE: "no signal from a scanner",
    SafetyCause.JOINTS_STALE: "no signal from the arm",
    SafetyCause.GRIPPER_STALE: "no signal from the gripper",
    SafetyCause.BROKER_STALE: "no signal from the motion broker",
    SafetyCause.PLANNER_STALE: "no signal from the planner",
    SafetyCause.PERSON_NEAR: "person near",
    SafetyCause.JOINT_POSITION: "joint outside its limits",
    SafetyCause.JOINT_SPEED: "joint too fast",
    SafetyCause.FOLLOWING_ERROR: "arm left its path",
    SafetyCause.CARTON_LOST: "carton lost from the gripper",
    SafetyCause.COLLAPSE: "cartons moved by themselves",
    SafetyCause.CLOCK_JUMP: "the clock jumped",
    SafetyCause.SECOND_MONITOR: "two safety monitors",
    SafetyCause.MALFORMED_INPUT: "a sensor sends nonsense",
    SafetyCause.STOP_CALLED: "stopped by a person",
    SafetyCause.NEVER_SEEN: "waiting for a first signal",
    SafetyCause.JOINT_ACCELERATION: "joint jerks",
    SafetyCause.WALL_STALE: "no fresh picture of the load",
    SafetyCause.OPERATOR_LIMIT: "speed limited by the operator",
}
REASONS: dict[int, str] = {
    RejectedCarton.UNSTABLE: "others would fall ({figure:.2f} m/s², at most {limit:.2f})",
    RejectedCarton.UNDECIDED: "not proved to be safe",
    RejectedCarton.NO_GRASP: "no face to hold (score {figure:.2f}, needs {limit:.2f})",
    RejectedCarton.TOO_HEAVY: "too heavy ({figure:.1f} kg, at most {limit:.1f})",
    RejectedCarton.UNREACHABLE: "out of reach ({figure:.2f} m, at most {limit:.2f})",
    RejectedCarton.STROKE_UNSAFE: "pulling it would shift others {figure:.3f} m (at most {limit:.3f})",
    RejectedCarton.UNCERTAIN: "not seen well enough ({figure:.0%}, needs {limit:.0%})",
    RejectedCarton.BLOCKED: "{figure:.0f} in front of it or on it",
    RejectedCarton.COSTLIER: "possible, but {figure:.1f} s slower",
    RejectedCarton.SKIPPED_BY_PERSON: "left out by a person",
    RejectedCarton.FAILED_BEFORE: "failed {figure:.0f} times",
    RejectedCarton.DEAD_END: "possible, but nothing could be taken after it",
}
OUTCOMES: dict[int, str] = {
    OutcomeCode.NONE: "done",
    OutcomeCode.MALFORMED: "malformed request",
    OutcomeCode.OUT_OF_WORKSPACE: "target outside the work space",
    OutcomeCode.UNKNOWN_WALL_VERSION: "picture unknown or too old",
    OutcomeCode.DUPLICATE_IN_FLIGHT: "already being done",
    OutcomeCode.QUEUE_FULL: "too many requests",
    OutcomeCode.NOT_PERMITTED: "motion not permitted",
    OutcomeCode.DEADLINE_PAST: "too late on arrival",
    OutcomeCode.UNKNOWN_FRAME: "unknown frame",
    OutcomeCode.BUSY: "a job is running already",
    OutcomeCode.UNREACHABLE: "out of the arm's reach",
    OutcomeCode.IN_COLLISION: "would touch something",
    OutcomeCode.PLANNING_TIMEOUT: "no path found in time",
    OutcomeCode.OVERLOADED: "too heavy for vacuum or arm",
    OutcomeCode.STOPPED_BY_SAFETY: "stopped by safety",
    OutcomeCode.PREEMPTED: "something more urgent came first",
    OutcomeCode.CANCELLED: "cancelled",
    OutcomeCode.CONTROLLER_FAULT: "arm controller fault",
    OutcomeCode.TOLERANCE_VIOLATED: "arm left its path",
    OutcomeCode.GRASP_NOT_MADE: "could not take hold",
    OutcomeCode.CARTON_LOST: "carton lost on the way",
    OutcomeCode.CONVEYOR_NOT_READY: "conveyor not ready",
    OutcomeCode.DEADLINE_PASSED: "took too long",
    OutcomeCode.UNKNOWN_AFTER_RESTART: "outcome unknown after a restart",
    OutcomeCode.WALL_CHANGED: "the load changed on the way",
    OutcomeCode.NO_REMOVABLE_CARTON: "nothing can be taken safely",
    OutcomeCode.WALL_STALE: "no fresh picture of the load",
    OutcomeCode.WALL_CHANGED_UNTOUCHED: "cartons moved by themselves",
    OutcomeCode.NEEDS_PERSON: "needs a person",
    OutcomeCode.JOB_CANCELLED: "job cancelled",
    OutcomeCode.COUNT_REACHED: "number of cartons reached",
    OutcomeCode.BASE_FAILED: "the base could not drive",
    OutcomeCode.INTERNAL: "defect in the software",
}


def rejection(item: Any) -> str:
    """Why a carton was not chosen: the reason code and its figure, then the planner's own words."""
    template = REASONS.get(item.reason, f"reason {item.reason}")
    try:
        words = template.format(figure=item.figure, limit=item.limit)
    except (ValueError, OverflowError):
        words = template.split("(")[0].strip()
    if item.because_of:
        named = ", ".join(str(i) for i in list(item.because_of)[:4])
        more = "…" if len(item.because_of) > 4 else ""
        words += f" — because of {named}{more}"
    return words


def cause(item: Any) -> str:
    """One safety cause: its own words where it has any, and whether it is over."""
    words = item.text or CAUSES.get(item.code, f"cause {item.code}")
    if not item.present:
        words += " (over)"
    return str(words)


def metres(value: float) -> str:
    """Distance for people; +inf is "nobody seen", NaN is "unknown"."""
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "nobody seen"
    return f"{value:.1f} m"


def minutes(duration_s: float) -> str:
    """Duration for people: seconds below two minutes, else minutes, else hours and minutes."""
    if not math.isfinite(duration_s):
        return "unknown"
    whole = round(duration_s)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def how_many(least: int, most: int) -> str:
    """A range of counts: "1", "2 or more", "1 to 8"."""
    if least == most:
        return str(least)
    return f"{least} or more" if most >= 20 else f"{least} to {most}"


def percent(fraction: float) -> str:
    hundredths = 100 * fraction
    return f"{hundredths:.0f} %" if math.isfinite(hundredths) else "unknown"


def _causes(state: Any, effect: int) -> list[Any]:
    return sorted((c for c in state.causes if c.effect >= effect), key=lambda c: (-c.effect, not c.present))


def why_safety(state: Any) -> str:
    """The causes of the present mode in one sentence, the most restrictive first."""
    named = [cause(c) for c in _causes(state, SafetyCause.EFFECT_REDUCE)]
    return "; ".join(dict.fromkeys(named)) or "no cause given"


def needs_reset(state: Any) -> bool:
    """Whether a latched cause waits for a reset by a person."""
    return any(c.latched for c in state.causes)


def headline(
    safety: Any | None, safety_silent: bool, job: Any | None, job_silent: bool, conveyor: Any | None
) -> Headline:
    """The statement at the top of the page. Safety comes first, then what the job waits for, then what it does.

    Args:
        safety: newest SafetyState, or None when never seen.
        safety_silent: it is older than allowed.
        job: newest JobState, or None when never seen.
        job_silent: it is older than allowed.
        conveyor: newest ConveyorState, or None when never seen or too old.
    """
    if safety is None or safety_silent:
        since = "has not reported yet" if safety is None else "is silent"
        why = f"The safety monitor {since}; the arm has no permit to move."
        return Headline(Tone.LOST, "?", "No word from safety", why)
    if safety.mode == SafetyState.EMERGENCY_STOP:
        return Headline(Tone.STOP, "■", "Emergency stop", why_safety(safety) + ". " + _after_stop(safety))
    if safety.mode == SafetyState.PROTECTIVE_STOP:
        return Headline(Tone.STOP, "■", "Stopped", why_safety(safety) + ". " + _after_stop(safety))
    if safety.mode == SafetyState.STARTING:
        return Headline(Tone.CAUTION, "○", "Starting", why_safety(safety))
    if job is None or job_silent:
        since = "has not reported yet" if job is None else "is silent"
        why = f"The planner {since}; nothing is known of the job."
        return Headline(Tone.LOST, "?", "No word from the planner", why)
    return _job_headline(safety, job, conveyor)


def _after_stop(safety: Any) -> str:
    present = [c for c in safety.causes if c.present and c.effect >= SafetyCause.EFFECT_PROTECTIVE_STOP]
    standing = [c for c in present if c.code != SafetyCause.STOP_CALLED]
    if standing:
        return "Remove the cause first" + (", then reset." if needs_reset(safety) else ".")
    return "Reset, then resume." if needs_reset(safety) else "It clears by itself."


def _job_headline(safety: Any, job: Any, conveyor: Any | None) -> Headline:
    why = job.text
    if job.phase == JobState.ASKING:
        return Headline(Tone.CAUTION, "?", ASKING_TITLE, why)
    if job.phase == JobState.PAUSED:
        return Headline(Tone.CAUTION, "Ⅱ", "Paused", why or "Resume to go on.")
    if job.phase == JobState.FAILED:
        return Headline(Tone.STOP, "✖", "Job ended without success", why)
    if job.phase == JobState.DONE:
        return Headline(Tone.GOOD, "✔", "Job done", why)
    if job.phase == JobState.WAITING:
        return Headline(Tone.CAUTION, "…", "Waiting", why or _what_it_waits_for(safety, conveyor))
    if job.phase == JobState.IDLE:
        return Headline(Tone.GOOD, "○", "Ready", why or "No job is running.")
    title = PHASES.get(job.phase, "Working")
    title = title[0].upper() + title[1:]
    if safety.mode == SafetyState.REDUCED:
        slow = f"Reduced to {percent(safety.speed_scale)}: {why_safety(safety)}"
        return Headline(Tone.CAUTION, "▽", title, f"{slow}. {why}" if why else slow)
    return Headline(Tone.BUSY, "▶", title, why)


def _what_it_waits_for(safety: Any, conveyor: Any | None) -> str:
    if conveyor is None:
        return "no word from the conveyor"
    if conveyor.jammed:
        return "conveyor jammed"
    if not conveyor.ready:
        return "conveyor blocked"
    if safety.mode == SafetyState.REDUCED:
        return why_safety(safety)
    return ""


def separation(safety: Any | None) -> str:
    """The distance of the nearest person, and what is needed at the present speed."""
    if safety is None:
        return "unknown"
    if math.isinf(safety.separation_m):
        return "nobody seen"
    return f"nearest person {metres(safety.separation_m)}, needs {metres(safety.required_separation_m)}"
