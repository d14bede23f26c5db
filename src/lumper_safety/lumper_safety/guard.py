"""Speed and separation at one instant: distance of people, the scale it leaves, and whether the arm is too fast for it."""

from dataclasses import dataclass

import numpy as np

from lumper_ros.core import Now
from lumper_ros.robot import Robot
from lumper_safety.joints import JointWatch
from lumper_safety.parameters import Parameters
from lumper_safety.separation import RunningMax, SpeedScale
from lumper_safety.space import Space


@dataclass(frozen=True, slots=True)
class Finding:
    """Somebody is too near for full speed. `stop`: for any speed worth having, or for the present one."""

    stop: bool
    text: str
    limit_m: float


class PersonGuard:
    """Keeps separation at Sp or more. After `assess`: `separation_m`, `required_m` (Sp now) and `scale` hold."""

    def __init__(self, parameters: Parameters, robot: Robot, space: Space) -> None:
        self._p = parameters
        self._space = space
        self._scale = SpeedScale(
            robot.stopping_time,
            parameters.arm_speed_max_mps,
            parameters.intrusion_m + parameters.person_uncertainty_m + parameters.robot_uncertainty_m,
            parameters.human_speed_mps,
            parameters.separation_hold_s,
            parameters.speed_scale_min,
        )
        self._reaction = RunningMax(parameters.reaction_window_s, parameters.reaction_floor_s)
        self._too_fast_s = float("-inf")
        self.separation_m = float("inf")
        self.required_m = 0.0
        self.scale = 1.0

    @property
    def reaction_s(self) -> float:
        """Tr: the largest measured of the window."""
        return self._reaction.value

    def measured(self, steady_s: float, reaction_s: float) -> None:
        """A scan took so long from its stamp to the controller."""
        self._reaction.add(steady_s, reaction_s)

    def assess(self, now: Now, joints: JointWatch, oldest_stamp_s: float, mass_kg: float) -> Finding | None:
        """Distance with the newest scans and joint states; None = nobody is near.

        Args:
            oldest_stamp_s: stamp of the older of the two scanners' newest scans.
            mass_kg: load on the gripper.
        """
        if joints.position_rad is not None:
            self._space.set_joints(joints.position_rad, joints.velocity_radps)
        separation_m, walked = self._space.nearest()
        self.separation_m = separation_m
        reaction_s = self.reaction_s
        human_mps = self._space.fastest_person_mps() if np.isfinite(separation_m) else 0.0
        age_s = min(max(0.0, now.ros_s - oldest_stamp_s), 1.0) if np.isfinite(oldest_stamp_s) else 0.0
        # Until the next scan has taken effect: the age of this one, or the whole way to the drives, and a scan's period.
        lag_s = max(age_s, reaction_s) + self._p.scan_period_s
        largest = self._scale.largest(separation_m, lag_s, reaction_s, mass_kg, human_mps)
        scale = self.scale = self._scale.step(now.steady_s, largest)
        speed_mps = self._space.speed_mps
        self.required_m = self._scale.required_at_speed(
            speed_mps, joints.speed_fraction, reaction_s, mass_kg, human_mps
        )
        too_fast = separation_m < self.required_m and joints.moving
        if too_fast:
            self._too_fast_s = now.steady_s
        held = now.steady_s - self._too_fast_s < self._p.separation_hold_s
        if scale >= 1.0 and not held:
            return None
        limit_m = self.required_m if held else self._scale.required(1.0, reaction_s, mass_kg, human_mps)
        # What stands there and has not walked may be a carton that was dragged along: the arm treats both alike.
        who = "person" if walked else "person or unknown object"
        if held or scale <= 0.0:
            text = f"{who}: {separation_m:.2f} m from the arm, which moves at {speed_mps:.2f} m/s: stop"
            gone = f"{who} was near the arm until just now: stop"
            return Finding(True, text if np.isfinite(separation_m) else gone, limit_m)
        text = f"{who}: {separation_m:.2f} m from the arm, full speed needs {limit_m:.2f} m: scale {scale:.2f}"
        return Finding(False, text, limit_m)

    def required_for(self, robot_mps: float, speed_fraction: float, mass_kg: float = 0.0) -> float:
        """Sp in m for a speed of the arm, with the present Tr."""
        return self._scale.required_at_speed(robot_mps, speed_fraction, self.reaction_s, mass_kg)

    def start_anew(self) -> None:
        """Before base and wall are known every carton would be somebody: forget them."""
        self._space.forget_people()
        self.separation_m, _ = self._space.nearest()
