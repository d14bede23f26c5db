"""The web server behind the operator's page: shows views, hands presses on. No decision is made here.

All of it runs on the server's own event loop, also what the host's thread wants drawn: viser's message buffer may be
filled from another thread only while a single browser is connected.

Everything a person can press belongs to one browser's own set of controls, so that what one browser sends can never
change or disable the controls of another.
"""

import asyncio
import contextlib
import io
import logging
import secrets
import ssl
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from html import escape
from typing import Any, TypeVar

import viser

from lumper_view import page_html as html
from lumper_view.commands import Act, Press
from lumper_view.panel_model import OptionView, QuestionView, View
from lumper_view.scene import Look
from lumper_view.sessions import MAX_NAME, MAX_REASON, Session
from lumper_view.tls import TlsFront, free_port
from lumper_view.words import how_many

T = TypeVar("T")
Submit = Callable[[Press], None]
STOP_RGB = (196, 0, 24)
SPEEDS = (25, 50, 75, 100)
BUILD_TIMEOUT_S = 30.0
HOLD_HZ = 10.0
PANEL_WIDTH = 470
SIDE_WIDTH = 360


class LocalServer(viser.ViserServer):
    """viser without its public tunnel: any browser could ask for it, and nothing may leave the machine."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Always refused."""
        return None


class Controls:
    """Buttons and fields of one browser."""

    def __init__(self, client: viser.ClientHandle, submit: Submit) -> None:
        self.client = client
        self._submit = submit
        self._kinds: dict[str, str] = {}
        self._option_buttons: list[Any] = []
        self._shown_question: object = None
        self._operator: str | None = None
        self._reset_form: _Form | None = None
        self._choice: _Choice | None = None
        gui = client.gui
        self._style = gui.add_html("", order=-1)
        # Above everything whose height changes: it must not move from under the finger that presses it.
        self.stop = self._button("■ STOP", Act.STOP, "stop", 0.5, STOP_RGB)
        _while_held(self.stop, partial(self._press, Act.STOP))
        self._notice = gui.add_html("", order=3)
        self._act: dict[Act, Any] = {
            Act.START: self._button("▶ Start", Act.START, "half", 20, "green"),
            Act.PAUSE: self._button("Ⅱ Pause", Act.PAUSE, "half", 21, "yellow"),
            Act.RESUME: self._button("▶ Resume", Act.RESUME, "half", 22, "green"),
            Act.END: self._button("✖ End job", Act.END, "half", 23, "gray"),
        }
        self.reset = self._plain_button("↺ Reset …", "full", 24, "blue")
        _on_press(self.reset, self._ask_reset)
        self._limit_title = gui.add_html('<div class="lm lm-h" style="margin-bottom:0">Speed limit</div>', order=25)
        self._limits: dict[int, Any] = {}
        for place, percent in enumerate(SPEEDS):
            button = self._plain_button(f"{percent} %", "third", 26 + place / 10, "cyan")
            _on_press(button, partial(self._press, Act.LIMIT, speed=percent / 100.0))
            self._limits[percent] = button
        self._sign_in_title = gui.add_html("", order=10)
        self.name = gui.add_text(
            "Your name", "", order=11, hint=f"at most {MAX_NAME} characters; written on every command"
        )
        self.token = gui.add_text("Token", "", order=12, hint="shown on the robot's terminal, or in its token file")
        self.sign_in = self._plain_button("✔ Sign in", "full", 13, "indigo")
        _on_press(self.sign_in, self._sign_in)
        self.sign_out = self._button("Sign out", Act.SIGN_OUT, "full", 30, "gray")
        self._restyle()

    def _plain_button(self, label: str, kind: str, order: float, colour: Any) -> Any:
        button = self.client.gui.add_button(label, order=order, color=colour)
        self._kinds[button._impl.uuid] = kind
        return button

    def _button(self, label: str, act: Act, kind: str, order: float, colour: Any) -> Any:
        button = self._plain_button(label, kind, order, colour)
        _on_press(button, partial(self._press, act))
        return button

    def _restyle(self) -> None:
        self._style.content = html.button_style(self._kinds)

    def _press(self, act: Act, **arguments: Any) -> None:
        self._submit(Press(self.client.client_id, act, secrets.randbits(64), **arguments))

    def _sign_in(self) -> None:
        token, self.token.value = self.token.value, ""
        self._press(Act.SIGN_IN, name=self.name.value, token=token)

    def _ask_reset(self) -> None:
        if self._reset_form is not None:
            return
        form = self._reset_form = _Form(self, 24)
        form.html("Look at the robot and its surroundings first. A reset does not start it.")
        gui = self.client.gui
        who = form.keep(gui.add_text("Who", self._operator or "", order=form.next()))
        why = form.keep(gui.add_text("Why", "", hint=f"3 to {MAX_REASON} characters", order=form.next()))

        def close() -> None:
            self._reset_form = None
            form.close()

        def send() -> None:
            name, reason = who.value, why.value
            close()
            self._press(Act.RESET, name=name, reason=reason)

        form.button("↺ Reset now", "full", "blue", send)
        form.button("Cancel", "full", "gray", close)
        self._restyle()

    def _ask_which(self, option: OptionView, below: float, answer: Callable[..., None]) -> None:
        if self._choice is not None:
            self._choice.close()
        self._choice = _Choice(self, option, below, answer)

    def update(self, view: View, session: Session) -> None:
        """Show this browser's own part of the view."""
        self._notice.content = html.notice(session.notice, session.notice_good)
        signed_in = bool(session.operator)
        enabled = view.enabled if signed_in else frozenset()
        for act, button in self._act.items():
            _set_disabled(button, act.name.lower() not in enabled)
        _set_disabled(self.reset, "reset" not in enabled)
        for button in self._limits.values():
            _set_disabled(button, "limit" not in enabled)
        for percent, button in self._limits.items():
            label = f"✔ {percent} %" if percent == view.limit_percent else f"{percent} %"
            if button.label != label:
                button.label = label
        if self._operator != session.operator:
            self._operator = session.operator
            words = (
                f"Signed in as <b>{escape(session.operator)}</b>" if signed_in else "Read-only. To command, sign in:"
            )
            self._sign_in_title.content = f'<div class="lm lm-h">{words}</div>'
            for element in (self.name, self.token, self.sign_in):
                element.visible = not signed_in
            for element in (*self._act.values(), self.reset, self._limit_title, *self._limits.values(), self.sign_out):
                element.visible = signed_in
        self._options(view.question, signed_in)

    def _options(self, question: QuestionView | None, signed_in: bool) -> None:
        shown = None if question is None else (question.question_id, question.options)
        if shown != self._shown_question:
            self._shown_question = shown
            for button in self._option_buttons:
                self._kinds.pop(button._impl.uuid, None)
                button.remove()
            self._option_buttons = []
            if self._choice is not None:
                self._choice.close()
            if question is not None:
                self._add_options(question)
            self._restyle()
        busy = question is not None and bool(question.answering)
        for button in self._option_buttons:
            _set_disabled(button, not signed_in or busy)

    def _add_options(self, question: QuestionView) -> None:
        for place, option in enumerate(question.options):
            sign = "◎ " if option.is_default else ""
            label = f"{sign}{option.label} ({option.detail})"
            button = self._plain_button(label, "option", 5 + place / 5, "orange")
            answer = partial(self._press, Act.ANSWER, question_id=question.question_id, option=place)
            _on_press(button, partial(self._ask_which, option, 5 + place / 5, answer) if option.choices else answer)
            self._option_buttons.append(button)


class _Form:
    """Elements that stand below others for a while. Never a window before the page: STOP stays in sight and in reach."""

    def __init__(self, controls: Controls, below: float) -> None:
        self._controls, self._order = controls, below
        self._elements: list[Any] = []

    def next(self) -> float:
        """Order of the next element."""
        self._order += 0.001
        return self._order

    def keep(self, element: Any) -> Any:
        self._elements.append(element)
        return element

    def html(self, text: str) -> None:
        content = f'<div class="lm lm-why">{escape(text)}</div>'
        self.keep(self._controls.client.gui.add_html(content, order=self.next()))

    def button(self, label: str, kind: str, colour: str, act: Callable[[], None]) -> Any:
        button = self.keep(self._controls._plain_button(label, kind, self.next(), colour))
        _on_press(button, act)
        return button

    def close(self) -> None:
        for element in self._elements:
            self._controls._kinds.pop(element._impl.uuid, None)
            element.remove()
        self._elements = []


class _Choice:
    """Which cartons an answer is about: a large button for each, by its id."""

    def __init__(self, controls: Controls, option: OptionView, below: float, answer: Callable[..., None]) -> None:
        self._controls, self._option, self._answer = controls, option, answer
        self._chosen: set[int] = set()
        form = self._form = _Form(controls, below)
        count = how_many(option.choose_min, option.choose_max)
        form.html(f"Which? Choose {count}. In the picture each carton bears its number, like #{option.choices[0]}.")
        self._toggles = {
            carton_id: form.button(_unchosen(carton_id), "third", "gray", partial(self._toggle, carton_id))
            for carton_id in option.choices
        }
        self._confirm = form.button("✔ Answer", "half", "blue", self._send)
        self._confirm.disabled = True
        form.button("Cancel", "half", "gray", self.close)
        controls._restyle()

    def _toggle(self, carton_id: int) -> None:
        self._chosen ^= {carton_id}
        toggle, chosen = self._toggles[carton_id], carton_id in self._chosen
        toggle.label, toggle.color = (f"☑ #{carton_id}", "green") if chosen else (_unchosen(carton_id), "gray")
        _set_disabled(self._confirm, not self._option.choose_min <= len(self._chosen) <= self._option.choose_max)

    def _send(self) -> None:
        self.close()
        self._answer(carton_ids=tuple(sorted(self._chosen)))

    def close(self) -> None:
        """Take it away, unanswered."""
        self._controls._choice = None
        self._form.close()
        self._controls._restyle()


def _unchosen(carton_id: int) -> str:
    return f"☐ #{carton_id}"


def _set_disabled(button: Any, disabled: bool) -> None:
    if button.disabled != disabled:
        button.disabled = disabled


def _on_press(button: Any, act: Callable[[], None]) -> None:
    """Run `act` on the server's event loop: viser runs only coroutines there, plain functions in threads of its own."""

    async def pressed(_event: Any) -> None:
        act()

    button.on_click(pressed)


def _while_held(button: Any, act: Callable[[], None]) -> None:
    """Run `act` when the finger comes down and again while it stays.

    viser's client sends at most one change in 50 ms and forgets an earlier one for a later one (WebsocketUtils.ts). A press
    that must not be forgotten is therefore told several times, from its beginning on; a click comes once, at its end.
    """

    async def held(_event: Any) -> None:
        act()

    button.on_hold(held, callback_hz=HOLD_HZ)


class Page:
    """The page and all browsers on it.

    Args:
        host: address to listen on.
        port: first port tried.
        submit: called from the server's thread with each press.
        connected, disconnected: called from the server's thread with the browser's number (and its address).
        failed: called from the server's thread with what a drawing raised.
        tls: how the page is encrypted; None = not at all.
    """

    def __init__(
        self,
        host: str,
        port: int,
        submit: Submit,
        connected: Callable[[int, str], None],
        disconnected: Callable[[int], None],
        failed: Callable[[Exception], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        # Half-open connections of browsers and port scans would each log a traceback.
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        # viser prints a banner of its own; the address is said once, by the node.
        with contextlib.redirect_stdout(io.StringIO()):
            inner = (host, port) if tls is None else ("127.0.0.1", free_port())
            self.server = LocalServer(*inner, label="Lumper", verbose=False)
        self.host = host
        self._loop = self.server.get_event_loop()
        self._submit, self._connected, self._disconnected, self._failed = submit, connected, disconnected, failed
        self._pending: dict[str, Callable[[], None]] = {}
        self._pending_lock = threading.Lock()
        self._controls: dict[int, Controls] = {}
        self._beat = 0
        self._front = None if tls is None else TlsFront(tls, int(self.server.get_port()))
        if self._front is not None:
            self._wait(self._front.open(host, port))
        self.run(self._build)
        self.server.on_client_connect(self._arrive)
        self.server.on_client_disconnect(self._leave)

    def run(self, function: Callable[[], T]) -> T:
        """Run `function` on the server's loop and wait for its value; not to be called from that loop."""

        async def call() -> T:
            return function()

        return self._wait(call())

    def _wait(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(BUILD_TIMEOUT_S)

    def _build(self) -> None:
        server = self.server
        server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="large", dark_mode=False)
        main = server.gui.main_panel
        main.dock_right()
        main.set_width(PANEL_WIDTH)
        server.gui.add_html(html.STYLE, order=-2)
        self._heartbeat = server.gui.add_html(html.heartbeat(0), order=0)
        self._asks = server.gui.add_html("", order=0.6)
        self._headline = server.gui.add_html("", order=1)
        self._question = server.gui.add_html("", order=4)
        self._counts = server.gui.add_html("", order=50)
        self._cycle = server.gui.add_html("", order=51)
        self._plot = server.gui.add_html("", order=52)
        side = server.gui.add_panel()
        with side.add_tab("Next"):
            self._plan = server.gui.add_html("")
        with side.add_tab("Events"):
            self._events = server.gui.add_html("")
        with side.add_tab("Health"):
            self._health = server.gui.add_html("")
        side.dock_left()
        side.set_width(SIDE_WIDTH)

    async def _arrive(self, client: viser.ClientHandle) -> None:
        # Known first: a press may come the moment the buttons are there.
        self._connected(client.client_id, _address(client))
        self._controls[client.client_id] = Controls(client, self._submit)

    async def _leave(self, client: viser.ClientHandle) -> None:
        self._controls.pop(client.client_id, None)
        self._disconnected(client.client_id)

    def post(self, part: str, draw: Callable[[], None]) -> None:
        """Have `draw` run on the server's loop; a newer one for the same part takes the place of one not yet run."""
        with self._pending_lock:
            idle = not self._pending
            self._pending[part] = draw
        if idle:
            # The loop is closed only while the node ends.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._draw_pending)

    def _draw_pending(self) -> None:
        with self._pending_lock:
            parts, self._pending = self._pending, {}
        try:
            for draw in parts.values():
                draw()
        except Exception as error:
            self._failed(error)

    @property
    def port(self) -> int:
        """The port that was free."""
        return int(self.server.get_port()) if self._front is None else self._front.port

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"{'http' if self._front is None else 'https'}://{self.host}:{self.port}"

    def browsers(self) -> int:
        """How many browsers are connected."""
        return len(self._controls)

    def beat(self) -> None:
        """Tell every browser that the page is alive; for `post`, at least once a second."""
        self._beat += 1
        self._heartbeat.content = html.heartbeat(self._beat)

    def show(self, view: View, sessions: list[Session], shown: dict[Look, int]) -> None:
        """Bring the panels to this view; for `post`."""
        for handle, content in (
            (self._headline, html.headline(view)),
            (self._asks, html.asks(view.question)),
            (self._question, html.question(view.question, view.last_question)),
            (self._counts, html.counts(view)),
            (self._cycle, html.cycle(view.cycle)),
            (self._plot, html.plot(view.per_minute)),
            (self._plan, html.plan(view, shown)),
            (self._events, html.events(view.events)),
            (self._health, html.health(view)),
        ):
            if handle.content != content:
                handle.content = content
        for session in sessions:
            controls = self._controls.get(session.browser)
            if controls is not None:
                # viser refuses to touch the elements of a browser that left while we were at it.
                with contextlib.suppress(RuntimeError):
                    controls.update(view, session)

    def close(self) -> None:
        """Close the port and all connections."""
        if self._front is not None:
            self._wait(self._front.close())
        self.server.stop()


def _address(client: viser.ClientHandle) -> str:
    connection = client._websock_connection
    return str(getattr(connection, "client_address", "")) or f"browser {client.client_id}"
