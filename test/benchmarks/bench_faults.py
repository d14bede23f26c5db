"""Figures of the fault simulator, its planted bugs, kills, fuzzing and forgeries; writes build/bench/faults.json.

`python test/benchmarks/bench_faults.py [--minutes M] [--seeds N] [--fuzz N] [--kills N]`
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "faultsim"))

from fuzz import fuzz  # noqa: E402
from hostile import permits, resets  # noqa: E402
from mutants import MUTANTS, SEEDS, hunt  # noqa: E402
from recovery import RESPAWN_S, measure  # noqa: E402
from scenario import Scenario, run  # noqa: E402

FIRST_SEED = 1
Figures = dict[str, dict[str, Any]]


def seeds(most: int, minutes: float) -> Figures:
    """Seeds one after the other, until so many were run or so long was worked."""
    begun, cpu = time.monotonic(), time.process_time()
    virtual_s, done, failed, injected = 0.0, 0, [], 0
    before_kb = after_kb = 0
    while done < most and time.monotonic() - begun < 60.0 * minutes:
        seed = FIRST_SEED + done
        scenario = Scenario.of(seed)
        outcome = run(scenario)
        virtual_s, done = virtual_s + outcome.virtual_s, done + 1
        if outcome.violation:
            failed.append(seed)
            print(f"seed {seed}: {outcome.violation}", flush=True)
        else:
            injected += len(scenario.faults)
        after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # What is loaded and cached for good is there after the first runs.
        before_kb = after_kb if done == 20 else before_kb
    spent = time.process_time() - cpu
    rate = done / spent * 3600.0
    note = (
        f"of {done} seeds from {FIRST_SEED}; {virtual_s / 60.0:.0f} job-minutes, {rate:.0f} seeds per core-hour; "
        f"broken by {failed or 'none'}"
    )
    hours = virtual_s / 3600.0
    return {
        "faults.clean_seeds": {"value": done - len(failed), "unit": "1", "note": note},
        "safety.injections_without_violation": {
            "value": injected,
            "unit": "1",
            "note": "faults in those clean seeds, in the light trailer of the fault simulator, not against the physics",
        },
        "faults.speed_factor": {
            "value": round(virtual_s / spent, 1),
            "unit": "1",
            "note": "virtual time over CPU time; safety, broker and planner are the robot's own, motion planning, choice and "
            "perception are light substitutes",
        },
        "faults.memory_slope_mb_per_h": {
            "value": round((after_kb - before_kb) / 1024.0 / max(hours, 1e-9), 3),
            "unit": "MB/h",
            "note": f"peak memory of the simulator's process over {hours:.1f} h of virtual time; not the live nodes",
        },
    }


def planted() -> Figures:
    """Every planted bug, hunted from seed 0 on."""
    found, slowest = 0, 0
    for mutant in MUTANTS:
        seed, violation = hunt(mutant, range(SEEDS))
        found, slowest = found + (seed >= 0), max(slowest, seed)
        print(f"{mutant.name}: {f'seed {seed}: {violation[:90]}' if seed >= 0 else 'NOT FOUND'}", flush=True)
    note = f"{found} of {len(MUTANTS)}, each within {SEEDS} seeds; the hardest by seed {slowest}"
    return {"faults.planted_bugs_found": {"value": found / len(MUTANTS), "unit": "1", "note": note}}


def kills(count: int) -> Figures:
    """One kill a run."""
    found = measure(count, 5)
    for violation in found.violations:
        print(violation, flush=True)
    by_node = ", ".join(f"{node} {max(times):.1f} s at most" for node, times in sorted(found.by_node.items()))
    note = (
        f"{found.kills} kills in the simulator, respawned after {RESPAWN_S:g} s; {found.with_person} wanted a person's reset; "
        f"rules broken: {len(found.violations)}"
    )
    return {
        "faults.virtual_kills_cartons_lost": {"value": found.cartons_lost, "unit": "1", "note": note},
        "faults.virtual_recovery_p95_s": {
            "value": round(found.p95_s(), 2),
            "unit": "s",
            "note": f"virtual time to the next trajectory, without the start of the process; {by_node}",
        },
    }


def fuzzing(count: int) -> Figures:
    """Malformed inputs at every core; forged permits and resets."""
    seed = 3
    report = fuzz(count, seed)
    for where, text in report.crashes.items():
        print(f"CRASH {where}\n{text[-1500:]}", flush=True)
    note = (
        f"seed {seed}, directly at six cores, {report.inputs / max(report.seconds, 1e-9):.0f} per s of CPU; "
        f"{report.motions} motions"
    )
    forged, reset = permits(100_000, 8), resets(20_000, 9)
    return {
        "faults.fuzz_inputs": {"value": report.inputs, "unit": "1", "note": note},
        "faults.fuzz_crashes": {
            "value": len(report.crashes) + report.motions,
            "unit": "1",
            "note": "crashes and motions",
        },
        "faults.forged_permits_accepted": {
            "value": sum(forged.accepted.values()),
            "unit": "1",
            "note": f"of {sum(forged.tried.values())}: {dict(sorted(forged.tried.items()))}",
        },
        "faults.forged_resets_accepted": {
            "value": sum(reset.accepted.values()),
            "unit": "1",
            "note": f"of {sum(reset.tried.values())}",
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="longest time for the seeds")
    parser.add_argument("--seeds", type=int, default=100_000)
    parser.add_argument("--fuzz", type=int, default=10_000_000)
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    figures: Figures = {}
    path = ROOT / "build" / "bench" / "faults.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in (
        planted,
        lambda: kills(options.kills),
        lambda: fuzzing(options.fuzz),
        lambda: seeds(options.seeds, options.minutes),
    ):
        figures |= part()
        path.write_text(json.dumps(figures, indent=1) + "\n")
    for name, figure in figures.items():
        print(f"{name}: {figure['value']} {figure['unit']}  {figure.get('note', '')}")
    good = figures["faults.planted_bugs_found"]["value"] == 1.0 and figures["faults.fuzz_crashes"]["value"] == 0
    return 0 if good and figures["faults.forged_permits_accepted"]["value"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
