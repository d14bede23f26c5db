"""Sends trajectories to the arm controller and keeps their pace: begun, slowed, paused, resumed along the same path."""

import uuid
from collections.abc import Callable

from lumper_msgs.msg import BrokerState

from lumper_motion.active import Active
from lumper_motion.follow import Follower
from lumper_motion.parameters import MotionParameters
from lumper_motion.permit import Door
from lumper_motion.senses import Senses
from lumper_motion.timing import Trajectory
from lumper_ros.core import CancelGoal, Effect, Now, SendGoal
from lumper_ros.robot import Robot

ARM = "arm_controller/follow_joint_trajectory"
B = BrokerState
# Goal ids are derived, never drawn.
_NAMESPACE = uuid.UUID("6a7c9a52-2f0e-5bb0-9c1e-0d5c2a5f7e11")
# A change of the speed scale less than this is none.
SCALE_STEP = 0.02
# One that slows the arm is followed at once, another no oftener than this.
SLOWER_AT_ONCE = 0.05
RETIME_PERIOD_S = 0.06
# The conveyor is waited for from so long before the last moment at which the arm still stops over the belt: two ticks.
GATE_LOOK_S = 0.02


class Drive:
    """The door to the arm controller. `emit` takes what is to be carried out, in order."""

    def __init__(
        self, parameters: MotionParameters, robot: Robot, senses: Senses, door: Door, emit: Callable[[Effect], None]
    ) -> None:
        self._p = parameters
        self._robot = robot
        self._senses = senses
        self._door = door
        self._emit = emit
        self.life = 0
        self._sent = 0

    def follower(self, active: Active, trajectory: Trajectory, pace: float, now: Now) -> Follower:
        """A trajectory that begins now, not sent yet."""
        return Follower(trajectory, self._goal_id(active), now.ros_s, pace)

    def begin(self, active: Active, now: Now) -> None:
        """Send the active request's trajectory, from standstill."""
        self._send(active, 0.0, now)

    def cancel(self, active: Active) -> None:
        """Cancel the trajectory at the controller, once."""
        if not active.cancel_sent and active.follower is not None:
            active.cancel_sent = True
            self._emit(CancelGoal(ARM, active.follower.goal_id))

    def retime(self, active: Active, pace: float, now: Now) -> bool:
        """Go over to another pace along the path, by a goal that replaces the running one; False = all but arrived."""
        follower = active.follower
        assert follower is not None
        if not follower.change(pace, now.ros_s + self._p.retime_lead_s):
            return False
        follower.goal_id = self._goal_id(active)
        follower.retimed_s = now.ros_s
        self._send(active, now.ros_s, now)
        return True

    def keep_pace(self, active: Active, speed_scale: float, held_back: bool, now: Now) -> float | None:
        """Follow the speed scale, 0 where the arm is held back; the pace gone over to, None where there is no change."""
        follower = active.follower
        assert follower is not None
        wanted = 0.0 if held_back or speed_scale < SCALE_STEP else speed_scale
        urgent = wanted < follower.target - SLOWER_AT_ONCE or wanted == 0.0
        if abs(wanted - follower.target) < SCALE_STEP:
            return None
        if not urgent and now.ros_s - follower.retimed_s < RETIME_PERIOD_S:
            return None
        return wanted if self.retime(active, wanted, now) else None

    def gate_nears(self, active: Active, tau: float, now: Now) -> bool:
        """Whether a placing arm must stop now so as to stop over the belt."""
        assert active.follower is not None
        gate_s = active.follower.trajectory.mark_s(B.STAGE_PLACE)
        from_s = now.ros_s + self._p.retime_lead_s + GATE_LOOK_S
        return tau < gate_s and active.follower.stopping_tau(from_s) >= gate_s

    def _goal_id(self, active: Active) -> str:
        self._sent += 1
        return uuid.uuid5(_NAMESPACE, f"{active.request.request_id}/{self.life}/{self._sent}").hex

    def _send(self, active: Active, stamp_s: float, now: Now) -> None:
        follower = active.follower
        assert follower is not None
        goal = follower.goal(
            self._robot.joint_names,
            stamp_s,
            self._p.point_period_s,
            self._p.following_rad,
            self._p.goal_rad,
            self._p.goal_time_s,
        )
        self._door.pass_through(now)
        self._emit(SendGoal(ARM, follower.goal_id, goal))
        active.in_flight = True
        active.cancel_sent = False
        active.overdue_s = now.steady_s + (follower.ends_s() - now.ros_s) + self._p.goal_time_s + self._p.overdue_s
