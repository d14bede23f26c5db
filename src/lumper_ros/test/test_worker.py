"""The process that computes for a node: answers, errors, its end and its parent's."""

import functools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from lumper_ros.core import GaveUpError
from lumper_ros.worker import Worker, WorkerError, WorkerLostError


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def gone(pid: int) -> bool:
    """Whether a process that need not be a child of this one has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until_gone(pid: int) -> None:
    end = time.monotonic() + 10.0
    while not gone(pid):
        assert time.monotonic() < end, f"process {pid} still runs"
        time.sleep(0.01)


def test_values_come_from_another_process(worker: Worker) -> None:
    assert worker.run(os.getpid) == worker.pid != os.getpid()
    assert worker.run(functools.partial(math.hypot, 3.0, 4.0)) == 5.0


def test_what_a_function_raises_is_told_and_the_next_one_runs(worker: Worker) -> None:
    with pytest.raises(WorkerError, match="ValueError: math domain error"):
        worker.run(functools.partial(math.sqrt, -1.0))
    assert worker.run(functools.partial(math.sqrt, 4.0)) == 2.0


def give_up() -> None:
    raise GaveUpError("no path in time")


def test_a_function_that_gives_up_says_so_here_too(worker: Worker) -> None:
    with pytest.raises(GaveUpError, match="no path in time"):
        worker.run(give_up)


def test_the_traceback_is_a_note_not_a_part_of_the_text(worker: Worker) -> None:
    with pytest.raises(WorkerError) as caught:
        worker.run(functools.partial(math.sqrt, -1.0))
    assert str(caught.value) == "ValueError: math domain error"


def test_a_killed_worker_is_noticed_while_it_computes_and_after(worker: Worker) -> None:
    killer = threading.Timer(0.1, os.kill, (worker.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(WorkerLostError, match=str(worker.pid)):
        worker.run(functools.partial(time.sleep, 60.0))
    with pytest.raises(WorkerLostError):
        worker.run(os.getpid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_leaves_it_to_the_parent(worker: Worker, number: int) -> None:
    os.kill(worker.pid, number)
    assert worker.run(os.getpid) == worker.pid


def test_close_ends_a_busy_worker() -> None:
    worker = Worker()
    lost: list[BaseException] = []

    def run() -> None:
        try:
            worker.run(functools.partial(time.sleep, 60.0))
        except WorkerLostError as error:
            lost.append(error)

    busy = threading.Thread(target=run)
    busy.start()
    worker.close()
    assert gone(worker.pid)
    busy.join(10.0)
    assert lost


def test_a_worker_ends_with_its_parent() -> None:
    code = (
        "import sys, time; from lumper_ros.worker import Worker; w = Worker(); print(w.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not gone(pid)
    parent.kill()
    parent.wait()
    until_gone(pid)


def test_a_long_computation_leaves_the_interpreter_to_others(worker: Worker) -> None:
    def late_s(compute: threading.Thread) -> float:
        """The longest that this thread waited to go on while another one computed."""
        worst, before = 0.0, time.perf_counter()
        compute.start()
        while compute.is_alive():
            time.sleep(0.0005)
            now = time.perf_counter()
            worst, before = max(worst, now - before), now
        return worst

    # One call of C code that holds the interpreter for some 0.1 s.
    long = functools.partial(sum, range(10_000_000))
    here = late_s(threading.Thread(target=long))
    there = min(late_s(threading.Thread(target=worker.run, args=(long,))) for _ in range(3))
    assert there < 0.5 * here
