"""unload_planner: inputs to effects. The job's logic is in `steps` (what next), `outcomes` (what a result means) and
`assist` (questions); this module takes inputs in, runs the behaviour tree, and sends what came of it."""

import math
import re
from collections.abc import Mapping
from typing import Any

from lumper_msgs.action import Unload
from lumper_msgs.msg import JobState, OutcomeCode, SafetyState

from lumper_planner import assist, outcomes
from lumper_planner.desk import NAME_LIMIT, Desk
from lumper_planner.jobs import Jobs, goal_fault
from lumper_planner.parameters import PlannerParameters
from lumper_planner.record import (
    BASE,
    ORIGIN_CLIENT,
    PAUSED_BY_STOP,
    job_from_record,
)
from lumper_planner.reports import request_message, result_of
from lumper_planner.tree import build_tree, run_tree
from lumper_planner.unloading import TAKING, Choice, Choose, Unloading
from lumper_ros.auth import CommandVerifier, MonitorFeed
from lumper_ros.core import (
    NOTHING,
    CancelGoal,
    Core,
    Diagnose,
    Effects,
    FinishGoal,
    GoalStatus,
    Now,
    Persist,
    Publish,
    Respond,
    Severity,
)

# Figures in a text that run on, such as ages, are no change that is worth a message of its own.
_DIGITS = re.compile(r"[\d.]+")
# job/state goes out at least this often, steady clock.
STATE_PERIOD_S = 0.7
# The record of an ended job that the disk did not take is tried again so often, steady clock.
REWRITE_S = 1.0
# A load that let so many cartons be taken since it last moved by itself stands well enough.
CALM_CARTONS = 10


class UnloadPlanner(Core):
    """Server of `unload`, `assist/answer` and `job/command`; client of `motion/execute` and `base/advance`."""

    def __init__(self, parameters: PlannerParameters, choose: Choose, key: bytes | None) -> None:
        """
        Args:
            choose: makes plans; called in `Compute`, so off the event loop, one call at a time.
            key: shared secret of operators' commands; None = authentication is off.
        """
        self._parameters = parameters
        self._key = key
        self._u = Unloading(parameters, choose)
        self._u.world.monitor = MonitorFeed(key)
        self._tree = build_tree(self._u)
        self._jobs = Jobs(self._u)
        self._desk = Desk(self._u, self._jobs)
        self._shown: tuple[Any, ...] = ()
        self._shown_s = -math.inf
        self._refused = 0
        self._sent_last: list[str] = []
        self._last_pick_end_s = -math.inf
        self._rewrite_s = math.inf  # steady time

    @property
    def unloading(self) -> Unloading:
        """For tests and tools: the job's state. Not to be changed from outside."""
        return self._u

    # --- life ---

    def restore(self, records: Mapping[str, Mapping[str, Any]], now: Now) -> Effects:
        self._begin(now)
        for job_id, record in sorted(records.get("job", {}).items()):
            try:
                self._jobs.known[job_id] = job_from_record(record)
            except (TypeError, KeyError) as error:
                text = f"job {job_id[:NAME_LIMIT]}: its record cannot be read ({error}); it cannot be resumed"
                self._u.out.append(Diagnose("job record", 1, text))
                self._u.emit("job.record_damaged", text, Severity.ERROR)
        running = [job for job in self._jobs.known.values() if job.running]
        if running:
            self._jobs.resume_after_restart(running[-1])
        return self._u.out

    def activate(self, now: Now) -> Effects:
        self._begin(now)
        self._desk.open(CommandVerifier(self._key, self._parameters.command_window_s, now.system_s))
        u = self._u
        u.look_again()
        job = u.job
        if job is not None:
            u.emit("job.restored", f"job {job.job_id} was running when this node ended: {job.done} done", Severity.WARN)
            question = job.open_question()
            if question is not None:
                u.out.append(Publish("assist/request", request_message(question, job, now.ros_s)))
        u.out.append(Diagnose("job", 0, "ready"))
        return self._end()

    def deactivate(self, now: Now) -> Effects:
        self._begin(now)
        u, job = self._u, self._u.job
        if job is not None:
            if job.in_flight is not None:
                name = "base/advance" if job.in_flight.kind == BASE else "motion/execute"
                u.out.append(CancelGoal(name, job.in_flight.request_id))
            if u.goal_id:
                result = result_of(job)
                result.outcome.code = OutcomeCode.JOB_CANCELLED
                result.text = (
                    "the planner was deactivated; the job is kept: send the goal again with its job_id to go on"
                )
                u.out.append(FinishGoal("unload", u.goal_id, GoalStatus.ABORTED, result))
                u.goal_id = ""
            self._jobs.resume_after_restart(job)
            u.out.insert(0, Persist("job", job.job_id, job.to_record()))
        return u.out

    # --- inputs ---

    def message(self, name: str, message: Any, now: Now) -> Effects:
        u = self._u
        before_s = u.world.wall_stamp_s()
        version = u.world.wall.version if u.world.wall is not None else -1
        changed, effects = u.world.take(name, message, now)
        if not changed:
            return effects
        self._begin(now)
        u.out.extend(effects)
        if name == "safety/state":
            self._safety_changed(message)
        elif name == "wall" and message.version != version and len(message.moved_ids):
            self._collapsed(message, before_s)
        return self._end()

    def _safety_changed(self, state: SafetyState) -> None:
        u, job = self._u, self._u.job
        if state.mode in (SafetyState.RUN, SafetyState.REDUCED):
            if u.stopped:
                u.stopped = False
                u.look_again()
                u.look_before_place = True
            return
        if state.mode == SafetyState.STARTING:
            return
        running = job is not None and not u.waits_for_client
        if not u.stopped:
            u.stopped = True
            if job is not None and running:
                job.protective_stops += 1
                u.dirty = True
                u.emit("job.stopped", u.world.stop_text(u.now, math.inf), Severity.WARN)
        if running:
            self._heed_latched(state)

    def _heed_latched(self, state: SafetyState | None) -> None:
        """Under a latched stop the job is paused until resume, whether it was running or begins now: a reset starts nothing."""
        job = self._u.job
        if job is None or state is None or state.mode in (SafetyState.RUN, SafetyState.REDUCED):
            return
        latched = state.mode == SafetyState.EMERGENCY_STOP or any(cause.latched for cause in state.causes)
        if latched and job.paused != PAUSED_BY_STOP:
            job.paused, self._u.dirty = PAUSED_BY_STOP, True

    def _collapsed(self, wall: Any, picture_before_s: float) -> None:
        u, job = self._u, self._u.job
        if job is None or u.waits_for_client:
            return
        if u.now.ros_s >= u.settle_until_s:
            calm = job.done - job.done_at_collapse >= CALM_CARTONS
            job.collapses, job.done_at_collapse = 1 if calm else job.collapses + 1, job.done
        u.settle_until_s = u.now.ros_s + self._parameters.settle_s
        u.look_again()
        u.look_after_s = u.settle_until_s
        u.dirty = True
        names = ", ".join(map(str, list(wall.moved_ids)[:8]))
        touched = (
            job.in_flight is not None and job.in_flight.kind in TAKING
        ) or self._last_pick_end_s >= picture_before_s
        u.emit("wall.collapsed", f"cartons moved without being touched: {names}", Severity.WARN)
        if not touched and not any(question.blocking for question in job.questions()):
            assist.ask_how_to_go_on(
                u,
                OutcomeCode.WALL_CHANGED_UNTOUCHED,
                f"cartons {names} moved though nothing of the robot touched the load: look whether it stands safely",
            )

    def tick(self, now: Now) -> Effects:
        self._begin(now)
        u = self._u
        if u.job is None and u.ended is not None and now.steady_s >= self._rewrite_s:
            self._rewrite_s, u.store_fault = math.inf, ""
            u.out.append(Persist("job", u.ended.job_id, u.ended.to_record()))
            u.out.append(Diagnose("job record", 0, "written"))
        return self._end()

    def computed(self, tag: str, result: Any, now: Now) -> Effects:
        u = self._u
        if tag != u.computing or u.job is None:
            return NOTHING
        self._begin(now)
        u.computing = ""
        if isinstance(result, Choice):
            u.choice = result
            plan = result.plan
            u.out.append(Publish("plan", plan))
            u.out.append(Diagnose("planning", 0, "good", {"planning_ms": float(plan.planning_ms)}))
            if plan.picks or plan.advance_base_m:
                what = f"take {', '.join(map(str, plan.picks[0].carton_ids))}" if plan.picks else "advance the base"
            else:
                what = plan.text or "nothing can be taken"
            u.emit(
                "plan.made", what, Severity.DEBUG, plan_id=plan.plan_id, values={"wall_version": int(plan.wall_version)}
            )
        else:
            text = f"{type(result).__name__}: {result}"[:500]
            u.out.append(Diagnose("planning", 2, text))
            u.emit("plan.failed", text, Severity.ERROR, plan_id=tag)
            outcomes.plan_failed(u, text)
        return self._end()

    # --- motions ---

    def goal_result(self, name: str, goal_id: str, status: GoalStatus, result: Any | None, now: Now) -> Effects:
        u, job = self._u, self._u.job
        if job is None or job.in_flight is None or job.in_flight.request_id != goal_id:
            return NOTHING
        self._begin(now)
        request, job.in_flight = job.in_flight, None
        u.dirty = True
        u.last_ended_id, u.ended_s = goal_id, now.ros_s
        if request.kind == BASE:
            outcomes.base_ended(u, request, status, result)
        else:
            if request.kind in TAKING:
                self._last_pick_end_s = now.ros_s
            outcomes.motion_ended(u, request, status, result)
        return self._end()

    def persist_failed(self, kind: str, key: str, error: str, now: Now) -> Effects:
        u = self._u
        # Whoever waits for an end that was dropped together with the record still gets it.
        untold = [effect for effect in u.out if isinstance(effect, FinishGoal)]
        self._begin(now)
        u.out.extend(untold)
        u.store_fault, self._rewrite_s = error or "unknown error", now.steady_s + REWRITE_S
        # These never left: nothing will ever come back for them.
        if u.job is not None and u.job.in_flight is not None and u.job.in_flight.request_id in self._sent_last:
            u.job.in_flight = None
        u.computing = ""
        u.out.append(Diagnose("job record", 2, f"cannot be written: {error}; free the disk, restart this node"))
        return self._end()

    # --- the unload action ---

    def goal(self, name: str, goal_id: str, goal: Any, now: Now) -> Effects:
        self._begin(now)
        u = self._u
        fault = goal_fault(goal)
        if fault:
            return self._refuse_goal(goal_id, goal, OutcomeCode.MALFORMED, fault)
        if u.job is not None:
            if goal.job_id == u.job.job_id:
                self._take_over(goal_id)
                u.job.stop_when, u.job.max_cartons, u.dirty = goal.stop_when, goal.max_cartons, True
                if u.waits_for_client:
                    u.waits_for_client = False
                    self._jobs.resumed("its client sent the goal again")
                    self._heed_latched(u.world.safety)
                return self._end()
            remedy = (
                "it waits for its client after a restart: send its job_id to go on, or cancel it by job/command"
                if u.waits_for_client
                else "wait, or cancel it"
            )
            return self._refuse_goal(
                goal_id, goal, OutcomeCode.BUSY, f"job {u.job.job_id} is running already; {remedy}"
            )
        known = self._jobs.known.get(goal.job_id) if goal.job_id else None
        if known is not None and known.outcome == OutcomeCode.NONE and not known.running:
            u.out.append(FinishGoal("unload", goal_id, GoalStatus.SUCCEEDED, result_of(known)))
            return self._end()
        self._jobs.start(goal.job_id or f"job-{goal_id}", ORIGIN_CLIENT, goal.stop_when, goal.max_cartons, goal_id)
        self._heed_latched(u.world.safety)
        return self._end()

    def _take_over(self, goal_id: str) -> None:
        """The newest goal of a job gets its result: a client whose acceptance was lost on the way can only ask again."""
        u = self._u
        if u.goal_id:
            status = GoalStatus.CANCELED if u.cancel_by_client else GoalStatus.ABORTED
            job_id = u.require_job().job_id
            text = f"job {job_id} was asked for again: its newer goal gets the result"
            result = Unload.Result(outcome=OutcomeCode(code=OutcomeCode.BUSY), text=text, job_id=job_id)
            u.out.append(FinishGoal("unload", u.goal_id, status, result))
            u.emit("job.taken_over", text, Severity.WARN)
        u.goal_id, u.cancel_by_client = goal_id, False

    def _refuse_goal(self, goal_id: str, goal: Any, code: int, text: str) -> Effects:
        self._refused += 1
        u = self._u
        u.emit("job.refused", text, Severity.WARN)
        u.out.append(Diagnose("goals", 1, text, {"refused": self._refused}))
        result = Unload.Result(outcome=OutcomeCode(code=code), text=text, job_id=goal.job_id[:NAME_LIMIT])
        u.out.append(FinishGoal("unload", goal_id, GoalStatus.ABORTED, result))
        return self._end()

    def cancel(self, name: str, goal_id: str, now: Now) -> Effects:
        if goal_id != self._u.goal_id:
            return NOTHING
        self._begin(now)
        self._jobs.cancel("its client", by_client=True)
        return self._end()

    # --- people ---

    def service(self, name: str, request: Any, now: Now) -> Effects:
        self._begin(now)
        respond = self._desk.answer if name == "assist/answer" else self._desk.command
        self._u.out.append(Respond(respond(request)))
        self._heed_latched(self._u.world.safety)
        return self._end()

    # --- every step ---

    def _begin(self, now: Now) -> None:
        u = self._u
        if now.ros_s < u.now.ros_s - 1.0 or u.now.ros_s <= 0.0 < now.ros_s:
            # The clock came up, or was set back: no stamp from before means anything.
            u.now = now
            u.retry_at_s = u.settle_until_s = -math.inf
            u.look_again()
        u.now, u.out = now, []
        self._sent_last = u.sent_now
        u.sent_now = []
        u.account()

    def _end(self) -> Effects:
        u = self._u
        if u.job is not None:
            if not u.waits_for_client and u.job.open_question() is not None:
                assist.expire(u)
            run_tree(self._tree)
        elif u.ended is None:
            u.say(JobState.IDLE, "no job")
        self._show()
        out = u.out
        if u.dirty and u.job is not None and not u.store_fault:
            out.insert(0, Persist("job", u.job.job_id, u.job.to_record()))
        u.dirty = False
        return out

    def _show(self) -> None:
        u = self._u
        message = u.state_message()
        shown = (
            message.phase,
            _DIGITS.sub("", message.text),
            message.job_id,
            message.plan_id,
            message.request_id,
            message.done,
            message.dropped,
            message.skipped,
            message.seen,
            message.assists,
            message.protective_stops,
        )
        if shown == self._shown and u.now.steady_s - self._shown_s < STATE_PERIOD_S:
            return
        self._shown, self._shown_s = shown, u.now.steady_s
        u.out.append(Publish("job/state", message))
        feedback = u.feedback()
        if feedback is not None:
            u.out.append(feedback)
        waiting = u.phase in (JobState.WAITING, JobState.ASKING, JobState.PAUSED)
        u.out.append(Diagnose("job", 1 if waiting or u.phase == JobState.FAILED else 0, u.text[:200]))
