"""Questions to a person: when they are put, what may be answered, and what an answer does to the job."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lumper_msgs.msg import OutcomeCode, PlannedPick

from lumper_planner.record import OpenQuestion, to_plain
from lumper_planner.reports import request_message
from lumper_planner.unloading import Unloading
from lumper_ros.core import Publish, Severity

# Options of a NO_REMOVABLE_CARTON question.
LEAST_BAD_SHOWN = 3
# So many faces may be read as one carton.
MOST_AS_ONE = 8
# A pick that a person decided on against the analysis is pulled no faster than this.
FORCED_SPEED_MPS = 0.1

TIMEOUT = "nobody (time-out)"


def option(
    key: str,
    text: str,
    carton_ids: Iterable[int] = (),
    *,
    risk_s: float | None = None,
    predicted_s: float | None = None,
    default: bool = False,
    pick: PlannedPick | None = None,
    centres: Sequence[Sequence[float]] = (),
    choose: tuple[int, int] = (0, 0),
) -> dict[str, Any]:
    """One answer that is offered.

    Args:
        pick, centres: what would be done, and where the cartons were when asked.
        choose: the answer must name so many of the cartons, from - to; (0, 0) = the option stands for all of them.
    """

    def finite(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else float(value)

    return {
        "key": key,
        "text": text,
        "carton_ids": [int(carton) for carton in carton_ids],
        "choose": list(choose),
        "risk_s": finite(risk_s),
        "predicted_s": finite(predicted_s),
        "is_safe_default": default,
        "pick": None if pick is None else to_plain(pick),
        "centres": [list(map(float, centre)) for centre in centres],
    }


def ask(
    unloading: Unloading,
    code: int,
    text: str,
    options: list[dict[str, Any]],
    carton_ids: Iterable[int] = (),
    *,
    blocking: bool,
) -> None:
    """Put a question; it waits behind the one that is open. Exactly one option must be the safe default."""
    job = unloading.require_job()
    assert sum(item["is_safe_default"] for item in options) == 1
    question = OpenQuestion(
        question_id=unloading.new_id("question"),
        code=code,
        text=text,
        options=options,
        carton_ids=sorted({int(carton) for carton in carton_ids}),
        wall_version=0 if unloading.world.wall is None else int(unloading.world.wall.version),
        plan_id="" if unloading.choice is None else unloading.choice.plan.plan_id,
        asked_s=unloading.now.ros_s,
        expires_s=math.inf,
        blocking=blocking,
    )
    job.waiting_questions.append(question)
    open_next(unloading)


def open_next(unloading: Unloading) -> None:
    """Open the question that has waited longest, if none is open."""
    job = unloading.require_job()
    if job.open_question() is not None or not job.waiting_questions:
        return
    question = job.question = job.waiting_questions.pop(0)
    question.asked_s = unloading.now.ros_s
    question.expires_s = unloading.now.ros_s + unloading.parameters.question_limit_s
    job.assists += 1
    unloading.dirty = True
    unloading.out.append(Publish("assist/request", request_message(question, job, unloading.now.ros_s)))
    unloading.emit(
        "assist.asked", question.text, Severity.WARN, values={"question": question.question_id, "code": question.code}
    )


def ask_nothing_removable(unloading: Unloading) -> None:
    """No carton can be taken safely: let a person judge the least bad ones."""
    choice = unloading.choice
    assert choice is not None
    places = dict(zip(choice.picture.ids, choice.picture.centre, strict=True))
    options = []
    for pick, rejected in choice.least_bad[:LEAST_BAD_SHOWN]:
        ids = [int(carton) for carton in pick.carton_ids]
        if any(carton not in places for carton in ids):
            continue
        options.append(
            option(
                "take",
                f"take {_names(ids)} in spite of it: {rejected.text}",
                ids,
                risk_s=pick.risk_s,
                predicted_s=pick.expected_s,
                pick=pick,
                centres=[places[carton] for carton in ids],
            )
        )
    skipped = set(unloading.require_job().skipped)
    remaining = sorted((i for i in choice.picture.ids if i not in skipped), key=lambda i: (places[i][0], i))
    options.append(
        option("skip", "leave some cartons and go on with the others", remaining, choose=(1, len(remaining)))
    )
    if len(remaining) > 1:
        options.append(option("treat_as_one", "some of these are one carton", remaining, choose=(2, MOST_AS_ONE)))
    options += [
        option("treat_as_two", "one of these is two cartons", remaining, choose=(1, 1)),
        option("i_moved_it", "I have changed the load by hand: look again", remaining),
        option("drive_back", "drive back a little, then look again"),
        option("look_again", "look again"),
        option("give_up", "end the job", default=True),
    ]
    text = choice.plan.text or "no carton can be taken safely"
    if choice.base_blocked_by:
        text += f"; the base cannot advance because of {_names(choice.base_blocked_by)} on the floor"
    reasons = [rejected.text for rejected in choice.plan.rejected[:5] if rejected.text]
    ask(
        unloading,
        OutcomeCode.NO_REMOVABLE_CARTON,
        f"{len(remaining)} cartons in view, none of them can be taken safely: {text}. {'; '.join(reasons)}"[:1000],
        options,
        remaining,
        blocking=True,
    )


def ask_carton(unloading: Unloading, code: int, carton_ids: Sequence[int], why: str) -> None:
    """One carton (or group) does not work: it is left alone until the answer, the job goes on with the others."""
    if set(carton_ids) <= unloading.require_job().asked_about():
        return
    name = _names(carton_ids)
    around = _around(unloading, carton_ids)
    which = (0, 0) if len(carton_ids) == 1 else (1, 1)
    options = [
        option("take", f"try {name} again", carton_ids),
        option("skip", f"leave {name}", carton_ids, default=True),
        option(
            "treat_as_two",
            f"{name}: one of them is two" if any(which) else f"{name} is two cartons",
            carton_ids,
            choose=which,
        ),
    ]
    if len(around) > 1:
        options.append(option("treat_as_one", f"{name} and others are one carton", around, choose=(2, MOST_AS_ONE)))
    options += [
        option("i_moved_it", f"I have moved {name}: look again", carton_ids),
        option("drive_back", "drive back a little, then try again", carton_ids),
        option("look_again", "look again, then try again", carton_ids),
        option("give_up", "end the job"),
    ]
    ask(unloading, code, why, options, carton_ids, blocking=False)


def ask_how_to_go_on(unloading: Unloading, code: int, why: str) -> None:
    """Something is wrong that no choice of carton cures: nothing moves until a person has answered."""
    options = [
        option("look_again", "the cause is gone: look again and go on"),
        option("i_moved_it", "I have changed the load by hand: look again and go on"),
        option("drive_back", "drive back a little, then look again"),
        option("give_up", "end the job", default=True),
    ]
    ask(unloading, code, why, options, blocking=True)


def ask_about_hold(unloading: Unloading, why: str) -> None:
    """Somebody, or something that is no carton known, has kept the arm from moving for long: a person looks what it is."""
    options = [
        option("look_again", "nobody and nothing is there any more: look again and go on", default=True),
        option("give_up", "end the job"),
    ]
    text = f"{why}. Where nobody is, something lies that the robot cannot see: carry it away"
    ask(unloading, OutcomeCode.STOPPED_BY_SAFETY, text[:1000], options, blocking=False)


def rename(unloading: Unloading, old: int, new: int) -> None:
    """What was asked about a carton is asked about it under the id that it has now."""
    job = unloading.require_job()

    def named(ids: list[int]) -> list[int]:
        return sorted({new if carton == old else carton for carton in ids})

    for question in job.questions():
        if old not in question.carton_ids:
            continue
        question.carton_ids = named(question.carton_ids)
        question.text = f"{question.text[:900]} (carton {old} is now {new})"
        for offered in question.options:
            if old in offered["carton_ids"]:
                offered["carton_ids"] = named(offered["carton_ids"])
                offered["text"] = f"{offered['text']} (now {new})"
        unloading.dirty = True
        if question is job.open_question():
            unloading.out.append(Publish("assist/request", request_message(question, job, unloading.now.ros_s)))


def hold_is_over(unloading: Unloading) -> None:
    """The arm may move again: nobody need answer what kept it."""
    job = unloading.require_job()
    job.waiting_questions = [item for item in job.waiting_questions if item.code != OutcomeCode.STOPPED_BY_SAFETY]
    question = job.open_question()
    if question is not None and question.code == OutcomeCode.STOPPED_BY_SAFETY:
        _close(unloading, question, "nobody: the way is free", "closed")
        open_next(unloading)


def _close(unloading: Unloading, question: OpenQuestion, who: str, key: str) -> None:
    question.open, question.answered_by, question.answer_key = False, who, key
    unloading.dirty = True
    job = unloading.require_job()
    unloading.out.append(Publish("assist/request", request_message(question, job, unloading.now.ros_s)))


def refusal(unloading: Unloading, question_id: str, key: str, carton_ids: Sequence[int]) -> str:
    """Why an answer cannot be accepted, in a sentence; empty = it can. Who answers is checked elsewhere."""
    job = unloading.job
    shown = question_id[:64]
    if job is None:
        return "no job is running, so no question is open"
    question = job.question
    if question is None:
        return "no question has been asked in this job"
    if question.question_id != question_id:
        if any(waiting.question_id == question_id for waiting in job.waiting_questions):
            return f"question {shown!r} is not open yet; answer {question.question_id} first"
        return f"question {shown!r} is not the open one"
    if not question.open:
        return f"question {shown} is closed: it was answered by {question.answered_by} with {question.answer_key}"
    offered = [item for item in question.options if item["key"] == key]
    if not offered:
        return f"option_key {key[:64]!r} is not offered; offered are {', '.join(sorted({o['key'] for o in question.options}))}"
    named = set(map(int, carton_ids))
    present = set(unloading.world.picture.ids) if unloading.world.picture is not None else set()
    if key == "treat_as_one":
        if not 2 <= len(named) <= MOST_AS_ONE:
            return f"carton_ids: treat_as_one needs the ids of two or more cartons, at most {MOST_AS_ONE}"
        if not named <= present:
            return f"carton_ids: {sorted(named - present)[:8]} are not in the present wall"
        return ""
    allowed = {carton for item in offered for carton in item["carton_ids"]}
    if not named <= allowed:
        return f"carton_ids: {sorted(named - allowed)[:8]} are not offered with {key}"
    if key == "treat_as_two" and len(named or allowed) != 1:
        return "carton_ids: treat_as_two needs the id of exactly one carton"
    if key == "skip" and not named and len(allowed) > 1 and question.blocking:
        return "carton_ids: name the cartons to leave"
    if key == "take" and len(offered) > 1 and not any(named == set(item["carton_ids"]) for item in offered):
        return "carton_ids: name the cartons of one of the options"
    return ""


def answer(unloading: Unloading, key: str, carton_ids: Sequence[int], who: str) -> str:
    """Close the open question with an answer that `refusal` has found good; returns what happens now."""
    job = unloading.require_job()
    question = job.open_question()
    assert question is not None
    _close(unloading, question, who, key)
    offered = [item for item in question.options if item["key"] == key]
    ids = sorted(set(map(int, carton_ids))) or offered[0]["carton_ids"]
    text = _apply(unloading, question, offered, key, ids, who)
    unloading.emit(
        "assist.answered",
        f"{who} answered {key}: {text}",
        values={"question": question.question_id, "who": who, "key": key, "cartons": " ".join(map(str, ids))},
    )
    unloading.faults_in_row = 0
    if question.code == OutcomeCode.UNKNOWN_AFTER_RESTART:
        # Whether a person's hands emptied the gripper is measured, not believed.
        unloading.reconcile = True
    unloading.thorough = ""
    unloading.look_again()
    if unloading.job is not None:
        open_next(unloading)
    return text


def _apply(
    unloading: Unloading, question: OpenQuestion, offered: list[dict[str, Any]], key: str, ids: list[int], who: str
) -> str:
    job = unloading.require_job()
    match key:
        case "take":
            chosen = next((item for item in offered if set(item["carton_ids"]) == set(ids)), offered[0])
            if chosen["pick"] is not None:
                job.forced = chosen
                return f"{_names(ids)} will be taken slowly if it still stands where it stood"
            _forgive(unloading, ids)
            return f"{_names(ids)} will be tried again"
        case "treat_as_one":
            job.merged = [group for group in job.merged if not set(group) & set(ids)] + [ids]
            job.split = [carton for carton in job.split if carton not in ids]
            _forgive(unloading, ids)
            return f"{_names(ids)} count as one carton"
        case "treat_as_two":
            job.merged = [group for group in job.merged if not set(group) & set(ids)]
            job.split = sorted(set(job.split) | set(ids))
            _forgive(unloading, ids)
            return f"{_names(ids)} counts as two cartons"
        case "skip":
            job.skipped = sorted(set(job.skipped) | set(ids))
            return f"{_names(ids)} will be left"
        case "i_moved_it" | "look_again":
            _forgive(unloading, ids)
            unloading.prelude.clear()
            return "looking again"
        case "drive_back":
            _forgive(unloading, ids)
            job.back_wanted = True
            return "driving back, then looking again"
    cause = f"{question.text[:300]}"
    unloading.finish(OutcomeCode.NEEDS_PERSON, f"given up by {who}: {cause}")
    return "the job ends"


def expire(unloading: Unloading) -> None:
    """Take the safe default of a question that nobody answered in time."""
    job = unloading.require_job()
    question = job.open_question()
    if question is None or unloading.now.ros_s < question.expires_s:
        return
    default = next(item for item in question.options if item["is_safe_default"])
    unloading.emit("assist.expired", f"nobody answered in time: {default['key']} is taken", Severity.WARN)
    answer(unloading, default["key"], default["carton_ids"], TIMEOUT)


def _around(unloading: Unloading, carton_ids: Sequence[int]) -> list[int]:
    """These cartons, and those that touch one of them in the present wall."""
    wall = unloading.world.wall
    ids = [int(carton) for carton in carton_ids]
    touching: set[int] = set()
    for carton in () if wall is None else wall.cartons:
        if carton.id in ids:
            touching |= {*carton.neighbours, *carton.supported_by, *carton.supports}
    present = set() if wall is None else {carton.id for carton in wall.cartons}
    return [*ids, *sorted((touching & present) - set(ids))]


def _forgive(unloading: Unloading, ids: Iterable[int]) -> None:
    job = unloading.require_job()
    for carton in ids:
        job.failed.pop(str(carton), None)
        job.failed_grasps.pop(str(carton), None)
        job.no_path.pop(str(carton), None)


def _names(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:8])) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
    return f"carton{'s' if len(ids) != 1 else ''} {shown}"
