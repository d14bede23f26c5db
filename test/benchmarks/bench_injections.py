"""Causes of a stop at random moments of running jobs, with the physics; writes build/bench/injections.json.

`python test/benchmarks/bench_injections.py [--minutes M] [--jobs N]`: goes on where the last run on the same code ended, until
10,000 were made; run it as often and as long as the machine is free.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import count, islice
from pathlib import Path

import results

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "faultsim"))

from injections import KINDS, Play, Tally  # noqa: E402
from ledger import fingerprint  # noqa: E402

KEPT = ROOT / "build" / "faults" / "injections.json"
GOAL, EACH, CARTONS = 10_000, 60, 30


def play(seed: int) -> Tally:
    """One job."""
    tally = Tally()
    Play(seed, CARTONS, tally).run(EACH)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    minutes = float(os.environ.get("LUMPER_BENCH_INJECTION_MINUTES", "20"))
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--jobs", type=int, default=1, help="jobs at once")
    options = parser.parse_args()
    sums = {
        "code": fingerprint(),
        "seed": 1,
        "kept": {},
        "broken": [],
        "virtual_s": 0.0,
        "jobs": 0,
        "stuck": 0,
        "on_top": 0,
    }
    if KEPT.is_file() and (old := json.loads(KEPT.read_text()))["code"] == sums["code"]:
        sums = old
    kept = Counter(sums["kept"])
    until_s, seeds = time.monotonic() + 60.0 * options.minutes, count(sums["seed"])
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        while kept.total() < GOAL and time.monotonic() < until_s:
            for tally in pool.map(play, list(islice(seeds, options.jobs))):
                kept += tally.kept
                sums["broken"] += tally.broken
                sums["virtual_s"] += tally.virtual_s
                sums["jobs"] += 1
                sums["stuck"] += tally.stuck
                sums["on_top"] += tally.on_top
                for broken in tally.broken:
                    print(f"  job {sums['jobs']}: {broken}", flush=True)
            sums |= {"kept": dict(kept), "seed": sums["jobs"] + 1}
            KEPT.write_text(json.dumps(sums, indent=1) + "\n")
    kinds = ", ".join(f"{kind.name} {kept[kind.name]}" for kind in KINDS)
    figure = {
        "value": kept.total(),
        "unit": "1",
        "note": f"with the physics, in virtual time, {sums['virtual_s'] / 3600.0:.1f} h in {sums['jobs']} jobs of {CARTONS} cartons "
        f"({sums['stuck']} ended early: 45 s without motion), {kept.total() - sums['on_top']} while the arm moved and {sums['on_top']} on top of a "
        f"stop; {kinds}; broken: {'; '.join(sums['broken']) or 'none'}",
    }
    results.write("injections", {"safety.injections_without_violation": figure})
    return 1 if sums["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
