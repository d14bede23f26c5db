"""Where the robot and people are, for drawing: arm from joint_states, base from tf, people from the scanners.

For the eye only: what may stop the robot is decided by the safety monitor from the same inputs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumper_ros.robot import Robot, Trailer
from lumper_ros.tf import TransformBuffer, TransformError
from lumper_view.scene import Body, Cartons

Floats = NDArray[np.float64]

# A scan point nearer than this to something known is that thing.
EXPLAINED_M = 0.12
PERSON_SPLIT_M = 0.5
PERSON_POINTS = 3
MAX_PEOPLE = 20


class Placement:
    """Newest joint positions, base place and scans; everything is computed only when asked for.

    Args:
        robot: the robot's files.
        trailer: the trailer's inside.
    """

    def __init__(self, robot: Robot, trailer: Trailer) -> None:
        self._robot = robot
        self._trailer = trailer
        self._buffer = TransformBuffer(history_s=1.0)
        self._pending: dict[str, tuple[Any, bool]] = {}
        self._joints: dict[str, float] = {}
        self._joint_message: Any = None
        self._scans: dict[str, Any] = {}

    def transforms(self, message: Any, static: bool) -> None:
        """Keep the newest transform of each frame of a TFMessage; they are read when next needed."""
        for item in message.transforms:
            self._pending[item.child_frame_id] = (item, static)

    def joints(self, message: Any) -> None:
        """Keep a JointState."""
        self._joint_message = message

    def scan(self, name: str, message: Any) -> None:
        """Keep the newest LaserScan of one scanner."""
        self._scans[name] = message

    def base(self) -> Floats | None:
        """(4, 4) of base_link in the trailer, or None while it is not known."""
        for item, static in self._pending.values():
            self._buffer.add([item], static)
        self._pending.clear()
        try:
            return self._buffer.lookup("trailer", "base_link")
        except TransformError:
            return None

    def position_rad(self) -> Floats | None:
        """(n,) newest joint positions in the robot's order, or None while a joint was never seen."""
        if self._joint_message is not None:
            names, values = self._joint_message.name, self._joint_message.position
            for name, value in zip(names, values, strict=False):
                if np.isfinite(value):
                    self._joints[name] = float(value)
            self._joint_message = None
        if any(name not in self._joints for name in self._robot.joint_names):
            return None
        return np.array([self._joints[name] for name in self._robot.joint_names])

    def links(self) -> dict[str, Floats]:
        """(4, 4) of every link in the trailer; empty while base or joints are not known."""
        base, position = self.base(), self.position_rad()
        if base is None or position is None:
            return {}
        return {name: base @ transform for name, transform in self._robot.link_transforms(position).items()}

    def tool(self) -> Floats | None:
        """(4, 4) of tool0 in the trailer."""
        return self.links().get("tool0")

    def arm_points(self, links: dict[str, Floats]) -> Floats:
        """(k, 3) ends of the moving links' capsules."""
        points = []
        for capsule in self._robot.capsules:
            if capsule.link in links and capsule.link != "base_link":
                transform = links[capsule.link]
                points += [transform[:3, :3] @ np.array(end) + transform[:3, 3] for end in (capsule.a, capsule.b)]
        return np.array(points).reshape(-1, 3)

    def base_bodies(self, base: Floats) -> tuple[Body, ...]:
        """Deck and conveyor, as boxes."""
        deck = self._robot.raw["base"]["deck"]
        belt = self._robot.conveyor
        belt_center = (
            (belt.front_x_m + belt.end_x_m) / 2,
            belt.center_y_m,
            belt.surface_z_m - belt.thickness_m / 2,
        )
        belt_size = (belt.front_x_m - belt.end_x_m, belt.width_m, belt.thickness_m)
        return (
            Body("base", base @ _shift(deck["xyz"]), tuple(deck["size"])),
            Body("conveyor", base @ _shift(belt_center), belt_size),
        )

    def people(self, cartons: Cartons, links: dict[str, Floats], now_ros_s: float, max_age_s: float) -> Floats:
        """(k, 2) places on the floor where the scanners see something that is neither load, trailer nor robot."""
        base = self.base()
        if base is None:
            return np.zeros((0, 2))
        points = []
        for name, scan in self._scans.items():
            stamp_s = scan.header.stamp.sec + scan.header.stamp.nanosec * 1e-9
            mount = self._robot.mounts.get(scan.header.frame_id or name)
            if mount is not None and abs(now_ros_s - stamp_s) <= max_age_s:
                points.append(scan_points(scan, base @ mount.matrix()))
        if not points:
            return np.zeros((0, 2))
        return clusters(self._unexplained(np.concatenate(points), cartons, links, base))

    def _unexplained(self, points: Floats, cartons: Cartons, links: dict[str, Floats], base: Floats) -> Floats:
        trailer, margin = self._trailer, EXPLAINED_M
        x, y = points[:, 0], points[:, 1]
        inside = (x > 0) & (x < trailer.length_m - margin) & (np.abs(y) < trailer.width_m / 2 - margin)
        dock = (x <= 0) & (x > -trailer.dock_length_m) & (np.abs(y) < trailer.width_m / 2 + 3.0)
        keep = points[inside | dock]
        for body in self.base_bodies(base):
            keep = keep[~_in_box(keep, body.transform, np.array(body.size), margin)]
        for point in self.arm_points(links):
            keep = keep[np.linalg.norm(keep[:, :2] - point[:2], axis=1) > 0.35] if len(keep) else keep
        return keep[~_in_any_carton(keep, cartons, margin)] if len(keep) else keep


def _shift(xyz: Sequence[float]) -> Floats:
    result = np.eye(4)
    result[:3, 3] = xyz
    return result


def _in_box(points: Floats, transform: Floats, size: Floats, margin: float) -> NDArray[np.bool_]:
    local = (points - transform[:3, 3]) @ transform[:3, :3]
    return np.asarray((np.abs(local[:, :2]) < size[:2] / 2 + margin).all(axis=1))


def _in_any_carton(points: Floats, cartons: Cartons, margin: float) -> NDArray[np.bool_]:
    """A carton explains the points within its circumscribed circle on the floor."""
    if not len(cartons.ids):
        return np.zeros(len(points), dtype=bool)
    radius = np.linalg.norm(cartons.sizes[:, :2], axis=1) / 2 + margin
    distance = np.linalg.norm(points[:, None, :2] - cartons.positions[None, :, :2], axis=2)
    explained: NDArray[np.bool_] = (distance < radius).any(axis=1)
    return explained


def scan_points(scan: Any, transform: Floats) -> Floats:
    """(k, 3) points in the trailer of a LaserScan's valid ranges; every second beam is enough to see a leg."""
    ranges = np.asarray(scan.ranges, dtype=np.float64)[::2]
    angles = scan.angle_min + 2 * scan.angle_increment * np.arange(len(ranges))
    with np.errstate(invalid="ignore"):
        good = np.isfinite(ranges) & (ranges >= scan.range_min) & (ranges <= scan.range_max)
    ranges, angles = ranges[good], angles[good]
    local = np.stack([ranges * np.cos(angles), ranges * np.sin(angles), np.zeros_like(ranges)], axis=1)
    moved: Floats = local @ transform[:3, :3].T + transform[:3, 3]
    return moved


def clusters(points: Floats) -> Floats:
    """(k, 2) centres of the groups of points; each new point joins the nearest group within PERSON_SPLIT_M."""
    centres: list[Floats] = []
    members: list[int] = []
    for point in points[:2000, :2]:
        if centres:
            distances = np.linalg.norm(np.array(centres) - point, axis=1)
            nearest = int(np.argmin(distances))
            if distances[nearest] < PERSON_SPLIT_M:
                members[nearest] += 1
                centres[nearest] = centres[nearest] + (point - centres[nearest]) / members[nearest]
                continue
        if len(centres) < 4 * MAX_PEOPLE:
            centres.append(point.copy())
            members.append(1)
    kept = [c for c, count in zip(centres, members, strict=True) if count >= PERSON_POINTS]
    return np.array(kept[:MAX_PEOPLE]).reshape(-1, 2)
