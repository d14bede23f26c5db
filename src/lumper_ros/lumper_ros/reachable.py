"""Whether nodes that come up later can still send to this one.

Fast DDS keeps the queue in which a process receives through shared memory in a file named by the participant's number. A killed
process leaves its file; the next process with that number makes another one of the same name, and whoever lets go of the old one
last may remove the new one by its name. Then those who opened it before are heard as ever, and nobody who comes up later, for
good: to them it looks like a queue without a reader. Only a new process helps.
"""

import os
import re
import sys
import threading
from pathlib import Path

PERIOD_S = 1.0
# What was found so often running is no moment in which the middleware makes its file anew.
RUNNING = 2
# The launcher starts a node again that ended with this.
EXIT_CODE = 75

_THREAD = re.compile(r"dds\.shm\.(\d+)")
_MAPPING = re.compile(r"^\S+ \S+ \S+ \S+ (\d+) +\S*/fastdds_port(\d+)(?: \(deleted\))?$", re.MULTILINE)


class ReceivingPorts:
    """The shared memory files through which this process receives."""

    def __init__(self, process: Path = Path("/proc/self"), memory: Path = Path("/dev/shm")) -> None:
        self._process, self._memory = process, memory
        self._known: dict[int, int] = {}

    def lost(self) -> set[int]:
        """Ports whose file is another one, or none, than the one that this process reads."""
        if self._known and all(self._inode(port) == inode for port, inode in self._known.items()):
            return set()
        mapped: dict[int, set[int]] = {}
        for inode, port in _MAPPING.findall((self._process / "maps").read_text()):
            mapped.setdefault(int(port), set()).add(int(inode))
        files = {port: self._inode(port) for port in self._listening() if port in mapped}
        lost = {port for port, inode in files.items() if inode not in mapped[port]}
        # Looked at closely again only once a file changes.
        self._known = {} if lost else files
        return lost

    def _listening(self) -> set[int]:
        names = [(task / "comm").read_text() for task in (self._process / "task").iterdir()]
        return {int(found[1]) for name in names if (found := _THREAD.match(name))}

    def _inode(self, port: int) -> int:
        try:
            return (self._memory / f"fastdds_port{port}").stat().st_ino
        except FileNotFoundError:
            return 0


def watch(ended: threading.Event, ports: ReceivingPorts) -> None:
    """Until `ended`: leave the process, to be started again, once nobody new could reach it."""
    running = 0
    while not ended.wait(PERIOD_S):
        try:
            lost = ports.lost()
        except OSError:
            continue  # a thread ended while its name was read
        running = running + 1 if lost else 0
        if running >= RUNNING:
            names = ", ".join(f"fastdds_port{port}" for port in sorted(lost))
            text = f"{names} in /dev/shm was removed: nodes that come up now cannot reach this one; it ends to be started again"
            print(text, file=sys.stderr, flush=True)
            os._exit(EXIT_CODE)
