"""Seeded schedules of faults, as plain data: each fault stands alone, so that a schedule can be shrunk and kept as JSON."""

import copy
import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from light_load import Place
from light_world import LightWorld
from lumper_msgs.msg import SafetyState
from robot_graph import RobotGraph
from std_srvs.srv import Trigger
from transport import FaultyTransport, Trouble, Window

from lumper_ros import core as c
from lumper_ros.auth import permit_mac
from lumper_ros.convert import to_time
from lumper_ros.interfaces import BROKER, PERCEPTION, PLANNER, SAFETY, SIM
from lumper_ros.virtual import SYSTEM_S

NODES = (SAFETY, PERCEPTION, BROKER, PLANNER)
# Whose network is cut: the hardware's side as well.
ENDS = (*NODES, SIM)
TOPICS = (
    "wall",
    "job/state",
    "safety/state",
    "scan/front",
    "scan/rear",
    "estop",
    "joint_states",
    "gripper/state",
    "conveyor/state",
    "motion/state",
    "detections",
    "/tf",
)
SENSORS = ("scan/front", "scan/rear", "joint_states", "gripper/state", "estop", "detections", "conveyor/state", "/tf")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `target`: node or topic; `amount`, `choice`: see the injector of its kind."""

    at_s: float
    kind: str
    target: str = ""
    amount: float = 0.0
    for_s: float = 0.0
    choice: int = 0

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"{self.at_s:8.3f} s  {self.kind}"]
        parts += [self.target] if self.target else []
        parts += [f"amount {self.amount:g}"] if self.amount else []
        parts += [f"for {self.for_s:.3f} s"] if self.for_s else []
        parts += [f"choice {self.choice}"] if self.choice else []
        return "  ".join(parts)


Draw = Callable[[random.Random, float], Fault]


def _window(kind: str, targets: tuple[str, ...], low: float, high: float, longest_s: float) -> Draw:
    return lambda rng, at: Fault(
        at, kind, rng.choice(targets), round(rng.uniform(low, high), 4), round(rng.uniform(0.05, longest_s), 3)
    )


def _any(kind: str, longest_s: float, targets: tuple[str, ...] = ("",), choices: int = 1) -> Draw:
    return lambda rng, at: Fault(
        at, kind, rng.choice(targets), 0.0, round(rng.uniform(0.05, longest_s), 3), rng.randrange(choices)
    )


# Kind: (weight, how to draw one).
KINDS: dict[str, tuple[int, Draw]] = {
    "kill": (5, _any("kill", 4.0, NODES, 12)),
    "freeze": (3, _any("freeze", 3.0, NODES)),
    "delay": (3, _window("delay", (*TOPICS, *ENDS, ""), 0.01, 0.4, 4.0)),
    "drop": (2, _window("drop", (*TOPICS, *ENDS, ""), 0.05, 0.6, 4.0)),
    "double": (1, _window("double", TOPICS, 0.2, 1.0, 3.0)),
    "partition": (2, _window("partition", (*TOPICS, *ENDS), 1.0, 1.0, 2.0)),
    "slow": (1, _window("slow", (BROKER, PLANNER), 5.0, 40.0, 5.0)),
    "disk": (2, _window("disk", (BROKER, PLANNER, SAFETY, PERCEPTION), 1.0, 1.0, 3.0)),
    "skew": (2, _window("skew", (SAFETY, BROKER, PLANNER), -0.3, 0.3, 5.0)),
    "drift": (1, _window("drift", NODES, -0.05, 0.05, 10.0)),
    "clock_step": (1, _window("clock_step", ("",), -3.0, 3.0, 5.0)),
    "spoil": (3, _any("spoil", 0.5, SENSORS, 4)),
    "silence": (3, _any("silence", 4.0, (*SENSORS, "detections"))),
    "estop": (2, _any("estop", 3.0)),
    "person": (3, lambda rng, at: Fault(at, "person", "", round(rng.uniform(0.4, 1.6), 2), round(rng.uniform(3, 12), 2), rng.randrange(6))),
    "carton_drops": (2, _any("carton_drops", 0.1)),
    "collapse": (2, _any("collapse", 0.1, ("",), 8)),
    "conveyor": (2, _any("conveyor", 6.0)),
    "controller": (2, _any("controller", 2.0)),
    "gripper_lies": (2, _any("gripper_lies", 1.0, ("",), 2)),
    "leak": (1, _any("leak", 4.0)),
    "stop": (1, _any("stop", 0.1)),
    "replay": (2, _any("replay", 4.0, ("",), 2)),
    "forge": (2, _any("forge", 4.0, ("",), 4)),
    "resend": (4, _any("resend", 0.5, ("",), 3)),
}  # fmt: skip
WORST_S = 12.0  # nothing lasts longer
# A time server was found: every clock is set ahead, for good. Back it must not be set under running nodes: docs/faults.md.
clock_set = _window("clock_set", ("",), 0.0, 4000.0, 0.1)


def draw(seed: int, count: int, until_s: float) -> list[Fault]:
    """`count` faults between 1 s and `until_s`."""
    rng = random.Random(seed)
    names, weights = list(KINDS), [weight for weight, _ in KINDS.values()]
    # Most bad days are of a few kinds; then some combine in ways that an even mixture never would.
    chosen = rng.choices(names, weights, k=rng.randint(1, 6)) if rng.random() < 0.7 else names
    faults = []
    for _ in range(count):
        kind = rng.choices(chosen, [KINDS[name][0] for name in chosen])[0]
        faults.append(KINDS[kind][1](rng, round(rng.uniform(1.0, until_s), 4)))
    return sorted(faults, key=lambda fault: (fault.at_s, fault.kind, fault.target))


class Injector:
    """Puts faults on a graph's queue."""

    def __init__(self, robot: RobotGraph, transport: FaultyTransport) -> None:
        self._robot, self._graph, self._transport = robot, robot.graph, transport
        self._armed: dict[str, tuple[int, float]] = {}  # node -> effects left to live, time of death
        self._permit: SafetyState | None = None  # the last that permitted motion
        self._sequence = 0  # of the newest
        self._request: c.SendGoal | None = None  # the planner's last to the broker
        self._ahead_s = 0.0  # by what all clocks were set

    @property
    def world(self) -> LightWorld:
        found: LightWorld = self._graph.core(SIM)
        return found

    def schedule(self, faults: list[Fault]) -> None:
        for number, fault in enumerate(faults):
            self._graph.at(fault.at_s, self._begin, fault, number)

    def effect(self, node: str, effect: c.Effect) -> None:
        """A node is about to carry out an effect: the instant at which an armed kill may fall."""
        match effect:
            case c.Publish("safety/state", state):
                self._sequence = state.sequence
                if state.mode in (SafetyState.RUN, SafetyState.REDUCED):
                    self._permit = state
            case c.SendGoal("motion/execute"):
                self._request = effect
        armed = self._armed.get(node)
        if armed is None:
            return
        if armed[0] > 0:
            self._armed[node] = (armed[0] - 1, armed[1])
            return
        self._die(node, armed[1])

    def _die(self, node: str, down_s: float) -> None:
        self._armed.pop(node, None)
        if self._graph.alive(node):
            self._graph.kill(node)
            self._graph.at(self._graph.now_s + down_s, self._revive, node)

    def _revive(self, node: str) -> None:
        if not self._graph.alive(node):
            self._graph.start(node)

    def _begin(self, fault: Fault, number: int) -> None:
        graph, world = self._graph, self.world
        end_s = graph.now_s + fault.for_s
        match fault.kind:
            case "kill":
                if graph.alive(fault.target) and not graph.frozen(fault.target):
                    self._armed[fault.target] = (fault.choice, fault.for_s)
            case "freeze":
                if graph.alive(fault.target) and not graph.frozen(fault.target):
                    graph.freeze(fault.target)
                    graph.at(end_s, self._thaw, fault.target, graph.life(fault.target))
            case "delay" | "drop" | "double" | "partition" | "slow" | "disk":
                rng = random.Random(f"{fault}")
                self._transport.open(Window(Trouble(fault.kind), fault.target, fault.amount, end_s, rng))
            case "skew":
                graph.skew(fault.target, system_offset_s=self._ahead_s + fault.amount)
                graph.at(end_s, self._set_right, fault.target)
            case "drift":
                graph.skew(fault.target, steady_drift=fault.amount, system_offset_s=self._ahead_s)
                graph.at(end_s, self._set_right, fault.target)
            case "clock_step":
                self._step_clocks(self._ahead_s + fault.amount)
                graph.at(end_s, lambda: self._step_clocks(self._ahead_s))
            case "clock_set":
                self._ahead_s += fault.amount
                self._step_clocks(self._ahead_s)
            case "spoil":
                world.spoil[fault.target] = SPOILERS[fault.choice]
                graph.at(end_s, lambda: world.spoil.pop(fault.target, None))
            case "silence":
                world.silent.add(fault.target)
                graph.at(end_s, lambda: world.silent.discard(fault.target))
            case "estop":
                world.set_estop(False)
                graph.at(end_s, world.set_estop, True)
            case "person":
                self._walk_in(fault)
            case "carton_drops":
                world.drop_carton()
            case "collapse":
                standing = world.load.where(Place.PILE)
                if standing:
                    world.load.collapse(standing[fault.choice % len(standing)], 0.25)
            case "conveyor":
                world.conveyor_runs = False
                graph.at(end_s, lambda: setattr(world, "conveyor_runs", True))
            case "controller":
                if world.estop_closed:
                    world.set_controller(False)
                    graph.at(end_s, lambda: world.set_controller(world.estop_closed))
            case "gripper_lies":
                world.gripper_lie = bool(fault.choice)
                graph.at(end_s, lambda: setattr(world, "gripper_lie", None))
            case "leak":
                world.leaks = True
                graph.at(end_s, lambda: setattr(world, "leaks", False))
            case "stop":
                graph.call_service("safety/stop", Trigger.Request())
            case "replay" | "forge":
                if fault.choice % 2:
                    # A stranger with bad intentions waits for a stop.
                    graph.call_service("safety/stop", Trigger.Request())
                self._impersonate(fault, end_s)
            case "resend":
                if fault.choice:
                    # A client that lost its server asks the next one by the same id.
                    self._die(BROKER, fault.for_s)
                    graph.at(end_s + 0.4 * fault.choice, self._resend, self._request)
                else:
                    self._resend(self._request)
            case _:
                raise ValueError(f"no fault is called {fault.kind!r}")

    def _resend(self, request: c.SendGoal | None) -> None:
        if request is not None and self._graph.alive(PLANNER):
            self._graph.call(PLANNER, lambda core, now: [request])

    def _impersonate(self, fault: Fault, end_s: float) -> None:
        """A stranger publishes permits: an old one as it was, or one made up, with or without a code of its own."""
        graph, known = self._graph, self._permit
        if known is None or graph.now_s >= end_s:
            return
        state = known
        if fault.kind == "forge":
            state = copy.deepcopy(known)
            now_s = SYSTEM_S + graph.now_s
            state.sequence = self._sequence + 1
            state.stamp, state.permit_until = to_time(now_s), to_time(now_s + 0.1)
            state.mode, state.causes = SafetyState.RUN, []
            state.mac = permit_mac(b"x" * 32, state) if fault.choice > 1 else b""
        graph.publish("safety/state", "stranger", state)
        graph.at(graph.now_s + 0.05, self._impersonate, fault, end_s)

    def _thaw(self, node: str, life: int) -> None:
        if self._graph.life(node) == life and self._graph.frozen(node):
            self._graph.thaw(node)

    def _set_right(self, node: str) -> None:
        self._graph.skew(node, system_offset_s=self._ahead_s)

    def _step_clocks(self, offset_s: float) -> None:
        for node in (*NODES, SIM):
            self._graph.skew(node, system_offset_s=offset_s)

    def _walk_in(self, fault: Fault) -> None:
        """From the dock along a side of the robot: to a few metres from the arm, beside it, or right past it."""
        speed, base = fault.amount, self.world.drive.x_m
        y = (-1.1, 1.15, 0.0, -0.9, 1.15, 0.95)[fault.choice]
        start = base - 5.0
        walk_s = min((5.0 - (1.4, 0.9, 1.6, 2.4, 0.1, -0.7)[fault.choice]) / speed, fault.for_s)
        self.world.enter(start, y, speed, 0.0, walk_s, fault.for_s)


def _not_a_number(message: Any) -> Any:
    spoiled = copy.deepcopy(message)
    if hasattr(spoiled, "position"):
        spoiled.position[0] = math.nan
    elif hasattr(spoiled, "ranges"):
        spoiled.ranges = type(spoiled.ranges)("f", [math.nan] * len(spoiled.ranges))
    elif hasattr(spoiled, "vacuum_kpa"):
        spoiled.vacuum_kpa = math.nan
    elif hasattr(spoiled, "transforms"):
        spoiled.transforms[0].transform.translation.x = math.nan
    elif hasattr(spoiled, "detections") and spoiled.detections:
        spoiled.detections[0].face_pose.position.x = math.nan
    return spoiled


def _wrong_frame(message: Any) -> Any:
    spoiled = copy.deepcopy(message)
    if hasattr(spoiled, "header"):
        spoiled.header.frame_id = "somewhere"
    elif hasattr(spoiled, "transforms"):
        spoiled.transforms[0].header.frame_id = "somewhere"
    return spoiled


def _stamped(message: Any, by_s: int) -> Any:
    spoiled = copy.deepcopy(message)
    for part in (spoiled, *getattr(spoiled, "transforms", ())):
        stamp = part.header.stamp if hasattr(part, "header") else getattr(part, "stamp", None)
        if stamp is not None:
            stamp.sec = max(0, stamp.sec + by_s)
    return spoiled


SPOILERS: tuple[Callable[[Any], Any], ...] = (
    _not_a_number,
    _wrong_frame,
    lambda message: _stamped(message, 5),
    lambda message: _stamped(message, -5),
)
