"""A robot goes from trailer to trailer without being started again: the whole graph with the physics, in virtual time."""

import sys
from pathlib import Path

from lumper_msgs.msg import SafetyState, Wall
from lumper_msgs.srv import InjectFault

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faultsim"))
from robot_graph import FILES, RobotGraph

from lumper_ros import core as c
from lumper_ros.interfaces import SIM
from lumper_ros.parameters import from_mapping
from lumper_sim.node import build
from lumper_sim.parameters import SimParameters

CARTONS, LIMIT_S = 3, 120.0


def test_the_next_trailer_is_unloaded_by_the_same_nodes() -> None:
    made = from_mapping(SimParameters, FILES | {"cartons": CARTONS, "seed": 1, "load": "mixed"})
    events: list[str] = []
    safety: list[SafetyState] = []
    walls: list[Wall] = []

    def tap(now_s: float, node: str, effect: c.Effect) -> None:
        if isinstance(effect, c.Emit):
            events.append(effect.code)
        elif isinstance(effect, c.Publish) and effect.name == "safety/state":
            safety[:] = [effect.message]
        elif isinstance(effect, c.Publish) and effect.name == "wall":
            walls[:] = [effect.message]

    robot = RobotGraph(lambda: build(made), None, tap)
    graph = robot.graph
    robot.start()

    def unloaded() -> bool:
        return robot.client.result is not None

    assert graph.run(LIMIT_S, unloaded), events[-20:]
    first = robot.client.result
    seen = {carton.id for carton in walls[0].cartons}
    asked = InjectFault.Request(name="next_trailer", args=[2.0], duration_s=float("nan"))
    assert graph.call_service("sim/fault", asked).ok
    assert graph.run(graph.now_s + 5.0, lambda: "sim.trailer_docked" in events), "no trailer came"
    assert "next_trailer" in graph.call_service("sim/fault", InjectFault.Request(name="next_trailer")).text
    graph.run(graph.now_s + 3.0)
    # Nobody is needed: new cartons are no people, and nothing is latched by a trailer that changed.
    assert safety[0].mode == SafetyState.RUN and not safety[0].causes
    assert len(walls[0].cartons) == CARTONS and not seen & {carton.id for carton in walls[0].cartons}
    robot.client.want("next")
    assert graph.run(graph.now_s + LIMIT_S, unloaded), events[-20:]
    second = robot.client.result
    for result in (first, second):
        assert (result.delivered, result.dropped, result.protective_stops, result.assists) == (CARTONS, 0, 0, 0), result
    assert graph.core(SIM).world.counts().in_trailer == 0
