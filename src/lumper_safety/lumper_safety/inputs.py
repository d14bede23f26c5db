"""Whether a message keeps its contract. Each check returns what is wrong, naming the field, or an empty string."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumper_ros.convert import pose_fault
from lumper_safety.causes import Limits

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scanner:
    """Geometry that a scanner's messages must have. `pose`: x, y in m and yaw in rad of the scanner in base_link."""

    topic: str
    frame: str
    angle_min_rad: float
    step_rad: float
    beams: int
    below_min_is_no_return: bool
    pose: tuple[float, float, float]
    height_m: float

    def angles(self) -> Array:
        """(beams,) rad in base_link."""
        return self.pose[2] + self.angle_min_rad + self.step_rad * np.arange(self.beams, dtype=np.float64)


def stamp_fault(stamp_s: float, now_ros_s: float, future_s: float) -> str:
    """A stamp of the future cannot be true."""
    if stamp_s > now_ros_s + future_s:
        return f"stamp: {stamp_s - now_ros_s:.3f} s in the future; check the sender's clock"
    return ""


def scan_fault(message: Any, scanner: Scanner, limits: Limits) -> tuple[str, Array | None, int]:
    """Check a LaserScan.

    Beams that are NaN, -inf or below range_min are invalid (REP-117, sensor_msgs/LaserScan): few and scattered ones
    are counted, more make the scan unusable. Beyond range_max, and +inf, is "nothing there".

    Returns:
        fault, (beams,) ranges in m with +inf for no return and for invalid beams, count of invalid beams.
    """
    fault = _scan_geometry_fault(message, scanner)
    if fault:
        return fault, None, 0
    ranges = np.array(message.ranges, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        near = ranges < message.range_min
        invalid = np.isnan(ranges) | (ranges == -np.inf) | (near & (not scanner.below_min_is_no_return))
        ranges[invalid | near | (ranges > message.range_max)] = np.inf
    count = int(np.count_nonzero(invalid))
    if count:
        if count > limits.scan_invalid_fraction * scanner.beams:
            share = limits.scan_invalid_fraction
            return (
                f"ranges: {count} of {scanner.beams} are NaN, -inf or below range_min, allowed are {share:.0%}",
                None,
                count,
            )
        edges = np.flatnonzero(np.diff(np.concatenate(([0], invalid.view(np.int8), [0]))))
        run = int(np.max(edges[1::2] - edges[::2]))
        if run * scanner.step_rad > limits.scan_invalid_run_rad:
            return (
                f"ranges: {run} neighbouring beams are NaN, -inf or below range_min: they may hide a leg",
                None,
                count,
            )
    return "", ranges, count


def _scan_geometry_fault(message: Any, scanner: Scanner) -> str:
    if message.header.frame_id != scanner.frame:
        return f"header.frame_id: {message.header.frame_id!r}, must be {scanner.frame!r}"
    if not message.angle_increment > 0.0 or abs(message.angle_increment - scanner.step_rad) > 0.01 * scanner.step_rad:
        return f"angle_increment: {message.angle_increment}, must be {scanner.step_rad:.6f} rad"
    if not abs(message.angle_min - scanner.angle_min_rad) <= scanner.step_rad:
        return f"angle_min: {message.angle_min}, must be {scanner.angle_min_rad:.6f} rad"
    if len(message.ranges) != scanner.beams:
        return f"ranges: {len(message.ranges)} values, must be {scanner.beams}"
    if not 0.0 <= message.range_min < message.range_max < np.inf:
        return f"range_min, range_max: {message.range_min}, {message.range_max} are no interval"
    return ""


def joints_fault(message: Any, names: Sequence[str]) -> str:
    """Check a JointState: exactly the arm's joints, in order, with finite position and velocity."""
    given = list(message.name)
    if given != list(names):
        missing = [name for name in names if name not in given]
        extra = [name for name in given if name not in names]
        if missing or extra:
            return f"name: missing {missing or 'none'}, unknown {extra or 'none'}"
        return f"name: order or count is {given}, must be {list(names)}"
    for field in ("position", "velocity"):
        values = getattr(message, field)
        if len(values) != len(names):
            return f"{field}: {len(values)} values, must be {len(names)}"
        if not np.isfinite(np.frombuffer(values) if isinstance(values, memoryview) else np.asarray(values)).all():
            wrong = [name for name, value in zip(names, values, strict=True) if not np.isfinite(value)]
            return f"{field}: not finite for {', '.join(wrong)}"
    return ""


def gripper_fault(message: Any) -> str:
    """Check a GripperState."""
    if not -20.0 <= message.vacuum_kpa <= 110.0:
        return f"vacuum_kpa: {message.vacuum_kpa} is no vacuum below ambient pressure"
    if not np.isfinite(np.asarray(message.zone_kpa)).all():
        return "zone_kpa: not finite"
    return ""


def broker_fault(message: Any, names: Sequence[str]) -> str:
    """Check a BrokerState."""
    if message.state > message.RECOVERING or message.stage > message.STAGE_MOVE:
        return f"state, stage: {message.state}, {message.stage} are not known"
    if not message.permit_latency_s >= 0.0 or not message.permit_latency_s < np.inf:
        return f"permit_latency_s: {message.permit_latency_s}"
    commanded = np.asarray(message.commanded_position_rad)
    if len(commanded):
        if list(message.joint_names) != list(names) or len(commanded) != len(names):
            return f"joint_names: {list(message.joint_names)} for {len(commanded)} positions, must be {list(names)}"
        if not np.isfinite(commanded).all():
            return "commanded_position_rad: not finite"
    return ""


def job_fault(message: Any) -> str:
    """Check a JobState."""
    return f"phase: {message.phase} is not known" if message.phase > message.FAILED else ""


def wall_fault(message: Any, frame: str) -> str:
    """Check a Wall as far as safety uses it: frame, poses, sizes."""
    if message.header.frame_id != frame:
        return f"header.frame_id: {message.header.frame_id!r}, must be {frame!r}"
    for carton in message.cartons:
        fault = pose_fault(carton.pose, 1e-2)
        size = carton.size_m
        if not fault and not (0.0 < size.x < 5.0 and 0.0 < size.y < 5.0 and 0.0 < size.z < 5.0):
            fault = f"size_m: {size.x}, {size.y}, {size.z}"
        if fault:
            return f"cartons[id {carton.id}]: {fault}"
    return ""
