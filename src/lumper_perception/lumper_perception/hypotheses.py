"""From faces to boxes: faces of one carton are merged where they share an edge; what no face shows stays unmeasured."""

from dataclasses import dataclass

import numpy as np

from lumper_perception.boxes import (
    CONTRADICTED_M,
    PLANE_SIGN,
    Array,
    Bools,
    Boxes,
    Faces,
    Ints,
    aligned,
    edge_toward,
    orthonormal,
)
from lumper_perception.parting import parted

# Of an end of which only the nearest place is known, m.
BOUND_SIGMA_M = 5e-3


@dataclass(frozen=True, slots=True)
class MergeLimits:
    """edge_m: two faces share an edge when it is nearer than this (plus 3 sigma); perpendicular: |cos| of their normals."""

    edge_m: float = 0.012
    perpendicular: float = 0.10


def _shared_edges(faces: Faces, limits: MergeLimits) -> list[tuple[int, int]]:
    """Pairs of faces with a common convex edge, best first."""
    count = len(faces)
    normal = faces.rotation[:, :, 2]
    across = np.triu(np.abs(normal @ normal.T) < limits.perpendicular, k=1)
    first, second = np.nonzero(across)
    if not len(first):
        return []
    near = np.linalg.norm(faces.centre[first] - faces.centre[second], axis=1) < (
        np.linalg.norm(faces.size[first], axis=1) + np.linalg.norm(faces.size[second], axis=1)
    )
    first, second = first[near], second[near]
    edge_1, along_1, length_1 = edge_toward(faces, first, normal[second])
    edge_2, _, length_2 = edge_toward(faces, second, normal[first])
    gap = edge_2 - edge_1
    slide = np.einsum("ki,ki->k", gap, along_1)
    distance = np.linalg.norm(gap - slide[:, None] * along_1, axis=1)
    sigma = np.hypot(faces.position_sigma[first], faces.position_sigma[second])
    tolerance = limits.edge_m + 3.0 * sigma
    partly = faces.occluded[first] | faces.occluded[second]
    overlap = (length_1 + length_2) / 2.0 - np.abs(slide)
    matching = np.where(
        partly,
        overlap > 0.6 * np.minimum(length_1, length_2),
        (np.abs(slide) < tolerance) & (np.abs(length_1 - length_2) < 2.0 * tolerance),
    )
    keep = matching & (distance < tolerance)
    cost = (distance + np.where(partly, 0.0, np.abs(slide) + np.abs(length_1 - length_2)))[keep]
    ranked = np.argsort(cost, kind="stable")
    pairs = zip(first[keep][ranked].tolist(), second[keep][ranked].tolist(), strict=True)
    assert count > int(second.max(initial=0))
    return list(pairs)


def group_faces(faces: Faces, limits: MergeLimits) -> list[list[int]]:
    """Indices of faces per carton; each carton has at most three, no two looking the same way."""
    group_of = list(range(len(faces)))
    groups = {index: [index] for index in range(len(faces))}
    normal = faces.rotation[:, :, 2]
    for first, second in _shared_edges(faces, limits):
        a, b = group_of[first], group_of[second]
        if a == b or len(groups[a]) + len(groups[b]) > 3:
            continue
        if any(abs(float(normal[i] @ normal[j])) > 0.5 for i in groups[a] for j in groups[b]):
            continue
        for index in groups[b]:
            group_of[index] = a
        groups[a] += groups.pop(b)
    return list(groups.values())


@dataclass(frozen=True, slots=True)
class _Planes:
    """What each of N faces says of its box's planes, in the box's axes: offsets, sigmas, which ends are only bounds, (N, 6) each; the
    plane that the face is, (N,)."""

    offset: Array
    sigma: Array
    bound: Bools
    face: Ints


def _planes_of(faces: Faces, rotation: Array, anchor: Array) -> _Planes:
    """For the axes (N, 3, 3) and anchors (N, 3) of the faces' boxes."""
    relative = np.swapaxes(rotation, 1, 2) @ faces.rotation
    row = np.arange(len(faces))
    normal_axis = np.argmax(np.abs(relative[:, :, 2]), axis=1)
    face = np.where(relative[row, normal_axis, 2] < 0.0, normal_axis, normal_axis + 3)
    centre = np.einsum("nji,nj->ni", rotation, faces.centre - anchor)
    offset, sigma = np.full((len(faces), 6), np.nan), np.full((len(faces), 6), np.inf)
    bound = np.zeros((len(faces), 6), dtype=bool)
    offset[row, face], sigma[row, face] = centre[row, normal_axis], faces.position_sigma
    edge_sigma = np.hypot(faces.position_sigma, faces.size_sigma / 2.0)
    for face_axis in (0, 1):
        share = np.abs(relative[:, :, face_axis])
        share[row, normal_axis] = -1.0
        axis = np.argmax(share, axis=1)
        free = np.isnan(offset[row, axis])
        k, half = row[free], faces.size[free, face_axis] / 2.0
        for side in (axis[free], axis[free] + 3):
            offset[k, side] = centre[k, side % 3] + PLANE_SIGN[side] * half
            sigma[k, side] = edge_sigma[k]
            outward_along = PLANE_SIGN[side] * relative[k, side % 3, face_axis] > 0.0
            bound[k, side] = faces.hidden[k, 2 * face_axis + outward_along]
    k = np.flatnonzero(np.isfinite(faces.depth))
    opposite = (face[k] + 3) % 6
    offset[k, opposite] = centre[k, normal_axis[k]] - PLANE_SIGN[face[k]] * faces.depth[k]
    sigma[k, opposite] = np.hypot(faces.position_sigma[k], faces.size_sigma[k])
    return _Planes(offset, sigma, bound, face)


def _axes(faces: Faces, members: list[int], main: int) -> Array:
    """(3, 3) axes of a carton: the normals of perpendicular faces tell them better than the edges of one face."""
    rotation = faces.rotation[main]
    if len(members) == 1:
        return rotation
    corrected = rotation.copy()
    for index in members:
        if index != main:
            relative = rotation.T @ faces.rotation[index][:, 2]
            axis = int(np.argmax(np.abs(relative)))
            corrected[:, axis] = np.sign(relative[axis]) * faces.rotation[index][:, 2]
    return orthonormal(corrected[None])[0]


def _joined(planes: _Planes, members: list[int]) -> tuple[Array, Array, Bools, Bools]:
    """Offsets, sigmas, bounds and planes seen, (6,) each, of a carton with several faces."""
    total, weight = np.zeros(6), np.zeros(6)
    hard_offset, seen = np.full(6, np.nan), np.zeros(6, dtype=bool)
    bound_offset, hard_sigma = np.full(6, np.nan), np.full(6, np.inf)
    for index in members:
        offset, sigma, bound, plane = planes.offset[index], planes.sigma[index], planes.bound[index], planes.face[index]
        seen[plane] = True
        hard_offset[plane], hard_sigma[plane] = offset[plane], sigma[plane]
        firm = np.isfinite(offset) & ~bound
        total[firm] += offset[firm] / sigma[firm] ** 2
        weight[firm] += 1.0 / sigma[firm] ** 2
        loose = np.isfinite(offset) & bound
        outer = PLANE_SIGN * offset > np.where(np.isnan(bound_offset), -np.inf, PLANE_SIGN * bound_offset)
        bound_offset = np.where(loose & outer, offset, bound_offset)
    known = weight > 0.0
    offset = np.where(known, total / np.maximum(weight, 1e-12), bound_offset)
    sigma = np.where(
        known, 1.0 / np.sqrt(np.maximum(weight, 1e-12)), np.where(np.isfinite(bound_offset), BOUND_SIGMA_M, np.inf)
    )
    # An end that another face reaches beyond is none: that face was parted where no edge is.
    with np.errstate(invalid="ignore"):
        past = known & ~seen & (PLANE_SIGN * (bound_offset - offset) > CONTRADICTED_M + 3.0 * sigma)
    offset, sigma = np.where(past, bound_offset, offset), np.where(past, BOUND_SIGMA_M, sigma)
    # A face that was seen tells its plane better than the end of its neighbour's edge does.
    offset, sigma = np.where(seen, hard_offset, offset), np.where(seen, hard_sigma, sigma)
    return offset, sigma, (~known | past) & np.isfinite(bound_offset), seen


def boxes_of(faces: Faces, limits: MergeLimits | None = None) -> Boxes:
    """Boxes of one picture's faces (frame trailer), axes named so that x points into the trailer, z up where it can."""
    limits = limits or MergeLimits()
    faces = parted(faces, limits.edge_m, limits.perpendicular)
    groups = group_faces(faces, limits)
    if not groups:
        none = np.zeros((0, 6))
        return Boxes(
            np.zeros((0, 3, 3)), np.zeros((0, 3)), none, none, none > 0, none > 0, np.zeros(0, dtype=np.int64), np.zeros(0),
            np.zeros(0), np.zeros(0),
        )  # fmt: skip
    main = np.array([members[int(np.argmax(faces.size[members].prod(axis=1)))] for members in groups])
    rotation, anchor = np.stack([_axes(faces, *each) for each in zip(groups, main, strict=True)]), faces.centre[main]
    box_of_face = np.zeros(len(faces), dtype=np.int64)
    for k, members in enumerate(groups):
        box_of_face[members] = k
    planes = _planes_of(faces, rotation[box_of_face], anchor[box_of_face])
    offset, sigma, bound, face = planes.offset[main], planes.sigma[main], planes.bound[main], planes.face[main]
    seen = np.arange(6) == face[:, None]
    for k, members in enumerate(groups):
        if len(members) > 1:
            offset[k], sigma[k], bound[k], seen[k] = _joined(planes, members)
    main_sigma = np.array([faces.rotation_sigma[members].min() for members in groups])
    # Faces that agree on one carton support each other.
    confidence = np.array([1.0 - np.prod(1.0 - faces.confidence[members]) for members in groups])
    with np.errstate(all="ignore"):
        mass = np.array([_mean_known(faces.mass[members]) for members in groups])
    return aligned(
        Boxes(rotation, anchor, offset, sigma, bound, seen, face, main_sigma, confidence, mass),
        np.eye(3),
    )


def _mean_known(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
