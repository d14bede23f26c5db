"""What the steps of the behaviour tree have in common: the conditions of moving, and the moves."""

import math

from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import JobState, PlannedPick, Wall
from py_trees.common import Status

from lumper_planner.record import to_pick
from lumper_planner.unloading import POSE_SCAN, Unloading

_GOAL = ExecuteMotion.Goal


def scan(u: Unloading) -> Status:
    u.send_motion(_GOAL.SCAN)
    u.say(JobState.SENSING, "clearing the camera's view")
    return Status.RUNNING


def scan_for(u: Unloading, what: str) -> Status:
    u.thorough = what
    u.look_again()
    if u.arm_pose == POSE_SCAN:
        return Status.SUCCESS
    return scan(u)


def may_not_move(u: Unloading) -> str:
    p = u.parameters
    return u.world.stop_text(u.now, p.safety_max_age_s) or u.world.broker_text(
        u.now, p.broker_max_age_s, u.last_ended_id
    )


def blocking_question(u: Unloading) -> bool:
    return any(question.blocking for question in u.require_job().questions())


def fresh(u: Unloading) -> bool:
    wall, stamp_s = u.world.wall, u.world.wall_stamp_s()
    if wall is None or wall.status not in (Wall.STATUS_OK, Wall.STATUS_EMPTY):
        return False
    return stamp_s >= u.look_after_s and u.now.ros_s - stamp_s <= u.parameters.wall_max_age_s and math.isfinite(stamp_s)


def pick(u: Unloading, chosen: PlannedPick, kind: int = _GOAL.PICK) -> None:
    plan = u.choice.plan if u.choice is not None else None
    u.thorough = ""
    u.send_motion(kind, chosen, plan)
    verb = "taking" if kind == _GOAL.PICK else "pulling at"
    u.say(JobState.PICKING, f"{verb} {', '.join(map(str, chosen.carton_ids))}")
    u.require_job().left = 0 if u.world.picture is None else len(u.world.picture.ids)


def place(u: Unloading) -> None:
    load = u.require_job().load
    assert load is not None
    u.send_motion(_GOAL.PLACE, to_pick(load))
    u.say(JobState.PLACING, f"laying down {', '.join(map(str, load['carton_ids']))}")


def move_base(u: Unloading, distance_m: float) -> Status:
    """The base moves towards the load only with the arm folded."""
    if u.arm_pose != POSE_SCAN:
        return scan(u)
    return send_base(u, distance_m)


def send_base(u: Unloading, distance_m: float) -> Status:
    u.send_base(distance_m)
    u.say(JobState.ADVANCING, f"the base moves by {distance_m:+.2f} m")
    return Status.RUNNING
