"""How long after a node's death the arm moves again, in the light trailer: one kill a run, no other fault, no person needed.

A killed node is started again after `RESPAWN_S`, as launch does. What the process itself takes to start is not in it.
"""

import random
from dataclasses import dataclass, field

from faults import NODES, Fault
from scenario import Scenario, run

RESPAWN_S = 1.0


@dataclass(slots=True)
class Recovery:
    """Of all kills. Times in s of virtual time, by node; runs in which a latch wanted a person are counted apart."""

    kills: int = 0
    by_node: dict[str, list[float]] = field(default_factory=dict)
    with_person: int = 0
    cartons_lost: int = 0
    violations: list[str] = field(default_factory=list)

    def p95_s(self) -> float:
        times = sorted(time for times in self.by_node.values() for time in times)
        return times[min(len(times) - 1, int(0.95 * len(times)))] if times else float("nan")


def measure(kills: int, seed: int) -> Recovery:
    """Kill each node in turn at random moments of a job of three cartons."""
    rng, found = random.Random(seed), Recovery()
    for number in range(kills):
        node = NODES[number % len(NODES)]
        at_s = round(rng.uniform(3.0, 16.0), 3)
        fault = Fault(at_s, "kill", node, 0.0, RESPAWN_S, rng.randrange(6))
        outcome = run(Scenario(seed + number, 3, (fault,), False), keep_trace=True)
        found.kills += 1
        if outcome.violation:
            found.violations.append(f"{fault}: {outcome.violation}")
            continue
        found.cartons_lost += (
            outcome.counts["floor"] + 3 - sum(outcome.counts[place] for place in ("conveyor", "floor", "person"))
        )
        dispatches = [float(line.split()[0]) for line in outcome.trace if "-> arm_controller" in line]
        after = [time for time in dispatches if time > at_s + RESPAWN_S] or [time for time in dispatches if time > at_s]
        if outcome.counts["resets"] or outcome.counts["answers"]:
            found.with_person += 1
        elif after:
            found.by_node.setdefault(node, []).append(after[0] - at_s)
    return found
