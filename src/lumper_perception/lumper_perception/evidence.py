"""What a cloud proves besides faces: free floor, back wall, and whether a known carton's face is still there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumper_perception.boxes import Array, Bools, Faces
from lumper_perception.track import Assumed, Track, TrackState, TrackTable
from lumper_perception.view import Capsules, Intrinsics, View, cut_by_boxes, segment_distances
from lumper_ros.convert import inverse

Cloud = NDArray[np.float32]


# A side is looked at so far outside, m, at three places along it (fractions of half its length, with 0.7).
BESIDE_SIDE_M = 0.03
_ALONG_SIDE = np.array([-1.0, 0.0, 1.0])
# So much wider than its capsules the robot's outline may be: hoses, cups, and the time between joint states and exposure, m.
ROBOT_OUTLINE_M = 0.08
# A view that ends so far behind a face that it only grazes went through where the carton would be, m.
THROUGH_M = 0.30


@dataclass(frozen=True, slots=True)
class FaceEvidence:
    """Shares of a carton's sample points at which the cloud shows its face, or a surface clearly behind it."""

    carton_id: int
    agrees: float
    beyond: float


def fit_intrinsics(cloud: Cloud, near_m: float, far_m: float, stride: int = 16) -> Intrinsics | None:
    """Pinhole of an organised cloud (H, W, 3), from its own points; None where they do not fit one to 1 px."""
    height, width, _ = cloud.shape
    rows, columns = np.mgrid[stride // 2 : height : stride, stride // 2 : width : stride]
    points = cloud[rows, columns].reshape(-1, 3).astype(float)
    rows, columns = rows.reshape(-1), columns.reshape(-1)
    good = np.isfinite(points).all(axis=1) & (points[:, 2] > near_m)
    if good.sum() < 50:
        return None
    x, y = points[good, 0] / points[good, 2], points[good, 1] / points[good, 2]
    fits = []
    for slope, pixel in ((x, columns[good]), (y, rows[good])):
        if np.ptp(slope) < 0.05:
            return None
        (focal, centre), *_ = np.linalg.lstsq(
            np.stack([slope, np.ones_like(slope)], axis=1), pixel.astype(float), rcond=None
        )
        if np.median(np.abs(focal * slope + centre - pixel)) > 1.0 or focal < 10.0:
            return None
        fits.append((float(focal), float(centre)))
    return Intrinsics(fits[0][0], fits[1][0], fits[0][1], fits[1][1], width, height, near_m, far_m)


def free_of_robot(points: Array, arm: Capsules, held_at: Array | None, held_radius_m: float = 0.75) -> Bools:
    """(P,) points (trailer, m) that belong neither to the arm nor to what it holds."""
    good = np.ones(len(points), dtype=bool)
    if len(arm.radius):
        low = np.minimum(arm.a, arm.b).min(axis=0) - 0.4
        high = np.maximum(arm.a, arm.b).max(axis=0) + 0.4
        near = np.flatnonzero(((points > low) & (points < high)).all(axis=1))
        distance = segment_distances(points[near], points[near], arm.a, arm.b)
        good[near] = (distance > arm.radius[None, :] + 0.08).all(axis=1)
    if held_at is not None:
        good &= np.linalg.norm(points - held_at, axis=1) > held_radius_m
    return good


def behind_robot(faces: Faces, view: View, held: TrackTable) -> Bools:
    """(N, 4) sides of faces (trailer), as in `Faces.hidden`, beside which the arm or what it holds stands before the view.

    There a face ends where the robot's outline cuts it, not where the carton ends.
    """
    axes = np.swapaxes(faces.rotation[:, :, :2], 1, 2)
    half = faces.size[:, :, None] / 2.0
    out, along = (half + BESIDE_SIDE_M) * axes, 0.7 * half * axes
    sides = np.stack([-out[:, 0], out[:, 0], -out[:, 1], out[:, 1]], axis=1)
    slides = np.stack([along[:, 1], along[:, 1], along[:, 0], along[:, 0]], axis=1)
    points = faces.centre[:, None, None, :] + sides[:, :, None, :] + slides[:, :, None, :] * _ALONG_SIDE[:, None]
    flat = points.reshape(-1, 3)
    cut = view.behind_arm(flat, ROBOT_OUTLINE_M)
    nobody = np.full(len(flat), len(held.centre))
    # What is held sways on the cups.
    cut |= cut_by_boxes(view.origin, flat, held.centre, held.rotation, held.size + 2.0 * ROBOT_OUTLINE_M, nobody)
    return np.asarray(cut.reshape(len(faces), 4, len(_ALONG_SIDE)).any(axis=2))


def off_structure(points: Array, length_m: float, width_m: float) -> Array:
    """(N,) distance in m of points (trailer) from the nearest of floor, side walls and back wall."""
    to_sides = np.abs(width_m / 2.0 - np.abs(points[:, 1]))
    return np.minimum(np.minimum(np.abs(points[:, 2]), to_sides), np.abs(points[:, 0] - length_m))


def face_evidence(
    cloud: Cloud, view: View, tracks: list[Track], assumed: Assumed, length_m: float, width_m: float
) -> list[FaceEvidence]:
    """Compare each confirmed carton's known face with the cloud (H, W, 3) taken from `view`.

    Args:
        length_m, width_m: inside of the trailer. Where its floor or a wall is seen, what would stand before it is not there, also
            when that is too thin for the depth alone to tell.
    """
    free = [track for track in tracks if track.id and track.state is not TrackState.HELD]
    if not free:
        return []
    sampled = [track.samples(view.origin, assumed) for track in free]
    points = np.concatenate([points for points, _ in sampled])
    steep = np.concatenate([steep for _, steep in sampled])
    owner = np.repeat(np.arange(len(free)), [len(points) for points, _ in sampled])
    camera = inverse(view.pose)
    u, v, depth = view.intrinsics.project(points @ camera[:3, :3].T + camera[:3, 3])
    height, width, _ = cloud.shape
    good = (depth > view.intrinsics.near_m) & (u >= 0) & (u < width - 0.5) & (v >= 0) & (v < height - 0.5)
    column = np.clip(np.rint(u), 0, width - 1).astype(int)
    row = np.clip(np.rint(v), 0, height - 1).astype(int)
    seen = np.where(good[:, None], cloud[row, column], np.nan).astype(float)
    measured = seen[:, 2]
    slack = 0.03 + 0.006 * depth**2
    on_it = 0.012 + 0.0025 * depth**2
    with np.errstate(invalid="ignore"):
        shown = off_structure(seen @ view.pose[:3, :3].T + view.pose[:3, 3], length_m, width_m) < on_it
        bare = shown & (off_structure(points, length_m, width_m) > on_it) & (measured > depth)
        agrees = steep & (np.abs(measured - depth) < slack) & ~bare
        # At a grazing view a small error of the plane is a large one of the depth: there only what looks through the carton counts.
        beyond = (measured - depth > np.where(steep, slack, THROUGH_M)) | (steep & bare)
    total = np.bincount(owner, minlength=len(free))
    agree_share = np.bincount(owner, weights=agrees, minlength=len(free)) / total
    beyond_share = np.bincount(owner, weights=beyond, minlength=len(free)) / total
    return [FaceEvidence(track.id, float(agree_share[i]), float(beyond_share[i])) for i, track in enumerate(free)]
