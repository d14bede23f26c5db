"""Motions planned in the broker's other process are those planned in this one, and end in time."""

import copyreg
import itertools
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from harness import CONFIG, World, parameters, pick_of, wall_of
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import OutcomeCode

from lumper_motion import node
from lumper_motion.stages import KnownCarton, Snapshot, StagePlanner
from lumper_motion.timing import Trajectory
from lumper_ros.core import GaveUpError
from lumper_ros.robot import load_robot, load_trailer
from lumper_ros.worker import Worker

G, C = ExecuteMotion.Goal, OutcomeCode
TARGET = 3 * 6 + 3


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def test_the_other_process_plans_the_same_motions(worker: Worker) -> None:
    assert copyreg.dispatch_table[StagePlanner] is node.send_planner
    world = World()
    world.cartons = wall_of()
    world.boot()
    compared = []

    def both(function: Callable[[], Any]) -> Any:
        here, there = function(), worker.run(function)
        if isinstance(here, Trajectory):
            assert np.array_equal(here.position, there.position)
            assert here.marks == there.marks
            compared.append(here.marks[0][0])
        else:
            assert here == there
        return there

    world.compute = both
    pick = pick_of(world.cartons[TARGET])
    assert world.ask(world.goal(G.PICK, pick)) == C.NONE
    assert world.ask(world.goal(G.PLACE, pick)) == C.NONE
    assert len(compared) >= 4


def test_a_search_ends_before_the_planning_deadline() -> None:
    post = np.eye(4)
    post[:3, 3] = (1.1, 0.45, 2.0)
    robot, trailer = load_robot(CONFIG / "robot"), load_trailer(CONFIG / "trailer.yaml")
    time_s = itertools.count(0.0, 1.0)
    home = robot.poses["home"]
    snapshot = Snapshot(
        home + np.array([-0.9, 0, 0, 0, 0, 0]), np.eye(4), (KnownCarton(1, post, (0.1, 0.1, 0.8)),), 1, None
    )
    goal = home + np.array([0.4, 0, 0, 0, 0, 0])
    deadline = parameters(planning_deadline_s=1.0)
    assert isinstance(StagePlanner(robot, trailer, deadline).to_pose(snapshot, goal), Trajectory)
    with pytest.raises(GaveUpError, match="in time"):
        StagePlanner(robot, trailer, deadline, lambda: next(time_s)).to_pose(snapshot, goal)


@pytest.mark.parametrize("fault", [GaveUpError("no path in time"), RuntimeError("a defect")])
def test_what_failed_while_it_was_planned_ahead_is_planned_again(fault: Exception) -> None:
    world = World()
    world.cartons = wall_of()
    world.boot()
    asked = []

    def first_fails(function: Callable[[], Any]) -> Any:
        asked.append(function)
        return fault if len(asked) == 2 else function()

    world.compute = first_fails
    assert world.ask(world.goal(G.PICK, pick_of(world.cartons[TARGET]))) == C.NONE
    # Approach, extract ahead, extract again, place ahead.
    assert len(asked) == 4


def test_a_motion_that_was_given_up_ends_as_timed_out() -> None:
    world = World().boot()
    world.compute = lambda function: GaveUpError("no path in time")
    request = world.send(world.goal(G.SCAN))
    assert world.finish(request) == C.PLANNING_TIMEOUT
    assert "no path in time" in world.results[request][1].text


def test_the_planner_of_the_other_process_knows_the_time() -> None:
    robot, trailer = load_robot(CONFIG / "robot"), load_trailer(CONFIG / "trailer.yaml")
    planner = pickle.loads(pickle.dumps(StagePlanner(robot, trailer, parameters())))
    assert planner._free._clock is time.monotonic
