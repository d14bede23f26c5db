"""Which carton rests on which, and which stand side by side: from the boxes alone."""

from dataclasses import dataclass

import numpy as np

from lumper_perception.boxes import Array, Bools

# Of a carton's face so much may be hidden above or below the part that is seen, m.
HIDDEN_MAX_M = 0.20
# Nearer than this two cartons stand on one another already, m.
TOUCH_M = 0.03
# Of a carton that does not lean.
UPRIGHT_COSINE = 0.99
# No carton is lower, m.
LEAST_M = 0.08
# A carton that stands forward of the one below it hides a strip of that one's face from a camera above: at most this much of
# the overhang (a camera that looks down by 56 degrees), and what edges are uncertain by, m.
STRIP_SHARE, STRIP_SLACK_M = 1.5, 0.008


@dataclass(frozen=True, slots=True)
class Relations:
    """Boolean (N, N): supports[i, j] = i directly below j; beside[i, j] = i and j touch sideways (symmetric)."""

    supports: Bools
    beside: Bools


def half_extents(rotation: Array, size: Array) -> Array:
    """(N, 3) half sizes of the axis-aligned boxes round oriented ones."""
    result: Array = np.einsum("nij,nj->ni", np.abs(rotation), size) / 2.0
    return result


def relations(centre: Array, rotation: Array, size: Array, gap_m: float = 0.03) -> Relations:
    """Relations of N boxes (frame trailer, z up) from their axis-aligned extents; `gap_m` is what still counts as touching."""
    half = half_extents(rotation, size)
    low, high = centre - half, centre + half
    overlap = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    # Less than this in common is a neighbour's edge, not a support.
    meets = overlap > 0.015
    rises = low[None, :, 2] - high[:, None, 2]
    supports = meets[..., 0] & meets[..., 1] & (np.abs(rises) < gap_m) & (centre[None, :, 2] > centre[:, None, 2])
    np.fill_diagonal(supports, False)
    close = overlap > -gap_m
    sideways = meets[..., 2] & ((close[..., 0] & meets[..., 1]) | (close[..., 1] & meets[..., 0]))
    beside = sideways & ~supports & ~supports.T
    np.fill_diagonal(beside, False)
    return Relations(supports, beside)


def _kept_out(low: Array, high: Array, known: Bools, loose: Bools) -> Array:
    """(N,) lower ends; of those that nobody saw, none below the top of a carton further down: that one is known to end there.

    Args:
        low, high: (N,) along the vertical. known: (N, N), [i, k] = k has some ground in common with i, and its top was seen.
    """
    middle = (low + high) / 2.0
    inside = known & (high[None] > low[:, None] + TOUCH_M) & (high[None] < high[:, None] - LEAST_M)
    inside &= middle[None] < middle[:, None]
    tops = np.where(inside, high[None], -np.inf).max(axis=1, initial=-np.inf)
    return np.where(loose, np.maximum(low, tops), low)


def closed_gaps(
    centre: Array, rotation: Array, size: Array, loose_top: Bools, loose_bottom: Bools
) -> tuple[Array, Array]:
    """Centres and sizes (N, 3) of upright boxes whose hidden upper or lower edges were moved out to what bears on them.

    Nothing floats: where only a part of a face was seen below (above) an edge that something hides, the carton reaches up to
    the lowest underside above it (down to the highest top below it), if that is within HIDDEN_MAX_M, and no further, also where
    several were once seen as one. So does a carton under an
    overhang that hides the strip between them: there its top looks bounded, because what bounds it comes forward only a little.
    """
    half = half_extents(rotation, size)
    low, high = centre - half, centre + half
    upright = rotation[:, 2, 2] > UPRIGHT_COSINE
    overlap = np.minimum(high[:, None, :2], high[None, :, :2]) - np.maximum(low[:, None, :2], low[None, :, :2])
    meets: Bools = np.asarray((overlap > 0.015).all(axis=2))
    np.fill_diagonal(meets, False)
    bottom = _kept_out(low[:, 2], high[:, 2], meets & ~loose_top, upright & loose_bottom)
    top = -_kept_out(-high[:, 2], -low[:, 2], meets & ~loose_bottom, upright & loose_top)
    overhang = low[:, None, 0] - low[None, :, 0]
    strip = np.where(overhang > 0.0, STRIP_SHARE * overhang + STRIP_SLACK_M, 0.0)
    for index in np.flatnonzero(upright):
        rise = low[:, 2] - top[index]
        above = meets[index] & (rise > -TOUCH_M) & (rise < (HIDDEN_MAX_M if loose_top[index] else strip[index]))
        if above.any() and rise[above].min() > 0.0:
            top[index] = low[above, 2].min()
    for index in np.flatnonzero(upright & loose_bottom):
        drop = bottom[index] - top
        below = meets[index] & (drop > -TOUCH_M) & (drop < HIDDEN_MAX_M)
        if below.any():
            bottom[index] = min(bottom[index], top[below].max())
        elif 0.0 < bottom[index] < HIDDEN_MAX_M:
            bottom[index] = 0.0
    closed_centre, closed_size = centre.copy(), size.copy()
    closed_centre[:, 2] += (top + bottom) / 2.0 - (high[:, 2] + low[:, 2]) / 2.0
    closed_size[:, 2] += (top - bottom) - (high[:, 2] - low[:, 2])
    return closed_centre, closed_size


def on_floor(
    centre: Array, rotation: Array, size: Array, touching: Relations, fallen: Bools, clear_m: float = 0.25
) -> Bools:
    """(N,) cartons that lie on the floor apart from the pile and in front of it.

    Args:
        fallen: (N,) seen to fall or lost by the gripper: for these touching nothing is enough, others must be `clear_m` away.
    """
    half = half_extents(rotation, size)
    low, high = centre - half, centre + half
    alone = ~touching.beside.any(axis=1) & ~touching.supports.any(axis=1) & (low[:, 2] < 0.06)
    result = np.zeros(len(centre), dtype=bool)
    for index in np.flatnonzero(alone):
        others = np.arange(len(centre)) != index
        behind = others & (low[:, 0] > high[index, 0] + (0.0 if fallen[index] else clear_m))
        # The pile is where most of the cartons are; a lone carton at its level is the pile's own foot.
        result[index] = behind.sum() >= max(1, (others & ~behind).sum())
    return result
