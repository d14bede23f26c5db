"""The state of the unloading job and the few things it can do: send a motion, move the base, compute a plan, end."""

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lumper_msgs.action import AdvanceBase, ExecuteMotion, Unload
from lumper_msgs.msg import JobState, OutcomeCode, PlannedPick, RejectedCarton, UnloadPlan, Wall

from lumper_planner.parameters import PlannerParameters
from lumper_planner.record import BASE, JobRecord, Request, to_plain
from lumper_planner.reports import rate_per_h, request_message, result_of, stage_times
from lumper_planner.world import Picture, World
from lumper_ros.convert import to_time
from lumper_ros.core import (
    CancelGoal,
    Compute,
    Effect,
    Emit,
    Feedback,
    FinishGoal,
    GoalStatus,
    Now,
    Persist,
    Publish,
    SendGoal,
    Severity,
)

# Namespace of all ids that are derived from a job's id and counter.
ID_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "unload_planner.lumper.dev")

# Motions that go to a face of the load.
TAKING = (ExecuteMotion.Goal.PICK, ExecuteMotion.Goal.PROBE)

POSE_SCAN = "scan"
POSE_OTHER = "other"


@dataclass(frozen=True, slots=True)
class ChoiceRequest:
    """All that a plan is made from. Frame trailer."""

    job_id: str
    plan_id: str
    stamp_s: float
    wall: Wall
    picture: Picture
    base: tuple[float, float, float]
    gone: frozenset[int]  # on the gripper, or taken away and not seen since
    skipped: tuple[int, ...]
    failed: tuple[tuple[int, int], ...]  # carton id, attempts
    failed_grasps: tuple[tuple[int, tuple[tuple[float, ...], ...]], ...]
    no_path: tuple[tuple[int, tuple[tuple[float, ...], ...]], ...]  # carton id; tool0 x, y, z, base x, stroke
    set_aside: tuple[int, ...]  # a person has been asked about these
    merged: tuple[tuple[int, ...], ...]
    split: tuple[int, ...]

    def key(self) -> tuple[Any, ...]:
        """Whatever of this, apart from the picture, makes an older plan worthless when it changes."""
        place = tuple(round(value, 3) for value in self.base)
        return (
            place,
            self.skipped,
            self.failed,
            self.failed_grasps,
            self.no_path,
            self.set_aside,
            self.merged,
            self.split,
        )

    def standing(self) -> Picture:
        """The cartons that stand in the trailer."""
        return self.picture.without(self.gone)


@dataclass(frozen=True, slots=True)
class Choice:
    """A plan, and what it is good for."""

    plan: UnloadPlan
    picture: Picture  # of the cartons that stood in the trailer
    key: tuple[Any, ...]
    least_bad: tuple[tuple[PlannedPick, RejectedCarton], ...] = ()
    base_blocked_by: tuple[int, ...] = ()  # cartons on the floor that keep the base from advancing


Choose = Callable[[ChoiceRequest], Choice]


def _by_carton(places: Mapping[str, list[list[float]]]) -> tuple[tuple[int, tuple[tuple[float, ...], ...]], ...]:
    return tuple(sorted((int(carton), tuple(map(tuple, found))) for carton, found in places.items()))


@dataclass(slots=True)
class Unloading:
    """One planner's job, world and intentions. The behaviour tree's steps read and change it; effects gather in `out`."""

    parameters: PlannerParameters
    choose: Choose
    world: World = field(default_factory=World)
    job: JobRecord | None = None
    ended: JobRecord | None = None  # the last job, for display
    goal_id: str = ""  # of the client that waits for the result
    waits_for_client: bool = False
    cancelling: str = ""  # who cancels; empty = nobody
    cancel_by_client: bool = False
    cancel_until_s: float = math.inf
    now: Now = field(default_factory=lambda: Now(0.0, 0.0, 0.0))
    out: list[Effect] = field(default_factory=list)
    dirty: bool = False
    store_fault: str = ""
    sent_now: list[str] = field(default_factory=list)  # requests of the present batch of effects
    phase: int = JobState.IDLE
    text: str = "no job"
    since_s: float | None = None  # ROS time up to which elapsed time is accounted for
    choice: Choice | None = None
    computing: str = ""
    arm_pose: str = POSE_OTHER
    reconcile: bool = False  # what the gripper holds must be learnt from the broker
    look_before_place: bool = False
    look_after_s: float = -math.inf  # evidence from before this ROS time is not good enough
    look_since_s: float | None = None
    scanned_s: float | None = None  # when the SCAN for the present look ended
    thorough: str = ""  # what a SCAN has been made for already before giving up on it
    prelude: list[int] = field(default_factory=list)  # motions to do before anything else
    settle_until_s: float = -math.inf
    retry_at_s: float = -math.inf
    faults_in_row: int = 0
    base_faults: int = 0
    last_ended_id: str = ""
    ended_s: float = -math.inf  # ROS time when the end of the last motion was heard
    stopped: bool = False  # safety has stopped the robot and not yet let it go
    stop_latched: bool = False
    collapse_version: int = -1
    kept_since_s: float = math.inf  # ROS time since which somebody or something unknown keeps the arm from moving

    # --- small helpers ---

    def require_job(self) -> JobRecord:
        assert self.job is not None
        return self.job

    def say(self, phase: int, text: str) -> None:
        self.phase, self.text = phase, text

    def emit(self, code: str, text: str, severity: Severity = Severity.INFO, **ids: Any) -> None:
        job = self.job or self.ended
        self.out.append(Emit(code, text, severity, job_id=job.job_id if job else "", **ids))

    def new_id(self, what: str) -> str:
        job = self.require_job()
        self.dirty = True
        return uuid.uuid5(ID_SPACE, f"{job.job_id}/{what}/{job.next_number()}").hex

    def look_again(self) -> None:
        """Nothing is decided on evidence from before now."""
        self.look_after_s = self.now.ros_s
        self.look_since_s = None
        self.scanned_s = None
        self.choice = None

    def holding(self) -> bool:
        return self.job is not None and self.job.load is not None

    # --- doing ---

    def send_motion(self, kind: int, pick: PlannedPick | None = None, plan: UnloadPlan | None = None) -> None:
        job = self.require_job()
        request_id = self.new_id("motion")
        deadline_s = self.now.ros_s + self.parameters.motion_limit_s
        goal = ExecuteMotion.Goal(
            job_id=job.job_id, kind=kind, priority=ExecuteMotion.Goal.TASK, deadline=to_time(deadline_s)
        )
        request = Request(request_id, kind, deadline_s, self.now.ros_s)
        if pick is not None:
            goal.pick = pick
            request.pick = to_plain(pick)
        if plan is not None:
            goal.plan_id = request.plan_id = plan.plan_id
        if kind in TAKING and self.world.wall is not None:
            goal.wall_version = request.wall_version = int(self.world.wall.version)
        job.in_flight = request
        self.sent_now.append(request_id)
        self.out.append(SendGoal("motion/execute", request_id, goal))
        if kind != ExecuteMotion.Goal.SCAN:
            self.arm_pose = POSE_OTHER

    def send_base(self, distance_m: float) -> None:
        job = self.require_job()
        request_id = self.new_id("base")
        goal = AdvanceBase.Goal(distance_m=float(distance_m), max_speed_mps=self.parameters.base_speed_mps)
        job.in_flight = Request(
            request_id,
            BASE,
            self.now.ros_s + self.parameters.motion_limit_s,
            self.now.ros_s,
            distance_m=float(distance_m),
        )
        self.sent_now.append(request_id)
        self.out.append(SendGoal("base/advance", request_id, goal))
        self.emit("base.advance", f"the base moves by {distance_m:+.2f} m", request_id=request_id)

    def cancel_flight(self) -> None:
        request = self.require_job().in_flight
        if request is not None and not request.cancel_sent:
            request.cancel_sent = True
            self.out.append(
                CancelGoal("base/advance" if request.kind == BASE else "motion/execute", request.request_id)
            )

    def choice_request(self) -> ChoiceRequest | None:
        """What a plan would be made from now; None while wall or base are not known."""
        job, wall, picture = self.require_job(), self.world.wall, self.world.picture
        if wall is None or picture is None or self.world.base is None:
            return None
        return ChoiceRequest(
            job_id=job.job_id,
            plan_id="",
            stamp_s=self.now.ros_s,
            wall=wall,
            picture=picture,
            base=self.world.base,
            gone=frozenset(self._gone(wall)),
            skipped=tuple(sorted(job.skipped)),
            failed=tuple(sorted((int(carton), count) for carton, count in job.failed.items())),
            failed_grasps=_by_carton(job.failed_grasps),
            no_path=_by_carton(job.no_path),
            set_aside=tuple(sorted(job.asked_about())),
            merged=tuple(map(tuple, job.merged)),
            split=tuple(sorted({*job.split, *map(int, job.doubted)})),
        )

    def _gone(self, wall: Wall) -> set[int]:
        job = self.require_job()
        taken = {int(carton): when_s for carton, when_s in job.delivered.items()}
        gone = set(job.load["carton_ids"]) if job.load is not None else set()
        for carton in wall.cartons:
            # A carton that is seen again after it was taken away is believed, whatever was counted.
            seen_s = carton.last_seen.sec + carton.last_seen.nanosec * 1e-9
            if carton.state == carton.STATE_HELD or (carton.id in taken and seen_s <= taken[carton.id]):
                gone.add(int(carton.id))
        return gone

    def choice_holds(self) -> bool:
        """Whether the present plan may be acted on with the newest wall."""
        request = self.choice_request()
        return (
            self.choice is not None
            and request is not None
            and self.choice.key == request.key()
            and not self.choice.picture.differs(request.standing(), self.parameters.picture_tolerance_m)
        )

    def start_choice(self) -> None:
        request = self.choice_request()
        if request is None or self.computing:
            return
        plan_id = self.new_id("plan")
        self.computing = plan_id
        asked = ChoiceRequest(
            **{name: getattr(request, name) for name in request.__slots__ if name != "plan_id"}, plan_id=plan_id
        )
        choose = self.choose
        self.out.append(Compute(plan_id, lambda: choose(asked)))

    # --- ending ---

    def finish(self, code: int, text: str) -> None:
        """End the job: on record, told to the client, shown."""
        job = self.require_job()
        self.account()
        job.running, job.outcome, job.text, job.in_flight = False, code, text, None
        question = job.open_question()
        if question is not None:
            question.open, question.answer_key = False, "closed"
            self.out.append(Publish("assist/request", request_message(question, job, self.now.ros_s)))
        job.waiting_questions.clear()
        self.dirty = True
        good = code in (OutcomeCode.NONE, OutcomeCode.COUNT_REACHED)
        if self.goal_id:
            cancelled = code == OutcomeCode.JOB_CANCELLED and self.cancel_by_client
            status = GoalStatus.SUCCEEDED if good else GoalStatus.CANCELED if cancelled else GoalStatus.ABORTED
            self.out.append(FinishGoal("unload", self.goal_id, status, result_of(job)))
        self.emit("job.ended", text, Severity.INFO if good else Severity.ERROR)
        if not self.store_fault:
            self.out.insert(0, Persist("job", job.job_id, job.to_record()))
        self.dirty = False
        self.ended, self.job, self.goal_id = job, None, ""
        self.cancelling, self.cancel_by_client, self.waits_for_client = "", False, False
        self.choice, self.computing, self.prelude, self.since_s = None, "", [], None
        self.say(JobState.DONE if good else JobState.FAILED, text)

    # --- accounting ---

    def account(self) -> None:
        """Book the ROS time since the last call to the job and to the stage that the phase stands for."""
        job, now_s = self.job, self.now.ros_s
        if job is None or self.waits_for_client:
            self.since_s = None
            return
        if self.since_s is not None and 0.0 < now_s - self.since_s < 60.0:
            passed_s = now_s - self.since_s
            job.elapsed_s += passed_s
            if self.phase == JobState.ASKING:
                job.waiting_for_person_s += passed_s
            stage = {
                JobState.SENSING: "sense",
                JobState.PLANNING: "plan",
                JobState.ADVANCING: "base",
                JobState.WAITING: "wait",
                JobState.ASKING: "wait",
                JobState.PAUSED: "wait",
            }.get(self.phase)
            if stage is not None:
                job.stages[stage] = job.stages.get(stage, 0.0) + passed_s
        self.since_s = now_s

    def feedback(self) -> Effect | None:
        if self.job is None or not self.goal_id:
            return None
        return Feedback(
            "unload",
            self.goal_id,
            Unload.Feedback(done=self.job.done, rate_per_h=rate_per_h(self.job), phase=self.phase, text=self.text),
        )

    def state_message(self) -> JobState:
        job = self.job or self.ended
        message = JobState(stamp=to_time(max(self.now.ros_s, 0.0)), phase=self.phase, text=self.text)
        message.seen = 0 if self.world.picture is None else len(self.world.picture.ids)
        if job is None:
            return message
        message.job_id = job.job_id
        message.plan_id = self.choice.plan.plan_id if self.choice is not None else ""
        message.request_id = job.in_flight.request_id if job.in_flight is not None else ""
        message.done, message.dropped, message.skipped = job.done, job.dropped, len(job.skipped)
        message.rate_per_h, message.elapsed_s = rate_per_h(job), job.elapsed_s
        message.assists, message.waiting_for_person_s = job.assists, job.waiting_for_person_s
        message.protective_stops, message.stages = job.protective_stops, stage_times(job)
        return message
