"""Can the arm make this grasp from here, and how long does it take: closed-form inverse kinematics, many grasps at once."""

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transforms3d.euler import euler2mat

from lumper_planner.world import rotations
from lumper_ros.robot import Robot

Array = NDArray[np.float64]

# Where the tool stands in front of the face before it closes in.
APPROACH_M = 0.15
# Kept from the joints' limits, rad.
JOINT_MARGIN_RAD = 0.02
# Mean speed of approach and stroke near the pile, m/s.
NEAR_SPEED_MPS = 0.25
# Kept between conveyor or deck and what the arm draws back towards them, m.
BASE_GAP_M = 0.04
# How far wrist and forearm reach behind the pad, and how thick they are, m.
WRIST_M = (0.45, 0.12)
# Share of the joints' limits that a checked, jerk-limited trajectory reaches on a long move.
SPEED_SHARE = 0.8


def base_matrix(base: tuple[float, float, float]) -> Array:
    """4x4 of base_link in the trailer, from x, y (m) and yaw (rad)."""
    result = np.eye(4)
    result[:3, :3] = euler2mat(0.0, 0.0, base[2])
    result[:2, 3] = base[:2]
    return result


def _matrices(position: Array, orientation: Array) -> Array:
    result = np.tile(np.eye(4), (len(position), 1, 1))
    result[:, :3, :3] = rotations(orientation)
    result[:, :3, 3] = position
    return result


def _inverses(matrices: Array) -> Array:
    result = np.tile(np.eye(4), (len(matrices), 1, 1))
    turned = np.swapaxes(matrices[:, :3, :3], 1, 2)
    result[:, :3, :3] = turned
    result[:, :3, 3] = -(turned @ matrices[:, :3, 3, None])[:, :, 0]
    return result


class ArmReach:
    """Inverse kinematics of one arm (Brandstoetter et al. 2014, by py_opw_kinematics). Stateless, so thread-safe."""

    def __init__(self, robot: Robot) -> None:
        self._opw = robot.opw
        self._limits = np.stack([robot.lower_rad, robot.upper_rad], 1)
        self._speed = robot.max_speed_radps * SPEED_SHARE
        self._accel = robot.max_accel_radps2 * SPEED_SHARE
        self._arm_in_base = robot.mounts["arm_base"].matrix()
        self._infeed_in_base = robot.mounts["infeed"].matrix()
        self._tool_to_flange = np.linalg.inv(robot.flange_to_tool)
        belt, deck = robot.conveyor, robot.raw["base"]["deck"]
        middle = np.array(deck["xyz"]), np.array(deck["size"]) / 2.0
        # (2, 3) low and high corners of what stands in front of the arm, base_link.
        self._base_low = np.array(
            [
                [belt.end_x_m, belt.center_y_m - belt.width_m / 2, belt.surface_z_m - belt.thickness_m],
                middle[0] - middle[1],
            ]
        )
        self._base_high = np.array(
            [[belt.front_x_m, belt.center_y_m + belt.width_m / 2, belt.surface_z_m], middle[0] + middle[1]]
        )
        # What lies under the belt is not for the arm either.
        self._base_low[:, 2] = 0.0
        self._pad_half = (
            np.array([robot.gripper.pad_width_m, robot.gripper.pad_height_m, robot.gripper.pad_depth_m]) / 2
        )
        self._release_s = robot.gripper.build_up_s + robot.gripper.release_s

    @cached_property
    def _kinematics(self) -> Any:
        # Not with the module: scipy comes along, and a planner that was killed would be silent for 0.4 s more.
        from py_opw_kinematics import KinematicModel
        from py_opw_kinematics import Robot as Kinematics

        return Kinematics(KinematicModel(**self._opw.model()), degrees=False)

    def load(self) -> None:
        """Make the kinematics, if that is still to be done: a plan's time is not for it."""
        _ = self._kinematics

    def joints(self, tool_in_arm: Array) -> tuple[Array, NDArray[np.bool_]]:
        """All branches for tool0 poses (n, 4, 4) in arm_base: joints (n, 8, 6) rad and which are within limits (n, 8)."""
        if not len(tool_in_arm):
            return np.empty((0, 8, 6)), np.empty((0, 8), dtype=bool)
        from scipy.spatial.transform import RigidTransform

        found = self._kinematics.reach(RigidTransform.from_matrix(tool_in_arm @ self._tool_to_flange), self._limits)
        margin = np.nan_to_num(found.limit_margin, nan=-1.0)
        return found.joints, margin >= JOINT_MARGIN_RAD

    def seconds(self, grasps: Any, base: tuple[float, float, float]) -> Array:
        """Time for approach, stroke, carry and return of each grasp (K,), s; NaN = the arm cannot do it from this base.

        A grasp counts as reachable when one branch of the inverse kinematics holds from the approach through contact, lift
        and extraction, and the load can be laid down.

        Args:
            grasps: (K,) of lumper_core.GRASP_DTYPE, frame trailer.
            base: x, y (m) and yaw (rad) of base_link in the trailer.
        """
        count = len(grasps)
        if not count:
            return np.empty(0)
        arm = np.linalg.inv(base_matrix(base) @ self._arm_in_base)
        contact = _matrices(np.asarray(grasps["position"], float), np.asarray(grasps["orientation"], float))
        approach = contact.copy()
        approach[:, :3, 3] -= APPROACH_M * contact[:, :3, 2]
        lifted = contact.copy()
        lifted[:, 2, 3] += grasps["lift"]
        out = lifted.copy()
        out[:, :3, 3] += grasps["extract"]
        load = _matrices(np.asarray(grasps["load_position"], float), np.asarray(grasps["load_orientation"], float))
        place = _matrices(np.asarray(grasps["place_position"], float), np.asarray(grasps["place_orientation"], float))
        laid = np.linalg.inv(self._arm_in_base) @ self._infeed_in_base @ place @ _inverses(load)
        q, good = self.joints(np.concatenate([arm @ approach, arm @ contact, arm @ lifted, arm @ out, laid]))
        q, good = q.reshape(5, count, 8, 6), good.reshape(5, count, 8)
        whole = np.asarray(good[:4].all(axis=0))
        carry_s = self._move_s(q[3][:, :, None, :], q[4][:, None, :, :])
        carry_s[~(whole[:, :, None] & good[4][:, None, :])] = np.inf
        best_s = carry_s.reshape(count, -1).min(axis=1)
        best_s[~self._clear_of_base(arm @ out, load, np.asarray(grasps["size"], float))] = np.inf
        # The way back to the next approach is about as long as the carry.
        speed = np.clip(np.asarray(grasps["speed_limit"], float), 0.05, 1.0)
        path_m = np.linalg.norm(np.asarray(grasps["extract"], float), axis=1) + np.asarray(grasps["lift"], float)
        total = 2.0 * best_s + APPROACH_M / NEAR_SPEED_MPS + path_m / speed + self._release_s
        return np.where(np.isfinite(best_s), total, math.nan)

    def _clear_of_base(self, out_in_arm: Array, load: Array, size_m: Array) -> NDArray[np.bool_]:
        """(K,) whether load, pad and wrist end their stroke clear of conveyor and deck; the load's size along tool0's axes."""
        tool = self._arm_in_base @ out_in_arm
        turn = np.abs(tool[:, :3, :3])
        back, thick = WRIST_M
        clear = np.ones(len(tool), dtype=bool)
        for centre, half in (
            ((tool @ load)[:, :3, 3], size_m / 2.0),
            (tool[:, :3, 3] - self._pad_half[2] * tool[:, :3, 2], np.tile(self._pad_half, (len(tool), 1))),
            (tool[:, :3, 3] - back / 2 * tool[:, :3, 2], np.tile([thick, thick, back / 2], (len(tool), 1))),
        ):
            reach = np.einsum("kij,kj->ki", turn, half) + BASE_GAP_M
            low, high = (centre - reach)[:, None], (centre + reach)[:, None]
            clear &= ~((low < self._base_high) & (high > self._base_low)).all(axis=2).any(axis=1)
        return clear

    def _move_s(self, a: Array, b: Array) -> Array:
        """Time of a joint move between positions (..., 6), trapezoidal speed, slowest joint."""
        distance = np.abs(np.nan_to_num(b - a))
        long_s = distance / self._speed + self._speed / self._accel
        short_s = 2.0 * np.sqrt(distance / self._accel)
        full = distance >= self._speed**2 / self._accel
        return np.asarray(np.where(full, long_s, short_s).max(axis=-1))
