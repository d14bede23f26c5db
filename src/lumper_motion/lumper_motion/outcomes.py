"""What is told of a request that has ended."""

from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import OutcomeCode, StageTime

from lumper_motion.intake import KINDS
from lumper_motion.journal import Record
from lumper_motion.requests import Request
from lumper_ros.core import Emit, FinishGoal, GoalStatus, Severity

EXECUTE = "motion/execute"
C = OutcomeCode


def finish(request_id: str, record: Record) -> FinishGoal:
    """The result message of an ended request."""
    result = ExecuteMotion.Result(
        outcome=OutcomeCode(code=record.outcome if record.outcome is not None else C.INTERNAL),
        text=record.text,
        last_stage=record.stage,
        stages=[StageTime(stage=name, duration_s=duration) for name, duration in record.stages],
        holding_carton=record.holding,
    )
    status = {C.NONE: GoalStatus.SUCCEEDED, C.CANCELLED: GoalStatus.CANCELED}.get(
        int(result.outcome.code), GoalStatus.ABORTED
    )
    return FinishGoal(EXECUTE, request_id, status, result)


def event_of(request: Request, record: Record) -> Emit:
    """The event of an ended request."""
    code = record.outcome if record.outcome is not None else C.INTERNAL
    return Emit(
        "motion.done" if code == C.NONE else "motion.failed",
        f"{KINDS[request.kind]} {record.carton_ids or ''}: {record.text or 'done'}",
        Severity.INFO if code == C.NONE else Severity.WARN,
        record.job_id,
        record.plan_id,
        request.request_id,
        {"outcome": code, **{f"{name}_s": round(duration, 3) for name, duration in record.stages}},
    )
