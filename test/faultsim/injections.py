"""Causes of a stop at random moments of a running job, against the physics and with every deciding core of the robot.

For each: the monitor withdraws the permit within the cause's max age and a cycle, no trajectory leaves without a permit that the
broker may believe in, the arm comes to rest, and after it the job goes on. Up to six more causes come while the robot stands: each is
told as well, and none lets it go before all are over. In a third of the stops a stranger repeats an old permit meanwhile.
"""

import copy
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from judge import Judge, ViolationError
from lumper_msgs.msg import JobState, SafetyState
from lumper_msgs.srv import InjectFault, JobCommand
from robot_graph import FILES, RobotGraph, camera_of
from std_srvs.srv import Trigger
from transport import FaultyTransport, Trouble, Window

from lumper_ros import core as c
from lumper_ros.interfaces import BROKER, PLANNER, SAFETY, SIM
from lumper_ros.parameters import from_mapping
from lumper_ros.virtual import CoreError
from lumper_safety.causes import Code
from lumper_safety.core import PERMIT_PUBLISHERS

KEY = bytes(range(32))
MOVING = (SafetyState.RUN, SafetyState.REDUCED)
# A cycle of the monitor, the way of a message, and the look of this module at it.
CYCLE_S = 0.03
LOOK_S = 0.008
# A joint that holds a load in the physics is never quite still.
STANDING_RADPS = 0.03
CALM_S = 45.0  # the job must move the arm again within this
VISIT_S = 0.06  # how soon the person beside the robot does what is to be done
QUESTIONS_MOST = 6
MOST_ON_TOP = 6
CLOCK_STANDS = "clock stands"
SENSOR = {"scan/front": 1, "scan/rear": 2, "joint_states": 4, "gripper/state": 5, "estop": 7}


@dataclass(frozen=True, slots=True)
class Kind:
    """`begin` makes it happen and says for how long it lasts, s; then one of `causes` must be told within `within_s`.

    causes empty = the monitor itself is gone: the broker must find its permit run out. topic: which it spoils; "" = of its own.
    """

    name: str
    begin: Callable[["Play"], float]
    causes: tuple[Code, ...]
    within_s: float
    weight: int = 4
    slows: bool = False  # it may leave the robot a slower pace
    possible: Callable[["Play"], bool] = lambda play: True
    topic: str = ""
    on_top: bool = False  # may come while the robot stands because of another
    reading: bool = False  # a stamped reading says it: not judged while the clock stands, when every stamp lies ahead

    @property
    def forbids(self) -> bool:
        """Whether the robot may not move as long as it lasts."""
        return bool(self.causes) and not self.slows


@dataclass(slots=True)
class Tally:
    """What was injected and kept every rule, by kind; and what broke."""

    kept: Counter[str] = field(default_factory=Counter)
    on_top: int = 0  # of those in `kept`: came while the robot stood because of another
    broken: list[str] = field(default_factory=list)
    virtual_s: float = 0.0
    jobs: int = 0
    stuck: int = 0


class _Truth:
    """The physics as the judge asks for it; cartons and persons are judged elsewhere."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.persons: tuple[()] = ()
        self.load = type("Load", (), {"held": None})()
        self.arm = self

    @property
    def velocity(self) -> Any:
        _, velocity, _ = self._world.joint_state()
        return np.where(np.abs(velocity) < STANDING_RADPS, 0.0, velocity)

    @property
    def estop_closed(self) -> bool:
        return bool(self._world.estop_closed)

    @property
    def active_id(self) -> str:
        return str(self._world.trajectory.active_id)


class _Judge(Judge):
    """The rules about permits, dispatches and motion."""

    @property
    def world(self) -> Any:
        return _Truth(self.robot.graph.core(SIM).world)

    def _counts(self, state: Any) -> None:
        pass

    def _job_ends(self, result: Any) -> None:
        pass


class Play:
    """One job, with one cause after the other."""

    def __init__(self, seed: int, cartons: int, tally: Tally) -> None:
        from lumper_sim.node import build as build_sim
        from lumper_sim.parameters import SimParameters

        made = from_mapping(SimParameters, FILES | {"cartons": cartons, "seed": seed} | camera_of("detections"))
        self.rng = random.Random(seed)
        self.transport = FaultyTransport()
        self.robot = RobotGraph(lambda: build_sim(made), self.transport, self._tap, KEY, self._heard)
        self.graph = self.robot.graph
        self.transport.bind(self.graph)
        self.tally = tally
        self._judge = _Judge(self.robot, self.transport, KEY)
        self.safety = SafetyState()
        self._job: JobState | None = None
        self._question: Any = None
        self._answers = 0
        self.newest: dict[str, Any] = {}
        self._permit: SafetyState | None = None

    @property
    def physics(self) -> Any:
        return self.graph.core(SIM).world

    # --- what is heard ---

    def _tap(self, now_s: float, node: str, effect: c.Effect) -> None:
        match effect:
            case c.Publish("safety/state", state):
                self.safety = state
                if state.mode in MOVING:
                    self._permit = state
            case c.Publish("job/state", state):
                self._job = state
            case c.Publish("assist/request", request):
                self._question = request
            case c.Publish(name, message) if name in SENSOR:
                self.newest[name] = message
        self._judge.effect(now_s, node, effect)

    def _heard(self, now_s: float, node: str, name: str, message: Any) -> None:
        self._judge.heard(now_s, node, name, message)

    def _look(self) -> None:
        self._judge.look(self.graph.now_s)
        self.graph.at(self.graph.now_s + LOOK_S, self._look)

    @property
    def permitted(self) -> bool:
        return self.graph.alive(SAFETY) and not self.graph.frozen(SAFETY) and self.safety.mode in MOVING

    @property
    def moving(self) -> bool:
        return bool(np.abs(self._judge.world.velocity).max() > 0.05)

    # --- faults ---

    def fault(self, name: str, *args: float, for_s: float) -> float:
        answer = self.graph.call_service(
            "sim/fault", InjectFault.Request(name=name, args=[float(a) for a in args], duration_s=for_s)
        )
        assert answer.ok, answer.text
        return for_s

    def unheard(self, target: str, for_s: float) -> float:
        """Nothing arrives on a topic."""
        until_s = self.graph.now_s + for_s
        self.transport.open(Window(Trouble.PARTITION, target, 1.0, until_s, random.Random(0)))
        return for_s

    def stranger(self, topic: str, message: Any) -> float:
        self.graph.publish(topic, "stranger", message)
        return 0.0

    def rival(self) -> float:
        """A second publisher: it speaks, and the graph shows it to the monitor."""
        self.stranger("safety/state", SafetyState(mode=SafetyState.RUN, sequence=7))
        self.graph.call(SAFETY, lambda core, now: core.observed(PERMIT_PUBLISHERS, 2, now))
        return 0.0

    def changed(self, topic: str, change: Callable[[Any], object]) -> float:
        """A stranger's message on a sensor's topic, made from the sensor's newest."""
        message = copy.deepcopy(self.newest[topic])
        change(message)
        return self.stranger(topic, message)

    def dead(self, node: str, for_s: float) -> float:
        self.graph.kill(node)
        self.graph.at(self.graph.now_s + for_s, lambda: self.graph.start(node))
        return for_s

    def frozen(self, node: str, for_s: float) -> float:
        self.graph.freeze(node)
        self.graph.at(self.graph.now_s + for_s, lambda: self.graph.thaw(node))
        return for_s

    def walk(self) -> float:
        """From behind, past the conveyor, towards the arm, and back. Who vanishes there would be looked for behind the arm."""
        x, y, there_s, speed = self.physics.base_x_m - 3.5, self.rng.choice((-1.0, 1.05)), 1.8, 1.6
        self.fault("person", x, y, speed, 0.0, there_s, for_s=math.nan)

        def turn() -> None:
            self.fault("person", for_s=math.nan)
            self.fault("person", x + speed * there_s, y, -speed, 0.0, 10.0, for_s=2.0 * there_s)

        self.graph.at(self.graph.now_s + there_s + 0.3, turn)
        return 3.0 * there_s + 0.3

    def stop(self) -> float:
        self.graph.call_service("safety/stop", Trigger.Request())
        return 0.0

    # --- the play ---

    def run(self, injections: int) -> None:
        """Until so many were made or the job is over."""
        graph, wanted = self.graph, injections
        self.tally.jobs += 1
        kind: Kind | None = None
        try:
            self.robot.start()
            graph.at(0.001, self._look)
            while wanted > 0 and self._until(lambda: self.permitted and self.moving, CALM_S):
                graph.run(graph.now_s + self.rng.uniform(0.0, 0.8))
                if not (self.permitted and self.moving):
                    continue
                kinds = [kind for kind in KINDS if kind.possible(self)]
                kind = self.rng.choices(kinds, [kind.weight for kind in kinds])[0]
                wanted -= self._inject(kind)
            self.tally.stuck += bool(wanted > 0 and self.robot.client.result is None)
        except ViolationError as broken:
            self.tally.broken.append(f"{kind.name if kind else 'before any'} at {graph.now_s:.3f} s: {broken}")
        except CoreError as broken:
            self.tally.broken.append(f"{kind.name if kind else 'before any'}: crash: {broken}")
        self.tally.virtual_s += graph.now_s

    def _until(self, done: Callable[[], bool], within_s: float) -> bool:
        """Let time pass, with a person beside the robot, until `done` or the job is over."""
        graph, until_s, visit_s = self.graph, self.graph.now_s + within_s, self.graph.now_s + VISIT_S
        while not done():
            if graph.now_s >= until_s or self.robot.client.result is not None:
                return False
            graph.run(graph.now_s + LOOK_S)
            if graph.now_s >= visit_s:
                visit_s = graph.now_s + VISIT_S
                self._attend()
        return True

    def _inject(self, kind: Kind) -> int:
        """One cause, and others on top of it while the robot stands; how many."""
        graph = self.graph
        ends = {kind: self._begin(kind)}
        for _ in range(self.rng.randrange(MOST_ON_TOP + 1)):
            graph.run(graph.now_s + self.rng.uniform(0.0, 0.15))
            if not graph.alive(SAFETY) or graph.frozen(SAFETY):
                break
            taken = {other.topic or other.name for other in ends}
            free = [each for each in KINDS if each.on_top and (each.topic or each.name) not in taken]
            more = self.rng.choice([each for each in free if not (each.reading and kind.name == CLOCK_STANDS)])
            ends[more] = self._begin(more)
            self.tally.on_top += 1
        if self.rng.random() < 1.0 / 3.0:
            self._repeat(graph.now_s + 0.5)
        until_s = max(*ends.values(), graph.now_s + 0.3)
        while graph.now_s < until_s:
            graph.run(graph.now_s + LOOK_S)
            lasting = [each.name for each, end_s in ends.items() if end_s > graph.now_s + LOOK_S and each.forbids]
            if lasting and self.permitted:
                raise ViolationError(f"the robot was let go while it lasted: {', '.join(lasting)}")
        return len(ends)

    def _begin(self, kind: Kind) -> float:
        """Until it is told; when it will be over."""
        graph, begun_s = self.graph, self.graph.now_s
        over_s = begun_s + kind.begin(self)
        while kind.causes and not self._told(kind):
            if graph.now_s > begun_s + kind.within_s:
                codes = [Code(cause.code).name for cause in self.safety.causes]
                raise ViolationError(
                    f"not noticed: {kind.name} after {graph.now_s - begun_s:.3f} s; the monitor tells {codes}"
                )
            graph.run(graph.now_s + LOOK_S)
        self.tally.kept[kind.name] += 1
        return over_s

    def _told(self, kind: Kind) -> bool:
        heeded = not self.permitted or (kind.slows and self.safety.speed_scale < 1.0)
        return heeded and any(cause.code in kind.causes for cause in self.safety.causes)

    def _repeat(self, until_s: float) -> None:
        """A stranger repeats the last permit that was given."""
        if self._permit is not None and self.graph.now_s < until_s:
            self.stranger("safety/state", self._permit)
            self.graph.at(self.graph.now_s + 0.05, self._repeat, until_s)

    def _attend(self) -> None:
        if not self.graph.alive(SAFETY) or not self.graph.alive(PLANNER):
            return
        if any(cause.latched for cause in self.safety.causes):
            self.robot.reset()
        elif self._job is not None and self._job.phase == JobState.PAUSED:
            self.robot.command(JobCommand.Request.RESUME)
        elif self._question is not None and self._question.open:
            self._answer()

    def _answer(self) -> None:
        self._answers += 1
        offered = {option.key for option in self._question.options}
        key = "look_again" if "look_again" in offered and self._answers <= QUESTIONS_MOST else "give_up"
        self.robot.answer(self._question, key)


def _silent(topic: str, code: Code, age_s: float, lasts_s: float, weight: int = 6) -> Kind:
    return Kind(
        f"{topic} silent",
        lambda play: play.fault("sensor_silence", SENSOR[topic], for_s=lasts_s),
        (code,),
        age_s + CYCLE_S,
        weight,
        topic=topic,
        on_top=True,
    )


def _spoilt(name: str, topic: str, code: Code, change: Callable[[Any], object], weight: int = 4) -> Kind:
    def begin(play: Play) -> float:
        return play.changed(topic, change)

    return Kind(name, begin, (code,), CYCLE_S, weight, topic=topic, on_top=True, reading=True)


def _put(array: Any, value: float) -> None:
    array[0] = value


def _nan(message: Any) -> None:
    message.ranges = type(message.ranges)("f", [math.nan] * len(message.ranges))


KINDS = (
    Kind(
        "E-stop",
        lambda play: play.fault("estop", 0, for_s=0.2),
        (Code.ESTOP_OPEN,),
        0.08 + CYCLE_S,
        8,
        topic="estop",
        on_top=True,
    ),
    _silent("estop", Code.ESTOP_STALE, 0.3, 0.5),
    _silent("scan/front", Code.SCAN_STALE, 0.25, 0.4),
    _silent("scan/rear", Code.SCAN_STALE, 0.25, 0.4),
    _silent("joint_states", Code.JOINTS_STALE, 0.1, 0.2),
    _silent("gripper/state", Code.GRIPPER_STALE, 0.25, 0.4),
    Kind("broker unheard", lambda play: play.unheard("motion/state", 0.8), (Code.BROKER_STALE,), 0.6 + CYCLE_S),
    Kind("planner unheard", lambda play: play.unheard("job/state", 2.7), (Code.PLANNER_STALE,), 2.5 + CYCLE_S, 1),
    Kind(
        CLOCK_STANDS,
        lambda play: play.unheard("/clock", 0.7),
        (Code.CLOCK_JUMP, Code.JOINTS_STALE),
        0.5 + 2 * CYCLE_S,
    ),
    Kind("stop called", Play.stop, (Code.STOP_CALLED,), CYCLE_S, 8, on_top=True),
    Kind("second monitor", Play.rival, (Code.SECOND_MONITOR,), CYCLE_S, on_top=True),
    _spoilt("scan of nothing", "scan/front", Code.MALFORMED_INPUT, _nan),
    _spoilt("a joint at NaN", "joint_states", Code.MALFORMED_INPUT, lambda m: _put(m.position, math.nan)),
    _spoilt("a joint too far", "joint_states", Code.JOINT_POSITION, lambda m: _put(m.position, 9.0)),
    _spoilt("a joint too fast", "joint_states", Code.JOINT_SPEED, lambda m: _put(m.velocity, 9.0)),
    Kind(
        "vacuum lost",
        lambda play: play.fault("vacuum_leak", 1.0, for_s=1.0),
        (Code.CARTON_LOST,),
        1.0,
        1,
        possible=lambda play: bool(play.physics.suction.holding),
    ),
    Kind("a person", Play.walk, (Code.PERSON_NEAR,), 3.0, 2, slows=True),
    Kind("monitor killed", lambda play: play.dead(SAFETY, 0.5), (), 0.0, 6),
    Kind("monitor frozen", lambda play: play.frozen(SAFETY, 0.4), (), 0.0, 6),
    Kind("broker killed", lambda play: play.dead(BROKER, 0.8), (Code.BROKER_STALE,), 0.6 + CYCLE_S, 2),
)
