"""What the job does when safety stops the robot. The permit itself is the broker's affair."""

import pytest
from fake_world import GOAL, FakeWorld, pile, stop_cause
from lumper_msgs.msg import JobState, OutcomeCode, SafetyState
from lumper_msgs.srv import JobCommand
from test_job import ended


def stop(world: FakeWorld, *, latched: bool, mode: int = SafetyState.PROTECTIVE_STOP) -> None:
    world.mode, world.causes = mode, [stop_cause(latched=latched)]
    world._safety()
    world._broker()
    world.stop_motion()


def clear(world: FakeWorld) -> None:
    world.mode, world.causes = SafetyState.RUN, []


@pytest.mark.parametrize("moment", [GOAL.PICK, GOAL.PLACE])
def test_after_a_person_walked_by_the_job_goes_on_by_itself(moment: int) -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == moment)
    world.pass_time(1.0)
    stop(world, latched=False)
    sent = len(world.sent)
    world.pass_time(10.0)
    assert len(world.sent) == sent and world.state().phase == JobState.WAITING
    assert "person 0.8 m away" in world.state().text
    clear(world)
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.NONE and result.delivered == 6 and result.protective_stops == 1


def test_a_strangers_permit_does_not_end_a_stop_for_the_job() -> None:
    world = FakeWorld(pile())
    world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PICK)
    genuine = world.core.unloading.world.safety
    stop(world, latched=False)
    for _ in range(3):
        world._send("safety/state", SafetyState(mode=SafetyState.RUN, sequence=10_000))
        world._send("safety/state", genuine)
        world._safety()
        world.pass_time(0.1)
    assert world.state().phase == JobState.WAITING and world.state().protective_stops == 1
    assert world.core.unloading.world.faults["safety/state"] == 6


@pytest.mark.parametrize("mode", [SafetyState.PROTECTIVE_STOP, SafetyState.EMERGENCY_STOP])
def test_after_a_latched_stop_the_job_waits_for_its_own_command(mode: int) -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PICK)
    world.pass_time(1.0)
    stop(world, latched=True, mode=mode)
    sent = len(world.sent)
    world.pass_time(5.0)
    refused = world.command(JobCommand.Request.RESUME)
    assert not refused.accepted and "reset" in refused.text
    clear(world)
    world.pass_time(20.0)
    assert len(world.sent) == sent, "a reset alone set the robot in motion"
    assert world.state().phase == JobState.PAUSED
    assert world.command(JobCommand.Request.RESUME).accepted
    result = ended(world, goal)
    assert result.delivered == 6 and result.protective_stops == 1


@pytest.mark.parametrize("by_person", [False, True])
def test_a_job_that_begins_during_a_latched_stop_waits_for_resume_as_well(by_person: bool) -> None:
    world = FakeWorld(pile())
    stop(world, latched=True)
    world.pass_time(1.0)
    if by_person:
        assert world.command(JobCommand.Request.START).accepted
    else:
        world.unload()
    world.pass_time(2.0)
    clear(world)
    world.pass_time(20.0)
    assert not world.sent, "a reset alone set the robot in motion"
    assert world.command(JobCommand.Request.RESUME).accepted
    assert world.run(lambda: world.belt == 6)


def test_after_a_stop_the_load_is_looked_at_before_the_next_pick() -> None:
    world = FakeWorld(pile())
    world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PLACE)
    stop(world, latched=False)
    world.camera = False
    world.pass_time(1.0)
    clear(world)
    sent = len(world.sent)
    world.pass_time(10.0)
    assert GOAL.PICK not in [goal.kind for _, _, goal in world.sent[sent:]]


def test_a_silent_safety_monitor_is_waited_for() -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.belt == 1)
    world.safety_alive = False
    world.stop_motion()
    world.pass_time(1.0)
    sent = len(world.sent)
    world.pass_time(10.0)
    assert len(world.sent) == sent and "silent" in world.state().text
    world.safety_alive = True
    assert ended(world, goal).delivered == 6


def test_the_base_stops_with_the_permit_and_that_is_no_fault_of_the_base() -> None:
    world = FakeWorld({1: [4.0, 0.0, 0.15]})
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == 100)
    for _ in range(4):
        world.mode, world.causes = SafetyState.PROTECTIVE_STOP, [stop_cause(latched=False)]
        world.pass_time(3.0)
        assert world.active is None
        clear(world)
        assert world.run(lambda: world.active is not None and world.kinds()[-1] == 100)
    assert ended(world, goal).outcome.code == OutcomeCode.NONE


@pytest.mark.parametrize("jammed", [True, False])
def test_a_blocked_conveyor_is_waited_for_with_the_reason_in_words(jammed: bool) -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.belt == 1)
    world.jammed, world.conveyor_ready = jammed, False
    world.pass_time(15.0)
    sent = len(world.sent)
    world.pass_time(60.0)
    assert len(world.sent) == sent and world.state().phase == JobState.WAITING
    assert ("jammed" if jammed else "blocked") in world.state().text
    world.jammed, world.conveyor_ready = False, True
    assert ended(world, goal).delivered == 6


def test_the_base_moves_only_with_the_arm_folded_and_empty() -> None:
    world = FakeWorld(pile(rows=4))
    ended(world, world.unload())
    kinds = world.kinds()
    moves = [index for index, kind in enumerate(kinds) if kind == 100]
    assert moves and all(kinds[index - 1] == GOAL.SCAN for index in moves)


def test_who_or_what_keeps_the_arm_from_moving_for_long_is_asked_about_until_it_is_gone() -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PICK)
    stop(world, latched=False)
    world.pass_time(18.0)
    assert not world.questions, "people walk by"
    world.pass_time(4.0)
    first = world.questions[-1]
    assert first.open and first.code.code == OutcomeCode.STOPPED_BY_SAFETY and "person 0.8 m away" in first.text
    assert world.answer("look_again").accepted
    world.pass_time(18.0)
    assert not world.questions[-1].open
    world.pass_time(4.0)
    assert world.questions[-1].open and world.questions[-1].question_id != first.question_id, "it is still there"
    clear(world)
    result = ended(world, goal)
    assert not world.questions[-1].open and "the way is free" in world.questions[-1].answered_by
    assert result.outcome.code == OutcomeCode.NONE and result.delivered == 6 and result.assists == 2


def test_a_stop_that_somebody_called_is_no_question() -> None:
    world = FakeWorld(pile())
    world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PICK)
    stop(world, latched=True)
    world.pass_time(60.0)
    assert not world.questions
