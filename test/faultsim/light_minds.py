"""Cheap stand-ins for what is computed off the event loop: how the arm moves (StagePlanner) and which carton is next (Chooser).

Both are pure functions of their input in the robot, and stay that here: inverse kinematics and a joint-space quintic in place of
collision-checked, time-optimal paths; the highest, foremost carton in place of the stability analysis. What is decided *with*
their answers is the robot's own code.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from light_load import FACING
from lumper_msgs.msg import BrokerState, OutcomeCode, PlannedPick, UnloadPlan
from numpy.typing import NDArray

from lumper_motion.core import MotionBroker
from lumper_motion.free_motion import Failure, Motion
from lumper_motion.kinematics import ArmKinematics
from lumper_motion.parameters import MotionParameters
from lumper_motion.requests import Pick
from lumper_motion.stages import Snapshot, StagePlanner
from lumper_motion.timing import Limits, Trajectory
from lumper_planner.unloading import Choice, ChoiceRequest
from lumper_ros.convert import inverse, to_pose, to_time, to_vector3
from lumper_ros.robot import Robot, Trailer

Array = NDArray[np.float64]
B = BrokerState

SAMPLES = 25
_U = np.linspace(0.0, 1.0, SAMPLES)
_PLACE = 10 * _U**3 - 15 * _U**4 + 6 * _U**5
_RATE = 30 * _U**2 - 60 * _U**3 + 30 * _U**4
_CURVE = 60 * _U - 180 * _U**2 + 120 * _U**3
# Largest values of the quintic's first and second derivative.
_PEAK_RATE, _PEAK_CURVE = 1.875, 5.774
REACH_M, NEAR_M = 2.45, 0.9
LEAST_S = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Straight:
    """A straight line in joint space, as far as `Trajectory` asks its path anything."""

    start: Array
    end: Array
    length_rad: float

    def at(self, s: Array, derivative: int = 0) -> Array:
        share = np.clip(np.asarray(s) / max(self.length_rad, 1e-9), 0.0, 1.0)[:, None]
        line: Array = self.start + share * (self.end - self.start)
        return line


class LightStages(StagePlanner):
    """As StagePlanner, without collisions."""

    def __init__(self, robot: Robot, trailer: Trailer, parameters: MotionParameters, kinematics: ArmKinematics) -> None:
        self.robot, self.kinematics = robot, kinematics
        self._trailer, self._p = trailer, parameters
        self._rest = Limits(robot.max_speed_radps, robot.max_accel_radps2)

    def _motion(self, start: Array, end: Array, marks: tuple[tuple[int, float], ...], pace: float = 0.9) -> Trajectory:
        """`marks`: (stage, share of the duration at which it begins)."""
        step = end - start
        far = np.abs(step)
        limits = self._rest
        duration_s = max(
            LEAST_S,
            float((far * _PEAK_RATE / (limits.speed_radps * pace)).max()),
            float(np.sqrt(far * _PEAK_CURVE / (limits.accel_radps2 * pace)).max()),
        )
        length = float(np.linalg.norm(step))
        path: Any = Straight(start, end, length)
        return Trajectory(
            path,
            duration_s / (SAMPLES - 1),
            _PLACE * length,
            start + _PLACE[:, None] * step,
            _RATE[:, None] * step / duration_s,
            _CURVE[:, None] * step / duration_s**2,
            tuple((stage, share * duration_s) for stage, share in marks),
            limits,
        )

    def _to(self, tool: Array, start: Array) -> Array | None:
        found = self.kinematics.solutions(tool, start)
        return found[0] if len(found) else None

    def approach(self, snapshot: Snapshot, pick: Pick, press_m: float | None = None) -> Motion:
        goal = self._to(inverse(snapshot.trailer_from_base) @ pick.grasp, snapshot.start)
        if goal is None:
            return Failure(OutcomeCode.UNREACHABLE, "the face is out of reach")
        return self._motion(snapshot.start, goal, ((B.STAGE_APPROACH, 0.0), (B.STAGE_GRASP, 0.8)))

    def press(self, snapshot: Snapshot, carton_ids: tuple[int, ...], by_m: float) -> Motion:
        return self._straight(snapshot, by_m, B.STAGE_GRASP)

    def back_off(self, snapshot: Snapshot) -> Motion:
        return self._straight(snapshot, -0.12, B.STAGE_RETREAT)

    def _straight(self, snapshot: Snapshot, by_m: float, stage: int) -> Motion:
        tool = self.kinematics.tool(snapshot.start)[0]
        tool[:3, 3] += by_m * tool[:3, 2]
        goal = self._to(tool, snapshot.start)
        if goal is None:
            return Failure(OutcomeCode.UNREACHABLE, "no way straight on from here")
        return self._motion(snapshot.start, goal, ((stage, 0.0),))

    def extract(self, snapshot: Snapshot, pick: Pick) -> Motion:
        tool = inverse(snapshot.trailer_from_base) @ pick.grasp
        tool[:3, 3] += pick.extract_m + np.array([0.0, 0.0, pick.lift_m])
        goal = self._to(tool, snapshot.start)
        if goal is None:
            return Failure(OutcomeCode.UNREACHABLE, "the stroke leaves the arm's reach")
        return self._motion(snapshot.start, goal, ((B.STAGE_EXTRACT, 0.0),), 0.5)

    def place(self, snapshot: Snapshot, pick: Pick) -> Motion:
        tool = self.robot.mounts["infeed"].matrix() @ pick.place @ inverse(pick.load_in_tool)
        goal = self._to(tool, snapshot.start)
        if goal is None:
            return Failure(OutcomeCode.UNREACHABLE, "no pose over the belt")
        return self._motion(snapshot.start, goal, ((B.STAGE_CARRY, 0.0), (B.STAGE_PLACE, 0.75)))

    def to_pose(self, snapshot: Snapshot, target: Array) -> Motion:
        if float(np.abs(target - snapshot.start).max()) < 1e-4:
            target = snapshot.start + 1e-4
        return self._motion(snapshot.start, target, ((B.STAGE_MOVE, 0.0),))

    def retrace(self, snapshot: Snapshot, way: Array) -> Motion:
        return self._motion(snapshot.start, way[-1], ((B.STAGE_RETREAT, 0.0),), 0.3)

    def jog(self, snapshot: Snapshot, joint_delta: Array | None, tool_delta: Array | None) -> Motion:
        delta = joint_delta if joint_delta is not None else np.full(6, 0.01)
        return self._motion(snapshot.start, snapshot.start + delta, ((B.STAGE_MOVE, 0.0),), 0.3)

    def recheck(self, snapshot: Snapshot, trajectory: Trajectory, from_s: float, carton_ids: tuple[int, ...]) -> str:
        return ""


class LightBroker(MotionBroker):
    """The motion broker with LightStages in it; all else is the robot's own."""

    def __init__(
        self,
        parameters: MotionParameters,
        robot: Robot,
        trailer: Trailer,
        key: bytes | None,
        kinematics: ArmKinematics,
    ) -> None:
        super().__init__(parameters, robot, trailer, key)
        self._planner = LightStages(robot, trailer, parameters, kinematics)
        self._begin()


class LightChooser:
    """The highest carton within reach, the foremost of these; the base moves on when there is none."""

    def __init__(self, robot: Robot, attempts: int) -> None:
        self._attempts = attempts
        mount = robot.mounts["arm_base"].xyz
        self._mount = np.array([mount[0], mount[1], 0.9])

    def __call__(self, request: ChoiceRequest) -> Choice:
        picture = request.standing()
        failed = dict(request.failed)
        plan = UnloadPlan(job_id=request.job_id, plan_id=request.plan_id, wall_version=picture.version)
        plan.header.frame_id, plan.header.stamp = "trailer", to_time(max(request.stamp_s, 0.0))
        left_out = {*request.skipped, *request.set_aside}
        front, options = np.inf, []
        for row, carton in enumerate(picture.ids):
            if carton in left_out or failed.get(carton, 0) >= self._attempts:
                continue
            centre, size = picture.centre[row], picture.size[row]
            face = centre - np.array([size[0] / 2, 0.0, 0.0])
            arm = face - self._mount - np.array([request.base[0], 0.0, 0.0])
            far = float(np.linalg.norm(arm))
            front = min(front, face[0] - request.base[0])
            blocked = any(
                picture.centre[other][0] < centre[0] - 0.2 and abs(picture.centre[other][1] - centre[1]) < 0.4
                for other in range(len(picture.ids))
            )
            if NEAR_M < far < REACH_M and arm[0] > 0.6 and not blocked:
                if carton in request.split:
                    # As if it were two: the half on the right.
                    face, size = face - np.array([0.0, size[1] / 4, 0.0]), size * np.array([1.0, 0.5, 1.0])
                options.append((-round(centre[2], 2), round(face[0], 2), carton, self._pick(carton, face, size)))
        options.sort(key=lambda item: item[:3])
        plan.picks = [item[3] for item in options[:3]]
        if not options and np.isfinite(front) and front > 2.0:
            plan.advance_base_m = float(min(front - 1.8, 1.0))
        if not options:
            plan.text = "nothing within reach"
        return Choice(plan, picture, request.key())

    def _pick(self, carton: int, face: Array, size: Array) -> PlannedPick:
        grasp, load, place = np.eye(4), np.eye(4), np.eye(4)
        grasp[:3, :3], grasp[:3, 3] = FACING, face
        load[:3, :3], load[2, 3] = FACING.T, size[0] / 2
        place[2, 3] = size[2] / 2
        return PlannedPick(
            carton_ids=[carton],
            stroke=PlannedPick.STROKE_LIFT_PULL,
            grasp_pose=to_pose(grasp),
            zones=0b111111,
            extract_m=to_vector3((-0.45, 0.0, 0.0)),
            lift_m=0.05,
            speed_limit_mps=0.6,
            place_pose=to_pose(place),
            size_m=to_vector3((size[1], size[2], size[0])),
            load_in_tool=to_pose(load),
            mass_kg=8.0,
            expected_s=6.0,
        )
