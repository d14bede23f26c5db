"""From a run that breaks a rule to the least that still breaks it: delta debugging over the schedule of faults."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from faults import Fault
from scenario import Outcome, Scenario, run

REGRESSIONS = Path(__file__).parent / "regressions"


def rule_of(violation: str) -> str:
    """The name of the rule that was broken."""
    return violation.split(":", maxsplit=1)[0]


def shrink(scenario: Scenario, rule: str, most_runs: int = 80, play: Callable[[Scenario], Outcome] = run) -> Scenario:
    """The smallest scenario found within `most_runs` that breaks the same rule.

    Zeller & Hildebrandt 2002, "Simplifying and isolating failure-inducing input" (ddmin); then shorter faults.
    """
    left = most_runs

    def breaks(candidate: Scenario) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and rule_of(play(candidate).violation) == rule

    parts = 2
    while len(scenario.faults) > 1 and left > 0:
        faults = scenario.faults
        size = max(1, len(faults) // parts)
        for begin in range(0, len(faults), size):
            rest = replace(scenario, faults=faults[:begin] + faults[begin + size :])
            if breaks(rest):
                scenario, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(len(faults), parts * 2)
    for number, fault in enumerate(scenario.faults):
        while fault.for_s > 0.1 and left > 0:
            shorter = replace(fault, for_s=round(fault.for_s / 2, 3))
            faults = (*scenario.faults[:number], shorter, *scenario.faults[number + 1 :])
            if not breaks(replace(scenario, faults=faults)):
                break
            scenario, fault = replace(scenario, faults=faults), shorter
    return scenario


def plain(scenario: Scenario, rule: str) -> dict[str, Any]:
    """A scenario as JSON can carry it."""
    return {
        "rule": rule,
        "seed": scenario.seed,
        "cartons": scenario.cartons,
        "simulated_time": scenario.simulated_time,
        "faults": [fault.plain() for fault in scenario.faults],
    }


def load(path: Path) -> Scenario:
    """The scenario of a regression file."""
    data = json.loads(path.read_text())
    faults = tuple(Fault(**fault) for fault in data["faults"])
    return Scenario(data["seed"], data["cartons"], faults, data["simulated_time"])


def save(scenario: Scenario, rule: str) -> Path:
    """Keep a scenario as a regression test."""
    REGRESSIONS.mkdir(exist_ok=True)
    path = REGRESSIONS / f"{rule.replace(' ', '_')}_{scenario.seed}.json"
    path.write_text(json.dumps(plain(scenario, rule), indent=2) + "\n")
    return path
