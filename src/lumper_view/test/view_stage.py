"""The panel as a process and a peer in place of the robot, in a ROS domain and folder of their own."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from lumper_ros.auth import create_key

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "hill-lamp-27"


class Process:
    """A child whose output lines can be waited for."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.popen = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._new: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line)
            self._new.put(line)

    def wait_line(self, pattern: str, timeout_s: float = 60.0) -> re.Match[str]:
        """The next line that matches."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                line = self._new.get(timeout=left_s)
            except queue.Empty:
                break
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"no line like {pattern!r} within {timeout_s} s:\n{''.join(self.lines[-40:])}")

    def tell(self, line: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def end(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        self.popen.send_signal(signal.SIGINT)
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(10)


class Stage:
    """Panel and peer in a domain of their own."""

    def __init__(self, folder: Path, port: int = 8390, **extra: str) -> None:
        self.folder = folder
        self.port = port
        create_key(folder / "key")
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)
        self.env = {
            **os.environ,
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_DOMAIN_ID": os.environ.get("ROS_DOMAIN_ID", "19"),
            "LUMPER_STATE_DIR": str(folder / "state"),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src" / "lumper_view"), *sys.path]),
            "PYTHONUNBUFFERED": "1",
        }
        here = Path(__file__).resolve().parent
        self.peer = Process(
            [sys.executable, str(here / "view_peer.py"), str(ROOT / "config"), str(folder / "key"), "60"], self.env
        )
        self.peer.wait_line('"ready"')
        self.start_panel(**extra)

    def start_panel(self, **extra: str) -> None:
        parameters = {
            "robot_folder": str(ROOT / "config" / "robot"),
            "trailer_file": str(ROOT / "config" / "trailer.yaml"),
            "key_file": str(self.folder / "key"),
            "token_file": str(self.folder / "token"),
            "port": str(self.port),
            **extra,
        }
        given = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        command = [sys.executable, "-m", "lumper_view.main", "operator_panel", "--ros-args", *given]
        self.panel = Process(command, self.env)
        self.url = self.panel.wait_line(r"operator page: (https?://127\.0\.0\.1:\d+)")[1]

    def served(self, service: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """The next call of a service that the peer saw."""
        found = self.peer.wait_line(rf'^{{"service": "{service}".*$', timeout_s)
        answer: dict[str, Any] = json.loads(found[0])
        return answer

    def calls(self) -> int:
        return sum(line.startswith('{"service"') for line in self.peer.lines)

    def end(self) -> None:
        self.panel.end()
        self.peer.end()
