"""Where the arm was when a picture was taken: joint states kept for a moment, interpolated to the exposure."""

from bisect import bisect_right
from typing import Any

import numpy as np

from lumper_perception.boxes import Array
from lumper_perception.view import NO_CAPSULES, Capsules
from lumper_ros.convert import seconds
from lumper_ros.robot import Robot

HISTORY_S = 1.5
EXTRAPOLATION_S = 0.15


class ArmHistory:
    """Joint positions over the last moments. Joints are matched by name; messages without all of them are refused."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._stamps: list[float] = []
        self._positions: list[Array] = []
        self._order: tuple[list[str], list[int]] | None = None

    def add(self, message: Any) -> str:
        """Take a JointState; returns what is wrong with it, or an empty string."""
        names = message.name
        if self._order is None or self._order[0] != names:
            missing = [name for name in self._robot.joint_names if name not in names]
            if missing:
                return f"joint_states lacks {', '.join(missing)}"
            self._order = (list(names), [names.index(name) for name in self._robot.joint_names])
        if len(message.position) != len(names):
            return f"joint_states has {len(names)} names and {len(message.position)} positions"
        position = np.asarray(message.position, dtype=float)[self._order[1]]
        if not np.isfinite(position).all():
            return "joint_states.position is not finite"
        stamp_s = seconds(message.header.stamp)
        if self._stamps and stamp_s <= self._stamps[-1]:
            if stamp_s > self._stamps[-1] - HISTORY_S:
                return ""
            self._stamps.clear()
            self._positions.clear()
        self._stamps.append(stamp_s)
        self._positions.append(position)
        if stamp_s - self._stamps[0] > 2.0 * HISTORY_S:
            cut = bisect_right(self._stamps, stamp_s - HISTORY_S)
            del self._stamps[:cut], self._positions[:cut]
        return ""

    def position(self, stamp_s: float) -> Array | None:
        """(n,) rad at `stamp_s`, or None where nothing near enough is stored."""
        at = bisect_right(self._stamps, stamp_s)
        if not self._stamps or (at == 0 and stamp_s < self._stamps[0] - EXTRAPOLATION_S):
            return None
        if at == len(self._stamps):
            return self._positions[-1] if stamp_s - self._stamps[-1] <= EXTRAPOLATION_S else None
        if at == 0:
            return self._positions[0]
        share = (stamp_s - self._stamps[at - 1]) / (self._stamps[at] - self._stamps[at - 1])
        between: Array = (1.0 - share) * self._positions[at - 1] + share * self._positions[at]
        return between

    def at(self, stamp_s: float, base: Array) -> tuple[Capsules, Array | None]:
        """Capsules and the 4x4 of tool0 in trailer at `stamp_s`; `base` 4x4 base_link to trailer. None = arm not known."""
        position = self.position(stamp_s)
        if position is None:
            return NO_CAPSULES, None
        a, b, radius = self._robot.capsules_at(position)
        tool = base @ self._robot.link_transforms(position)["tool0"]
        # What belongs to the base stands where the camera stands and hides nothing.
        arm = np.array([capsule.link != "base_link" for capsule in self._robot.capsules])
        return Capsules(a[arm] @ base[:3, :3].T + base[:3, 3], b[arm] @ base[:3, :3].T + base[:3, 3], radius[arm]), tool
