"""The person beside a running robot, for campaigns that last longer than anybody watches."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
from launched import Observer
from lumper_msgs.msg import JobState, SafetyState
from lumper_msgs.srv import JobCommand

from lumper_ros.auth import sign_command

PERIOD_S = 0.5
# Somebody who is told for so long that something is near the arm goes there; in these campaigns nobody walks about, so it fell.
GOES_THERE_S = 8.0
# So often the same question, with nothing delivered in between, is answered with another look before anything is done about it.
LOOKS = 2


class Attendant:
    """Resets what is latched once its causes are gone, lets a paused job go on, and carries off what fell where it keeps the arm
    from moving. Asked a question, has the robot look again; asked the same once more, takes the topmost carton that it is about
    off by hand, or has the base driven back where it is about none."""

    def __init__(self, see: Observer, key: Callable[[], bytes | None]) -> None:
        """
        Args:
            key: the robot's, asked for when it is needed; may raise what a robot that is not up yet raises.
        """
        self._see, self._key = see, key
        see.watch("safety/state", "job/state", "assist/request", "wall")
        self._next_s = 0.0
        self._near_since_s: float | None = None
        self._answered = self._taken_for = ""
        self._asked: tuple[int, int] | None = None
        self._times = 0
        self.resets = self.answers = self.errands = 0

    @property
    def needed(self) -> int:
        """How often anything was done that only a person does."""
        return self.resets + self.answers + self.errands

    def visit(self) -> None:
        """Look what is wanted, at most twice a second."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + PERIOD_S
        # A node that is being started again does not answer; a robot that is not up has no key. There is a next time.
        with suppress(AssertionError, psutil.Error, KeyError, OSError):
            self._visit(now_s)

    def _visit(self, now_s: float) -> None:
        safety, job = self._see.newest.get("safety/state"), self._see.newest.get("job/state")
        question = self._see.newest.get("assist/request")
        if safety is None:
            return
        self._heed(safety, now_s)
        if any(cause.latched for cause in safety.causes) and not any(cause.present for cause in safety.causes):
            arguments = {"reason": "looked into it"}
            self.resets += self._call("safety/reset", arguments)
        elif job is not None and job.phase == JobState.PAUSED and safety.mode in (SafetyState.RUN, SafetyState.REDUCED):
            self._call("job/command", {"command": JobCommand.Request.RESUME})
        elif job is not None and question is not None and question.open and question.question_id != self._answered:
            self._answer(question, job.done)

    def _answer(self, question: Any, done: int) -> None:
        asked = (question.code.code, done)
        self._times = self._times + 1 if asked == self._asked else 1
        self._asked = asked
        offered = [option.key for option in question.options]
        wanted = ["look_again"]
        if self._times > LOOKS:
            wanted = ["i_moved_it" if self._carry_off(question) else "drive_back", *wanted]
        option = next((each for each in wanted if each in offered), None)
        if option is not None and self._see.answer(question, option, self._key()):
            self._answered = question.question_id
            self.answers += 1

    def _carry_off(self, question: Any) -> bool:
        """Take the topmost carton that a question is about away, where the robot sees it; whether there was one."""
        if self._taken_for == question.question_id:
            return True
        wall, about = self._see.newest.get("wall"), set(question.carton_ids)
        shown = [carton.pose.position for carton in wall.cartons if carton.id in about] if wall is not None else []
        if not shown:
            return False
        top = max(shown, key=lambda place: float(place.z))
        answer = self._see.call("sim/fault", name="take_away", args=[top.x, top.y, top.z], duration_s=float("nan"))
        if answer.ok:
            self._taken_for = question.question_id
            self.errands += 1
        return bool(answer.ok)

    def _heed(self, safety: SafetyState, now_s: float) -> None:
        stopped = safety.mode == SafetyState.PROTECTIVE_STOP
        if not stopped or not any(cause.present and cause.source == "person" for cause in safety.causes):
            self._near_since_s = None
            return
        self._near_since_s = self._near_since_s or now_s
        if now_s - self._near_since_s > GOES_THERE_S:
            self._near_since_s = None
            answer = self._see.call("sim/fault", name="take_away", args=[], duration_s=float("nan"))
            self.errands += "took" in answer.text

    def _call(self, service: str, arguments: dict[str, Any]) -> bool:
        auth = sign_command(self._key(), service, arguments, "attendant", time.time(), random.getrandbits(64))
        return bool(self._see.call(service, 4.0, auth=auth, **arguments).accepted)
