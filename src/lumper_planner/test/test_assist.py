"""Questions to a person: answered, refused, forged, repeated, timed out."""

import pytest
from fake_world import FakeWorld, parameters, pile
from lumper_msgs.msg import JobState, OutcomeCode
from lumper_msgs.srv import JobCommand
from test_job import ended

JAM = {1: [1.9, 0.0, 0.15], 900: [1.9, 0.5, 0.15], 901: [1.9, -0.5, 0.15]}


def jammed(**changes: float) -> tuple[FakeWorld, str]:
    world = FakeWorld({carton: list(place) for carton, place in JAM.items()}, parameters(**changes))
    goal = world.unload()
    assert world.run(world.asked)
    assert world.belt == 1, "what could be taken safely was not taken first"
    return world, goal


def test_the_question_says_what_why_and_at_what_risk() -> None:
    world, _ = jammed()
    question = world.questions[-1]
    assert question.code.code == OutcomeCode.NO_REMOVABLE_CARTON and "jammed" in question.text
    takes = [option for option in question.options if option.key == "take"]
    assert {tuple(option.carton_ids) for option in takes} == {(900,), (901,)}
    assert all(option.risk_s == 1.0 and option.predicted_s == 6.0 for option in takes)
    assert [option.key for option in question.options if option.is_safe_default] == ["give_up"]
    assert {option.key for option in question.options} >= {
        "skip",
        "treat_as_one",
        "i_moved_it",
        "drive_back",
        "look_again",
    }
    assert world.state().phase == JobState.ASKING and world.state().text == question.text


def test_every_option_says_how_many_cartons_its_answer_names_and_takes_an_answer_made_so() -> None:
    for option in jammed()[0].questions[-1].options:
        world, _ = jammed()
        if option.choose_max:
            assert 0 < option.choose_min <= min(option.choose_max, len(option.carton_ids)), option.key
            assert not world.answer(option.key, option.carton_ids[: option.choose_min - 1]).accepted, option.key
            ids = option.carton_ids[: option.choose_min]
        else:
            ids = option.carton_ids
        response = world.answer(option.key, ids)
        assert response.accepted, f"{option.key}: {response.text}"


def test_take_is_carried_out_slowly_and_counted() -> None:
    world, goal = jammed()
    assert world.answer("take", [901]).accepted
    assert world.run(lambda: world.belt == 2)
    picked = [g for _, _, g in world.sent if getattr(g, "kind", 0) == 1][-1]
    assert list(picked.pick.carton_ids) == [901] and picked.pick.speed_limit_mps <= 0.1 + 1e-6
    assert world.run(world.asked)
    assert world.answer("take", [900]).accepted
    result = ended(world, goal)
    assert result.delivered == 3 and result.assists == 2 and result.outcome.code == OutcomeCode.NONE


def test_take_is_not_carried_out_on_a_carton_that_moved_meanwhile() -> None:
    world, _ = jammed()
    world.cartons[900][0] += 0.2
    world._wall_changed()
    assert world.answer("take", [900]).accepted
    assert world.run(world.asked)
    assert any(event.code == "assist.outdated" for event in world.events)
    assert world.belt == 1


def test_skip_leaves_it() -> None:
    world, goal = jammed()
    assert world.answer("skip", [900, 901]).accepted
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.NO_REMOVABLE_CARTON and result.skipped == 2 and result.left == 2


def test_i_moved_it_looks_again() -> None:
    world, goal = jammed()
    del world.cartons[900], world.cartons[901]
    world._wall_changed()
    assert world.answer("i_moved_it", [900]).accepted
    assert ended(world, goal).outcome.code == OutcomeCode.NONE


def test_drive_back_moves_the_base_back_and_looks_again() -> None:
    world, _ = jammed()
    assert world.answer("drive_back").accepted
    assert world.run(lambda: 100 in world.kinds())
    assert world.run(world.asked)
    moves = [goal.distance_m for name, _, goal in world.sent if name == "base/advance"]
    assert moves[0] == pytest.approx(-0.4)


@pytest.mark.parametrize("key", ["treat_as_one", "treat_as_two"])
def test_readings_of_a_face_reach_the_plan(key: str) -> None:
    world, _ = jammed()
    assert world.answer(key, [900, 901] if key == "treat_as_one" else [900]).accepted
    world.pass_time(5.0)
    request = world.core.unloading.choice_request()
    assert request is not None
    assert request.merged == ((900, 901),) if key == "treat_as_one" else request.split == (900,)


def test_exactly_one_answer_is_accepted() -> None:
    world, _ = jammed()
    first = world.questions[-1].question_id
    assert world.answer("look_again", who="Ada", question_id=first).accepted
    second = world.answer("give_up", who="Bob", question_id=first)
    assert not second.accepted and "Ada" in second.text and "look_again" in second.text
    who = [event.values.get("who") for event in world.events if event.code.startswith("assist.")]
    assert "Ada" in who and "Bob" in who
    assert world.state().phase != JobState.FAILED


def test_answers_that_do_not_fit_are_refused_with_a_sentence() -> None:
    world, _ = jammed()
    before = len(world.sent)
    for key, ids, words in (
        ("explode", [], "not offered"),
        ("x" * 100_000, [], "not offered"),
        ("take", [5], "[5]"),
        ("take", [], "name the cartons"),
        ("skip", [], "name the cartons"),
        ("treat_as_one", [900], "two or more"),
        ("treat_as_one", [900, 5000], "5000"),
        ("treat_as_two", [900, 901], "exactly one"),
    ):
        response = world.answer(key, ids)
        assert not response.accepted and words in response.text and len(response.text) < 1000, key
    stray = world.answer("skip", [900], question_id="nonsense" * 1000)
    assert not stray.accepted and len(stray.text) < 1000
    assert len(world.sent) == before and world.asked()


def test_forged_and_nameless_answers_are_refused_and_on_record() -> None:
    world, _ = jammed()
    forged = world.answer("take", [900], sign=b"z" * 32)
    assert not forged.accepted and "key" in forged.text
    unsigned = world.answer("take", [900], sign=None)
    assert not unsigned.accepted
    hostile = world.answer("take", [900], who="<script>\n" * 100)
    assert not hostile.accepted and "operator_name" in hostile.text
    assert len([event for event in world.events if event.code == "assist.answer_refused"]) == 3
    assert all(len(str(event.values.get("who", ""))) <= 64 for event in world.events)
    assert world.asked()


def test_a_replayed_command_is_refused() -> None:
    world = FakeWorld(pile())
    world.unload()
    auth = world.sign("job/command", {"command": 1})
    request = JobCommand.Request(command=1, auth=auth)
    for accepted in (True, False):
        world.tell(lambda core: core.service("job/command", request, world.now()))
        assert world.response.accepted is accepted
    assert "nonce" in world.response.text


def test_without_a_job_every_command_but_start_is_refused() -> None:
    world = FakeWorld(pile())
    world.pass_time(1.0)
    for command in (1, 2, 3, 9):
        assert not world.command(command).accepted and world.response.text
    assert "no job" in world.answer("skip", [], question_id="q").text
    assert world.command(4).accepted
    assert not world.command(4).accepted and "running already" in world.response.text


def test_pause_lays_down_what_is_held_and_resume_goes_on() -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.active is not None and bool(world.held) is False and world.kinds()[-1] == 1)
    assert world.command(JobCommand.Request.PAUSE, "Bob").accepted
    assert not world.command(JobCommand.Request.PAUSE).accepted
    world.pass_time(30.0)
    assert world.belt == 1 and not world.held and world.state().text == "paused by Bob"
    assert world.command(JobCommand.Request.RESUME).accepted
    assert not world.command(JobCommand.Request.RESUME).accepted
    assert ended(world, goal).delivered == 6


def test_a_person_cancels() -> None:
    world = FakeWorld(pile())
    goal = world.unload()
    assert world.run(lambda: world.belt == 1)
    assert world.command(JobCommand.Request.CANCEL).accepted
    result = ended(world, goal)
    assert result.outcome.code == OutcomeCode.JOB_CANCELLED and "Ada" in result.text and not world.held


def test_a_carton_question_times_out_to_skip_and_the_job_goes_on() -> None:
    world = FakeWorld(pile(), parameters(question_limit_s=40.0), script={1: [OutcomeCode.GRASP_NOT_MADE] * 2})
    result = ended(world, world.unload())
    assert result.outcome.code == OutcomeCode.NO_REMOVABLE_CARTON and result.delivered == 5 and result.skipped == 1
    assert world.questions[-1].answered_by.startswith("nobody") and world.questions[-1].answer_key == "skip"


def test_two_failing_cartons_are_asked_about_one_after_the_other() -> None:
    world = FakeWorld(pile(), script={1: [OutcomeCode.GRASP_NOT_MADE] * 4})
    goal = world.unload()
    assert world.run(lambda: world.state().phase == JobState.ASKING)
    first = world.questions[-1]
    assert world.answer("take", list(first.carton_ids)).accepted
    second = world.questions[-1]
    assert second.open and second.question_id != first.question_id and second.carton_ids != first.carton_ids
    assert world.answer("take", list(second.carton_ids)).accepted
    result = ended(world, goal)
    assert result.delivered == 6 and result.assists == 2


def test_what_hangs_on_the_gripper_unknown_is_asked_about_until_it_is_off() -> None:
    world = FakeWorld({1: [1.9, 0.0, 0.15]})
    world.held = [77]
    goal = world.unload()
    assert world.run(world.asked)
    assert "take it off by hand" in world.questions[-1].text
    assert world.answer("i_moved_it").accepted
    assert world.run(world.asked), "it still hangs there, whatever the answer said"
    assert "take it off by hand" in world.questions[-1].text
    world.held = []
    world._broker()
    assert world.answer("i_moved_it").accepted
    assert ended(world, goal).outcome.code == OutcomeCode.NONE
