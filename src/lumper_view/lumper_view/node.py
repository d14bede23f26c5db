"""From parameters to operator_panel."""

import secrets
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lumper_ros.auth import KeyFileError, load_key, open_to_others
from lumper_ros.core import Core, Effects, Now
from lumper_ros.host import Host
from lumper_ros.parameters import ParameterError
from lumper_ros.robot import load_robot, load_trailer
from lumper_view.cloud_view import CloudView
from lumper_view.commands import Press
from lumper_view.core import PanelCore
from lumper_view.page import Page
from lumper_view.page_scene import SceneDrawer
from lumper_view.parameters import PanelParameters
from lumper_view.scene import legend
from lumper_view.tls import load_context

PANELS_PERIOD_S = 0.25
BEAT_PERIOD_S = 1.0
AIM_PERIOD_S = 1.0
CLOUD_PERIOD_S = 0.5
MIN_TOKEN = 8


def load_token(token_file: str) -> tuple[str, bool]:
    """The operators' token, and whether it was drawn just now.

    Raises:
        ParameterError: the file is missing, readable by others, or holds fewer than 8 characters.
    """
    if not token_file:
        return secrets.token_hex(4), True
    path = Path(token_file).expanduser()
    if not path.is_file():
        raise ParameterError(
            f"token_file: {token_file} is not there; write a token of at least {MIN_TOKEN} characters into it"
        )
    if open_to_others(path):
        raise ParameterError(f"token_file: {token_file} can be read by others; chmod 600 and change the token")
    token = path.read_text("utf-8", errors="replace").strip()
    if len(token) < MIN_TOKEN:
        raise ParameterError(f"token_file: {token_file} holds {len(token)} characters, at least {MIN_TOKEN} are needed")
    return token, False


class PanelNodeCore(PanelCore):
    """PanelCore with its page: presses go in through the host, views go out after each tick."""

    def __init__(self, parameters: PanelParameters) -> None:
        try:
            key = load_key(parameters.authentication, parameters.key_file)
        except KeyFileError as error:
            raise ParameterError(str(error)) from None
        self._robot = load_robot(Path(parameters.robot_folder))
        self._trailer = load_trailer(Path(parameters.trailer_file))
        token, self._drawn = load_token(parameters.token_file)
        self._tls = load_context(parameters.tls_certificate, parameters.tls_key)
        super().__init__(parameters, self._robot, self._trailer, token, key)
        self._token = token
        self._panel_parameters = parameters
        self._host: Host | None = None
        self._page: Page | None = None
        self._drawer: SceneDrawer | None = None
        self._cloud = CloudView(parameters.cloud_points)
        self._next_s = {"panels": 0.0, "beat": 0.0, "aim": 0.0, "cloud": 0.0}

    def attach(self, host: Host, parameters: PanelParameters) -> None:
        """Called by run_core once the host exists."""
        self._host = host

    def activate(self, now: Now) -> Effects:
        """Open the page."""
        host = self._host
        assert host is not None
        parameters = self._panel_parameters

        def submit(press: Press) -> None:
            host.inject(lambda core, at: self.press(press, at))

        def connected(browser: int, address: str) -> None:
            host.inject(lambda core, at: self.connected(browser, address, at))

        def disconnected(browser: int) -> None:
            host.inject(lambda core, at: self.disconnected(browser, at))

        def failed(error: Exception) -> None:
            def raise_it(core: Core, at: Now) -> Effects:
                raise error

            host.inject(raise_it)

        page = self._page = Page(parameters.host, parameters.port, submit, connected, disconnected, failed, self._tls)
        self._drawer = page.run(lambda: SceneDrawer(page.server, self._robot, self._trailer))
        print(f"operator page: {page.address}", file=sys.stderr, flush=True)
        if self._drawn:
            # Not through the node's logger: that would publish it on /rosout.
            print(
                f"operator token: {self._token} (for this start; set token_file for a lasting one)",
                file=sys.stderr,
                flush=True,
            )
        return super().activate(now)

    @property
    def port(self) -> int:
        """The page's port, 0 while it is closed."""
        return 0 if self._page is None else self._page.port

    def deactivate(self, now: Now) -> Effects:
        """Close the page."""
        if self._page is not None:
            self._page.close()
            self._page = None
        return super().deactivate(now)

    def _due(self, what: str, period_s: float, now: Now) -> bool:
        if now.steady_s < self._next_s[what]:
            return False
        self._next_s[what] = now.steady_s + period_s
        return True

    def tick(self, now: Now) -> Effects:
        """Draw, where somebody looks."""
        effects = super().tick(now)
        page, drawer = self._page, self._drawer
        if page is None or drawer is None:
            return effects
        if self._due("aim", AIM_PERIOD_S, now) and (seen := self.keeper.placement.base()) is not None:
            page.post("aim", partial(drawer.aim, float(seen[0, 3])))
        if not page.browsers():
            return effects
        if self._due("beat", BEAT_PERIOD_S, now):
            page.post("beat", page.beat)
        placement = self.keeper.placement
        links, base = placement.links(), placement.base()
        scene = self.keeper.scene(now, links)
        bodies = placement.base_bodies(base) if base is not None else ()
        page.post("scene", partial(drawer.draw, scene, links, bodies))
        if self._due("cloud", CLOUD_PERIOD_S, now) and base is not None and self.cloud is not None:
            points = self._cloud.points(self.cloud, self._robot, base)
            if points is not None:
                page.post("cloud", partial(drawer.cloud, points))
        if self._due("panels", PANELS_PERIOD_S, now):
            sessions = [replace(session) for session in self.sessions.all()]
            page.post("panels", partial(page.show, self.model.view(now), sessions, dict(legend(scene.cartons))))
        return effects


def build_panel(parameters: PanelParameters) -> PanelNodeCore:
    """Core of operator_panel with its page."""
    return PanelNodeCore(parameters)


def attach_panel(host: Host, parameters: PanelParameters) -> None:
    """Give the page its way into the host."""
    core: Any = host.core
    core.attach(host, parameters)
