"""What must hold after every event, whatever goes wrong. Written without the code that it judges.

Each rule looks at the truth of the light world, at what nodes have heard and at the effects on their way, and says what is
broken in a sentence that begins with the rule's name.
"""

import hashlib
import hmac
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from light_load import Place
from light_world import ARM, LightWorld
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import JobState, OutcomeCode, SafetyState
from lumper_msgs.srv import JobCommand, ResetSafety
from robot_graph import RobotGraph, robot_files
from transport import FaultyTransport

from lumper_ros import core as c
from lumper_ros.auth import _permit_bytes
from lumper_ros.interfaces import BROKER, PLANNER, SAFETY, SIM
from lumper_ros.virtual import SYSTEM_S
from lumper_safety.surroundings import capsule_distances

EXECUTE = "motion/execute"
MOVING = (SafetyState.RUN, SafetyState.REDUCED)
LEASE_S = 0.1
# Once the broker cannot believe in a permit any more: its period, the way to the controller, the slowest stop.
STOP_WITHIN_S = 1.0
STANDING_RADPS = 0.012
QUEUE_MOST = 17
RESTLESS_MOST = 4000  # effects of one node in one virtual second
# Max ages of the cause table, and half a tick of the monitor.
AGES_S = {
    "scan/front": 0.25,
    "scan/rear": 0.25,
    "estop": 0.3,
    "joint_states": 0.1,
    "gripper/state": 0.25,
    "motion/state": 0.6,
    "job/state": 2.5,
}
AGE_SLACK_S = 0.06
WALL_AGE_S = 2.05
NEAREST_M = 0.2
PROBE_M = 0.15
PERSON_M = 0.22


class ViolationError(Exception):
    """A rule is broken; the text names rule and fact."""


@dataclass(slots=True)
class Judge:
    """Told of every effect and every message heard; raises ViolationError."""

    robot: RobotGraph
    transport: FaultyTransport
    key: bytes
    told: SafetyState | None = None  # the last genuine safety/state that the broker heard
    told_s: float = -math.inf
    believed_s: float = 0.0  # when the broker could last believe in a permit, or could not act
    sent: dict[str, int] = field(default_factory=dict)  # arm goals -> the broker's life
    requests: set[str] = field(default_factory=set)
    probe: str = ""  # the planner's newest motion request, if it is one that only pulls at a carton
    ended: set[tuple[str, int, str, str]] = field(default_factory=set)
    outcomes: dict[str, int] = field(default_factory=dict)  # motion requests: first outcome
    first_life: dict[str, int] = field(default_factory=dict)  # motion requests: broker's life of the first dispatch
    heard_s: dict[str, float] = field(default_factory=dict)  # by topic, of the monitor's present life
    monitor_life: int = 0
    reset_s: float = -math.inf
    latched: bool = False  # the store of the monitor holds a latch that nobody has reset
    estop_open_since_s: float = math.inf
    resume_wanted: bool = False
    wall_stamps_s: dict[int, float] = field(
        default_factory=dict
    )  # newest of each version that the planner heard, ROS time
    done: int = 0
    effects: dict[str, int] = field(default_factory=dict)
    second: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def world(self) -> LightWorld:
        found: LightWorld = self.robot.graph.core(SIM)
        return found

    # --- taps ---

    def heard(self, now_s: float, node: str, name: str, message: Any) -> None:
        if node == SAFETY:
            self._fresh_monitor()
            self.heard_s[name] = now_s
        elif name == "safety/state":
            if node == BROKER:
                if hmac.digest(self.key, _permit_bytes(message), hashlib.sha256) == bytes(message.mac):
                    self.told, self.told_s = message, now_s
            elif any(cause.latched for cause in message.causes):
                job = self._job_on_disk()
                self.resume_wanted = self.resume_wanted or bool(job.get("running"))
        elif name == "wall" and node == PLANNER and message.header.frame_id == "trailer":
            self.wall_stamps_s[message.version] = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9

    def effect(self, now_s: float, node: str, effect: c.Effect) -> None:
        self._bounded(now_s, node)
        match effect:
            case c.Publish("safety/state", state):
                self._permits(now_s, state)
            case c.SendGoal(name, goal_id, goal):
                self._sends(now_s, name, goal_id, goal)
            case c.FinishGoal():
                self._finishes(node, effect)
            case c.Publish("job/state", state):
                self._counts(state)
            case c.Publish("motion/state", state):
                if len(state.queued_request_ids) > QUEUE_MOST:
                    raise ViolationError(f"queue: {len(state.queued_request_ids)} requests wait in the broker")
                why = self._no_permit(now_s)
                if state.permit_valid and why:
                    raise ViolationError(f"believes a stranger: the broker says it has a permit, but {why}")
            case c.Respond(response):
                self._responds(now_s, response)
            case c.Emit("job.started" | "job.resumed"):
                self.resume_wanted = False

    def _bounded(self, now_s: float, node: str) -> None:
        if int(now_s) != self.second:
            self.second = int(now_s)
            self.effects.clear()
        self.effects[node] = self.effects.get(node, 0) + 1
        if self.effects[node] > RESTLESS_MOST:
            raise ViolationError(f"restless: {node} made more than {RESTLESS_MOST} effects in a second")

    # --- the monitor ---

    def _fresh_monitor(self) -> None:
        life = self.robot.graph.life(SAFETY)
        if life != self.monitor_life:
            self.monitor_life = life
            self.heard_s.clear()

    def _permits(self, now_s: float, state: SafetyState) -> None:
        """A permit may be given only by a monitor that sees, and that has forgotten nothing."""
        self._fresh_monitor()
        stored = bool(self.robot.graph.store(SAFETY).get("latch"))
        if not stored:
            self.latched = False
        elif now_s > self.reset_s and not self.latched:
            self.latched = True
        if state.mode not in MOVING:
            return
        for topic, age_s in AGES_S.items():
            gone_s = now_s - self.heard_s.get(topic, -math.inf)
            if gone_s > age_s + AGE_SLACK_S:
                raise ViolationError(f"permits blindly: {topic} was last heard {gone_s:.2f} s ago")
        if stored and self.latched and self.reset_s < 0.0:
            raise ViolationError("stop forgotten: a latch is on disk that nobody has reset, and motion is permitted")
        if now_s - self.estop_open_since_s > 1.0 and not self.transport.troubled("estop", SIM, SAFETY):
            raise ViolationError("permits in emergency: the E-stop circuit is open")

    def _responds(self, now_s: float, response: Any) -> None:
        if isinstance(response, ResetSafety.Response) and response.accepted:
            self.reset_s = now_s
            if now_s - self.estop_open_since_s > 1.0 and not self.transport.troubled("estop", SIM, SAFETY):
                raise ViolationError("reset with cause present: the E-stop circuit is open")
        elif isinstance(response, JobCommand.Response) and response.accepted:
            self.resume_wanted = False

    # --- motion ---

    def _sends(self, now_s: float, name: str, goal_id: str, goal: Any) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        if name == ARM:
            self._may_dispatch(now_s, goal_id, goal)
        elif name == EXECUTE and goal_id not in self.requests:
            self.requests.add(goal_id)
            self._may_ask(goal_id, goal)

    def _may_ask(self, goal_id: str, goal: Any) -> None:
        flight = self._job_on_disk().get("in_flight")
        if flight is None or flight["request_id"] != goal_id:
            raise ViolationError(f"not written down: motion {goal_id} leaves the planner without its record")
        if self.resume_wanted:
            raise ViolationError("goes on by itself: a latched stop was not followed by resume")
        self.probe = goal_id if goal.kind == ExecuteMotion.Goal.PROBE else ""
        if self.probe:
            self.counts["probes"] = self.counts.get("probes", 0) + 1
        if goal.kind in (ExecuteMotion.Goal.PICK, ExecuteMotion.Goal.PROBE):
            age_s = self.robot.graph.now_of(PLANNER).ros_s - self.wall_stamps_s.get(goal.wall_version, -math.inf)
            if age_s > WALL_AGE_S:
                raise ViolationError(f"stale picture: a carton is taken on evidence {age_s:.2f} s old")

    def _may_dispatch(self, now_s: float, goal_id: str, goal: Any) -> None:
        if goal_id in self.sent:
            raise ViolationError(f"stage twice: arm goal {goal_id} is sent again")
        self.sent[goal_id] = self.robot.graph.life(BROKER)
        why = self._no_permit(now_s)
        if why:
            raise ViolationError(f"dispatch without permit: {why}")
        self._on_record(goal_id)
        from_rest = goal.trajectory.header.stamp.sec == 0
        speed = float(np.abs(self.world.velocity).max())
        if from_rest and speed > 0.1 and not self.transport.troubled("joint_states", ARM, BROKER, SIM):
            raise ViolationError(
                f"begins in motion: a motion from standstill is sent while a joint does {speed:.2f} rad/s"
            )

    def _no_permit(self, now_s: float) -> str:
        """Why the broker cannot have a permit, by what it heard; empty = it may."""
        told = self.told
        if told is None or told.mode not in MOVING:
            return "the last genuine word that it heard forbids motion"
        until_s = told.permit_until.sec + told.permit_until.nanosec * 1e-9 - SYSTEM_S
        broker_s = self.robot.graph.now_of(BROKER).system_s - SYSTEM_S
        if broker_s >= until_s:
            return f"the lease ran out {broker_s - until_s:.3f} s ago"
        silent_s = now_s - self.told_s
        return f"the monitor is silent for {silent_s:.3f} s" if silent_s > LEASE_S + 0.01 else ""

    def _on_record(self, goal_id: str) -> None:
        graph = self.robot.graph
        records = graph.store(BROKER).get("request", {})
        open_ones = [key for key, record in records.items() if record["outcome"] is None and record["stage"]]
        # What an earlier life left open and could not close on a full disk is not what moves now.
        newest = max(open_ones, key=lambda key: int(records[key]["number"]), default=None)
        if newest is None:
            raise ViolationError(f"not written down: arm goal {goal_id} leaves without an open record in the journal")
        if newest in self.outcomes:
            raise ViolationError(f"stage twice: request {newest} moves the arm though it has ended")
        life = graph.life(BROKER)
        if self.first_life.setdefault(newest, life) != life:
            raise ViolationError(f"stage twice: request {newest} moves the arm again after the broker's death")

    def _finishes(self, node: str, effect: c.FinishGoal) -> None:
        graph = self.robot.graph
        key = (node, graph.life(node), effect.name, effect.goal_id)
        if (effect.name, effect.goal_id) in graph.serving(node):
            self.ended.add(key)
        elif key in self.ended:
            raise ViolationError(f"ends twice: {node} ends {effect.name} {effect.goal_id} a second time")
        if effect.name == EXECUTE:
            self._motion_ends(effect)
        elif effect.name == "unload":
            self._job_ends(effect.result)

    def _motion_ends(self, effect: c.FinishGoal) -> None:
        code = int(effect.result.outcome.code)
        first = self.outcomes.get(effect.goal_id)
        if code == OutcomeCode.DUPLICATE_IN_FLIGHT:
            return
        if first is not None and first != code:
            raise ViolationError(f"ends twice: request {effect.goal_id} had outcome {first}, now {code}")
        if first is not None:
            return  # asked again: what it says is of then, another request may move the arm now
        self.outcomes[effect.goal_id] = code
        if effect.goal_id == self.probe:
            self.probe = ""
            if code == OutcomeCode.NONE and self.world.load.held is not None:
                raise ViolationError("probe: what was only pulled at hangs on the gripper at the end")
        stopped = code in (OutcomeCode.STOPPED_BY_SAFETY, OutcomeCode.CANCELLED)
        late = self.transport.troubled("joint_states", BROKER, SIM)
        if (stopped or effect.status is c.GoalStatus.CANCELED) and effect.goal_id in self.first_life and not late:
            speed = float(np.abs(self.world.velocity).max())
            if speed > STANDING_RADPS:
                raise ViolationError(f"says it stands: outcome {code} while a joint moves at {speed:.3f} rad/s")

    # --- cartons ---

    def _job_on_disk(self) -> dict[str, Any]:
        jobs = self.robot.graph.store(PLANNER).get("job", {})
        return dict(next(iter(jobs.values()), {}))

    def _counts(self, state: JobState) -> None:
        if not state.job_id:
            return
        belt = len(self.world.load.where(Place.CONVEYOR))
        if state.done > belt:
            raise ViolationError(f"cartons: {state.done} are said to be delivered, {belt} are on the conveyor")
        if state.done < self.done:
            raise ViolationError(f"cartons: the count of delivered ones fell from {self.done} to {state.done}")
        self.done = state.done

    def _job_ends(self, result: Any) -> None:
        load = self.world.load
        where = {place: len(load.where(place)) for place in Place}
        if sum(where.values()) != len(load.boxes):
            raise ViolationError(f"cartons: {sum(where.values())} of {len(load.boxes)} are anywhere")
        if result.outcome.code != OutcomeCode.NONE:
            return
        left = where[Place.PILE] + where[Place.FLOOR] + where[Place.HELD]
        if left:
            raise ViolationError(f"cartons: the trailer is said to be empty, {left} are still there")
        if result.delivered + result.dropped < where[Place.CONVEYOR]:
            raise ViolationError(
                f"cartons: {where[Place.CONVEYOR]} are on the conveyor, "
                f"{result.delivered} counted as delivered and {result.dropped} as dropped"
            )

    # --- every period of the world ---

    def look(self, now_s: float) -> None:
        """Called after every tick of the world."""
        world, graph = self.world, self.robot.graph
        self.estop_open_since_s = math.inf if world.estop_closed else min(self.estop_open_since_s, now_s)
        moving = bool(np.abs(world.velocity).max() > STANDING_RADPS)
        if world.load.held is not None and world.load.boxes[world.load.held].place is not Place.HELD:
            raise ViolationError("cartons: what hangs on the gripper is booked elsewhere")
        if self.probe and world.load.held is not None:
            pulled_m = float(np.linalg.norm(world.load.boxes[world.load.held].centre - world.load.stood))
            if pulled_m > PROBE_M:
                raise ViolationError(f"probe: what is only pulled at was moved by {pulled_m:.2f} m")
        able = graph.alive(BROKER) and not graph.frozen(BROKER) and not self.transport.troubled(ARM, BROKER, SIM)
        # An earlier life's trajectory is the controller's affair: see docs/motion.md.
        own = self.sent.get(world.arm.active_id) == graph.life(BROKER)
        if (
            not able
            or not own
            or (self.told is not None and self.told.mode in MOVING and now_s - self.told_s <= LEASE_S)
        ):
            self.believed_s = now_s
        if moving and now_s - self.believed_s > STOP_WITHIN_S:
            raise ViolationError(f"moves without permit: for {now_s - self.believed_s:.2f} s")
        if moving and world.persons and able and graph.alive(SAFETY) and not graph.frozen(SAFETY):
            self._apart()

    def _apart(self) -> None:
        """Nobody so near an arm that moves, however late anything was."""
        world = self.world
        robot, _ = robot_files()
        a, b, radii = robot.capsules_at(world.position)
        arm = np.array([capsule.link != "base_link" for capsule in robot.capsules])
        people = np.array(world.people_at()).reshape(-1, 2) - np.array([world.drive.x_m, 0.0])
        if len(people):
            gap_m = float(capsule_distances(people, a[arm, :2], b[arm, :2], radii[arm]).min()) - PERSON_M
            if gap_m < NEAREST_M:
                raise ViolationError(f"separation: a person is {gap_m:.2f} m from an arm that moves")

    def at_rest(self) -> None:
        """After the end of the job: nothing may be left open."""
        graph = self.robot.graph
        for node in (BROKER, PLANNER, SIM):
            for name, goal_id in graph.serving(node) if graph.alive(node) else ():
                raise ViolationError(f"never ends: {node} still has {name} {goal_id} open")
