"""Rays against boxes and capsules, exactly, in numpy: for the planar scanners."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TINY = 1e-12


def cast_boxes(origin: Array, directions: Array, centre: Array, rotation: Array, half: Array) -> Array:
    """Nearest distance along each unit ray to any box; inf where none. A ray that starts inside a box does not see it.

    Args:
        origin: (3,); directions: (r, 3); centre: (n, 3); rotation: (n, 3, 3), columns = box axes; half: (n, 3).
    """
    if centre.shape[0] == 0:
        return np.full(directions.shape[0], np.inf)
    axes = rotation.transpose(0, 2, 1)
    start = (axes @ (origin - centre)[:, :, None])[:, :, 0]
    local = axes @ directions.T
    local[np.abs(local) < _TINY] = _TINY
    np.reciprocal(local, out=local)
    # Slabs: entered at the latest of the three near planes, left at the earliest far one.
    middle = -start[:, :, None] * local
    reach = half[:, :, None] * np.abs(local)
    entry, leave = middle - reach, middle + reach
    near = np.maximum(np.maximum(entry[:, 0], entry[:, 1]), entry[:, 2])
    far = np.minimum(np.minimum(leave[:, 0], leave[:, 1]), leave[:, 2])
    near[(near > far) | (near <= 0.0)] = np.inf
    return np.asarray(near.min(axis=0))


def cast_capsules(origin: Array, directions: Array, a: Array, b: Array, radius: Array) -> Array:
    """Nearest distance along each unit ray to any capsule; inf where none. Arguments: see `cast_boxes`; a, b (n, 3)."""
    if a.shape[0] == 0:
        return np.full(directions.shape[0], np.inf)
    axis, offset = b - a, origin - a
    length2 = np.maximum(np.einsum("ni,ni->n", axis, axis), _TINY)[:, None]
    d_axis, o_axis = axis @ directions.T, np.einsum("ni,ni->n", axis, offset)[:, None]
    # The cylinder: |(o + t d) less its part along the axis| = r.
    qa = np.maximum(1.0 - d_axis**2 / length2, _TINY)
    qb = offset @ directions.T - d_axis * o_axis / length2
    qc = np.einsum("ni,ni->n", offset, offset)[:, None] - o_axis**2 / length2 - radius[:, None] ** 2
    best = _first(qa, qb, qc)
    along = (o_axis + np.where(np.isfinite(best), best, 0.0) * d_axis) / length2
    best[~((along >= 0.0) & (along <= 1.0))] = np.inf
    for end in (a, b):
        to = origin - end
        cap = _first(1.0, to @ directions.T, np.einsum("ni,ni->n", to, to)[:, None] - radius[:, None] ** 2)
        best = np.minimum(best, cap)
    return np.asarray(best.min(axis=0))


def _first(qa: Array | float, qb: Array, qc: Array) -> Array:
    """Smaller root of qa t^2 + 2 qb t + qc = 0 where it is real and positive, else inf."""
    root = qb * qb - qa * qc
    t = (-qb - np.sqrt(np.maximum(root, 0.0))) / qa
    t[(root < 0.0) | (t <= 0.0)] = np.inf
    return t
