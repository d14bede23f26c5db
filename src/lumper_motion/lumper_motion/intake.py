"""From a goal message to a valid Request, or the reason why not. Every field is checked before anything uses it."""

import math
from typing import Any

import numpy as np
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import OutcomeCode
from numpy.typing import NDArray

from lumper_motion.hold import hold_along, weakest_hold
from lumper_motion.parameters import MotionParameters
from lumper_motion.requests import Jog, Pick, Refusal, Request
from lumper_ros.convert import matrix, pose_fault, seconds, vector
from lumper_ros.robot import Robot, Trailer

G = ExecuteMotion.Goal
KINDS = {
    G.PICK: "PICK",
    G.PLACE: "PLACE",
    G.RETREAT: "RETREAT",
    G.HOME: "HOME",
    G.SCAN: "SCAN",
    G.JOG: "JOG",
    G.PROBE: "PROBE",
}
# Requests that go to a face of the load.
TAKING = (G.PICK, G.PROBE)
STANDARD_GRAVITY = 9.81
Array = NDArray[np.float64]
# A face may lie this far outside of the nominal trailer: walls bulge, pictures err.
WORKSPACE_SLACK_M = 0.05


def _malformed(text: str) -> Refusal:
    return Refusal(OutcomeCode.MALFORMED, text)


def read_goal(
    goal: Any, request_id: str, number: int, now_s: float, robot: Robot, trailer: Trailer, parameters: MotionParameters
) -> Request | Refusal:
    """Check a goal's own fields; what depends on the state of the world is checked elsewhere."""
    if goal.kind not in KINDS:
        return _malformed(f"kind={goal.kind}: must be one of {', '.join(f'{k} ({v})' for k, v in KINDS.items())}")
    if goal.priority > G.SAFETY_RETREAT:
        return _malformed(f"priority={goal.priority}: must be 0 (background) … 3 (safety retreat)")
    deadline_s = seconds(goal.deadline)
    if deadline_s == 0.0:
        return _malformed("deadline is zero: give the ROS time by which the request must be done")
    if deadline_s <= now_s:
        return Refusal(
            OutcomeCode.DEADLINE_PAST,
            f"deadline {deadline_s:.3f} s passed {now_s - deadline_s:.3f} s ago: send a later one",
        )
    pick: Pick | Refusal | None = None
    jog: Jog | Refusal | None = None
    if goal.kind in (*TAKING, G.PLACE):
        pick = _read_pick(goal.pick, goal.kind, robot, trailer, parameters)
    elif goal.kind == G.JOG:
        jog = _read_jog(goal, robot, parameters)
    for part in (pick, jog):
        if isinstance(part, Refusal):
            return part
    assert not isinstance(pick, Refusal) and not isinstance(jog, Refusal)
    return Request(
        request_id,
        number,
        goal.job_id,
        goal.plan_id,
        goal.kind,
        goal.priority,
        deadline_s,
        goal.wall_version,
        pick,
        jog,
    )


def _read_pick(pick: Any, kind: int, robot: Robot, trailer: Trailer, parameters: MotionParameters) -> Pick | Refusal:
    ids = tuple(int(value) for value in pick.carton_ids)
    if not ids or len(set(ids)) != len(ids) or 0 in ids:
        return _malformed(f"pick.carton_ids={list(ids)}: name at least one carton, each once, none 0")
    for name in ("grasp_pose", "place_pose", "load_in_tool"):
        fault = pose_fault(getattr(pick, name))
        if fault:
            return _malformed(f"pick.{name}: {fault}")
    all_zones = sum(1 << zone.bit for zone in robot.gripper.zones)
    if pick.zones == 0 or pick.zones & ~all_zones:
        return _malformed(f"pick.zones={pick.zones:#b}: use some of the gripper's zones {all_zones:#b}, no others")
    size, extract = vector(pick.size_m), vector(pick.extract_m)
    bounds = {
        "size_m": (size, 0.02, 3.0),
        "extract_m": (extract, -3.0, 3.0),
        "lift_m": (np.array([pick.lift_m]), 0.0, 1.0),
        "tilt_rad": (np.array([pick.tilt_rad]), -0.8, 0.8),
        "speed_limit_mps": (np.array([pick.speed_limit_mps]), 0.01, 5.0),
        "mass_kg": (np.array([pick.mass_kg]), 0.0, 1000.0),
    }
    for name, (values, low, high) in bounds.items():
        if not np.all(np.isfinite(values)) or values.min() < low or values.max() > high:
            return _malformed(f"pick.{name}={values.tolist()}: must lie within {low} … {high}")
    made = Pick(
        ids,
        int(pick.stroke),
        matrix(pick.grasp_pose),
        int(pick.zones),
        extract,
        float(pick.lift_m),
        float(pick.tilt_rad),
        float(pick.speed_limit_mps),
        matrix(pick.place_pose),
        (float(size[0]), float(size[1]), float(size[2])),
        matrix(pick.load_in_tool),
        float(pick.mass_kg),
    )
    if kind == G.PROBE and not extract.any():
        return _malformed("pick.extract_m is zero: a PROBE pulls, along it; take a grasp of the front")
    return _outside(made, kind, robot, trailer) or overload(made, robot, parameters) or made


def _outside(pick: Pick, kind: int, robot: Robot, trailer: Trailer) -> Refusal | None:
    x, y, z = pick.grasp[:3, 3]
    s = WORKSPACE_SLACK_M
    inside = -s <= x <= trailer.length_m + s and abs(y) <= trailer.width_m / 2 + s and -s <= z <= trailer.height_m + s
    if kind in TAKING and not inside:
        return Refusal(
            OutcomeCode.OUT_OF_WORKSPACE,
            f"pick.grasp_pose ({x:.2f}, {y:.2f}, {z:.2f}) lies outside the trailer: is it in the frame trailer?",
        )
    x, y, z = pick.place[:3, 3]
    if abs(x) > 1.5 or abs(y) > robot.conveyor.width_m / 2 or not -s <= z <= 1.5:
        return Refusal(
            OutcomeCode.OUT_OF_WORKSPACE,
            f"pick.place_pose ({x:.2f}, {y:.2f}, {z:.2f}) lies off the belt: is it in the frame infeed?",
        )
    return None


def load_acceleration(zones: int, mass_kg: float, centre_m: Array, robot: Robot, share: float) -> float:
    """Largest acceleration, m/s^2, of the load's centre in any direction that the vacuum holds beside its weight.

    Args:
        centre_m: (3,) the load's centre in tool0.
        share: of what the cups hold.
    """
    if mass_kg <= 0.0:
        return math.inf
    return share / (weakest_hold(robot.gripper, zones, centre_m) * mass_kg) - STANDARD_GRAVITY


def overload(pick: Pick, robot: Robot, parameters: MotionParameters) -> Refusal | None:
    """Whether vacuum and arm can hold the load at all, at its slowest."""
    if pick.mass_kg + robot.tool_mass_kg > robot.payload_kg:
        return Refusal(
            OutcomeCode.OVERLOADED,
            f"pick.mass_kg={pick.mass_kg:.1f}: with the gripper more than the arm's {robot.payload_kg:.0f} kg",
        )
    need = pick.mass_kg * STANDARD_GRAVITY
    down = pick.grasp[:3, :3].T @ np.array([0.0, 0.0, -1.0])
    used = hold_along(robot.gripper, pick.zones, pick.load_in_tool[:3, 3], down)
    if need * used > parameters.hold_share:
        return Refusal(
            OutcomeCode.OVERLOADED,
            f"pick.mass_kg={pick.mass_kg:.1f} weighs {need:.0f} N, the zones {pick.zones:#b} hold "
            f"{parameters.hold_share / used:.0f} N in this grasp: use more zones, or grasp nearer to its middle",
        )
    return None


def _read_jog(goal: Any, robot: Robot, parameters: MotionParameters) -> Jog | Refusal:
    names, deltas = list(goal.jog_joint_names), np.array(goal.jog_joint_delta_rad, dtype=float)
    if names or len(deltas):
        unknown = [name for name in names if name not in robot.joint_names]
        if unknown or len(set(names)) != len(names) or len(names) != len(deltas):
            return _malformed(
                f"jog_joint_names={names}: one jog_joint_delta_rad each, of {', '.join(robot.joint_names)}, each once"
            )
        if not np.all(np.isfinite(deltas)) or np.abs(deltas).max(initial=0.0) > parameters.jog_max_rad:
            return _malformed(
                f"jog_joint_delta_rad={deltas.tolist()}: must be finite and within ±{parameters.jog_max_rad} rad"
            )
        joints = np.zeros(len(robot.joint_names))
        for name, delta in zip(names, deltas, strict=True):
            joints[robot.joint_names.index(name)] = delta
        return Jog(joints, None)
    fault = pose_fault(goal.jog_tool_delta)
    if fault:
        return _malformed(f"jog_tool_delta: {fault}")
    delta = matrix(goal.jog_tool_delta)
    turn = math.acos(float(np.clip((np.trace(delta[:3, :3]) - 1.0) / 2.0, -1.0, 1.0)))
    if float(np.linalg.norm(delta[:3, 3])) > parameters.jog_max_m or turn > parameters.jog_max_rad:
        return _malformed(
            f"jog_tool_delta: at most {parameters.jog_max_m} m and {parameters.jog_max_rad} rad at a time"
        )
    return Jog(None, delta)
