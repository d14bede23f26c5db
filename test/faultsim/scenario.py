"""One run: a seed, or a schedule of faults, to what came of it. The same input gives the same run, event for event."""

import functools
import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from faults import Fault, Injector, clock_set, draw
from judge import Judge, ViolationError
from light_eyes import LightEyes
from light_load import Place, make_load
from light_minds import LightBroker, LightChooser
from light_scan import SAFETY_PARAMETERS
from light_world import TICK_HZ as WORLD_HZ
from light_world import LightWorld
from lumper_msgs.action import Unload
from lumper_msgs.msg import JobState, OutcomeCode, SafetyState
from lumper_msgs.srv import JobCommand
from robot_graph import FILES, JOB, RobotGraph, robot_files
from transport import FaultyTransport

from lumper_motion.kinematics import ArmKinematics
from lumper_motion.parameters import MotionParameters
from lumper_planner.core import UnloadPlanner
from lumper_planner.parameters import PlannerParameters
from lumper_ros import core as c
from lumper_ros.interfaces import BROKER, DEMO, PERCEPTION, PLANNER, SAFETY, SIM
from lumper_ros.parameters import from_mapping
from lumper_ros.virtual import CoreError

KEY = bytes(range(32))
TICKS = {SAFETY: 20.0, PERCEPTION: 2.0, BROKER: 20.0, PLANNER: 2.0, SIM: WORLD_HZ}
# Coarser sampling of the trajectories that are sent; nothing is decided by it.
MOTION = {"point_period_s": 0.1, "state_hz": 5.0}
GOOD = (OutcomeCode.NONE, OutcomeCode.NO_REMOVABLE_CARTON)
# After the last fault the job must be done within this and so much for each carton.
CALM_S, CARTON_S = 120.0, 25.0
TRACE_KEPT = 400
# So many of the loads begin with two cartons that look like one.
TWINS_SHARE = 0.3


class Customer(c.Core):
    """Wants the trailer unloaded: asks again when the planner was lost, or gave up before the faults were over."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.asked = 0
        self._open = False
        self._again_s = 0.0

    @property
    def content(self) -> bool:
        return bool(self.results) and self.results[-1].outcome.code in GOOD

    def tick(self, now: c.Now) -> c.Effects:
        if self._open or self.content or now.steady_s < self._again_s:
            return c.NOTHING
        self._open = True
        self.asked += 1
        goal = Unload.Goal(job_id=JOB, stop_when=Unload.Goal.UNTIL_EMPTY)
        return [c.SendGoal("unload", f"{self.asked:032x}", goal)]

    def goal_result(self, name: str, goal_id: str, status: c.GoalStatus, result: Any | None, now: c.Now) -> c.Effects:
        self._open = False
        self._again_s = now.steady_s + 1.0
        if result is not None:
            self.results.append(result)
        return c.NOTHING


class Attendant:
    """The person beside the robot, once a second: resets what is latched, answers, lets the job go on."""

    def __init__(self, robot: RobotGraph, seed: int) -> None:
        self._robot = robot
        self._rng = random.Random(seed)
        self.safety: SafetyState | None = None
        self.job: JobState | None = None
        self.question: Any = None
        self.resets = self.answers = 0

    def effect(self, effect: c.Effect) -> None:
        match effect:
            case c.Publish("safety/state", state):
                self.safety = state
            case c.Publish("job/state", state):
                self.job = state
            case c.Publish("assist/request", request):
                self.question = request

    def visit(self) -> None:
        graph = self._robot.graph
        graph.at(graph.now_s + 1.0, self.visit)
        safety, job = self.safety, self.job
        if safety is None or job is None:
            return
        if any(cause.latched for cause in safety.causes):
            answer = self._robot.reset()
            self.resets += bool(answer is not None and answer.accepted)
        elif job.phase == JobState.PAUSED:
            self._robot.command(JobCommand.Request.RESUME)
        elif self.question is not None and self.question.open:
            self._answer()

    def _answer(self) -> None:
        question, graph = self.question, self._robot.graph
        offered = {option.key: option for option in question.options}
        world: LightWorld = graph.core(SIM)
        wanted = [key for key in ("look_again", "i_moved_it", "i_moved_it", "take") if key in offered]
        key = self._rng.choice(wanted or sorted(offered))
        if question.code.code == OutcomeCode.UNREACHABLE and "drive_back" in offered:
            # What is held and cannot be reached out of where the arm stands needs another place, not another look.
            key = "drive_back"
        if key == "i_moved_it":
            # What lies about, or in the way, is carried off; the load stays.
            for number in world.load.where(Place.FLOOR) or world.load.where(Place.PILE)[:1]:
                world.load.take_away(number)
        if question.code.code == OutcomeCode.UNKNOWN_AFTER_RESTART and world.load.held is not None:
            world.load.boxes[world.load.held].place, world.load.held = Place.PERSON, None
        self._robot.answer(question, key)
        self.answers += 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a run is made from."""

    seed: int
    cartons: int
    faults: tuple[Fault, ...]
    simulated_time: bool = False

    @staticmethod
    def of(seed: int) -> "Scenario":
        """The scenario of a seed."""
        rng = random.Random(seed * 7919 + 1)
        cartons = rng.choice((1, 2, 2, 3, 4, 14) if seed % 50 == 0 else (1, 2, 2, 3, 4))
        length_s = 6.0 + 9.0 * cartons
        faults = draw(seed, rng.randint(1, 8), length_s)
        if seed % 12 == 5:
            faults.append(clock_set(rng, round(rng.uniform(1.0, length_s), 4)))
        return Scenario(seed, cartons, tuple(faults), seed % 10 == 3)


@dataclass(slots=True)
class Outcome:
    """What came of a run. `violation` empty = every rule held."""

    violation: str
    virtual_s: float
    steps: int
    digest: str
    trace: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


@functools.cache
def _kinematics() -> ArmKinematics:
    return ArmKinematics(robot_files()[0])


def build(scenario: Scenario, transport: FaultyTransport, tap: Any, heard: Any) -> RobotGraph:
    """The light robot of a scenario, not started."""
    robot, trailer = robot_files()
    rng = random.Random(scenario.seed)
    base_x = rng.choice((0.0, 1.0, 2.0))
    front_m = base_x + rng.choice((1.85, 1.9, 2.6))
    load = make_load(robot, scenario.seed, scenario.cartons, front_m, rng.random() < TWINS_SHARE)
    world = LightWorld(robot, trailer, load, base_x, scenario.simulated_time)
    motion = from_mapping(MotionParameters, FILES | MOTION)
    planner = from_mapping(PlannerParameters, FILES | {"question_limit_s": 60.0})
    builders: Mapping[str, Callable[[], c.Core]] = {
        PERCEPTION: lambda: LightEyes(robot),
        BROKER: lambda: LightBroker(motion, robot, trailer, KEY, _kinematics()),
        PLANNER: lambda: UnloadPlanner(planner, LightChooser(robot, planner.grasp_attempts), KEY),
        DEMO: Customer,
    }
    return RobotGraph(
        lambda: world,
        transport,
        tap,
        KEY,
        heard,
        TICKS,
        builders,
        scenario.simulated_time,
        safety_monitor=SAFETY_PARAMETERS,
    )


def run(scenario: Scenario, keep_trace: bool = False) -> Outcome:
    """Play a scenario until its job is done, a rule is broken, or the time that it is given is over."""
    transport = FaultyTransport()
    trace: list[str] = []
    digest = hashlib.sha256()
    judge: Judge
    injector: Injector
    attendant: Attendant

    def tap(now_s: float, node: str, effect: c.Effect) -> None:
        injector.effect(node, effect)
        if not robot.graph.alive(node):
            return
        if isinstance(effect, c.Emit | c.SendGoal | c.CancelGoal | c.FinishGoal | c.Persist):
            line = describe(now_s, node, effect)
            digest.update(line.encode())
            if keep_trace:
                trace.append(line)
        attendant.effect(effect)
        judge.effect(now_s, node, effect)

    def look() -> None:
        judge.look(robot.graph.now_s)
        robot.graph.at(robot.graph.now_s + 1.0 / WORLD_HZ, look)

    def heard(now_s: float, node: str, name: str, message: Any) -> None:
        judge.heard(now_s, node, name, message)

    robot = build(scenario, transport, tap, heard)
    graph = robot.graph
    transport.bind(graph)
    judge, injector, attendant = (
        Judge(robot, transport, KEY),
        Injector(robot, transport),
        Attendant(robot, scenario.seed),
    )
    violation = ""
    calm_s = max((fault.at_s + fault.for_s for fault in scenario.faults), default=0.0)
    limit_s = calm_s + CALM_S + CARTON_S * scenario.cartons
    try:
        robot.start()
        injector.schedule(list(scenario.faults))
        graph.at(1.01, attendant.visit)
        graph.at(0.001, look)
        while graph.now_s < limit_s and not (graph.now_s > calm_s and robot.client.content):
            graph.run(min(graph.now_s + 0.5, limit_s))
        if not robot.client.content:
            job = attendant.job
            raise ViolationError(
                f"no progress: {graph.now_s - calm_s:.0f} s after the last fault the job is not done: "
                f"{'no job/state' if job is None else f'phase {job.phase}, {job.text}'}"
            )
        graph.run(graph.now_s + 4.0)
        judge.at_rest()
    except ViolationError as broken:
        violation = str(broken)
    except CoreError as broken:
        violation = f"crash: {broken}"
    if keep_trace:
        trace += [f"{fault.at_s:9.3f} ********* fault: {fault}" for fault in scenario.faults]
        trace = sorted(trace, key=lambda line: float(line.split()[0]))[-TRACE_KEPT:]
    counts = dict(judge.counts) | {"resets": attendant.resets, "answers": attendant.answers}
    counts |= {place.value: len(injector.world.load.where(place)) for place in Place}
    return Outcome(violation, graph.now_s, graph.steps, digest.hexdigest()[:16], trace, counts)


def describe(now_s: float, node: str, effect: c.Effect) -> str:
    """One line of a trace."""
    match effect:
        case c.Emit(code, text):
            what = f"{code}: {text}"
        case c.SendGoal(name, goal_id, goal):
            what = f"-> {name} {goal_id[:8]} kind {getattr(goal, 'kind', '')}"
        case c.CancelGoal(name, goal_id):
            what = f"cancel {name} {goal_id[:8]}"
        case c.FinishGoal(name, goal_id, status, result):
            code = getattr(getattr(result, "outcome", None), "code", getattr(result, "error_code", ""))
            what = f"ends {name} {goal_id[:8]} {status.value} {code} {getattr(result, 'text', '')}"
        case c.Persist(kind, key, record):
            what = f"writes {kind} {key[:40]}{'' if record is not None else ' (deleted)'}"
        case _:
            what = type(effect).__name__
    return f"{now_s:9.3f} {node:17s} {what[:200]}"
