"""The node dies at every moment of a job and goes on after it: nothing is counted twice, nothing moves unseen."""

import json

import pytest
from fake_world import GOAL, FakeWorld, parameters, pile
from lumper_msgs.msg import JobState, OutcomeCode
from lumper_msgs.srv import JobCommand
from test_job import ended

from lumper_planner.record import JobRecord, Request, job_from_record
from lumper_ros.core import GoalStatus


def die_and_return(world: FakeWorld, away_s: float) -> None:
    world.kill()
    world.pass_time(away_s)
    world.restart()


@pytest.mark.parametrize("moment", [GOAL.PICK, GOAL.PLACE])
@pytest.mark.parametrize("away_s", [0.3, 2.0, 10.0])
@pytest.mark.parametrize("into_s", [0.1, 2.9])
def test_killed_in_a_motion(moment: int, away_s: float, into_s: float) -> None:
    world = FakeWorld(pile())
    world.unload("j")
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == moment and world.belt >= 1)
    world.pass_time(into_s)
    die_and_return(world, away_s)
    sent = len(world.sent)
    world.pass_time(5.0)
    assert len(world.sent) == sent, "moved before its client wanted it"
    assert world.state().phase == JobState.WAITING
    result = ended(world, world.unload("j"))
    assert result.outcome.code == OutcomeCode.NONE and result.delivered == 6 == world.belt and result.dropped == 0


@pytest.mark.parametrize("away_s", [0.1, 1.0, 5.0])
def test_killed_while_the_base_moves(away_s: float) -> None:
    world = FakeWorld({1: [4.0, 0.0, 0.15]})
    world.unload("j")
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == 100)
    world.pass_time(0.3)
    die_and_return(world, away_s)
    result = ended(world, world.unload("j"))
    assert result.outcome.code == OutcomeCode.NONE and result.delivered == 1


def test_killed_ten_times_over_a_job() -> None:
    world = FakeWorld(pile(rows=2))
    goal = world.unload("j")
    for _ in range(10):
        world.pass_time(4.7)
        if goal in world.finished:
            break
        die_and_return(world, 1.3)
        goal = world.unload("j")
    result = ended(world, goal)
    assert result.delivered == 12 == world.belt and result.dropped == 0


def test_the_world_is_looked_at_before_anything_moves() -> None:
    world = FakeWorld(pile())
    world.unload("j")
    assert world.run(lambda: (world.belt == 1 and world.active is None) or world.belt == 2)
    die_and_return(world, 5.0)
    world.camera = False
    sent = len(world.sent)
    world.unload("j")
    world.pass_time(10.0)
    assert [goal.kind for _, _, goal in world.sent[sent:]] in ([], [GOAL.SCAN])


def test_a_load_in_hand_is_laid_down_after_a_look() -> None:
    world = FakeWorld(pile())
    world.unload("j")
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PICK)
    die_and_return(world, 10.0)
    assert world.held
    sent = len(world.sent)
    ended(world, world.unload("j"))
    assert world.sent[sent][2].kind == GOAL.PLACE
    assert [int(carton) for carton in world.sent[sent][2].pick.carton_ids], "the load's geometry is lost"


def test_a_load_that_was_let_go_unseen_is_not_counted_as_delivered() -> None:
    world = FakeWorld(pile())
    world.unload("j")
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PLACE)
    world.kill()
    world.active = None
    world._fall(world.held)
    world.held = []
    world.restart()
    result = ended(world, world.unload("j"))
    assert result.dropped == 1 and result.delivered == 6 == world.belt


def test_something_unknown_on_the_gripper_is_asked_about() -> None:
    world = FakeWorld(pile())
    world.cartons[77] = [0.0, 0.0, 1.0]
    world.held = [77]
    world.unload("j")
    assert world.run(world.asked)
    assert "take it off" in world.questions[-1].text and not world.sent


def test_an_open_question_survives() -> None:
    world = FakeWorld({1: [1.9, 0.0, 0.15], 900: [1.9, 0.5, 0.15]})
    world.unload("j")
    assert world.run(world.asked)
    asked = world.questions[-1]
    die_and_return(world, 2.0)
    assert world.questions[-1].open and world.questions[-1].question_id == asked.question_id
    goal = world.unload("j")
    world.pass_time(1.0)
    assert world.answer("skip", [900]).accepted
    result = ended(world, goal)
    assert result.assists == 1 and result.skipped == 1


def test_a_pause_survives() -> None:
    world = FakeWorld(pile())
    world.unload("j")
    assert world.run(lambda: world.belt == 1)
    assert world.command(JobCommand.Request.PAUSE).accepted
    assert world.run(lambda: world.state().phase == JobState.PAUSED)
    die_and_return(world, 1.0)
    goal = world.unload("j")
    world.pass_time(20.0)
    assert world.state().phase == JobState.PAUSED
    assert world.command(JobCommand.Request.RESUME).accepted
    assert ended(world, goal).delivered == 6


def test_a_job_started_by_a_person_goes_on_by_itself() -> None:
    world = FakeWorld(pile())
    assert world.command(JobCommand.Request.START).accepted
    assert world.run(lambda: world.belt == 2)
    die_and_return(world, 1.0)
    assert world.run(lambda: world.state().phase == JobState.DONE)
    assert world.belt == 6


def test_another_job_is_refused_while_one_waits_and_a_person_may_resume_or_cancel_it() -> None:
    world = FakeWorld(pile())
    world.unload("j")
    assert world.run(lambda: world.belt == 1)
    die_and_return(world, 1.0)
    other = world.unload("other")
    assert world.finished[other][1].outcome.code == OutcomeCode.BUSY and "j" in world.finished[other][1].text
    world.pass_time(1.0)
    assert world.command(JobCommand.Request.RESUME).accepted
    assert world.run(lambda: world.belt == 3)
    die_and_return(world, 1.0)
    assert world.command(JobCommand.Request.CANCEL).accepted
    assert world.run(lambda: world.state().phase == JobState.FAILED)
    assert not world.held and "Ada" in world.state().text


def test_a_client_may_join_its_job_again_after_a_person_resumed_it() -> None:
    world = FakeWorld(pile())
    world.unload("j")
    assert world.run(lambda: world.belt == 1)
    die_and_return(world, 1.0)
    world.pass_time(1.0)
    assert world.command(JobCommand.Request.RESUME).accepted
    assert world.run(lambda: world.belt == 3)
    assert ended(world, world.unload("j")).delivered == 6


@pytest.mark.parametrize("cancelled", [False, True])
def test_the_newest_goal_of_a_job_gets_its_result(cancelled: bool) -> None:
    """A client that never heard that its goal was accepted sends another one for the same job."""
    world = FakeWorld(pile())
    unheard = world.unload("j")
    assert world.run(lambda: world.belt == 1)
    if cancelled:
        world.tell(lambda core: core.cancel("unload", unheard, world.now()))
    again = world.unload("j")
    status, result = world.finished[unheard]
    assert status is (GoalStatus.CANCELED if cancelled else GoalStatus.ABORTED)
    assert result.outcome.code == OutcomeCode.BUSY and "newer goal" in result.text
    result = ended(world, again)
    assert result.outcome.code == (OutcomeCode.JOB_CANCELLED if cancelled else OutcomeCode.NONE)
    assert cancelled or result.delivered == 6
    assert world.finished[again][0] is (GoalStatus.ABORTED if cancelled else GoalStatus.SUCCEEDED)


def test_a_job_that_failed_can_be_taken_up_again_and_one_that_is_done_gives_its_first_result() -> None:
    world = FakeWorld(pile())
    goal = world.unload("j")
    assert world.run(lambda: world.belt == 2)
    world.camera = False
    assert ended(world, goal).outcome.code == OutcomeCode.WALL_STALE
    world.camera = True
    again = ended(world, world.unload("j"))
    assert again.outcome.code == OutcomeCode.NONE and again.delivered == 6
    sent = len(world.sent)
    third = world.unload("j")
    assert world.finished[third][1].delivered == 6 and len(world.sent) == sent


def test_a_damaged_record_is_reported_and_left_alone() -> None:
    world = FakeWorld(pile())
    world.records["job"] = {"old": json.dumps({"job_id": "old", "what": 1})}
    world.restart()
    assert "old" in world.diagnoses["job record"].text
    assert ended(world, world.unload("j")).outcome.code == OutcomeCode.NONE


def test_deactivation_keeps_the_job() -> None:
    world = FakeWorld(pile())
    goal = world.unload("j")
    assert world.run(lambda: world.belt == 1 and world.active is not None)
    world.tell(lambda core: core.deactivate(world.now()))
    assert world.finished[goal][1].outcome.code == OutcomeCode.JOB_CANCELLED
    world.kill()
    world.pass_time(3.0)
    world.restart()
    assert ended(world, world.unload("j")).delivered == 6 == world.belt


def test_records_come_back_as_they_were() -> None:
    job = JobRecord("j", "client", in_flight=Request("r", 1, 2.0, 1.0, pick={"carton_ids": [1]}), failed={"3": 1})
    assert job_from_record(json.loads(json.dumps(job.to_record()))) == job


def test_a_clock_that_starts_anew_does_not_make_the_wall_look_old() -> None:
    world = FakeWorld(pile(), parameters(), ros_s=5000.0)
    world.unload("j")
    assert world.run(lambda: world.belt == 1)
    world.kill()
    world.active, world._heap = None, []
    fresh = FakeWorld(pile(), records=world.records, ros_s=1.0)
    result = ended(fresh, fresh.unload("j"))
    assert result.outcome.code == OutcomeCode.NONE and fresh.belt == 6
