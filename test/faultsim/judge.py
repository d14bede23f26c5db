"""What must hold after every event, whatever goes wrong. Written without the code that it judges.

Each rule looks at the truth of the light world and at the effects on their way, and says what is broken in a sentence.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from light_load import Place
from light_world import ARM, LightWorld
from lumper_msgs.msg import OutcomeCode, SafetyState
from robot_graph import RobotGraph, robot_files

from lumper_ros import core as c
from lumper_ros.interfaces import ALL_CORES, BROKER, PLANNER, SAFETY, SIM
from lumper_ros.virtual import SYSTEM_S
from lumper_safety.surroundings import capsule_distances

EXECUTE = "motion/execute"
LEASE_S = 0.1
# Clocks of two nodes may be so far apart before the broker refuses permits.
CLOCK_TOLERANCE_S = 0.02
# A permit that has gone must have stopped the arm by then: lease, a late message, the broker's period, the slowest stop.
STOP_WITHIN_S = 2.0
STANDING_RADPS = 0.012
QUEUE_MOST = 17
RESTLESS_MOST = 4000  # effects of one node in one virtual second


class ViolationError(Exception):
    """A rule is broken; the text names rule and fact."""


@dataclass(slots=True)
class Served:
    """A goal that a node took."""

    since_s: float
    life: int


@dataclass(slots=True)
class Judge:
    """Told of every effect and every message heard; raises ViolationError."""

    robot: RobotGraph
    skewed: bool = False  # a clock of a single node may be wrong: leases are judged with that in mind
    told: SafetyState | None = None  # what the broker heard last
    told_s: float = -math.inf
    permitted_s: float = -math.inf  # when a monitor last published a permit
    unpermitted_since_s: float = 0.0
    broker_since_s: float = 0.0
    sent: dict[str, int] = field(default_factory=dict)  # arm goals by id
    ended: set[tuple[str, int, str, str]] = field(default_factory=set)
    outcomes: dict[str, int] = field(default_factory=dict)  # motion requests: first outcome
    first_life: dict[str, int] = field(default_factory=dict)  # motion requests: broker's life of the first dispatch
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
        if node == BROKER and name == "safety/state":
            self.told, self.told_s = message, now_s

    def effect(self, now_s: float, node: str, effect: c.Effect) -> None:
        self._bounded(now_s, node)
        match effect:
            case c.Publish("safety/state", state):
                if state.mode in (SafetyState.RUN, SafetyState.REDUCED):
                    self.permitted_s = now_s
            case c.SendGoal(name, goal_id, _):
                self._sends(now_s, node, name, goal_id)
            case c.FinishGoal():
                self._finishes(now_s, node, effect)
            case c.Publish("job/state", state):
                self._counts(state)
            case c.Publish("motion/state", state):
                if len(state.queued_request_ids) > QUEUE_MOST:
                    raise ViolationError(
                        f"unbounded queue: {len(state.queued_request_ids)} requests wait in the broker"
                    )
                if state.dispatched_without_permit:
                    raise ViolationError("dispatch without permit: the broker's own door says so")

    def _bounded(self, now_s: float, node: str) -> None:
        if int(now_s) != self.second:
            self.second = int(now_s)
            self.effects.clear()
        self.effects[node] = self.effects.get(node, 0) + 1
        if self.effects[node] > RESTLESS_MOST:
            raise ViolationError(f"unbounded work: {node} made more than {RESTLESS_MOST} effects in a second")

    # --- motion ---

    def _sends(self, now_s: float, node: str, name: str, goal_id: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        if name == ARM:
            self._may_dispatch(now_s, goal_id)
        elif name == EXECUTE:
            flight = self._job_on_disk().get("in_flight")
            if flight is None or flight["request_id"] != goal_id:
                raise ViolationError(f"not written down: motion {goal_id} leaves the planner without its record")

    def _may_dispatch(self, now_s: float, goal_id: str) -> None:
        if goal_id in self.sent:
            raise ViolationError(f"stage twice: arm goal {goal_id} is sent again")
        self.sent[goal_id] = self.robot.graph.life(BROKER)
        told = self.told
        if told is None or told.mode not in (SafetyState.RUN, SafetyState.REDUCED):
            raise ViolationError("dispatch without permit: the last safety/state that the broker heard forbids motion")
        until_s = told.permit_until.sec + told.permit_until.nanosec * 1e-9 - SYSTEM_S
        broker_s = self.robot.graph.now_of(BROKER).system_s - SYSTEM_S
        if broker_s >= until_s:
            raise ViolationError(f"dispatch without permit: the lease ran out {broker_s - until_s:.3f} s ago")
        if now_s - self.told_s > LEASE_S + 0.01:
            raise ViolationError(f"dispatch without permit: the monitor is silent for {now_s - self.told_s:.3f} s")
        self._on_record(goal_id)

    def _on_record(self, goal_id: str) -> None:
        graph = self.robot.graph
        open_ones = [key for key, record in graph.store(BROKER).get("request", {}).items() if record["outcome"] is None]
        if not open_ones:
            raise ViolationError(f"not written down: arm goal {goal_id} leaves without an open record in the journal")
        life = graph.life(BROKER)
        for request in open_ones:
            if request in self.outcomes:
                raise ViolationError(f"stage twice: request {request} moves the arm though it has ended")
            if self.first_life.setdefault(request, life) != life:
                raise ViolationError(f"stage twice: request {request} moves the arm again after the broker's death")

    def _finishes(self, now_s: float, node: str, effect: c.FinishGoal) -> None:
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
        if first is not None and first not in (code, OutcomeCode.DUPLICATE_IN_FLIGHT):
            raise ViolationError(f"ends twice: request {effect.goal_id} had outcome {first}, now {code}")
        self.outcomes.setdefault(effect.goal_id, code)
        stopped = code in (OutcomeCode.STOPPED_BY_SAFETY, OutcomeCode.CANCELLED)
        if (stopped or effect.status is c.GoalStatus.CANCELED) and effect.goal_id in self.first_life:
            speed = float(np.abs(self.world.velocity).max())
            if speed > STANDING_RADPS:
                raise ViolationError(f"says it stands: outcome {code} while a joint moves at {speed:.3f} rad/s")

    # --- cartons ---

    def _job_on_disk(self) -> dict[str, Any]:
        jobs = self.robot.graph.store(PLANNER).get("job", {})
        return dict(next(iter(jobs.values()), {}))

    def _counts(self, state: Any) -> None:
        belt = len(self.world.load.where(Place.CONVEYOR))
        if state.done > belt:
            raise ViolationError(f"cartons: {state.done} are said to be delivered, {belt} are on the conveyor")
        if not state.job_id:
            return
        if state.done < self.done:
            raise ViolationError(f"cartons: the count of delivered ones fell from {self.done} to {state.done}")
        self.done = state.done

    def _job_ends(self, result: Any) -> None:
        load = self.world.load
        where = {place: len(load.where(place)) for place in Place}
        total = sum(where.values())
        if total != len(load.boxes):
            raise ViolationError(f"cartons: {total} of {len(load.boxes)} are anywhere")
        if result.outcome.code == OutcomeCode.NONE:
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
        moving = bool(np.abs(world.velocity).max() > STANDING_RADPS)
        if world.load.held is not None and world.load.boxes[world.load.held].place is not Place.HELD:
            raise ViolationError("cartons: what hangs on the gripper is booked elsewhere")
        if now_s - self.permitted_s <= LEASE_S + CLOCK_TOLERANCE_S:
            self.unpermitted_since_s = now_s
        if not graph.alive(BROKER) or graph.frozen(BROKER):
            # While the broker is dead or stopped the controller finishes what it has: see docs/motion.md.
            self.broker_since_s = now_s
        since_s = max(self.unpermitted_since_s, self.broker_since_s)
        if moving and now_s - since_s > STOP_WITHIN_S:
            raise ViolationError(f"moves without permit: for {now_s - since_s:.2f} s nobody has permitted it")
        if moving and world.persons:
            self._apart(now_s)

    def _apart(self, now_s: float) -> None:
        """Nobody within C + Zd of an arm that moves, however late anything was."""
        world = self.world
        robot, _ = robot_files()
        a, b, radii = robot.capsules_at(world.position)
        arm = np.array([capsule.link != "base_link" for capsule in robot.capsules])
        people = np.array(world.people_at()).reshape(-1, 2) - np.array([world.drive.x_m, 0.0])
        if not len(people):
            return
        gap = float(capsule_distances(people, a[arm, :2], b[arm, :2], radii[arm]).min()) - 0.22
        alive = graph_alive(self.robot)
        if gap < 0.2 and alive:
            raise ViolationError(f"separation: a person is {gap:.2f} m from an arm that moves")

    def at_rest(self, now_s: float) -> None:
        """After the last fault and the end of the job: nothing may be left open."""
        graph = self.robot.graph
        for node in ALL_CORES:
            if node in (BROKER, PLANNER, SAFETY) and graph.alive(node):
                for name, goal_id in graph.serving(node):
                    raise ViolationError(f"never ends: {node} still has {name} {goal_id} open")


def graph_alive(robot: RobotGraph) -> bool:
    return all(robot.graph.alive(n) and not robot.graph.frozen(n) for n in (BROKER, SAFETY))
