"""The leaves of the behaviour tree. Each answers: FAILURE = not my case, RUNNING = this is what happens now (phase and
text say what), SUCCESS = something changed, look at the tree again from the top. None of them blocks or reads a clock."""

import numpy as np
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, Carton, JobState, OutcomeCode, Wall
from py_trees.common import Status

from lumper_planner import assist, doubts, moves, names
from lumper_planner.record import BASE, PAUSED_BY_PERSON, to_pick
from lumper_planner.unloading import POSE_SCAN, Unloading
from lumper_ros.core import Severity

_GOAL = ExecuteMotion.Goal
# A carton that a person decided on must stand within this of where it stood when the question was put.
FORCED_TOLERANCE_M = 0.03
_STAGE_NAMES = {
    _GOAL.PICK: (JobState.PICKING, "taking"),
    _GOAL.PLACE: (JobState.PLACING, "laying down"),
    _GOAL.PROBE: (JobState.PICKING, "pulling at"),
    _GOAL.SCAN: (JobState.SENSING, "clearing the camera's view"),
    _GOAL.HOME: (JobState.WAITING, "homing the arm"),
    _GOAL.RETREAT: (JobState.WAITING, "backing the arm out"),
}


def under_way(u: Unloading) -> Status:
    """A motion is under way: wait for its result, and meanwhile plan the next one."""
    job = u.require_job()
    request = job.in_flight
    if request is None:
        return Status.FAILURE
    late = u.now.ros_s > request.deadline_s + u.parameters.answer_limit_s
    if request.kind == BASE:
        if u.world.stop_text(u.now, u.parameters.safety_max_age_s) or late:
            u.cancel_flight()
        u.say(JobState.ADVANCING, f"the base moves by {request.distance_m:+.2f} m")
        return Status.RUNNING
    phase, words = _STAGE_NAMES[request.kind]
    ids = request.pick["carton_ids"] if request.pick is not None else []
    text = f"{words} {', '.join(map(str, ids))}".strip()
    if late:
        u.cancel_flight()
        text += ": no result past the deadline, waiting for the motion broker"
    elif u.world.broker is not None and u.world.broker.state == BrokerState.HOLDING:
        text += ": held, no permit"
    u.say(phase, text)
    if (
        request.kind == _GOAL.PLACE
        and u.world.base is not None
        and moves.fresh(u)
        and not u.computing
        and not u.choice_holds()
    ):
        u.start_choice()
    return Status.RUNNING


def load_in_hand(u: Unloading) -> Status:
    if not u.holding():
        return Status.FAILURE
    if u.look_before_place:
        looked = looking(u)
        if looked != Status.FAILURE:
            return looked
        u.look_before_place = False
    if u.now.ros_s < u.retry_at_s:
        u.say(JobState.WAITING, "waiting before the carton in hand is laid down again")
        return Status.RUNNING
    if moves.blocking_question(u):
        return Status.FAILURE
    if u.require_job().back_wanted:
        # With the arm as it stands: it cannot fold with a load, and straight back is the way out of the pile.
        return moves.send_base(u, -u.parameters.drive_back_m)
    text = u.world.conveyor_text(u.now, u.parameters.conveyor_max_age_s)
    if text:
        u.say(JobState.WAITING, text)
        return Status.RUNNING
    moves.place(u)
    return Status.RUNNING


def paused(u: Unloading) -> Status:
    job = u.require_job()
    if job.paused != PAUSED_BY_PERSON:
        return Status.FAILURE
    u.say(JobState.PAUSED, job.paused_text)
    return Status.RUNNING


def asking(u: Unloading) -> Status:
    """A question is open without whose answer nothing can be done."""
    if not moves.blocking_question(u):
        return Status.FAILURE
    question = u.require_job().open_question()
    u.say(JobState.ASKING, question.text if question is not None else "")
    return Status.RUNNING


def counted(u: Unloading) -> Status:
    job = u.require_job()
    if job.stop_when != 1 or job.done < job.max_cartons:
        return Status.FAILURE
    u.finish(OutcomeCode.COUNT_REACHED, f"{job.done} cartons delivered as asked; the trailer may not be empty")
    return Status.SUCCESS


def collapsing(u: Unloading) -> Status:
    """A load that keeps moving by itself is none to work at."""
    job = u.require_job()
    if job.collapses < u.parameters.collapses_before_end:
        return Status.FAILURE
    u.finish(
        OutcomeCode.WALL_CHANGED_UNTOUCHED,
        f"cartons moved untouched {job.collapses} times in a row; make the load safe, start again",
    )
    return Status.SUCCESS


def resting(u: Unloading) -> Status:
    """Waits that end by themselves: after a fault, after a collapse, for the base's place."""
    if u.now.ros_s < u.retry_at_s:
        u.say(JobState.WAITING, "waiting a moment after a fault")
        return Status.RUNNING
    if u.now.ros_s < u.settle_until_s:
        u.say(JobState.WAITING, "cartons moved untouched: waiting until the load stands still")
        return Status.RUNNING
    if u.world.base is None:
        u.say(JobState.WAITING, "the place of the base is not known: no transform trailer -> base_link on /tf")
        return Status.RUNNING
    return Status.FAILURE


def recovering(u: Unloading) -> Status:
    """Motions that bring the arm back to where it can work, after a fault."""
    if not u.prelude:
        return Status.FAILURE
    u.send_motion(u.prelude[0])
    u.say(JobState.WAITING, _STAGE_NAMES[u.prelude[0]][1])
    return Status.RUNNING


def driving_back(u: Unloading) -> Status:
    if not u.require_job().back_wanted:
        return Status.FAILURE
    return moves.move_base(u, -u.parameters.drive_back_m)


def looking(u: Unloading) -> Status:
    """Have a picture that is new enough: wait for one, clear the view for one, or end because none comes."""
    if moves.fresh(u):
        u.look_since_s = u.scanned_s = None
        return Status.FAILURE
    p, now_s = u.parameters, u.now.ros_s
    if u.look_since_s is None or now_s < u.look_since_s:
        u.look_since_s, u.scanned_s = now_s, None
    u.say(JobState.SENSING, "waiting for a fresh picture of the load")
    if now_s - u.look_since_s < p.look_grace_s:
        return Status.RUNNING
    if u.arm_pose != POSE_SCAN and u.scanned_s is None and not (u.holding() and u.look_before_place):
        return moves.scan(u)
    begun_s = u.look_since_s if u.scanned_s is None else u.scanned_s
    if now_s - begun_s < p.look_timeout_s:
        return Status.RUNNING
    why = (
        "the wall was never heard"
        if u.world.wall is None
        else f"newest evidence is {now_s - u.world.wall_stamp_s():.1f} s old"
    )
    if u.world.wall is not None and u.world.wall.text:
        why += f" ({u.world.wall.text[:200]})"
    u.finish(
        OutcomeCode.WALL_STALE,
        f"no fresh picture of the load within {p.look_timeout_s:g} s: {why}; restore the camera or intake",
    )
    return Status.SUCCESS


def empty(u: Unloading) -> Status:
    """The trailer is empty only on evidence: a picture from a free view that says so."""
    job, wall = u.require_job(), u.world.wall
    assert wall is not None
    if wall.status != Wall.STATUS_EMPTY:
        return Status.FAILURE
    if u.thorough != "empty" or u.arm_pose != POSE_SCAN:
        return moves.scan_for(u, "empty")
    job.empty_confirmed, job.left = True, 0
    u.finish(
        OutcomeCode.NONE,
        f"the trailer is empty: {job.done} delivered, {job.dropped} lost on the way, {len(job.skipped)} skipped",
    )
    return Status.SUCCESS


def ordered(u: Unloading) -> Status:
    """Make the pick that a person decided on, if the carton still stands where it stood."""
    job, picture = u.require_job(), u.world.picture
    if job.forced is None or picture is None:
        return Status.FAILURE
    chosen, job.forced, u.dirty = job.forced, None, True
    places = dict(zip(picture.ids, picture.centre, strict=True))
    for carton, centre in zip(chosen["carton_ids"], chosen["centres"], strict=True):
        if carton not in places or float(np.linalg.norm(places[carton] - np.array(centre))) > FORCED_TOLERANCE_M:
            u.emit("assist.outdated", f"carton {carton} moved since the question: looking again instead", Severity.WARN)
            return Status.SUCCESS
    made = to_pick(chosen["pick"])
    made.speed_limit_mps = min(made.speed_limit_mps, assist.FORCED_SPEED_MPS)
    moves.pick(u, made)
    return Status.RUNNING


def planning(u: Unloading) -> Status:
    names.follow(u)
    if u.choice_holds():
        return Status.FAILURE
    u.start_choice()
    u.say(JobState.PLANNING, "choosing the next carton")
    return Status.RUNNING


def taking(u: Unloading) -> Status:
    """Send the plan's first pick."""
    choice = u.choice
    assert choice is not None
    if not choice.plan.picks or choice.plan.advance_base_m:
        return Status.FAILURE
    belt = u.world.conveyor
    if belt is None or belt.jammed or u.now.steady_s - u.world.conveyor_s > u.parameters.conveyor_max_age_s:
        u.say(JobState.WAITING, u.world.conveyor_text(u.now, u.parameters.conveyor_max_age_s))
        return Status.RUNNING
    chosen = choice.plan.picks[0]
    if doubts.about(u, chosen):
        if not doubts.testable(u, chosen):
            doubts.settle(u, int(chosen.carton_ids[0]))
            return Status.SUCCESS
        moves.pick(u, chosen, _GOAL.PROBE)
        return Status.RUNNING
    moves.pick(u, chosen)
    return Status.RUNNING


def advancing(u: Unloading) -> Status:
    choice = u.choice
    assert choice is not None
    if not choice.plan.advance_base_m:
        return Status.FAILURE
    return moves.move_base(u, float(choice.plan.advance_base_m))


def stuck(u: Unloading) -> Status:
    """Nothing can be taken from here: look from a free view, then let a person decide."""
    job, choice, picture = u.require_job(), u.choice, u.world.picture
    assert choice is not None and picture is not None
    if job.questions():
        question = job.open_question()
        u.say(JobState.ASKING, question.text if question is not None else "")
        return Status.RUNNING
    if u.thorough != "stuck":
        return moves.scan_for(u, "stuck")
    remaining = [carton for carton in picture.ids if carton not in set(job.skipped)]
    floor = [
        carton
        for carton, state in zip(picture.ids, picture.states, strict=True)
        if state == Carton.STATE_ON_FLOOR and carton in set(remaining)
    ]
    if picture.ids and not remaining:
        job.left = len(picture.ids)
        u.finish(
            OutcomeCode.NO_REMOVABLE_CARTON,
            f"{len(picture.ids)} cartons are left on a person's word, none else is in view",
        )
        return Status.SUCCESS
    if not picture.ids:
        text = u.world.wall.text[:200] if u.world.wall is not None else ""
        assist.ask_how_to_go_on(
            u,
            OutcomeCode.NEEDS_PERSON,
            f"no carton is in view, but the trailer was not seen to be empty: {text or 'look into it'}",
        )
    elif floor and (set(floor) == set(remaining) or set(floor) & set(choice.base_blocked_by)):
        assist.ask_carton(
            u,
            OutcomeCode.NO_REMOVABLE_CARTON,
            floor,
            f"on the floor, and the robot cannot take it safely: carton {floor[0]}",
        )
    else:
        assist.ask_nothing_removable(u)
    return Status.SUCCESS
