"""Carton faces found in a cloud itself, by the native library lumper_faces."""

from typing import Any

import numpy as np

import lumper_faces
from lumper_perception.boxes import Array, Faces
from lumper_perception.evidence import Cloud
from lumper_perception.view import Intrinsics

# A face must fill its rectangle so far to be a carton's, and be seen steeply enough to be measured.
LEAST_FILL = 0.55
LEAST_COSINE = 0.22
LEAST_SIDE_M = 0.08


def segment(cloud: Cloud, colour: Any, intrinsics: Intrinsics, up: Array) -> Faces:
    """Faces of cartons in an organised cloud.

    Args:
        cloud: (H, W, 3) m, optical frame; read in place.
        colour: (H, W) packed rgb of 4 bytes each (float32 or uint32), or None.
        up: (3,) upward direction in the optical frame.
    """
    options = lumper_faces.Options()
    options.near_m, options.far_m = intrinsics.near_m, min(intrinsics.far_m, 6.0)
    options.up = (float(up[0]), float(up[1]), float(up[2]))
    packed = None if colour is None else colour.view(np.uint32)
    found = lumper_faces.segment(cloud, (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy), packed, options)
    return carton_faces(found, options.largest_side_m)


def carton_faces(found: dict[str, Any], largest_side_m: float) -> Faces:
    """The faces among what `lumper_faces.segment` found that can be cartons'."""
    size, fill, rotation, centre = found["size"], found["fill"], found["rotation"], found["centre"]
    hidden = found["hidden"]
    steep = np.abs(np.einsum("ni,ni->n", rotation[:, :, 2], centre)) / np.maximum(np.linalg.norm(centre, axis=1), 1e-6)
    keep = (
        (size.max(axis=1) < largest_side_m)
        & (size.min(axis=1) > LEAST_SIDE_M)
        & (fill > LEAST_FILL)
        & (steep > LEAST_COSINE)
    )
    # Hidden on three sides, a plane's size says too little to call it a carton.
    keep &= hidden.sum(axis=1) <= 2
    sigma = found["sigma"][keep]
    count = int(keep.sum())
    unknown = np.full(count, np.nan)
    return Faces(
        centre=centre[keep],
        rotation=rotation[keep],
        size=size[keep],
        depth=unknown,
        position_sigma=sigma[:, 0],
        rotation_sigma=sigma[:, 1],
        size_sigma=sigma[:, 2],
        confidence=np.clip(0.95 - 0.5 * np.abs(1.0 - fill[keep]), 0.3, 0.95)
        * np.where(hidden[keep].any(axis=1), 0.8, 1.0),
        mass=unknown,
        hidden=hidden[keep],
    )
