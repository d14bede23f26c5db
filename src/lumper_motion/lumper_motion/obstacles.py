"""What the arm must not touch, and what it holds: boxes in base_link, m."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumper_ros.robot import Robot, Trailer

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Obstacle:
    """A box that must not be touched. `carton_id` 0 = not a carton."""

    name: str
    pose: Array  # 4x4 of the centre
    size_m: tuple[float, float, float]
    carton_id: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What the gripper holds: a box fixed in tool0."""

    carton_ids: tuple[int, ...]
    pose_in_tool: Array  # 4x4 of the centre
    size_m: tuple[float, float, float]
    mass_kg: float
    zones: int


def trailer_obstacles(trailer: Trailer, base_from_trailer: Array, thickness_m: float = 0.2) -> list[Obstacle]:
    """Walls, ceiling, floor and back wall of the trailer, and the dock's floor, as boxes in base_link."""
    half, t = trailer.width_m / 2.0, thickness_m
    length, height, dock = trailer.length_m, trailer.height_m, trailer.dock_length_m
    shapes = {
        "trailer left wall": ((length / 2, half + t / 2, height / 2), (length, t, height)),
        "trailer right wall": ((length / 2, -half - t / 2, height / 2), (length, t, height)),
        "trailer ceiling": ((length / 2, 0.0, height + t / 2), (length, trailer.width_m, t)),
        "trailer back wall": ((length + t / 2, 0.0, height / 2), (t, trailer.width_m, height)),
        "floor": (((length - dock) / 2, 0.0, -t / 2), (length + dock, 2.0 * trailer.width_m, t)),
    }
    result = []
    for name, (centre, size) in shapes.items():
        pose = np.eye(4)
        pose[:3, 3] = centre
        result.append(Obstacle(name, base_from_trailer @ pose, size))
    return result


def base_obstacles(robot: Robot) -> list[Obstacle]:
    """Conveyor and deck of the drive base."""
    belt = robot.conveyor
    pose = np.eye(4)
    pose[:3, 3] = (
        (belt.front_x_m + belt.end_x_m) / 2.0,
        belt.center_y_m,
        belt.surface_z_m - belt.thickness_m / 2.0,
    )
    result = [Obstacle("conveyor", pose, (belt.front_x_m - belt.end_x_m, belt.width_m, belt.thickness_m))]
    deck = robot.raw.get("base", {}).get("deck")
    if deck is not None:
        pose = np.eye(4)
        pose[:3, 3] = deck["xyz"]
        x, y, z = (float(value) for value in deck["size"])
        result.append(Obstacle("deck", pose, (x, y, z)))
    return result
