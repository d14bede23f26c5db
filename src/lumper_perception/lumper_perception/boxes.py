"""Faces and boxes as arrays, and the few rotations that they need.

A box is kept as six planes along its own axes, because a camera measures planes: the front of a carton says nothing of
its back. Plane order: -x, -y, -z, +x, +y, +z; `offset` is the plane's signed distance from the box's anchor point along
the axis (so the first three are usually negative).
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

PLANE_AXIS: Ints = np.array([0, 1, 2, 0, 1, 2])
PLANE_SIGN: Array = np.array([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0])
# Carton.FACE_* bit of each plane.
PLANE_BIT: Ints = np.array([1, 4, 16, 2, 8, 32])
# Carton.AXIS_* bit of each axis.
AXIS_BIT: Ints = np.array([1, 2, 4])
# A bound so far beyond an end (besides what noise explains) contradicts it, m.
CONTRADICTED_M = 0.02

_PERMUTATIONS: Ints = np.array(list(permutations(range(3))))


@dataclass(frozen=True, slots=True)
class Faces:
    """N carton faces in one frame. `rotation` columns: x along the width, y along the height, z outward normal.

    centre (N, 3) m; rotation (N, 3, 3); size (N, 2) m; depth (N,) m, NaN = unknown; sigmas (N,) m or rad;
    confidence (N,); mass (N,) kg, NaN = unknown; hidden (N, 4): sides -width, +width, -height, +height that something
    hides, so that the face reaches there or further.
    """

    centre: Array
    rotation: Array
    size: Array
    depth: Array
    position_sigma: Array
    rotation_sigma: Array
    size_sigma: Array
    confidence: Array
    mass: Array
    hidden: Bools

    def __len__(self) -> int:
        return len(self.centre)

    @property
    def occluded(self) -> Bools:
        """(N,) something hides part of the face: its size is a lower bound."""
        return np.asarray(self.hidden.any(axis=1))

    def take(self, keep: Bools | Ints) -> "Faces":
        """The faces selected by mask or index."""
        return Faces(
            self.centre[keep],
            self.rotation[keep],
            self.size[keep],
            self.depth[keep],
            self.position_sigma[keep],
            self.rotation_sigma[keep],
            self.size_sigma[keep],
            self.confidence[keep],
            self.mass[keep],
            self.hidden[keep],
        )

    def transformed(self, transform: Array) -> "Faces":
        """The same faces in another frame; `transform` 4x4 takes this frame's coordinates to that one."""
        rotation = transform[:3, :3]
        return Faces(
            self.centre @ rotation.T + transform[:3, 3],
            rotation @ self.rotation,
            self.size,
            self.depth,
            self.position_sigma,
            self.rotation_sigma,
            self.size_sigma,
            self.confidence,
            self.mass,
            self.hidden,
        )


def edge_toward(faces: Faces, index: Ints, direction: Array) -> tuple[Array, Array, Array]:
    """Middle (K, 3), direction (K, 3) and length (K,) of the edge of each face that looks to `direction`."""
    axes = faces.rotation[index][:, :, :2]
    share = np.einsum("kij,ki->kj", axes, direction)
    axis = np.argmax(np.abs(share), axis=1)
    rows = np.arange(len(index))
    sign = np.sign(share[rows, axis])
    half = faces.size[index][rows, axis] / 2.0
    middle = faces.centre[index] + axes[rows, :, axis] * (sign * half)[:, None]
    return middle, axes[rows, :, 1 - axis], faces.size[index][rows, 1 - axis]


@dataclass(frozen=True, slots=True)
class Boxes:
    """M boxes as measured in one picture, frame trailer.

    rotation (M, 3, 3): columns are the box's axes; anchor (M, 3) m; offset (M, 6) m, NaN = plane not measured;
    sigma (M, 6) m, inf = not measured; bound (M, 6): the plane lies there or further out; seen (M, 6): the plane is a face
    that was seen (not only the edge of another face); face (M,): plane index of the best seen face.
    """

    rotation: Array
    anchor: Array
    offset: Array
    sigma: Array
    bound: Bools
    seen: Bools
    face: Ints
    rotation_sigma: Array
    confidence: Array
    mass: Array

    def __len__(self) -> int:
        return len(self.anchor)

    def take(self, keep: Bools | Ints) -> "Boxes":
        """The boxes selected by mask or index."""
        return Boxes(
            self.rotation[keep],
            self.anchor[keep],
            self.offset[keep],
            self.sigma[keep],
            self.bound[keep],
            self.seen[keep],
            self.face[keep],
            self.rotation_sigma[keep],
            self.confidence[keep],
            self.mass[keep],
        )

    def face_centre(self) -> Array:
        """(M, 3) centre of the best seen face, m."""
        return plane_centres(self.rotation, self.anchor, self.offset)[np.arange(len(self)), self.face]

    def normal(self) -> Array:
        """(M, 3) outward normal of the best seen face."""
        rows = np.arange(len(self))
        return self.rotation[rows, :, PLANE_AXIS[self.face]] * PLANE_SIGN[self.face][:, None]


def plane_centres(rotation: Array, anchor: Array, offset: Array) -> Array:
    """(M, 6, 3) centre of each plane's rectangle; an unmeasured extent counts from the anchor (0)."""
    filled = np.nan_to_num(offset, nan=0.0)
    middle = (filled[:, :3] + filled[:, 3:]) / 2.0
    local = np.repeat(middle[:, None, :], 6, axis=1)
    local[:, np.arange(6), PLANE_AXIS] = filled
    return anchor[:, None, :] + np.einsum("mij,mkj->mki", rotation, local)


def aligning(relative: Array) -> tuple[Ints, Array]:
    """Signed permutation that brings boxes nearest to reference axes.

    Args:
        relative: (M, 3, 3) reference.T @ box rotation.

    Returns:
        order (M, 3), sign (M, 3): new axis i is sign[i] times old axis order[i]; always right-handed.
    """
    score = np.abs(relative)[:, np.arange(3)[None, :], _PERMUTATIONS].sum(axis=2)
    order = _PERMUTATIONS[np.argmax(score, axis=1)]
    diagonal = np.take_along_axis(relative, order[:, None, :], axis=2)[:, np.arange(3), np.arange(3)]
    sign = np.where(diagonal < 0.0, -1.0, 1.0)
    columns = np.take_along_axis(relative, order[:, None, :], axis=2) * sign[:, None, :]
    left_handed = np.linalg.det(columns) < 0.0
    weakest = np.argmin(np.abs(diagonal), axis=1)
    sign[left_handed, weakest[left_handed]] *= -1.0
    return order, sign


def realigned_planes(values: Array, order: Ints, sign: Array) -> Array:
    """(M, 6) per-plane values, sorted as the planes of the box after `aligning` (no change of sign of the values)."""
    low = np.where(sign > 0.0, order, order + 3)
    high = np.where(sign > 0.0, order + 3, order)
    return np.take_along_axis(values, np.concatenate([low, high], axis=1), axis=1)


def aligned(boxes: Boxes, reference: Array) -> Boxes:
    """The same boxes with axes renamed to lie nearest to `reference` (3, 3) or (M, 3, 3)."""
    order, sign = aligning(np.swapaxes(np.broadcast_to(reference, boxes.rotation.shape), 1, 2) @ boxes.rotation)
    rotation = np.take_along_axis(boxes.rotation, order[:, None, :], axis=2) * sign[:, None, :]
    plane_index = realigned_planes(np.broadcast_to(np.arange(6.0), (len(boxes), 6)), order, sign).astype(np.int64)
    # Along a flipped axis distances change their sign.
    flip = np.concatenate([sign, sign], axis=1)
    return Boxes(
        rotation,
        boxes.anchor,
        np.take_along_axis(boxes.offset, plane_index, axis=1) * flip,
        np.take_along_axis(boxes.sigma, plane_index, axis=1),
        np.take_along_axis(boxes.bound, plane_index, axis=1),
        np.take_along_axis(boxes.seen, plane_index, axis=1),
        np.argmax(plane_index == boxes.face[:, None], axis=1),
        boxes.rotation_sigma,
        boxes.confidence,
        boxes.mass,
    )


def rotation_vectors(rotation: Array) -> Array:
    """(M, 3) rotation vectors (rad) of (M, 3, 3) rotations of less than pi."""
    cosine = np.clip((np.trace(rotation, axis1=1, axis2=2) - 1.0) / 2.0, -1.0, 1.0)
    angle = np.arccos(cosine)
    skew = np.stack(
        [
            rotation[:, 2, 1] - rotation[:, 1, 2],
            rotation[:, 0, 2] - rotation[:, 2, 0],
            rotation[:, 1, 0] - rotation[:, 0, 1],
        ],
        axis=1,
    )
    sine = np.sin(angle)
    factor = np.where(sine > 1e-9, angle / np.maximum(2.0 * sine, 1e-12), 0.5)
    return skew * factor[:, None]


def rotations(vectors: Array) -> Array:
    """(M, 3, 3) rotations of (M, 3) rotation vectors (rad); Rodrigues."""
    angle = np.linalg.norm(vectors, axis=1)
    axis = vectors / np.maximum(angle, 1e-12)[:, None]
    cross = np.zeros((len(vectors), 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    cross[:, 1, 0], cross[:, 2, 0], cross[:, 2, 1] = axis[:, 2], -axis[:, 1], axis[:, 0]
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    result: Array = np.eye(3) + sine * cross + (1.0 - cosine) * (cross @ cross)
    return result


def orthonormal(rotation: Array) -> Array:
    """(M, 3, 3) nearest right-handed rotations."""
    left, _, right = np.linalg.svd(rotation)
    fix = np.ones((len(rotation), 3))
    fix[:, 2] = np.linalg.det(left @ right)
    result: Array = (left * fix[:, None, :]) @ right
    return result
