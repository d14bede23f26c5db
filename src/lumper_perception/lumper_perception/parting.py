"""A face that runs over two cartons, told by its neighbours: two fronts side by side, one of which stands out, have no top in common."""

from dataclasses import fields

import numpy as np

from lumper_perception.boxes import Array, Faces, Ints, edge_toward

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
# A front that looks along an axis of the face, not across its corner.
PARALLEL_COSINE = 0.97


def parted(faces: Faces, edge_m: float, perpendicular: float) -> Faces:
    """Faces of one frame, those that run over two cartons or more cut where one front ends and the next begins.

    Args:
        edge_m: a front ends in a face's plane when it is nearer to it than this (plus 3 sigma).
        perpendicular: |cos| of their normals, at most.
    """
    if len(faces) < 3:
        return faces
    normal = faces.rotation[:, :, 2]
    face, front = np.nonzero(np.abs(normal @ normal.T) < perpendicular)
    edge, _, length = edge_toward(faces, front, normal[face])
    # In the axes of each face: where the front ends towards it, and along which of the face's axes the front looks.
    turn, rows = faces.rotation[face], np.arange(len(face))
    looks = np.einsum("kji,kj->ki", turn, normal[front])[:, :2]
    axis = np.argmax(np.abs(looks), axis=1)
    sign = np.sign(looks[rows, axis])
    place = np.einsum("kji,kj->ki", turn, edge - faces.centre[face])
    out, at, beside = place[rows, axis], place[rows, 1 - axis], length / 2.0
    half = faces.size[face] / 2.0
    side = half[rows, 1 - axis]
    tolerance = edge_m + 3.0 * np.hypot(faces.position_sigma[face], faces.position_sigma[front])
    borders = (np.abs(place[:, 2]) < tolerance) & (np.abs(looks[rows, axis]) > PARALLEL_COSINE)
    borders &= np.abs(out - sign * half[rows, axis]) < BORDER_M
    borders &= (np.abs(at) + beside < side + tolerance) & (beside < OWN_SHARE * side)
    cut: dict[int, Faces] = {}
    for one in np.unique(face[borders]):
        mine = np.flatnonzero(borders & (face == one))
        for a, s in sorted({(int(axis[k]), float(sign[k])) for k in mine}):
            row = mine[(axis[mine] == a) & (sign[mine] == s)]
            row = row[np.argsort(at[row])]
            step_m = STEP_M + float(tolerance[row].max()) - edge_m
            ends = _junctions(s * out[row], at[row], beside[row], float(side[row[0]]), step_m)
            if ends is not None:
                cut[int(one)] = _pieces(faces, int(one), a, s, out[row], ends)
                break
    if not cut:
        return faces
    rest = faces.take(np.array([k for k in range(len(faces)) if k not in cut], dtype=np.int64))
    return Faces(*(np.concatenate([getattr(each, f.name) for each in (rest, *cut.values())]) for f in fields(Faces)))


def _junctions(out: Array, at: Array, beside: Array, half_m: float, step_m: float) -> Array | None:
    """(n + 1,) ends along the side of n fronts in a row, or None where they are not cartons of their own.

    Args:
        out: (n,) how far each stands out, m. at, beside: (n,) middle and half width along the side.
        half_m: half of the side. step_m: least that one must stand out.
    """
    if len(out) < 2 or beside.sum() < COVERED_SHARE * half_m:
        return None
    high, low = at + beside, at - beside
    gap = low[1:] - high[:-1]
    if (np.abs(gap) > BESIDE_M).any() or not (np.abs(np.diff(out)) > step_m).any():
        return None
    # What stands out hides the end of what stands behind: its own end is seen.
    between = np.where(out[:-1] > out[1:], high[:-1], low[1:])
    return np.concatenate([[-half_m], between, [half_m]])


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
