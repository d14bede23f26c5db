"""A planar laser scanner among boxes and capsules."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumper_sim.rays import cast_boxes, cast_capsules

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScannerSpec:
    fov_rad: float
    step_rad: float
    range_min_m: float
    range_max_m: float
    noise_m: float

    @property
    def angles_rad(self) -> Array:
        """(beams,) from -fov/2 to +fov/2."""
        count = round(self.fov_rad / self.step_rad) + 1
        return np.asarray(-self.fov_rad / 2 + self.step_rad * np.arange(count))


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What stands in the scene, world frame: boxes and capsules (see `rays`)."""

    box_centre: Array
    box_rotation: Array
    box_half: Array
    capsule_a: Array
    capsule_b: Array
    capsule_radius: Array


def scan(spec: ScannerSpec, pose: Array, obstacles: Obstacles, rng: np.random.Generator) -> NDArray[np.float32]:
    """(beams,) ranges in m; inf where nothing is within range.

    Args:
        pose: (4, 4) of the scanner in the world; it scans its x-y plane.
    """
    angles = spec.angles_rad
    local = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=1)
    directions = local @ pose[:3, :3].T
    origin, normal = pose[:3, 3], pose[:3, 2]
    # Only what the plane cuts, within range.
    boxes = obstacles
    offset = boxes.box_centre - origin
    reach = np.einsum("nij,i->nj", boxes.box_rotation, normal)
    cut = np.abs(offset @ normal) <= (np.abs(reach) * boxes.box_half).sum(axis=1)
    near = np.linalg.norm(offset, axis=1) - np.linalg.norm(boxes.box_half, axis=1) <= spec.range_max_m
    chosen = cut & near
    ranges = cast_boxes(
        origin, directions, boxes.box_centre[chosen], boxes.box_rotation[chosen], boxes.box_half[chosen]
    )
    ha, hb = (boxes.capsule_a - origin) @ normal, (boxes.capsule_b - origin) @ normal
    crossing = (np.minimum(ha, hb) <= boxes.capsule_radius) & (np.maximum(ha, hb) >= -boxes.capsule_radius)
    ranges = np.minimum(
        ranges,
        cast_capsules(
            origin, directions, boxes.capsule_a[crossing], boxes.capsule_b[crossing], boxes.capsule_radius[crossing]
        ),
    )
    ranges = ranges + spec.noise_m * rng.standard_normal(ranges.shape)
    ranges[(ranges > spec.range_max_m) | (ranges < spec.range_min_m)] = np.inf
    return ranges.astype(np.float32)
