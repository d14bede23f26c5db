"""The truth of the light trailer: where each carton is, and what the gripper does to it. Frame `trailer`, SI units.

Kinematic: a carton moves with the gripper, with the belt, or when a fault moves it. Nothing falls by itself.
"""

import random
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from lumper_ros.robot import Robot

Array = NDArray[np.float64]

# tool0 pointing into the trailer, its y up.
FACING = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
# The pad seals on a face that is so near, and so square to it.
SEAL_M, SEAL_COSINE = 0.03, 0.97
# A carton leaves the belt's first stretch after this time.
BELT_CLEAR_S = 1.2


class Place(Enum):
    """Where a carton is: each carton is in exactly one place."""

    PILE = "pile"
    HELD = "held"
    CONVEYOR = "conveyor"
    FLOOR = "floor"
    PERSON = "person"


@dataclass(slots=True)
class Box:
    """One carton, standing square. `centre`: m, `size`: along x y z, m."""

    centre: Array
    size: Array
    place: Place = Place.PILE


@dataclass(slots=True)
class Load:
    """All cartons, and what hangs on the gripper."""

    robot: Robot
    boxes: list[Box]
    held: int | None = None
    offset: Array = field(default_factory=lambda: np.eye(4))
    belt_clear_s: float = -1.0
    moves: int = 0  # rises when a carton that scanners and cameras see moved

    def where(self, place: Place) -> list[int]:
        return [number for number, box in enumerate(self.boxes) if box.place is place]

    def standing(self) -> list[int]:
        """Cartons that a camera sees."""
        return [number for number, box in enumerate(self.boxes) if box.place in (Place.PILE, Place.FLOOR)]

    def seal(self, tool: Array) -> bool:
        """Take hold of the carton at whose face the pad is; False = there is none."""
        tip, axis = tool[:3, 3], tool[:3, 2]
        if axis[0] < SEAL_COSINE:
            return False
        for number in self.standing():
            box = self.boxes[number]
            gap = abs(box.centre[0] - box.size[0] / 2 - tip[0])
            beside = np.abs(box.centre[1:] - tip[1:]) - box.size[1:] / 2
            if gap <= SEAL_M and float(beside.max()) < -0.01:
                self.held, box.place = number, Place.HELD
                self.offset = np.eye(4)
                self.offset[:3, :3] = tool[:3, :3].T
                self.offset[:3, 3] = tool[:3, :3].T @ (box.centre - tip)
                self.moves += 1
                return True
        return False

    def carry(self, tool: Array) -> None:
        if self.held is not None:
            self.boxes[self.held].centre = (tool @ self.offset)[:3, 3].copy()

    def release(self, base_x_m: float, time_s: float) -> Place | None:
        """Let go: onto the belt if it is below, else it falls to the floor."""
        if self.held is None:
            return None
        box, self.held = self.boxes[self.held], None
        belt = self.robot.conveyor
        x, y, z = box.centre[0] - base_x_m, box.centre[1], box.centre[2]
        over = belt.end_x_m < x < belt.front_x_m and abs(y - belt.center_y_m) < belt.width_m / 2
        if over and z + 0.05 >= belt.surface_z_m:
            box.place = Place.CONVEYOR
            self.belt_clear_s = time_s + BELT_CLEAR_S
        else:
            box.place = Place.FLOOR
            # What falls comes to lie before the robot, where it can be seen and taken.
            box.centre[0] = max(box.centre[0], base_x_m + 1.45 + box.size[0] / 2)
            box.centre[1] = float(np.clip(box.centre[1], -0.8, 0.8))
            box.centre[2] = box.size[2] / 2
        self.moves += 1
        return box.place

    def collapse(self, number: int, by_m: float) -> bool:
        """A carton of the pile moves towards the robot though nobody touched it."""
        box = self.boxes[number]
        if box.place is not Place.PILE:
            return False
        box.centre = box.centre + np.array([-by_m, 0.0, 0.0])
        self.moves += 1
        return True

    def take_away(self, number: int) -> None:
        """A person carries a carton off."""
        if self.boxes[number].place in (Place.PILE, Place.FLOOR):
            self.boxes[number].place = Place.PERSON
            self.moves += 1


def make_load(robot: Robot, seed: int, cartons: int, front_m: float) -> Load:
    """A pile of `cartons` in columns from the front back, the front at `front_m` (x in trailer)."""
    rng = random.Random(seed)
    boxes: list[Box] = []
    row, columns, layers = 0, 4, 3
    while len(boxes) < cartons:
        for layer in range(layers):
            for column in range(columns):
                if len(boxes) == cartons:
                    break
                depth = 0.40
                size = np.array([depth, 0.42 + 0.02 * rng.randrange(3), 0.40])
                x = front_m + 0.45 * row + depth / 2
                centre = np.array([x, (column - (columns - 1) / 2) * 0.52, 0.205 + 0.41 * layer])
                boxes.append(Box(centre, size))
        row += 1
    return Load(robot, boxes)
