"""Seeded generators of trailer loads: where each carton stands before physics has its say. Frame `trailer`, SI units."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIZE_MIN_M, SIZE_MAX_M = 0.15, 0.61
MASS_MIN_KG, MASS_MAX_KG = 1.0, 27.0
COUNT_MIN, COUNT_MAX = 20, 400
# Enough that neighbours do not press on one another, little enough that they steady one another.
GAP_M = 0.004
LAYER_GAP_M = 0.0005


@dataclass(frozen=True, slots=True)
class Space:
    """Where a load may stand: |y| <= half_width_m, 0 <= z <= height_m, front_x_m <= x <= back_x_m."""

    half_width_m: float
    height_m: float
    front_x_m: float
    back_x_m: float


@dataclass(frozen=True, slots=True)
class CartonSpec:
    """One carton. `quat_wxyz`: carton x into the trailer, y left, z up when it stands square."""

    size_m: tuple[float, float, float]
    mass_kg: float
    friction: float
    position_m: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)


class LoadError(ValueError):
    """The load asked for cannot be made; the text names the parameter and the remedy."""


def _mass_kg(rng: np.random.Generator, size: Array) -> float:
    density = rng.uniform(60.0, 240.0)
    return float(np.clip(density * size.prod(), MASS_MIN_KG, MASS_MAX_KG))


def _spec(rng: np.random.Generator, size: Array, centre: Array, quat: Array | None = None) -> CartonSpec:
    orientation = (1.0, 0.0, 0.0, 0.0) if quat is None else tuple(float(v) for v in quat)
    return CartonSpec(
        tuple(float(v) for v in size),  # type: ignore[arg-type]
        _mass_kg(rng, size),
        float(rng.uniform(0.35, 0.6)),
        tuple(float(v) for v in centre),  # type: ignore[arg-type]
        orientation,  # type: ignore[arg-type]
    )


@dataclass
class _Slice:
    """One row of cartons across the trailer: a skyline of heights over y, on a 1 cm grid."""

    back_x_m: float
    half_width_m: float
    height_m: float

    def __post_init__(self) -> None:
        self.cell = 0.01
        cells = int(round(2 * self.half_width_m / self.cell))
        self.top = np.zeros(cells)
        # Nearest front edge of what carries each cell: a carton above must not overhang it.
        self.front = np.full(cells, -np.inf)
        self.depth = 0.0

    def place(self, size: Array) -> tuple[Array, Array] | None:
        """Lowest, then leftmost position for a carton: its size and centre, or None where it does not fit.

        A carton stands on at least 90 % of its width, and is cut short so that it hangs over in front by 4 % at most:
        more adds up, layer by layer, to towers that fall.
        """
        width = math.ceil((size[1] + GAP_M) / self.cell)
        if width > self.top.size:
            return None
        windows = np.lib.stride_tricks.sliding_window_view(self.top, width)
        base = windows.max(axis=1)
        carried = windows >= base[:, None] - 0.002
        fronts = np.lib.stride_tricks.sliding_window_view(self.front, width)
        carried_depth = self.back_x_m - np.where(carried, fronts, -np.inf).max(axis=1)
        depth = np.minimum(size[0], np.where(base > 0.0, 1.04 * carried_depth, np.inf))
        good = (carried.mean(axis=1) >= 0.9) & (base + size[2] <= self.height_m) & (depth >= max(0.7 * size[0], SIZE_MIN_M))
        if not good.any():
            return None
        candidates = np.flatnonzero(good)
        at = int(candidates[np.argmin(base[candidates])])
        low = float(base[at])
        cut = np.array([depth[at], size[1], size[2]])
        mine = self.back_x_m - GAP_M - cut[0]
        self.top[at : at + width] = low + cut[2] + LAYER_GAP_M
        self.front[at : at + width] = mine
        self.depth = max(self.depth, float(cut[0]) + GAP_M)
        left = -self.half_width_m + at * self.cell
        return cut, np.array([mine + cut[0] / 2, left + width * self.cell / 2, low + cut[2] / 2])


def _full(asked: int, made: int) -> LoadError:
    return LoadError(f"cartons={asked}: the trailer is full after {made}; ask for fewer or a longer trailer")


def _mixed(rng: np.random.Generator, count: int, space: Space) -> list[CartonSpec]:
    specs: list[CartonSpec] = []
    back = space.back_x_m
    # Many cartons fit only if they are smaller.
    scale = min(1.0, (240.0 / count) ** (1 / 3))
    while len(specs) < count:
        row = _Slice(back, space.half_width_m, space.height_m)
        misses = 0
        while len(specs) < count and misses < 60:
            # As people load: the broad ones below.
            shrink = scale * (1.0 - 0.35 * float(row.top.min()) / space.height_m)
            size = rng.uniform([0.25, 0.20, 0.15], np.array([0.58, SIZE_MAX_M, 0.45]) * shrink)
            # A tower much taller than deep does not survive the drive.
            size[2] = min(size[2], 1.3 * size[0], 1.3 * size[1])
            placed = row.place(size)
            if placed is None:
                misses += 1
                continue
            specs.append(_spec(rng, *placed))
        back -= row.depth
        if back < space.front_x_m:
            raise _full(count, len(specs))
    return specs


def _grid(rng: np.random.Generator, count: int, space: Space, interlocked: bool) -> list[CartonSpec]:
    size = rng.uniform([0.32, 0.36, 0.24], [0.48, 0.58, 0.36])
    width = 2 * space.half_width_m - GAP_M
    depth = space.back_x_m - space.front_x_m
    while int(depth // (size[0] + GAP_M)) * int(width // (size[1] + GAP_M)) * int(space.height_m // (size[2] + LAYER_GAP_M)) < count:
        size *= 0.97
        if size.min() < SIZE_MIN_M:
            raise _full(count, 0)
    pitch = size + np.array([GAP_M, GAP_M, LAYER_GAP_M])
    columns = int(width // pitch[1])
    layers = int(space.height_m // pitch[2])
    half = np.array([size[0], (size[1] - GAP_M) / 2, size[2]])
    specs: list[CartonSpec] = []
    row = 0
    while True:
        x = space.back_x_m - (row + 0.5) * pitch[0]
        for layer in range(layers):
            shifted = interlocked and (layer + row) % 2 == 1
            left = -columns * pitch[1] / 2
            # Bricks: every other layer begins and ends with half a carton.
            for item in [half, *[size] * (columns - 1), half] if shifted else [size] * columns:
                if len(specs) == count:
                    return specs
                centre = np.array([x, left + (item[1] + GAP_M) / 2, layer * pitch[2] + size[2] / 2])
                specs.append(_spec(rng, item, centre))
                left += item[1] + GAP_M
        row += 1


def _uniform(rng: np.random.Generator, count: int, space: Space) -> list[CartonSpec]:
    return _grid(rng, count, space, interlocked=False)


def _interlocked(rng: np.random.Generator, count: int, space: Space) -> list[CartonSpec]:
    return _grid(rng, count, space, interlocked=True)


def _leaning(rng: np.random.Generator, count: int, space: Space) -> list[CartonSpec]:
    """A mixed load with slender cartons on end, leaning back against its front."""
    leaning = max(3, min(count // 8, 6))
    specs = _mixed(rng, count - leaning, space)
    y = -space.half_width_m + 0.03
    for _ in range(leaning):
        size = np.array([rng.uniform(0.16, 0.24), rng.uniform(0.22, 0.34), rng.uniform(0.48, SIZE_MAX_M)])
        # Beyond its own balance: less would swing back upright.
        angle = math.atan2(size[0], size[2]) + math.radians(rng.uniform(3.0, 8.0))
        if y + size[1] > space.half_width_m - 0.02:
            raise LoadError("load=leaning: no room for the leaning cartons; ask for fewer cartons")
        # Only what stands beside it low enough stops it; it rests with its upper back edge on the nearest front.
        reach = size[2] * math.cos(angle)
        fronts = [
            s.position_m[0] - s.size_m[0] / 2
            for s in specs
            if abs(s.position_m[1] - (y + size[1] / 2)) < (s.size_m[1] + size[1]) / 2 and s.position_m[2] - s.size_m[2] / 2 < reach
        ]
        wall = min(fronts, default=space.back_x_m)
        cos, sin = math.cos(angle), math.sin(angle)
        # Rotated about +y by `angle` the top leans into the trailer; it stands on its lower back edge.
        height = (size[2] * cos + size[0] * sin) / 2
        reach_x = (size[0] * cos + size[2] * sin) / 2
        centre = np.array([wall - GAP_M - reach_x, y + size[1] / 2, height + 0.001])
        quat = np.array([math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0])
        specs.append(_spec(rng, size, centre, quat))
        y += size[1] + 0.02
    return specs


GENERATORS: dict[str, Callable[[np.random.Generator, int, Space], list[CartonSpec]]] = {
    "mixed": _mixed,
    "uniform": _uniform,
    "interlocked": _interlocked,
    "leaning": _leaning,
}


def generate(load: str, count: int, seed: int, space: Space) -> list[CartonSpec]:
    """The cartons of a load, built from the back wall to the front; the same arguments give the same load.

    Raises:
        LoadError: unknown load, count out of range, or no room; names the parameter.
    """
    if load not in GENERATORS:
        raise LoadError(f"load={load!r} is not known; choose one of {', '.join(GENERATORS)}")
    if not COUNT_MIN <= count <= COUNT_MAX:
        raise LoadError(f"cartons={count} is outside {COUNT_MIN}..{COUNT_MAX}")
    if seed < 0:
        raise LoadError(f"seed={seed} is negative; give 0 or more")
    rng = np.random.default_rng([seed, sorted(GENERATORS).index(load), count])
    return GENERATORS[load](rng, count, space)
