"""What the cups hold: pull, shear and the moments of a load that hangs off the pad's centre.

The usual rating of vacuum grippers (normal force per cup, a friction share of it sideways) with the moments added as
forces at the lever of the outermost cups; pull and shear add as in an elliptical interaction.
"""

import math

import numpy as np
from numpy.typing import NDArray

from lumper_ros.robot import Gripper

Array = NDArray[np.float64]

_RING = np.linspace(0.0, 2.0 * math.pi, 16, endpoint=False)
# Directions of force, tool0: three cones about its z axis, and the axis itself.
_DIRECTIONS: Array = np.concatenate(
    [
        [[0.0, 0.0, 1.0]],
        *(
            np.stack([s * np.cos(_RING), s * np.sin(_RING), np.full(16, math.sqrt(1.0 - s * s))], axis=1)
            for s in (0.5, 0.87, 1.0)
        ),
    ]
)


def weakest_hold(gripper: Gripper, zones: int, centre_m: Array) -> float:
    """Share of the holding capacity used per newton, 1/N, by a force at a load's centre in the weakest direction.

    Args:
        zones: bits of the zones that hold; 0 gives inf.
        centre_m: (3,) the load's centre in tool0.
    """
    return float(_used(gripper, zones, centre_m, _DIRECTIONS).max())


def hold_along(gripper: Gripper, zones: int, centre_m: Array, direction: Array) -> float:
    """As `weakest_hold`, by a force along a unit direction (3,) in tool0: what pulls off is +z."""
    return float(_used(gripper, zones, centre_m, direction[None])[0])


def _used(gripper: Gripper, zones: int, centre_m: Array, force: Array) -> Array:
    """(n,) 1/N for unit forces (n, 3)."""
    held = [zone for zone in gripper.zones if zones >> zone.bit & 1]
    total = sum(zone.holding_n for zone in held)
    if total <= 0.0:
        return np.full(len(force), math.inf)
    weight = np.array([zone.holding_n for zone in held]) / total
    x, y = np.array([zone.x_m for zone in held]), np.array([zone.y_m for zone in held])
    cx, cy = float(weight @ x), float(weight @ y)
    mat_x = gripper.pad_width_m / len({zone.x_m for zone in gripper.zones}) / 2.0
    mat_y = gripper.pad_height_m / len({zone.y_m for zone in gripper.zones}) / 2.0
    lever_x = max(float(x.max()) + mat_x - cx, cx - float(x.min()) + mat_x)
    lever_y = max(float(y.max()) + mat_y - cy, cy - float(y.min()) + mat_y)
    around = float(weight @ np.hypot(x - cx, y - cy)) + (held[0].w_m + held[0].h_m) / 6.0
    moment = np.cross(np.array([centre_m[0] - cx, centre_m[1] - cy, centre_m[2]]), force)
    # Pressed against the mat it holds by itself, but for the moments.
    pull = np.maximum(force[:, 2], 0.0) + np.abs(moment[:, 0]) / lever_y + np.abs(moment[:, 1]) / lever_x
    shear = np.hypot(force[:, 0], force[:, 1]) + np.abs(moment[:, 2]) / around
    return np.asarray(np.hypot(pull, shear / gripper.shear_fraction) / total)
