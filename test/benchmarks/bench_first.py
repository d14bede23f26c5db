"""The main job: 60 mixed cartons, seeds 1 to 5, at real time: delivered, rate, stages, real-time factor, cost of each node.

Writes build/bench/first.json, and each job's report and logs to build/bench/first/. LUMPER_BENCH_SEEDS=1,2 and LUMPER_BENCH_RATE=2.0 shorten a trial run; the note says so.
The pace asked for is a little above real time: a factor of 1.0 could not be told from one that the pace alone holds down.
"""

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import results

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "system"))

from launched import node_name  # noqa: E402

KEPT = ROOT / "build" / "bench" / "first"
CARTONS = 60
SAMPLE_PERIOD_S = 2.0


def run_demo(seed: int, rate: float, folder: Path) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """One demonstration: its report, and CPU share (of one core) and peak memory (MB) of each node."""
    report = folder / f"report-{seed}.json"
    command = [sys.executable, "-m", "lumper_bringup.demo", "--headless", "--report", str(report)]
    command += ["--cartons", str(CARTONS), "--seed", str(seed), "--load", "mixed", "--rate", str(rate)]
    environment = {**os.environ, "LUMPER_STATE_DIR": str(folder / f"state-{seed}"), "ROS_LOG_DIR": str(folder / "log")}
    demo = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    # By name and process: a node may compute in a process of its own, and is a new one after a restart.
    started_s: dict[str, float] = {}
    used: dict[str, dict[int, float]] = {}
    peak_mb: dict[str, float] = {}
    while demo.poll() is None:
        resident_mb: dict[str, float] = {}
        for child in psutil.Process(demo.pid).children(recursive=True):
            try:
                name = node_name(child)
                if name is None:
                    continue
                times = child.cpu_times()
                started_s.setdefault(name, child.create_time())
                used.setdefault(name, {})[child.pid] = times.user + times.system
                # What forked processes share is counted once: the proportional share of each.
                resident_mb[name] = resident_mb.get(name, 0.0) + child.memory_full_info().pss / 2**20
            except psutil.Error:
                continue
        for name, size_mb in resident_mb.items():
            peak_mb[name] = max(peak_mb.get(name, 0.0), size_mb)
        time.sleep(SAMPLE_PERIOD_S)
    end_s = time.time()
    costs = {name: (sum(used[name].values()) / max(1.0, end_s - started_s[name]), peak_mb[name]) for name in used}
    return json.loads(report.read_text()), costs


def main() -> None:
    seeds = [int(word) for word in os.environ.get("LUMPER_BENCH_SEEDS", "1,2,3,4,5").split(",")]
    rate = float(os.environ.get("LUMPER_BENCH_RATE", "1.02"))
    reports, costs = [], []
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    for seed in seeds:
        report, cost = run_demo(seed, rate, KEPT)
        print(
            f"  seed {seed}: {report['faults'] or 'success'}, {report['physics']}",
            *report["stops"],
            sep="\n    ",
            flush=True,
        )
        reports.append(report)
        costs.append(cost)
    # The job's own figures stand at the top of a report; a job without a result has none.
    jobs = [report if "outcome" in report else None for report in reports]
    physics = [report["physics"] for report in reports]
    total = sum(p["total"] for p in physics)
    delivered = sum(p["delivered"] + p["on_conveyor"] for p in physics)
    note = f"{CARTONS} mixed cartons, seeds {seeds}, asked for {rate} simulated seconds per second"
    figures: dict[str, dict[str, Any]] = {
        "first.delivered_fraction_mixed60": {"value": delivered / total, "unit": "1", "note": note},
        "first.dispatches_without_permit": {
            "value": sum(report["dispatched_without_permit"] for report in reports),
            "unit": "1",
            "note": f"of {sum(report['dispatched'] for report in reports)} trajectories",
        },
        "first.node_deaths": {"value": sum(len(report["deaths"]) for report in reports), "unit": "1"},
        "first.jobs_succeeded": {"value": sum(report["success"] for report in reports) / len(reports), "unit": "1"},
        "first.realtime_factor_60": {"value": min(report["realtime_factor"] or 0.0 for report in reports), "unit": "1"},
        "first.restart_to_first_motion_s": {
            "value": statistics.median(r["start_to_first_motion_s"] for r in reports if r["start_to_first_motion_s"]),
            "unit": "s",
        },
        "first.falls_per_1000": {"value": 1000.0 * sum(p["falls"] for p in physics) / total, "unit": "1"},
        "first.protective_stops": {
            "value": sum(job["protective_stops"] for job in jobs if job),
            "unit": "1",
            "note": "; ".join(f"seed {report['seed']} {stop}" for report in reports for stop in report["stops"]),
        },
        "first.assists": {"value": sum(job["assists"] for job in jobs if job), "unit": "1"},
    }
    done = sum(job["delivered"] for job in jobs if job)
    hours = sum(job["duration_s"] for job in jobs if job) / 3600.0
    figures["first.cases_per_hour_mixed60"] = {"value": done / hours if hours else 0.0, "unit": "1/h"}
    # Nobody walks about and nothing is broken in these jobs: a stop is a false one unless a carton was really shifted.
    shifts = sum(report["events"].get("sim.shifted", 0) for report in reports)
    figures["first.false_stops_per_hour"] = {
        "value": sum(report["false_stops"] for report in reports) / hours if hours else math.nan,
        "unit": "1/h",
        "note": f"{hours:.2f} h of these jobs; a stop for which the physics knows a reason is none: of "
        f"{figures['first.protective_stops']['value']} stops all others came from -1 to 5 s after one of {shifts} shifts (0.05 m, not "
        "held) or losses of a carton",
    }
    for stage in sorted({stage for job in jobs if job for stage in job["stages_s"]}):
        seconds = sum(job["stages_s"].get(stage, 0.0) for job in jobs if job)
        figures[f"first.stage_{stage}_s"] = {"value": seconds / max(1, done), "unit": "s per carton"}
    for name in sorted({name for cost in costs for name in cost}):
        shares = [cost[name][0] for cost in costs if name in cost]
        figures[f"first.cpu_{name}"] = {
            "value": statistics.mean(shares),
            "unit": "cores",
            "note": f"peak memory {max(cost[name][1] for cost in costs if name in cost):.0f} MB",
        }
    results.write("first", figures)


if __name__ == "__main__":
    main()
