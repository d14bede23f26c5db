"""Whole unloading sequences, executed in physics: the core's choice against top-first.

Both policies use the same grasps, strokes, time model and base moves; they differ in what they take. A carton that drops or
is carried off without being held counts as fallen; it is taken out and costs a person's time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import physics
import walls
from numpy.typing import NDArray

import lumper_core

FALLEN_M = 0.10
FALL_COST_S = 15.0
CARTONS = 45


@dataclass
class Score:
    seconds: float = 0.0
    taken: int = 0
    fallen: int = 0
    left: int = 0


Choose = Callable[[NDArray[np.void], tuple[float, float, float]], Any]


def ours() -> Choose:
    planner = lumper_core.Planner(parameters=lumper_core.PlanParameters(max_picks=1))
    return lambda boxes, base: planner.plan(boxes, base=base, budget_s=5.0)


def top_first() -> Choose:
    """The highest carton with nothing on it, one at a time; the core only works out how to hold it."""
    planner = lumper_core.Planner(parameters=lumper_core.PlanParameters(max_picks=1, max_group=1))

    def choose(boxes: NDArray[np.void], base: tuple[float, float, float]) -> Any:
        contacts = lumper_core.Pile(boxes).contacts()
        loaded = {int(boxes["id"][c["a"]]) for c in contacts if c["a"] >= 0 and c["normal"][2] > 0.5}
        tops = boxes["position"][:, 2] + boxes["size"][:, 2] / 2
        plan = None
        for row in sorted(range(len(boxes)), key=lambda r: (-round(float(tops[r]), 2), boxes["position"][r, 0])):
            if int(boxes["id"][row]) in loaded:
                continue
            others = [int(i) for i in boxes["id"] if i != boxes["id"][row]]
            plan = planner.plan(boxes, base=base, skip=others, budget_s=5.0)
            if plan.picks:
                return plan
        return plan or planner.plan(boxes, base=base, budget_s=5.0)

    return choose


def unload(boxes: NDArray[np.void], choose: Choose) -> Score:
    """Run one wall to its end in physics."""
    world = physics.World(boxes)
    world.reset()
    score = Score()
    alive = np.ones(len(boxes), bool)
    rows = {int(i): k for k, i in enumerate(boxes["id"])}
    front = float((boxes["position"][:, 0] - boxes["size"][:, 0] / 2).min())
    base = (front - 1.9, 0.0, 0.0)
    while alive.any():
        pose = world.data.qpos.reshape(world.count, 7)
        now = boxes[alive].copy()
        now["position"] = pose[alive, :3]
        quaternion = pose[alive][:, [4, 5, 6, 3]]
        now["orientation"] = quaternion / np.linalg.norm(quaternion, axis=1)[:, None]
        plan = choose(now, base)
        if plan.advance_base_m != 0.0:
            base = (base[0] + plan.advance_base_m, 0.0, 0.0)
        if not plan.picks:
            break
        pick = plan.picks[0]
        score.seconds += plan.expected_s
        load = [rows[i] for i in pick.carton_ids]
        before = world.positions().copy()
        world.take(load, pick.lift_m, pick.extract_m, pick.speed_limit_mps, pick.tilt_rad)
        alive[load] = False
        score.taken += len(load)
        shifted = np.linalg.norm(world.positions() - before, axis=1)
        dropped = alive & (shifted > FALLEN_M)
        for row in np.flatnonzero(dropped):
            world.hide(int(row))
        alive &= ~dropped
        score.fallen += int(dropped.sum())
    score.left = int(alive.sum())
    # What nobody dares to take is a person's work, like what fell.
    score.seconds += FALL_COST_S * (score.fallen + score.left)
    return score


def compare(figures: dict[str, Any], put: Callable[..., None], quick: bool) -> None:
    totals: dict[str, list[NDArray[np.float64]]] = {"ours": [], "top-first": []}
    print("\n| wall | policy | s per carton | taken | fallen | left |\n|---|---|---|---|---|---|")
    for seed in range(1 if quick else 4):
        for kind in walls.KINDS:
            boxes = physics.settle(walls.generate(kind, CARTONS, 50 + seed))
            for name, make in (("ours", ours), ("top-first", top_first)):
                score = unload(boxes, make())
                totals[name].append(np.array([score.seconds, score.taken, score.fallen, score.left, len(boxes)]))
                print(
                    f"| {kind} {seed} | {name} | {score.seconds / len(boxes):.2f} | {score.taken} | {score.fallen} | {score.left} |",
                    flush=True,
                )
    mean = {name: np.sum(rows, axis=0) for name, rows in totals.items()}
    own, peer = (mean[name][0] / mean[name][4] for name in ("ours", "top-first"))
    note = (
        f"{len(totals['ours'])} walls; s per carton {own:.2f} against {peer:.2f}; fallen {mean['ours'][2]:.0f} against "
        f"{mean['top-first'][2]:.0f}; left {mean['ours'][3]:.0f} against {mean['top-first'][3]:.0f}"
    )
    put(figures, "time_vs_topfirst", own / peer, "1", note, peer=float(peer))
