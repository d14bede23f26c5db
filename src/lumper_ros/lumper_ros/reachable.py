"""Whether the middleware of this process still works: whether nodes that come up later can send to it, and whether it tells others
that it is there. Where it does not, only a new process helps.

Fast DDS keeps the queue in which a process receives through shared memory in a file named by the participant's number. A killed
process leaves its file; the next process with that number makes another one of the same name, and whoever lets go of the old one
last may remove the new one by its name. Then those who opened it before are heard as ever, and nobody who comes up later, for
good: to them it looks like a queue without a reader.

Its event thread sends announcements, heartbeats and acknowledgements. When somebody else's publisher leaves in the moment of an
announcement, that thread and the one that receives may wait for each other for ever (eProsima/Fast-DDS issue 6502 is one such
case): the process goes on, but the others lose it after its lease, and it learns of nobody new.
"""

import os
import re
import sys
import threading
from pathlib import Path

PERIOD_S = 1.0
# What was found so often running is no moment in which the middleware makes its file anew.
RUNNING = 2
# An event thread wakes for every announcement, each 3 s unless a profile says otherwise; at so many looks in a row it has not run.
STILL = 20
# The launcher starts a node again that ended with this.
EXIT_CODE = 75

_THREAD = re.compile(r"dds\.shm\.(\d+)")
_EVENTS = re.compile(r"dds\.ev\.\d+")
_SWITCHES = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)
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


class EventThreads:
    """The threads in which the middleware's timers run."""

    def __init__(self, process: Path = Path("/proc/self"), still: int = STILL) -> None:
        """
        Args:
            still: looks in a row at which a thread that has not run counts as stuck.
        """
        self._process, self._still = process, still
        self._seen: dict[Path, tuple[int, int]] = {}  # task -> switches, looks since it had fewer

    def stuck(self) -> list[str]:
        """Names of those that have not run for long. To be asked again and again: a process that was stopped looks at nothing."""
        if not self._seen:
            tasks = (self._process / "task").iterdir()
            self._seen = {task: (-1, 0) for task in tasks if _EVENTS.fullmatch((task / "comm").read_text().strip())}
        for task, (before, looks) in self._seen.items():
            try:
                found = _SWITCHES.search((task / "status").read_text())
            except OSError:
                # It ended: a participant was closed. The next look begins with those that are there then.
                self._seen = {}
                return []
            switches = int(found[1]) if found is not None else before + 1
            self._seen[task] = (switches, looks + 1 if switches == before else 0)
        return [(task / "comm").read_text().strip() for task, (_, looks) in self._seen.items() if looks >= self._still]


def watch(ended: threading.Event, ports: ReceivingPorts, events: EventThreads) -> None:
    """Until `ended`: leave the process, to be started again, once its middleware does not work any more."""
    running = 0
    while not ended.wait(PERIOD_S):
        try:
            lost, stuck = ports.lost(), events.stuck()
        except OSError:
            continue  # a thread ended while its name was read
        running = running + 1 if lost else 0
        if running >= RUNNING:
            names = ", ".join(f"fastdds_port{port}" for port in sorted(lost))
            _leave(f"{names} in /dev/shm was removed: nodes that come up now cannot reach this one")
        if stuck:
            _leave(f"the middleware's thread {', '.join(stuck)} is stuck: to all others this node is gone")


def _leave(why: str) -> None:
    print(f"{why}; it ends to be started again", file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)
