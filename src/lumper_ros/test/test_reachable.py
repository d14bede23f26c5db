"""A node whose middleware does not work any more, so that others cannot reach it or lose it, ends to be started again."""

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lumper_ros.reachable import EXIT_CODE, EventThreads, ReceivingPorts, watch

PTRACE_ATTACH, WALL = 16, 0x40000000
NODE = """
import rclpy
from lumper_ros import reachable
from lumper_ros.reachable import EventThreads, ReceivingPorts
from lumper_ros.spin import Spinner
rclpy.init()
node = rclpy.create_node("reached")
spinner = Spinner(rclpy.get_default_context())
spinner.add(node)
reachable.EventThreads = lambda: EventThreads(still=6)
print("up", ReceivingPorts().lost(), flush=True)
spinner.spin()
"""


def files_of(pid: int) -> list[Path]:
    """The files through which a process receives."""
    names = [(task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir()]
    ports = [name.removeprefix("dds.shm.") for name in names if name.startswith("dds.shm.")]
    return [path for port in ports if (path := Path(f"/dev/shm/fastdds_port{port}")).exists()]


@pytest.fixture
def node():
    with subprocess.Popen(
        [sys.executable, "-c", NODE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up set()\n", "it can be reached"
        yield process
        process.kill()


def test_a_node_that_nobody_new_can_reach_ends(node: subprocess.Popen[str]) -> None:
    files = files_of(node.pid)
    if not files:
        pytest.skip("the middleware uses no shared memory here")
    files[0].unlink()
    _, told = node.communicate(timeout=20.0)
    assert node.returncode == EXIT_CODE
    assert f"{files[0].name} in /dev/shm was removed" in told


def test_a_node_whose_middleware_is_stuck_ends_and_one_that_idles_does_not(node: subprocess.Popen[str]) -> None:
    task = next(
        (task for task in Path(f"/proc/{node.pid}/task").iterdir() if (task / "comm").read_text().startswith("dds.ev")),
        None,
    )
    if task is None:
        pytest.skip("another middleware")
    with pytest.raises(subprocess.TimeoutExpired):
        node.wait(12.0)
    # A debugger that holds this one thread, as a lock that nobody lets go of would.
    libc, thread = ctypes.CDLL(None, use_errno=True), int(task.name)
    if libc.ptrace(PTRACE_ATTACH, thread, None, None) != 0:
        pytest.skip(f"no thread can be held here: {os.strerror(ctypes.get_errno())}")
    os.waitpid(thread, WALL)
    os.waitpid(thread, WALL)
    _, told = node.communicate(timeout=20.0)
    assert node.returncode == EXIT_CODE
    assert "thread dds.ev.0 is stuck" in told


def thread_of(folder: Path, switches: int) -> None:
    (folder / "task" / "1").mkdir(parents=True, exist_ok=True)
    (folder / "task" / "1" / "comm").write_text("dds.ev.0\n")
    (folder / "task" / "1" / "status").write_text(
        f"Name:\tdds.ev.0\nvoluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t{7 + switches}\n"
    )


def test_a_thread_counts_as_stuck_once_it_has_not_run_at_so_many_looks(tmp_path: Path) -> None:
    events = EventThreads(tmp_path, 3)
    for switches, stuck in ((5, []), (5, []), (5, []), (6, []), (6, []), (6, []), (6, ["dds.ev.0"]), (7, [])):
        thread_of(tmp_path, switches)
        assert events.stuck() == stuck


def test_a_thread_that_ended_is_forgotten_and_its_successor_watched(tmp_path: Path) -> None:
    events = EventThreads(tmp_path, 2)
    thread_of(tmp_path, 5)
    assert events.stuck() == []
    os.rename(tmp_path / "task" / "1", tmp_path / "task" / "2")
    assert [events.stuck() for _ in range(4)] == [[], [], [], ["dds.ev.0"]]


def test_where_the_system_does_not_count_nothing_is_stuck(tmp_path: Path) -> None:
    thread_of(tmp_path, 1)
    (tmp_path / "task" / "1" / "status").write_text("Name:\tdds.ev.0\n")
    events = EventThreads(tmp_path, 1)
    assert [events.stuck() for _ in range(4)] == [[]] * 4


def process_of(folder: Path, inode: int, deleted: bool) -> ReceivingPorts:
    """What a process would see that listens on port 7 and has a file of this inode open, beside one of somebody else."""
    (folder / "task" / "1").mkdir(parents=True, exist_ok=True)
    (folder / "task" / "1" / "comm").write_text("dds.shm.7\n")
    end = " (deleted)" if deleted else ""
    (folder / "maps").write_text(
        f"7f00-7f01 rw-s 00000000 00:19 {inode}    /dev/shm/fastdds_port7{end}\n"
        "7f02-7f03 rw-s 00000000 00:19 5    /dev/shm/fastdds_port9 (deleted)\n"
        "7f04-7f05 r-xp 00000000 00:19 6    /usr/lib/libc.so\n"
    )
    return ReceivingPorts(folder, folder)


def test_only_the_file_that_it_reads_counts(tmp_path: Path) -> None:
    file = tmp_path / "fastdds_port7"
    file.write_text("")
    inode = file.stat().st_ino
    ports = process_of(tmp_path, inode, False)
    assert ports.lost() == set()
    assert ports.lost() == set()
    # Made before: the number of a file that is gone may be given again, that of one still mapped is not.
    (tmp_path / "other").write_text("")
    file.unlink()
    process_of(tmp_path, inode, True)
    assert ports.lost() == {7}, "removed"
    os.replace(tmp_path / "other", file)
    assert ports.lost() == {7}, "made again by another process"
    process_of(tmp_path, file.stat().st_ino, False)
    assert ports.lost() == set(), "the middleware made its own anew"


def test_watching_ends_with_the_node(tmp_path: Path) -> None:
    ended = threading.Event()
    ended.set()
    watch(ended, process_of(tmp_path, 1, True), EventThreads(tmp_path))
