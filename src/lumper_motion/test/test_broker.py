"""The broker as a whole, in virtual time: requests done, refused, stopped, told."""

import numpy as np
import pytest
from harness import World, pick_of, wall_of
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode

from lumper_ros.core import GoalStatus

G, B, C = ExecuteMotion.Goal, BrokerState, OutcomeCode


@pytest.fixture
def world() -> World:
    made = World()
    made.cartons = wall_of()
    return made.boot()


def test_pick_then_place_then_home(world: World) -> None:
    target = world.cartons[3 * 6 + 3]
    begun = world.time_s
    pick = world.send(world.goal(G.PICK, pick_of(target)))
    assert world.finish(pick) == C.NONE, world.results[pick]
    assert world.results[pick][0] is GoalStatus.SUCCEEDED
    assert world.results[pick][1].holding_carton
    assert world.state.held_carton_ids.tolist() == [target.id]
    assert [s.stage for s in world.results[pick][1].stages] == ["approach", "grasp", "extract"]
    place = world.send(world.goal(G.PLACE, pick_of(target)))
    assert world.finish(place) == C.NONE, world.results[place]
    assert not world.results[place][1].holding_carton
    cycle_s = world.time_s - begun
    print(
        "cycle", cycle_s, [(s.stage, round(s.duration_s, 2)) for i in (pick, place) for s in world.results[i][1].stages]
    )
    assert cycle_s < 9.0
    assert world.ask(world.goal(G.HOME)) == C.NONE
    assert np.allclose(world.position, world.robot.poses["home"], atol=1e-3)
    assert world.ask(world.goal(G.SCAN)) == C.NONE
    assert np.allclose(world.position, world.robot.poses["scan"], atol=1e-3)
    assert world.peak_speed <= 1.0
    assert world.peak_accel <= 1.02
    assert world.state.dispatched_without_permit == 0
