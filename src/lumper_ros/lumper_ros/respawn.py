"""Whether a node that starts was killed while it was active, under the launcher that starts it again.

Such a node need not wait until discovery has shown it to the lifecycle manager, which takes seconds: it takes up its service itself.
"""

import contextlib
import os
from pathlib import Path


def launcher() -> str:
    """Names the process that started this one; differs for another process that gets the same number later."""
    pid = os.getppid()
    with contextlib.suppress(OSError):
        # Field 22 of proc_pid_stat(5), counted behind the name in brackets, which may hold anything.
        return f"{pid} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    return ""


class ActiveMark:
    """A file that says under which launcher a node is active. Without it, for whatever reason, nothing but time is lost."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def left_behind(self) -> bool:
        """Whether the node was active under this launcher and did not end in order."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return bool(launcher()) and self._file.read_text() == launcher()
        return False

    def set(self) -> None:
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(launcher())

    def clear(self) -> None:
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
