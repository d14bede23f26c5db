"""A model of a carton-face detector: it knows only what the picture shows, and errs as real ones do.

A face that is fully in view is measured with noise. Of one that something hides in part only the visible rectangle is
reported. Faces with too few pixels are not found; others are missed, or invented, at random.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lumper_sim.camera import NOTHING, ROBOT, Picture, View

Array = NDArray[np.float64]
# A side that ends short of the face's own edge by more is hidden there.
_EDGE_M = 0.008


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    position_sigma_m: float = 0.004
    rotation_sigma_rad: float = 0.008
    size_sigma_m: float = 0.003
    miss_probability: float = 0.03
    false_per_picture: float = 0.02
    min_area_px: float = 80.0
    min_side_m: float = 0.08
    full_fraction: float = 0.93


@dataclass(frozen=True, slots=True)
class FaceSeen:
    """One face in the optical frame: (4, 4) pose with z = outward normal, x along the width, y along the height;
    `hidden_sides` as in lumper_msgs/CartonDetection."""

    pose: Array
    width_m: float
    height_m: float
    confidence: float
    hidden_sides: int


@dataclass(frozen=True, slots=True)
class Detections:
    faces: tuple[FaceSeen, ...]
    coverage: float


def face_frame(rotation: Array, face: int, up: Array, forward: Array) -> tuple[Array, int, int]:
    """Axes (3, 3) of a carton's face and which of the carton's axes are its width and height.

    `face`: -x +x -y +y -z +z as 0..5. Height points up on upright faces, into the trailer on level ones.
    """
    k, sign = face // 2, 1.0 if face % 2 else -1.0
    normal = sign * rotation[:, k]
    towards = up if abs(float(normal @ up)) < 0.7 else forward
    others = [axis for axis in range(3) if axis != k]
    height = max(others, key=lambda axis: abs(float(rotation[:, axis] @ towards)))
    width = others[0] if others[1] == height else others[1]
    y = rotation[:, height] * (1.0 if float(rotation[:, height] @ towards) >= 0 else -1.0)
    return np.stack([np.cross(y, normal), y, normal], axis=1), width, height


class Detector:
    def __init__(self, spec: DetectorSpec, rays: NDArray[np.float32], focal_px: float) -> None:
        """`rays`: (h * w, 3) with z = 1, as the camera's."""
        self._spec = spec
        self._rays = rays.astype(np.float64)
        self._focal_px = focal_px

    def detect(self, picture: Picture, view: View, rng: np.random.Generator) -> Detections:
        """Faces found in a picture. `view` gives the shapes of the cartons of which the picture has pixels."""
        seen = picture.object_id.reshape(-1)
        usable = float(np.mean((seen != NOTHING) & (seen != ROBOT)))
        pixels = np.flatnonzero(seen >= 0)
        key = seen[pixels] * 6 + picture.face.reshape(-1)[pixels]
        order = np.argsort(key, kind="stable")
        pixels, key = pixels[order], key[order]
        starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if key.size else np.zeros(0, dtype=np.int64)
        ends = np.r_[starts[1:], key.size] if key.size else starts
        depth = picture.depth_m.reshape(-1).astype(np.float64)
        to_camera = view.camera[:3, :3].T
        up, forward = to_camera @ np.array([0.0, 0.0, 1.0]), to_camera @ np.array([1.0, 0.0, 0.0])
        faces: list[FaceSeen] = []
        for start, end in zip(starts, ends, strict=True):
            if end - start < self._spec.min_area_px:
                continue
            carton, face = divmod(int(key[start]), 6)
            here = pixels[start:end]
            rotation = to_camera @ view.carton_rotation[carton]
            centre = to_camera @ (view.carton_position[carton] - view.camera[:3, 3])
            measured = self._measure(here, depth[here], rotation, centre, view.carton_half[carton], face, up, forward)
            if measured is not None and rng.random() >= self._spec.miss_probability:
                faces.append(self._blur(*measured, rng))
        if pixels.size and rng.random() < self._spec.false_per_picture:
            faces.append(self._invent(pixels, depth, up, forward, rng))
        return Detections(tuple(faces), usable)

    def _measure(
        self,
        here: NDArray[np.int64],
        depth: Array,
        rotation: Array,
        centre: Array,
        half: Array,
        face: int,
        up: Array,
        forward: Array,
    ) -> tuple[Array, Array, float, float, float, int] | None:
        axes, width, height = face_frame(rotation, face, up, forward)
        normal = axes[:, 2]
        middle = centre + normal * half[face // 2]
        rays = self._rays[here]
        area = float(((depth / self._focal_px) ** 2 / np.maximum(np.abs(rays @ normal), 0.02)).sum())
        fraction = area / (4.0 * half[width] * half[height])
        if fraction >= self._spec.full_fraction:
            return axes, middle, 2 * half[width], 2 * half[height], 1.0, 0
        local = (rays * depth[:, None] - middle) @ axes[:, :2]
        low, high = np.quantile(local, 0.01, axis=0), np.quantile(local, 0.99, axis=0)
        limit = np.array([half[width], half[height]])
        pixel = float(np.median(depth)) / self._focal_px / 2
        low, high = np.maximum(low - pixel, -limit), np.minimum(high + pixel, limit)
        size = high - low
        if size.min() < self._spec.min_side_m:
            return None
        short = np.array([low[0] + limit[0], limit[0] - high[0], low[1] + limit[1], limit[1] - high[1]])
        # Where the visible part ends short of the face's own edge, something in front of it ends it: the picture's depth shows that.
        hidden = int((short > _EDGE_M) @ np.array([1, 2, 4, 8]))
        return axes, middle + axes[:, :2] @ ((low + high) / 2), float(size[0]), float(size[1]), fraction, hidden

    def _blur(
        self,
        axes: Array,
        middle: Array,
        width: float,
        height: float,
        fraction: float,
        hidden: int,
        rng: np.random.Generator,
    ) -> FaceSeen:
        spec = self._spec
        pose = np.eye(4)
        pose[:3, :3] = axes @ Rotation.from_rotvec(rng.normal(0.0, spec.rotation_sigma_rad, 3)).as_matrix()
        pose[:3, 3] = middle + rng.normal(0.0, spec.position_sigma_m, 3)
        size = np.maximum(np.array([width, height]) + rng.normal(0.0, spec.size_sigma_m, 2), 0.02)
        confidence = float(np.clip(0.75 + 0.22 * fraction - abs(rng.normal(0.0, 0.04)), 0.3, 0.99))
        return FaceSeen(pose, float(size[0]), float(size[1]), confidence, hidden)

    def _invent(
        self, pixels: NDArray[np.int64], depth: Array, up: Array, forward: Array, rng: np.random.Generator
    ) -> FaceSeen:
        at = int(pixels[rng.integers(pixels.size)])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([np.cross(up, -forward), up, -forward], axis=1)
        pose[:3, 3] = self._rays[at] * depth[at]
        width, height = rng.uniform(0.15, 0.6), rng.uniform(0.15, 0.5)
        return FaceSeen(pose, float(width), float(height), float(rng.uniform(0.3, 0.7)), 0)
