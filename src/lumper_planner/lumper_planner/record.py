"""The job as it is kept on disk: everything that a restarted planner must know. Only JSON-able values in here."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lumper_msgs.msg import PlannedPick

# Kept on disk; older ended jobs are forgotten.
JOBS_KEPT = 50
JOB_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

ORIGIN_CLIENT = "client"
ORIGIN_PERSON = "person"
PAUSED_BY_PERSON = "person"
PAUSED_BY_STOP = "stop"


@dataclass(slots=True)
class OpenQuestion:
    """A question put to a person, from the asking to the answer. Times are ROS time."""

    question_id: str
    code: int
    text: str
    # AssistOption fields ("choose": its min and max), and "pick": plain PlannedPick where the option has one.
    options: list[dict[str, Any]]
    carton_ids: list[int]
    wall_version: int
    plan_id: str
    asked_s: float
    expires_s: float
    blocking: bool  # nothing else can be done meanwhile
    open: bool = True
    answered_by: str = ""
    answer_key: str = ""


@dataclass(slots=True)
class Request:
    """A motion of arm or base that was sent and has not ended."""

    request_id: str
    kind: int  # ExecuteMotion kind, or BASE
    deadline_s: float  # ROS time
    sent_s: float  # ROS time
    wall_version: int = 0
    plan_id: str = ""
    pick: dict[str, Any] | None = None
    distance_m: float = 0.0
    cancel_sent: bool = False


BASE = 100  # Request.kind of a base move; above every ExecuteMotion kind


@dataclass(slots=True)
class JobRecord:
    """One job. `picked` = `done` + `dropped` + number of cartons in `load`, always."""

    job_id: str
    origin: str
    stop_when: int = 0
    max_cartons: int = 0
    running: bool = True
    outcome: int = 0
    text: str = ""
    empty_confirmed: bool = False
    paused: str = ""
    paused_text: str = ""
    counter: int = 0  # of requests, plans and questions: no id is used twice, also not by a later life
    picked: int = 0
    done: int = 0
    dropped: int = 0
    left: int = 0
    elapsed_s: float = 0.0
    waiting_for_person_s: float = 0.0
    assists: int = 0
    protective_stops: int = 0
    collapses: int = 0  # in a row: with fewer than CALM_CARTONS delivered in between
    done_at_collapse: int = 0  # `done` at the last one
    stages: dict[str, float] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)
    delivered: dict[str, float] = field(default_factory=dict)  # carton id -> ROS time when it was taken off the pile
    failed: dict[str, int] = field(default_factory=dict)  # carton id -> failed attempts
    failed_grasps: dict[str, list[list[float]]] = field(
        default_factory=dict
    )  # carton id -> tool0 positions tried in vain
    no_path: dict[str, list[list[float]]] = field(
        default_factory=dict
    )  # carton id -> tool0 x, y, z, base x (trailer, m) and stroke of grasps to which no way was found from that base
    merged: list[list[int]] = field(default_factory=list)
    split: list[int] = field(default_factory=list)
    doubted: dict[str, list[float]] = field(
        default_factory=dict
    )  # carton id that may be two cartons -> tool0 x, y, z (trailer) of the grasp that it was lost from, longest edge of its face, m
    probed: list[int] = field(default_factory=list)  # cartons that were pulled at to see whether they are one
    in_flight: Request | None = None
    unresolved: Request | None = None  # its result was lost with the planner or the broker
    load: dict[str, Any] | None = None  # the pick whose load is on the gripper
    pulled_out: bool = False  # that load is known to have left the pile
    question: OpenQuestion | None = None  # the open one, or the last one closed
    waiting_questions: list[OpenQuestion] = field(default_factory=list)
    forced: dict[str, Any] | None = None  # option of a question: the pick that a person decided on
    back_wanted: bool = False  # the base is to go back: on a person's word, or with a load that cannot be laid down

    def next_number(self) -> int:
        self.counter += 1
        return self.counter

    def open_question(self) -> OpenQuestion | None:
        return self.question if self.question is not None and self.question.open else None

    def questions(self) -> list[OpenQuestion]:
        """The open question and those that wait behind it."""
        first = self.open_question()
        return ([first] if first is not None else []) + self.waiting_questions

    def asked_about(self) -> set[int]:
        """Cartons that a person has been asked about and that are left alone until the answer."""
        return {carton for question in self.questions() if not question.blocking for carton in question.carton_ids}

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


def job_from_record(record: Mapping[str, Any]) -> JobRecord:
    """Inverse of `JobRecord.to_record`.

    Raises:
        TypeError, KeyError: written by another version, or damaged.
    """
    values = dict(record)
    unknown = set(values) - {item.name for item in fields(JobRecord)}
    if unknown:
        raise KeyError(f"unknown fields {sorted(unknown)}")
    for name in ("in_flight", "unresolved"):
        if values.get(name) is not None:
            values[name] = Request(**values[name])
    if values.get("question") is not None:
        values["question"] = OpenQuestion(**values["question"])
    values["waiting_questions"] = [OpenQuestion(**item) for item in values.get("waiting_questions", ())]
    job = JobRecord(**values)
    if any("choose" not in option for question in job.questions() for option in question.options):
        raise KeyError("options of a question lack 'choose'")
    return job


def to_plain(message: Any) -> Any:
    """A message as JSON-able values."""
    if hasattr(message, "get_fields_and_field_types"):
        return {name: to_plain(getattr(message, name)) for name in message.get_fields_and_field_types()}
    if isinstance(message, str | bool | int | float):
        return message
    if hasattr(message, "item") and getattr(message, "ndim", 1) == 0:
        return message.item()
    return [to_plain(item) for item in message]


def fill(message: Any, plain: Mapping[str, Any]) -> Any:
    """Set the fields of `message` (numbers, strings, arrays of them, nested messages) from `to_plain`'s values."""
    for name, value in plain.items():
        present = getattr(message, name)
        if hasattr(present, "get_fields_and_field_types"):
            fill(present, value)
        else:
            setattr(message, name, value)
    return message


def to_pick(plain: Mapping[str, Any]) -> PlannedPick:
    return fill(PlannedPick(), plain)
