"""Rays against boxes and capsules, exactly, in numpy: for the planar scanners."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cast_boxes(origin: Array, directions: Array, centre: Array, rotation: Array, half: Array) -> Array:
    """Nearest distance along each unit ray to any box; inf where none. A ray that starts inside a box does not see it.

    Args:
        origin: (3,); directions: (r, 3); centre: (n, 3); rotation: (n, 3, 3), columns = box axes; half: (n, 3).
    """
    if centre.shape[0] == 0:
        return np.full(directions.shape[0], np.inf)
    local_origin = np.einsum("nij,ni->nj", rotation, origin - centre)
    local = np.einsum("nij,ri->nrj", rotation, directions)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / local
        t1 = (-half - local_origin)[:, None, :] * inverse
        t2 = (half - local_origin)[:, None, :] * inverse
    near = np.nanmax(np.minimum(t1, t2), axis=2)
    far = np.nanmin(np.maximum(t1, t2), axis=2)
    hit = (near <= far) & (near > 0.0)
    return np.asarray(np.where(hit, near, np.inf).min(axis=0))


def cast_capsules(origin: Array, directions: Array, a: Array, b: Array, radius: Array) -> Array:
    """Nearest distance along each unit ray to any capsule; inf where none. Arguments: see `cast_boxes`; a, b (n, 3)."""
    best = np.full(directions.shape[0], np.inf)
    for start, end, r in zip(a, b, radius, strict=True):
        axis = end - start
        length2 = float(axis @ axis)
        offset = origin - start
        if length2 > 1e-12:
            # |(o + t d) - its projection on the axis| = r
            d_perp = directions - np.outer(directions @ axis / length2, axis)
            o_perp = offset - axis * float(offset @ axis) / length2
            qa = np.einsum("ri,ri->r", d_perp, d_perp)
            qb = d_perp @ o_perp
            qc = float(o_perp @ o_perp) - r * r
            root = qb * qb - qa * qc
            with np.errstate(invalid="ignore", divide="ignore"):
                t = (-qb - np.sqrt(root)) / qa
                along = (float(offset @ axis) + t * (directions @ axis)) / length2
            good = (root >= 0.0) & (t > 0.0) & (along >= 0.0) & (along <= 1.0)
            best = np.where(good & (t < best), t, best)
        for centre in (start, end):
            to = origin - centre
            sb = directions @ to
            root = sb * sb - (float(to @ to) - r * r)
            with np.errstate(invalid="ignore"):
                t = -sb - np.sqrt(root)
            best = np.where((root >= 0.0) & (t > 0.0) & (t < best), t, best)
    return best
