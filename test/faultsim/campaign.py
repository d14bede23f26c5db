"""Run seeds through the light trailer; what breaks a rule is shrunk, shown and, if wanted, kept.

python test/faultsim/campaign.py 1:1000          seeds 1 to 1000
python test/faultsim/campaign.py 17 --save       one seed; a failure becomes test/faultsim/regressions/<rule>_17.json
python test/faultsim/campaign.py FILE.json       a kept scenario
"""

import argparse
import sys
import time
from pathlib import Path

from scenario import Outcome, Scenario, run
from shrink import load, rule_of, save, shrink

SHOWN = 60


def seeds_of(text: str) -> list[int]:
    """`7`, `1:1000` (both included) or `1,5,9`."""
    if ":" in text:
        first, last = text.split(":")
        return list(range(int(first), int(last) + 1))
    return [int(part) for part in text.split(",")]


def show(scenario: Scenario, outcome: Outcome, keep: bool) -> None:
    """A failure: shrunk, with the events that led to it."""
    rule = rule_of(outcome.violation)
    print(f"seed {scenario.seed}: {outcome.violation}", flush=True)
    small = shrink(scenario, rule)
    again = run(small, keep_trace=True)
    print(f"  shrunk from {len(scenario.faults)} faults to {len(small.faults)}, {small.cartons} cartons:")
    for fault in small.faults:
        print(f"    {fault}")
    print(f"  the last events before {again.violation}")
    for line in again.trace[-SHOWN:]:
        print(f"    {line}")
    if keep:
        print(f"  kept as {save(small, rule)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", help="N, FIRST:LAST, A,B,C or a kept scenario's file")
    parser.add_argument("--save", action="store_true", help="keep failures as regression tests")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after this time; 0 = never")
    options = parser.parse_args()
    if options.seeds.endswith(".json"):
        scenarios = [load(Path(options.seeds))]
    else:
        scenarios = [Scenario.of(seed) for seed in seeds_of(options.seeds)]
    begun, cpu = time.monotonic(), time.process_time()
    virtual_s, failed, done = 0.0, [], 0
    for scenario in scenarios:
        if options.minutes and time.monotonic() - begun > 60.0 * options.minutes:
            break
        outcome = run(scenario)
        done += 1
        virtual_s += outcome.virtual_s
        if outcome.violation:
            failed.append(scenario.seed)
            show(scenario, outcome, options.save)
    spent = time.process_time() - cpu
    rate = done / max(spent, 1e-9) * 3600.0
    print(
        f"{done} seeds, {virtual_s / 60.0:.0f} job-minutes in {spent:.0f} s CPU: {virtual_s / max(spent, 1e-9):.0f} x real "
        f"time, {rate:.0f} seeds per core-hour; rules broken by {len(failed)}: {failed or 'none'}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
