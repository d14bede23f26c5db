"""The other loads of the demonstration, 20 cartons each, the whole robot against the physics in virtual time.

Writes build/bench/loads.json. A load that the robot gives up on ends with a question to a person: that is counted, not hidden.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import results

ROOT = Path(__file__).resolve().parents[2]
LOADS = ("uniform", "interlocked", "leaning")
CARTONS = 20
LIMIT_S = 500.0
COUNTS = re.compile(r"Counts\(total=(\d+), delivered=(\d+), on_conveyor=(\d+), .*falls=(\d+)\)")


def main() -> None:
    figures: dict[str, dict[str, Any]] = {}
    for load in LOADS:
        words = [sys.executable, "test/faultsim/robot_graph.py", "--load", load, "--cartons", str(CARTONS), "--quiet"]
        run = subprocess.run([*words, "--limit", str(LIMIT_S)], cwd=ROOT, capture_output=True, text=True)
        found = COUNTS.search(run.stdout)
        if found is None:
            raise SystemExit(f"no result of load {load}:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        total, delivered, on_conveyor, falls = map(int, found.groups())
        outcome = run.stdout[found.end() :].splitlines()[1][:160]
        print(f"  {load}: {found[0]}, {outcome}", flush=True)
        figures[f"first.delivered_fraction_{load}{CARTONS}"] = {
            "value": (delivered + on_conveyor) / total,
            "unit": "1",
            "note": f"seed 1, virtual time; {falls} fell; {outcome}",
        }
    results.write("loads", figures)


if __name__ == "__main__":
    main()
