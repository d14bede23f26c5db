"""What a camera could see: field of view, arm and cartons in between. Not seen because hidden is not gone."""

from dataclasses import dataclass

import numpy as np

from lumper_perception.boxes import Array, Bools
from lumper_ros.convert import inverse


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """Pinhole camera: focal lengths and principal point in pixels, picture size in pixels, usable range in m."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    near_m: float
    far_m: float

    @staticmethod
    def of_field_of_view(hfov_rad: float, width: int, height: int, near_m: float, far_m: float) -> "Intrinsics":
        """Square pixels, principal point in the middle."""
        focal = width / 2.0 / np.tan(hfov_rad / 2.0)
        return Intrinsics(focal, focal, (width - 1) / 2.0, (height - 1) / 2.0, width, height, near_m, far_m)

    def project(self, points: Array) -> tuple[Array, Array, Array]:
        """Pixel columns, rows and depth (m) of points (P, 3) in the optical frame (z forward)."""
        depth = points[:, 2]
        safe = np.where(depth > 1e-6, depth, 1e-6)
        return self.fx * points[:, 0] / safe + self.cx, self.fy * points[:, 1] / safe + self.cy, depth


@dataclass(frozen=True, slots=True)
class Capsules:
    """K capsules in frame trailer: ends a, b (K, 3) m and radius (K,) m."""

    a: Array
    b: Array
    radius: Array


NO_CAPSULES = Capsules(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))


@dataclass(frozen=True, slots=True)
class View:
    """One picture's point of view: `pose` 4x4 camera to trailer, and what stands in between."""

    pose: Array
    intrinsics: Intrinsics
    arm: Capsules

    @property
    def origin(self) -> Array:
        """(3,) camera position in trailer, m."""
        position: Array = self.pose[:3, 3]
        return position

    def in_picture(self, points: Array, margin_px: float = 8.0) -> Bools:
        """(P,) whether points (trailer, m) fall well inside the picture and range."""
        camera = inverse(self.pose)
        local = points @ camera[:3, :3].T + camera[:3, 3]
        u, v, depth = self.intrinsics.project(local)
        k = self.intrinsics
        return (
            (depth > k.near_m)
            & (depth < k.far_m)
            & (u > margin_px)
            & (u < k.width - 1 - margin_px)
            & (v > margin_px)
            & (v < k.height - 1 - margin_px)
        )

    def behind_arm(self, points: Array, margin_m: float = 0.04) -> Bools:
        """(P,) whether a capsule of the arm cuts the line of sight to points (trailer, m)."""
        if not len(self.arm.radius) or not len(points):
            return np.zeros(len(points), dtype=bool)
        distance = segment_distances(np.broadcast_to(self.origin, points.shape), points, self.arm.a, self.arm.b)
        return np.asarray((distance < self.arm.radius[None, :] + margin_m).any(axis=1))


def segment_distances(p0: Array, p1: Array, a: Array, b: Array) -> Array:
    """(P, K) distances between segments p0-p1 (P, 3) and a-b (K, 3), m.

    Source: Ericson, Real-Time Collision Detection (2005), 5.1.9, with all cases evaluated at once.
    """
    d1 = (p1 - p0)[:, None, :]
    d2 = (b - a)[None, :, :]
    r = p0[:, None, :] - a[None, :, :]
    aa = np.maximum((d1 * d1).sum(-1), 1e-12)
    ee = np.maximum((d2 * d2).sum(-1), 1e-12)
    f = (d2 * r).sum(-1)
    c = (d1 * r).sum(-1)
    bb = (d1 * d2).sum(-1)
    denominator = aa * ee - bb * bb
    s = np.where(denominator > 1e-9, np.clip((bb * f - c * ee) / np.maximum(denominator, 1e-9), 0.0, 1.0), 0.0)
    t = (bb * s + f) / ee
    t_clipped = np.clip(t, 0.0, 1.0)
    s = np.where(t == t_clipped, s, np.clip((bb * t_clipped - c) / aa, 0.0, 1.0))
    gap = r + d1 * s[..., None] - d2 * t_clipped[..., None]
    distance: Array = np.linalg.norm(gap, axis=-1)
    return distance


def cut_by_boxes(origin: Array, points: Array, centre: Array, rotation: Array, size: Array, owner: Array) -> Bools:
    """(P,) whether a box other than the point's own cuts its line of sight.

    Args:
        origin: (3,); points: (P, 3); centre, size: (N, 3); rotation: (N, 3, 3); owner: (P,) index of the point's own box; an
            index beyond the boxes = none.
    """
    if not len(centre) or not len(points):
        return np.zeros(len(points), dtype=bool)
    # A little smaller, and the line a little shorter: neighbours that touch do not hide each other's faces.
    half = np.maximum(size / 2.0 - 0.01, 0.001)
    start = np.einsum("nji,nj->ni", rotation, origin[None, :] - centre)
    end = np.einsum("nji,pnj->pni", rotation, points[:, None, :] - centre[None, :, :])
    direction = end - start[None]
    direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    t1 = (-half - start)[None] / direction
    t2 = (half - start)[None] / direction
    enter = np.minimum(t1, t2).max(axis=2)
    leave = np.maximum(t1, t2).min(axis=2)
    hit = (enter < leave) & (enter < 0.985) & (leave > 0.0)
    own = owner < len(centre)
    hit[np.flatnonzero(own), owner[own]] = False
    return np.asarray(hit.any(axis=1))
