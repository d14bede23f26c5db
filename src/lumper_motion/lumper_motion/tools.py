"""Tool poses, pure geometry: where the tool goes along a stroke and to lay a load down; how a load hangs on it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lumper_motion.obstacles import Load
from lumper_motion.requests import Pick
from lumper_ros.convert import inverse
from lumper_ros.robot import Robot

Array = NDArray[np.float64]

# A tool nearer to the stroke than this is on it; a stroke that is all but done goes on for this much.
STROKE_NEAR_M = 0.08
STROKE_LEAST_M = 0.02
# The running belt must not take hold of a load that still hangs on the cups: it is let go this much above.
BELT_GAP_M = 0.02
PAD_GAP_M = 0.015
# Along and across the belt (x, y of infeed), in this order: where it is asked to, and where else when the arm cannot lay it there.
ASKED_M = (0.0, 0.0)
LAYING_SHIFTS_M = (ASKED_M, (0.1, 0.0), (-0.1, 0.0), (0.0, -0.1), (0.0, 0.1), (0.2, 0.0), (-0.2, 0.0))
# The belt carries the load to -x: a gripper pointing along +x more than this would be pushed.
DOWNSTREAM_COSINE = 0.5


def stroke_tools(pick: Pick, contact: Array, base_from_trailer: Array) -> list[Array]:
    """Tool poses of lift, tilt and pull, from contact on."""
    tools = [contact]
    turn = base_from_trailer[:3, :3]
    if pick.lift_m > 0.0:
        tools.append(moved(tools[-1], turn @ np.array([0.0, 0.0, pick.lift_m])))
    if pick.tilt_rad != 0.0:
        load = tools[-1] @ pick.load_in_tool
        rotation = np.eye(4)
        rotation[:3, :3] = Rotation.from_euler("y", -pick.tilt_rad).as_matrix()
        tools.append(load @ rotation @ inverse(pick.load_in_tool))
    if float(np.linalg.norm(pick.extract_m)) > 0.0:
        tools.append(moved(tools[-1], turn @ pick.extract_m))
    return tools


def laying_tools(
    robot: Robot, pick: Pick, load: Load, max_drop_m: float, shift_m: tuple[float, float] = ASKED_M
) -> list[Array]:
    """Tool poses with the load on the belt, as asked first, then turned by quarters about the vertical.

    The place pose's turn does not bind: a box lies as well in any of four. Otherwise than asked, it lies on the belt whole.

    Args:
        shift_m: along and across the belt (x, y of infeed), from the centre that is asked for.
    """
    belt = robot.conveyor
    infeed = robot.link_transforms(np.zeros(len(robot.joint_names)))["infeed"]
    from_load = inverse(pick.load_in_tool)
    hung = corners(load.size_m) @ load.pose_in_tool[:3, :3].T + load.pose_in_tool[:3, 3]
    pad = pad_corners(robot)
    result: list[Array] = []
    pushed: list[Array] = []
    for quarter in range(4):
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("z", quarter * math.pi / 2.0).as_matrix()
        wanted = pick.place.copy()
        wanted[:3, :3] = turn[:3, :3] @ wanted[:3, :3]
        wanted[:2, 3] += shift_m
        tool = wanted @ from_load
        box = hung @ tool[:3, :3].T + tool[:3, 3]
        grip = pad @ tool[:3, :3].T + tool[:3, 3]
        along_m = infeed[0, 3] + box[:, 0]
        whole = along_m.min() > belt.end_x_m and along_m.max() < belt.front_x_m
        whole = whole and float(np.abs(box[:, 1]).max()) <= belt.width_m / 2.0
        if (quarter or shift_m != ASKED_M) and not whole:
            continue
        lift = max(0.0, BELT_GAP_M - float(box[:, 2].min()))
        drop = max(0.0, PAD_GAP_M - float(grip[:, 2].min()) - lift)
        if drop > max_drop_m:
            continue
        placed = infeed @ raised(tool, lift + drop)
        (pushed if tool[0, 2] > DOWNSTREAM_COSINE else result).append(placed)
    return result or pushed


def rest_of(tools: Sequence[Array], here: Array) -> list[Array]:
    """Tool poses still to go on a stroke, from the point of it that lies nearest to `here`."""
    best, following, point = math.inf, 1, tools[0][:3, 3]
    for i, (start, end) in enumerate(pairwise(tools)):
        along = end[:3, 3] - start[:3, 3]
        length2 = float(along @ along)
        share = float(np.clip((here[:3, 3] - start[:3, 3]) @ along / length2, 0.0, 1.0)) if length2 > 0.0 else 0.0
        nearest = start[:3, 3] + share * along
        distance = float(np.linalg.norm(here[:3, 3] - nearest))
        if distance < best - 1e-4:
            best, following, point = distance, i + 1, nearest
    offset = here[:3, 3] - point if best < STROKE_NEAR_M else here[:3, 3] - tools[0][:3, 3]
    if best >= STROKE_NEAR_M:
        following = 1
    rest = [here, *(moved(tool, offset) for tool in tools[following:])]
    last = tools[-1][:3, 3] - tools[-2][:3, 3]
    if len(rest) == 2 and float(np.linalg.norm(rest[1][:3, 3] - here[:3, 3])) < STROKE_LEAST_M:
        rest[1] = moved(here, last / float(np.linalg.norm(last)) * STROKE_LEAST_M)
    return rest


def load_of(pick: Pick) -> Load:
    """The box in tool0. `size_m` is along tool0's axes, `load_in_tool` has the load's own: take those of the load's axes,
    renamed, that lie nearest to tool0's.
    """
    turn = pick.load_in_tool[:3, :3]
    columns = np.empty((3, 3))
    free = [0, 1, 2]
    for axis in range(3):
        best = max(free, key=lambda i: abs(float(turn[axis, i])))
        free.remove(best)
        columns[:, axis] = turn[:, best] * (1.0 if turn[axis, best] >= 0.0 else -1.0)
    pose = pick.load_in_tool.copy()
    pose[:3, :3] = columns
    return Load(pick.carton_ids, pose, pick.size_m, pick.mass_kg, pick.zones)


def probing(pick: Pick, by_m: float) -> Pick:
    """The pick with the beginning of its pull for a stroke: what is let go then stands where it stood, on what bears it."""
    length_m = float(np.linalg.norm(pick.extract_m))
    return replace(pick, lift_m=0.0, tilt_rad=0.0, extract_m=pick.extract_m * min(1.0, by_m / length_m))


def regrasped(pick: Pick, robot: Robot) -> Pick:
    """Another grasp of the same face: the pad on the middle of the face, every zone on that lies on it whole."""
    shift = pick.load_in_tool[:2, 3]
    move = np.eye(4)
    move[:2, 3] = shift
    load = pick.load_in_tool.copy()
    load[:2, 3] = 0.0
    half_w, half_h = 0.5 * pick.size_m[0], 0.5 * pick.size_m[1]
    zones = sum(
        1 << zone.bit
        for zone in robot.gripper.zones
        if abs(zone.x_m) + zone.w_m / 2 <= half_w + 0.005 and abs(zone.y_m) + zone.h_m / 2 <= half_h + 0.005
    )
    return replace(pick, grasp=pick.grasp @ move, load_in_tool=load, zones=zones or pick.zones)


def moved(pose: Array, by: Array) -> Array:
    result = pose.copy()
    result[:3, 3] += by
    return result


def raised(pose: Array, by_m: float) -> Array:
    return moved(pose, np.array([0.0, 0.0, by_m]))


def along_tool(tool: Array, by_m: float) -> Array:
    return moved(tool, tool[:3, 2] * by_m)


def corners(size_m: Sequence[float]) -> Array:
    signs = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    return np.asarray(signs * np.array(size_m))


def pad_corners(robot: Robot) -> Array:
    pad = robot.gripper
    return corners((pad.pad_width_m, pad.pad_height_m, pad.pad_depth_m)) - np.array([0.0, 0.0, pad.pad_depth_m / 2.0])
