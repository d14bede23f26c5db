"""Malformed messages, requests and goals at every core, directly: no exception may come of it, and no motion.

python test/faultsim/fuzz.py 1000000 --seed 1        so many inputs, shared among the cores
"""

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from light_minds import LightBroker
from light_scan import SAFETY_PARAMETERS
from light_world import ARM
from malformed import pool
from robot_graph import FILES, RobotGraph, robot_files
from scenario import KEY, Scenario, _kinematics, build
from transport import FaultyTransport

from lumper_motion.parameters import MotionParameters
from lumper_ros import core as c
from lumper_ros import interfaces
from lumper_ros.interfaces import BROKER, MARKERS, PANEL, PERCEPTION, PLANNER, SAFETY
from lumper_ros.parameters import from_mapping
from lumper_ros.virtual import SYSTEM_S
from lumper_view.core import MarkersCore, PanelCore
from lumper_view.parameters import MarkersParameters, PanelParameters

POOL = 400
# A clock that runs on, and now and then not.
STEP_S = 0.004
FRESH_EVERY = 20_000


@dataclass(slots=True)
class Report:
    """What came of a fuzzing run."""

    inputs: int = 0
    motions: int = 0
    seconds: float = 0.0
    by_core: Counter[str] = field(default_factory=Counter)
    crashes: dict[str, str] = field(default_factory=dict)  # where -> traceback


def captured(seed: int = 1) -> dict[str, list[Any]]:
    """Real messages by topic, and real goals by action, of one short job."""
    seen: dict[str, list[Any]] = {}

    def tap(now_s: float, node: str, effect: c.Effect) -> None:
        match effect:
            case c.Publish(name, message):
                seen.setdefault(name, []).append(message)
            case c.SendGoal(name, _, goal):
                seen.setdefault(name, []).append(goal)
            case c.CallService(name, _, request):
                seen.setdefault(name, []).append(request)

    transport = FaultyTransport()
    robot = build(Scenario(seed, 2, (), True), transport, tap, None)
    transport.bind(robot.graph)
    robot.start()
    robot.graph.run(9.0)
    return {name: messages[:: max(1, len(messages) // 60)] for name, messages in seen.items()}


def cores() -> dict[str, Callable[[], c.Core]]:
    """What makes a core of each deciding node: the robot's own."""
    robot, trailer = robot_files()
    light = RobotGraph(c.Core, key=KEY, safety_monitor=SAFETY_PARAMETERS)
    motion = from_mapping(MotionParameters, FILES)
    return {
        SAFETY: light.graph._members[SAFETY].build,
        PERCEPTION: light.graph._members[PERCEPTION].build,
        BROKER: lambda: LightBroker(motion, robot, trailer, KEY, _kinematics()),
        PLANNER: light.graph._members[PLANNER].build,
        MARKERS: lambda: MarkersCore(from_mapping(MarkersParameters, FILES), robot, trailer),
        PANEL: lambda: PanelCore(from_mapping(PanelParameters, FILES), robot, trailer, "token-of-a-test", KEY),
    }


class Fuzzer:
    """Feeds one core. Every so many inputs the core is a new one, so that no state hides the rest."""

    def __init__(self, name: str, build_core: Callable[[], c.Core], templates: dict[str, list[Any]], seed: int) -> None:
        self._name, self._build, self._rng = name, build_core, random.Random(seed)
        self._inputs: list[tuple[str, str, list[Any]]] = []
        for topic in interfaces.subscribed_by(name):
            self._add("message", topic.name, interfaces.resolve_type(topic.type), templates)
        for service in interfaces.SERVICES.values():
            if service.server == name:
                self._add("service", service.name, interfaces.resolve_type(service.type).Request, templates)
        for action in interfaces.ACTIONS.values():
            kind = interfaces.resolve_type(action.type)
            if action.server == name:
                self._add("goal", action.name, kind.Goal, templates)
            if name in action.clients:
                self._add("feedback", action.name, kind.Feedback, {})
                self._add("result", action.name, kind.Result, {})
        self._fresh()

    def _add(self, how: str, name: str, kind: Any, templates: dict[str, list[Any]]) -> None:
        self._inputs.append((how, name, pool(templates.get(name) or [kind()], POOL, self._rng)))

    def _fresh(self) -> None:
        self._core = self._build()
        self._time_s = self._rng.choice((10.0, 15.0))
        self._sent: dict[str, list[str]] = {}
        self._computes: list[tuple[str, Callable[[], Any]]] = []
        self._core.restore({}, self._now())
        self._core.activate(self._now())

    def _now(self) -> c.Now:
        return c.Now(self._time_s, 1000.0 + self._time_s, SYSTEM_S + self._time_s)

    def run(self, count: int, report: Report) -> None:
        for number in range(count):
            if number % FRESH_EVERY == FRESH_EVERY - 1:
                self._fresh()
            self._time_s += STEP_S
            how, name, made = self._rng.choice(self._inputs)
            message = self._rng.choice(made)
            try:
                effects = list(self._step(how, name, message))
                if number % 8 == 0:
                    effects += self._core.tick(self._now())
                if self._computes and number % 50 == 0:
                    effects += self._compute()
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{self._name} {how} {name}: {type(error).__name__} at {place.filename.rsplit('/', 1)[-1]}:{place.lineno}"
                report.crashes.setdefault(where, f"{message}\n{traceback.format_exc()}")
                self._fresh()
                continue
            for effect in effects:
                if isinstance(effect, c.SendGoal):
                    report.motions += effect.name == ARM
                    self._sent.setdefault(effect.name, []).append(effect.goal_id)
                elif isinstance(effect, c.Compute):
                    self._computes.append((effect.tag, effect.function))
        report.inputs += count
        report.by_core[self._name] += count

    def _step(self, how: str, name: str, message: Any) -> c.Effects:
        core, now = self._core, self._now()
        if how == "message":
            return core.message(name, message, now)
        if how == "service":
            return core.service(name, message, now)
        goal_id = self._rng.choice(self._sent.get(name, [])[-3:] or [f"{self._rng.getrandbits(128):032x}"])
        if how == "goal":
            return core.goal(name, f"{self._rng.getrandbits(128):032x}", message, now)
        if how == "feedback":
            return core.goal_feedback(name, goal_id, message, now)
        return core.goal_result(name, goal_id, self._rng.choice(list(c.GoalStatus)), message, now)

    def _compute(self) -> c.Effects:
        tag, function = self._computes.pop(0)  # in order, as the host does
        try:
            result = function()
        except Exception as error:  # the live host hands it on as well
            result = error
        return self._core.computed(tag, result, self._now())


def show(crashes: dict[str, str]) -> None:
    """Print the end of each kind of crash."""
    for where, text in crashes.items():
        print(f"CRASH {where}\n{text[-1500:]}", flush=True)


def fuzz(count: int, seed: int, shares: dict[str, float] | None = None) -> Report:
    """`count` inputs, shared among the cores by `shares`."""
    report, templates = Report(), captured()
    begun = time.process_time()
    made = cores()
    weights = shares or dict.fromkeys(made, 1.0)
    total = sum(weights.values())
    for number, (name, build_core) in enumerate(made.items()):
        share = int(count * weights.get(name, 0.0) / total)
        if share:
            Fuzzer(name, build_core, templates, seed + number).run(share, report)
    report.seconds = time.process_time() - begun
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    report = fuzz(options.count, options.seed)
    show(report.crashes)
    print(
        f"{report.inputs} inputs {dict(report.by_core)} in {report.seconds:.0f} s CPU, "
        f"{report.inputs / max(report.seconds, 1e-9):.0f} per s: {len(report.crashes)} kinds of crash, {report.motions} motions"
    )
    return 1 if report.crashes or report.motions else 0


if __name__ == "__main__":
    sys.exit(main())
