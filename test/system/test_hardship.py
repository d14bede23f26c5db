"""A full disk, a machine without memory, a clock that steps and a bad network, to nodes of the running robot: physics, DDS, the
command a user types.

The limits are those of the operating system, put on a running process: every write to a file fails as on a full disk
(RLIMIT_FSIZE), every new piece of memory is refused (RLIMIT_AS). The clock and the network are made worse between the nodes and the
C library (hardship.c): no rights are needed, no other process is touched, and no kernel must have netem.
"""

import json
import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from launched import ROOT, Observer, node_processes, robot_key, start_demo
from lumper_msgs.msg import BrokerState, SafetyCause

REFUSED_S = 4.0
CARTONS = 7
LOSS, DELAY_S = 0.2, 0.02
STEP_S = 3600.0
# As struct hardship of hardship.c.
_HARDSHIP = struct.Struct("=ddd")


class Hardship:
    """What hardship.c does to the processes that have `environment`. Their DDS keeps to UDP: shared memory loses nothing."""

    def __init__(self, folder: Path) -> None:
        library, self._file, profile = folder / "hardship.so", folder / "hardship", folder / "udp.xml"
        command = [os.environ.get("CC", "gcc"), "-O2", "-shared", "-fPIC", "-o", str(library)]
        subprocess.run([*command, str(Path(__file__).parent / "hardship.c"), "-lpthread"], check=True)
        text = (ROOT / "config" / "fastdds.xml").read_text()
        shared = "<transport_id>lumper_shm</transport_id>"
        begin = text.index("<userTransports>")
        assert shared in text[begin:]
        profile.write_text(text[:begin] + text[begin:].replace(shared, ""))
        self._file.write_bytes(_HARDSHIP.pack(0.0, 0.0, 0.0))
        self.clock_s = 0.0
        self.environment = {
            "LD_PRELOAD": str(library),
            "LUMPER_HARDSHIP": str(self._file),
            "FASTDDS_DEFAULT_PROFILES_FILE": str(profile),
        }

    def be(self, loss: float = 0.0, delay_s: float = 0.0, clock_s: float = 0.0) -> None:
        """From now on: share of the datagrams that is lost, largest delay of the others, what the clock is ahead by."""
        self.clock_s = clock_s
        # In place: the nodes have mapped it.
        with self._file.open("r+b") as file:
            file.write(_HARDSHIP.pack(loss, delay_s, clock_s))


class Job:
    """A running demonstration and what one sees of it."""

    def __init__(self, folder: Path, seed: int, hardship: Hardship | None = None) -> None:
        self._report, self._hardship = folder / "report.json", hardship
        words = ("--headless", "--cartons", str(CARTONS), "--seed", str(seed))
        self.demo, domain_id, _ = start_demo(
            self._report, *words, environment=hardship.environment if hardship is not None else None
        )
        self.see = Observer(domain_id)
        self.see.watch("job/state", "motion/state", "assist/request", "safety/state")
        self.see.watch("events", "/diagnostics", keep=True)
        self._answered: set[str] = set()

    @property
    def broker(self) -> BrokerState:
        """The newest motion/state."""
        state: BrokerState = self.see.newest["motion/state"]
        return state

    def until_moving(self, delivered: int) -> None:
        """Wait until so many cartons are delivered and another motion has begun."""
        newest = self.see.newest
        self.see.wait(lambda: "job/state" in newest and newest["job/state"].done >= delivered, 180.0, "cartons")
        sent = self.broker.dispatched
        self.see.wait(lambda: self.broker.dispatched != sent, 60.0, "the next motion")

    @contextmanager
    def refused(self, node: str, what: int, most: int) -> Iterator[None]:
        """Put a limit on a running node, and take it away again."""
        process = node_processes(self.demo.pid)[node]
        soft, hard = process.rlimit(what)
        process.rlimit(what, (most, hard))
        try:
            yield
        finally:
            if process.is_running():
                process.rlimit(what, (soft, hard))

    def texts(self) -> list[str]:
        """The last events."""
        return [f"{event.code}: {event.text}" for event in self.see.history.get("events", [])[-25:]]

    def until_told(self, text: str) -> None:
        """Wait for a diagnostic error that says so."""

        def told() -> bool:
            arrays = list(self.see.history.get("/diagnostics", []))
            errors = (each for array in arrays for each in array.status if each.level == DiagnosticStatus.ERROR)
            return any(text in each.message for each in errors)

        self.see.wait(told, 30.0, f"a diagnostic error: {text}")

    def finish(self) -> dict[str, Any]:
        """The report of the job's end; a person beside the robot answers each question with another look."""
        end_s = time.monotonic() + 400.0
        while self.demo.poll() is None and time.monotonic() < end_s:
            question = self.see.newest.get("assist/request")
            if question is not None and question.open and question.question_id not in self._answered:
                self._answered.add(question.question_id)
                ahead_s = self._hardship.clock_s if self._hardship is not None else 0.0
                self.see.answer(question, "look_again", robot_key(self.demo.pid), ahead_s)
            time.sleep(0.1)
        assert self.demo.poll() == 0, f"the job did not end well: {self.see.summary()}; {self.texts()}"
        return self.report()

    def report(self) -> dict[str, Any]:
        """What the demonstration wrote at its end."""
        return dict(json.loads(self._report.read_text()))

    def close(self) -> None:
        self.demo.kill()
        self.see.close()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    jobs: list[Job] = []

    def begin(seed: int, hardship: Hardship | None = None) -> Job:
        jobs.append(Job(tmp_path, seed, hardship))
        return jobs[-1]

    yield begin
    for each in jobs:
        each.close()


def complete(report: dict[str, Any]) -> None:
    print(report)
    assert report["empty_confirmed"]
    assert report["physics"]["delivered"] + report["physics"]["on_conveyor"] == CARTONS, "nothing is lost"
    assert report["dispatched_without_permit"] == 0


@pytest.mark.timeout(700)
def test_what_the_broker_cannot_write_down_it_does_not_begin_and_the_job_goes_on_once_there_is_room(
    job: Callable[..., Job],
) -> None:
    running = job(3)
    running.until_moving(1)
    with running.refused("motion_broker", psutil.RLIMIT_FSIZE, 1):
        running.until_told("cannot be written: disk")
        # What was on its way ends; from there on nothing may begin.
        running.see.wait(lambda: running.broker.state == BrokerState.IDLE, 30.0, "the motion's end")
        begun = running.broker.dispatched
        time.sleep(REFUSED_S)
        assert running.broker.dispatched == begun, f"not written down, yet begun: {running.texts()}"
        assert running.demo.poll() is None
    report = running.finish()
    complete(report)
    assert report["deaths"] == [], "a full disk kills no node"


@pytest.mark.timeout(700)
def test_a_job_whose_record_cannot_be_written_ends_and_says_what_to_do(job: Callable[..., Job]) -> None:
    running = job(3)
    running.until_moving(1)
    with running.refused("unload_planner", psutil.RLIMIT_FSIZE, 1):
        running.until_told("cannot be written: disk")
        assert running.demo.wait(60.0) == 1
    report = running.report()
    assert "free the disk, start again" in report["text"]
    physics = report["physics"]
    here = physics["in_trailer"] + physics["held"] + physics["delivered"] + physics["on_conveyor"]
    assert here == CARTONS and physics["falls"] == 0, "nothing is lost"
    assert report["dispatched_without_permit"] == 0
    assert report["deaths"] == [], "a full disk kills no node"


@pytest.mark.timeout(700)
def test_the_job_survives_nodes_that_get_no_memory(job: Callable[..., Job]) -> None:
    running = job(4)
    for number, node in enumerate(("perception_intake", "unload_planner", "motion_broker")):
        running.until_moving(number)
        with running.refused(node, psutil.RLIMIT_AS, 1):
            time.sleep(REFUSED_S)
    complete(running.finish())


@pytest.mark.timeout(700)
def test_a_clock_step_stops_the_robot_and_a_bad_network_costs_time_and_nothing_else(
    job: Callable[..., Job], tmp_path: Path
) -> None:
    """An hour ahead, as a machine that finds its time server late: a stop, a person's reset, and the job goes on. A step back is in
    the fault simulator: see docs/faults.md."""
    hardship = Hardship(tmp_path)
    running = job(5, hardship)
    running.until_moving(1)
    hardship.be(clock_s=STEP_S)

    def jumped() -> bool:
        return any(cause.code == SafetyCause.CLOCK_JUMP for cause in running.see.newest["safety/state"].causes)

    running.see.wait(jumped, 5.0, "the monitor's word that a clock jumped")
    running.until_moving(2)
    hardship.be(loss=LOSS, delay_s=DELAY_S, clock_s=STEP_S)
    running.until_moving(5)
    hardship.be(clock_s=STEP_S)
    report = running.finish()
    complete(report)
    assert report["deaths"] == []
