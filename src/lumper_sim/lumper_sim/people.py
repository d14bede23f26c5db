"""People who walk through the scene: a torso on two legs, moved along a straight line. Frame `trailer`, SI units."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEG_RADIUS_M, LEG_LENGTH_M = 0.07, 0.85
TORSO_RADIUS_M, TORSO_LOW_M, TORSO_HIGH_M = 0.18, 1.03, 1.57
_STANCE_M = 0.11
_STEP_LENGTH_M = 0.6
_CAPSULES = 3


@dataclass(frozen=True, slots=True)
class Person:
    """Walks from (x0, y0) with a velocity from `since_s` on, and stands still after `stop_after_s`."""

    x0_m: float
    y0_m: float
    vx_mps: float
    vy_mps: float
    since_s: float
    stop_after_s: float
    leave_s: float

    def position(self, now_s: float) -> Array:
        """(2,) where the person is."""
        walked = min(max(now_s - self.since_s, 0.0), self.stop_after_s)
        return np.array([self.x0_m + self.vx_mps * walked, self.y0_m + self.vy_mps * walked])

    def capsules(self, now_s: float) -> tuple[Array, Array, Array]:
        """Ends a (3, 3), ends b (3, 3), radii (3,): left leg, right leg, torso. Legs swing while walking."""
        speed = math.hypot(self.vx_mps, self.vy_mps)
        walked = min(max(now_s - self.since_s, 0.0), self.stop_after_s)
        along = np.array([self.vx_mps, self.vy_mps]) / speed if speed > 0.0 else np.array([1.0, 0.0])
        across = np.array([-along[1], along[0]])
        swing = 0.25 * _STEP_LENGTH_M * math.sin(math.pi * speed * walked / _STEP_LENGTH_M)
        centre = self.position(now_s)
        a, b = np.zeros((_CAPSULES, 3)), np.zeros((_CAPSULES, 3))
        for leg, side in enumerate((1.0, -1.0)):
            foot = centre + side * (_STANCE_M * across + swing * along)
            a[leg] = [foot[0], foot[1], LEG_RADIUS_M]
            b[leg] = [centre[0] + side * _STANCE_M * across[0], centre[1] + side * _STANCE_M * across[1], LEG_LENGTH_M]
        a[2], b[2] = [*centre, TORSO_LOW_M], [*centre, TORSO_HIGH_M]
        return a, b, np.array([LEG_RADIUS_M, LEG_RADIUS_M, TORSO_RADIUS_M])


class People:
    """All persons in the scene."""

    def __init__(self) -> None:
        self._persons: list[Person] = []

    def enter(self, person: Person) -> None:
        self._persons.append(person)

    def leave(self) -> None:
        """Everybody goes at once."""
        self._persons.clear()

    def capsules(self, now_s: float) -> tuple[Array, Array, Array]:
        """As `Person.capsules`, for everybody who is still here: (k, 3), (k, 3), (k,)."""
        self._persons = [p for p in self._persons if now_s < p.leave_s]
        if not self._persons:
            return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)
        a, b, r = zip(*(p.capsules(now_s) for p in self._persons), strict=True)
        return np.concatenate(a), np.concatenate(b), np.concatenate(r)
