"""A real Chromium, headless, driven over the DevTools protocol."""

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-allow-origins=*",
)


class Browser:
    """One Chromium process; use as a context manager."""

    def __init__(self, width: int = 1280, height: int = 800) -> None:
        assert CHROMIUM is not None
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                CHROMIUM,
                *_FLAGS,
                "--remote-debugging-port=0",
                f"--user-data-dir={self._folder.name}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "LD_LIBRARY_PATH": ""},
        )
        assert self._process.stderr is not None
        self._port = 0
        deadline = time.monotonic() + 60
        for line in self._process.stderr:
            found = re.search(r"ws://127\.0\.0\.1:(\d+)/", line)
            if found:
                self._port = int(found[1])
                break
            if time.monotonic() > deadline:
                break
        if not self._port:
            self.close()
            raise RuntimeError("chromium did not open its debugging port")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait(20)
        self._folder.cleanup()

    def open(self, url: str) -> "Tab":
        """A new tab on `url`."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?{url}", method="PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Tab(json.load(answer)["webSocketDebuggerUrl"])


class Tab:
    """One page."""

    def __init__(self, url: str) -> None:
        self._socket = connect(url, max_size=2**26, open_timeout=30)
        self._ids = itertools.count(1)
        self._held = False
        self.call("Page.enable")
        self.call("Page.bringToFront")

    def close(self) -> None:
        """Close the page."""
        self.call("Page.close")
        self._socket.close()

    def call(self, method: str, **parameters: Any) -> Any:
        """One DevTools command and its result.

        Raises:
            RuntimeError: the browser refuses it.
        """
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=90))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def js(self, expression: str) -> Any:
        """Value of a JavaScript expression.

        Raises:
            RuntimeError: it threw.
        """
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "?"))
        return answer["result"].get("value")

    def text(self) -> str:
        """All words on the page."""
        return str(self.js("document.body ? document.body.innerText : ''"))

    def wait(self, expression: str, timeout_s: float = 60.0) -> Any:
        """Wait until a JavaScript expression is truthy; its value.

        Raises:
            AssertionError: not in time; shows the page's words.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            value = self.js(expression)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"not true within {timeout_s} s: {expression}\n--- page ---\n{self.text()}")

    def wait_text(self, words: str, timeout_s: float = 60.0) -> None:
        """Wait until the page shows these words."""
        self.wait(f"document.body && document.body.innerText.includes({json.dumps(words)})", timeout_s)

    def place(self, label: str, timeout_s: float = 30.0) -> tuple[float, float]:
        """Where the first enabled button or tab whose words contain `label` is, once it stands still with nothing in front.

        A dialog moves while it opens: a press at where a button was meets its neighbour.
        """
        found = (
            "(async () => { const b = [...document.querySelectorAll('button,[role=tab]')].find(b => "
            f"b.innerText.includes({json.dumps(label)}) && !b.disabled && b.offsetParent !== null); "
            "if (!b) return null; b.scrollIntoView({block: 'center'}); "
            "const place = () => { const r = b.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }; "
            "const before = place(); await new Promise(done => setTimeout(done, 150)); const [x, y] = place(); "
            "const top = document.elementFromPoint(x, y); "
            "return b.isConnected && x === before[0] && y === before[1] && b.contains(top) ? [x, y] : null; })()"
        )
        x, y = self.wait(found, timeout_s)
        return x, y

    def mouse(self, place: tuple[float, float], *kinds: str) -> None:
        """Move the real mouse to a place and do there what is said: Pressed, Released."""
        x, y = place
        for kind in ("Moved", *kinds):
            # A mouse that moves with its button down says so; one that does not ends the capture of the pointer.
            button = "left" if kind != "Moved" or self._held else "none"
            self._held = kind == "Pressed" or (self._held and kind != "Released")
            self.call(
                "Input.dispatchMouseEvent",
                type=f"mouse{kind}",
                x=x,
                y=y,
                button=button,
                buttons=int(self._held),
                clickCount=1,
            )

    def press(self, label: str, timeout_s: float = 30.0) -> None:
        """A real mouse press on the first enabled button or tab whose words contain `label`."""
        self.mouse(self.place(label, timeout_s), "Pressed", "Released")

    def type(self, label: str, words: str) -> None:
        """Type into the text field labelled `label`, replacing what is there."""
        found = (
            "(() => { let e = [...document.querySelectorAll('label,p,span,div')].filter(e => e.children.length === 0 && "
            f"e.textContent.trim() === {json.dumps(label)} && e.offsetParent !== null).pop(); "
            "while (e && !e.querySelector('input,textarea')) e = e.parentElement; "
            "const i = e && e.querySelector('input,textarea'); if (!i) return false; "
            "i.scrollIntoView({block: 'center'}); i.focus(); i.select(); return true; })()"
        )
        self.wait(found, 20)
        self.call("Input.insertText", text=words)
        # The page sends at most one change in 50 ms and forgets an earlier one for a later one (viser, WebsocketUtils.ts):
        # as no person types and presses faster, its own timer after that is waited for.
        self.call("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 200))", awaitPromise=True)

    def screenshot(self, path: Path) -> Path:
        """Write a PNG of the page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return path

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        """Pretend to be a screen of this size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
