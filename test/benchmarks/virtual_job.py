"""One job of the whole robot against the physics in virtual time, in a process of its own, for the benchmarks that count cartons."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LENGTH = re.compile(r"^([0-9.]+) virtual s in", re.MULTILINE)
_STOP = re.compile(r"^stop: (.*)$", re.MULTILINE)
_COUNTS = re.compile(r"Counts\(total=(\d+), delivered=(\d+), on_conveyor=(\d+), .*with_person=(\d+), falls=(\d+)\)")


@dataclass(frozen=True, slots=True)
class Job:
    """What the physics counted at the end, the job's own last words, and everything that was printed."""

    total: int
    arrived: int  # left the conveyor's end, or lie on it
    with_person: int  # carried off by the person whom the robot asked what keeps the arm from moving
    falls: int
    outcome: str
    output: str
    virtual_s: float
    stops: tuple[str, ...]  # each says whether the physics knows a reason


def run(limit_s: float, *words: str) -> Job:
    """Arguments as of test/faultsim/robot_graph.py; limit_s in virtual seconds.

    Raises:
        SystemExit: it ended without a count; with the end of what it said.
    """
    command = [sys.executable, "test/faultsim/robot_graph.py", "--quiet", "--limit", str(limit_s), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = _COUNTS.search(done.stdout)
    if found is None:
        raise SystemExit(f"no result of {' '.join(words)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    total, delivered, on_conveyor, with_person, falls = map(int, found.groups())
    after = [line for line in done.stdout[found.end() :].splitlines()[1:] if not line.startswith("stop: ")]
    length, stops = _LENGTH.search(done.stdout), tuple(_STOP.findall(done.stdout))
    assert length is not None
    arrived = delivered + on_conveyor
    return Job(total, arrived, with_person, falls, after[0][:160], done.stdout, float(length.group(1)), stops)
