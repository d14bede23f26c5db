"""Figures of the planner core beside its peers in the same run: `python bench_core.py [--quick]`.

Times are CPU time of one thread. Truth comes from rigid-body rollouts (physics.py), cached by content under build/cache;
the peers' times are always measured, their answers are cached where they only settle right or wrong.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peers
import physics
import sequence
import walls
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

import lumper_core

OUTPUT = Path(__file__).resolve().parents[3] / "build" / "bench" / "core.json"
ACCELERATION_MPS2 = lumper_core.StaticsParameters().acceleration_threshold_mps2

Figures = dict[str, dict[str, Any]]
DRAWS = 24
ENGINE = "physics of the perturbed wall"
# A linear program of a wall with sides can take minutes: the peer is stopped then.
SOLVER_LIMIT_S = 10.0
# Times the speed limit of a stroke: whether the limit is where it should be.
PACES = (0.5, 1.0, 2.0, 4.0)


def best_of(work: Callable[[], Any], repeats: int = 3) -> float:
    """Least CPU seconds of `repeats` runs: what the work costs when nothing disturbs the caches."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def put(figures: Figures, name: str, value: float, unit: str, note: str = "", peer: float | None = None) -> None:
    figures[f"core.{name}"] = {"value": float(value), "unit": unit, "note": note}
    if peer is not None:
        figures[f"core.{name}"]["peer"] = float(peer)
    print(f"core.{name:28s} {value:10.4g} {unit:4s} {note}", flush=True)


def unsafe(records: NDArray[np.void]) -> NDArray[np.bool_]:
    """What the planner would not take: undecided counts as unsafe."""
    verdict = records["verdict"]
    return (verdict == 2) | ((verdict == 1) & (records["acceleration"] > ACCELERATION_MPS2))


def accessible(boxes: NDArray[np.void], count: int) -> list[int]:
    """Ids of the `count` cartons nearest to the door."""
    return [int(i) for i in boxes["id"][np.argsort(boxes["position"][:, 0] - boxes["size"][:, 0] / 2)[:count]]]


def speed(figures: Figures) -> None:
    print(
        "\n| N | wall | standing ms | all ms | 50 nearest the door ms | p99 ms of one removal |\n|---|---|---|---|---|---|"
    )
    rows: dict[int, list[tuple[float, float, float, str]]] = {}
    for count in (50, 100, 200, 400):
        for kind in walls.KINDS:
            boxes = walls.generate(kind, count, 1)
            pile = lumper_core.Pile(boxes)
            front = accessible(boxes, 50)
            pile.analyse()
            everything = best_of(pile.analyse) * 1e3
            near = best_of(lambda pile=pile, front=front: pile.analyse(front)) * 1e3
            p99 = float(np.quantile(np.minimum.reduce([pile.analyse()["seconds"] for _ in range(3)]), 0.99)) * 1e3
            standing = float(pile.standing()["seconds"][0]) * 1e3
            rows.setdefault(count, []).append((everything, near, p99, kind))
            print(f"| {count} | {kind} | {standing:.1f} | {everything:.1f} | {near:.1f} | {p99:.2f} |", flush=True)
    counts = np.log(list(rows))
    growth = {k: np.polyfit(counts, np.log([max(r[k] for r in rows[n]) for n in rows]), 1)[0] for k in range(2)}
    print(f"growth with N: all removals N^{growth[0]:.1f}, 50 nearest the door N^{growth[1]:.1f}")
    note = "worst of five kinds of wall, frictionless sides"
    put(figures, "all_removals_n200_ms", max(r[0] for r in rows[200]), "ms", note)
    put(figures, "accessible50_n200_ms", max(r[1] for r in rows[200]), "ms", note)
    put(figures, "removal_p99_n200_ms", max(r[2] for r in rows[200]), "ms", note)
    put(
        figures,
        "all_removals_n400_ms",
        max(r[0] for r in rows[400]),
        "ms",
        f"{note}; from N = 50 on it grows with N^{growth[0]:.1f}",
    )


def ratios(figures: Figures, quick: bool) -> None:
    for name, parameters in (
        ("ratio_highs_nosides_n200", {"side_tolerance_m": -1.0}),
        ("ratio_highs_sides_n200", {}),
    ):
        ours: list[float] = []
        theirs: list[float] = []
        given_up = 0
        for kind in walls.KINDS[: 2 if quick else None]:
            boxes = walls.generate(kind, 200, 1)
            pile = lumper_core.Pile(boxes, parameters=lumper_core.StaticsParameters(**parameters))
            ours += [best_of(pile.analyse) / len(boxes)]
            full = peers.problem(pile)
            rows = np.random.default_rng(1).choice(200, 2 if quick else 4, replace=False)
            solved = [peers.balanced_scipy(peers.without(full, int(row)), SOLVER_LIMIT_S) for row in rows]
            given_up += sum(answer is None for answer, _ in solved)
            theirs += [float(np.mean([seconds for _, seconds in solved]))]
        each = np.array(theirs) / np.array(ours)
        note = f"time of all kinds together; by kind {', '.join(f'{r:.0f}' for r in each)}; ours {np.mean(ours) * 1e3:.3f} ms"
        if given_up:
            note += f"; the peer was stopped {given_up} times after {SOLVER_LIMIT_S:g} s, which count as its answer: it is slower"
        put(figures, name, sum(theirs) / sum(ours), "1", note, peer=float(np.mean(theirs)) * 1e3)
    boxes = physics.settle(walls.generate("brick", 49, 0))
    pile = lumper_core.Pile(boxes)
    own = best_of(pile.analyse) / len(boxes)
    rows = np.random.default_rng(2).choice(len(boxes), 6, replace=False)
    world = physics.World(boxes)
    start = time.process_time()
    for row in rows:
        world.removal(int(row))
    rollout = (time.process_time() - start) / len(rows)
    put(
        figures,
        "ratio_mujoco_rollout_n50",
        rollout / own,
        "1",
        "brick wall, one removal against one rollout",
        peer=rollout * 1e3,
    )
    compas = peers.compas_rbe_s(boxes)
    if compas is None:
        print("core.ratio_compas_rbe_n50: peer absent (compas_cra is not installed or its solver failed)")
    else:
        put(figures, "ratio_compas_rbe_n50", compas / own, "1", "brick wall, detection and RBE", peer=compas * 1e3)
    warm = peers.highspy_warm_s(pile)
    print(
        f"highspy warm at N = 49: {'absent' if warm is None else f'{warm * 1e3:.2f} ms'} per removal; ours {own * 1e3:.3f} ms"
    )


def agreement(figures: Figures, quick: bool) -> None:
    asked = same = verified = proofs = 0
    for seed in range(2 if quick else 20):
        for kind in walls.KINDS:
            boxes = walls.generate(kind, 51, 100 + seed)
            pile = lumper_core.Pile(boxes)

            def work(pile: lumper_core.Pile = pile) -> NDArray[np.int8]:
                full = peers.problem(pile)
                answers = [peers.balanced_scipy(peers.without(full, row))[0] for row in range(len(pile))]
                return np.array([-1 if a is None else int(a) for a in answers], np.int8)

            truth = physics.cached("highs2", boxes, {}, work)
            records = pile.analyse()
            asked += len(truth)
            same += int(((truth == 1) == (records["verdict"] == 0)).sum())
            for box_id, verdict in zip(boxes["id"], records["verdict"], strict=True):
                if verdict != 2:
                    proofs += 1
                    verified += lumper_core.check(pile, pile.certificate([int(box_id)])) == ""
    put(
        figures, "agreement_highs", same / asked, "1", f"{asked} removals; {verified} of {proofs} certificates verified"
    )


def disturbed(boxes: NDArray[np.void], seed: int) -> NDArray[np.void]:
    """The wall as perceived: pose sigma 5 mm xy, 2 mm z, size sigma 3 mm, mass from constant density."""
    rng = np.random.default_rng([7, seed])
    seen = boxes.copy()
    seen["position"] += rng.normal(0, [0.005, 0.005, 0.002], (len(boxes), 3))
    seen["size"] += rng.normal(0, 0.003, (len(boxes), 3))
    seen["mass"] = seen["size"].prod(axis=1) * walls.DENSITY_KGPM3
    seen["pose_sigma"][:, :3] = (0.005, 0.005, 0.002)
    seen["size_sigma"] = 0.003
    seen["friction"] = rng.uniform(0.3, 0.7, len(boxes))
    return seen


def scores(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float, float, str]:
    """Recall, precision, F1, and the counts in words."""
    tp, fp, fn = (predicted & truth).sum(), (predicted & ~truth).sum(), (~predicted & truth).sum()
    recall, precision = tp / max(1, tp + fn), tp / max(1, tp + fp)
    f1 = 2 * tp / max(1, 2 * tp + fp + fn)
    return recall, precision, f1, f"{tp + fn} of {len(truth)} collapse, {fn} missed, {fp} false"


def ledges(pile: lumper_core.Pile) -> NDArray[np.float64]:
    """(N,) m: how far inside the hull of what is left under it the centre of any carton above would lie, the least of
    them; negative: outside; inf: nothing rests on it."""
    contacts = pile.contacts()
    support = contacts[contacts["normal"][:, 2] > 0.5]
    boxes = pile.boxes()
    result = np.full(len(pile), np.inf)
    for lower, upper in sorted({(int(c["a"]), int(c["b"])) for c in support if c["a"] >= 0}):
        rest = support[(support["b"] == upper) & (support["a"] != lower)]["position"][:, :2]
        centre = boxes["position"][upper, :2]
        try:
            inside = -float((ConvexHull(rest).equations @ [*centre, 1.0]).max())
        except (QhullError, ValueError):  # a line, a point or nothing
            inside = -float(np.linalg.norm(rest - centre, axis=1).min()) if len(rest) else -1.0
        result[lower] = min(result[lower], inside)
    return result


def ensemble(seen: NDArray[np.void], seed: int) -> NDArray[np.float64]:
    """(N,) share of `DRAWS` walls, perturbed once more and judged without caution, in which the removal brings something
    down: what sampling can know of a perturbed wall."""
    bold = lumper_core.StaticsParameters(shrink_sigmas=0.0, doubt_sigmas=0.0)
    draws = [disturbed(seen, 500 + DRAWS * seed + k) for k in range(DRAWS)]
    return np.mean([unsafe(lumper_core.Pile(draw, parameters=bold).analyse()) for draw in draws], axis=0)


def rules(pile: lumper_core.Pile) -> dict[str, NDArray[np.bool_]]:
    """Simple rules as peers: unsafe when something rests on it; when a carton above keeps less than half its support;
    when its centre does not lie over what is left under it."""
    contacts = pile.contacts()
    count = len(pile)
    top = np.zeros(count, bool)
    half = np.zeros(count, bool)
    support = contacts[contacts["normal"][:, 2] > 0.5]
    area: dict[tuple[int, int], float] = {}
    for patch in np.unique(support["patch"]):
        points = support[support["patch"] == patch]
        lower, upper = int(points["a"][0]), int(points["b"][0])
        x, y = points["position"][:, 0], points["position"][:, 1]
        area[lower, upper] = 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
    total: dict[int, float] = {}
    for (_, upper), a in area.items():
        total[upper] = total.get(upper, 0.0) + a
    for (lower, upper), a in area.items():
        if lower >= 0:
            top[lower] = True
            half[lower] |= a > 0.5 * total[upper]
    return {"top-most rule": top, "support area >= 0.5": half, "centre over its supports": ledges(pile) < 0.0}


def truth(figures: Figures, quick: bool) -> None:
    collected: dict[str, list[tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]]] = {}
    inside: list[NDArray[np.float64]] = []
    sampled: list[NDArray[np.float64]] = []
    engine: tuple[tuple[float, float, float, str], ...] = ()
    for seed in range(1 if quick else 4):
        for kind in walls.KINDS:
            boxes = physics.settle(walls.generate(kind, 55, seed))
            fell = physics.removals(boxes) > physics.MOVED_M
            pile = lumper_core.Pile(boxes)
            records = pile.analyse()
            hard = records["nontrivial"] == 1
            collected.setdefault("exact", []).append((unsafe(records), fell, hard))
            for name, predicted in rules(pile).items():
                collected.setdefault(name, []).append((predicted, fell, hard))
            flat = lumper_core.Pile(boxes, parameters=lumper_core.StaticsParameters(side_tolerance_m=-1.0))
            collected.setdefault("equilibrium without sides", []).append((unsafe(flat.analyse()), fell, hard))
            rough = lumper_core.Pile(boxes, parameters=lumper_core.StaticsParameters(side_friction=0.3))
            collected.setdefault("equilibrium, side friction 0.3", []).append((unsafe(rough.analyse()), fell, hard))
            seen = disturbed(boxes, seed)
            rolled = physics.removals(physics.settle(seen)) > physics.MOVED_M
            collected.setdefault(ENGINE, []).append((rolled, fell, hard))
            collected.setdefault("perturbed", []).append((unsafe(lumper_core.Pile(seen).analyse()), fell, hard))
            inside.append(ledges(pile)[hard])
            sampled.append(ensemble(seen, seed)[hard])
    print(
        "\n| predictor | F1 all | F1 non-trivial | recall | recall non-trivial | all | non-trivial |\n|---|---|---|---|---|---|---|"
    )
    for name, parts in collected.items():
        predicted, fell, hard = (np.concatenate([p[k] for p in parts]) for k in range(3))
        every = scores(predicted, fell)
        some = scores(predicted[hard], fell[hard])
        print(
            f"| {name} | {every[2]:.3f} | {some[2]:.3f} | {every[0]:.3f} | {some[0]:.3f} | {every[3]} | {some[3]} |",
            flush=True,
        )
        if name == "exact":
            put(figures, "f1_exact", every[2], "1", every[3])
            put(figures, "f1_exact_nontrivial", some[2], "1", some[3])
        elif name == ENGINE:
            engine = (every, some)
        elif name == "perturbed":
            put(figures, "recall_noisy", every[0], "1", every[3], peer=engine[0][0])
            put(
                figures,
                "f1_noisy",
                every[2],
                "1",
                f"{every[3]}; peer: physics of the perturbed wall",
                peer=engine[0][2],
            )
            put(figures, "recall_noisy_nontrivial", some[0], "1", some[3], peer=engine[1][0])
            edge = np.concatenate(inside)
            close = np.abs(edge) < 0.003
            share = np.concatenate(sampled)
            best = max((scores(share >= t, fell[hard]) for t in np.unique(share)), key=lambda score: score[2])
            note = (
                f"{some[3]}; {(close & fell[hard]).sum()} of what collapses and {(close & ~fell[hard]).sum()} of what stands hang on "
                f"less than 3 mm, seen with 7 mm of noise; {DRAWS} sampled walls a removal reach F1 {best[2]:.2f} at recall "
                f"{best[0]:.2f} with the best threshold in hindsight; peer: physics of the perturbed wall"
            )
            put(figures, "f1_noisy_nontrivial", some[2], "1", note, peer=engine[1][2])


def stroke_truth(figures: Figures, quick: bool) -> None:
    planner = lumper_core.Planner()
    predicted: list[NDArray[np.bool_]] = []
    real: list[NDArray[np.bool_]] = []
    static: list[NDArray[np.bool_]] = []
    kinds: list[NDArray[np.uint8]] = []
    paced: dict[float, list[NDArray[np.bool_]]] = {pace: [] for pace in PACES}
    for seed in range(1 if quick else 3):
        for kind in walls.KINDS:
            boxes = physics.settle(walls.generate(kind, 55, seed))
            grasps = planner.grasps(boxes)
            grasps = grasps[grasps["count"] == 1]
            if len(grasps) == 0:
                continue
            pile = lumper_core.Pile(boxes)
            predicted.append(~planner.strokes(boxes, grasps)["safe"].astype(bool))
            real.append(physics.strokes(boxes, grasps) > physics.MOVED_M)
            static.append(unsafe(pile.analyse([int(i) for i in grasps["ids"][:, 0]])))
            kinds.append(grasps["stroke"])
            if seed == 0:
                for pace, moved in paced.items():
                    sped = grasps[~predicted[-1]].copy()
                    sped["speed_limit"] *= pace
                    moved.append(physics.strokes(boxes, sped) > physics.MOVED_M)
    said, was, alone, stroke = (np.concatenate(x) for x in (predicted, real, static, kinds))
    print("\n| stroke | recall | precision | F1 | |\n|---|---|---|---|---|")
    for name, mask in [("all", stroke < 9), ("stable when teleported away", ~alone)] + [
        (s.name, stroke == s) for s in lumper_core.Stroke
    ]:
        recall, precision, f1, words = scores(said[mask], was[mask])
        print(f"| {name} | {recall:.3f} | {precision:.3f} | {f1:.3f} | {words} |")
    shares = {pace: np.concatenate(moved) for pace, moved in paced.items()}
    by_pace = ", ".join(f"{moved.sum()} of {len(moved)} at {pace:g} times" for pace, moved in shares.items())
    print(f"strokes called safe that move something, by speed: {by_pace} their limit")
    every, subset = scores(said, was), scores(said[~alone], was[~alone])
    note = (
        f"{every[3]}; where the removal alone is stable: recall {subset[0]:.2f}, precision {subset[1]:.2f}, {subset[3]}"
    )
    put(figures, "stroke_recall", every[0], "1", note)
    put(figures, "stroke_precision", every[1], "1", note)
    fast = shares[1.0]
    put(
        figures,
        "stroke_speed_moved",
        fast.mean(),
        "1",
        f"strokes called safe that move something: {by_pace} the speed limit",
    )


def decisions(figures: Figures, quick: bool) -> None:
    times = []
    for seed in range(2 if quick else 8):
        for kind in walls.KINDS:
            boxes = walls.generate(kind, 200, seed)
            front = float((boxes["position"][:, 0] - boxes["size"][:, 0] / 2).min())
            planner = lumper_core.Planner(parameters=lumper_core.PlanParameters(max_picks=1))
            for _ in range(2):
                plan = planner.plan(boxes, base=(front - 1.9, 0.0, 0.0), budget_s=1.0)
            times.append(plan.planning_s)
    note = f"{len(times)} walls, whole decision from boxes to the next pick; median {np.median(times) * 1e3:.1f} ms"
    put(figures, "decision_p99_n200_ms", float(np.quantile(times, 0.99)) * 1e3, "ms", note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller samples")
    parser.add_argument("--only", nargs="*", help="parts to run")
    options = parser.parse_args()
    figures: Figures = json.loads(OUTPUT.read_text()) if options.only and OUTPUT.exists() else {}
    parts: dict[str, Callable[[], None]] = {
        "speed": lambda: speed(figures),
        "ratios": lambda: ratios(figures, options.quick),
        "agreement": lambda: agreement(figures, options.quick),
        "truth": lambda: truth(figures, options.quick),
        "strokes": lambda: stroke_truth(figures, options.quick),
        "decisions": lambda: decisions(figures, options.quick),
        "plans": lambda: sequence.compare(figures, put, options.quick),
    }
    for name, part in parts.items():
        if not options.only or name in options.only:
            part()
            OUTPUT.parent.mkdir(parents=True, exist_ok=True)
            OUTPUT.write_text(json.dumps(figures, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
