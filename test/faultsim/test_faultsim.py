"""The simulator itself, and with it the robot's decisions on some bad days. Seeds are in the names of the tests."""

import os
import subprocess
import sys
from pathlib import Path

import fuzz_files
import pytest
from faults import KINDS, Fault, draw
from fuzz import fuzz
from hostile import permits, resets
from ledger import ROOT, sources
from light_load import Place
from mutants import MUTANTS, SEEDS, Mutant, hunt, planted
from scenario import Scenario, run
from shrink import REGRESSIONS, load, plain, rule_of, shrink

HERE = Path(__file__).parent
SOME_SEEDS = (3, 11, 23, 38, 47, 64, 85, 99)


@pytest.mark.parametrize("simulated_time", [False, True])
def test_on_a_quiet_day_every_carton_is_delivered(simulated_time: bool) -> None:
    outcome = run(Scenario(5, 4, (), simulated_time))
    assert outcome.violation == ""
    assert outcome.counts[Place.CONVEYOR.value] == 4
    assert outcome.counts["resets"] == outcome.counts["answers"] == 0


def test_a_load_of_two_rows_needs_the_base_to_move() -> None:
    outcome = run(Scenario(4, 14, (), False))
    assert outcome.violation == ""
    assert outcome.counts["base/advance"] >= 1 and outcome.counts[Place.CONVEYOR.value] == 14


def test_two_cartons_that_look_like_one_are_lost_pulled_at_and_parted() -> None:
    outcome = run(Scenario(2, 3, (), False))
    assert outcome.violation == ""
    assert outcome.counts["probes"] == 1 and outcome.counts["answers"] == 0
    assert outcome.counts[Place.CONVEYOR.value] == 3


def test_the_same_seed_is_the_same_run_in_another_process_too() -> None:
    program = "from scenario import Scenario, run; o = run(Scenario.of(21)); print(o.digest, o.steps)"
    here = run(Scenario.of(21))
    for hash_seed in ("1",):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        there = subprocess.run(
            [sys.executable, "-c", program], cwd=HERE, env=environment, capture_output=True, text=True, check=True
        )
        assert there.stdout.split() == [here.digest, str(here.steps)]


def test_an_account_of_seeds_is_of_all_that_a_run_loads_and_of_nothing_else() -> None:
    counted = {str(path.relative_to(ROOT)) for path in sources("seeds")}
    assert {
        "src/lumper_safety/lumper_safety/core.py",
        "src/lumper_motion/lumper_motion/runner.py",
        "src/lumper_planner/lumper_planner/unloading.py",
        "src/lumper_ros/lumper_ros/virtual.py",
        "test/faultsim/judge.py",
        "config/safety_causes.yaml",
        "msg/lumper_msgs/msg/SafetyState.msg",
    } <= counted
    assert not [path for path in counted if "lumper_perception" in path or "fuzz" in path or "/test_" in path]
    assert counted < {str(path.relative_to(ROOT)) for path in sources("all")}


@pytest.mark.parametrize("seed", SOME_SEEDS)
def test_no_rule_is_broken(seed: int) -> None:
    outcome = run(Scenario.of(seed), keep_trace=True)
    assert outcome.violation == "", "\n".join(outcome.trace[-40:])


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*.json")), ids=lambda path: path.stem)
def test_what_once_broke_a_rule_does_not_do_so_again(path: Path) -> None:
    outcome = run(load(path), keep_trace=True)
    assert outcome.violation == "", "\n".join(outcome.trace[-40:])


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    seed, violation = hunt(mutant, iter((mutant.finder,)))
    if seed < 0:
        seed, violation = hunt(mutant, range(SEEDS))
    print(f"seed {seed}: {violation}")
    assert seed >= 0, f"not found within {SEEDS} seeds"


def test_a_failure_is_shrunk_to_what_causes_it() -> None:
    silence = Fault(3.0, "silence", "scan/front", 0.0, 1.2)
    idle = [Fault(4.0 + i, "delay", "/tf", 0.01, 0.5) for i in range(5)]
    scenario = Scenario(9, 1, tuple(sorted((silence, *idle), key=lambda fault: fault.at_s)), False)
    blind = next(mutant for mutant in MUTANTS if "silence" in mutant.name)
    with planted(blind):
        rule = rule_of(run(scenario).violation)
        assert rule == "permits blindly"
        small = shrink(scenario, rule)
        assert rule_of(run(small).violation) == rule
    assert [fault.kind for fault in small.faults] == ["silence"]
    assert small.faults[0].for_s < silence.for_s


def test_a_scenario_survives_json(tmp_path: Path) -> None:
    import json

    scenario = Scenario.of(12)
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(plain(scenario, "rule")))
    assert load(path) == scenario


def test_every_kind_of_fault_is_drawn() -> None:
    drawn = {fault.kind for seed in range(400) for fault in draw(seed, 6, 40.0)}
    assert drawn == set(KINDS)


def test_malformed_inputs_neither_crash_nor_move_anything() -> None:
    seed = 20
    report = fuzz(24_000, seed)
    assert not report.crashes, "\n".join(report.crashes.values())
    assert report.inputs == 24_000 and report.motions == 0


def test_damaged_files_are_refused_by_name() -> None:
    seed = 21
    report = fuzz_files.fuzz(120, seed)
    assert report.crashes == {}, "\n".join(f"{where}\n{text}" for where, text in report.crashes.items())
    assert len(report.inputs) == 8 and min(report.refused[what] for what in ("robot", "launch", "causes")) > 10


def test_no_forged_permit_and_no_forged_reset_is_accepted() -> None:
    for tally in (permits(4000, 31), resets(2000, 32)):
        assert len(tally.tried) >= 5 and not sum(tally.accepted.values()), tally.accepted


def test_an_outcome_says_what_became_of_the_cartons() -> None:
    outcome = run(Scenario(6, 2, (Fault(4.0, "carton_drops"),), False))
    assert outcome.violation == ""
    assert sum(outcome.counts[place.value] for place in Place) == 2
