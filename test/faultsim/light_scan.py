"""Coarse laser scans of the light trailer: walls, cartons and people in the scanners' plane. Ranges in m."""

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import LaserScan

from lumper_ros.robot import Robot, Trailer

Array = NDArray[np.float64]

BEAMS = 95
HALF_FOV_RAD = 2.35
STEP_RAD = 2 * HALF_FOV_RAD / (BEAMS - 1)
RANGE_MIN_M, RANGE_MAX_M = 0.05, 12.0
PERSON_RADIUS_M = 0.22
# What the safety monitor must be told of these scanners.
SAFETY_PARAMETERS: dict[str, Any] = {
    "scan_front_angle_min_rad": -HALF_FOV_RAD,
    "scan_front_step_rad": STEP_RAD,
    "scan_front_beams": BEAMS,
    "scan_rear_angle_min_rad": -HALF_FOV_RAD,
    "scan_rear_step_rad": STEP_RAD,
    "scan_rear_beams": BEAMS,
    "scan_period_s": 0.15,
}


class Scanners:
    """Both scanners on the base. The robot's own parts are not in the picture: they would be explained anyway."""

    def __init__(self, robot: Robot, trailer: Trailer) -> None:
        self._trailer = trailer
        self._mounts: dict[str, tuple[float, float, float, Array]] = {}
        for topic, name in (("scan/front", "scanner_front"), ("scan/rear", "scanner_rear")):
            mount = robot.mounts[name]
            turn = mount.matrix()[:3, :3]
            yaw = math.atan2(turn[1, 0], turn[0, 0])
            angles = yaw - HALF_FOV_RAD + STEP_RAD * np.arange(BEAMS)
            directions = np.column_stack([np.cos(angles), np.sin(angles)])
            self._mounts[topic] = (mount.xyz[0], mount.xyz[1], mount.xyz[2], directions)
        self._still: dict[str, tuple[tuple[float, int], Array]] = {}

    def ranges(
        self,
        topic: str,
        base_x_m: float,
        load_version: int,
        boxes: Sequence[tuple[Array, Array]],
        people: Sequence[tuple[float, float]],
    ) -> Array:
        """(BEAMS,) m, inf = nothing.

        Args:
            load_version: changes with `boxes`, which are (centre, size).
            people: (x, y) in trailer.
        """
        x, y, height, directions = self._mounts[topic]
        origin = np.array([base_x_m + x, y])
        key = (base_x_m, load_version)
        known = self._still.get(topic)
        if known is None or known[0] != key:
            cut = [(c, s) for c, s in boxes if abs(c[2] - height) <= s[2] / 2]
            known = self._still[topic] = (key, self._standing(origin, directions, cut))
        ranges = known[1]
        for person in people:
            ranges = np.minimum(ranges, _circle(origin, directions, np.array(person)))
        return ranges

    def _standing(self, origin: Array, directions: Array, boxes: Sequence[tuple[Array, Array]]) -> Array:
        trailer = self._trailer
        with np.errstate(divide="ignore", invalid="ignore"):
            ranges = np.full(len(directions), np.inf)
            for side in (-trailer.width_m / 2, trailer.width_m / 2):
                along = (side - origin[1]) / directions[:, 1]
                x = origin[0] + along * directions[:, 0]
                hit = (along > 0.0) & (x > 0.0) & (x < trailer.length_m)
                ranges = np.where(hit, np.minimum(ranges, along), ranges)
            along = (trailer.length_m - origin[0]) / directions[:, 0]
            ranges = np.where(along > 0.0, np.minimum(ranges, along), ranges)
            for centre, size in boxes:
                low = (centre[:2] - size[:2] / 2 - origin) / directions
                high = (centre[:2] + size[:2] / 2 - origin) / directions
                near, far = np.minimum(low, high).max(axis=1), np.maximum(low, high).min(axis=1)
                ranges = np.where((near <= far) & (near > 0.0), np.minimum(ranges, near), ranges)
        ranges[ranges > RANGE_MAX_M] = np.inf
        return ranges


def _circle(origin: Array, directions: Array, centre: Array) -> Array:
    relative = centre - origin
    along = directions @ relative
    off = float(relative @ relative) - along**2
    room = PERSON_RADIUS_M**2 - off
    with np.errstate(invalid="ignore"):
        near = along - np.sqrt(room)
    return np.where((room > 0.0) & (near > RANGE_MIN_M) & (near < RANGE_MAX_M), near, np.inf)


def scan_message(topic: str, ranges: Array, stamp: Any, rate_hz: float) -> LaserScan:
    message = LaserScan(
        angle_min=-HALF_FOV_RAD,
        angle_max=HALF_FOV_RAD,
        angle_increment=STEP_RAD,
        scan_time=1.0 / rate_hz,
        range_min=RANGE_MIN_M,
        range_max=RANGE_MAX_M,
    )
    message.header.stamp, message.header.frame_id = stamp, topic.replace("scan/", "scanner_")
    message.ranges = array("f", ranges.astype(np.float32).tobytes())
    return message
