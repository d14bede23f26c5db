"""Where people are, and how far from the arm: both scanners, the surroundings that explain points, the arm's capsules."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumper_ros.convert import seconds
from lumper_ros.robot import Robot, Trailer
from lumper_safety.inputs import Scanner
from lumper_safety.parameters import Parameters
from lumper_safety.people import People, Tuning
from lumper_safety.surroundings import (
    Margins,
    Pile,
    capsule_distances,
    load_explains,
    robot_explains,
    trailer_explains,
)

Array = NDArray[np.float64]


def make_scanner(topic: str, parameters: Parameters, robot: Robot) -> Scanner:
    """Scanner of a topic from the parameters and its mount in the robot description.

    Raises:
        ValueError: the mount is missing, not on base_link, or not level.
    """
    side = topic.rsplit("/", maxsplit=1)[-1]
    mount = robot.mounts.get(f"scanner_{side}")
    if mount is None or mount.parent != "base_link":
        raise ValueError(f"robot description: mounts.scanner_{side} on base_link is missing")
    turn = mount.matrix()[:3, :3]
    if abs(turn[2, 2] - 1.0) > 1e-6:
        raise ValueError(f"robot description: scanner_{side} must be level and upright")
    return Scanner(
        topic=topic,
        frame=getattr(parameters, f"scan_{side}_frame"),
        angle_min_rad=getattr(parameters, f"scan_{side}_angle_min_rad"),
        step_rad=getattr(parameters, f"scan_{side}_step_rad"),
        beams=getattr(parameters, f"scan_{side}_beams"),
        below_min_is_no_return=getattr(parameters, f"scan_{side}_below_min_is_no_return"),
        pose=(mount.xyz[0], mount.xyz[1], float(np.arctan2(turn[1, 0], turn[0, 0]))),
        height_m=mount.xyz[2],
    )


def teach_contour(scans: Array, share: float = 0.4, width_m: float = 0.15, margin_m: float = 0.10) -> Array:
    """Contour of a room that is not a trailer: (n, beams) ranges, +inf for no return -> (beams,) m, +inf = nothing.

    A thing that stands still is seen at one range, within `width_m`, in at least `share` of the scans; the nearest such
    counts, less a margin. Somebody who walks about while it is taught is at many ranges and leaves no trace.
    """
    count = len(scans)
    need = max(2, int(np.ceil(share * count)))
    ordered = np.sort(scans, axis=0)
    if count < need:
        return np.full(scans.shape[1], np.inf)
    with np.errstate(invalid="ignore"):
        dense = (ordered[need - 1 :] - ordered[: count - need + 1] <= width_m) & np.isfinite(ordered[need - 1 :])
    first = dense.argmax(axis=0)
    contour = np.where(dense.any(axis=0), ordered[first, np.arange(scans.shape[1])] - margin_m, np.inf)
    # Edges: a beam's neighbour may hit what it just missed.
    padded = np.concatenate((contour[:1], contour, contour[-1:]))
    return np.minimum(np.minimum(padded[:-2], padded[2:]), padded[1:-1])


class Space:
    """Everything about distances. Positions in base_link unless said otherwise."""

    def __init__(self, parameters: Parameters, robot: Robot, trailer: Trailer) -> None:
        self._p = parameters
        self._robot = robot
        self._trailer = trailer
        self.scanners = {topic: make_scanner(topic, parameters, robot) for topic in ("scan/front", "scan/rear")}
        tuning = Tuning(parameters.cluster_gap_m, parameters.track_gate_m, parameters.confirm_m, parameters.hidden_s)
        self.people: dict[str, People] = {}
        for topic, scanner in self.scanners.items():
            taught = getattr(parameters, f"scan_{topic.rsplit('/', maxsplit=1)[-1]}_contour_m")
            contour = np.array(taught, dtype=float) if taught else np.full(scanner.beams, np.inf)
            self.people[topic] = People(np.array(scanner.pose[:2]), scanner.angles(), contour, tuning)
        margins = Margins(
            parameters.wall_margin_m, parameters.carton_margin_m, parameters.robot_margin_m, parameters.pile_memory_s
        )
        self._margins = margins
        self._pile = Pile(trailer, margins)
        self._base: tuple[float, Array, Array] | None = None  # steady time, rotation (2, 2), translation (2,)
        self._arm = np.array([capsule.link != "base_link" for capsule in robot.capsules])
        self._masses: dict[int, float] = {}
        self._height_m = max(scanner.height_m for scanner in self.scanners.values())
        self.radii = robot.capsule_radii
        self._arm_radii = self.radii[self._arm]
        self._tool_at = self._tool_velocity = np.zeros(0)
        self.set_joints(robot.poses["home"], np.zeros(len(robot.joint_names)))

    def set_joints(self, position_rad: Array, velocity_radps: Array) -> None:
        """Where the arm is and how fast: its capsules, and the speed of the fastest of their ends."""
        if position_rad is self._tool_at and velocity_radps is self._tool_velocity:
            return
        self._tool_at, self._tool_velocity = position_rad, velocity_radps
        self.speed_mps = 0.0
        moves = np.abs(velocity_radps).max() > 1e-4
        step_s = 1e-3
        positions = (position_rad, position_rad + step_s * velocity_radps) if moves else (position_rad,)
        a, b, tool = self._robot.arm_at(np.array(positions))
        self.a, self.b, self._tool = a[0], b[0], tool[0]
        if moves:
            ends = np.concatenate((a[1] - a[0], b[1] - b[0]))
            self.speed_mps = float(np.sqrt((ends**2).sum(axis=1).max())) / step_s

    def set_base(self, transforms: Any, steady_s: float) -> str:
        """Take what a TFMessage says of base_link in trailer; what is wrong with it, or an empty string."""
        for item in transforms:
            if item.child_frame_id.lstrip("/") == "base_link" and item.header.frame_id.lstrip("/") == "trailer":
                shift, turn = item.transform.translation, item.transform.rotation
                values = np.array([shift.x, shift.y, shift.z, turn.x, turn.y, turn.z, turn.w])
                if not np.isfinite(values).all() or abs(float(values[3:] @ values[3:]) - 1.0) > 1e-2:
                    return "trailer -> base_link: not finite, or the rotation is not a unit quaternion"
                yaw = 2.0 * np.arctan2(turn.z, turn.w)
                rotation = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
                self._base = (steady_s, rotation, values[:2])
        return ""

    def set_wall(self, wall: Any, steady_s: float) -> None:
        """Take a valid wall."""
        self._pile.update(wall.cartons, self._height_m, steady_s)
        self._masses.update({carton.id: float(carton.mass_kg) for carton in wall.cartons})
        if len(self._masses) > 5000:
            self._masses = {carton.id: float(carton.mass_kg) for carton in wall.cartons}

    def mass(self, carton_ids: Any) -> float:
        """Mass in kg of cartons together; the assumed one where it is not known."""
        total = 0.0
        for carton_id in carton_ids:
            mass = self._masses.get(int(carton_id), float("nan"))
            total += mass if np.isfinite(mass) and mass > 0.0 else self._p.unknown_load_kg
        return total or self._p.unknown_load_kg

    def scan(self, topic: str, ranges: Array, stamp_s: float, steady_s: float, loaded: bool) -> None:
        """Take a scan: (beams,) ranges, +inf for no return. `loaded`: the gripper holds something."""
        self._pile.step(steady_s)
        height_m = self.scanners[topic].height_m
        tool = self._tool if loaded else None
        base = self._base
        if base is not None and steady_s - base[0] > self._p.base_pose_max_age_s:
            base = None

        def hides(points: Array) -> NDArray[np.bool_]:
            result = robot_explains(points, height_m, self.a, self.b, self.radii, self._margins.robot_m)
            if tool is not None:
                result |= load_explains(points, height_m, tool, self._p.load_half_width_m, self._p.load_depth_m)
            if base is not None:
                result |= self._pile.explains(points @ base[1].T + base[2])
            return result

        def explains(points: Array) -> NDArray[np.bool_]:
            if base is None:
                return hides(points)
            # Most of a scan is walls: only what they leave is held against load and robot.
            result = trailer_explains(points @ base[1].T + base[2], self._trailer, self._margins.wall_m)
            left = np.flatnonzero(~result)
            result[left] = hides(points[left])
            return result

        self.people[topic].update(ranges, stamp_s, explains, hides)
        for other in self.people:
            if other != topic:
                self.people[other].hand_over(self.people[topic])

    def forget_people(self) -> None:
        """Start anew: base, wall and arm were not known until now."""
        for people in self.people.values():
            people.forget()

    def nearest(self) -> tuple[float, bool]:
        """Smallest horizontal distance from anybody to a link of the arm, m, +inf = nobody there; and whether that one has
        moved as only people do.

        A person is a column of any height: the horizontal distance is never more than the distance in space.
        """
        tracks = [track for people in self.people.values() for track in people.tracks]
        if not tracks:
            return float("inf"), False
        arm = self._arm
        points = np.concatenate([track.points for track in tracks])
        distances = capsule_distances(points, self.a[arm, :2], self.b[arm, :2], self._arm_radii).min(axis=1)
        first = int(distances.argmin())
        of_track = np.repeat(np.arange(len(tracks)), [len(track.points) for track in tracks])
        return max(0.0, float(distances[first])), tracks[of_track[first]].confirmed

    def fastest_person_mps(self) -> float:
        return max(people.fastest_mps() for people in self.people.values())


def stamp_of(message: Any) -> float:
    """Stamp of a message, s of ROS time, whether it has a header or not."""
    return seconds(message.header.stamp if hasattr(message, "header") else message.stamp)
