"""Seeded generators of trailer loads: where each carton stands before physics has its say. Frame `trailer`, SI units."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIZE_MIN_M, SIZE_MAX_M = 0.15, 0.61
MASS_MIN_KG, MASS_MAX_KG = 1.0, 27.0
COUNT_MIN, COUNT_MAX = 1, 400
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


# Heights in steps, so that neighbours often end level and the next carton can bridge them, as in a real load.
_HEIGHT_STEP_M = 0.05
_WIDTH_MIN_M = 0.20
_CELL_M = 0.01


class _Row:
    """One row of cartons across the trailer: a skyline of heights over y, on a 1 cm grid, filled from its lowest place."""

    def __init__(self, back_x_m: float, half_width_m: float, height_m: float) -> None:
        self._back_x_m = back_x_m
        self._half_width_m = half_width_m
        self._height_m = height_m
        cells = int(2 * half_width_m / _CELL_M)
        self._top = np.zeros(cells)
        # Cells that carry: not a gap that was bridged or given up.
        self._solid = np.ones(cells, dtype=bool)
        self._front = np.full(cells, -np.inf)
        self.depth_m = 0.0

    @property
    def lowest_m(self) -> float:
        return float(self._top.min())

    @property
    def full(self) -> bool:
        return self.lowest_m + SIZE_MIN_M > self._height_m

    def place(self, size: Array) -> tuple[Array, Array] | None:
        """Put a carton at the lowest, then leftmost place, cut to what is there; its size and centre.

        None: nothing can stand there, and the place was given up.
        """
        low = self.lowest_m
        level = np.abs(self._top - low) < 0.003
        start = int(np.argmax(level))
        run = level[start:]
        end = start + (int(np.argmin(run)) if not run.all() else run.size)
        free = end - start
        width = min(round(size[1] / _CELL_M), free)
        if 0 < (free - width) * _CELL_M < _WIDTH_MIN_M:
            # What remains beside it would be too narrow: take all, or leave enough.
            width = free if free * _CELL_M <= SIZE_MAX_M else free - round(_WIDTH_MIN_M / _CELL_M)
        cells = slice(start, start + width)
        low = float(self._top[cells].max())
        solid = self._solid[cells]
        height = min(size[2], math.floor((self._height_m - low) / _HEIGHT_STEP_M + 1e-6) * _HEIGHT_STEP_M)
        # In front it hangs over by 4 % at most: more adds up, layer by layer, to towers that fall.
        nearest = self._front[cells][solid].max(initial=-np.inf)
        depth = min(size[0], 1.04 * (self._back_x_m - nearest) if np.isfinite(nearest) else np.inf)
        if width * _CELL_M < _WIDTH_MIN_M or solid.mean() < 0.8 or depth < 0.2 or height < SIZE_MIN_M:
            around = [self._top[i] for i in (start - 1, end) if 0 <= i < self._top.size]
            self._top[start:end] = min(around, default=self._height_m)
            self._solid[start:end] = False
            return None
        cut = np.array([depth, width * _CELL_M - GAP_M, height])
        mine = self._back_x_m - GAP_M - depth
        self._top[cells] = low + height + LAYER_GAP_M
        self._solid[cells] = True
        self._front[cells] = mine
        self.depth_m = max(self.depth_m, depth + GAP_M)
        left = -self._half_width_m + start * _CELL_M
        return cut, np.array([mine + depth / 2, left + width * _CELL_M / 2, low + height / 2])


def _full(asked: int, made: int) -> LoadError:
    return LoadError(f"cartons={asked}: the trailer is full after {made}; ask for fewer or a longer trailer")


def _mixed(rng: np.random.Generator, count: int, space: Space) -> list[CartonSpec]:
    specs: list[CartonSpec] = []
    back = space.back_x_m
    # Many cartons fit only if they are smaller.
    scale = min(1.0, (260.0 / count) ** (1 / 3))
    while True:
        row = _Row(back, space.half_width_m, space.height_m)
        deep = rng.uniform(0.36, 0.58) * scale
        while not row.full:
            if len(specs) == count:
                return specs
            width = rng.uniform(_WIDTH_MIN_M, SIZE_MAX_M * scale)
            depth = deep * rng.uniform(0.75, 1.0)
            # A tower much taller than deep or broad does not survive the drive.
            tallest = min(0.45, 1.3 * depth, 1.3 * width)
            steps = rng.integers(3, 1 + max(3, math.floor(tallest / _HEIGHT_STEP_M)), endpoint=False)
            placed = row.place(np.array([depth, width, steps * _HEIGHT_STEP_M]))
            if placed is not None:
                specs.append(_spec(rng, *placed))
        back -= row.depth_m
        if back - 0.6 < space.front_x_m:
            raise _full(count, len(specs))


def _grid(rng: np.random.Generator, count: int, space: Space, interlocked: bool) -> list[CartonSpec]:
    size = rng.uniform([0.32, 0.36, 0.24], [0.48, 0.58, 0.36])
    width = 2 * space.half_width_m - GAP_M
    depth = space.back_x_m - space.front_x_m
    while (
        int(depth // (size[0] + GAP_M))
        * int(width // (size[1] + GAP_M))
        * int(space.height_m // (size[2] + LAYER_GAP_M))
        < count
    ):
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
            if abs(s.position_m[1] - (y + size[1] / 2)) < (s.size_m[1] + size[1]) / 2
            and s.position_m[2] - s.size_m[2] / 2 < reach
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


# What the gripper cannot hold by far.
TOO_HEAVY_KG = 200.0
_JAM = 5


def _jammed(rng: np.random.Generator, count: int, space: Space) -> list[CartonSpec]:
    """A mixed load behind four cartons in a row, of which the middle two carry one that is too heavy for the gripper.

    The outer two can be taken. Then nothing can: without either of the middle ones the heavy one falls.
    """
    if count <= _JAM:
        raise LoadError(f"cartons={count}: load=jammed needs more than {_JAM}")
    specs = _mixed(rng, count - _JAM, space)
    depth, width, height = 0.45, 0.52, 0.40
    x = min(s.position_m[0] - s.size_m[0] / 2 for s in specs) - GAP_M - depth / 2
    if x - depth / 2 < space.front_x_m:
        raise _full(count, len(specs))
    for place in range(4):
        centre = np.array([x, (place - 1.5) * (width + GAP_M), height / 2 + 0.001])
        specs.append(_spec(rng, np.array([depth, width, height]), centre))
    size, top = (depth, 0.60, 0.35), height + 0.002 + 0.35 / 2
    specs.append(CartonSpec(size, TOO_HEAVY_KG, 0.5, (float(x), 0.0, top)))
    return specs


GENERATORS: dict[str, Callable[[np.random.Generator, int, Space], list[CartonSpec]]] = {
    "mixed": _mixed,
    "uniform": _uniform,
    "interlocked": _interlocked,
    "leaning": _leaning,
    "jammed": _jammed,
}
# Part of a load's seed: a new kind goes to the end, so that the others stay what they are.
_CODES = ("interlocked", "leaning", "mixed", "uniform", "jammed")


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
    rng = np.random.default_rng([seed, _CODES.index(load), count])
    return GENERATORS[load](rng, count, space)
