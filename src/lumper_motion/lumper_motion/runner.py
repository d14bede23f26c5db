"""Executes the active request: plan a step, write it down, send it, watch it, stop it, tell what came of it.

Effects are collected in `out`, in order; the core hands them on. Nothing here reads a clock.
"""

import math
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode
from numpy.typing import NDArray

from lumper_motion.active import INTERRUPTIBLE, STAGE_NAMES, STEPS, Active, Held, Memory, Step, Stop
from lumper_motion.beginning import fit
from lumper_motion.drive import SCALE_STEP, Drive
from lumper_motion.free_motion import Failure
from lumper_motion.grip import Grip, Verdict
from lumper_motion.intake import KINDS, TAKING
from lumper_motion.journal import Journal, Record
from lumper_motion.outcomes import EXECUTE, event_of, finish
from lumper_motion.parameters import MotionParameters
from lumper_motion.permit import Door, Permission
from lumper_motion.planning import Planning
from lumper_motion.records import pick_to_json
from lumper_motion.requests import Happening, Request, State
from lumper_motion.senses import Senses
from lumper_motion.stages import StagePlanner
from lumper_motion.tools import load_of
from lumper_ros.core import (
    Compute,
    Effect,
    Emit,
    Feedback,
    GaveUpError,
    GoalStatus,
    Now,
    Severity,
)

Array = NDArray[np.float64]
H = Happening
B = BrokerState
C = OutcomeCode
Codes = FollowJointTrajectory.Result
# A soft stop that takes longer than this becomes a cancel.
SOFT_STOP_S = 2.5
# A controller that does not end a cancelled goal by then is not waited for, if the arm stands.
CANCEL_ANSWER_S = 1.5
# An arm that nobody moves and that is not at rest by then is told to be just that.
UNREST_S = 8.0
FEEDBACK_PERIOD_S = 0.1
# The valves open so long before the face is reached: vacuum must not take hold of a carton while the arm still moves.
SUCTION_LEAD_S = -0.03
MAX_REPLANS = 3


class Runner:
    """One at a time: `active` is the request being executed."""

    def __init__(
        self,
        parameters: MotionParameters,
        planner: StagePlanner,
        senses: Senses,
        journal: Journal,
        door: Door,
    ) -> None:
        self._p = parameters
        self._senses = senses
        self._journal = journal
        self.robot = planner.robot
        self.out: list[Effect] = []
        self.last: list[Effect] = []  # carried out after `out`
        self.active: Active | None = None
        self.memory = Memory()
        self.planning = Planning(parameters, planner, senses, self.memory)
        self._grip = Grip(parameters, planner.robot, senses, self.memory, self._put)
        self._drive = Drive(parameters, planner.robot, senses, door, self._put)
        self.permission = Permission(False, "safety/state was never received", 0.0)
        self.dispatching = False  # a motion's first trajectory is among the effects in `out`
        self._feedback_s = -math.inf

    def begin_life(self, number: int) -> None:
        """How often the broker has started: goal ids of one life are none of another's."""
        self._drive.life = number

    def _put(self, effect: Effect) -> None:
        self.out.append(effect)

    # --- beginning and end ---

    def start(self, request: Request, now: Now) -> None:
        """Make a request the active one and plan its first step."""
        record = Record(
            number=request.number,
            kind=request.kind,
            job_id=request.job_id,
            plan_id=request.plan_id,
            carton_ids=list(request.pick.carton_ids) if request.pick else [],
            stage=B.STAGE_NONE,
            begun_s=now.ros_s,
        )
        active = self.active = Active(request, list(STEPS[request.kind]), record, pick=request.pick)
        active.fire(H.STARTED)
        fault = fit(active, self.memory, self._senses)
        if fault is not None:
            self._fail(fault.code, fault.text, now)
            return
        self._emit("motion.started", f"{KINDS[request.kind]} {record.carton_ids or ''}".strip())
        self._plan(now)

    def _fail(self, code: int, text: str, now: Now) -> None:
        """End a request whose next motion cannot be planned; the arm stands."""
        active = self.active
        assert active is not None
        active.fire(H.FAILED)
        self._end(code, text, now)

    def _end(self, code: int, text: str, now: Now) -> None:
        """Tell the outcome, once; `active.state` is ENDED."""
        active = self.active
        assert active is not None and active.state is State.ENDED
        if code == C.NONE and active.failure is not None:
            code, text = active.failure.code, active.failure.text
        active.enter_stage(B.STAGE_NONE, now.ros_s)
        record = active.record
        record.outcome, record.text, record.ended_s = code, text, now.ros_s
        record.holding = self._senses.holds()
        record.load = self._load_record(active)
        self.active = None
        # A refusal at the last moment moved nothing either, but is an outcome like any other.
        self.out += self._journal.write(active.request.request_id, record)
        self.out.append(finish(active.request.request_id, record))
        self.out.append(event_of(active.request, record))

    def _emit(self, code: str, text: str, severity: Severity = Severity.INFO) -> None:
        assert self.active is not None
        request = self.active.request
        self.out.append(Emit(code, text, severity, request.job_id, request.plan_id, request.request_id))

    # --- planning ---

    def _plan(self, now: Now) -> None:
        """Plan the present step, from where the arm stands; or take what was planned ahead."""
        active = self.active
        assert active is not None
        due = self.planning.due(active, now)
        if isinstance(due, Compute):
            self.out.append(due)
        elif due is not None:
            self._planned(due, now)

    def computed(self, tag: str, result: Any, now: Now) -> None:
        """A `Compute` came back."""
        active = self.active
        if isinstance(result, GaveUpError):
            result = Failure(C.PLANNING_TIMEOUT, str(result))
        self.planning.computed(tag, result)
        if active is None:
            return
        if tag.startswith("recheck") and active.tag != tag:
            self._rechecked(tag, result, now)
        elif tag == active.tag and active.state is State.PLANNING:
            if isinstance(result, BaseException):
                self._fail(C.INTERNAL, f"planning failed: {type(result).__name__}: {result}", now)
            else:
                self._planned(result, now)

    def _planned(self, motion: Any, now: Now) -> None:
        active = self.active
        assert active is not None
        if isinstance(motion, Failure):
            if active.failure is not None:
                # The way back from a failed grasp is a courtesy.
                self._fail(active.failure.code, active.failure.text, now)
            elif active.step is Step.PRESS:
                self._next_try(active, motion.text, now)
            elif active.grip_tries:
                self._fail(C.GRASP_NOT_MADE, f"no vacuum, and no other grasp: {motion.text}", now)
            elif active.replans:
                self._fail(C.WALL_CHANGED, f"the wall changed and no way remained: {motion.text}", now)
            else:
                self._fail(motion.code, motion.text, now)
            return
        active.ready = motion
        self._dispatch(now)

    def _dispatch(self, now: Now) -> None:
        """Write down what is begun, then send the trajectory; waits while the speed scale is 0."""
        active = self.active
        assert active is not None and active.ready is not None
        if not self.permission.valid:
            self.stop(C.STOPPED_BY_SAFETY, self.permission.text, now)
            return
        if self.permission.speed_scale < SCALE_STEP:
            return
        trajectory, active.ready = active.ready, None
        active.follower = self._drive.follower(active, trajectory, self.permission.speed_scale, now)
        active.gate_since_s = None
        active.enter_stage(trajectory.marks[0][0], now.ros_s)
        if active.step in (Step.APPROACH, Step.PLACE):
            self.memory.laid_down = ()
        self._write_down(active)
        self.memory.end = None
        self.dispatching = True
        self._drive.begin(active, now)
        active.fire(H.DISPATCHED)
        active.begun = True
        active.rechecked_version = self._senses.wall.version if self._senses.wall else 0
        self.out += self.planning.ahead(active, trajectory.position[-1])

    def _write_down(self, active: Active) -> None:
        active.record.load = self._load_record(active)
        self.out += self._journal.write(active.request.request_id, active.record)

    def _note_down(self, active: Active) -> None:
        """Keep how far a motion has come, after all else of this step: nothing hangs on it."""
        active.record.load = self._load_record(active)
        self.last += self._journal.write(active.request.request_id, active.record)

    def _load_record(self, active: Active) -> dict[str, Any] | None:
        """What the gripper holds, or is about to hold, should it be found holding something after a restart."""
        held = self.memory.held
        if held is not None:
            return {"pick": pick_to_json(held.pick), "out": held.out}
        if active.request.kind in TAKING and active.pick is not None:
            return {"pick": pick_to_json(active.pick), "out": False}
        return None

    # --- what happens ---

    def joints_arrived(self, now: Now) -> None:
        """A measurement of the arm: is it where it should be?"""
        active, joints = self.active, self._senses.joints
        if active is None or joints is None or active.follower is None:
            return
        if active.state in (State.MOVING, State.PAUSED) and active.in_flight:
            off = np.abs(joints.position - active.follower.commanded(joints.stamp_s))
            worst = int(np.argmax(off))
            if float(off[worst]) > self._p.following_rad:
                name = self.robot.joint_names[worst]
                self.stop(C.TOLERANCE_VIOLATED, f"{name} is {off[worst]:.3f} rad off its path", now, at_once=True)

    def feedback(self, goal_id: str, feedback: Any) -> None:
        """The controller says what it commanded when."""
        active = self.active
        if active is None or active.follower is None or active.follower.goal_id != goal_id:
            return
        names, desired = list(feedback.joint_names), list(feedback.desired.positions)
        stamp_s = feedback.header.stamp.sec + feedback.header.stamp.nanosec * 1e-9
        if stamp_s > 0.0 and len(desired) == len(names) and set(names) >= set(self.robot.joint_names):
            position = np.array([desired[names.index(name)] for name in self.robot.joint_names])
            active.follower.anchor(stamp_s, position)

    def result(self, goal_id: str, status: GoalStatus, result: Any | None, now: Now) -> None:
        """The controller ended a trajectory."""
        active = self.active
        if active is None or active.follower is None or active.follower.goal_id != goal_id or not active.in_flight:
            return
        active.in_flight = False
        self._leave_trail(active, now)
        if active.stop is not None:
            return
        if status is GoalStatus.SUCCEEDED:
            if active.follower.reaches_end():
                if active.state is State.PAUSED:
                    active.fire(H.RELEASED_ON)
                self.memory.end = active.follower.trajectory.position[-1]
                self._arrived(active, now)
            return
        text = getattr(result, "error_string", "") or f"goal {status.value}"
        error = getattr(result, "error_code", 0)
        if error == Codes.GOAL_TOLERANCE_VIOLATED and (active.stage == B.STAGE_GRASP or self._laid_down(active)):
            # The face was met earlier than expected: the vacuum decides what that was. Or the belt was, which bears the load.
            self._arrived(active, now)
            return
        tolerance = error in (Codes.PATH_TOLERANCE_VIOLATED, Codes.GOAL_TOLERANCE_VIOLATED)
        self.stop(C.TOLERANCE_VIOLATED if tolerance else C.CONTROLLER_FAULT, f"arm controller: {text}", now)

    def _laid_down(self, active: Active) -> bool:
        """Whether a load is so nearly down that the belt must be what keeps the arm from its goal: a hidden side may be longer."""
        joints, follower = self._senses.joints, active.follower
        if active.stage != B.STAGE_PLACE or joints is None or follower is None:
            return False
        return self.planning.apart_m(joints.position, follower.trajectory.position[-1]) < self._p.contact_m

    def _leave_trail(self, active: Active, now: Now) -> None:
        assert active.follower is not None
        self.memory.trail = active.follower.trajectory
        self.memory.trail_tau_s = active.follower.tau(now.ros_s)

    def _arrived(self, active: Active, now: Now) -> None:
        assert active.follower is not None
        self.memory.trail_tau_s = active.follower.trajectory.duration_s
        if active.step in (Step.APPROACH, Step.PRESS):
            self._grip.suck(active)
            active.enter_stage(B.STAGE_GRASP, now.ros_s)
            active.grip_since_s = now.steady_s
            active.fire(H.ARRIVED_GRIP)
            self.gripper_arrived(now)
            return
        if active.lets_go_here:
            active.grip_since_s = now.steady_s
            active.fire(H.ARRIVED_RELEASE)
            self._grip.release()
            return
        if active.step is Step.EXTRACT and self.memory.held is not None:
            self.memory.held.out = True
        elif active.step is Step.BACK_OFF:
            self.memory.laid_down = ()
        if len(active.steps) > 1:
            active.fire(H.ARRIVED_NEXT)
            self._next_step(active, now)
        else:
            active.fire(H.ARRIVED_LAST)
            self._end(C.NONE, "", now)

    def _next_step(self, active: Active, now: Now) -> None:
        active.steps.pop(0)
        if active.preempt and active.step is not Step.BACK_OFF:
            self.stop(C.PREEMPTED, "a request of higher priority waits", now)
            return
        self._plan(now)

    def gripper_answered(self, response: Any | None, now: Now) -> None:
        """The valves were commanded, or not."""
        active = self.active
        if active is None or (response is not None and response.ok):
            return
        text = response.text if response is not None else "no answer from gripper/set"
        if active.state in (State.GRIPPING, State.RELEASING, State.MOVING):
            self.stop(C.CONTROLLER_FAULT, f"gripper: {text}", now)

    def gripper_arrived(self, now: Now) -> None:
        """A measurement of the gripper: is it holding what it should?"""
        active, gripper = self.active, self._senses.gripper
        if gripper is None:
            return
        if active is None:
            if self._grip.lost(now):
                self.out.append(
                    Emit("motion.carton_lost", "the gripper lost its load while the arm stood", Severity.ERROR)
                )
                self.memory.held = None
                self._grip.release()
            return
        match self._grip.verdict(active, now):
            case Verdict.GRIPPED:
                assert active.pick is not None
                self.memory.held = Held(load_of(active.pick), active.pick)
                active.fire(H.GRIPPED)
                self._next_step(active, now)
            case Verdict.NOT_GRIPPED:
                active.fire(H.GRIP_AGAIN)
                self._next_try(active, "no vacuum", now)
            case Verdict.LET_GO:
                self.memory.laid_down = active.pick.carton_ids if active.pick else ()
                self.memory.held = None
                active.fire(H.LET_GO)
                self._next_step(active, now)
            case Verdict.NOT_LET_GO:
                self.stop(C.CONTROLLER_FAULT, "the load does not let go of the gripper", now)
            case Verdict.LOST:
                assert self.memory.held is not None
                ids = list(self.memory.held.load.carton_ids)
                self.memory.held = None
                self._grip.release()
                stage = STAGE_NAMES.get(active.stage, "planning")
                self.stop(C.CARTON_LOST, f"cartons {ids} left the gripper during {stage}", now)

    def _next_try(self, active: Active, why: str, now: Now) -> None:
        """Try to get hold of the load another way, or go back."""
        text = self._grip.next_try(active, why)
        if text:
            self._emit("motion.grip_again", text, Severity.WARN)
        self._plan(now)

    # --- stopping ---

    def stop(self, code: int, text: str, now: Now, again: bool = False, at_once: bool = False) -> None:
        """Bring the arm to rest and remember why; the outcome is told at measured standstill.

        Args:
            again: plan the step again from where the arm then stands.
            at_once: cancel the trajectory instead of slowing down along it.
        """
        active = self.active
        assert active is not None
        first = active.stop is None
        if first:
            active.stop = Stop(code, text, again, now.steady_s)
            active.fire(H.STOP)
            self._emit("motion.stopping", text, Severity.WARN)
        elif active.stop is not None and active.stop.again and not again:
            active.stop.code, active.stop.text, active.stop.again = code, text, False
        if not active.in_flight or active.follower is None:
            return
        if at_once or not self.permission.valid:
            self._drive.cancel(active)
        elif first:
            self._drive.retime(active, 0.0, now)

    def standing_still(self, now: Now) -> None:
        """End a stop once the trajectory is over and the arm is measured to stand."""
        active = self.active
        if active is None or active.state is not State.STOPPING or active.stop is None:
            return
        waited = now.steady_s - active.stop.since_steady_s
        if active.in_flight and waited > SOFT_STOP_S:
            self._drive.cancel(active)
        silent = active.in_flight and waited > SOFT_STOP_S + CANCEL_ANSWER_S
        if active.in_flight and not silent:
            return
        if not self._senses.stands(now):
            joints = self._senses.joints
            if waited < UNREST_S or joints is None or not self._senses.joints_fresh(now):
                return
            # Something presses on it: waiting longer would be for ever, and to say that it stands would be a lie.
            speed_radps = float(np.abs(joints.velocity).max())
            active.stop.code, active.stop.again = C.CONTROLLER_FAULT, False
            active.stop.text += f"; the arm does not come to rest, {speed_radps:.3f} rad/s after {waited:.1f} s"
        stop, active.stop = active.stop, None
        active.in_flight = False
        if stop.again and active.replans < MAX_REPLANS and self.permission.valid:
            active.replans += 1
            active.fire(H.STANDS_AGAIN)
            self._plan(now)
            return
        active.fire(H.STANDS_END)
        if silent:
            stop.text += "; the controller did not answer to the cancel"
        if active.pick is not None and self.memory.held is None and active.zones_commanded:
            if self._senses.holds():
                self.memory.held = Held(load_of(active.pick), active.pick)
            else:
                self._grip.release()
        self._end(stop.code, stop.text, now)

    # --- every tick ---

    def tick(self, now: Now) -> None:
        """Watch the running request."""
        active = self.active
        if active is None:
            return
        if active.state is not State.STOPPING:
            self._watch(active, now)
        if self.active is active:
            self.standing_still(now)
        if self.active is active and active.state in (State.MOVING, State.PAUSED):
            self._steer(active, now)

    def _watch(self, active: Active, now: Now) -> None:
        if now.ros_s >= active.request.deadline_s:
            self.stop(C.DEADLINE_PASSED, f"the deadline passed during {STAGE_NAMES.get(active.stage, 'planning')}", now)
        elif not self._senses.joints_fresh(now):
            self.stop(C.CONTROLLER_FAULT, "joint_states are silent", now, at_once=True)
        elif active.in_flight and now.steady_s > active.overdue_s:
            self.stop(C.CONTROLLER_FAULT, "the arm controller did not end the trajectory in time", now, at_once=True)
        elif active.preempt and active.state is State.PLANNING and active.stage == B.STAGE_NONE:
            self.stop(C.PREEMPTED, "a request of higher priority waits", now)
        elif active.state is State.PLANNING and active.ready is None:
            if now.steady_s - active.planning_since_s > self._p.planning_deadline_s:
                self._fail(C.PLANNING_TIMEOUT, f"no motion within {self._p.planning_deadline_s:g} s", now)
        elif active.state is State.PLANNING and active.ready is not None:
            self._dispatch(now)
        elif active.state in (State.GRIPPING, State.RELEASING) and not self._senses.gripper_fresh(now):
            self.stop(C.CONTROLLER_FAULT, "gripper/state is silent", now)

    def _steer(self, active: Active, now: Now) -> None:
        """Stage marks, feedback, and the pace along the path."""
        follower = active.follower
        assert follower is not None
        tau = follower.tau(now.ros_s)
        trajectory = follower.trajectory
        stage = trajectory.stage_at(tau)
        if stage != active.stage:
            active.enter_stage(stage, now.ros_s)
            self._note_down(active)
        if active.step is Step.APPROACH and tau >= trajectory.duration_s - SUCTION_LEAD_S:
            self._grip.suck(active)
        if active.preempt and active.stage in INTERRUPTIBLE and active.step is not Step.BACK_OFF:
            self.stop(C.PREEMPTED, "a request of higher priority waits", now)
            return
        if now.ros_s - self._feedback_s >= FEEDBACK_PERIOD_S or self._feedback_s > now.ros_s:
            self._feedback_s = now.ros_s
            self._tell_progress(active, tau, now)
        held_back = self._gate_shut(active, tau, now)
        if active.gate_since_s is not None and now.steady_s - active.gate_since_s > self._p.conveyor_wait_s:
            self.stop(C.CONVEYOR_NOT_READY, f"the conveyor was not ready within {self._p.conveyor_wait_s:g} s", now)
            return
        pace = self._drive.keep_pace(active, self.permission.speed_scale, held_back, now)
        if pace == 0.0:
            active.fire(H.HELD_BACK)
        elif pace is not None and active.state is State.PAUSED:
            active.fire(H.RELEASED_ON)

    def _gate_shut(self, active: Active, tau: float, now: Now) -> bool:
        """Whether the arm must wait over the belt: no room there, and the way down is near."""
        if active.step is not Step.PLACE or active.follower is None:
            return False
        if self._senses.conveyor_fresh_ready(now):
            active.gate_since_s = None
            return False
        if active.gate_since_s is not None:
            return True
        if not self._drive.gate_nears(active, tau, now):
            return False
        active.gate_since_s = now.steady_s
        self._emit("motion.conveyor_wait", "waiting over the belt for the conveyor")
        return True

    def _tell_progress(self, active: Active, tau: float, now: Now) -> None:
        assert active.follower is not None
        feedback = ExecuteMotion.Feedback(
            stage=active.stage,
            fraction=active.follower.stage_fraction(tau),
            speed_scale=active.follower.rate(now.ros_s),
        )
        self.out.append(Feedback(EXECUTE, active.request.request_id, feedback))

    # --- the wall ---

    def wall_arrived(self, now: Now) -> None:
        """A new picture during an approach: is the carton still there, is the rest of the way still free?"""
        active, wall = self.active, self._senses.wall
        if active is None or wall is None or active.pick is None or active.follower is None:
            return
        if active.step is not Step.APPROACH or active.state not in (State.MOVING, State.PAUSED):
            return
        if wall.version == active.rechecked_version:
            return
        active.rechecked_version = wall.version
        gone = [carton_id for carton_id in active.pick.carton_ids if carton_id in wall.gone]
        if gone:
            self.stop(C.WALL_CHANGED, f"cartons {gone} went or moved during the approach", now)
            return
        self.out.append(self.planning.recheck(active, wall.version, now))

    def _rechecked(self, tag: str, result: Any, now: Now) -> None:
        active = self.active
        assert active is not None
        version = tag.split(" ")[2]
        if active.follower is None or active.state not in (State.MOVING, State.PAUSED):
            return
        if isinstance(result, BaseException):
            result = f"the check failed: {result}"
        if result and int(version) == active.rechecked_version:
            text = f"wall version {version} lies across the approach: {result}"
            self.stop(C.WALL_CHANGED, text, now, again=True)

    def persist_failed(self, key: str, error: str, dispatched: bool, now: Now) -> None:
        """What was to be done after the record was dropped.

        Args:
            dispatched: the first trajectory of a motion was to follow.
        """
        active, ended = self.active, self._journal.failed(key)
        if ended is not None:
            # It cannot be kept, but nobody shall wait for it for ever.
            self.out.append(finish(key, ended))
        if active is None or not (dispatched or active.request.request_id == key):
            return
        if dispatched:
            active.in_flight = False
        if active.state is not State.STOPPING:
            self.stop(C.INTERNAL, f"the journal cannot be written: {error}", now)

    def preempt(self) -> None:
        """A request of higher priority waits: give way at a safe point."""
        if self.active is not None and self.active.state is not State.STOPPING:
            self.active.preempt = True
