"""Between message fields and plain numbers. Quaternions are (x, y, z, w); matrices are 4x4 homogeneous.

Rotations are transforms3d's here and wherever every node passes: to import scipy's takes a killed node 0.4 s.
"""

from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from numpy.typing import NDArray
from transforms3d import quaternions

Array = NDArray[np.float64]


def seconds(stamp: Time | Duration) -> float:
    """Seconds of a stamp or duration."""
    return float(stamp.sec) + float(stamp.nanosec) * 1e-9


def to_time(seconds_s: float) -> Time:
    """Stamp of so many seconds since the clock's zero, rounded to the nanosecond.

    Raises:
        ValueError: negative, not finite, or beyond what a stamp holds.
    """
    if not 0.0 <= seconds_s < 2**31:
        raise ValueError(f"a stamp must lie in 0 … 2^31 s, not {seconds_s}")
    whole = int(seconds_s)
    nanosec = round((seconds_s - whole) * 1e9)
    if nanosec == 1_000_000_000:
        whole, nanosec = whole + 1, 0
    return Time(sec=whole, nanosec=nanosec)


def to_duration(seconds_s: float) -> Duration:
    whole = int(np.floor(seconds_s))
    nanosec = round((seconds_s - whole) * 1e9)
    if nanosec == 1_000_000_000:
        whole, nanosec = whole + 1, 0
    return Duration(sec=whole, nanosec=nanosec)


def vector(message: Vector3 | Point) -> Array:
    """(3,) array."""
    return np.array([message.x, message.y, message.z])


def to_point(xyz: Any) -> Point:
    return Point(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))


def to_vector3(xyz: Any) -> Vector3:
    return Vector3(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))


def quaternion(message: Quaternion) -> Array:
    """(4,) array x, y, z, w."""
    return np.array([message.x, message.y, message.z, message.w])


def to_quaternion(xyzw: Any) -> Quaternion:
    return Quaternion(x=float(xyzw[0]), y=float(xyzw[1]), z=float(xyzw[2]), w=float(xyzw[3]))


def pose_fault(pose: Pose, tolerance: float = 1e-3) -> str:
    """Why `pose` cannot be used (not finite, quaternion not of unit length), or an empty string."""
    values = np.concatenate([vector(pose.position), quaternion(pose.orientation)])
    if not np.all(np.isfinite(values)):
        return f"pose is not finite: {values.tolist()}"
    norm = float(np.linalg.norm(values[3:]))
    if abs(norm - 1.0) > tolerance:
        return f"orientation is not a unit quaternion: its norm is {norm:.6f}"
    return ""


def matrix(pose: Pose) -> Array:
    """4x4 of a pose with a unit quaternion."""
    return matrix_of(vector(pose.position), quaternion(pose.orientation))


def rotation_of(xyzw: Any) -> Array:
    """(3, 3) of a quaternion, which is normalised."""
    x, y, z, w = xyzw
    result: Array = quaternions.quat2mat((w, x, y, z))
    return result


def quaternion_of(rotation: Array) -> Array:
    """(4,) x, y, z, w >= 0 of a rotation (3, 3)."""
    w, x, y, z = quaternions.mat2quat(rotation)
    return np.array([x, y, z, w])


def matrix_of(xyz: Any, xyzw: Any) -> Array:
    result = np.eye(4)
    result[:3, :3] = rotation_of(xyzw)
    result[:3, 3] = xyz
    return result


def to_pose(transform: Array) -> Pose:
    """Pose of a 4x4."""
    return Pose(
        position=to_point(transform[:3, 3]),
        orientation=to_quaternion(quaternion_of(transform[:3, :3])),
    )


def inverse(transform: Array) -> Array:
    """Inverse of a rigid 4x4."""
    result = np.eye(4)
    result[:3, :3] = transform[:3, :3].T
    result[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return result
