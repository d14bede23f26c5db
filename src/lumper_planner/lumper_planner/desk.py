"""Where people's commands and answers arrive: proved genuine, judged, carried out or refused with a sentence, on record."""

from typing import Any

from lumper_msgs.action import Unload
from lumper_msgs.msg import OutcomeCode
from lumper_msgs.srv import AnswerAssist, JobCommand

from lumper_planner import assist
from lumper_planner.jobs import Jobs
from lumper_planner.record import ORIGIN_PERSON, PAUSED_BY_PERSON
from lumper_planner.unloading import Unloading
from lumper_ros.auth import CommandVerifier
from lumper_ros.core import Severity

NAME_LIMIT = 64


class Desk:
    """The services `assist/answer` and `job/command`."""

    def __init__(self, unloading: Unloading, jobs: Jobs) -> None:
        self._u = unloading
        self._jobs = jobs
        self._verifier: CommandVerifier | None = None

    def open(self, verifier: CommandVerifier) -> None:
        """Take commands from now on."""
        self._verifier = verifier

    def answer(self, request: AnswerAssist.Request) -> AnswerAssist.Response:
        ids = [int(carton) for carton in request.carton_ids]
        arguments = {"question_id": request.question_id, "option_key": request.option_key, "carton_ids": ids}
        fault = self._authentic("assist/answer", arguments, request.auth)
        fault = fault or assist.refusal(self._u, request.question_id, request.option_key, ids)
        if fault:
            self._refused("assist.answer_refused", fault, request.auth)
            return AnswerAssist.Response(accepted=False, text=fault)
        text = assist.answer(self._u, request.option_key, ids, request.auth.operator_name)
        return AnswerAssist.Response(accepted=True, text=text)

    def command(self, request: JobCommand.Request) -> JobCommand.Response:
        fault = self._authentic("job/command", {"command": int(request.command)}, request.auth)
        accepted, text = (False, fault) if fault else self._carry_out(request)
        if not accepted:
            self._refused("job.command_refused", text, request.auth)
        return JobCommand.Response(accepted=accepted, text=text)

    def _refused(self, code: str, text: str, auth: Any) -> None:
        self._u.emit(code, text, Severity.WARN, values={"who": auth.operator_name[:NAME_LIMIT]})

    def _authentic(self, name: str, arguments: dict[str, Any], auth: Any) -> str:
        if self._verifier is None:
            return "the planner is not active"
        who = auth.operator_name
        if len(who) > NAME_LIMIT or not who.isprintable():
            return f"auth.operator_name: at most {NAME_LIMIT} printable characters"
        return self._verifier.check(name, arguments, auth, self._u.now.system_s)

    def _carry_out(self, request: JobCommand.Request) -> tuple[bool, str]:
        job, who = self._u.job, request.auth.operator_name
        match request.command:
            case JobCommand.Request.START:
                if job is not None:
                    return False, f"job {job.job_id} is running already"
                job_id = f"job-{request.auth.nonce:016x}-{request.auth.stamp.sec}"
                self._jobs.start(job_id, ORIGIN_PERSON, Unload.Goal.UNTIL_EMPTY, 0, "")
                self._done(who, "started the job")
                return True, "the job starts"
            case JobCommand.Request.PAUSE | JobCommand.Request.RESUME | JobCommand.Request.CANCEL if job is None:
                return False, "no job is running"
            case JobCommand.Request.PAUSE:
                return self._pause(who)
            case JobCommand.Request.RESUME:
                return self._resume(who)
            case JobCommand.Request.CANCEL:
                self._done(who, "cancelled the job")
                self._jobs.cancel(who, by_client=False)
                return True, "the job is being cancelled"
        return False, f"command {request.command} is not one of PAUSE, RESUME, CANCEL, START"

    def _done(self, who: str, what: str) -> None:
        self._u.emit("job.command", f"{who} {what}", values={"who": who})

    def _pause(self, who: str) -> tuple[bool, str]:
        u, job = self._u, self._u.require_job()
        if job.paused:
            return False, "the job is paused already"
        job.paused, job.paused_text, u.dirty = PAUSED_BY_PERSON, f"paused by {who}", True
        self._done(who, "paused the job")
        return True, "the job pauses when the motion under way has ended and the carton in hand is laid down"

    def _resume(self, who: str) -> tuple[bool, str]:
        u, job = self._u, self._u.require_job()
        if not job.paused and not u.waits_for_client:
            return False, "the job is not paused"
        stop = u.world.stop_text(u.now, u.parameters.safety_max_age_s)
        if stop:
            return False, f"{stop}: clear and reset it first"
        job.paused, u.waits_for_client = "", False
        self._done(who, "resumed the job")
        self._jobs.resumed(f"resumed by {who}")
        question = job.open_question()
        if question is not None and question.code == OutcomeCode.WALL_CHANGED_UNTOUCHED:
            assist.answer(u, "look_again", [], who)
        return True, "the job goes on after a look at the load"
