"""How far the drive base may go without touching a carton or the back wall."""

from dataclasses import dataclass

import numpy as np
from lumper_msgs.msg import Carton

from lumper_planner.world import Picture
from lumper_ros.robot import Robot

# Cartons whose underside is higher than this stand above everything of the base that moves.
LANE_HEIGHT_M = 1.0
# Beside the lanes' edges, m.
LANE_MARGIN_M = 0.05


@dataclass(frozen=True, slots=True)
class Lane:
    """Strip that a part of the base sweeps when it advances; base_link, m."""

    front_x_m: float
    low_y_m: float
    high_y_m: float


def lanes_of(robot: Robot) -> tuple[Lane, ...]:
    """Deck and conveyor."""
    belt = robot.conveyor
    deck = robot.raw["base"]["deck"]
    return (
        Lane(belt.front_x_m, belt.center_y_m - belt.width_m / 2, belt.center_y_m + belt.width_m / 2),
        Lane(
            deck["xyz"][0] + deck["size"][0] / 2,
            deck["xyz"][1] - deck["size"][1] / 2,
            deck["xyz"][1] + deck["size"][1] / 2,
        ),
    )


def room_ahead(
    picture: Picture,
    base: tuple[float, float, float],
    lanes: tuple[Lane, ...],
    back_wall_x_m: float,
    clearance_m: float,
) -> tuple[float, tuple[int, ...]]:
    """Distance (m, at least 0) that the base may advance, and the ids of cartons lying on the floor that end it there.

    The base drives along the trailer: its yaw is taken as 0.
    """
    room = back_wall_x_m - base[0] - max(lane.front_x_m for lane in lanes) - clearance_m
    blockers: tuple[int, ...] = ()
    for lane in lanes:
        in_lane = (
            (picture.high[:, 1] > base[1] + lane.low_y_m - LANE_MARGIN_M)
            & (picture.low[:, 1] < base[1] + lane.high_y_m + LANE_MARGIN_M)
            & (picture.low[:, 2] < LANE_HEIGHT_M)
            & (picture.high[:, 0] > base[0])
        )
        if not in_lane.any():
            continue
        free = picture.low[:, 0] - base[0] - lane.front_x_m - clearance_m
        nearest = float(free[in_lane].min())
        if nearest < room:
            room = nearest
            at_limit = in_lane & (free < nearest + 0.05)
            floor = np.array(picture.states) == Carton.STATE_ON_FLOOR
            blockers = tuple(int(picture.ids[row]) for row in np.flatnonzero(at_limit & floor))
    return max(0.0, room), blockers
