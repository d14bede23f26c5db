"""Memory and descriptors of every node of the running robot over a long job: physics and DDS. Writes build/bench/soak.json.

`python test/benchmarks/bench_soak.py [--minutes 20] [--cartons 400] [--seed 1] [--detector cloud] [--rate 0.6]`
"""

import argparse
import os
import signal
import sys
import tempfile
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

from launched import node_processes, start_demo  # noqa: E402

from lumper_ros.interfaces import PERCEPTION  # noqa: E402

PERIOD_S = 5.0
# What is loaded, cached and filled once is there after this share of the run.
WARM = 1.0 / 3.0
# A process with less than this share of its median is ending.
ENDING = 0.7
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


def slope(samples: list[Sample], column: int) -> float:
    """Least squares, per hour, behind the warm share and without a process's last seconds."""
    table = np.array(samples[int(WARM * len(samples)) :])
    if len(table):
        table = table[table[:, 1] > ENDING * np.median(table[:, 1])]
    return float(np.polyfit(table[:, 0] / 3600.0, table[:, column], 1)[0]) if len(table) > 2 else float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("LUMPER_BENCH_SOAK_MINUTES", "20")))
    parser.add_argument("--cartons", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--detector", default="detections", help="as the launch argument; cloud: clouds alone")
    parser.add_argument("--rate", type=float, default=1.0, help="simulated seconds per second: less makes the job last")
    options = parser.parse_args()
    segments = shared_memory()
    with tempfile.TemporaryDirectory(prefix="lumper_soak_") as folder:
        words = ("--headless", "--cartons", str(options.cartons), "--seed", str(options.seed))
        words += ("--rate", str(options.rate), f"detector:={options.detector}")
        demo, _, _ = start_demo(Path(folder) / "report.json", *words)
        begun_s = time.monotonic()
        try:
            samples, deaths = watch(demo.pid, begun_s + 60.0 * options.minutes, lambda: demo.poll() is None)
        finally:
            minutes = (time.monotonic() - begun_s) / 60.0
            demo.send_signal(signal.SIGINT)
            demo.wait(60.0)
    left = shared_memory() - segments
    memory = {name: slope(each, 1) for name, each in samples.items()}
    descriptors = {name: slope(each, 2) for name, each in samples.items()}
    for name, each in sorted(samples.items()):
        print(
            f"  {name}: {each[0][1]:.0f} -> {each[-1][1]:.0f} MB, {memory[name]:+.2f} MB/h, {each[-1][2]} descriptors, {descriptors[name]:+.1f} per h"
        )
    worst, most = max(memory, key=memory.__getitem__), max(descriptors, key=descriptors.__getitem__)
    note = (
        f"over {minutes:.0f} min at {options.rate:g} simulated seconds per second of one job of {options.cartons} cartons from "
        f"{options.detector}, the first third left out; {deaths} nodes died"
    )
    figures = {
        "faults.memory_slope_mb_per_h": {
            "value": round(memory[worst], 3),
            "unit": "MB/h",
            "note": f"private memory of the node that grows most, {worst}; {note}; "
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
    return 1 if deaths else 0


if __name__ == "__main__":
    sys.exit(main())
