"""The first leaves of the behaviour tree: whether there is a job, and what keeps it from moving. Answers as in `steps`."""

import math

from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, JobState, OutcomeCode
from py_trees.common import Status

from lumper_planner import assist, moves, outcomes
from lumper_planner.record import BASE, PAUSED_BY_STOP
from lumper_planner.unloading import TAKING, Unloading
from lumper_ros.convert import seconds

_GOAL = ExecuteMotion.Goal


def store_broken(u: Unloading) -> Status:
    """What cannot be put on record is not done."""
    if u.job is None or not u.store_fault:
        return Status.FAILURE
    if u.job.in_flight is not None:
        u.cancel_flight()
        u.say(JobState.WAITING, "the job's record cannot be written: stopping")
        return Status.RUNNING
    u.finish(
        OutcomeCode.INTERNAL, f"the job's record cannot be written ({u.store_fault[:200]}); free the disk, start again"
    )
    return Status.SUCCESS


def no_job(u: Unloading) -> Status:
    if u.job is not None:
        return Status.FAILURE
    if u.ended is None:
        u.say(JobState.IDLE, "no job")
    return Status.RUNNING


def awaiting_client(u: Unloading) -> Status:
    if not u.waits_for_client:
        return Status.FAILURE
    if u.cancelling:
        u.waits_for_client = False
        return Status.SUCCESS
    u.say(
        JobState.WAITING,
        "restarted in the middle of this job: waiting for its client to send the goal again, or for resume",
    )
    return Status.RUNNING


def cancelled(u: Unloading) -> Status:
    """End a cancelled job: the arm stands still, and what it held is laid down where that is possible."""
    if not u.cancelling:
        return Status.FAILURE
    job = u.require_job()
    if job.in_flight is not None:
        if job.in_flight.kind != _GOAL.PLACE or u.now.ros_s > u.cancel_until_s:
            u.cancel_flight()
        u.say(JobState.WAITING, f"cancelled by {u.cancelling}: ending the motion under way")
        return Status.RUNNING
    if u.reconcile and u.now.ros_s < u.cancel_until_s and reconciling(u) == Status.RUNNING:
        return Status.RUNNING
    if u.holding() and u.now.ros_s < u.cancel_until_s and job.paused != PAUSED_BY_STOP:
        if not moves.may_not_move(u) and not u.world.conveyor_text(u.now, u.parameters.conveyor_max_age_s):
            moves.place(u)
        u.say(JobState.WAITING, f"cancelled by {u.cancelling}: laying down the carton in hand")
        return Status.RUNNING
    held = " A carton is still on the gripper." if u.holding() else ""
    u.finish(OutcomeCode.JOB_CANCELLED, f"cancelled by {u.cancelling}.{held}")
    return Status.SUCCESS


def stop_pending(u: Unloading) -> Status:
    """After a latched stop the job goes on only by its own command."""
    job = u.require_job()
    if job.paused != PAUSED_BY_STOP:
        return Status.FAILURE
    stop = u.world.stop_text(u.now, u.parameters.safety_max_age_s)
    u.say(JobState.PAUSED, f"{stop or 'stop was reset'}: waiting for resume")
    return Status.RUNNING


def reconciling(u: Unloading) -> Status:
    """After a restart of this node or the broker, or where something hangs on the gripper that nobody took: learn what it holds from
    the broker's own record."""
    if not u.reconcile and not _holds_what_nobody_took(u):
        return Status.FAILURE
    job, broker = u.require_job(), u.world.broker
    text = "" if broker is not None else "motion/state was never heard"
    if broker is not None and u.now.steady_s - u.world.broker_s > u.parameters.broker_max_age_s:
        text = "motion/state is silent"
    elif broker is not None and (
        broker.state not in (BrokerState.IDLE, BrokerState.HOLDING) or broker.active_request_id
    ):
        text = "it has not ended what was under way"
    if text or broker is None:
        u.say(JobState.WAITING, f"finding out what the arm holds, waiting for the motion broker: {text}")
        return Status.RUNNING
    base_moved = job.unresolved is not None and job.unresolved.kind == BASE
    # Nothing but its place tells whether a base move of an earlier life has ended.
    if base_moved and (u.world.base is None or u.now.ros_s - u.world.base_moved_s < u.parameters.base_still_s):
        u.say(JobState.WAITING, "restarted while the base moved: waiting until it stands still")
        return Status.RUNNING
    request, holding = job.unresolved, bool(broker.holding_carton)
    code = None
    if request is not None and request.request_id in broker.last_request_ids:
        code = int(broker.last_outcomes[list(broker.last_request_ids).index(request.request_id)].code)
    u.reconcile, job.unresolved, u.dirty = False, None, True
    if (
        job.load is None
        and request is not None
        and request.kind in TAKING
        and (holding or (request.kind == _GOAL.PICK and code in (0, OutcomeCode.CARTON_LOST)))
    ):
        outcomes.took_load(u, request, code)
    if job.load is not None and not holding:
        placed = request is not None and request.kind == _GOAL.PLACE and code == OutcomeCode.NONE
        why = (
            "laid down before the restart"
            if placed
            else "no longer on the gripper after the restart, delivery not confirmed"
        )
        outcomes.load_gone(u, delivered=placed, why=why)
    if holding and job.load is None:
        assist.ask_how_to_go_on(
            u,
            OutcomeCode.UNKNOWN_AFTER_RESTART,
            "the gripper holds something that this job did not take: take it off by hand",
        )
    u.look_before_place = True
    return Status.SUCCESS


def _holds_what_nobody_took(u: Unloading) -> bool:
    """A broker that was killed in a grasp may look before the cups hold: what it called empty is not, a moment later."""
    job, broker = u.require_job(), u.world.broker
    return (
        broker is not None
        and bool(broker.holding_carton)
        and broker.state == BrokerState.IDLE
        and not broker.active_request_id
        and job.load is None
        and job.in_flight is None
        # Said after the last motion's end, not before it.
        and seconds(broker.stamp) > u.ended_s
        and not moves.blocking_question(u)
    )


def forbidden(u: Unloading) -> Status:
    """Nothing may move now."""
    text = moves.may_not_move(u)
    _ask_what_stands_there(u, text)
    if not text:
        return Status.FAILURE
    u.say(JobState.WAITING, text)
    return Status.RUNNING


def _ask_what_stands_there(u: Unloading, text: str) -> None:
    if not u.world.kept_by_somebody():
        u.kept_since_s = math.inf
        if not text:
            assist.hold_is_over(u)
        return
    asked = any(question.code == OutcomeCode.STOPPED_BY_SAFETY for question in u.require_job().questions())
    u.kept_since_s = u.now.ros_s if asked else min(u.kept_since_s, u.now.ros_s)
    if text and u.now.ros_s - u.kept_since_s >= u.parameters.hold_question_s:
        assist.ask_about_hold(u, f"{text}, for {u.parameters.hold_question_s:.0f} s")
