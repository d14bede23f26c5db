"""Figures of the fault simulator, its planted bugs, kills, fuzzing and forgeries; writes build/bench/faults.json.

`python test/benchmarks/bench_faults.py [--minutes M] [--jobs N] [--seeds N] [--fuzz N] [--kills N] [--only PART …]`

Seeds and fuzzed inputs go on where the last run on the same code ended (`ledger.py`), until their goals are reached: run it as often
and as long as the machine is free. A third of the time is for fuzzing, the rest for seeds.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count, islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "faultsim"))

import fuzz_files  # noqa: E402
from fuzz import Report, fuzz, show  # noqa: E402
from hostile import permits, resets  # noqa: E402
from ledger import Ledger, load  # noqa: E402
from mutants import MUTANTS, SEEDS, hunt  # noqa: E402
from recovery import RESPAWN_S, measure  # noqa: E402
from scenario import Scenario, run  # noqa: E402

FIRST_SEED, FIRST_ROUND = 1, 3
ROUND = 120_000
SAVE_EVERY_S = 30.0
PARTS = ("planted", "kills", "strangers", "files", "fuzz", "seeds")
WARM = 20
Figures = dict[str, dict[str, Any]]


class Played(NamedTuple):
    """What came of a seed. `memory_mb`: peak of the process that played it so far."""

    seed: int
    violation: str
    virtual_s: float
    faults: int
    spent_s: float  # CPU
    process: int
    memory_mb: float


def play(seed: int) -> Played:
    """One seed."""
    scenario, cpu_s = Scenario.of(seed), time.process_time()
    outcome = run(scenario)
    return Played(
        seed,
        outcome.violation,
        outcome.virtual_s,
        len(scenario.faults),
        time.process_time() - cpu_s,
        os.getpid(),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    )


@dataclass(slots=True)
class Growth:
    """Peak memory of one process. What is loaded and cached for good is there after the first `WARM` seeds."""

    seeds: int = 0
    virtual_s: float = 0.0
    before_mb: float = 0.0
    after_mb: float = 0.0

    def add(self, played: Played) -> None:
        self.seeds += 1
        self.after_mb = played.memory_mb
        if self.seeds <= WARM:
            self.before_mb = played.memory_mb
        else:
            self.virtual_s += played.virtual_s


def _played(seeds: Iterator[int], jobs: int) -> Iterator[Played]:
    if jobs == 1:
        yield from map(play, seeds)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        # A few at a time: what is under way when the time is over is not counted, and run again next time.
        while batch := list(islice(seeds, 4 * jobs)):
            yield from pool.map(play, batch)


def seeds(ledger: Ledger, most: int, until_s: float, jobs: int) -> Figures:
    """Seeds one after the other, until so many were run, or until so late on the monotonic clock."""
    saved_s, memory = time.monotonic(), defaultdict[int, Growth](Growth)
    for played in _played(count(FIRST_SEED + ledger.seeds), jobs):
        memory[played.process].add(played)
        ledger.seeds += 1
        ledger.virtual_s += played.virtual_s
        ledger.spent_s += played.spent_s
        if played.violation:
            ledger.failed[str(played.seed)] = played.violation
            print(f"seed {played.seed}: {played.violation}", flush=True)
        else:
            ledger.injected += played.faults
        now_s = time.monotonic()
        if now_s - saved_s > SAVE_EVERY_S:
            ledger.save()
            saved_s = now_s
        if ledger.seeds >= most or now_s >= until_s:
            break
    ledger.save()
    hours = sum(growth.virtual_s for growth in memory.values()) / 3600.0
    grown_mb = sum(growth.after_mb - growth.before_mb for growth in memory.values())
    rate = ledger.seeds / max(ledger.spent_s, 1e-9) * 3600.0
    note = (
        f"of {ledger.seeds} seeds from {FIRST_SEED}, in {ledger.runs} runs of the same code; {ledger.virtual_s / 60.0:.0f} job-minutes, "
        f"{rate:.0f} seeds per core-hour; broken by {', '.join(ledger.failed) or 'none'}"
    )
    return {
        "faults.clean_seeds": {"value": ledger.seeds - len(ledger.failed), "unit": "1", "note": note},
        "faults.light_faults_injected": {
            "value": ledger.injected,
            "unit": "1",
            "note": "faults in those clean seeds, in the light trailer of the fault simulator, not against the physics",
        },
        "faults.speed_factor": {
            "value": round(ledger.virtual_s / max(ledger.spent_s, 1e-9), 1),
            "unit": "1",
            "note": "virtual time over CPU time; safety, broker and planner are the robot's own and two thirds of the time, motion "
            "planning, choice and perception are light substitutes",
        },
        "faults.virtual_memory_slope_mb_per_h": {
            "value": round(grown_mb / max(hours, 1e-9), 3),
            "unit": "MB/h",
            "note": f"peak memory of the simulator's process over {hours:.1f} h of virtual time in this run; not the live nodes",
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


def strangers() -> Figures:
    """Forged permits and resets."""
    forged, reset = permits(100_000, 8), resets(20_000, 9)
    return {
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


def damaged(ledger: Ledger, files: int) -> Figures:
    """Damaged files at every reader."""
    report = fuzz_files.fuzz(files, FIRST_ROUND + ledger.runs)
    ledger.inputs += report.inputs.total()
    ledger.crashes |= report.crashes
    ledger.save()
    note = f"in this run: {dict(report.inputs)}; kinds of crash are in fuzz_crashes"
    return {"faults.damaged_files": {"value": report.inputs.total(), "unit": "1", "note": note}}


def _fuzzed(rounds: Iterator[int], jobs: int) -> Iterator[Report]:
    work = (FIRST_ROUND + 100 * number for number in rounds)
    if jobs == 1:
        yield from (fuzz(ROUND, seed) for seed in work)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        while batch := list(islice(work, jobs)):
            yield from pool.map(fuzz, repeat(ROUND), batch)


def fuzzing(ledger: Ledger, most: int, until_s: float, jobs: int) -> Figures:
    """Malformed inputs at every core."""
    for report in _fuzzed(count(ledger.rounds), jobs) if ledger.inputs < most else ():
        ledger.rounds += 1
        ledger.inputs += report.inputs
        ledger.motions += report.motions
        ledger.fuzz_spent_s += report.seconds
        ledger.crashes |= report.crashes
        ledger.save()
        if ledger.inputs >= most or time.monotonic() >= until_s:
            break
    show(ledger.crashes)
    note = (
        f"messages, requests and goals directly at six cores, in {ledger.rounds} rounds of the same code, and the damaged files; "
        f"{ledger.motions} motions"
    )
    return {
        "faults.fuzz_inputs": {"value": ledger.inputs, "unit": "1", "note": note},
        "faults.fuzz_crashes": {
            "value": len(ledger.crashes) + ledger.motions,
            "unit": "1",
            "note": "kinds of crash, and motions",
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    minutes = float(os.environ.get("LUMPER_BENCH_FAULT_MINUTES", "30"))
    parser.add_argument("--minutes", type=float, default=minutes, help="for seeds and fuzzing together, after the rest")
    parser.add_argument("--jobs", type=int, default=1, help="seeds, or rounds of fuzzing, at once")
    parser.add_argument("--seeds", type=int, default=100_000)
    parser.add_argument("--fuzz", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=500, help="damaged files for each reader")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    inputs, played = load("all"), load("seeds")
    path = ROOT / "build" / "bench" / "faults.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known: Figures = json.loads(path.read_text()) if path.is_file() else {}
    figures: Figures = {}

    def keep(made: Figures) -> None:
        """Beside what other runs measured, each with its day."""
        for figure in made.values():
            figure["day"] = time.strftime("%Y-%m-%d")
        figures.update(made)
        path.write_text(json.dumps(known | figures, indent=1) + "\n")

    if {"files", "fuzz"} & set(options.only):
        inputs.runs += 1
    parts: dict[str, Callable[[], Figures]] = {
        "planted": planted,
        "kills": lambda: kills(options.kills),
        "strangers": strangers,
        "files": lambda: damaged(inputs, options.files),
    }
    for part in [part for name, part in parts.items() if name in options.only]:
        keep(part())
    begun_s, length_s = time.monotonic(), 60.0 * options.minutes
    if "fuzz" in options.only:
        share = 1.0 / 3.0 if "seeds" in options.only else 1.0
        keep(fuzzing(inputs, options.fuzz, begun_s + share * length_s, options.jobs))
    if "seeds" in options.only:
        played.runs += 1
        keep(seeds(played, options.seeds, begun_s + length_s, options.jobs))
    for name, figure in figures.items():
        print(f"{name}: {figure['value']} {figure['unit']}  {figure.get('note', '')}")
    bad = ("faults.fuzz_crashes", "faults.forged_permits_accepted")
    good = figures.get("faults.planted_bugs_found", {"value": 1.0})["value"] == 1.0
    return 0 if good and not played.failed and not any(figures.get(name, {"value": 0})["value"] for name in bad) else 1


if __name__ == "__main__":
    sys.exit(main())
