"""The gripper's part of a request: its valves, what a measurement of it means, how a grasp that did not hold is tried again."""

from collections.abc import Callable
from enum import Enum, auto

from lumper_msgs.msg import OutcomeCode
from lumper_msgs.srv import SetGripper

from lumper_motion.active import Active, Memory, Step, Stop
from lumper_motion.parameters import MotionParameters
from lumper_motion.requests import State
from lumper_motion.senses import Senses
from lumper_motion.tools import regrasped
from lumper_ros.core import CallService, Effect, Now
from lumper_ros.robot import Robot

GRIPPER = "gripper/set"
C = OutcomeCode
ANSWER_S = 1.0


class Verdict(Enum):
    """What a measurement of the gripper says of the running request."""

    GRIPPED = auto()
    NOT_GRIPPED = auto()  # in time
    LET_GO = auto()
    NOT_LET_GO = auto()  # in time
    LOST = auto()


class Grip:
    """`emit` takes what is to be carried out, in order."""

    def __init__(
        self,
        parameters: MotionParameters,
        robot: Robot,
        senses: Senses,
        memory: Memory,
        emit: Callable[[Effect], None],
    ) -> None:
        self._p = parameters
        self._robot = robot
        self._senses = senses
        self._memory = memory
        self._emit = emit
        self._calls = 0

    def suck(self, active: Active) -> None:
        """Open the valves of the pick's zones, once."""
        if not active.zones_commanded and active.pick is not None:
            active.zones_commanded = True
            self._set(active.pick.zones)

    def release(self) -> None:
        """Close all valves."""
        self._set(0)

    def _set(self, zones: int) -> None:
        self._calls += 1
        self._emit(CallService(GRIPPER, f"gripper {self._calls}", SetGripper.Request(zones_on=zones), ANSWER_S))

    def lost(self, now: Now) -> bool:
        """Whether a load that should be held has been gone for long enough to be believed."""
        since = self._senses.empty_since_s
        return self._memory.held is not None and since is not None and now.steady_s - since >= self._p.lost_after_s

    def verdict(self, active: Active, now: Now) -> Verdict | None:
        """What the newest measurement means; None while there is nothing to decide."""
        gripper = self._senses.gripper
        assert gripper is not None
        waited_s = now.steady_s - active.grip_since_s
        if active.state is State.GRIPPING and active.pick is not None:
            if gripper.holds and gripper.zones_on == active.pick.zones:
                return Verdict.GRIPPED
            return Verdict.NOT_GRIPPED if waited_s > self._p.vacuum_wait_s else None
        if active.state is State.RELEASING:
            if not gripper.holds and gripper.zones_on == 0:
                return Verdict.LET_GO
            return Verdict.NOT_LET_GO if waited_s > self._p.release_wait_s else None
        return Verdict.LOST if active.state is not State.STOPPING and self.lost(now) else None

    def next_try(self, active: Active, why: str) -> str:
        """Press harder, then another grasp of the same face, then go back; what to say of it, nothing of going back."""
        assert active.pick is not None
        active.grip_tries += 1
        rest = active.steps[1:]
        if active.grip_tries == 1:
            active.steps = [Step.PRESS, *rest]
            return f"{why}: pressing harder"
        self.release()
        if active.grip_tries == 2:
            active.zones_commanded = False
            active.pick = regrasped(active.pick, self._robot)
            active.steps = [Step.BACK_OFF, Step.APPROACH, *rest]
            return f"{why}: another grasp of the same face"
        kpa = self._senses.gripper.vacuum_kpa if self._senses.gripper else 0.0
        ids = list(active.pick.carton_ids)
        active.failure = Stop(C.GRASP_NOT_MADE, f"vacuum {kpa:.0f} kPa after {active.grip_tries} tries on {ids}")
        active.steps = [Step.BACK_OFF]
        return ""
