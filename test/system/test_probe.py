"""Two cartons that look like one, with the physics: a small pull at one end parts them in the picture, and both are delivered."""

import sys
from pathlib import Path
from typing import Any

import pytest
from lumper_msgs.action import ExecuteMotion

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faultsim"))
from robot_graph import FILES, RobotGraph, camera_of, robot_files

from lumper_ros import core as c
from lumper_ros.interfaces import PLANNER
from lumper_ros.parameters import from_mapping
from lumper_sim.core import SimCore
from lumper_sim.loads import CartonSpec
from lumper_sim.parameters import SimParameters
from lumper_sim.world import World, WorldSpec

TWIN_M, FRONT_M = 0.25, 5.0
LIMIT_S = 120.0


def load() -> list[CartonSpec]:
    """Three columns of three; on top of the middle one stand two equal cartons, flush, side by side."""
    cartons, left = [], -0.42 - TWIN_M
    for width, twins in ((0.42, False), (2.0 * TWIN_M + 0.001, True), (0.42, False)):
        bottom, y = 0.0, left + width / 2.0
        for layer, height in enumerate((0.32, 0.36, 0.33)):
            z = bottom + height / 2.0
            if twins and layer == 2:
                cartons += [
                    CartonSpec(
                        (0.35, TWIN_M, height), 9.0, 0.5, (FRONT_M + 0.175, y + side * (TWIN_M + 0.001) / 2.0, z)
                    )
                    for side in (-1, 1)
                ]
            else:
                depth = 0.35 + 0.02 * layer
                cartons.append(CartonSpec((depth, width, height), 8.0, 0.5, (FRONT_M + depth / 2.0, y, z)))
            bottom += height + 0.0005
        left += width + 0.006
    return cartons


def test_a_face_in_doubt_is_pulled_at_and_both_of_its_cartons_are_delivered() -> None:
    cartons = load()
    twins = [row for row, carton in enumerate(cartons) if carton.size_m[1] == TWIN_M]
    robot, trailer = robot_files()
    made = from_mapping(SimParameters, FILES | {"cartons": 20} | camera_of("cloud"))
    sims: list[SimCore] = []
    events: list[str] = []
    probes: list[int] = []
    walls: list[Any] = []

    def build() -> SimCore:
        spec = WorldSpec(robot, trailer, own_cartons=tuple(cartons), cartons=len(cartons), stand_off_m=made.stand_off_m)
        sims.append(SimCore(made, World(spec)))
        sims[-1]._colours[twins[1]] = sims[-1]._colours[twins[0]]
        return sims[-1]

    def tap(now_s: float, node: str, effect: c.Effect) -> None:
        if isinstance(effect, c.Emit):
            events.append(effect.code)
        elif isinstance(effect, c.Publish) and effect.name == "wall":
            walls[:] = [effect.message]
        elif (
            isinstance(effect, c.SendGoal)
            and node == PLANNER
            and getattr(effect.goal, "kind", 0) == ExecuteMotion.Goal.PROBE
        ):
            probes.append(int(effect.goal.pick.carton_ids[0]))

    robot_graph = RobotGraph(build, None, tap, perception_intake={"detector": "cloud"})
    robot_graph.start()
    graph, planner = robot_graph.graph, robot_graph.graph.core(PLANNER)

    def wide() -> list[Any]:
        """What is seen of the two as one."""
        return [
            carton
            for carton in (walls[0].cartons if walls else ())
            if carton.size_m.y > 1.8 * TWIN_M and carton.pose.position.z > 0.7
        ]

    graph.run(LIMIT_S, lambda: bool(wide()) and planner._u.job is not None)
    (face,) = wide()
    # As after a loss in the pull; here, where the two are light enough to be taken together, nothing is lost.
    at = face.pose.position
    planner._u.job.doubted[str(face.id)] = [at.x - face.size_m.x / 2.0, at.y, at.z, face.size_m.y]
    graph.run(LIMIT_S, lambda: "carton.probed" in events)
    assert probes == [face.id]
    graph.run(graph.now_s + 3.0)
    seen = [
        carton.size_m.y
        for carton in walls[0].cartons
        if abs(carton.pose.position.y - at.y) < TWIN_M and carton.pose.position.z > 0.7
    ]
    # Between the two a strip of the one behind is hidden.
    assert seen == pytest.approx([TWIN_M, TWIN_M], abs=0.01)
    graph.run(LIMIT_S, lambda: robot_graph.client.result is not None)
    result = robot_graph.client.result
    assert result is not None and result.delivered == len(cartons), result
    assert result.dropped == 0 and sims[-1].world.counts().falls == 0
    assert "perception.moved_untouched" not in events
