"""The job from goal to result, against the test's world."""

import itertools

from fake_world import GOAL, FakeWorld, parameters, pile, stop_cause
from lumper_msgs.action import Unload
from lumper_msgs.msg import JobState, OutcomeCode

from lumper_planner.tree import build_tree
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


def test_the_same_inputs_give_the_same_effects() -> None:
    runs = []
    for _ in range(2):
        world = FakeWorld(pile(rows=2), script={GOAL.PICK: [0, OutcomeCode.GRASP_NOT_MADE]})
        ended(world, world.unload())
        runs.append((world.sent, world.plans, world.states, world.events, world.records))
    assert runs[0] == runs[1]


def test_no_request_id_is_used_twice_in_a_jobs_lives() -> None:
    world = FakeWorld(pile(rows=2))
    goal = world.unload("j")
    for _ in range(6):
        world.pass_time(5.0)
        world.kill()
        world.pass_time(0.2)
        world.restart()
        goal = world.unload("j")
    ended(world, goal)
    ids = [goal_id for _, goal_id, _ in world.sent]
    assert len(ids) == len(set(ids))


def test_texts_that_only_count_on_are_no_reason_to_publish() -> None:
    world = FakeWorld(pile())
    world.unload()
    world.mode = 3
    for step in range(100):
        world.causes = [stop_cause(latched=False)]
        world.causes[0].text = f"scan/front: {step / 10:.1f} s old"
        world.pass_time(0.1)
    assert len(world.states) <= 20


def test_the_tree_asks_what_matters_most_first() -> None:
    tree = build_tree(FakeWorld({}).core.unloading)
    leaves = [leaf.name for leaf in tree.iterate() if not leaf.children]
    assert (
        leaves.index("cancelled") < leaves.index("under_way") < leaves.index("forbidden") < leaves.index("load_in_hand")
    )
    assert leaves.index("forbidden") < leaves.index("driving_back") < leaves.index("looking") < leaves.index("taking")
    assert leaves.index("looking") < leaves.index("empty") < leaves.index("planning") < leaves.index("advancing")
