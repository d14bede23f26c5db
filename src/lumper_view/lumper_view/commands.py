"""The commands that the page may give, as service requests signed in the operator's name."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from lumper_msgs.srv import AnswerAssist, JobCommand, ResetSafety, SetSpeedLimit
from std_srvs.srv import Trigger

from lumper_ros.auth import sign_command
from lumper_ros.core import CallService

# safety/stop is answered within milliseconds; without an answer it is called again.
STOP_TIMEOUT_S = 0.5


class Act(Enum):
    """What was pressed."""

    SIGN_IN = "sign in"
    SIGN_OUT = "sign out"
    STOP = "stop"
    RESET = "reset"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    END = "end the job"
    LIMIT = "limit the speed"
    ANSWER = "answer"


JOB_COMMANDS = {
    Act.START: JobCommand.Request.START,
    Act.PAUSE: JobCommand.Request.PAUSE,
    Act.RESUME: JobCommand.Request.RESUME,
    Act.END: JobCommand.Request.CANCEL,
}


@dataclass(frozen=True, slots=True)
class Press:
    """One press at one browser. `nonce` is drawn by the page for each press."""

    browser: int
    act: Act
    nonce: int
    name: str = ""
    token: str = ""
    reason: str = ""
    speed: float = 1.0
    question_id: str = ""
    option: int = -1  # place in the question's options
    carton_ids: tuple[int, ...] = ()  # named, where the option wants a choice


def call(
    key: bytes | None, press: Press, tag: str, operator: str, system_s: float, question: Any | None
) -> CallService:
    """The service call of a checked press.

    Args:
        key: the robot's key; None = authentication is off.
        operator: who commands; may be empty for STOP only, which anybody may give.
        system_s: system clock.
        question: the open AssistRequest, for ANSWER.

    Raises:
        ValueError: no operator for a command that needs one, or not a command.
    """

    def auth(service: str, **arguments: Any) -> Any:
        return sign_command(key, service, arguments, operator, system_s, press.nonce)

    if press.act is Act.STOP:
        return CallService("safety/stop", tag, Trigger.Request(), timeout_s=STOP_TIMEOUT_S)
    if press.act is Act.RESET:
        request = ResetSafety.Request(reason=press.reason)
        request.auth = auth("safety/reset", reason=request.reason)
        return CallService("safety/reset", tag, request)
    if press.act is Act.LIMIT:
        limit = SetSpeedLimit.Request(speed_scale=float(press.speed))
        limit.auth = auth("safety/speed_limit", speed_scale=float(press.speed))
        return CallService("safety/speed_limit", tag, limit)
    if press.act in JOB_COMMANDS:
        command = JobCommand.Request(command=JOB_COMMANDS[press.act])
        command.auth = auth("job/command", command=command.command)
        return CallService("job/command", tag, command)
    if press.act is Act.ANSWER and question is not None:
        option = question.options[press.option]
        ids = sorted(set(press.carton_ids)) if option.choose_max else [int(i) for i in option.carton_ids]
        answer = AnswerAssist.Request(question_id=press.question_id, option_key=option.key, carton_ids=ids)
        answer.auth = auth("assist/answer", question_id=press.question_id, option_key=option.key, carton_ids=ids)
        return CallService("assist/answer", tag, answer)
    raise ValueError(f"{press.act.value} is not a service call")
