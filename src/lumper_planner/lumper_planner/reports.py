"""Messages that are made from a job's record."""

import math

from lumper_msgs.action import Unload
from lumper_msgs.msg import AssistOption, AssistRequest, OutcomeCode, StageTime

from lumper_planner.record import JobRecord, OpenQuestion
from lumper_ros.convert import to_time


def rate_per_h(job: JobRecord) -> float:
    """Cartons per hour of ROS time since the job started; 0 before any time has passed."""
    return 3600.0 * job.done / job.elapsed_s if job.elapsed_s > 0.0 else 0.0


def stage_times(job: JobRecord) -> list[StageTime]:
    return [StageTime(stage=stage, duration_s=duration_s) for stage, duration_s in sorted(job.stages.items())]


def result_of(job: JobRecord) -> Unload.Result:
    """The action's result for an ended job."""
    return Unload.Result(
        outcome=OutcomeCode(code=job.outcome),
        text=job.text,
        job_id=job.job_id,
        delivered=job.done,
        dropped=job.dropped,
        skipped=len(job.skipped),
        left=job.left,
        empty_confirmed=job.empty_confirmed,
        duration_s=job.elapsed_s,
        cases_per_hour=rate_per_h(job),
        protective_stops=job.protective_stops,
        assists=job.assists,
        waiting_for_person_s=job.waiting_for_person_s,
        stages=stage_times(job),
    )


def request_message(question: OpenQuestion, job: JobRecord, now_s: float) -> AssistRequest:
    """The question as it is published; `open` false closes it."""
    options = [
        AssistOption(
            key=option["key"],
            text=option["text"],
            carton_ids=option["carton_ids"],
            choose_min=option["choose"][0],
            choose_max=min(option["choose"][1], 255),
            risk_s=math.nan if option["risk_s"] is None else option["risk_s"],
            predicted_s=math.nan if option["predicted_s"] is None else option["predicted_s"],
            is_safe_default=option["is_safe_default"],
        )
        for option in question.options
    ]
    return AssistRequest(
        stamp=to_time(max(now_s, 0.0)),
        question_id=question.question_id,
        job_id=job.job_id,
        open=question.open,
        code=OutcomeCode(code=question.code),
        text=question.text,
        options=options,
        carton_ids=question.carton_ids,
        wall_version=question.wall_version,
        plan_id=question.plan_id,
        expires=to_time(max(question.expires_s, 0.0)),
        answered_by=question.answered_by,
        answer_key=question.answer_key,
    )
