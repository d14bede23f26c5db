"""Recordings made by the generators: a job on the virtual graph, written as the live recorder would, without waiting for anything."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message

from lumper_replay.writer import BagWriter, Limits
from lumper_ros import core as c
from lumper_ros import interfaces, journal

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "test" / "faultsim"))

import robot_graph  # noqa: E402

START_NS = 1_800_000_000_000_000_000


class Recording:
    """Taps a virtual robot into a bag."""

    def __init__(self, folder: Path, custom: dict[str, str] | None = None, limits: Limits | None = None) -> None:
        self.writer = BagWriter(folder, limits, custom=custom)
        self.now_s = 0.0

    def write(self, name: str, message: Any) -> None:
        row = interfaces.TOPICS[name]
        absolute = name if name.startswith("/") else f"/{name}"
        self.writer.add_topic(absolute, row.type, [])
        self.writer.write(absolute, START_NS + round(self.now_s * 1e9), serialize_message(message))

    def tap(self, now_s: float, node: str, effect: c.Effect) -> None:
        self.now_s = now_s
        if isinstance(effect, c.Publish):
            self.write(effect.name, effect.message)

    def wrap(self, name: str, parameters: Any, build: Callable[[], c.Core]) -> Callable[[], c.Core]:
        def journalled() -> c.Core:
            made = journal.Journalled(build(), name, parameters, through_wire=True)
            made.open(lambda batch: self.write(journal.TOPIC, batch))
            return made

        return journalled


def parameters_of(name: str, given: dict[str, Any]) -> Any:
    from lumper_replay.cores import maker
    from lumper_ros.parameters import from_mapping

    files = robot_graph.FILES | (robot_graph.CAUSES if name == interfaces.SAFETY else {})
    signed = {} if name == interfaces.PERCEPTION else {"authentication": False}
    return from_mapping(maker(name).parameters, files | signed | given)


def record_job(
    folder: Path, *, cartons: int = 20, seed: int = 1, limit_s: float = 60.0, deliver: int = 0, load: str = "mixed",
    disturb: Callable[[Any, float], None] | None = None, **parameters: dict[str, Any],
) -> Any:  # fmt: skip
    """Record a job; returns the robot.

    Args:
        deliver: stop after so many cartons; 0 = go on until `limit_s` of virtual time.
        disturb: called each virtual second with the robot and the time: faults, people, commands.
    """
    from lumper_ros.parameters import from_mapping
    from lumper_sim.node import build as build_sim
    from lumper_sim.parameters import SimParameters

    made = from_mapping(SimParameters, robot_graph.FILES | {"cartons": cartons, "seed": seed, "load": load})
    recording = Recording(folder, {"lumper.generator": f"virtual job, {cartons} cartons, seed {seed}"})
    robot = robot_graph.RobotGraph(lambda: build_sim(made), None, recording.tap, **parameters)
    for name in robot_graph.DECIDING:
        member = robot.graph._members[name]
        member.build = recording.wrap(name, parameters_of(name, parameters.get(name, {})), member.build)
    robot.start()
    graph = robot.graph

    def done() -> bool:
        return robot.client.result is not None

    while graph.now_s < limit_s and not done():
        graph.run(graph.now_s + 1.0, done)
        if disturb is not None:
            disturb(robot, graph.now_s)
        if deliver and robot.graph.core(interfaces.SIM).world.counts().delivered >= deliver:
            break
    for name in robot_graph.DECIDING:
        graph.core(name).flush()
    recording.writer.close()
    return robot
