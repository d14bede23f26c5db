"""motion_broker's logic: the one door through which the arm is moved. See docs/motion.md for the rules."""

import math
from collections.abc import Mapping
from typing import Any

from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode

from lumper_motion.active import STAGE_NAMES, Held
from lumper_motion.drive import ARM
from lumper_motion.grip import GRIPPER
from lumper_motion.intake import KINDS, TAKING, read_goal
from lumper_motion.journal import KIND, REFUSAL_KIND, Journal, Record
from lumper_motion.outcomes import EXECUTE, finish
from lumper_motion.parameters import MotionParameters
from lumper_motion.permit import Door, Permission, Permit, PermitRules
from lumper_motion.records import pick_from_json
from lumper_motion.requests import Happening, Queue, Refusal, Request, State, after
from lumper_motion.runner import Runner
from lumper_motion.senses import Senses
from lumper_motion.stages import StagePlanner
from lumper_motion.tools import load_of
from lumper_ros.convert import to_time
from lumper_ros.core import (
    Core,
    Diagnose,
    Effect,
    Effects,
    Emit,
    FinishGoal,
    GoalStatus,
    Now,
    Persist,
    Publish,
    Severity,
)
from lumper_ros.robot import Robot, Trailer

B = BrokerState
C = OutcomeCode
G = ExecuteMotion.Goal
IDLE_STATE_HZ = 5.0
OUTCOMES_SHOWN = 10
REWRITE_S = 1.0
# What an interrupted grasp or release comes to shows on the gripper within this time, s.
GRIP_SETTLES_S = 1.0


class MotionBroker(Core):
    """See `Core`. Everything that moves the arm passes `Runner`; everything that may forbid it is judged here first."""

    def __init__(self, parameters: MotionParameters, robot: Robot, trailer: Trailer, key: bytes | None) -> None:
        self._p = parameters
        self._robot = robot
        self._trailer = trailer
        self._key = key
        self._planner = StagePlanner(robot, trailer, parameters)
        self._begin()

    def _begin(self) -> None:
        """All that changes, as new: a node that is activated again remembers only what is on disk."""
        p = self._p
        self._permit = Permit(
            PermitRules(p.permit_max_age_s, p.permit_clock_tolerance_s, p.permit_distrust_s), self._key
        )
        self._door = Door(p.permit_max_age_s)
        self._senses = Senses(self._robot, p)
        self._journal = Journal(p.journal_size, p.refusals_size)
        self._queue = Queue(p.queue_size)
        self._runner = Runner(p, self._planner, self._senses, self._journal, self._door)
        self._running, self._running_since_s = False, math.inf
        self._recovering = True
        self._dispatched = self._rewriting = False
        self._rewritten_s = -math.inf
        self._unknown: dict[str, Record] = {}
        self._asking_again: set[str] = set()
        self._number = 0
        self._published_s = -math.inf
        self._published: tuple[Any, ...] = ()
        self._diagnosed: dict[str, tuple[int, str]] = {}
        self._drops: dict[str, int] = {}
        self._refusals: list[Effect] = []
        self._telling: list[Effect] = []  # the refusals of the last step

    # --- life ---

    def restore(self, records: Mapping[str, Mapping[str, Any]], now: Now) -> Effects:
        self._begin()
        self._journal.restore(records.get(KIND, {}), records.get(REFUSAL_KIND, {}))
        self._number = self._journal.last_number
        self._unknown = self._journal.open_records()
        life = int(records.get("life", {}).get("life", {}).get("number", 0)) + 1
        self._runner.begin_life(life)
        return [Persist("life", "life", {"number": life})]

    def activate(self, now: Now) -> Effects:
        self._running, self._running_since_s = True, now.steady_s
        return self._flush(now)

    def deactivate(self, now: Now) -> Effects:
        active = self._runner.active
        self._running = False
        if active is not None and active.in_flight and active.state is not State.STOPPING:
            self._runner.stop(C.STOPPED_BY_SAFETY, "the broker was deactivated", now, at_once=True)
        return self._flush(now)

    def _flush(self, now: Now) -> list[Effect]:
        runner = self._runner
        out, last = runner.out, runner.last
        # Refusals at the very end: a stop does not wait for the disk on their account.
        last = [*last, *self._refusals]
        self._telling = self._refusals
        runner.out, runner.last, self._refusals = [], [], []
        self._dispatched, runner.dispatching = runner.dispatching, False
        self._publish_state(out, now)
        return out + last

    # --- inputs ---

    def message(self, name: str, message: Any, now: Now) -> Effects:
        now = self._senses.sharpened(now)
        senses, runner = self._senses, self._runner
        fault = ""
        # Whatever comes first after the process was stopped for a while must find the permit judged anew.
        self._obey(now)
        if name == "safety/state":
            self._door.hear(message, now)
            fault = self._permit.receive(message, now)
            self._obey(now)
            self._advance(now)
        elif name == "joint_states":
            fault = senses.take_joints(message, now)
            if not fault:
                runner.joints_arrived(now)
                if runner.active is not None:
                    runner.standing_still(now)
                self._advance(now)
        elif name == "gripper/state":
            fault = senses.take_gripper(message, now)
            if not fault:
                runner.gripper_arrived(now)
                self._advance(now)
        elif name == "conveyor/state":
            fault = senses.take_conveyor(message, now)
        elif name == "wall":
            fault = senses.take_wall(message, now)
            if not fault:
                runner.wall_arrived(now)
        elif name in ("/tf", "/tf_static"):
            fault = senses.take_transforms(message, static=name == "/tf_static")
        if fault:
            count = self._drops[name] = self._drops.get(name, 0) + 1
            self._diagnose(runner.out, name, 1, fault, {"dropped": count})
        elif name in self._drops and name in self._diagnosed:
            self._diagnose(runner.out, name, 0, "in order", {"dropped": self._drops[name]})
        return self._flush(now)

    def tick(self, now: Now) -> Effects:
        now = self._senses.sharpened(now)
        self._obey(now)
        for request in self._queue.overdue(now.ros_s):
            self._drop(request, C.DEADLINE_PAST, "the deadline passed before its turn came", now)
        self._runner.tick(now)
        self._recover(now)
        self._advance(now)
        self._write_again(now)
        return self._flush(now)

    def _write_again(self, now: Now) -> None:
        """Outcomes that the disk did not take: once more, every second until it does."""
        effects = self._journal.again()
        # Not behind a trajectory: a failure of that list means that it did not leave.
        if not effects or self._runner.dispatching or now.steady_s - self._rewritten_s < REWRITE_S:
            return
        if self._rewriting:
            # The last attempt was answered by no failure.
            self._journal.written()
            self._diagnose(self._runner.out, "journal", 0, "written", {})
        else:
            self._runner.last += effects
        self._rewriting, self._rewritten_s = not self._rewriting, now.steady_s

    def goal_feedback(self, name: str, goal_id: str, feedback: Any, now: Now) -> Effects:
        now = self._senses.sharpened(now)
        self._obey(now)
        self._runner.feedback(goal_id, feedback)
        return self._flush(now)

    def goal_result(self, name: str, goal_id: str, status: GoalStatus, result: Any | None, now: Now) -> Effects:
        now = self._senses.sharpened(now)
        assert name == ARM
        self._obey(now)
        self._runner.result(goal_id, status, result, now)
        if self._runner.active is not None:
            self._runner.standing_still(now)
        self._advance(now)
        return self._flush(now)

    def service_result(self, name: str, tag: str, response: Any | None, now: Now) -> Effects:
        now = self._senses.sharpened(now)
        assert name == GRIPPER
        self._obey(now)
        self._runner.gripper_answered(response, now)
        return self._flush(now)

    def computed(self, tag: str, result: Any, now: Now) -> Effects:
        now = self._senses.sharpened(now)
        self._obey(now)
        self._runner.computed(tag, result, now)
        self._advance(now)
        return self._flush(now)

    def persist_failed(self, kind: str, key: str, error: str, now: Now) -> Effects:
        self._rewriting, self._rewritten_s = False, now.steady_s
        self._tell_again(kind, key)
        if kind != REFUSAL_KIND:
            if self._dispatched:
                self._door.stayed()
            self._runner.persist_failed(key, error, self._dispatched, now)
        self._diagnose(self._runner.out, "journal", 2, f"cannot be written: {error}", {})
        return self._flush(now)

    def _tell_again(self, kind: str, key: str) -> None:
        """What follows a failed record was dropped, refusals among it: they moved nothing, and are told all the same."""
        failed = [isinstance(effect, Persist) and (effect.kind, effect.key) == (kind, key) for effect in self._telling]
        for effect in self._telling[failed.index(True) if True in failed else 0 :]:
            if isinstance(effect, FinishGoal):
                self._runner.out.append(effect)
            elif isinstance(effect, Persist) and effect.record is not None:
                self._journal.not_kept(effect.key)

    # --- requests ---

    def goal(self, name: str, goal_id: str, goal: Any, now: Now) -> Effects:
        now = self._senses.sharpened(now)
        self._obey(now)
        known = self._journal.find(goal_id)
        if known is not None and known.outcome is not None:
            self._runner.out.append(finish(goal_id, known))
            return self._flush(now)
        if known is not None and goal_id in self._unknown:
            # Its outcome is told as soon as arm and gripper have been seen.
            self._asking_again.add(goal_id)
            return self._flush(now)
        active = self._runner.active
        if (active is not None and active.request.request_id == goal_id) or any(
            request.request_id == goal_id for request in self._queue
        ):
            text = "this id is being executed: wait for its result"
            self._runner.out.append(self._refused(goal_id, C.DUPLICATE_IN_FLIGHT, text))
            return self._flush(now)
        before = self._journal.refusal(goal_id)
        if before is not None:
            self._runner.out.append(self._refused(goal_id, before.code, before.text))
            return self._flush(now)
        self._admit(goal_id, goal, now)
        return self._flush(now)

    def _admit(self, goal_id: str, goal: Any, now: Now) -> None:
        read = read_goal(goal, goal_id, self._number + 1, now.ros_s, self._robot, self._trailer, self._p)
        refusal = read if isinstance(read, Refusal) else self._unfit(read, now)
        if refusal is not None:
            passing = isinstance(read, Request)
            self._refusals += self._journal.refuse(goal_id, refusal.code, refusal.text, passing, now.steady_s)
            self._refusals.append(self._refused(goal_id, refusal.code, refusal.text))
            return
        assert isinstance(read, Request)
        self._number += 1
        self._queue.push(read)
        active = self._runner.active
        if active is not None and read.priority > active.request.priority:
            self._runner.preempt()
        self._advance(now)

    def _unfit(self, request: Request, now: Now) -> Refusal | None:
        """Whether a well-formed request fits the state of the robot and the world."""
        if self._recovering or not self._running:
            return Refusal(
                C.NOT_PERMITTED, "the broker is looking at arm and gripper after its start: send again in a moment"
            )
        permission = self._permit.now(now)
        if not permission.valid:
            return Refusal(C.NOT_PERMITTED, f"no permit: {permission.text}")
        if request.pick is not None and self._senses.base_in_trailer() is None:
            return Refusal(C.UNKNOWN_FRAME, "base_link is not known in trailer: /tf must connect the two")
        if request.kind in TAKING:
            seen_s = self._senses.versions.get(request.wall_version)
            newest = self._senses.wall.version if self._senses.wall else None
            if seen_s is None:
                return Refusal(
                    C.UNKNOWN_WALL_VERSION,
                    f"wall_version={request.wall_version} was never seen; the newest is {newest}",
                )
            if request.wall_version != newest and now.ros_s - seen_s > self._p.wall_max_age_s:
                return Refusal(
                    C.UNKNOWN_WALL_VERSION, f"wall_version={request.wall_version} is too old; the newest is {newest}"
                )
        if not self._queue.has_room():
            lowest = min(self._queue, key=lambda item: (item.priority, -item.number))
            if lowest.priority >= request.priority:
                return Refusal(C.QUEUE_FULL, f"{len(self._queue)} requests wait already: send again later")
            self._queue.remove(lowest.request_id)
            self._drop(lowest, C.QUEUE_FULL, "a request of higher priority took the last place", now)
        return None

    def _refused(self, goal_id: str, code: int, text: str, status: GoalStatus = GoalStatus.ABORTED) -> FinishGoal:
        """The result message of a request that was not begun."""
        result = ExecuteMotion.Result(outcome=OutcomeCode(code=code), text=text, holding_carton=self._senses.holds())
        return FinishGoal(EXECUTE, goal_id, status, result)

    def _drop(self, request: Request, code: int, text: str, now: Now) -> None:
        """End a request that waited; it is out of the queue already."""
        after(State.QUEUED, Happening.DROPPED)
        status = GoalStatus.CANCELED if code == C.CANCELLED else GoalStatus.ABORTED
        self._refusals += self._journal.refuse(request.request_id, code, text, True, now.steady_s)
        self._refusals.append(self._refused(request.request_id, code, text, status))
        kind = KINDS[request.kind]
        self._runner.out.append(
            Emit(
                "motion.dropped", f"{kind}: {text}", Severity.WARN, request.job_id, request.plan_id, request.request_id
            )
        )

    def cancel(self, name: str, goal_id: str, now: Now) -> Effects:
        now = self._senses.sharpened(now)
        self._obey(now)
        request = self._queue.remove(goal_id)
        active = self._runner.active
        if request is not None:
            self._drop(request, C.CANCELLED, "cancelled before its turn came", now)
        elif active is not None and active.request.request_id == goal_id:
            if active.state is not State.STOPPING or (active.stop is not None and active.stop.again):
                self._runner.stop(C.CANCELLED, "cancelled by its client", now)
            self._runner.standing_still(now)
        return self._flush(now)

    def _obey(self, now: Now) -> None:
        """Judge the permit; without one nothing moves and nothing waits."""
        permission = self._permit.now(now)
        self._runner.permission = permission
        if permission.valid:
            return
        active = self._runner.active
        if active is not None and not (active.cancel_sent and active.state is State.STOPPING):
            if active.state is not State.STOPPING and not active.begun:
                # Nothing has moved yet.
                self._runner.stop(C.NOT_PERMITTED, f"no permit: {permission.text}", now, at_once=True)
            elif active.state is not State.STOPPING or active.in_flight:
                self._runner.stop(C.STOPPED_BY_SAFETY, permission.text, now, at_once=True)
        while len(self._queue):
            self._drop(self._queue.pop(), C.NOT_PERMITTED, f"no permit: {permission.text}", now)

    def _advance(self, now: Now) -> None:
        """Give the next request its turn."""
        runner = self._runner
        while runner.active is None and len(self._queue) and not self._recovering and self._running:
            if not runner.permission.valid or not self._senses.joints_fresh(now) or not self._senses.gripper_fresh(now):
                return
            runner.start(self._queue.pop(), now)
        head = self._queue.head()
        if runner.active is not None and head is not None and head.priority > runner.active.request.priority:
            runner.preempt()

    def _recover(self, now: Now) -> None:
        """After a start: look at arm and gripper, then say what became of the interrupted request."""
        if not self._recovering or not self._running:
            return
        if not self._senses.stands(now) or not self._senses.gripper_fresh(now):
            return
        gripped = any(record.stage in (B.STAGE_GRASP, B.STAGE_PLACE) for record in self._unknown.values())
        if gripped and now.steady_s - self._running_since_s < GRIP_SETTLES_S:
            return
        self._recovering = False
        holds = self._senses.holds()
        for request_id, record in self._unknown.items():
            stage = STAGE_NAMES.get(record.stage, "planning")
            record.outcome = C.UNKNOWN_AFTER_RESTART
            record.text = (
                f"the broker ended during {stage}; the arm stands, the gripper "
                + ("holds a load" if holds else "is empty")
                + ": look at the world again"
            )
            record.holding, record.ended_s = holds, now.ros_s
            self._runner.out += self._journal.write(request_id, record)
            if request_id in self._asking_again:
                self._runner.out.append(finish(request_id, record))
        self._restore_load(holds)
        text = f"{len(self._unknown)} requests were interrupted" if self._unknown else "nothing was interrupted"
        self._runner.out.append(Emit("motion.recovered", text, Severity.WARN if self._unknown else Severity.INFO))
        self._unknown, self._asking_again = {}, set()

    def _restore_load(self, holds: bool) -> None:
        """What the gripper holds is what the newest record says was picked."""
        record = self._journal.newest()
        if not holds or record is None or record.load is None:
            return
        pick = pick_from_json(record.load["pick"])
        self._runner.memory.held = Held(load_of(pick), pick, bool(record.load["out"]))

    # --- outputs ---

    def _diagnose(self, out: list[Effect], name: str, level: int, text: str, values: dict[str, Any]) -> None:
        if self._diagnosed.get(name) != (level, text):
            self._diagnosed[name] = (level, text)
            out.append(Diagnose(name, level, text, values))

    def _broker_state(self) -> int:
        active, permission = self._runner.active, self._runner.permission
        if not self._running:
            return int(B.INACTIVE)
        if self._recovering:
            return int(B.RECOVERING)
        if active is not None and active.state is State.STOPPING:
            return int(B.STOPPING)
        if not permission.valid or (active is not None and active.state is State.PAUSED):
            return int(B.HOLDING)
        return int(B.IDLE if active is None else B.EXECUTING)

    def _publish_state(self, out: list[Effect], now: Now) -> None:
        runner = self._runner
        active, permission = runner.active, runner.permission
        state = self._broker_state()
        shape = (
            state,
            active.request.request_id if active else "",
            active.stage if active else 0,
            len(self._queue),
            permission.valid,
            self._senses.holds(),
            runner.memory.held is not None,
        )
        period_s = 1.0 / (self._p.state_hz if active is not None else IDLE_STATE_HZ)
        if shape == self._published and now.steady_s - self._published_s < period_s - 1e-6:
            return
        self._published, self._published_s = shape, now.steady_s
        out.append(Publish("motion/state", self._state_message(state, permission, now)))
        level = 0 if state in (B.IDLE, B.EXECUTING) else 1
        text = f"{_STATE_NAMES[state]}{': ' + permission.text if permission.text else ''}"
        if self._door.without_permit:
            level, text = 2, f"{self._door.without_permit} trajectories left without a permit"
        self._diagnose(out, "state", level, text, {"dispatched": self._door.dispatched, "queued": len(self._queue)})

    def _state_message(self, state: int, permission: Permission, now: Now) -> BrokerState:
        runner = self._runner
        active, held = runner.active, runner.memory.held
        latest = self._journal.latest(OUTCOMES_SHOWN)
        message = BrokerState(
            stamp=to_time(max(now.ros_s, 0.0)),
            state=state,
            queued_request_ids=[request.request_id for request in self._queue],
            last_request_ids=[request_id for request_id, _ in latest],
            last_outcomes=[OutcomeCode(code=code) for _, code in latest],
            holding_carton=self._senses.holds(),
            held_carton_ids=list(held.load.carton_ids) if held else [],
            permit_valid=permission.valid,
            permit_text=permission.text,
            speed_scale=permission.speed_scale,
            permit_latency_s=self._permit.latency_s(now),
            dispatched=self._door.dispatched,
            dispatched_without_permit=self._door.without_permit,
            joint_names=list(self._robot.joint_names),
        )
        if active is not None:
            message.active_request_id = active.request.request_id
            message.active_kind = active.request.kind
            message.stage = active.stage
            if active.follower is not None and active.in_flight:
                tau = active.follower.tau(now.ros_s)
                message.stage_fraction = active.follower.stage_fraction(tau)
                message.speed_scale = active.follower.rate(now.ros_s)
                if not active.cancel_sent:
                    message.commanded_position_rad = active.follower.commanded(now.ros_s)
        return message


_STATE_NAMES = {
    B.INACTIVE: "inactive",
    B.IDLE: "idle",
    B.EXECUTING: "executing",
    B.STOPPING: "stopping",
    B.HOLDING: "holding",
    B.RECOVERING: "recovering",
}
