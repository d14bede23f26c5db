"""A face that runs over two cartons, told by its neighbours: two fronts side by side, one of which stands out, have no top in common."""

from dataclasses import fields

import numpy as np

from lumper_perception.boxes import Array, Faces, Ints

# Fronts side by side whose planes are so far apart, and 3 sigma, are two cartons', m.
STEP_M = 0.03
# A front this far from the end of a face does not border it, m.
BORDER_M = 0.15
# Between two fronts side by side, m: the one behind is hidden by a part of the other's depth.
BESIDE_M = 0.06
# Fronts that share less of a face's side than this tell nothing of it.
COVERED_SHARE = 0.7
# A front as wide as this share of the side is the face's own.
OWN_SHARE = 0.85
PARALLEL_COSINE, ACROSS_COSINE = 0.97, 0.10


def parted(faces: Faces, edge_m: float) -> Faces:
    """Faces of one frame, those that run over two cartons or more cut where one front ends and the next begins.

    Args:
        edge_m: a front ends in a face's plane when it is nearer to it than this (plus 3 sigma).
    """
    if len(faces) < 3:
        return faces
    normal = faces.rotation[:, :, 2]
    face, front = np.nonzero(np.abs(normal @ normal.T) < ACROSS_COSINE)
    # In the axes of each face: where the front ends towards it, and along which of the face's axes the front looks.
    turn = faces.rotation[face]
    looks = np.einsum("kji,kj->ki", turn, normal[front])[:, :2]
    rows = np.arange(len(face))
    axis = np.argmax(np.abs(looks), axis=1)
    sign = np.sign(looks[rows, axis])
    centre = np.einsum("kji,kj->ki", turn, faces.centre[front] - faces.centre[face])
    edges = np.einsum("kji,kjl->kil", turn, faces.rotation[front][:, :, :2]) * faces.size[front][:, None, :] / 2.0
    up, beside = np.abs(edges[:, 2, :]).max(axis=1), np.abs(edges[rows, 1 - axis, :]).max(axis=1)
    sigma = np.hypot(faces.position_sigma[face], faces.position_sigma[front])
    half = faces.size[face] / 2.0
    out, at = centre[rows, axis], centre[rows, 1 - axis]
    length = half[rows, 1 - axis]
    borders = (np.abs(centre[:, 2] + up) < edge_m + 3.0 * sigma) & (np.abs(looks[rows, axis]) > PARALLEL_COSINE)
    borders &= np.abs(out - sign * half[rows, axis]) < BORDER_M
    borders &= (np.abs(at) + beside < length + edge_m + 3.0 * sigma) & (beside < OWN_SHARE * length)
    cut: dict[int, Faces] = {}
    for one in np.unique(face[borders]):
        mine = np.flatnonzero(borders & (face == one))
        for a, s in {(int(axis[k]), float(sign[k])) for k in mine}:
            side = mine[(axis[mine] == a) & (sign[mine] == s)]
            side = side[np.argsort(at[side])]
            ends = _junctions(s * out[side], at[side], beside[side], float(length[side[0]]), sigma[side])
            if ends is not None:
                cut[int(one)] = _pieces(faces, int(one), a, s, out[side], ends)
                break
    if not cut:
        return faces
    rest = faces.take(np.array([k for k in range(len(faces)) if k not in cut], dtype=np.int64))
    return Faces(*(np.concatenate([getattr(each, f.name) for each in (rest, *cut.values())]) for f in fields(Faces)))


def _junctions(out: Array, at: Array, beside: Array, length: float, sigma: Array) -> Array | None:
    """(n + 1,) ends along the side of n fronts in a row, or None where they are not cartons of their own.

    Args:
        out: (n,) how far each stands out, m. at, beside: (n,) middle and half width along the side. length: half of the side.
    """
    if len(out) < 2 or 2.0 * beside.sum() < COVERED_SHARE * 2.0 * length:
        return None
    high, low = at + beside, at - beside
    gap = low[1:] - high[:-1]
    if (np.abs(gap) > BESIDE_M).any() or not (np.abs(np.diff(out)) > STEP_M + 3.0 * sigma.max()).any():
        return None
    # What stands out hides the end of what stands behind: its own end is seen.
    between = np.where(out[:-1] > out[1:], high[:-1], low[1:])
    return np.concatenate([[-length], between, [length]])


def _pieces(faces: Faces, one: int, axis: int, sign: float, out: Array, ends: Array) -> Faces:
    """A face cut across: each piece from the plane of its front to the face's other end, `out` (n,) and `ends` (n + 1,) in its axes."""
    count = len(out)
    pieces = faces.take(np.full(count, one, dtype=np.int64))
    far = -sign * faces.size[one, axis] / 2.0
    size = np.empty((count, 2))
    size[:, axis], size[:, 1 - axis] = np.abs(out - far), np.diff(ends)
    shift = np.zeros((count, 3))
    shift[:, axis], shift[:, 1 - axis] = (out + far) / 2.0, (ends[1:] + ends[:-1]) / 2.0
    centre = faces.centre[one] + shift @ faces.rotation[one].T
    hidden = pieces.hidden.copy()
    sides: Ints = 2 * (1 - axis) + np.array([0, 1])
    hidden[1:, sides[0]] = hidden[:-1, sides[1]] = False
    hidden[:, 2 * axis + int(sign > 0.0)] = False
    return Faces(
        centre, pieces.rotation, size, pieces.depth, pieces.position_sigma, pieces.rotation_sigma, pieces.size_sigma,
        pieces.confidence, np.full(count, np.nan), hidden,
    )  # fmt: skip
