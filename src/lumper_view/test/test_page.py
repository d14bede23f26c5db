"""The operator's page in a real browser, over real DDS: the node, a peer in place of the robot, and Chromium."""

import os
import signal
from collections.abc import Iterator

import pytest
from chromium import CHROMIUM, Browser, Tab
from view_stage import ROOT, TOKEN, Stage

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)"),
    pytest.mark.timeout(280),
]
SHOTS = ROOT / "build" / "screenshots"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("page"))
    yield made
    made.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(1280, 800) as made:
        yield made


@pytest.fixture
def tab(stage: Stage, browser: Browser) -> Iterator[Tab]:
    stage.peer.tell("nobody")
    made = browser.open(stage.url)
    made.size(1280, 800)
    made.wait_text("STOP")
    yield made
    made.close()
    print("the peer's last words:", *stage.peer.lines[-20:], sep="\n")


def _sign_in(tab: Tab, name: str = "Anna Berg", token: str = TOKEN) -> None:
    tab.type("Your name", name)
    tab.type("Token", token)
    tab.press("Sign in")


def test_shows_the_running_job(stage: Stage, tab: Tab) -> None:
    tab.wait_text("Picking")
    tab.wait_text("carton 12: pulling out")
    for words in ("delivered", "642", "Time per carton", "Cartons per minute", "next: 1"):
        tab.wait_text(words)
    stage.peer.tell("person 1.9")
    tab.wait_text("Reduced to 40 %: person 1.9 m away")
    tab.wait("[...document.querySelectorAll('canvas')].some(c => c.width > 200)")
    tab.screenshot(SHOTS / "panel_reduced.png")
    assert tab.js("[...document.querySelectorAll('button')].find(b => b.innerText.includes('STOP')).offsetHeight") >= 60


def test_token_refused_then_accepted(stage: Stage, tab: Tab) -> None:
    before = stage.calls()
    _sign_in(tab, token="not-the-token")
    tab.wait_text("this is not the operators' token")
    assert not tab.js("[...document.querySelectorAll('button')].some(b => b.innerText.includes('Pause'))")
    tab.screenshot(SHOTS / "panel_token_refused.png")
    _sign_in(tab)
    tab.wait_text("Signed in as Anna Berg")
    assert stage.calls() == before
    tab.press("Pause")
    call = stage.served("job/command")
    assert (call["operator"], call["command"], call["fault"]) == ("Anna Berg", 1, "")
    tab.wait_text("Paused")
    tab.press("Resume")
    assert stage.served("job/command")["command"] == 2
    tab.wait_text("Picking")
    tab.press("50 %")
    assert stage.served("safety/speed_limit")["speed_scale"] == 0.5
    tab.wait_text("limit 50 %")
    tab.press("100 %")
    stage.served("safety/speed_limit")
    tab.press("Events")
    tab.wait_text("Anna Berg: pause")
    tab.press("Sign out")
    tab.wait_text("This page is read-only")


def test_stop_and_reset(stage: Stage, tab: Tab) -> None:
    # Not signed in: anybody may stop, from the moment the finger comes down, and though the page forgets a change that is
    # followed by another within 50 ms.
    tab.type("Your name", "a")
    stop = tab.place("STOP")
    for words in ("b", "c"):
        tab.call("Input.insertText", text=words)
        tab.mouse(stop, "Pressed")
    tab.call("Input.insertText", text="d")
    stage.served("safety/stop")
    tab.wait_text("Reset, then resume.")
    assert tab.place("STOP") == stop, "what is said above or below does not move it from under the finger"
    tab.mouse(stop, "Released")
    tab.wait_text("Stopped")
    _sign_in(tab)
    tab.wait_text("Signed in as")
    tab.press("Reset …")
    tab.wait_text("A reset does not start it")
    tab.place("STOP")  # nothing stands before it
    tab.screenshot(SHOTS / "panel_reset.png")
    tab.press("Reset now")
    tab.wait_text("Why: please write at least")
    tab.press("Reset …")
    tab.type("Why", "looked inside, nobody there")
    tab.press("Reset now")
    call = stage.served("safety/reset")
    assert (call["operator"], call["reason"], call["fault"]) == ("Anna Berg", "looked inside, nobody there", "")
    tab.wait_text("Picking")


def test_a_question_is_answered_and_the_job_goes_on(stage: Stage, browser: Browser, tab: Tab) -> None:
    other = browser.open(stage.url)
    other.wait_text("STOP")
    stage.peer.tell("ask q-41")
    tab.wait_text("may be one long carton")
    tab.call("Page.bringToFront")
    _sign_in(tab)
    tab.wait_text("Signed in as")
    tab.screenshot(SHOTS / "panel_question.png")
    tab.press("They are two cartons")
    call = stage.served("assist/answer")
    assert (call["operator"], call["option_key"], call["fault"]) == ("Anna Berg", "treat_as_two", "")
    tab.wait_text("going on after the answer")
    other.call("Page.bringToFront")
    other.wait_text("answered by Anna Berg")
    assert not other.js("[...document.querySelectorAll('button')].some(b => b.innerText.includes('They are'))")
    other.close()


def test_a_question_is_seen_wherever_the_panel_is_scrolled(stage: Stage, browser: Browser) -> None:
    tab = browser.open(stage.url)
    try:
        tab.size(1000, 600)
        tab.wait_text("No open question")
        _sign_in(tab)
        tab.wait_text("Signed in as")
        tab.place("Sign out")  # scrolled to
        stage.peer.tell("ask q-43")
        tab.wait("document.querySelector('.lm-asks a') !== null")
        bar = "document.querySelector('.lm-asks a').getBoundingClientRect()"
        seen = f"document.elementFromPoint({bar}.x + 40, {bar}.y + 20)?.closest('.lm-asks')"
        tab.wait(f"{seen} !== null && {bar}.bottom < innerHeight")
        tab.place("STOP")
        tab.screenshot(SHOTS / "panel_asks.png")
        x, y = tab.js(f"[{bar}.x + 40, {bar}.y + 20]")
        tab.mouse((x, y), "Pressed", "Released")
        asked = "document.getElementById('lm-question').getBoundingClientRect()"
        tab.wait(f"{asked}.y > 180 && {asked}.y < 300")
        tab.press("They are two cartons")
        stage.served("assist/answer")
        tab.wait("!document.querySelector('.lm-asks a')")
    finally:
        tab.close()


def test_an_answer_says_which_cartons(stage: Stage, tab: Tab) -> None:
    stage.peer.tell("ask q-42")
    tab.wait_text("Leave some")
    _sign_in(tab)
    tab.wait_text("Signed in as")
    tab.press("Leave some")
    tab.wait_text("Choose 1 to 2")
    tab.wait_text("#14")
    tab.press("Cancel")
    tab.wait("!document.body.innerText.includes('Choose 1 to 2')")
    tab.press("Leave some")
    tab.place("STOP")  # nothing stands before it
    for chosen in ("☐ #12", "☐ #13", "☐ #14"):
        tab.press(chosen)
    tab.wait_text("☑ #14")
    disabled = "[...document.querySelectorAll('button')].find(b => b.innerText.includes('✔ Answer')).disabled"
    tab.wait(disabled)
    tab.press("☑ #13")
    tab.wait(f"!({disabled})")
    tab.screenshot(SHOTS / "panel_which.png")
    tab.press("✔ Answer")
    call = stage.served("assist/answer")
    assert (call["option_key"], call["carton_ids"], call["fault"]) == ("skip", [12, 14], "")
    tab.wait_text("going on after the answer")


def test_hostile_text_stays_text(stage: Stage, tab: Tab) -> None:
    stage.peer.tell('event <img src=x onerror="window.owned=1"><script>window.owned=1</script>')
    tab.press("Events")
    tab.wait_text("<script>window.owned=1</script>")
    assert tab.js("window.owned === undefined")
    before = stage.calls()
    _sign_in(tab, name="<b>" + "A" * 5000)
    tab.wait_text("characters are too many")
    assert stage.calls() == before


def test_narrow_and_phone_screens(tab: Tab) -> None:
    for width, height, mobile in ((800, 1280, False), (420, 860, True)):
        tab.size(width, height, mobile)
        tab.wait("document.documentElement.clientWidth <= " + str(width))
        tab.wait_text("STOP")
        tab.screenshot(SHOTS / f"panel_{width}.png")


def test_lost_connection_is_obvious_and_heals(stage: Stage, tab: Tab) -> None:
    lost = "getComputedStyle(document.querySelector('.lm-lost')).visibility === 'visible'"
    tab.wait(f"!({lost})")
    os.kill(stage.panel.popen.pid, signal.SIGSTOP)
    try:
        tab.wait(lost, 20)
        tab.screenshot(SHOTS / "panel_lost.png")
    finally:
        os.kill(stage.panel.popen.pid, signal.SIGCONT)
    tab.wait(f"!({lost})", 20)
    stage.panel.popen.kill()
    stage.panel.popen.wait(10)
    tab.wait(lost, 20)
    stage.start_panel()
    tab.call("Page.bringToFront")
    tab.wait(f"document.querySelector('.lm-lost') && !({lost})", 30)
    tab.wait_text("Picking")
