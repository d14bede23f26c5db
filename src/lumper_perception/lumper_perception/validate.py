"""What may come in: detections and clouds are checked field by field, per source; what is wrong is named and counted."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lumper_perception.boxes import Array, Bools, Faces
from lumper_ros import cloud as clouds
from lumper_ros.convert import seconds

# Bits of CartonDetection.hidden_sides in the order of Faces.hidden.
_SIDE_BITS = np.arange(4)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an input, or one face of it, was dropped: a short machine-readable reason and a sentence for people."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class StampLimits:
    """future_s: a stamp may lie so far ahead of now; max_age_s: or so far behind; max_rate_hz: of accepted inputs."""

    future_s: float
    max_age_s: float
    max_rate_hz: float


@dataclass(slots=True)
class SourceHealth:
    """What is known of one source (detector or camera) since the node became active. Times in s, ROS clock."""

    frame: str
    last_stamp_s: float = -np.inf
    last_accepted_s: float = -np.inf
    accepted: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    last_fault: str = ""
    last_fault_s: float = -np.inf
    interval_s: float = np.nan

    def check_stamp(self, stamp_s: float, now_s: float, limits: StampLimits) -> Fault | None:
        """Why the stamp (or its rate) refuses this input, or None."""
        if stamp_s <= 0.0:
            return Fault("no_stamp", "header.stamp is zero; the source must stamp each picture with its exposure time")
        if stamp_s > now_s + limits.future_s:
            return Fault("future", f"header.stamp is {stamp_s - now_s:.3f} s in the future; synchronise the clocks")
        if now_s - stamp_s > limits.max_age_s:
            return Fault("late", f"header.stamp is {now_s - stamp_s:.3f} s old, {limits.max_age_s} s are allowed")
        if stamp_s <= self.last_stamp_s:
            return Fault(
                "out_of_order", f"header.stamp goes back by {self.last_stamp_s - stamp_s:.3f} s, or is a duplicate"
            )
        interval_s = stamp_s - self.last_stamp_s
        if np.isfinite(interval_s):
            self.interval_s = interval_s if np.isnan(self.interval_s) else 0.9 * self.interval_s + 0.1 * interval_s
        self.last_stamp_s = stamp_s
        # A little jitter of a source at exactly its allowed rate is no fault.
        if stamp_s - self.last_accepted_s < 0.6 / limits.max_rate_hz:
            return Fault(
                "rate", f"{1.0 / max(self.interval_s, 1e-9):.0f} Hz arrive, {limits.max_rate_hz:g} Hz are allowed"
            )
        return None

    def accept(self, stamp_s: float) -> None:
        self.accepted += 1
        self.last_accepted_s = stamp_s

    def drop(self, fault: Fault, now_s: float) -> None:
        self.dropped[fault.reason] = self.dropped.get(fault.reason, 0) + 1
        self.last_fault = f"{fault.reason}: {fault.text}"
        self.last_fault_s = now_s


def header_fault(message: Any) -> Fault | None:
    """Whether the header names a usable frame. The driver default "0" and the empty name are no frames."""
    frame = str(message.header.frame_id).lstrip("/")
    if not frame or frame.isdigit():
        return Fault("frame", f"header.frame_id is {message.header.frame_id!r}; set the name of a frame of the robot")
    return None


def quaternion_matrices(xyzw: Array) -> Array:
    """(N, 3, 3) of (N, 4) unit quaternions x y z w."""
    x, y, z, w = xyzw.T
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1),
        ],
        axis=1,
    )


def read_faces(message: Any, max_faces: int) -> tuple[Faces, list[Fault]]:
    """Faces of a CartonDetections message in its own frame, and a fault for each one dropped.

    Every number must be finite (depth and mass may be NaN = unknown), sizes positive, the quaternion of unit length,
    sigmas not negative, the confidence in 0 … 1.
    """
    faults: list[Fault] = []
    items = message.detections
    if len(items) > max_faces:
        faults.append(Fault("too_many", f"{len(items)} detections, the first {max_faces} are used"))
        items = items[:max_faces]
    rows = []
    hidden = np.zeros((len(items), 4), dtype=bool)
    for index, item in enumerate(items):
        p, q = item.face_pose.position, item.face_pose.orientation
        rows.append(
            (
                *(p.x, p.y, p.z, q.x, q.y, q.z, q.w),
                *(item.width_m, item.height_m, item.depth_m, item.position_sigma_m),
                *(item.rotation_sigma_rad, item.size_sigma_m, item.confidence, item.mass_kg),
            )
        )
        # A detector that knows only that something hides the face: any side may go on.
        hidden[index] = (item.hidden_sides >> _SIDE_BITS & 1) if item.hidden_sides else item.occluded
    table = np.array(rows, dtype=float).reshape(len(rows), 15)
    good = _check_rows(table, faults)
    table, hidden = table[good], hidden[good]
    quaternions = table[:, 3:7] / np.linalg.norm(table[:, 3:7], axis=1, keepdims=True)
    return (
        Faces(
            centre=table[:, :3],
            rotation=quaternion_matrices(quaternions),
            size=table[:, 7:9],
            depth=table[:, 9],
            # A detector that states no uncertainty is not believed to the last digit.
            position_sigma=np.maximum(table[:, 10], 1e-3),
            rotation_sigma=np.maximum(table[:, 11], 2e-3),
            size_sigma=np.maximum(table[:, 12], 1e-3),
            confidence=table[:, 13],
            mass=table[:, 14],
            hidden=hidden,
        ),
        faults,
    )


def _check_rows(table: Array, faults: list[Fault]) -> Bools:
    with np.errstate(invalid="ignore"):
        checks = (
            ("pose", ~np.isfinite(table[:, :7]).all(axis=1), "face_pose is not finite"),
            (
                "quaternion",
                np.abs(np.linalg.norm(table[:, 3:7], axis=1) - 1.0) > 1e-2,
                "face_pose.orientation is no unit quaternion",
            ),
            (
                "size",
                ~((table[:, 7:9] > 0.01) & (table[:, 7:9] < 5.0)).all(axis=1),
                "width_m, height_m must lie in 0.01 … 5",
            ),
            ("depth", np.isinf(table[:, 9]) | (table[:, 9] <= 0.0), "depth_m must be positive, or NaN where unknown"),
            ("sigma", ~((table[:, 10:13] >= 0.0) & (table[:, 10:13] < 1.0)).all(axis=1), "sigmas must lie in 0 … 1"),
            ("confidence", ~((table[:, 13] >= 0.0) & (table[:, 13] <= 1.0)), "confidence must lie in 0 … 1"),
            ("mass", np.isinf(table[:, 14]) | (table[:, 14] <= 0.0), "mass_kg must be positive, or NaN where unknown"),
        )
    good = np.ones(len(table), dtype=bool)
    for reason, bad, text in checks:
        faults += [Fault(reason, f"detections[{index}]: {text}") for index in np.flatnonzero(bad & good)]
        good &= ~bad
    return good


def cloud_fault(message: Any, min_height_px: int = 2) -> Fault | None:
    """Why this PointCloud2 cannot be used as an organised cloud, or None. Looks at the description, not at the points."""
    if message.is_bigendian:
        return Fault("big_endian", "is_bigendian is set; publish little-endian clouds")
    if message.width == 0 or message.height == 0 or len(message.data) == 0:
        return Fault("no_points", f"width {message.width}, height {message.height}, {len(message.data)} bytes")
    if message.height < min_height_px:
        return Fault("unorganised", f"height is {message.height}; an organised cloud (one point per pixel) is needed")
    try:
        clouds.xyz(message)
    except clouds.CloudError as error:
        return Fault("layout", str(error))
    expected = message.row_step * message.height
    if len(message.data) != expected:
        return Fault("layout", f"data has {len(message.data)} bytes, row_step x height is {expected}")
    return None


def points_fault(depth: Array, min_valid_fraction: float) -> Fault | None:
    """Why the points themselves cannot be used: `depth` is a subsample of optical-frame z in m, NaN = no return."""
    valid = np.isfinite(depth)
    if not valid.any():
        return Fault("all_invalid", "every point is NaN; is the camera covered, or out of range?")
    if valid.mean() < min_valid_fraction:
        return Fault("few_points", f"{valid.mean():.1%} of the points are valid, {min_valid_fraction:.0%} are needed")
    middle = float(np.median(np.abs(depth[valid])))
    if middle > 100.0:
        return Fault("unit", f"the median depth is {middle:.0f}; are these millimetres? Metres are expected")
    return None


def stamp_of(message: Any) -> float:
    """Stamp of a message with a header, s."""
    return seconds(message.header.stamp)
