"""Every way in which a motion can fail, and every way in which a job can end without success."""

import json

import pytest
from fake_world import GOAL, FakeWorld, parameters, pile
from geometry_msgs.msg import TransformStamped
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, JobState, OutcomeCode
from test_job import ended
from tf2_msgs.msg import TFMessage

from lumper_planner.unloading import Choice, ChoiceRequest
from lumper_ros import core as c
from lumper_ros.core import GoalStatus

CARTON_CODES = [
    OutcomeCode.GRASP_NOT_MADE,
    OutcomeCode.UNREACHABLE,
    OutcomeCode.IN_COLLISION,
    OutcomeCode.PLANNING_TIMEOUT,
    OutcomeCode.OVERLOADED,
    OutcomeCode.MALFORMED,
    OutcomeCode.OUT_OF_WORKSPACE,
]
LOOK_CODES = [
    OutcomeCode.UNKNOWN_WALL_VERSION,
    OutcomeCode.PREEMPTED,
    OutcomeCode.CANCELLED,
    OutcomeCode.WALL_CHANGED,
    OutcomeCode.UNKNOWN_AFTER_RESTART,
]
FAULT_CODES = [
    OutcomeCode.CONTROLLER_FAULT,
    OutcomeCode.TOLERANCE_VIOLATED,
    OutcomeCode.NOT_PERMITTED,
    OutcomeCode.QUEUE_FULL,
    OutcomeCode.DEADLINE_PAST,
    OutcomeCode.DEADLINE_PASSED,
    OutcomeCode.DUPLICATE_IN_FLIGHT,
    OutcomeCode.UNKNOWN_FRAME,
    OutcomeCode.BUSY,
    OutcomeCode.INTERNAL,
]


@pytest.mark.parametrize("code", CARTON_CODES + LOOK_CODES + FAULT_CODES)
def test_one_failed_pick_is_tried_again(code: int) -> None:
    world = FakeWorld(pile(), script={GOAL.PICK: [0, code]})
    result = ended(world, world.unload())
    assert result.outcome.code == OutcomeCode.NONE and result.delivered == 6 == world.belt
    assert any(event.code == "motion.failed" for event in world.events)
    assert not world.questions


@pytest.mark.parametrize("code", [*LOOK_CODES, *FAULT_CODES, OutcomeCode.CONVEYOR_NOT_READY, OutcomeCode.IN_COLLISION])
def test_one_failed_place_is_tried_again_with_the_load_in_hand(code: int) -> None:
    world = FakeWorld(pile(), script={GOAL.PLACE: [0, code]})
    result = ended(world, world.unload())
    assert result.outcome.code == OutcomeCode.NONE and result.delivered == 6 == world.belt and result.dropped == 0


def refuse(world: FakeWorld, kind: int, *, holding: bool) -> None:
    """The broker refuses a request of a kind, and says of the gripper what it wrongly believes."""
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == kind)
    assert world.active is not None
    goal_id, world.active = world.active[0], None
    result = ExecuteMotion.Result(outcome=OutcomeCode(code=OutcomeCode.NOT_PERMITTED), holding_carton=holding)
    world.tell(lambda core: core.goal_result("motion/execute", goal_id, GoalStatus.ABORTED, result, world.now()))
    world._broker()


def test_a_refused_place_has_lost_nothing_whatever_it_says_of_the_gripper() -> None:
    world = FakeWorld(pile(layers=1))
    goal = world.unload()
    refuse(world, GOAL.PLACE, holding=False)
    result = ended(world, goal)
    assert result.delivered == 3 == world.belt and result.dropped == 0


def test_a_refused_pick_has_taken_nothing_whatever_it_says_of_the_gripper() -> None:
    world = FakeWorld(pile(layers=1))
    goal = world.unload()
    refuse(world, GOAL.PICK, holding=True)
    assert world.core.unloading.job is not None and world.core.unloading.job.load is None
    result = ended(world, goal)
    assert result.delivered == 3 == world.belt and result.dropped == 0


@pytest.mark.parametrize("code", [*LOOK_CODES, *FAULT_CODES, OutcomeCode.IN_COLLISION])
def test_one_failed_scan_is_tried_again(code: int) -> None:
    world = FakeWorld(pile(layers=1), script={GOAL.SCAN: [code]})
    result = ended(world, world.unload())
    assert result.outcome.code == OutcomeCode.NONE and result.delivered == 3


def test_an_arm_stuck_among_cartons_backs_out() -> None:
    world = FakeWorld(pile(layers=1), script={GOAL.SCAN: [OutcomeCode.IN_COLLISION]})
    ended(world, world.unload())
    kinds = world.kinds()
    first = kinds.index(GOAL.SCAN)
    assert kinds[first + 1 : first + 3] == [GOAL.RETREAT, GOAL.SCAN] or kinds[first + 1] == GOAL.RETREAT


def test_after_a_tolerance_violation_the_arm_is_homed_first() -> None:
    world = FakeWorld(pile(), script={GOAL.PICK: [OutcomeCode.TOLERANCE_VIOLATED]})
    ended(world, world.unload())
    kinds = world.kinds()
    failed = kinds.index(GOAL.PICK)
    assert kinds[failed + 1 : failed + 3] == [GOAL.RETREAT, GOAL.HOME]


def test_a_way_that_is_not_found_from_three_places_is_a_question() -> None:
    world = FakeWorld(pile(layers=1, columns=1), script={GOAL.PICK: [OutcomeCode.IN_COLLISION] * 6})
    world.unload()
    assert world.run(lambda: bool(world.questions))
    (question,) = world.questions
    assert question.code.code == OutcomeCode.IN_COLLISION and "failed 6 times" in question.text
    assert world.kinds().count(GOAL.PICK) == 6


def test_a_carton_lost_on_the_way_is_counted_and_picked_from_the_floor() -> None:
    world = FakeWorld(pile(), script={GOAL.PLACE: [OutcomeCode.CARTON_LOST]})
    result = ended(world, world.unload())
    assert result.dropped == 1 and result.delivered == 6 == world.belt
    assert any(event.code == "carton.lost" for event in world.events)


def test_a_carton_lost_in_the_pull_is_counted() -> None:
    world = FakeWorld(pile(), script={GOAL.PICK: [OutcomeCode.CARTON_LOST]})
    result = ended(world, world.unload())
    assert result.dropped == 1 and result.delivered == 6 == world.belt


def test_a_carton_lost_in_the_pull_twice_is_asked_about_and_not_tried_for_ever() -> None:
    world = FakeWorld({1: [1.9, 0.0, 0.15]}, script={GOAL.PICK: [OutcomeCode.CARTON_LOST] * 2})
    goal = world.unload()
    assert world.run(world.asked)
    assert world.questions[-1].code.code == OutcomeCode.CARTON_LOST
    assert "failed 2 times" in world.questions[-1].text
    assert world.answer("take", world.questions[-1].carton_ids).accepted
    result = ended(world, goal)
    assert result.dropped == 2 and result.assists == 1


def backs(world: FakeWorld) -> list[float]:
    return [goal.distance_m for name, _, goal in world.sent if name == "base/advance" and goal.distance_m < 0.0]


def test_a_load_that_cannot_be_laid_down_is_taken_back_a_little_and_tried_again() -> None:
    world = FakeWorld(pile(), script={GOAL.PLACE: [OutcomeCode.IN_COLLISION] * 2})
    result = ended(world, world.unload())
    assert backs(world) == [-world.settings.drive_back_m]
    order = [getattr(goal, "kind", name) for name, _, goal in world.sent]
    assert order[:5] == [GOAL.PICK, GOAL.PLACE, GOAL.PLACE, "base/advance", GOAL.PLACE]
    assert result.delivered == 6 and result.dropped == 0 and not world.questions


def test_what_may_still_stand_among_others_is_taken_back_only_on_a_person_s_word() -> None:
    script = {GOAL.PICK: [OutcomeCode.STOPPED_BY_SAFETY], GOAL.PLACE: [OutcomeCode.IN_COLLISION] * 4}
    world = FakeWorld(pile(), script=script)
    goal = world.unload()
    assert world.run(world.asked)
    assert backs(world) == [] and world.held
    assert world.answer("drive_back").accepted
    result = ended(world, goal)
    assert backs(world) == [-world.settings.drive_back_m]
    assert result.delivered == 6 == world.belt and result.assists == 1


def revived_it_goes_back_by_itself(world: FakeWorld, goal: str) -> None:
    world.restart()
    world.unload(goal_id=goal)
    result = ended(world, goal)
    assert backs(world) == [-world.settings.drive_back_m]
    assert result.delivered == 6 and not world.questions


def test_a_planner_that_was_away_at_the_end_of_the_pull_knows_from_the_broker_that_the_load_is_out() -> None:
    world = FakeWorld(pile(), script={GOAL.PLACE: [OutcomeCode.IN_COLLISION] * 2})
    goal = world.unload()
    assert world.run(lambda: world.kinds() == [GOAL.PICK] and world.active is not None)
    world.kill()
    assert world.run(lambda: world.active is None) and world.held
    revived_it_goes_back_by_itself(world, goal)


def test_a_planner_that_is_lost_between_two_tries_to_lay_down_still_knows_that_the_load_is_out() -> None:
    world = FakeWorld(pile(), script={GOAL.PLACE: [OutcomeCode.IN_COLLISION] * 3})
    goal = world.unload()
    assert world.run(lambda: world.kinds() == [GOAL.PICK, GOAL.PLACE] and world.active is None)
    world.kill()
    revived_it_goes_back_by_itself(world, goal)


def test_what_is_known_of_one_load_is_not_taken_for_the_next_one_s() -> None:
    world = FakeWorld(pile(), script={GOAL.PLACE: [OutcomeCode.NONE] + [OutcomeCode.IN_COLLISION] * 4})
    world.unload()
    assert world.run(lambda: world.belt == 1)
    assert world.run(lambda: world.active is not None and getattr(world.active[1], "kind", None) == GOAL.PICK)
    assert world.active is not None
    world.held = [int(carton) for carton in world.active[1].pick.carton_ids]
    world.lose_broker()
    assert world.run(world.asked)
    assert backs(world) == [] and world.held


def test_what_turns_up_on_the_gripper_after_all_is_asked_about_and_the_trailer_is_not_called_empty() -> None:
    world = FakeWorld({1: [1.9, 0.0, 0.15]}, settings=parameters(retry_pause_s=3.0))
    goal = world.unload()
    assert world.run(lambda: world.kinds() == [GOAL.PICK] and world.active is not None)
    world.lose_broker()
    world.pass_time(1.0)
    assert not world.core.unloading.reconcile, "the broker said that the gripper is empty"
    world.held = [1]
    del world.cartons[1]
    world._wall_changed()
    assert world.run(world.asked) and goal not in world.finished
    assert world.questions[-1].code.code == OutcomeCode.UNKNOWN_AFTER_RESTART
    world.held = []
    world.pass_time(0.3)
    assert world.answer("i_moved_it").accepted
    assert ended(world, goal).outcome.code == OutcomeCode.NONE
    assert len([question for question in world.questions if question.open]) == 1


def lost_by_the_word_of_safety(world: FakeWorld) -> None:
    """The load leaves the cups in the pull, and the stop comes before the broker has noticed."""
    assert world.active is not None
    goal_id, world.active = world.active[0], None
    stopped = ExecuteMotion.Result(outcome=OutcomeCode(code=OutcomeCode.STOPPED_BY_SAFETY), holding_carton=False)
    stopped.last_stage = BrokerState.STAGE_EXTRACT
    world.tell(lambda core: core.goal_result("motion/execute", goal_id, GoalStatus.ABORTED, stopped, world.now()))
    world._broker()


def lost_in_place(twins: set[int], script: dict[int, list[int]] | None = None) -> FakeWorld:
    """A pile whose first carton to be taken is lost in the pull and stays where it stood."""
    world = FakeWorld(pile(), script={GOAL.PICK: [OutcomeCode.CARTON_LOST], **(script or {})})
    world.twins, world.loses_in_place = twins, True
    return world


def probes(world: FakeWorld) -> list[int]:
    return [goal.pick.carton_ids[0] for _, _, goal in world.sent if getattr(goal, "kind", None) == GOAL.PROBE]


def test_a_face_lost_in_the_pull_is_pulled_at_and_found_to_be_two() -> None:
    world = lost_in_place({4})
    result = ended(world, world.unload())
    assert probes(world) == [4]
    assert result.dropped == 1 and result.delivered == 7 == world.belt
    assert [
        event.code for event in world.events if event.code.startswith("carton.doubt") or event.code == "carton.probed"
    ] == [
        "carton.doubted",
        "carton.probed",
    ]


def test_a_face_that_came_along_whole_is_taken_as_one_and_not_pulled_at_again() -> None:
    world = lost_in_place(set(), {GOAL.PICK: [OutcomeCode.CARTON_LOST, OutcomeCode.NONE, OutcomeCode.CARTON_LOST]})
    result = ended(world, world.unload())
    assert len(probes(world)) == len(set(probes(world))) == 2
    assert result.dropped == 2 and result.delivered == 6 == world.belt


def test_a_carton_that_lies_on_the_floor_is_not_pulled_at() -> None:
    world = FakeWorld(pile(), script={GOAL.PICK: [OutcomeCode.CARTON_LOST]})
    result = ended(world, world.unload())
    assert not probes(world) and result.delivered == 6


def test_a_probe_broken_off_with_the_carton_held_is_laid_down_as_a_pick_would_be() -> None:
    world = lost_in_place({4}, {GOAL.PROBE: [OutcomeCode.STOPPED_BY_SAFETY]})
    result = ended(world, world.unload())
    assert result.delivered == 7 == world.belt and probes(world) == [4]


def test_a_probe_whose_carton_is_lost_in_the_pull_has_shown_what_it_can() -> None:
    world = lost_in_place({4})
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PROBE)
    lost_by_the_word_of_safety(world)
    result = ended(world, goal)
    assert probes(world) == [4] and result.dropped == 1 and result.delivered == 6
    assert world.kinds()[world.kinds().index(GOAL.PROBE) + 1] == GOAL.SCAN


@pytest.mark.parametrize("code", [OutcomeCode.GRASP_NOT_MADE, OutcomeCode.CARTON_LOST, OutcomeCode.IN_COLLISION])
def test_a_probe_that_fails_is_not_tried_for_ever(code: int) -> None:
    world = lost_in_place({4}, {GOAL.PROBE: [code]})
    goal = world.unload()
    assert world.run(lambda: bool(world.finished) or world.asked())
    if world.asked():
        assert world.questions[-1].carton_ids.tolist()[0] == 4
        assert world.answer("take", [4]).accepted
    result = ended(world, goal)
    assert probes(world) == [4] and result.delivered >= 6


def test_a_carton_that_has_another_id_after_each_loss_is_not_taken_for_ever() -> None:
    world = FakeWorld(pile(columns=1, layers=1), script={GOAL.PICK: [OutcomeCode.CARTON_LOST] * 9})
    world.loses_in_place = world.renames = True
    goal = world.unload()
    assert world.run(world.asked)
    world.pass_time(60.0)
    # Pulled at once, taken twice; then a person is asked, about the id under which it stands now.
    assert len(probes(world)) == 1 and world.kinds().count(GOAL.PICK) == 2
    ((carton, _),) = world.cartons.items()
    question = world.questions[-1]
    assert question.carton_ids.tolist() == [carton] and f"is now {carton}" in question.text
    assert {tuple(option.carton_ids) for option in question.options} == {(carton,), ()}
    assert world.answer("skip", [carton]).accepted
    # Left alone on a person's word, it stays that under each later id.
    world.rename([carton])
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.NO_REMOVABLE_CARTON and world.kinds().count(GOAL.PICK) == 2
    assert (result.dropped, result.delivered, result.left) == (2, 0, 1)


def test_what_stands_elsewhere_does_not_inherit_a_carton_s_failures() -> None:
    world = FakeWorld(pile(), script={GOAL.PICK: [OutcomeCode.GRASP_NOT_MADE]})
    goal = world.unload()
    assert world.run(lambda: any(event.code == "motion.failed" for event in world.events))
    tried = next(goal for _, _, goal in world.sent if getattr(goal, "kind", None) == GOAL.PICK).pick.carton_ids[0]
    del world.cartons[int(tried)]
    world.cartons[77] = [2.9, 0.0, 0.15]
    result = ended(world, goal)
    assert result.delivered == 6 and not any(event.code == "carton.renamed" for event in world.events)


@pytest.mark.parametrize("begun_s", [0.0, 1.0, 2.9])
@pytest.mark.parametrize("away_s", [0.1, 5.0])
def test_a_planner_killed_in_a_probe_goes_on(begun_s: float, away_s: float) -> None:
    world = lost_in_place({4})
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PROBE)
    world.pass_time(begun_s)
    world.kill()
    world.pass_time(away_s)
    world.restart()
    world.unload("job-1", goal_id=goal)
    result = ended(world, goal)
    assert result.dropped == 1 and result.delivered == 7 == world.belt


def test_a_carton_whose_loss_safety_says_first_is_counted() -> None:
    world = FakeWorld(pile(layers=1))
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PICK)
    lost_by_the_word_of_safety(world)
    result = ended(world, goal)
    assert result.dropped == 1 and result.delivered == 3 == world.belt


def test_a_grasp_that_fails_twice_is_asked_about_while_the_others_are_taken() -> None:
    world = FakeWorld(pile(), script={GOAL.PICK: [OutcomeCode.GRASP_NOT_MADE] * 2})
    goal = world.unload()
    assert world.run(world.asked)
    question = world.questions[-1]
    assert question.code.code == OutcomeCode.GRASP_NOT_MADE and len(question.carton_ids) == 1
    assert world.run(lambda: world.state().phase == JobState.ASKING)
    assert world.belt == 5, "the others were not taken meanwhile"
    world.pass_time(5.0)
    assert world.answer("take", list(question.carton_ids)).accepted
    result = ended(world, goal)
    assert result.delivered == 6 and result.assists == 1 and result.waiting_for_person_s >= 5.0


def test_faults_in_a_row_are_asked_about() -> None:
    world = FakeWorld(pile(), script={GOAL.PICK: [OutcomeCode.CONTROLLER_FAULT] * 4})
    goal = world.unload()
    assert world.run(world.asked)
    assert world.questions[-1].code.code == OutcomeCode.CONTROLLER_FAULT
    sent = len(world.sent)
    world.pass_time(30.0)
    assert len(world.sent) == sent, "moved while a blocking question was open"
    assert world.answer("look_again").accepted
    assert ended(world, goal).outcome.code == OutcomeCode.NONE


def test_a_lost_broker_is_waited_for_and_its_word_is_taken() -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PLACE)
    world.lose_broker()
    result = ended(world, goal)
    assert result.delivered == 6 == world.belt and result.dropped == 0


# --- the 4xx codes as the job's outcome ---


def test_no_removable_carton_when_all_that_is_left_was_skipped() -> None:
    world = FakeWorld({1: [1.9, 0.0, 0.15], 900: [1.9, 0.5, 0.15]})
    goal = world.unload()
    assert world.run(world.asked)
    assert world.questions[-1].code.code == OutcomeCode.NO_REMOVABLE_CARTON
    assert world.plans[-1].outcome.code == OutcomeCode.NO_REMOVABLE_CARTON
    assert world.answer("skip", [900]).accepted
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.NO_REMOVABLE_CARTON
    assert (result.delivered, result.skipped, result.left) == (1, 1, 1)


@pytest.mark.parametrize("when", ["never", "later"])
def test_wall_stale(when: str) -> None:
    world = FakeWorld(pile())
    world.camera = when == "later"
    goal = world.unload()
    if when == "later":
        assert world.run(lambda: world.belt == 2)
        world.camera = False
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.WALL_STALE and "restore" in result.text
    assert world.finished[goal][0] is GoalStatus.ABORTED


def test_a_short_silence_of_the_camera_is_waited_out() -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.belt == 2)
    world.camera = False
    world.pass_time(8.0)
    world.camera = True
    assert ended(world, goal).outcome.code == OutcomeCode.NONE


def test_wall_changed_untouched_once_is_asked_about_and_many_times_ends_the_job() -> None:
    world = FakeWorld(pile(rows=2), parameters(collapses_before_end=2))
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PLACE)
    world.pass_time(1.0)
    world.collapse(1)
    assert world.run(world.asked)
    assert world.questions[-1].code.code == OutcomeCode.WALL_CHANGED_UNTOUCHED
    assert world.run(lambda: world.belt == 1)
    sent = world.sent[-1][1]
    world.pass_time(10.0)
    assert world.sent[-1][1] == sent, "moved though the load had moved by itself"
    assert world.answer("look_again").accepted
    assert world.run(lambda: world.belt == 2)
    world.collapse(7)
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.WALL_CHANGED_UNTOUCHED


@pytest.mark.parametrize(("between", "code"), [(10, OutcomeCode.NONE), (9, OutcomeCode.WALL_CHANGED_UNTOUCHED)])
def test_a_load_that_moves_now_and_then_is_worked_at_as_long_as_cartons_come_in_between(
    between: int, code: int
) -> None:
    world = FakeWorld(pile(rows=4, columns=4), parameters(collapses_before_end=2))
    goal = world.unload()
    for carried in (2, 2 + between):
        assert world.run(lambda: world.belt == carried)  # noqa: B023
        world.collapse(min(set(world.cartons) - set(world.held)))
        if (carried == 2 or code == OutcomeCode.NONE) and world.run(world.asked, 15.0):
            assert world.answer("look_again").accepted
    assert ended(world, goal).outcome.code == code


def test_a_pile_that_moves_because_of_a_pick_is_left_to_settle() -> None:
    world = FakeWorld(pile(rows=2))
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == GOAL.PICK)
    world.pass_time(1.0)
    world.collapse(2)
    assert ended(world, goal).outcome.code == OutcomeCode.NONE
    assert not world.questions and any(event.code == "wall.collapsed" for event in world.events)


def test_needs_person_when_nobody_answers() -> None:
    world = FakeWorld({900: [1.9, 0.5, 0.15]}, parameters(question_limit_s=60.0))
    goal = world.unload()
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.NEEDS_PERSON and result.assists == 1
    assert 55.0 <= result.waiting_for_person_s <= 65.0
    assert not world.questions[-1].open and world.questions[-1].answer_key == "give_up"


@pytest.mark.parametrize("moment", [GOAL.SCAN, GOAL.PICK, GOAL.PLACE])
def test_job_cancelled_by_its_client(moment: int) -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.active is not None and world.kinds()[-1] == moment)
    world.tell(lambda core: core.cancel("unload", goal, world.now()))
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.JOB_CANCELLED
    assert world.finished[goal][0] is GoalStatus.CANCELED
    assert world.active is None and not world.held, "cancelled is said only when the arm stands, with empty hands"
    assert result.delivered == world.belt


def test_base_failed() -> None:
    world = FakeWorld({1: [5.0, 0.0, 0.15]})
    world.base_code = OutcomeCode.CONTROLLER_FAULT
    result = ended(world, world.unload())
    assert result.outcome.code == OutcomeCode.BASE_FAILED
    assert world.kinds().count(100) == 3


def test_internal_when_the_record_cannot_be_written() -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.belt == 1)
    world.persist_error = "disk full"
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.INTERNAL and "disk full" in result.text
    assert world.diagnoses["job record"].level == 2


class FullAtTheEnd(FakeWorld):
    """The disk has no room for the record of an ended job."""

    full = True

    def do(self, effects: c.Effects) -> None:
        ends = any(isinstance(effect, c.Persist) and not (effect.record or {}).get("running") for effect in effects)
        self.persist_error = "disk full" if self.full and ends else ""
        super().do(effects)


def test_a_disk_full_at_the_jobs_end_keeps_the_client_not_waiting_and_the_record_is_written_later() -> None:
    world = FullAtTheEnd(pile())
    result = ended(world, world.unload())
    assert result.outcome.code == OutcomeCode.NONE and result.delivered == 6
    assert world.diagnoses["job record"].level == 2
    world.pass_time(3.0)
    assert json.loads(world.records["job"][result.job_id])["running"]
    world.full = False
    world.pass_time(2.0)
    assert not json.loads(world.records["job"][result.job_id])["running"]
    assert world.diagnoses["job record"].level == 0


def test_a_planning_core_that_refuses_is_retried_then_asked_about() -> None:
    def broken(request: ChoiceRequest) -> Choice:
        raise ValueError("box 3: size")

    world = FakeWorld(pile(), choose=broken)
    world.unload()
    assert world.run(world.asked)
    assert "box 3: size" in world.questions[-1].text
    assert world.diagnoses["planning"].level == 2
    assert not world.picks


# --- bad input ---


@pytest.mark.parametrize(
    ("job_id", "stop_when", "count", "field"),
    [("a b", 0, 0, "job_id"), ("x" * 65, 0, 0, "job_id"), ("j", 7, 0, "stop_when"), ("j", 1, 0, "max_cartons")],
)
def test_a_malformed_goal_is_refused_by_name(job_id: str, stop_when: int, count: int, field: str) -> None:
    world = FakeWorld(pile())
    goal = world.unload(job_id, stop_when, count)
    status, result = world.finished[goal]
    assert status is GoalStatus.ABORTED and result.outcome.code == OutcomeCode.MALFORMED and field in result.text
    assert not world.sent


def test_a_second_goal_is_refused() -> None:
    world = FakeWorld(pile())
    first = world.unload("one")
    second = world.unload("two")
    assert world.finished[second][1].outcome.code == OutcomeCode.BUSY and "one" in world.finished[second][1].text
    assert ended(world, first).outcome.code == OutcomeCode.NONE


def test_a_malformed_wall_is_named_counted_and_dropped() -> None:
    world = FakeWorld(pile())
    world.pass_time(1.0)
    cases = {
        "frame_id": lambda wall: setattr(wall.header, "frame_id", "map"),
        "future": lambda wall: setattr(wall.header.stamp, "sec", wall.header.stamp.sec + 100),
        "carton 2: pose": lambda wall: setattr(wall.cartons[1].pose.position, "x", float("nan")),
        "carton 3: orientation": lambda wall: setattr(wall.cartons[2].pose.orientation, "w", 0.2),
        "carton 4: size_m": lambda wall: setattr(wall.cartons[3].size_m, "y", -0.1),
        "carton 1 is listed twice": lambda wall: setattr(wall.cartons[1], "id", 1),
        "mass_kg": lambda wall: setattr(wall.cartons[0], "mass_kg", float("nan")),
        "EMPTY": lambda wall: setattr(wall, "status", 3),
        "status": lambda wall: setattr(wall, "status", 77),
    }
    for count, (words, spoil) in enumerate(cases.items(), 1):
        wall = world.wall_message()
        wall.version += 1
        spoil(wall)
        world.tell(lambda core, wall=wall: core.message("wall", wall, world.now()))
        diagnosis = world.diagnoses["input wall"]
        assert words in diagnosis.text and diagnosis.values["dropped"] == count
    assert world.core.unloading.world.wall.version == world.version


def test_a_base_pose_that_overflows_is_dropped() -> None:
    world = FakeWorld(pile(layers=1))
    item = TransformStamped(child_frame_id="base_link")
    item.header.frame_id = "trailer"
    item.transform.rotation.y, item.transform.rotation.w = 1e308, 1e308
    before = world.core.unloading.world.base
    world._send("/tf", TFMessage(transforms=[item]))
    assert world.core.unloading.world.base == before
