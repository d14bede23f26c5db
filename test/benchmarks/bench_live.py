"""Kills and freezes of every node of the running robot: physics, DDS, respawn. Writes build/bench/live.json.

`python test/benchmarks/bench_live.py [--kills 200] [--seed 1]`: as many jobs of 60 mixed cartons as the kills need.
"""

import argparse
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import results

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "system"))

from attendant import Attendant  # noqa: E402
from launched import Observer, node_processes, robot_key, start_demo  # noqa: E402

from lumper_ros.interfaces import TOPICS, resolve_type  # noqa: E402
from lumper_ros.qos import qos  # noqa: E402

CARTONS = 60
NODES = (
    "motion_broker",
    "unload_planner",
    "perception_intake",
    "safety_monitor",
    "lifecycle_manager",
    "robot_state_publisher",
    "scene_markers",
)
MONITOR = "safety_monitor"
# Every so many faults one is a freeze, this long.
FREEZE_EVERY, FREEZE_S = 4, 2.0
# Between two motions the arm stands for a moment; a longer stand that begins soon after a fault is its effect. Nobody is silent for
# more than the 2.5 s of job/state before the arm is stopped, and the slowest stop takes 0.65 s; what comes later has another cause.
STAND_S, SOON_S, GIVE_UP_S = 0.5, 5.0, 60.0
MOVING_RADPS = 0.01


class Listener:
    """When the arm moved, which motions were done, and what a person was needed for."""

    def __init__(self, domain_id: int) -> None:
        self.domain_id = domain_id
        self._see = Observer(domain_id)
        self._lock = threading.Lock()
        self._moves: list[tuple[float, float]] = []  # (begin, end) of motions, monotonic s
        self.done: Counter[str] = Counter()
        self.resets = 0
        self._stops: list[float] = []
        self.person: Attendant | None = None
        for name, take in (("joint_states", self._joints), ("events", self._event)):
            row = TOPICS[name]
            self._see.node.create_subscription(resolve_type(row.type), row.name, take, qos(row.profile))

    def _joints(self, message: Any) -> None:
        if max(map(abs, message.velocity), default=0.0) <= MOVING_RADPS:
            return
        now_s = time.monotonic()
        with self._lock:
            if self._moves and now_s - self._moves[-1][1] < STAND_S:
                self._moves[-1] = (self._moves[-1][0], now_s)
            else:
                self._moves.append((now_s, now_s))

    def _event(self, message: Any) -> None:
        if message.code == "motion.done":
            self.done[message.request_id] += 1
        self.resets += message.code == "safety.reset"
        if message.code == "motion.stopping":
            self._stops.append(time.monotonic())

    @property
    def helped(self) -> int:
        """How often a person was needed so far."""
        return self.resets + (self.person.needed if self.person is not None else 0)

    def attend(self, pid: int) -> Attendant:
        """The person beside the demonstration with this process's number, who does now what only a person does."""
        if self.person is None:
            self.person = Attendant(self._see, lambda: robot_key(pid))
        self.person.visit()
        return self.person

    def moves(self, now_s: float) -> bool:
        """Whether the arm moves."""
        with self._lock:
            return bool(self._moves) and now_s - self._moves[-1][1] < 0.05

    def stop_s(self, fault_s: float) -> float | None:
        """From a fault to the broker's word that it stops the arm, within a second."""
        return next((at_s - fault_s for at_s in self._stops if 0.0 < at_s - fault_s < 1.0), None)

    def recovery_s(self, fault_s: float) -> float | None:
        """From a fault to the motion after the stand that it caused; 0 without such a stand; None = not known yet."""
        now_s = time.monotonic()
        with self._lock:
            moves = list(self._moves)
        for (_, end_s), (begin_s, _) in itertools.pairwise([(-math.inf, -math.inf), *moves, (now_s, math.inf)]):
            if begin_s > fault_s and end_s < fault_s + SOON_S and begin_s - end_s >= STAND_S:
                return begin_s - fault_s if begin_s != now_s else None
        return 0.0 if now_s > fault_s + SOON_S + STAND_S else None

    @property
    def moved(self) -> bool:
        return bool(self._moves)

    @property
    def moved_s(self) -> float:
        """When the arm was last seen to move, monotonic s."""
        with self._lock:
            return self._moves[-1][1] if self._moves else -math.inf

    def close(self) -> None:
        self._see.close()


class Campaign(Protocol):
    """What is done to a job while it runs."""

    def run(self, demo: "subprocess.Popen[str]", listener: Listener, look: Callable[[int, Listener], None]) -> None: ...


class Faults:
    """The faults of one job, and what came of each."""

    def __init__(
        self,
        draw: random.Random,
        nodes: Iterator[tuple[int, str]],
        most: int,
        freeze_every: int | None = FREEZE_EVERY,
        between_s: tuple[float, float] = (2.0, 6.0),
    ) -> None:
        """
        Args:
            between_s: how long to wait after one fault's effects until the next one, drawn evenly from this range.
        """
        self._draw, self._nodes, self._most = draw, nodes, most
        self._freeze_every, self._between_s = freeze_every, between_s
        self.recoveries: defaultdict[str, list[float]] = defaultdict(list)
        self.with_person: defaultdict[str, list[float]] = defaultdict(list)
        self.monitor_stops_s: list[float] = []
        self.count = 0

    def run(self, demo: "subprocess.Popen[str]", listener: Listener, look: Callable[[int, Listener], None]) -> None:
        while demo.poll() is None and self.count < self._most:
            look(demo.pid, listener)
            time.sleep(self._draw.uniform(*self._between_s))
            number, name = next(self._nodes)
            process = node_processes(demo.pid).get(name)
            if process is None or demo.poll() is not None:
                continue
            freeze = self._freeze_every is not None and number % self._freeze_every == 0
            helped = listener.helped
            while name == MONITOR and demo.poll() is None and not listener.moves(time.monotonic()):
                time.sleep(0.001)
            fault_s = time.monotonic()
            process.send_signal(signal.SIGSTOP if freeze else signal.SIGKILL)
            if freeze:
                time.sleep(FREEZE_S)
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGCONT)
            self.count += 1
            while (recovery_s := listener.recovery_s(fault_s)) is None and demo.poll() is None:
                if time.monotonic() > fault_s + GIVE_UP_S:
                    recovery_s = math.inf
                    break
                look(demo.pid, listener)
                time.sleep(0.02)
            if recovery_s is None:
                continue  # the job ended first
            stop_s = listener.stop_s(fault_s)
            if name == MONITOR and stop_s is not None:
                self.monitor_stops_s.append(stop_s)
            person = listener.helped > helped
            print(
                f"  {'freeze' if freeze else 'kill'} {name}: {recovery_s:.1f} s{' with a person' * person}", flush=True
            )
            (self.with_person if person else self.recoveries)[name].append(recovery_s)


def job(
    seed: int, folder: Path, faults: Campaign, look: Callable[[int, Listener], None] = lambda pid, listener: None
) -> tuple[dict[str, Any], int]:
    """One demonstration under faults: its report, and motions that were done twice.

    Args:
        look: called again and again while it runs, with the number of the demonstration's process.
    """
    report = folder / f"report-{seed}.json"
    demo, domain_id, _ = start_demo(report, "--headless", "--cartons", str(CARTONS), "--seed", str(seed))
    listener = Listener(domain_id)
    try:
        while not listener.moved and demo.poll() is None:
            time.sleep(0.1)
        faults.run(demo, listener, look)
        while demo.poll() is None:
            look(demo.pid, listener)
            time.sleep(0.2)
    finally:
        listener.close()
    return json.loads(report.read_text()), sum(count - 1 for count in listener.done.values())


def person(pid: int, listener: Listener) -> None:
    """Somebody is there: kills in a row may cost the same carton twice, or leave one beside the arm."""
    listener.attend(pid)


def figures(faults: Faults, reports: list[dict[str, Any]], doubled: int, seed: int) -> dict[str, dict[str, Any]]:
    """What came of the faults so far."""
    physics = [report["physics"] for report in reports]
    carried = sum(p["with_person"] for p in physics)
    lost = sum(p["total"] - p["delivered"] - p["on_conveyor"] for p in physics) - carried
    times = [time_s for each in faults.recoveries.values() for time_s in each]
    by_node = ", ".join(f"{name} {max(each):.1f}" for name, each in sorted(faults.recoveries.items()))
    stood = [time_s for time_s in times if time_s > 0.0]
    helped = {name: len(each) for name, each in faults.with_person.items()}
    note = (
        f"{faults.count} faults (every {FREEZE_EVERY}th a freeze of {FREEZE_S:g} s) in {len(reports)} jobs of {CARTONS} cartons, "
        f"{sum(report['success'] for report in reports)} of them done; seed {seed}"
    )
    return {
        "faults.kills_cartons_lost": {
            "value": lost,
            "unit": "1",
            "note": f"neither on the conveyor at the end nor carried off by a person ({carried} were); {note}",
        },
        "safety.monitor_kill_to_stop_ms": {
            "value": 1e3 * max(faults.monitor_stops_s, default=math.nan),
            "unit": "ms",
            "note": f"longest of {len(faults.monitor_stops_s)} kills and freezes of the monitor while the arm moved, to the "
            "broker's word that it stops, over DDS",
        },
        "faults.kills_stages_doubled": {"value": doubled, "unit": "1", "note": "motions reported done twice"},
        "faults.recovery_p95_s": {
            "value": float(np.percentile(times, 95)) if times else math.nan,
            "unit": "s",
            "note": f"to motion again, {len(times)} faults; over the {len(stood)} of them that made the arm stand "
            f"{np.percentile(stood, 95) if stood else math.nan:.2f} s; longest by node: {by_node}; a person was needed after "
            f"{sum(helped.values())}: {helped}",
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("LUMPER_BENCH_KILLS", "200")))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    nodes = ((number, NODES[number % len(NODES)]) for number in itertools.count(1))
    faults = Faults(draw, nodes, options.kills)
    reports, doubled = [], 0
    with tempfile.TemporaryDirectory(prefix="lumper_bench_") as folder:
        while faults.count < options.kills:
            report, twice = job(options.seed + len(reports), Path(folder), faults, person)
            doubled += twice
            reports.append(report)
            print(f"  job: {report['faults'] or 'success'}, {report['physics']}", flush=True)
            # Hours of faults: what was measured is kept when the rest is not.
            results.write("live", figures(faults, reports, doubled, options.seed))


if __name__ == "__main__":
    main()
