"""What the segmentation is measured against."""

from collections import deque

import numpy as np
from scipy.ndimage import uniform_filter


def region_growing(
    points: np.ndarray, angle_deg: float = 6.0, least: int = 200, window: int = 9, jump_m: float = 0.01
) -> np.ndarray:
    """Region growing over smooth normals, as pcl::RegionGrowing, on the picture's grid (4-neighbours).

    Normals come from sums over a window (as pcl::IntegralImageNormalEstimation); seeds in order of curvature.

    Returns:
        (height, width) segment, -1 = none.
    """
    valid = np.isfinite(points).all(axis=2)
    filled = np.where(valid[..., None], points, 0.0).astype(float)
    weight = np.maximum(uniform_filter(valid.astype(float), window), 1e-6)
    mean = np.stack([uniform_filter(filled[..., k], window) for k in range(3)], axis=-1) / weight[..., None]
    second = np.empty((*valid.shape, 3, 3))
    for i in range(3):
        for j in range(i, 3):
            second[..., i, j] = second[..., j, i] = (
                uniform_filter(filled[..., i] * filled[..., j], window) / weight - mean[..., i] * mean[..., j]
            )
    values, vectors = np.linalg.eigh(second)
    normal = vectors[..., 0]
    curvature = values[..., 0] / np.maximum(values.sum(axis=-1), 1e-12)
    usable = valid & (weight > 0.6) & (curvature < 0.02)
    least_cosine = np.cos(np.radians(angle_deg))
    right = (np.abs((normal[:, :-1] * normal[:, 1:]).sum(-1)) > least_cosine) & (
        np.abs(points[:, 1:, 2] - points[:, :-1, 2]) < jump_m
    )
    down = (np.abs((normal[:-1] * normal[1:]).sum(-1)) > least_cosine) & (
        np.abs(points[1:, :, 2] - points[:-1, :, 2]) < jump_m
    )
    label = np.full(valid.shape, -1)
    height, width = valid.shape
    count = 0
    order = np.argsort(np.where(usable, curvature, np.inf), axis=None)[: int(usable.sum())]
    for start in order:
        if label.flat[start] >= 0:
            continue
        queue, members = deque([int(start)]), [int(start)]
        label.flat[start] = count
        while queue:
            at = queue.popleft()
            v, u = divmod(at, width)
            for y, x, joined in (
                (v, u + 1, u + 1 < width and right[v, u]),
                (v, u - 1, u > 0 and right[v, u - 1]),
                (v + 1, u, v + 1 < height and down[v, u]),
                (v - 1, u, v > 0 and down[v - 1, u]),
            ):
                if joined and usable[y, x] and label[y, x] < 0:
                    label[y, x] = count
                    queue.append(y * width + x)
                    members.append(y * width + x)
        if len(members) < least:
            label.flat[members] = -2
        else:
            count += 1
    return np.where(label < 0, -1, label)


def open3d_planes(points: np.ndarray) -> np.ndarray | None:
    """Open3D's planar patches (Araujo and Oliveira 2020) as segments, or None where it is not installed."""
    try:
        import open3d
    except ImportError:
        return None
    valid = np.isfinite(points).all(axis=2)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points[valid].astype(float)))
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamHybrid(radius=0.02, max_nn=30))
    cloud.orient_normals_towards_camera_location()
    patches = cloud.detect_planar_patches(
        normal_variance_threshold_deg=60,
        coplanarity_deg=75,
        outlier_ratio=0.75,
        min_plane_edge_length=0.03,
        min_num_points=200,
    )
    label = np.full(int(valid.sum()), -1)
    every = np.asarray(cloud.points)
    for index, patch in enumerate(patches):
        local = (every - patch.center) @ patch.R
        inside = (np.abs(local) < np.asarray(patch.extent) / 2.0 + np.array([0.0, 0.0, 0.004])).all(axis=1)
        label[inside & (label < 0)] = index
    result = np.full(valid.shape, -1)
    result[valid] = label
    return result
