"""Geometric paths in joint space: legs joined with rounded corners, checked for collisions.

A path is a C2 curve q(s), s in rad of joint-space length, with the legs' names, closeness and tool-speed limits along it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from lumper_motion.collision import Closeness, CollisionChecker
from lumper_motion.kinematics import ArmKinematics

Array = NDArray[np.float64]

# Spacing of the knots along a path, and how many a leg has at least: between too few of them the curve swings out at a corner,
# on a short lift by 1 mm into what stands behind the load.
KNOT_STEP_RAD = 0.03
LEG_KNOTS = 6
# Half the length of path that a corner is rounded over, where the legs are long enough.
MAX_CORNER_RAD = 0.25
# Of a straight tool line at most so much goes into a corner, m: joints averaged over more of it leave the plane of the corner.
MAX_CORNER_M = 0.06
# Two checked configurations are so near that no point of the arm moves further between them.
CHECK_STEP_M = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Leg:
    """One part of a path.

    joints: (n, 6) samples, straight in joint space between them; n >= 2, or 1 for a leg of no length.
    stage: BrokerState.STAGE_* that it belongs to.
    max_tool_mps: speed limit of tool0 on this leg; inf = only the joints limit it.
    tool_m: length of the straight line of tool0 that it must keep to, also in its corners; 0 = none.
    """

    joints: Array
    stage: int
    closeness: Closeness = Closeness.CLEAR
    max_tool_mps: float = math.inf
    tool_m: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """A C2 joint-space curve.

    length_rad: s runs over 0 .. length_rad.
    ends: s at which each leg ends.
    """

    curve: CubicSpline
    length_rad: float
    legs: tuple[Leg, ...]
    ends: tuple[float, ...]

    def at(self, s: Array, derivative: int = 0) -> Array:
        """(n, 6) values or derivatives by s."""
        result: Array = self.curve(np.clip(s, 0.0, self.length_rad), derivative)
        return result

    def leg_index(self, s: Array) -> NDArray[np.intp]:
        """Which leg each s belongs to."""
        return np.minimum(np.searchsorted(self.ends, s, side="left"), len(self.legs) - 1)


def make_path(legs: Sequence[Leg], max_corner_rad: float = MAX_CORNER_RAD) -> Path:
    """Join legs, each starting where the one before ends, with corners rounded inside both neighbours.

    Raises:
        ValueError: no legs, or the whole has no length.
    """
    kept = [leg for leg in legs if _length(leg.joints) > 1e-6]
    if not kept:
        raise ValueError("a path needs a leg that moves")
    points = np.vstack([kept[0].joints, *(leg.joints[1:] for leg in kept[1:])])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    keep = np.concatenate([[True], steps > 1e-9])
    points, along = points[keep], np.concatenate([[0.0], np.cumsum(steps[steps > 1e-9])])
    lengths = [_length(leg.joints) for leg in kept]
    ends = np.cumsum(lengths)
    total = float(along[-1])
    bounds = np.concatenate([[0.0], ends])
    s = np.concatenate([[0.0], *(_knots(begin, end) for begin, end in pairwise(bounds))])
    knots = _interpolate(along, points, s)
    if len(kept) > 1 or len(points) > 2:
        # Half-widths of the averaging window: full at a corner, nothing at both ends, linear in between, so that the far
        # part of a short leg stays straight.
        corner_s = [0.0, *(float(end) for end in ends[:-1]), total]
        widths = [0.0]
        most = [
            min(0.8 * length, MAX_CORNER_M * length / leg.tool_m if leg.tool_m > 0.0 else math.inf)
            for leg, length in zip(kept, lengths, strict=True)
        ]
        widths += [min(max_corner_rad, before, after) for before, after in pairwise(most)]
        widths.append(0.0)
        if len(kept) == 1:
            corner_s, widths = [0.0, total / 2.0, total], [0.0, min(max_corner_rad, 0.2 * total), 0.0]
        width = np.interp(s, corner_s, widths)
        for _ in range(2):
            knots = _averaged(s, knots, width / math.sqrt(2.0))
    s_new = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    shrunk = tuple(float(value) for value in np.interp(ends, s, s_new))
    return Path(CubicSpline(s_new, knots, bc_type="natural"), float(s_new[-1]), tuple(kept), shrunk)


def _knots(begin: float, end: float) -> Array:
    """(n,) s of a leg's knots, without its beginning."""
    n = max(LEG_KNOTS, math.ceil((end - begin) / KNOT_STEP_RAD))
    return np.linspace(begin, end, n + 1)[1:]


def _length(joints: Array) -> float:
    return float(np.linalg.norm(np.diff(joints, axis=0), axis=1).sum())


def _interpolate(along: Array, points: Array, s: Array) -> Array:
    return np.column_stack([np.interp(s, along, points[:, i]) for i in range(points.shape[1])])


def _averaged(s: Array, points: Array, half_width: Array) -> Array:
    """Moving average of a polyline with a half-width that varies along it; exact for the piecewise linear curve."""
    step = np.diff(s)[:, None]
    area = np.vstack([np.zeros((1, points.shape[1])), np.cumsum(0.5 * (points[1:] + points[:-1]) * step, axis=0)])

    def integral(at: Array) -> Array:
        i = np.clip(np.searchsorted(s, at, side="right") - 1, 0, len(s) - 2)
        past = (at - s[i])[:, None]
        slope = (points[i + 1] - points[i]) / (s[i + 1] - s[i])[:, None]
        return np.asarray(area[i] + past * points[i] + 0.5 * past**2 * slope)

    width = np.minimum(half_width, np.minimum(s - s[0], s[-1] - s))
    wide = width > 1e-9
    result = points.copy()
    at, half = s[wide], width[wide]
    result[wide] = (integral(at + half) - integral(at - half)) / (2.0 * half)[:, None]
    return result


@dataclass(frozen=True, slots=True)
class Block:
    """Where a path touches something: s, fraction of the length, and what with what."""

    s: float
    what: str


def check_path(
    path: Path, kinematics: ArmKinematics, checker: CollisionChecker, from_s: float = 0.0, escape_rad: float = 0.0
) -> Block | None:
    """The first contact along a path, or None when it is free.

    Args:
        from_s: check only from here on.
        escape_rad: what is touched at the start may still be touched over so much of the path, so that an arm that
            stands too near something can leave it.
    """
    s = _check_samples(path, kinematics, from_s)
    joints = path.at(s)
    leg = path.leg_index(s)
    start = 0
    if escape_rad > 0.0 and checker.first_hit(joints[:1], path.legs[leg[0]].closeness) == 0:
        touching = {other for _, other in checker.explain(joints[0], path.legs[leg[0]].closeness)}
        while start < len(s) and touching and s[start] - from_s <= escape_rad:
            here = {other for _, other in checker.explain(joints[start], path.legs[leg[start]].closeness)}
            if here - touching:
                break
            if not here:
                break
            start += 1
    for index in range(leg[start] if start < len(s) else len(path.legs), len(path.legs)):
        rows = np.flatnonzero((leg == index) & (np.arange(len(s)) >= start))
        if not len(rows):
            continue
        hit = checker.first_hit(joints[rows], path.legs[index].closeness)
        if hit >= 0:
            row = rows[hit]
            pairs = checker.explain(joints[row], path.legs[index].closeness)
            what = "; ".join(f"{part} touches {other}" for part, other in pairs[:3]) or "contact"
            return Block(float(s[row]), what)
    return None


def _check_samples(path: Path, kinematics: ArmKinematics, from_s: float) -> Array:
    """s values such that the far end of the arm moves at most CHECK_STEP_M between two of them."""
    coarse = np.linspace(from_s, path.length_rad, max(2, math.ceil((path.length_rad - from_s) / 0.1) + 1))
    frames = kinematics.tool(path.at(coarse))
    # A point one tool length off the flange bounds what rotation of the wrist moves.
    tip = frames[:, :3, 3] + 0.3 * frames[:, :3, 0]
    moved = np.linalg.norm(np.diff(tip, axis=0), axis=1) + np.linalg.norm(np.diff(frames[:, :3, 3], axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(np.maximum(0.5 * moved, 1e-6))])
    n = max(2, math.ceil(float(along[-1]) / CHECK_STEP_M) + 1)
    return np.interp(np.linspace(0.0, along[-1], n), along, coarse)


def line(start: Array, end: Array, step_rad: float = 0.05) -> Array:
    """(n, 6) samples of a straight joint-space line."""
    n = 2 + int(np.linalg.norm(end - start) / step_rad)
    return start + np.linspace(0.0, 1.0, n)[:, None] * (end - start)
