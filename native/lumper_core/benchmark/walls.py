"""Seeded carton walls: brick, mixed, slender, interlocked, leaning. Trailer frame, metres, kilograms."""

import numpy as np
from numpy.typing import NDArray

import lumper_core

KINDS = ("brick", "mixed", "slender", "interlocked", "leaning")
WIDTH_M = 2.5
HEIGHT_M = 2.45
BACK_M = 7.0
DENSITY_KGPM3 = 180.0
FRICTION = 0.5
GAP_M = 0.003


def _record(
    rows: list[tuple[float, float, float, float, float, float, float]], rng: np.random.Generator
) -> NDArray[np.void]:
    """rows: x y z of the centre, size x y z, rotation about y."""
    boxes = np.zeros(len(rows), lumper_core.BOX_DTYPE)
    boxes["id"] = np.arange(1, len(rows) + 1)
    for i, (x, y, z, sx, sy, sz, pitch) in enumerate(rows):
        boxes["position"][i] = (x, y, z)
        boxes["size"][i] = (sx, sy, sz)
        boxes["orientation"][i] = (0.0, np.sin(pitch / 2), 0.0, np.cos(pitch / 2))
    volume = boxes["size"].prod(axis=1)
    boxes["mass"] = np.clip(volume * DENSITY_KGPM3 * rng.uniform(0.5, 1.5, len(rows)), 1.0, 27.0)
    boxes["friction"] = FRICTION
    boxes["confidence"] = 1.0
    return boxes


def _shelves(
    count: int, rng: np.random.Generator, sizes: NDArray[np.float64], overhang: float, depth_range: tuple[float, float]
) -> list[tuple[float, float, float, float, float, float, float]]:
    """Fill slabs from the back wall; in each slab drop cartons on the lowest spot of the skyline over y."""
    rows: list[tuple[float, float, float, float, float, float, float]] = []
    x_back = BACK_M - GAP_M
    while len(rows) < count:
        depth = float(rng.uniform(*depth_range))
        skyline = [(-WIDTH_M / 2 + GAP_M, WIDTH_M / 2 - GAP_M, 0.0)]  # (from y, to y, height)
        while len(rows) < count:
            skyline.sort(key=lambda s: (s[2], s[0]))
            y0, y1, z = skyline[0]
            if z > HEIGHT_M - 0.2:
                break
            width, height = sizes[rng.integers(len(sizes))] * rng.uniform(0.85, 1.15, 2)
            room = y1 - y0
            width = min(width, room) if room < width * (1 + overhang) else width
            if room - width < 0.15:
                width = min(width, room)
            if width < 0.15 or z + height > HEIGHT_M:
                # Too narrow a gap, or too high: level it with its lower neighbour.
                beside = [s for s in skyline[1:] if abs(s[0] - y1) < 0.02 or abs(s[1] - y0) < 0.02]
                skyline.pop(0)
                if beside and z + height <= HEIGHT_M:
                    nearest = min(beside, key=lambda s: s[2])
                    skyline.remove(nearest)
                    skyline.append((min(y0, nearest[0]), max(y1, nearest[1]), nearest[2]))
                else:
                    skyline.append((y0, y1, HEIGHT_M))
                continue
            sx = depth * float(rng.uniform(0.8, 1.0))
            rows.append((x_back - depth + sx / 2, y0 + width / 2, z + height / 2, sx, width - GAP_M, height, 0.0))
            skyline.pop(0)
            skyline.append((y0, y0 + width, z + height))
            if room - width > 0.01:
                skyline.append((y0 + width, y1, z))
            merged: list[tuple[float, float, float]] = []
            for a, b, h in sorted(skyline):
                if merged and abs(merged[-1][2] - h) < 0.004 and abs(merged[-1][1] - a) < 0.02:
                    merged[-1] = (merged[-1][0], b, max(h, merged[-1][2]))
                else:
                    merged.append((a, b, h))
            skyline = merged
        x_back -= depth + GAP_M
    return rows


def brick(count: int, rng: np.random.Generator) -> list[tuple[float, float, float, float, float, float, float]]:
    width = float(rng.uniform(0.35, 0.5))
    height = float(rng.uniform(0.25, 0.4))
    depth = float(rng.uniform(0.3, 0.5))
    rows: list[tuple[float, float, float, float, float, float, float]] = []
    per = int((WIDTH_M - width / 2 - 0.02) / (width + GAP_M))
    x = BACK_M - GAP_M - depth / 2
    while len(rows) < count:
        z = height / 2
        course = 0
        while z + height / 2 < HEIGHT_M and len(rows) < count:
            shift = (width + GAP_M) / 2 if course % 2 else 0.0
            for k in range(per):
                if len(rows) < count:
                    y = -WIDTH_M / 2 + 0.01 + width / 2 + shift + k * (width + GAP_M)
                    rows.append((x, y, z, depth, width, height, 0.0))
            z += height
            course += 1
        x -= depth + GAP_M
    return rows


def interlocked(count: int, rng: np.random.Generator) -> list[tuple[float, float, float, float, float, float, float]]:
    """Courses of cartons laid along x and along y in turn, over two depths at once."""
    long, short, height = 0.6, 0.296, float(rng.uniform(0.22, 0.32))
    rows: list[tuple[float, float, float, float, float, float, float]] = []
    x = BACK_M - GAP_M
    while len(rows) < count:
        z = height / 2
        course = 0
        while z + height / 2 < HEIGHT_M and len(rows) < count:
            if course % 2 == 0:
                places = [(x - long / 2, -1.2 + short / 2 + k * (short + GAP_M), long, short) for k in range(8)]
            else:
                places = [
                    (x - short / 2 - d * (short + 2 * GAP_M), -1.2 + long / 2 + k * (long + GAP_M), short, long)
                    for d in range(2)
                    for k in range(4)
                ]
            for px, py, sx, sy in places:
                if len(rows) < count and rng.uniform() > 0.06:
                    rows.append((px, py, z, sx, sy, height, 0.0))
            z += height
            course += 1
        x -= long + 2 * GAP_M
    return rows


def generate(kind: str, count: int, seed: int) -> NDArray[np.void]:
    """(count,) BOX_DTYPE. Same arguments, same wall. Not settled: `physics.settle` lets it come to rest."""
    rng = np.random.default_rng([KINDS.index(kind), count, seed])
    if kind == "brick":
        rows = brick(count, rng)
    elif kind == "interlocked":
        rows = interlocked(count, rng)
    elif kind == "slender":
        rows = _shelves(count, rng, np.array([[0.24, 0.45], [0.28, 0.5], [0.22, 0.38], [0.4, 0.3]]), 0.1, (0.2, 0.32))
    elif kind == "mixed":
        rows = _shelves(
            count, rng, np.array([[0.3, 0.25], [0.45, 0.35], [0.55, 0.3], [0.35, 0.45], [0.25, 0.2]]), 0.35, (0.3, 0.55)
        )
    else:
        # A mixed wall with cartons that lean against its front.
        leaners = max(2, count // 12)
        rows = _shelves(
            count - leaners, rng, np.array([[0.3, 0.25], [0.45, 0.35], [0.55, 0.3], [0.35, 0.45]]), 0.35, (0.3, 0.5)
        )
        front = min(r[0] - r[3] / 2 for r in rows)
        for k in range(leaners):
            tilt = float(rng.uniform(0.15, 0.35))
            sx, sy, sz = float(rng.uniform(0.2, 0.3)), float(rng.uniform(0.25, 0.4)), float(rng.uniform(0.45, 0.6))
            y = -WIDTH_M / 2 + 0.3 + (k % 5) * 0.46
            layer = k // 5
            # The upper edge of the far face touches the front; the near lower edge stands on the floor.
            z = 0.5 * (sz * np.cos(tilt) + sx * np.sin(tilt)) + 0.002
            half_x = 0.5 * (sx * np.cos(tilt) + sz * np.sin(tilt))
            rows.append((front - half_x - 0.004 - layer * 0.75, y, z, sx, sy, sz, tilt))
    return _record(rows, rng)
