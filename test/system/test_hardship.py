"""A full disk and a machine without memory, to nodes of the running robot: physics, DDS, the command a user types.

The limits are those of the operating system, put on a running process: every write to a file fails as on a full disk
(RLIMIT_FSIZE), every new piece of memory is refused (RLIMIT_AS).
"""

import json
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from launched import Observer, node_processes
from test_unload import start

from lumper_ros.auth import load_key, sign_command

REFUSED_S = 4.0
CARTONS = 7


class Job:
    """A running demonstration and what one sees of it."""

    def __init__(self, demo: "subprocess.Popen[str]", see: Observer, folder: Path) -> None:
        self.demo, self.see, self._folder = demo, see, folder
        self._answered: set[str] = set()

    def until_moving(self, delivered: int) -> None:
        """Wait until so many cartons are delivered and another motion has begun."""
        newest = self.see.newest
        self.see.wait(lambda: "job/state" in newest and newest["job/state"].done >= delivered, 180.0, "cartons")
        sent = newest["motion/state"].dispatched
        self.see.wait(lambda: newest["motion/state"].dispatched != sent, 60.0, "the next motion")

    @contextmanager
    def refused(self, node: str, what: int, most: int) -> Iterator[psutil.Process]:
        """Put a limit on a running node, and take it away again."""
        process = node_processes(self.demo.pid)[node]
        soft, hard = process.rlimit(what)
        process.rlimit(what, (most, hard))
        try:
            yield process
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

    def _key(self) -> bytes | None:
        state = node_processes(self.demo.pid)["safety_monitor"].environ()["LUMPER_STATE_DIR"]
        return load_key(True, str(Path(state).parent / "key"))

    def finish(self) -> dict[str, Any]:
        """The report of the job's end; a person beside the robot answers each question with another look."""
        end_s = time.monotonic() + 400.0
        while self.demo.poll() is None and time.monotonic() < end_s:
            question = self.see.newest.get("assist/request")
            if question is not None and question.open and question.question_id not in self._answered:
                self._answered.add(question.question_id)
                arguments = {"question_id": question.question_id, "option_key": "look_again", "carton_ids": []}
                auth = sign_command(
                    self._key(), "assist/answer", arguments, "test", time.time(), random.getrandbits(64)
                )
                self.see.call("assist/answer", auth=auth, **arguments)
            time.sleep(0.1)
        assert self.demo.poll() == 0, f"the job did not end well: {self.see.summary()}"
        return self.report()

    def report(self) -> dict[str, Any]:
        """What the demonstration wrote at its end."""
        return dict(json.loads((self._folder / "report.json").read_text()))


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[[int, int], Job]]:
    running: list[tuple[Any, Observer, threading.Thread, list[str]]] = []

    def begin(domain_id: int, seed: int) -> Job:
        demo, said = start(tmp_path, domain_id, seed, CARTONS), []
        assert demo.stdout is not None
        reader = threading.Thread(target=lambda: said.extend(demo.stdout or []))
        reader.start()
        see = Observer(domain_id)
        running.append((demo, see, reader, said))
        see.watch("job/state", "motion/state", "assist/request")
        see.watch("events", "/diagnostics", keep=True)
        return Job(demo, see, tmp_path)

    yield begin
    for demo, see, reader, said in running:
        demo.kill()
        reader.join(30.0)
        see.close()
        print("".join(said)[-8000:])


def complete(report: dict[str, Any]) -> None:
    print(report)
    assert report["empty_confirmed"]
    assert report["physics"]["delivered"] + report["physics"]["on_conveyor"] == CARTONS, "nothing is lost"
    assert report["dispatched_without_permit"] == 0


@pytest.mark.timeout(700)
def test_what_the_broker_cannot_write_down_it_does_not_begin_and_the_job_goes_on_once_there_is_room(
    job: Callable[[int, int], Job],
) -> None:
    running = job(56, 3)
    running.until_moving(1)
    with running.refused("motion_broker", psutil.RLIMIT_FSIZE, 1):
        running.until_told("cannot be written: disk")
        # What was on its way is over by then; from here on nothing may begin.
        time.sleep(1.0)
        begun = running.see.newest["motion/state"].dispatched
        time.sleep(REFUSED_S)
        assert running.see.newest["motion/state"].dispatched == begun, f"not written down, yet begun: {running.texts()}"
        assert running.demo.poll() is None
    report = running.finish()
    complete(report)
    assert report["deaths"] == [], "a full disk kills no node"


@pytest.mark.timeout(700)
def test_a_job_whose_record_cannot_be_written_ends_and_says_what_to_do(job: Callable[[int, int], Job]) -> None:
    running = job(57, 3)
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
def test_the_job_survives_nodes_that_get_no_memory(job: Callable[[int, int], Job]) -> None:
    running = job(55, 4)
    for number, node in enumerate(("perception_intake", "unload_planner", "motion_broker")):
        running.until_moving(number)
        with running.refused(node, psutil.RLIMIT_AS, 1):
            time.sleep(REFUSED_S)
    complete(running.finish())
