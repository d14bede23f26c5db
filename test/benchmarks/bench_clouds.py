"""The demonstration from clouds alone: faces found in what the robot's camera sees, no detector. Writes build/bench/clouds.json.

The whole robot against the physics in virtual time, several loads. A load that the robot gives up on is counted, not hidden.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import results

ROOT = Path(__file__).resolve().parents[2]
CARTONS = 30
LIMIT_S = 500.0
COUNTS = re.compile(r"Counts\(total=(\d+), delivered=(\d+), on_conveyor=(\d+), .*falls=(\d+)\)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cartons", type=int, default=CARTONS)
    options = parser.parse_args()
    total = done = fallen = collapses = 0
    told = []
    for seed in options.seeds:
        words = [sys.executable, "test/faultsim/robot_graph.py", "--detector", "cloud", "--quiet", "--seed", str(seed)]
        words += ["--cartons", str(options.cartons), "--limit", str(LIMIT_S)]
        run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        found = COUNTS.search(run.stdout)
        if found is None:
            raise SystemExit(f"no result of seed {seed}:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        here, delivered, on_conveyor, falls = map(int, found.groups())
        total, done, fallen = total + here, done + delivered + on_conveyor, fallen + falls
        collapses += run.stdout.count("perception.moved_untouched: ")
        outcome = run.stdout[found.end() :].splitlines()[1][:120]
        told.append(f"seed {seed}: {delivered + on_conveyor} of {here}")
        print(f"  {told[-1]}, {falls} fell, {outcome}", flush=True)
    results.write(
        "clouds",
        {
            "perception.delivered_fraction_cloud": {
                "value": done / total,
                "unit": "1",
                "note": f"mixed loads, clouds of 640x480 with colour, no detector, virtual time; {'; '.join(told)}; {fallen} fell, "
                f"{collapses} movements reported that nothing of the robot explains",
            }
        },
    )


if __name__ == "__main__":
    main()
