"""Forward kinematics from the robot description, inverse kinematics of an ortho-parallel arm with spherical wrist.

Poses are 4x4 in base_link unless named otherwise; joint arrays are (n, 6) in rad, ordered as the robot's joint_names.
"""

import numpy as np
from numpy.typing import NDArray
from py_opw_kinematics import KinematicModel
from py_opw_kinematics import Robot as OpwRobot
from scipy.spatial.transform import RigidTransform, Rotation

from lumper_ros.convert import inverse
from lumper_ros.robot import Robot

Array = NDArray[np.float64]

# Two neighbouring samples of a straight tool line may differ by so much in a joint before the branch counts as torn.
MAX_BRANCH_STEP_RAD = 0.35
# Nothing is planned nearer to a joint's limit, so that a servo's error leaves the arm where it can be planned from.
LIMIT_MARGIN_RAD = 5e-4
# A joint that is measured no further beyond its limit is taken to stand just inside.
SERVO_RAD = 0.01
# A turn whose trace is so near to that of none is none (1e-6 rad).
UNTURNED = 1e-12


class ArmKinematics:
    """Kinematics of one robot. Holds no state that changes."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self._opw = OpwRobot(KinematicModel(**robot.opw.model()), degrees=False)
        self._limits = np.column_stack([robot.lower_rad + LIMIT_MARGIN_RAD, robot.upper_rad - LIMIT_MARGIN_RAD])
        self._to_arm = inverse(robot.link_transforms(np.zeros(len(robot.joint_names)))["arm_base"])
        self._from_tool = inverse(robot.flange_to_tool)
        self.links = robot.chain.links
        order = {name: i for i, name in enumerate(robot.joint_names)}
        index = {name: i for i, name in enumerate(self.links)}
        # (link, its axis in its own frame, number of the joint) of every joint that moves.
        self._axes = [
            (index[joint.child], np.array(joint.axis), order[joint.name])
            for joint in robot.joints
            if joint.name in order
        ]
        self.tool_link = index["tool0"]

    def link_frames(self, joints: Array) -> Array:
        """(n, links, 4, 4) of every link in base_link, in the order of `links`."""
        return self.robot.chain.frames(joints)

    def tool(self, joints: Array) -> Array:
        """(n, 4, 4) of tool0."""
        return self.link_frames(np.atleast_2d(joints))[:, self.tool_link]

    def jacobian(self, joints: Array) -> Array:
        """(6, n_joints) of tool0 in base_link axes: linear rows m/rad, then angular rows; `joints` is (n_joints,)."""
        frames = self.link_frames(joints[None])[0]
        tip = frames[self.tool_link][:3, 3]
        result = np.zeros((6, len(joints)))
        for link, axis, number in self._axes:
            direction = frames[link][:3, :3] @ axis
            result[:3, number] = np.cross(direction, tip - frames[link][:3, 3])
            result[3:, number] = direction
        return result

    def inside(self, joints: Array) -> Array:
        """(6,) measured joints; one that a servo's error has put at its limit or just beyond it, as standing just inside."""
        low, high = self._limits[:, 0], self._limits[:, 1]
        near = (joints > low - SERVO_RAD) & (joints < high + SERVO_RAD)
        return np.where(near, np.clip(joints, low, high), joints)

    def branches(self, tools: Array) -> Array:
        """(n, 8, 6) joint solutions of (n, 4, 4) tool poses; NaN where a branch does not exist or leaves the limits.

        Joints with more than one turn are given in their turn nearest to zero.
        """
        flange = self._to_arm @ np.atleast_3d(tools).reshape(-1, 4, 4) @ self._from_tool
        found = self._opw.reach(RigidTransform(flange, normalize=False, copy=False)).joints.reshape(-1, 8, 6).copy()
        return self._within(found)

    def _within(self, joints: Array) -> Array:
        low, high = self._limits[:, 0], self._limits[:, 1]
        turned = joints - 2.0 * np.pi * np.round(joints / (2.0 * np.pi))
        for shift in (2.0 * np.pi, -2.0 * np.pi):
            moved = turned + shift
            better = ((turned < low) | (turned > high)) & (moved >= low) & (moved <= high)
            turned = np.where(better, moved, turned)
        bad = ((turned < low) | (turned > high) | ~np.isfinite(turned)).any(axis=-1)
        turned[bad] = np.nan
        return turned

    def toward(self, joints: Array, seed: Array) -> Array:
        """`joints` (..., 6) with each joint in the turn, within limits, that lies nearest to `seed` (6,)."""
        low, high = self._limits[:, 0], self._limits[:, 1]
        near = joints + 2.0 * np.pi * np.round((seed - joints) / (2.0 * np.pi))
        near = np.where(near > high, near - 2.0 * np.pi, near)
        near = np.where(near < low, near + 2.0 * np.pi, near)
        return np.where((near >= low) & (near <= high), near, joints)

    def solutions(self, tool: Array, seed: Array) -> Array:
        """(k, 6) solutions of one tool pose, nearest to `seed` first (distance in seconds at full joint speed)."""
        found = self.branches(tool[None])[0]
        found = self.toward(found[np.isfinite(found).all(axis=1)], seed)
        cost = (np.abs(found - seed) / self.robot.max_speed_radps).max(axis=1) if len(found) else np.empty(0)
        return found[np.argsort(cost, kind="stable")]

    def tool_line(self, tools: Array, seed: Array) -> Array | None:
        """(n, 6) along (n, 4, 4) tool poses, starting with the solution nearest to `seed` and never leaving its branch.

        None: a sample is out of reach or limits, or the branch tears.
        """
        found = self.branches(tools)
        first = self.toward(found[0], seed)
        gap = np.abs(first - seed).max(axis=1)
        branch = int(np.nanargmin(gap)) if np.isfinite(gap).any() else -1
        if branch < 0 or gap[branch] > MAX_BRANCH_STEP_RAD:
            return None
        # Usually one branch of the solution, its turns counted on, is the whole line.
        line = np.unwrap(found[:, branch], axis=0)
        line += first[branch] - line[0]
        inside = (line >= self._limits[:, 0]) & (line <= self._limits[:, 1])
        if inside.all() and np.abs(np.diff(line, axis=0)).max(initial=0.0) <= MAX_BRANCH_STEP_RAD:
            return line
        return self._across_branches(found, seed)

    def _across_branches(self, found: Array, seed: Array) -> Array | None:
        """As `tool_line`, sample by sample: near a singularity the numbering of the branches changes."""
        line = np.empty((len(found), found.shape[2]))
        here = seed
        for i, all_options in enumerate(found):
            options = all_options[np.isfinite(all_options[:, 0])]
            if not len(options):
                return None
            options = self.toward(options, here)
            gap = np.abs(options - here).max(axis=1)
            best = int(np.argmin(gap))
            if gap[best] > MAX_BRANCH_STEP_RAD:
                return None
            here = line[i] = options[best]
        return line


def straight_tools(start: Array, end: Array, step_m: float = 0.02, step_rad: float = 0.05) -> Array:
    """(n, 4, 4) poses from `start` to `end`: position on a line, orientation on the shortest turn."""
    turn = start[:3, :3].T @ end[:3, :3]
    # Most lines keep the tool as it is.
    vector = Rotation.from_matrix(turn).as_rotvec() if float(np.trace(turn)) < 3.0 - UNTURNED else np.zeros(3)
    length = float(np.linalg.norm(end[:3, 3] - start[:3, 3]))
    n = 2 + int(max(length / step_m, float(np.linalg.norm(vector)) / step_rad))
    share = np.linspace(0.0, 1.0, n)
    result = np.tile(start, (n, 1, 1))
    if vector.any():
        result[:, :3, :3] = start[:3, :3] @ Rotation.from_rotvec(share[:, None] * vector).as_matrix()
    result[:, :3, 3] = start[:3, 3] + share[:, None] * (end[:3, 3] - start[:3, 3])
    return result
