"""Memory and descriptors of every node of a robot that unloads trailer after trailer: physics and DDS. Writes build/bench/soak.json.

`python test/benchmarks/bench_soak.py [--minutes 240] [--cartons 60] [--seed 1] [--detector cloud] [--rate 0.6]`
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import results

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "system"))

from attendant import Attendant  # noqa: E402
from launched import System, node_processes  # noqa: E402
from lumper_msgs.action import Unload  # noqa: E402

from lumper_ros.auth import create_key  # noqa: E402
from lumper_ros.interfaces import PERCEPTION, SIM  # noqa: E402

PERIOD_S = 5.0
# What is loaded, cached and filled once is there after this share of the run.
WARM = 1.0 / 3.0
# A process with less than this share of its median is ending.
ENDING = 0.7
DOCK_S = 120.0
Sample = tuple[float, float, int]  # monotonic s, MB, open descriptors


def sample(node: psutil.Process) -> Sample:
    """A node with the processes of its own."""
    family = [node, *node.children(recursive=True)]
    private = sum(process.memory_full_info().uss for process in family) / 2**20
    return time.monotonic(), private, sum(process.num_fds() for process in family)


def shared_memory() -> int:
    """Segments of Fast DDS."""
    return len(list(Path("/dev/shm").glob("fastrtps_*"))) + len(list(Path("/dev/shm").glob("fastdds_*")))


def watch(pid: int, until_s: float, alive: Callable[[], bool]) -> tuple[dict[str, list[Sample]], int]:
    """Samples of each node that lived to the end, and how many nodes died on the way."""
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    first: dict[str, int] = {}
    deaths = 0
    while time.monotonic() < until_s and alive():
        for name, node in node_processes(pid).items():
            if first.setdefault(name, node.pid) != node.pid:
                first[name], deaths = node.pid, deaths + 1
                samples[name].clear()
            with suppress(psutil.Error):
                samples[name].append(sample(node))
        time.sleep(PERIOD_S)
    return dict(samples), deaths


def slope(samples: list[Sample], column: int, pace: float) -> float:
    """Least squares, per hour of the robot's time, behind the warm share and without a process's last seconds.

    Args:
        pace: simulated seconds per second.
    """
    table = np.array(samples[int(WARM * len(samples)) :])
    if len(table):
        table = table[table[:, 1] > ENDING * np.median(table[:, 1])]
    return float(np.polyfit(table[:, 0] * pace / 3600.0, table[:, column], 1)[0]) if len(table) > 2 else float("nan")


class Shift(threading.Thread):
    """Jobs one after the other, a new trailer for each, with a person beside the robot."""

    def __init__(self, system: System, key: bytes, seed: int) -> None:
        super().__init__(daemon=True)
        self._see, self._seed = system.observer, seed
        self.person = Attendant(system.observer, lambda: key)
        self._see.watch("sim/report")
        self.over = threading.Event()
        self.trailers = self.cartons = self.delivered = 0
        self.began_s = self.simulated_s = 0.0
        self.pace = float("nan")
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._until(lambda: "sim/report" in self._see.newest, DOCK_S)
            self.began_s, begun_s = self._now_s(), time.monotonic()
            while not self.over.is_set():
                self._unload()
                self.pace = (self._now_s() - self.began_s) / (time.monotonic() - begun_s)
                self._change()
        except BaseException as error:
            self.error = error

    def _now_s(self) -> float:
        stamp = self._see.newest["sim/report"].stamp
        return float(stamp.sec + stamp.nanosec * 1e-9)

    def _until(self, what: Callable[[], bool], limit_s: float = float("inf")) -> None:
        end_s = time.monotonic() + limit_s
        while not self.over.is_set() and not what():
            assert time.monotonic() < end_s, f"not within {limit_s:.0f} s; {self._see.summary()}"
            self.person.visit()
            time.sleep(0.05)

    def _unload(self) -> None:
        job = f"trailer-{self.trailers + 1}"
        _, future = self._see.send("unload", job_id=job, stop_when=Unload.Goal.UNTIL_EMPTY)
        self._until(future.done)
        if future.done():
            self.trailers += 1
            self.cartons += self._see.newest["sim/report"].total
            self.delivered += future.result().result.delivered
            print(f"  {job}: {future.result().result.text}", flush=True)
        self.simulated_s = self._now_s() - self.began_s

    def _change(self) -> None:
        """The next trailer, as soon as the robot rests; its load has another seed."""
        seed = float(self._seed + self.trailers)

        def docks() -> bool:
            return bool(self._see.call("sim/fault", name="next_trailer", args=[seed], duration_s=float("nan")).ok)

        def docked() -> bool:
            report = self._see.newest["sim/report"]
            return bool(report.in_trailer == report.total)

        self._until(docks, DOCK_S)
        self._until(docked, DOCK_S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("LUMPER_BENCH_SOAK_MINUTES", "20")))
    parser.add_argument("--cartons", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--detector", default="detections", help="as the launch argument; cloud: clouds alone")
    parser.add_argument("--rate", type=float, default=1.0, help="simulated seconds per second")
    options = parser.parse_args()
    segments = shared_memory()
    with tempfile.TemporaryDirectory(prefix="lumper_soak_") as folder:
        key_file = Path(folder) / "key"
        key = create_key(key_file)
        asked = {"cartons": options.cartons, "seed": options.seed, "rate": options.rate, "detector": options.detector}
        system = System(
            Path(folder),
            {name: str(value) for name, value in asked.items()} | {"authentication": "true", "key_file": str(key_file)},
        )
        shift = Shift(system, key, options.seed)
        begun_s = time.monotonic()
        try:
            shift.start()
            samples, deaths = watch(
                system.process.pid,
                begun_s + 60.0 * options.minutes,
                lambda: shift.is_alive() and system.process.poll() is None,
            )
        finally:
            minutes = (time.monotonic() - begun_s) / 60.0
            shift.over.set()
            shift.join(60.0)
            system.stop()
    left = shared_memory() - segments
    memory = {name: slope(each, 1, shift.pace) for name, each in samples.items()}
    descriptors = {name: slope(each, 2, shift.pace) for name, each in samples.items()}
    for name, each in sorted(samples.items()):
        print(
            f"  {name}: {each[0][1]:.0f} -> {each[-1][1]:.0f} MB, {memory[name]:+.2f} MB/h, {each[-1][2]} descriptors, {descriptors[name]:+.1f} per h"
        )
    # The simulated world is not on a robot, and makes a new one of itself for each trailer.
    robot = {name: each for name, each in memory.items() if name != SIM}
    worst, most = max(robot, key=robot.__getitem__), max(descriptors, key=descriptors.__getitem__)
    note = (
        f"over {minutes:.0f} min, {shift.simulated_s / 3600.0:.2f} h of simulated time to the end of the last job: {shift.trailers} trailers, "
        f"{shift.delivered} of {shift.cartons} cartons delivered, from {options.detector}; the first third left out; {deaths} nodes died; a person "
        f"reset {shift.person.resets} stops, answered {shift.person.answers} questions, carried off what fell {shift.person.errands} times"
    )
    figures = {
        "faults.memory_slope_mb_per_h": {
            "value": round(memory[worst], 3),
            "unit": "MB/h",
            "note": f"private memory of the robot's node that grows most, {worst}; {note}; "
            + ", ".join(f"{name} {each:+.1f}" for name, each in sorted(memory.items())),
        },
        "perception.memory_slope_job_mb_per_h": {
            "value": round(memory[PERCEPTION], 3),
            "unit": "MB/h",
            "note": f"private memory of the intake, {samples[PERCEPTION][0][1]:.0f} -> {samples[PERCEPTION][-1][1]:.0f} MB; {note}",
        },
        "faults.descriptor_slope_per_h": {
            "value": round(descriptors[most], 2),
            "unit": "1/h",
            "note": f"open descriptors of the node that gains most, {most}; {note}",
        },
        "faults.shared_memory_left": {
            "value": left,
            "unit": "1",
            "note": f"segments of Fast DDS after the end; {note}",
        },
    }
    results.write("soak", figures)
    if shift.error is not None:
        print(f"the shift broke off: {type(shift.error).__name__}: {shift.error}")
    return 1 if deaths or shift.error is not None else 0


if __name__ == "__main__":
    sys.exit(main())
