"""The suction gripper: which zones seal on what, how vacuum builds up, what it can hold. Pure numbers, tool0 frame."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumper_ros.robot import Gripper

Array = NDArray[np.float64]

_GRID = 6
_FACE_COS = 0.99
_LEAK_KPA = 6.0
# The weld that stands for the cups is stiff and chatters when a carton breaks loose; bellows are springs (5 kN/m under 3 to
# 25 kg: 25 to 70 ms) and pass on only what lasts.
_LOAD_FILTER_S = 0.06
_LOAD_CAP = 3.0


@dataclass(frozen=True, slots=True)
class Boxes:
    """Cartons near the gripper: their indices (n,), centres (n, 3), rotations (n, 3, 3), half sizes (n, 3); world."""

    index: NDArray[np.int64]
    centre: Array
    rotation: Array
    half: Array


def seal_fractions(gripper: Gripper, tool: Array, boxes: Boxes, press_m: float) -> tuple[Array, NDArray[np.int64]]:
    """Part of each zone that lies on one carton's face within the cups' stroke, and which carton.

    Args:
        tool: (4, 4) pose of tool0 in the world.
        press_m: how far a face may stand inside tool0 before the cups are pressed flat.

    Returns:
        (zones,) best fraction, (zones,) carton index or -1. A face that is not square to the tool (8 deg) does not seal.
    """
    zones = len(gripper.zones)
    best, owner = np.zeros(zones), np.full(zones, -1, dtype=np.int64)
    if boxes.index.size == 0:
        return best, owner
    step = (np.arange(_GRID) + 0.5) / _GRID - 0.5
    gx, gy = (g.ravel() for g in np.meshgrid(step, step))
    points = np.array([[z.x_m + gx * z.w_m, z.y_m + gy * z.h_m, np.zeros_like(gx)] for z in gripper.zones])
    origin = np.einsum("ij,zjk->zki", tool[:3, :3], points) + tool[:3, 3]
    axis = tool[:3, 2]
    for at in range(boxes.index.size):
        direction = boxes.rotation[at].T @ axis
        k = int(np.argmax(np.abs(direction)))
        if abs(direction[k]) < _FACE_COS:
            continue
        local = (origin - boxes.centre[at]) @ boxes.rotation[at]
        entry = (-np.sign(direction[k]) * boxes.half[at, k] - local[..., k]) / direction[k]
        hit = local + entry[..., None] * direction
        inside = (entry >= -press_m) & (entry <= gripper.cup_stroke_m)
        for other in range(3):
            if other != k:
                inside &= np.abs(hit[..., other]) <= boxes.half[at, other]
        fraction = inside.mean(axis=1)
        better = fraction > best
        best[better], owner[better] = fraction[better], boxes.index[at]
    return best, owner


def _columns(gripper: Gripper) -> int:
    return len({zone.x_m for zone in gripper.zones})


def _rows(gripper: Gripper) -> int:
    return len({zone.y_m for zone in gripper.zones})


def load_fraction(gripper: Gripper, zones: list[int], pressure: Array, force: Array, torque: Array) -> float:
    """How much of what the cups can hold is used; above 1 they let go.

    Tension, peeling moments and shear: |(F_z + peel) / N, shear / (share * N)|, N from the vacuum of each zone.

    Args:
        pressure: (zones,) kPa of every zone.
        force, torque: what the carton puts on the cups, about tool0's origin, in tool0 axes.
    """
    holding = np.array([gripper.zones[z].holding_n * pressure[z] / gripper.vacuum_kpa for z in zones])
    total = float(holding.sum())
    if total <= 0.0:
        return np.inf
    x, y = (np.array([getattr(gripper.zones[z], a) for z in zones]) for a in ("x_m", "y_m"))
    w, h = (np.array([getattr(gripper.zones[z], a) for z in zones]) for a in ("w_m", "h_m"))
    cx, cy = float(holding @ x) / total, float(holding @ y) / total
    mx = torque[0] - cy * force[2]
    my = torque[1] + cx * force[2]
    mz = torque[2] - cx * force[1] + cy * force[0]
    # A moment tips the face about the edge that it presses on: that of the mat around the outermost cups that hold.
    mat_x, mat_y = gripper.pad_width_m / _columns(gripper) / 2, gripper.pad_height_m / _rows(gripper) / 2
    lever_y = max(float(y.max()) + mat_y - cy, cy - float(y.min()) + mat_y)
    lever_x = max(float(x.max()) + mat_x - cx, cx - float(x.min()) + mat_x)
    pull = max(0.0, float(force[2])) + abs(mx) / lever_y + abs(my) / lever_x
    around = float(holding @ np.hypot(x - cx, y - cy)) / total + float((w.mean() + h.mean()) / 6)
    shear = float(np.hypot(force[0], force[1])) + abs(mz) / around
    return float(np.hypot(pull / total, shear / (gripper.shear_fraction * total)))


class Suction:
    """State of the zones. `step` tells which cartons are held by which zones."""

    def __init__(self, gripper: Gripper, draw: Callable[[], float]) -> None:
        """`draw` gives uniform random numbers in 0..1, for grasps that fail to seal."""
        self._gripper = gripper
        self._draw = draw
        zones = len(gripper.zones)
        self.on = np.zeros(zones, dtype=bool)
        self.kpa = np.zeros(zones)
        self.owner = np.full(zones, -1, dtype=np.int64)
        self.fraction = np.zeros(zones)
        self.leak = 0.0
        self.seal_probability = 1.0
        self.load = 0.0
        self._blocked = np.zeros(zones, dtype=bool)

    @property
    def zones(self) -> int:
        return len(self._gripper.zones)

    @property
    def sealed(self) -> NDArray[np.bool_]:
        return np.asarray(self.on & (self.owner >= 0))

    @property
    def holding(self) -> dict[int, list[int]]:
        """Carton index -> zones whose vacuum holds it."""
        held: dict[int, list[int]] = {}
        for zone in np.flatnonzero(self.sealed & (self.kpa >= self._gripper.part_present_kpa)):
            held.setdefault(int(self.owner[zone]), []).append(int(zone))
        return held

    def command(self, mask: int) -> None:
        """Switch zones. A new attempt draws anew whether it seals.

        Raises:
            ValueError: a bit beyond the zones.
        """
        if not 0 <= mask < 1 << self.zones:
            raise ValueError(
                f"zones_on={mask:#x}: this gripper has {self.zones} zones (0 .. {(1 << self.zones) - 1:#x})"
            )
        on = np.array([bool(mask >> zone.bit & 1) for zone in self._gripper.zones])
        fresh = on & ~self.on
        if fresh.any():
            self._blocked[fresh] = self._draw() >= self.seal_probability
        self.on = on
        self.owner[~on] = -1

    def step(self, dt_s: float, fraction: Array, owner: NDArray[np.int64]) -> None:
        """Let the vacuum follow what the zones lie on. A zone that holds keeps its carton until it is let go."""
        good = (fraction >= self._gripper.seal_fraction) & ~self._blocked
        free = self.on & (self.kpa < self._gripper.part_present_kpa)
        self.fraction = fraction
        self.owner = np.where(free, np.where(good, owner, -1), self.owner)
        target = np.where(self.sealed, self._gripper.vacuum_kpa * (1.0 - self.leak), np.where(self.on, _LEAK_KPA, 0.0))
        tau = np.where(self.on, self._gripper.build_up_s, self._gripper.release_s) / 3.0
        self.kpa = self.kpa + (target - self.kpa) * (1.0 - np.exp(-dt_s / tau))

    def measure(self, dt_s: float, load: float) -> bool:
        """Feed the load of this step; True when its average over a few steps is more than the cups hold."""
        self.load += (min(load, _LOAD_CAP) - self.load) * (1.0 - float(np.exp(-dt_s / _LOAD_FILTER_S)))
        return self.load > 1.0

    def let_go(self, carton: int) -> None:
        """A carton came off: its zones suck air."""
        lost = self.owner == carton
        self.owner[lost] = -1
        self.kpa[lost] = _LEAK_KPA
        self._blocked[lost] = True
        self.load = 0.0
