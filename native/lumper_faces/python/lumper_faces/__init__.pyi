from typing import Any

import numpy as np
from numpy.typing import NDArray

class Options:
    """Limits of the segmentation; lengths in m, `up` a unit vector in the optical frame or zero."""

    near_m: float
    far_m: float
    cell_px: int
    merge_chi2: float
    flatness_m: float
    least_sigma: float
    least_pixels: int
    least_side_m: float
    largest_side_m: float
    up: tuple[float, float, float]

def segment(
    points: NDArray[np.float32],
    intrinsics: tuple[float, float, float, float],
    rgb: NDArray[np.uint32] | None = ...,
    options: Options = ...,
) -> dict[str, Any]:
    """Faces of boxes in a cloud (height, width, 3) m, optical frame; strided views are read in place.

    Args:
        intrinsics: fx, fy, cx, cy in px.
        rgb: (height, width) packed 0xRRGGBB.

    Returns:
        label (height, width) plane per pixel, -1 = none; noise: sigma of inverse depth, 1/m; box_of_plane (planes,), -1 = no
        box; and per face: centre (n, 3) m, rotation (n, 3, 3) columns width, height, outward normal, size (n, 2) m, sigma
        (n, 3) of position m, normal rad, size m, hidden (n, 4) sides -width +width -height +height that something hides,
        fill (n,), box, plane, pixels (n,).

    Raises:
        ValueError: wrong shapes or intrinsics.
    """
