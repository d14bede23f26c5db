"""The jobs on record, and how one begins: new, taken up again, or found running after a restart of the node."""

import math

from lumper_msgs.action import Unload

from lumper_planner.record import JOB_ID, JOBS_KEPT, ORIGIN_CLIENT, JobRecord
from lumper_planner.unloading import POSE_OTHER, Unloading
from lumper_ros.core import Persist


class Jobs:
    """All jobs known, by id. One at most is running: `unloading.job`."""

    def __init__(self, unloading: Unloading) -> None:
        self._u = unloading
        self.known: dict[str, JobRecord] = {}

    def resume_after_restart(self, job: JobRecord) -> None:
        """This job was running when the node's last life ended. A client must say again that it wants it: its goal handle
        is gone. A job that a person started has no client, so it goes on."""
        u = self._u
        u.job, u.ended = job, None
        job.unresolved, job.in_flight = job.in_flight or job.unresolved, None
        u.waits_for_client = job.origin == ORIGIN_CLIENT
        self.uncertain()

    def uncertain(self) -> None:
        """Nothing that was known of arm and load can be relied on."""
        u = self._u
        u.reconcile, u.look_before_place, u.arm_pose, u.thorough = True, True, POSE_OTHER, ""
        u.computing, u.prelude = "", []
        if u.job is not None:
            # Times from a clock that has since been set back would make cartons look gone that stand there.
            u.job.delivered = {carton: when_s for carton, when_s in u.job.delivered.items() if when_s <= u.now.ros_s}
        u.look_again()

    def start(self, job_id: str, origin: str, stop_when: int, max_cartons: int, goal_id: str) -> None:
        """Begin a job, or take up one that ended before its trailer was empty."""
        u = self._u
        again = job_id in self.known
        job = self.known.setdefault(job_id, JobRecord(job_id, origin))
        job.origin, job.stop_when, job.max_cartons = origin, stop_when, max_cartons
        job.running, job.outcome, job.text, job.empty_confirmed = True, 0, "", False
        job.collapses, job.paused = 0, ""
        u.job, u.ended, u.goal_id, u.dirty, u.store_fault = job, None, goal_id, True, ""
        u.faults_in_row = u.base_faults = 0
        u.retry_at_s = u.settle_until_s = -math.inf
        self.uncertain()
        u.emit("job.resumed" if again else "job.started", f"job {job_id} by {origin}")
        over = [known for known in self.known.values() if not known.running]
        for stale in over[: max(0, len(self.known) - JOBS_KEPT)]:
            del self.known[stale.job_id]
            u.out.append(Persist("job", stale.job_id, None))

    def resumed(self, why: str) -> None:
        """The running job goes on, after a look at the world."""
        self._u.dirty = True
        self.uncertain()
        self._u.emit("job.resumed", why)

    def cancel(self, who: str, *, by_client: bool) -> None:
        u = self._u
        u.cancelling = u.cancelling or who
        u.cancel_by_client = u.cancel_by_client or by_client
        u.cancel_until_s = u.now.ros_s + u.parameters.cancel_limit_s
        u.emit("job.cancel", f"cancel asked for by {who}")


def goal_fault(goal: Unload.Goal) -> str:
    """Why an Unload goal cannot be accepted, naming the field; empty = it can."""
    if goal.job_id and not JOB_ID.fullmatch(goal.job_id):
        return "job_id: up to 64 letters, digits and _ . : - only"
    if goal.stop_when not in (Unload.Goal.UNTIL_EMPTY, Unload.Goal.UNTIL_COUNT):
        return f"stop_when: {goal.stop_when} is neither UNTIL_EMPTY nor UNTIL_COUNT"
    if goal.stop_when == Unload.Goal.UNTIL_COUNT and goal.max_cartons == 0:
        return "max_cartons: must be at least 1 with UNTIL_COUNT"
    return ""
