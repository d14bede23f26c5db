"""The truth of the light trailer: where each carton is, and what the gripper does to it. Frame `trailer`, SI units.

Kinematic: a carton moves with the gripper, with the belt, or when a fault moves it. Nothing falls by itself. Twins are two equal
cartons side by side that look like one; a pad on the seam holds one of them by its edge, and loses it in the pull.
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
# Twins are told apart from this step between their fronts on.
STEP_M = 0.03
# Half a pad: so far from the seam it still holds the twin beside it, by its edge.
EDGE_M = 0.05
# Held by its edge, a carton is lost after so long a pull; let go of before, a twin stays on the pile.
EDGE_HOLD_M, STILL_M = 0.12, 0.15


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
    twins: tuple[int, int] | None = None
    stood: Array = field(default_factory=lambda: np.zeros(3))  # where the held carton was taken from
    by_edge: bool = False

    def where(self, place: Place) -> list[int]:
        return [number for number, box in enumerate(self.boxes) if box.place is place]

    def standing(self) -> list[int]:
        """Cartons that a camera sees."""
        return [number for number, box in enumerate(self.boxes) if box.place in (Place.PILE, Place.FLOOR)]

    def look_like_one(self) -> bool:
        """Whether the twins stand so that a camera takes them for one carton."""
        if self.twins is None:
            return False
        first, second = (self.boxes[number] for number in self.twins)
        fronts = abs(first.centre[0] - second.centre[0])
        return first.place is second.place is Place.PILE and fronts < STEP_M

    def faces(self) -> list[tuple[Array, Array]]:
        """(centre, size) of what a camera tells apart."""
        standing = self.standing()
        if self.twins is None or not self.look_like_one():
            return [(self.boxes[number].centre, self.boxes[number].size) for number in standing]
        pair = [self.boxes[number] for number in self.twins]
        both = pair[0].size + np.array([0.0, pair[1].size[1], 0.0])
        one = [((pair[0].centre + pair[1].centre) / 2, both)]
        return one + [
            (self.boxes[number].centre, self.boxes[number].size) for number in standing if number not in self.twins
        ]

    def seal(self, tool: Array) -> bool:
        """Take hold of the carton at whose face the pad is; False = there is none."""
        tip, axis = tool[:3, 3], tool[:3, 2]
        if axis[0] < SEAL_COSINE:
            return False
        one = self.twins if self.twins is not None and self.look_like_one() else ()
        for number in self.standing():
            box = self.boxes[number]
            gap = abs(box.centre[0] - box.size[0] / 2 - tip[0])
            beside, above = np.abs(box.centre[1:] - tip[1:]) - box.size[1:] / 2
            by_edge = number in one and abs(beside) <= EDGE_M
            if gap <= SEAL_M and above < -0.01 and (beside < -0.01 or by_edge):
                self.held, box.place = number, Place.HELD
                self.stood, self.by_edge = box.centre.copy(), by_edge
                self.offset = np.eye(4)
                self.offset[:3, :3] = tool[:3, :3].T
                self.offset[:3, 3] = tool[:3, :3].T @ (box.centre - tip)
                self.moves += 1
                return True
        return False

    def carry(self, tool: Array) -> None:
        """What is held goes with the gripper; held by its edge it slips off, back to where it stood."""
        if self.held is None:
            return
        box = self.boxes[self.held]
        box.centre = (tool @ self.offset)[:3, 3].copy()
        if self.by_edge and float(np.linalg.norm(box.centre - self.stood)) > EDGE_HOLD_M:
            box.centre, box.place, self.held = self.stood, Place.PILE, None
            self.moves += 1

    def release(self, base_x_m: float, time_s: float) -> Place | None:
        """Let go: onto the belt if it is below, else it falls to the floor."""
        if self.held is None:
            return None
        number, self.held = self.held, None
        box = self.boxes[number]
        if self.twins is not None and number in self.twins and np.linalg.norm(box.centre - self.stood) <= STILL_M:
            box.place, box.centre[2] = Place.PILE, self.stood[2]
            self.moves += 1
            return box.place
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


def make_load(robot: Robot, seed: int, cartons: int, front_m: float, twins: bool) -> Load:
    """A pile of `cartons` in columns from the front back, the front at `front_m` (x in trailer).

    Args:
        twins: the first two look like one.
    """
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
    load = Load(robot, boxes)
    if twins and cartons >= 2:
        first, second = boxes[0], boxes[1]
        seam = (first.centre[1] + second.centre[1]) / 2
        second.size[1] = first.size[1]
        first.centre[1], second.centre[1] = seam - first.size[1] / 2, seam + first.size[1] / 2
        load.twins = (0, 1)
    return load
