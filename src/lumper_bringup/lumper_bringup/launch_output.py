"""What a launch writes: coloured, prefixed lines on the screen, and files on disk."""

import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

_PALETTE = (36, 32, 35, 34, 96, 92, 95, 94)
_LEVELS = {"DEBUG": 90, "INFO": 0, "WARN": 33, "ERROR": 31, "FATAL": 31}
_SEVERITY = re.compile(r"\[(WARN|ERROR|FATAL)\]")


def log_folder(environment: Mapping[str, str]) -> Path:
    """Folder for the logs of one launch, as ROS 2 names it: below ROS_LOG_DIR, ROS_HOME/log or ~/.ros/log."""
    base = environment.get("ROS_LOG_DIR") or str(Path(environment.get("ROS_HOME") or "~/.ros") / "log")
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.localtime())
    return (
        Path(base).expanduser()
        / f"{stamp}-{time.time_ns() // 1000 % 1_000_000:06d}-{socket.gethostname()}-{os.getpid()}"
    )


def wants_colour(stream: IO[str], environment: Mapping[str, str]) -> bool:
    """Colour on a terminal, unless NO_COLOR is set; RCUTILS_COLORIZED_OUTPUT=0|1 decides first, as for the nodes."""
    forced = environment.get("RCUTILS_COLORIZED_OUTPUT", "")
    if forced in ("0", "1"):
        return forced == "1"
    return stream.isatty() and not environment.get("NO_COLOR")


class Log:
    """Screen and files of one launch: launch.log with everything, and one file for each process.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: Path, screen: IO[str] = sys.stdout, colour: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._screen: IO[str] | None = screen
        self._colour = colour
        self._all = (folder / "launch.log").open("w", buffering=1)
        self._files: dict[str, IO[str]] = {}

    def launcher(self, level: str, source: str, text: str) -> None:
        """A line of the launcher itself."""
        line = f"[{level}] [{source}]: {text}"
        self._write(source, line)
        self._show(self._painted(line, _LEVELS[level]))

    def process(self, label: str, line: str, to_screen: bool) -> None:
        """A line that process `label` wrote."""
        self._write(label, f"[{label}] {line}")
        if label not in self._files:
            self._files[label] = (self.folder / f"{label}.log").open("w", buffering=1)
        self._files[label].write(line + "\n")
        if to_screen:
            severity = _SEVERITY.search(line)
            hue = _PALETTE[(int(label.rpartition("-")[2]) - 1) % len(_PALETTE)]
            shown = self._painted(line, _LEVELS[severity.group(1)] if severity else 0)
            self._show(f"{self._painted(f'[{label}]', hue)} {shown}")

    def _write(self, source: str, line: str) -> None:
        self._all.write(f"{time.time():.6f} {line}\n")

    def _show(self, line: str) -> None:
        if self._screen is None:
            return
        try:
            self._screen.write(line + "\n")
            self._screen.flush()
        except BrokenPipeError:
            # Nobody reads any more; the processes still have to be ended in order.
            self._screen = None

    def _painted(self, text: str, colour: int) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colour and colour else text

    def close(self) -> None:
        for file in (self._all, *self._files.values()):
            file.close()
