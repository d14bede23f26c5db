"""What the end of a motion means for the job. `picked` = `done` + `dropped` + what is held, after every call."""

from typing import Any

from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode

from lumper_planner import assist, doubts
from lumper_planner.record import Request
from lumper_planner.unloading import POSE_OTHER, POSE_SCAN, Unloading
from lumper_ros.core import GoalStatus, Severity

_GOAL = ExecuteMotion.Goal
# The carton's own fault, or that of the grasp: another try on another grasp, then a question.
_CARTON_CODES = frozenset(
    {
        OutcomeCode.MALFORMED,
        OutcomeCode.OUT_OF_WORKSPACE,
        OutcomeCode.UNREACHABLE,
        OutcomeCode.IN_COLLISION,
        OutcomeCode.PLANNING_TIMEOUT,
        OutcomeCode.OVERLOADED,
        OutcomeCode.GRASP_NOT_MADE,
    }
)
# No way there from where the base stands; perhaps there is one from elsewhere.
_PLACE_CODES = frozenset({OutcomeCode.UNREACHABLE, OutcomeCode.IN_COLLISION, OutcomeCode.PLANNING_TIMEOUT})
# No way to the conveyor so often in a row: from farther back there may be one.
BACK_AFTER = 2
# So many places of the base are tried before a person is asked about a carton.
PLACES_TRIED = 3
# The world went on without us: look again, nothing is wrong with anybody.
_LOOK_CODES = frozenset(
    {
        OutcomeCode.UNKNOWN_WALL_VERSION,
        OutcomeCode.STOPPED_BY_SAFETY,
        OutcomeCode.PREEMPTED,
        OutcomeCode.CANCELLED,
        OutcomeCode.CONVEYOR_NOT_READY,
        OutcomeCode.WALL_CHANGED,
        OutcomeCode.UNKNOWN_AFTER_RESTART,
    }
)
# The request was never begun.
_REFUSED_CODES = frozenset(
    {
        OutcomeCode.MALFORMED,
        OutcomeCode.OUT_OF_WORKSPACE,
        OutcomeCode.NOT_PERMITTED,
        OutcomeCode.UNKNOWN_FRAME,
        OutcomeCode.UNKNOWN_WALL_VERSION,
        OutcomeCode.DEADLINE_PAST,
        OutcomeCode.DUPLICATE_IN_FLIGHT,
        OutcomeCode.QUEUE_FULL,
        OutcomeCode.BUSY,
    }
)


def name_of(code: int) -> str:
    """Constant's name of an outcome code."""
    for name in dir(OutcomeCode):
        if name.isupper() and getattr(OutcomeCode, name) == code:
            return name
    return f"code {code}"


def motion_ended(unloading: Unloading, request: Request, status: GoalStatus, result: Any | None) -> None:
    """Book the end of an arm motion and decide what it leads to."""
    job = unloading.require_job()
    if result is None:
        # The broker is gone, or never took the request: only its own journal and the gripper can say what happened.
        unloading.emit(
            "motion.lost",
            f"the motion broker gave no result ({status.value})",
            Severity.WARN,
            request_id=request.request_id,
        )
        job.unresolved, unloading.reconcile = request, True
        _fault(unloading, OutcomeCode.UNKNOWN_AFTER_RESTART, f"the motion broker gave no result ({status.value})")
        unloading.look_again()
        return
    for stage in result.stages:
        job.stages[stage.stage] = job.stages.get(stage.stage, 0.0) + float(stage.duration_s)
    code = int(result.outcome.code)
    if code != OutcomeCode.NONE:
        unloading.emit(
            "motion.failed",
            f"{name_of(code)}: {result.text[:500]}",
            Severity.WARN,
            request_id=request.request_id,
            plan_id=request.plan_id,
            values={"code": code, "kind": request.kind, "holding": bool(result.holding_carton)},
        )
    if code == OutcomeCode.UNKNOWN_AFTER_RESTART:
        job.unresolved, unloading.reconcile = request, True
        unloading.look_again()
        return
    if code in _REFUSED_CODES and bool(result.holding_carton) != unloading.holding():
        # What was refused took nothing and lost nothing, and a broker that has just started says "empty" before it looked.
        unloading.reconcile = True
        unloading.look_again()
        _fault(unloading, code, result.text)
        return
    if request.kind == _GOAL.PICK:
        _pick_ended(unloading, request, code, result)
    elif request.kind == _GOAL.PROBE:
        _probe_ended(unloading, request, code, result)
    elif request.kind == _GOAL.PLACE:
        _place_ended(unloading, code, result)
    else:
        _other_ended(unloading, request, code, result)


def took_load(unloading: Unloading, request: Request, code: int | None) -> None:
    """The load of this pick hangs on the gripper.

    Args:
        code: what the pick ended with; None = not known.
    """
    job = unloading.require_job()
    assert request.pick is not None
    job.load = request.pick
    job.pulled_out = request.kind == _GOAL.PICK and code == OutcomeCode.NONE
    ids = request.pick["carton_ids"]
    job.picked += len(ids)
    for carton in ids:
        job.delivered[str(carton)] = unloading.now.ros_s
    job.split = [carton for carton in job.split if carton not in ids]
    for carton in ids:
        job.doubted.pop(str(carton), None)
    job.merged = [group for group in job.merged if not set(group) & set(ids)]


def load_gone(unloading: Unloading, *, delivered: bool, why: str) -> None:
    """The gripper holds nothing any more: the load lies on the conveyor, or was lost."""
    job = unloading.require_job()
    assert job.load is not None
    ids = job.load["carton_ids"]
    job.load = None
    if delivered:
        job.done += len(ids)
        for carton in map(str, ids):
            job.failed.pop(carton, None)
            job.failed_grasps.pop(carton, None)
            job.no_path.pop(carton, None)
        unloading.emit(
            "carton.delivered", f"{why}: {job.done} done", values={"cartons": " ".join(map(str, ids)), "done": job.done}
        )
    else:
        job.dropped += len(ids)
        for carton in ids:
            # Where it fell it may be seen again under its own id: it is not on the conveyor.
            job.delivered.pop(str(carton), None)
        unloading.emit(
            "carton.lost", why, Severity.WARN, values={"cartons": " ".join(map(str, ids)), "dropped": job.dropped}
        )


def _pick_ended(unloading: Unloading, request: Request, code: int, result: Any) -> None:
    assert request.pick is not None
    ids = [int(carton) for carton in request.pick["carton_ids"]]
    unloading.look_again()
    if result.holding_carton:
        took_load(unloading, request, code)
        unloading.look_before_place = code != OutcomeCode.NONE
        if code == OutcomeCode.NONE:
            unloading.faults_in_row = 0
        elif code not in _LOOK_CODES:
            _fault(unloading, code, result.text)
        return
    if code in (OutcomeCode.NONE, OutcomeCode.CARTON_LOST) or result.last_stage == BrokerState.STAGE_EXTRACT:
        # Gripped and gone again, also where safety was the first to say so: taken off the pile and lost on the way.
        took_load(unloading, request, code)
        load_gone(unloading, delivered=False, why=f"carton lost while it was pulled out: {result.text[:200]}")
        _count_failure(unloading, request, ids, OutcomeCode.CARTON_LOST, result.text)
        doubts.raise_about(unloading, request.pick)
        return
    _not_taken(unloading, request, code, result)


def _probe_ended(unloading: Unloading, request: Request, code: int, result: Any) -> None:
    """A pull at one end of a face. What it showed is for the next picture; held, it is a pick that was broken off."""
    assert request.pick is not None
    (carton,) = (int(item) for item in request.pick["carton_ids"])
    if result.holding_carton:
        doubts.settle(unloading, carton)
        _pick_ended(unloading, request, code, result)
        return
    unloading.look_again()
    # Let go of as asked, or lost in the pull: either shows what comes along.
    pulled = code == OutcomeCode.NONE or result.last_stage == BrokerState.STAGE_EXTRACT
    if pulled or code not in _LOOK_CODES:
        doubts.settle(unloading, carton)
    if pulled:
        # The arm stands before what it pulled at.
        unloading.prelude = [_GOAL.SCAN]
        unloading.emit("carton.probed", f"carton {carton} was pulled at; the next picture shows what came along")
    if code == OutcomeCode.NONE:
        unloading.faults_in_row = 0
    else:
        _not_taken(unloading, request, code, result)


def _not_taken(unloading: Unloading, request: Request, code: int, result: Any) -> None:
    assert request.pick is not None
    if code in _CARTON_CODES or code == OutcomeCode.CARTON_LOST:
        ids = [int(carton) for carton in request.pick["carton_ids"]]
        _count_failure(unloading, request, ids, code, result.text)
    elif code not in _LOOK_CODES:
        _fault(unloading, code, result.text)


def _count_failure(unloading: Unloading, request: Request, ids: list[int], code: int, text: str) -> None:
    job = unloading.require_job()
    assert request.pick is not None
    place = request.pick["grasp_pose"]["position"]
    most = unloading.parameters.grasp_attempts
    grasp, attempts, asking = [place["x"], place["y"], place["z"]], 0, False
    for carton in map(str, ids):
        if code in _PLACE_CODES and unloading.world.base is not None:
            tried = job.no_path.setdefault(carton, [])
            tried.append([*grasp, unloading.world.base[0], request.pick["stroke"]])
            if len(tried) >= most * PLACES_TRIED:
                job.failed[carton] = most
        else:
            job.failed[carton] = job.failed.get(carton, 0) + 1
            job.failed_grasps.setdefault(carton, []).append(grasp)
        asking |= job.failed.get(carton, 0) >= most
        attempts = len(job.no_path.get(carton, ())) + len(job.failed_grasps.get(carton, ()))
    if asking:
        why = f"carton {', '.join(map(str, ids))} failed {attempts} times, last with {name_of(code)}: {text[:300]}"
        assist.ask_carton(unloading, code, ids, why)


def _place_ended(unloading: Unloading, code: int, result: Any) -> None:
    job = unloading.require_job()
    if job.load is None:
        return
    if code == OutcomeCode.NONE and not result.holding_carton:
        load_gone(unloading, delivered=True, why="laid down on the conveyor")
        unloading.faults_in_row = 0
        return
    unloading.look_again()
    if result.holding_carton:
        unloading.look_before_place = True
        if code == OutcomeCode.CONVEYOR_NOT_READY:
            unloading.retry_at_s = unloading.now.ros_s + unloading.parameters.retry_pause_s
        elif code not in _LOOK_CODES:
            _fault(unloading, code, result.text)
            if code in _PLACE_CODES and unloading.faults_in_row == BACK_AFTER and job.pulled_out:
                job.back_wanted = True
        return
    laid_down = result.last_stage == BrokerState.STAGE_RETREAT and code != OutcomeCode.CARTON_LOST
    load_gone(unloading, delivered=laid_down, why=f"{name_of(code)} after the carton was let go: {result.text[:200]}")
    if code not in _LOOK_CODES and code != OutcomeCode.CARTON_LOST:
        _fault(unloading, code, result.text)


def _other_ended(unloading: Unloading, request: Request, code: int, result: Any) -> None:
    unloading.arm_pose = POSE_SCAN if request.kind == _GOAL.SCAN and code == OutcomeCode.NONE else POSE_OTHER
    if code == OutcomeCode.NONE:
        if unloading.prelude and unloading.prelude[0] == request.kind:
            unloading.prelude.pop(0)
        if request.kind == _GOAL.SCAN:
            # What was seen while the arm swung past is not what it moved away for.
            unloading.look_after_s = unloading.scanned_s = unloading.now.ros_s
        return
    if request.kind == _GOAL.SCAN and code in (
        OutcomeCode.IN_COLLISION,
        OutcomeCode.PLANNING_TIMEOUT,
        OutcomeCode.UNREACHABLE,
    ):
        # The arm stands among cartons: only the way it came is known to be free.
        unloading.prelude = [_GOAL.RETREAT]
    elif unloading.prelude and request.kind == _GOAL.RETREAT and code not in _LOOK_CODES:
        unloading.prelude.pop(0)
    if code not in _LOOK_CODES:
        _fault(unloading, code, result.text)


def _fault(unloading: Unloading, code: int, text: str) -> None:
    """Count a fault that no choice of carton cures; try again after a pause, then ask."""
    parameters = unloading.parameters
    unloading.retry_at_s = unloading.now.ros_s + parameters.retry_pause_s
    if code == OutcomeCode.NOT_PERMITTED:
        # The permit went between the look at it and the request: safety's affair, and no fault of the motion.
        return
    unloading.faults_in_row += 1
    if code in (OutcomeCode.TOLERANCE_VIOLATED, OutcomeCode.CONTROLLER_FAULT) and not unloading.holding():
        unloading.prelude = [_GOAL.RETREAT, _GOAL.HOME]
    if unloading.faults_in_row > parameters.fault_retries and not any(
        q.blocking for q in unloading.require_job().questions()
    ):
        why = f"motions failed {unloading.faults_in_row} times in a row, last with {name_of(code)}: {text[:300]}"
        assist.ask_how_to_go_on(unloading, code, why)


def base_ended(unloading: Unloading, request: Request, status: GoalStatus, result: Any | None) -> None:
    """Book the end of a base move."""
    job = unloading.require_job()
    unloading.look_again()
    unloading.thorough = ""
    job.back_wanted = False if request.distance_m < 0 else job.back_wanted
    code = OutcomeCode.BASE_FAILED if result is None else int(result.outcome.code)
    if code == OutcomeCode.NONE:
        unloading.base_faults = 0
        return
    text = status.value if result is None else result.text[:300]
    unloading.emit("base.failed", f"{name_of(code)}: {text}", Severity.WARN, request_id=request.request_id)
    if request.cancel_sent:
        return
    unloading.base_faults += 1
    unloading.retry_at_s = unloading.now.ros_s + unloading.parameters.retry_pause_s
    if unloading.base_faults > unloading.parameters.base_retries:
        unloading.finish(
            OutcomeCode.BASE_FAILED,
            f"the drive base failed {unloading.base_faults} times, last: {text}; clear its way or its fault",
        )


def plan_failed(unloading: Unloading, text: str) -> None:
    """The planning core refused its input, or broke: try again on a new picture, then ask."""
    _fault(unloading, OutcomeCode.INTERNAL, text)
    unloading.look_again()
