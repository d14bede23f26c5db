"""Which carton rests on which, and which stand side by side: from the boxes alone."""

from dataclasses import dataclass

import numpy as np

from lumper_perception.boxes import Array, Bools


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
