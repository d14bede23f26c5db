"""The job from goal to result, against the test's world."""

import itertools

from fake_world import GOAL, FakeWorld, parameters, pile
from lumper_msgs.action import Unload
from lumper_msgs.msg import JobState, OutcomeCode

from lumper_ros.core import GoalStatus


def ended(world: FakeWorld, goal: str, limit_s: float = 900.0) -> Unload.Result:
    assert world.run(lambda: goal in world.finished, limit_s), f"still: {world.state().phase} {world.state().text}"
    return world.finished[goal][1]


def test_a_trailer_is_emptied() -> None:
    world = FakeWorld(pile(rows=3))
    goal = world.unload()
    result = ended(world, goal)
    assert world.finished[goal][0] is GoalStatus.SUCCEEDED
    assert result.outcome.code == OutcomeCode.NONE and result.empty_confirmed
    assert result.delivered == 18 == world.belt and result.left == 0 and result.dropped == 0
    assert world.kinds().count(GOAL.PICK) == world.kinds().count(GOAL.PLACE) == 18
    assert 100 in world.kinds(), "the base never advanced"
    assert world.state().phase == JobState.DONE
    assert result.cases_per_hour > 400
    assert {"sense", "plan", "base"} <= {stage.stage for stage in result.stages}


def test_the_next_pick_follows_the_place_at_once() -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    ended(world, goal)
    kinds = [kind for kind in world.kinds() if kind != GOAL.SCAN]
    assert kinds == [GOAL.PICK, GOAL.PLACE] * 6
    # One look before the first pick and one to confirm that the trailer is empty.
    assert world.kinds().count(GOAL.SCAN) <= 2


def test_stops_after_the_count_asked_for() -> None:
    world = FakeWorld(pile())
    goal = world.unload(stop_when=Unload.Goal.UNTIL_COUNT, max_cartons=2)
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.COUNT_REACHED and result.delivered == 2 == world.belt
    assert world.finished[goal][0] is GoalStatus.SUCCEEDED and not result.empty_confirmed


def test_absence_of_cartons_is_not_emptiness() -> None:
    world = FakeWorld({})
    world.says_empty = False
    goal = world.unload()
    assert world.run(world.asked)
    assert goal not in world.finished
    assert world.answer("give_up").accepted
    assert ended(world, goal).outcome.code == OutcomeCode.NEEDS_PERSON


def test_state_goes_out_every_second() -> None:
    world = FakeWorld({1: [1.9, 0.0, 0.15]}, parameters(look_timeout_s=60.0))
    world.camera = False
    world.unload()
    world.pass_time(20.0)
    stamps = [state.stamp.sec + state.stamp.nanosec * 1e-9 for state in world.states]
    assert max(b - a for a, b in itertools.pairwise(stamps)) <= 1.0
