"""Faults that a test or a person injects into the world: each checked, carried out, and undone when its time is over."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lumper_sim.people import Person
from lumper_sim.world import World

Array = NDArray[np.float64]

# What a person is told to take is where they are told that it is, give or take so much, m.
AT_M = 0.2
SENSORS = {
    1: "scan/front",
    2: "scan/rear",
    3: "camera",
    4: "joint_states",
    5: "gripper/state",
    6: "detections",
    7: "estop",
}


class FaultError(ValueError):
    """The fault cannot be injected; the text names the argument and what is wanted."""


@dataclass(frozen=True, slots=True)
class _Undo:
    at_s: float
    action: Callable[[], None]


class Faults:
    """Injects faults into a world. `silent` holds the names of sensors that say nothing."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._undo: list[_Undo] = []
        self.silent: set[str] = set()

    @property
    def under_way(self) -> bool:
        """Whether anything is still to be undone."""
        return bool(self._undo)

    def step(self) -> None:
        """Undo what is over."""
        now = self._world.time_s
        due = [undo for undo in self._undo if undo.at_s <= now]
        self._undo = [undo for undo in self._undo if undo.at_s > now]
        for undo in due:
            undo.action()

    def inject(self, name: str, args: Sequence[float], duration_s: float) -> str:
        """Do it now; returns what was done.

        Args:
            duration_s: simulated time after which it is undone; NaN = until told otherwise.

        Raises:
            FaultError: unknown fault, wrong number or value of arguments.
        """
        known: dict[str, Callable[[list[float], float], str]] = {
            "estop": self._estop,
            "conveyor": self._conveyor,
            "person": self._person,
            "vacuum_leak": self._vacuum_leak,
            "sensor_silence": self._sensor_silence,
            "controller": self._controller,
            "push_carton": self._push_carton,
            "seal": self._seal,
            "take_away": self._take_away,
        }
        if name not in known:
            raise FaultError(f"name={name!r}: no such fault; known are {', '.join(known)}")
        values = [float(a) for a in args]
        if not all(math.isfinite(v) for v in values):
            raise FaultError(f"args={values}: must be finite")
        if not math.isnan(duration_s) and not duration_s >= 0.0:
            raise FaultError(f"duration_s={duration_s}: must be 0 or more, or NaN for no end")
        return known[name](values, duration_s)

    def _later(self, duration_s: float, action: Callable[[], None]) -> None:
        if not math.isnan(duration_s):
            self._undo.append(_Undo(self._world.time_s + duration_s, action))

    def _switch(self, name: str, values: list[float]) -> bool:
        if len(values) != 1 or values[0] not in (0.0, 1.0):
            raise FaultError(f"{name} wants args [0] or [1], got {values}")
        return values[0] == 1.0

    def _fraction(self, name: str, values: list[float]) -> float:
        if len(values) != 1 or not 0.0 <= values[0] <= 1.0:
            raise FaultError(f"{name} wants one argument between 0 and 1, got {values}")
        return values[0]

    def _estop(self, values: list[float], duration_s: float) -> str:
        closed = self._switch("estop", values)
        self._world.set_estop(closed)
        self._later(duration_s, partial(self._world.set_estop, not closed))
        return "E-stop circuit " + ("closed" if closed else "open")

    def _run_conveyor(self, runs: bool) -> None:
        self._world.conveyor_runs = runs

    def _conveyor(self, values: list[float], duration_s: float) -> str:
        runs = self._switch("conveyor", values)
        self._run_conveyor(runs)
        self._later(duration_s, partial(self._run_conveyor, not runs))
        return "conveyor " + ("runs" if runs else "is blocked")

    def _person(self, values: list[float], duration_s: float) -> str:
        if not values:
            self._world.people.leave()
            return "everybody left"
        if len(values) != 5 or values[4] < 0.0:
            raise FaultError(f"person wants [] or [x0, y0, vx, vy, stop_after_s >= 0], got {values}")
        now = self._world.time_s
        x0, y0, vx, vy, stop_after_s = values
        leave = math.inf if math.isnan(duration_s) else now + duration_s
        self._world.people.enter(Person(x0, y0, vx, vy, now, stop_after_s, leave))
        return f"a person enters at ({x0:.2f}, {y0:.2f}) m"

    def _leak(self, fraction: float) -> None:
        self._world.suction.leak = fraction

    def _vacuum_leak(self, values: list[float], duration_s: float) -> str:
        fraction = self._fraction("vacuum_leak", values)
        self._leak(fraction)
        self._later(duration_s, partial(self._leak, 0.0))
        return f"{fraction:.0%} of the vacuum is lost"

    def _sensor_silence(self, values: list[float], duration_s: float) -> str:
        if len(values) != 1 or values[0] not in SENSORS:
            raise FaultError(f"sensor_silence wants one of {SENSORS}, got {values}")
        sensor = SENSORS[int(values[0])]
        self.silent.add(sensor)
        # Without a duration a second call would be the only way back, so it lasts at most a minute.
        self._later(60.0 if math.isnan(duration_s) else duration_s, partial(self.silent.discard, sensor))
        return f"{sensor} is silent"

    def _controller(self, values: list[float], duration_s: float) -> str:
        connected = self._switch("controller", values)
        self._world.set_controller(connected)
        self._later(duration_s, partial(self._world.set_controller, not connected))
        return "controller " + ("connected" if connected else "rejects and aborts everything")

    def _push_carton(self, values: list[float], duration_s: float) -> str:
        count = len(self._world.cartons)
        if len(values) != 4 or values[0] != int(values[0]) or not 0 <= values[0] < count:
            raise FaultError(f"push_carton wants [index 0 .. {count - 1}, fx, fy, fz], got {values}")
        if math.isnan(duration_s):
            raise FaultError("duration_s is NaN: push_carton needs the time for which it pushes")
        self._world.push_carton(int(values[0]), np.array(values[1:]), self._world.time_s + duration_s)
        return f"carton {int(values[0])} is pushed for {duration_s:.2f} s"

    def _take_away(self, values: list[float], duration_s: float) -> str:
        count = len(self._world.cartons)
        if len(values) not in (0, 1, 3) or (
            len(values) == 1 and not (values[0] == int(values[0]) and 0 <= values[0] < count)
        ):
            raise FaultError(
                f"take_away wants [index 0 .. {count - 1}], [x, y, z] of what is to go, or [] for whatever fell, got {values}"
            )
        if not math.isnan(duration_s):
            raise FaultError(f"duration_s={duration_s}: a carton taken away does not come back; NaN is wanted")
        match values:
            case []:
                taken = np.flatnonzero(self._world.accounting.fell).tolist()
            case [index]:
                taken = [int(index)]
            case _:
                taken = [self._carton_at(np.array(values))]
        try:
            for carton in taken:
                self._world.take_away(carton)
        except ValueError as error:
            raise FaultError(str(error)) from error
        return (
            f"a person took carton {', '.join(map(str, taken))} away" if taken else "nothing fell: nothing to take away"
        )

    def _carton_at(self, place: Array) -> int:
        """The carton whose middle is nearest to a place in the trailer."""
        apart = np.linalg.norm(self._world.carton_position - place, axis=1)
        nearest = int(apart.argmin())
        if apart[nearest] > AT_M:
            raise FaultError(f"take_away: no carton within {AT_M} m of {place.tolist()}")
        return nearest

    def _seal_probability(self, probability: float) -> None:
        self._world.suction.seal_probability = probability

    def _seal(self, values: list[float], duration_s: float) -> str:
        probability = self._fraction("seal", values)
        self._seal_probability(probability)
        self._later(duration_s, partial(self._seal_probability, 1.0))
        return f"a grasp seals with probability {probability:.2f}"
