"""What became of each carton, from its motion alone: delivered, on the belt, fallen, still standing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumper_ros.robot import Conveyor

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

DROP_M = 0.10
SHIFT_M = 0.05
TIP_COS = float(np.cos(np.radians(30.0)))
_REST_MPS = 0.03
_BELT_M = 0.05


@dataclass(frozen=True, slots=True)
class Counts:
    total: int
    delivered: int
    on_conveyor: int
    on_floor: int
    in_trailer: int
    held: int
    with_person: int
    falls: int


def reach(rotation: Array, half: Array) -> Array:
    """(n, 3) half extents along the world's axes of boxes with rotations (n, 3, 3) and half sizes (n, 3)."""
    return np.asarray(np.einsum("nij,nj->ni", np.abs(rotation), half))


class Accounting:
    """A carton falls when it drops more than 0.10 m or tips more than 30 degrees while neither held nor on the belt.

    It is counted once for each fall, until it has come to rest. In the same way a carton is shifted that moves more than
    0.05 m from where it rested: something pushed, dragged or dropped it.
    """

    def __init__(self, half: Array, position: Array, rotation: Array, belt: Conveyor) -> None:
        self._half = half
        self._belt = belt
        self._rest_z = position[:, 2].copy()
        self._rest_up = rotation[:, :, 2].copy()
        self._rest = position.copy()
        count = len(half)
        self.delivered: Flags = np.zeros(count, dtype=bool)
        self.on_belt: Flags = np.zeros(count, dtype=bool)
        self.held: Flags = np.zeros(count, dtype=bool)
        self.with_person: Flags = np.zeros(count, dtype=bool)
        self._falling: Flags = np.zeros(count, dtype=bool)
        self._fallen: Flags = np.zeros(count, dtype=bool)
        self.on_floor: Flags = np.zeros(count, dtype=bool)
        self._in_trailer: Flags = np.ones(count, dtype=bool)
        self.falls = 0
        self._shifting: Flags = np.zeros(count, dtype=bool)
        self.shifted: list[int] = []  # cartons whose shifts nobody has told yet

    @property
    def gone(self) -> Flags:
        """(n,) neither in the trailer nor on the robot any more."""
        return np.asarray(self.delivered | self.with_person)

    @property
    def fell(self) -> Flags:
        """(n,) dropped or tipped, and not taken up, away or along by the belt since."""
        return np.asarray(self._fallen & ~self.gone)

    def update(
        self, position: Array, rotation: Array, speed_mps: Array, base_x_m: float, held: list[int]
    ) -> NDArray[np.int64]:
        """Look at all cartons; indices of those that have just left the belt's end."""
        belt, extent = self._belt, reach(rotation, self._half)
        bottom = position[:, 2] - extent[:, 2]
        x = position[:, 0] - base_x_m
        self.held[:] = False
        self.held[held] = True
        across = np.abs(position[:, 1] - belt.center_y_m) <= belt.width_m / 2
        level = np.abs(bottom - belt.surface_z_m) <= _BELT_M
        carried = level & across & (x <= belt.front_x_m) & ~self.held & ~self.gone
        # Its centre passes the end while the belt still carries it.
        arrived = np.flatnonzero(carried & (x <= belt.end_x_m))
        self.delivered[arrived] = True
        self.on_belt = carried & ~self.delivered
        up = rotation[:, :, 2]
        excused = self.held | self.on_belt | self.gone
        off = (self._rest_z - position[:, 2] > DROP_M) | (np.einsum("ni,ni->n", up, self._rest_up) < TIP_COS)
        begun = off & ~excused & ~self._falling
        self.falls += int(begun.sum())
        self._falling = (self._falling | begun) & ~excused
        self._fallen = (self._fallen | begun) & ~excused
        follow = excused | self._falling
        self._rest_z[follow], self._rest_up[follow] = position[follow, 2], up[follow]
        self._falling &= speed_mps > _REST_MPS
        shifted = (np.linalg.norm(position - self._rest, axis=1) > SHIFT_M) & ~excused & ~self._shifting
        self.shifted += np.flatnonzero(shifted).tolist()
        self._shifting = (self._shifting | shifted) & ~excused & (speed_mps > _REST_MPS)
        settled = excused | shifted | self._shifting
        self._rest[settled] = position[settled]
        self.on_floor = self._fallen & (bottom < 0.05) & ~excused
        self._in_trailer = (position[:, 0] > 0.0) & ~excused
        return arrived

    def infeed_free(self, position: Array, rotation: Array, base_x_m: float, from_x_m: float) -> bool:
        """Whether no carton that is not held lies, or passes less than 0.12 m, over the belt in front of `from_x_m` (m, base_link).

        The light barrier there is muted by the gripper's part-present signal, as is usual: else a load that stops half-way
        down would block the belt for itself.
        """
        belt, extent = self._belt, reach(rotation, self._half)
        x = position[:, 0] - base_x_m
        low = position[:, 2] - extent[:, 2] - belt.surface_z_m
        over = (
            (np.abs(position[:, 1] - belt.center_y_m) - extent[:, 1] < belt.width_m / 2)
            & (x + extent[:, 0] > from_x_m)
            & (x - extent[:, 0] < belt.front_x_m)
            & (low > -0.2)
            & (low < 0.12)
        )
        return not bool(np.any(over & ~self.gone & ~self.held))

    def counts(self) -> Counts:
        return Counts(
            total=len(self._half),
            delivered=int(self.delivered.sum()),
            on_conveyor=int(self.on_belt.sum()),
            on_floor=int(self.on_floor.sum()),
            in_trailer=int(self._in_trailer.sum()),
            held=int(self.held.sum()),
            with_person=int(self.with_person.sum()),
            falls=self.falls,
        )
