"""A thinned camera cloud for the page."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumper_ros import cloud
from lumper_ros.robot import Robot


class CloudView:
    """Takes every so-manieth point of an organised cloud, in the trailer's frame.

    Args:
        points: at most so many; 0 = none.
    """

    def __init__(self, points: int) -> None:
        self._limit = points
        self._last: Any = None

    def points(self, message: Any, robot: Robot, base: NDArray[np.float64]) -> NDArray[np.float32] | None:
        """(k, 3) points, or None when there is no new usable cloud.

        Args:
            base: (4, 4) of base_link in the trailer.
        """
        if self._limit == 0 or message is self._last:
            return None
        self._last = message
        mount = robot.mounts.get(message.header.frame_id)
        if mount is None:
            return None
        try:
            xyz = cloud.xyz(message)
        except cloud.CloudError:
            return None
        height, width = xyz.shape[:2]
        step = max(1, int(np.ceil(np.sqrt(height * width / self._limit))))
        thin = xyz[::step, ::step].reshape(-1, 3)
        thin = thin[np.isfinite(thin).all(axis=1)]
        transform = (base @ mount.matrix()).astype(np.float32)
        moved: NDArray[np.float32] = thin @ transform[:3, :3].T + transform[:3, 3]
        return moved
