"""The panel without a browser: who may command, what is refused and how, what is on record, what the page says."""

from typing import Any

import pytest
import view_scenario as scenario
from hypothesis import given, settings
from hypothesis import strategies as st
from lumper_msgs.msg import Event, JobState, SafetyState
from lumper_msgs.srv import AnswerAssist, JobCommand, ResetSafety, SetSpeedLimit
from std_srvs.srv import Trigger

from lumper_ros.auth import CommandVerifier, permit_mac
from lumper_ros.core import CallService, Diagnose, Effects, Emit, Now, Severity
from lumper_ros.robot import Robot, Trailer
from lumper_view import page_html as html
from lumper_view.commands import Act, Press
from lumper_view.core import STOP_REPEAT_S, STOP_TRIES, PanelCore
from lumper_view.parameters import PanelParameters
from lumper_view.sessions import BURST, MAX_BROWSERS, MAX_NAME, WRONG_TOKENS, WRONG_WINDOW_S, plain

TOKEN = "hill-lamp-27"
KEY = bytes(range(32))
START_S = 1000.0


class Desk:
    """A panel with a clock and browsers."""

    def __init__(self, robot: Robot, trailer: Trailer) -> None:
        self.core = PanelCore(PanelParameters("", ""), robot, trailer, TOKEN, KEY)
        self.at_s = START_S
        self.nonce = 0
        self.permits = 0

    @property
    def now(self) -> Now:
        return Now(self.at_s, self.at_s, self.at_s)

    def take(self, name: str, message: Any) -> None:
        if name == "safety/state":
            self.permits += 1
            message.sequence = self.permits
            message.mac = permit_mac(KEY, message)
        self.core.message(name, message, self.now)

    def browser(self, number: int = 1, name: str = "") -> None:
        self.core.connected(number, f"10.0.0.{number}", self.now)
        if name:
            self.press(Act.SIGN_IN, number, name=name, token=TOKEN)

    def press(self, act: Act, browser: int = 1, **arguments: Any) -> Effects:
        self.nonce += 1
        self.at_s += 1.0
        return self.core.press(Press(browser, act, self.nonce, **arguments), self.now)

    def notice(self, browser: int = 1) -> str:
        return self.core.sessions.get(browser).notice


@pytest.fixture
def desk(robot: Robot, trailer: Trailer) -> Desk:
    made = Desk(robot, trailer)
    for name, message in scenario.everything(robot, 20, START_S).items():
        made.take(name, message)
    return made


def _calls(effects: Effects) -> list[CallService]:
    return [effect for effect in effects if isinstance(effect, CallService)]


def _events(effects: Effects) -> list[Emit]:
    return [effect for effect in effects if isinstance(effect, Emit)]


def _refused(effects: Effects) -> str:
    assert not _calls(effects), "a refused command must reach nobody"
    events = _events(effects)
    assert len(events) == 1 and events[0].code == "panel.refused" and events[0].severity is Severity.WARN
    assert any(isinstance(effect, Diagnose) for effect in effects)
    return events[0].text


@pytest.mark.parametrize("act", [Act.START, Act.PAUSE, Act.RESUME, Act.END, Act.LIMIT, Act.RESET, Act.ANSWER])
def test_without_a_token_nothing_is_commanded(desk: Desk, act: Act) -> None:
    desk.browser()
    text = _refused(desk.press(act, name="Mallory", reason="because I can", question_id="q-1", option=0))
    assert "read-only" in text and "10.0.0.1" in text


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN.upper(), "\x00", "é" * 10, "x" * 100000])
def test_wrong_token(desk: Desk, token: str) -> None:
    desk.browser()
    assert "Token" in _refused(desk.press(Act.SIGN_IN, name="Mallory", token=token))
    _refused(desk.press(Act.START))


def test_right_token_and_every_command_is_signed_and_on_record(desk: Desk) -> None:
    desk.browser(1, "Anna Berg")
    verifier = CommandVerifier(KEY, 5.0)
    expected: list[tuple[Act, dict[str, Any], str, type, tuple[str, ...]]] = [
        (Act.PAUSE, {}, "job/command", JobCommand.Request, ("command",)),
        (Act.RESUME, {}, "job/command", JobCommand.Request, ("command",)),
        (Act.START, {}, "job/command", JobCommand.Request, ("command",)),
        (Act.END, {}, "job/command", JobCommand.Request, ("command",)),
        (Act.LIMIT, {"speed": 0.25}, "safety/speed_limit", SetSpeedLimit.Request, ("speed_scale",)),
        (Act.RESET, {"reason": "checked it"}, "safety/reset", ResetSafety.Request, ("reason",)),
    ]
    for act, arguments, service, kind, fields in expected:
        desk.at_s += 5.0
        effects = desk.press(act, **arguments)
        (call,) = _calls(effects)
        assert call.name == service and isinstance(call.request, kind)
        signed = {field: getattr(call.request, field) for field in fields}
        assert verifier.check(service, signed, call.request.auth, desk.at_s) == ""
        assert call.request.auth.operator_name == "Anna Berg"
        (event,) = _events(effects)
        assert event.code == "panel.command" and event.values["who"] == "Anna Berg" and act.value in event.text


def test_reset_asks_who_and_why(desk: Desk) -> None:
    desk.browser(1, "Anna")
    assert "Why" in _refused(desk.press(Act.RESET, name="Bo", reason="  "))
    (call,) = _calls(desk.press(Act.RESET, name="Bo Ek", reason="  trailer is clear "))
    assert (call.request.reason, call.request.auth.operator_name) == ("trailer is clear", "Bo Ek")


def test_anybody_may_stop_even_in_a_flood(desk: Desk) -> None:
    desk.browser()
    desk.browser(2, "Anna")
    for _ in range(int(BURST) + 5):
        desk.core.press(Press(2, Act.PAUSE, 1), desk.now)
    (call,) = _calls(desk.press(Act.STOP))
    assert call.name == "safety/stop"
    assert _calls(desk.press(Act.STOP)) == [], "the first is still on its way"
    assert len(_calls(desk.press(Act.STOP, 2))) == 1
    effects = desk.core.service_result(
        "safety/stop", call.tag, Trigger.Response(success=True, message="stopped"), desk.now
    )
    (event,) = _events(effects)
    assert event.values["who"] == "unnamed browser 1 at 10.0.0.1"


def test_one_long_press_on_stop_is_sent_again_and_recorded_once(desk: Desk) -> None:
    desk.browser()
    done = Trigger.Response(success=True, message="stopped")

    def told_again() -> Effects:
        desk.at_s += 0.1
        return desk.core.press(Press(1, Act.STOP, desk.nonce), desk.now)

    for told in range(3):
        effects = told_again()
        (call,) = _calls(effects)
        assert len(_events(effects)) == (0 if told else 1)
        assert len(_events(desk.core.service_result("safety/stop", call.tag, done, desk.now))) == (0 if told else 1)
    (call,) = _calls(told_again())
    effects = desk.core.service_result("safety/stop", call.tag, None, desk.now)
    (event,) = _events(effects)
    assert event.code == "panel.not_accepted", "a repeat that fails is told"
    (call,) = _calls(effects)
    (event,) = _events(desk.core.service_result("safety/stop", call.tag, done, desk.now))
    assert event.code == "panel.accepted", "and that it went well after all"
    (call,) = _calls(told_again())
    desk.press(Act.SIGN_IN, name="Anna", token=TOKEN)
    desk.core.service_result("safety/stop", call.tag, done, desk.now)
    assert "Signed in" in desk.notice(), "what is told again does not hide what was said since"
    desk.at_s += STOP_REPEAT_S
    assert len(_events(desk.press(Act.STOP))) == 1


def test_a_stop_that_nobody_answers_is_called_until_somebody_does(desk: Desk) -> None:
    desk.browser()
    effects, told = desk.press(Act.STOP), 0
    for _ in range(STOP_TRIES - 1):
        (call,) = _calls(effects)
        effects = desk.core.service_result("safety/stop", call.tag, None, desk.now)
        told += len(_events(effects))
        assert "emergency stop" in desk.notice()
    assert told == 1
    (call,) = _calls(effects)
    effects = desk.core.service_result("safety/stop", call.tag, None, desk.now)
    assert not _calls(effects) and "No answer from safety/stop" in desk.notice()
    effects = desk.press(Act.STOP)
    (call,) = _calls(effects)
    (call,) = _calls(desk.core.service_result("safety/stop", call.tag, None, desk.now))
    answer = Trigger.Response(success=True, message="stopped")
    (event,) = _events(desk.core.service_result("safety/stop", call.tag, answer, desk.now))
    assert event.code == "panel.accepted" and "Stop: done" in desk.notice()


def test_commands_come_at_most_so_fast(desk: Desk) -> None:
    desk.browser(1, "Anna")
    sent = [bool(_calls(desk.core.press(Press(1, Act.PAUSE, i), desk.now))) for i in range(20)]
    assert sum(sent) == int(BURST)
    assert "Too many commands" in desk.notice()
    desk.at_s += 1.5
    assert _calls(desk.core.press(Press(1, Act.PAUSE, 99), desk.now))


def test_a_flood_of_refusals_is_counted_not_recorded_one_by_one(desk: Desk) -> None:
    desk.browser()
    effects = [effect for i in range(50) for effect in desk.core.press(Press(1, Act.START, i), desk.now)]
    assert len(_events(effects)) == 1
    later = _events(desk.press(Act.START))
    assert later[0].values["unrecorded_before"] == 49


def test_guessing_tokens_is_slowed_for_all_browsers(desk: Desk) -> None:
    for number in range(WRONG_TOKENS):
        desk.browser(number)
        _refused(desk.press(Act.SIGN_IN, number, name="Mallory", token=f"guess-{number}"))
    desk.browser(50)
    assert "Too many wrong tokens" in _refused(desk.press(Act.SIGN_IN, 50, name="Anna", token=TOKEN))
    desk.at_s += WRONG_WINDOW_S
    assert _events(desk.press(Act.SIGN_IN, 50, name="Anna", token=TOKEN))[0].code == "panel.signed_in"


@pytest.mark.parametrize(
    "name", ["", "   ", "x" * (MAX_NAME + 1), "A" * 10**6, "Anna\nBerg", "Anna\u202egreB", "Anna\x00", "Anna\x1b[2J"]
)
def test_names_that_cannot_be_shown_are_refused(desk: Desk, name: str) -> None:
    desk.browser()
    text = _refused(desk.press(Act.SIGN_IN, name=name, token=TOKEN))
    assert len(text) < 400 and text.isprintable()


def test_two_people_at_once_and_answers_to_a_closed_question(desk: Desk) -> None:
    desk.browser(1, "Anna")
    desk.browser(2, "Bo")
    desk.take("assist/request", scenario.question("q-7"))
    effects = desk.press(Act.ANSWER, 1, question_id="q-7", option=1)
    (call,) = _calls(effects)
    assert (call.name, call.request.option_key, list(call.request.carton_ids)) == (
        "assist/answer",
        "treat_as_two",
        [12, 13],
    )
    signed = {"question_id": "q-7", "option_key": "treat_as_two", "carton_ids": [12, 13]}
    assert CommandVerifier(KEY, 5.0).check("assist/answer", signed, call.request.auth, desk.at_s) == ""
    assert "Anna is answering" in _refused(desk.press(Act.ANSWER, 2, question_id="q-7", option=0))
    view = desk.core.model.view(desk.now)
    assert view.question is not None and view.question.answering == "Anna"
    desk.core.service_result("assist/answer", call.tag, AnswerAssist.Response(accepted=True, text="going on"), desk.now)
    assert "Answer: done. going on" in desk.notice(1)
    closed = scenario.question("q-7", opened=False)
    closed.answered_by, closed.answer_key = "Anna", "treat_as_two"
    desk.take("assist/request", closed)
    assert "answered by Anna" in _refused(desk.press(Act.ANSWER, 2, question_id="q-7", option=0))
    view = desk.core.model.view(desk.now)
    assert view.question is None and "Anna" in view.last_question


@pytest.mark.parametrize(("question_id", "option"), [("q-0", 0), ("", 0), ("q-7", -1), ("q-7", 5), ("q-7", 10**9)])
def test_answers_that_fit_no_question(desk: Desk, question_id: str, option: int) -> None:
    desk.browser(1, "Anna")
    desk.take("assist/request", scenario.question("q-7"))
    _refused(desk.press(Act.ANSWER, question_id=question_id, option=option))


@pytest.mark.parametrize("named", [(), (12, 13, 14), (12, 99), (12, 12, 13, 14, 15)])
def test_an_answer_that_must_say_which_cartons(desk: Desk, named: tuple[int, ...]) -> None:
    desk.browser(1, "Anna")
    desk.take("assist/request", scenario.question("q-7"))
    view = desk.core.model.view(desk.now)
    assert view.question is not None
    some = next(i for i, option in enumerate(view.question.options) if option.choices)
    assert view.question.options[some].choices == (12, 13, 14)
    text = _refused(desk.press(Act.ANSWER, question_id="q-7", option=some, carton_ids=named))
    assert "which cartons: 1 to 2 of those shown" in text
    effects = desk.press(Act.ANSWER, question_id="q-7", option=some, carton_ids=(14, 12))
    (call,) = _calls(effects)
    assert list(call.request.carton_ids) == [12, 14]
    assert "(12, 14)" in _events(effects)[0].text


def test_an_answer_without_reply_may_be_given_again(desk: Desk) -> None:
    desk.browser(1, "Anna")
    desk.take("assist/request", scenario.question("q-7"))
    (call,) = _calls(desk.press(Act.ANSWER, question_id="q-7", option=0))
    effects = desk.core.service_result("assist/answer", call.tag, None, desk.now)
    assert _events(effects)[0].severity is Severity.WARN and "No answer from assist/answer" in desk.notice()
    assert _calls(desk.press(Act.ANSWER, question_id="q-7", option=0))


def test_the_servers_refusal_reaches_the_person(desk: Desk) -> None:
    desk.browser(1, "Anna")
    (call,) = _calls(desk.press(Act.RESET, reason="all clear"))
    response = ResetSafety.Response(accepted=False, text="emergency stop is still pressed")
    (event,) = _events(desk.core.service_result("safety/reset", call.tag, response, desk.now))
    assert event.code == "panel.not_accepted"
    assert desk.notice() == "Reset: refused. emergency stop is still pressed"


def test_the_limit_shown_is_the_one_accepted(desk: Desk) -> None:
    desk.browser(1, "Anna")
    (call,) = _calls(desk.press(Act.LIMIT, speed=0.5))
    assert desk.core.model.view(desk.now).limit_percent == 100
    desk.core.service_result("safety/speed_limit", call.tag, SetSpeedLimit.Response(accepted=True), desk.now)
    assert desk.core.model.view(desk.now).limit_percent == 50


@pytest.mark.parametrize("speed", [-0.01, 1.01, float("nan"), float("inf")])
def test_impossible_limits(desk: Desk, speed: float) -> None:
    desk.browser(1, "Anna")
    assert "Speed limit" in _refused(desk.press(Act.LIMIT, speed=speed))


def test_a_browser_that_left_commands_nothing(desk: Desk) -> None:
    desk.browser(1, "Anna")
    desk.core.disconnected(1, desk.now)
    assert not _calls(desk.press(Act.START))
    desk.browser(1)
    assert "read-only" in _refused(desk.press(Act.START)), "signing in does not outlive the connection"


def test_more_browsers_than_allowed_only_look(desk: Desk) -> None:
    for number in range(MAX_BROWSERS):
        desk.browser(number)
    assert _events(desk.core.connected(999, "10.0.0.9", desk.now))[0].code == "panel.refused"
    assert not _calls(desk.press(Act.START, 999))
    assert len(_calls(desk.press(Act.STOP, 999))) == 1, "a stop is never refused"


def test_a_strangers_word_about_safety_is_not_shown(desk: Desk) -> None:
    desk.take("safety/state", scenario.safety(SafetyState.PROTECTIVE_STOP, 0.0))
    old = desk.core.model.newest["safety/state"]
    desk.core.message("safety/state", scenario.safety(SafetyState.RUN, sequence=99), desk.now)
    again = scenario.safety(SafetyState.RUN, sequence=1)
    again.mac = permit_mac(KEY, again)
    desk.core.message("safety/state", again, desk.now)
    assert desk.core.model.newest["safety/state"] is old
    assert desk.core.keeper.newest["safety/state"] is old, "the field drawn round the arm is the monitor's, too"


def test_hostile_text_from_the_graph_is_shown_as_text(desk: Desk) -> None:
    bad = '<script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J\u202e" onload="x'
    job = scenario.job(text=bad * 200)
    job.phase = JobState.WAITING
    desk.take("job/state", job)
    desk.take("events", scenario.event(bad, Event.ERROR, node=bad))
    asked = scenario.question(bad)
    asked.text, asked.options[0].text, asked.options[0].key = bad * 50, bad, bad
    desk.take("assist/request", asked)
    desk.take("/diagnostics", scenario.diagnostics({bad: 2}))
    view = desk.core.model.view(desk.now)
    page = "".join(
        (
            html.headline(view),
            html.question(view.question, view.last_question),
            html.counts(view),
            html.cycle(view.cycle),
            html.events(view.events),
            html.health(view),
            html.plan(view, {}),
            html.notice(plain(bad), False),
        )
    )
    assert "<script" not in page and "<img" not in page and "\x1b" not in page and "\u202e" not in page
    assert 'onload="' not in page
    assert len(page) < 60_000


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=500), st.integers(1, 300))
def test_plain_is_one_short_printable_line(text: str, limit: int) -> None:
    line = plain(text, limit)
    assert len(line) <= limit and (line.isprintable() or not line)


def test_counts_rate_and_history(desk: Desk) -> None:
    for done, at_s in ((38, 1010.0), (39, 1020.0), (41, 1300.0)):
        desk.at_s = at_s
        desk.take("job/state", scenario.job(done=done))
    desk.at_s = 1301.0
    view = desk.core.model.view(desk.now)
    assert sum(view.per_minute) == 4 and view.per_minute[-1] == 2 and view.per_minute[-5] == 2
    assert dict(view.counts)["delivered"] == "41" and dict(view.counts)["per hour"] == "642"
    assert dict(view.counts)["questions per 1,000"] == "24"
    assert dict(view.cycle)["carry"] == pytest.approx(1.6)
    desk.at_s += 3600.0
    desk.take("job/state", scenario.job(done=41))
    assert sum(desk.core.model.view(desk.now).per_minute) == 0


def test_silence_is_shown(desk: Desk) -> None:
    desk.at_s += 10.0
    view = desk.core.model.view(desk.now)
    assert "No word from safety" in view.headline.title and view.stopped
    by_name = {node.name: node for node in view.nodes}
    assert by_name["safety_monitor"].text == "silent for 10 s" and by_name["lifecycle_manager"].text == "not heard yet"
    assert {item.name: item.late for item in view.inputs}["wall"] is True


def test_enabled_commands_follow_the_job_and_the_stop(desk: Desk) -> None:
    assert desk.core.model.view(desk.now).enabled == {"stop", "limit", "pause", "end"}
    desk.take("job/state", scenario.job(JobState.PAUSED))
    desk.take("safety/state", scenario.safety(SafetyState.PROTECTIVE_STOP))
    assert desk.core.model.view(desk.now).enabled == {"stop", "limit", "resume", "end", "reset"}
    desk.take("job/state", scenario.job(JobState.DONE))
    assert "start" in desk.core.model.view(desk.now).enabled
