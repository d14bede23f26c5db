"""From a wall to a plan: translates to lumper_core's arrays, lets it choose, and decides where the base must stand."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose
from lumper_msgs.msg import Carton, OutcomeCode, PlannedPick, RejectedCarton, UnloadPlan, Wall
from numpy.typing import NDArray

import lumper_core
from lumper_planner.clearance import lanes_of, room_ahead
from lumper_planner.parameters import PlannerParameters
from lumper_planner.reach import ArmReach
from lumper_planner.unloading import Choice, ChoiceRequest
from lumper_ros.convert import inverse, matrix_of, quaternion, to_point, to_quaternion, to_time, to_vector3, vector
from lumper_ros.robot import Robot, Trailer

Array = NDArray[np.float64]

# A carton that a person says is two: the second half gets this bit on its id while the core plans.
SECOND_HALF = 1 << 31
NEVER: Array = np.empty(0)
# A grasp this near to one that failed is made only when there is no other, m; what that counts for, s.
SAME_GRASP_M = 0.03
SAME_GRASP_COST_S = 30.0
# The same for a stroke to which no way was found from any grasp of this carton, s.
SAME_STROKE_COST_S = 15.0
# What no way was found to from one place of the base is tried again from places farther from it than this, m.
SAME_PLACE_M = 0.15
# The pad's lower edge passes over the belt by this, m.
PAD_OVER_BELT_M = 0.01
# A carton out of reach that stands this much higher than the best one in reach is gone to first, m.
TOWER_M = 0.45
# Below this a move of the base is not worth its time, m.
LEAST_ADVANCE_M = 0.05


def boxes_of(wall: Wall, gone: frozenset[int], split: Sequence[int], merged: Sequence[Sequence[int]] = ()) -> Any:
    """(N,) of lumper_core.BOX_DTYPE for the cartons of a wall that stand in the trailer, ascending by id.

    `split`, `merged`: what a person said of faces that were read wrongly. A merged group bears its lowest id.
    """
    rows: list[Any] = []
    for carton in sorted(wall.cartons, key=lambda item: item.id):
        if carton.id in gone:
            continue
        row = np.zeros((), dtype=lumper_core.BOX_DTYPE)
        row["id"] = carton.id
        row["position"] = vector(carton.pose.position)
        row["orientation"] = quaternion(carton.pose.orientation)
        row["size"] = vector(carton.size_m)
        row["size_unknown"] = carton.size_unknown
        row["pose_sigma"] = carton.pose_sigma
        row["size_sigma"] = carton.size_sigma_m
        row["mass"], row["mass_sigma"] = carton.mass_kg, carton.mass_sigma_kg
        row["friction"] = carton.friction
        # Too little evidence to touch it, whatever the tracker's figure is.
        row["confidence"] = 0.0 if carton.state in (Carton.STATE_UNCERTAIN, Carton.STATE_HIDDEN) else carton.confidence
        row["visible_faces"] = carton.visible_faces
        rows += _halves(row) if carton.id in split else [row]
    boxes = np.array(rows, dtype=lumper_core.BOX_DTYPE)
    for group in merged:
        members = np.isin(boxes["id"], group)
        if set(group) <= set(boxes["id"].tolist()):
            boxes = np.append(boxes[~members], _union(boxes[members]))
    return boxes[np.argsort(boxes["id"])]


def _union(parts: Any) -> Any:
    """The smallest box with the axes of the first that holds all of them."""
    first = matrix_of(parts[0]["position"], parts[0]["orientation"])
    signs = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    corners = np.concatenate(
        [
            (signs * part["size"]) @ matrix_of(part["position"], part["orientation"])[:3, :3].T + part["position"]
            for part in parts
        ]
    )
    local = (corners - first[:3, 3]) @ first[:3, :3]
    low, high = local.min(axis=0), local.max(axis=0)
    whole = parts[:1].copy()
    whole["position"] = first[:3, 3] + first[:3, :3] @ ((low + high) / 2)
    whole["size"] = high - low
    whole["mass"], whole["mass_sigma"] = parts["mass"].sum(), parts["mass_sigma"].sum()
    whole["id"] = parts["id"].min()
    whole["confidence"] = parts["confidence"].min()
    whole["visible_faces"] = np.bitwise_and.reduce(parts["visible_faces"])
    return whole


def _halves(row: Any) -> list[Any]:
    """A box as two of half its size, side by side along the longer edge of its front."""
    axis = 1 if row["size"][1] >= row["size"][2] else 2
    turn = matrix_of(row["position"], row["orientation"])[:3, :3]
    halves = []
    for side, name in ((-0.25, 0), (0.25, SECOND_HALF)):
        half = row.copy()
        half["position"] = row["position"] + turn[:, axis] * row["size"][axis] * side
        half["size"][axis] = row["size"][axis] / 2
        half["mass"] = row["mass"] / 2
        half["id"] = int(row["id"]) | name
        halves.append(half)
    return halves


def _bare_first(least_bad: Sequence[Any], request: ChoiceRequest) -> list[Any]:
    """Options for a person: before all that bears something what bears nothing, else as they come."""
    standing = set(request.standing().ids)
    borne = [
        (carton.id, set(map(int, carton.supported_by))) for carton in request.wall.cartons if carton.id in standing
    ]

    def bears(item: Any) -> bool:
        ids = set(map(int, item.pick.carton_ids))
        return any(below & ids and above not in ids for above, below in borne)

    return sorted(least_bad, key=bears)


def _leaves_tower(made: Any, boxes: Any) -> bool:
    """Whether a carton out of reach stands up so far above the one chosen that taking on would leave a tower."""
    top = dict(zip(boxes["id"].tolist(), (boxes["position"][:, 2] + boxes["size"][:, 2] / 2).tolist(), strict=True))
    chosen = max(top[int(carton)] for carton in made.picks[0].carton_ids)
    beyond = [top[item.carton_id] for item in made.rejected if item.reason == lumper_core.Reason.UNREACHABLE]
    return any(height - chosen > TOWER_M for height in beyond)


def _tried_s(grasps: Any, failed: Array, no_path: Array) -> Array:
    """(K,) what is added to each grasp of a carton for what was tried on it in vain, s.

    Args:
        failed: (n, 3) tool0 positions of grasps that failed, frame trailer.
        no_path: (m, 5) tool0 x, y, z, base x and stroke of grasps to which no way was found from here. Another stroke from the
            same grasp may have room where this one has none.
    """

    def near(places: Array) -> NDArray[np.bool_]:
        return np.linalg.norm(grasps["position"][:, None, :] - places[None], axis=2) < SAME_GRASP_M

    again = grasps["stroke"][:, None] == no_path[None, :, 4]
    same = near(failed).any(axis=1) | (near(no_path[:, :3]) & again).any(axis=1)
    return SAME_GRASP_COST_S * same + SAME_STROKE_COST_S * again.any(axis=1)


def _ids(ids: Sequence[int], merged: Sequence[Sequence[int]] = ()) -> list[int]:
    """Core ids as carton ids: both halves of a split carton bear its id, a merged one stands for all of its group."""
    groups = {min(group): group for group in merged}
    plain = {int(item) & ~SECOND_HALF for item in ids}
    return sorted({int(carton) for item in plain for carton in groups.get(item, (item,))})


def _pose(position: Any, orientation: Any) -> Pose:
    return Pose(position=to_point(position), orientation=to_quaternion(orientation))


def standing_groups(request: ChoiceRequest) -> list[tuple[int, ...]]:
    """The groups that a person said are one carton, of which all members still stand."""
    standing = set(request.standing().ids)
    return [group for group in request.merged if set(group) <= standing]


class Chooser:
    """Makes plans with lumper_core. Called by one thread at a time; keeps nothing but the core's working memory."""

    def __init__(self, parameters: PlannerParameters, robot: Robot, trailer: Trailer, reach: ArmReach) -> None:
        self._parameters = parameters
        self._robot = robot
        self._reach = reach
        self._length_m = trailer.length_m
        self._lanes = lanes_of(robot)
        gripper, belt, infeed = robot.gripper, robot.conveyor, robot.mounts["infeed"]
        mount = robot.mounts["arm_base"].xyz
        rows = len({zone.y_m for zone in gripper.zones})
        self._planner = lumper_core.Planner(
            trailer=lumper_core.Trailer(width_m=trailer.width_m, height_m=trailer.height_m, length_m=trailer.length_m),
            gripper=lumper_core.Gripper(
                width_m=gripper.pad_width_m,
                height_m=gripper.pad_height_m,
                columns=len(gripper.zones) // rows,
                rows=rows,
                zone_force_n=min(zone.holding_n for zone in gripper.zones),
                shear_friction=gripper.shear_fraction,
            ),
            arm=lumper_core.Arm(mount_x_m=mount[0], mount_y_m=mount[1], payload_kg=robot.payload_kg),
            conveyor=lumper_core.Conveyor(
                infeed_x_m=infeed.xyz[0], infeed_y_m=infeed.xyz[1], infeed_z_m=infeed.xyz[2], belt_width_m=belt.width_m
            ),
            parameters=lumper_core.PlanParameters(
                max_picks=parameters.picks_per_plan,
                max_group=parameters.cartons_at_once,
                lookahead=parameters.lookahead,
                base_speed_mps=parameters.base_speed_mps,
                # Where the base stands is decided here, by inverse kinematics.
                max_advance_m=0.0,
            ),
        )

    def __call__(self, request: ChoiceRequest) -> Choice:
        """A plan for the present wall.

        Raises:
            lumper_core.InputError: the wall holds a box that the core cannot use; names box and field.
        """
        self._reach.load()
        begun_s = time.thread_time()
        merged, standing = standing_groups(request), request.standing()
        boxes = boxes_of(request.wall, request.gone, request.split, merged)
        back_x = request.wall.back_wall_x_m if math.isfinite(request.wall.back_wall_x_m) else self._length_m
        room, blockers = room_ahead(
            standing,
            request.base,
            self._lanes,
            min(back_x, self._length_m),
            self._parameters.base_clearance_m,
        )
        room = min(room, self._parameters.advance_max_m)
        if not len(boxes):
            advance, made = (
                (min(room, self._parameters.advance_step_m * 2), None) if room > LEAST_ADVANCE_M else (0.0, None)
            )
        else:
            advance, made = self._from_best_place(request, boxes, room)
        plan = self._message(request, made, advance)
        plan.planning_ms = (time.thread_time() - begun_s) * 1e3
        least_bad = tuple(
            (self._pick(item.pick, merged), _rejection(item.rejection, merged))
            for item in (_bare_first(made.least_bad, request) if made is not None else ())
        )
        blocking = blockers if room < self._parameters.advance_step_m else ()
        return Choice(plan, standing, request.key(), least_bad, blocking)

    def _from_best_place(self, request: ChoiceRequest, boxes: Any, room_m: float) -> tuple[float, Any]:
        """Move (m, 0 = stay, negative = back) and the core's plan from there: stay while something can be taken from here."""
        here = self._plan(request, boxes, 0.0)
        if not any(item.reason == lumper_core.Reason.UNREACHABLE for item in here.rejected):
            return 0.0, here
        if here.picks and not _leaves_tower(here, boxes):
            return 0.0, here
        front = float(request.standing().low[:, 0].min()) - request.base[0] - self._robot.mounts["arm_base"].xyz[0]
        wanted = min(max(front - self._parameters.working_distance_m, 0.0), room_m)
        step = self._parameters.advance_step_m
        ahead = [*(step * k for k in range(1, int(room_m / step) + 1)), room_m]
        # What is left close by may have to be pulled out towards the arm: back where the base came from.
        behind = [-step * k for k in range(1, int(self._parameters.retreat_max_m / step) + 1)]
        tries = [wanted, *sorted(ahead + behind, key=lambda value: (abs(value), -value))]
        for advance in dict.fromkeys(round(value, 3) for value in tries if abs(value) >= LEAST_ADVANCE_M):
            there = self._plan(request, boxes, advance)
            if there.picks and not (here.picks and _leaves_tower(there, boxes)):
                return advance, there
        return 0.0, here

    def _plan(self, request: ChoiceRequest, boxes: Any, advance_m: float) -> Any:
        p = self._parameters
        base = (request.base[0] + advance_m, request.base[1], request.base[2])
        failed = dict(request.failed)
        failed.update(dict.fromkeys(request.set_aside, p.grasp_attempts))
        halves = {carton | SECOND_HALF for carton in request.split}
        skip = list(request.skipped) + [half for half in halves if half & ~SECOND_HALF in request.skipped]
        present = set(boxes["id"].tolist())
        failed_at = {carton: np.array(places) for carton, places in request.failed_grasps}
        no_path = {
            carton: np.array([place for place in places if abs(place[3] - base[0]) <= SAME_PLACE_M])
            for carton, places in request.no_path
        }

        def reach(grasps: Any) -> Array:
            times = self._reach.seconds(grasps, base)
            for carton in {*failed_at, *no_path}:
                own = np.flatnonzero(grasps["ids"][:, 0] == carton)
                tried, blocked = failed_at.get(carton, NEVER), no_path.get(carton, NEVER)
                times[own] += _tried_s(grasps[own], tried.reshape(-1, 3), blocked.reshape(-1, 5))
                if len(blocked) >= p.grasp_attempts:
                    times[own] = math.nan
            return times

        unknown = np.array(
            [[*vector(box.min_m), *vector(box.max_m)] for box in request.wall.unknown_space], dtype=float
        ).reshape(-1, 6)
        return self._planner.plan(
            boxes,
            base=base,
            reach=reach,
            unknown=unknown,
            skip=[carton for carton in skip if carton in present],
            failed={carton: count for carton, count in failed.items() if carton in present},
            max_failed=p.grasp_attempts,
            budget_s=p.plan_budget_s,
            seed=0,
        )

    def _message(self, request: ChoiceRequest, made: Any, advance_m: float) -> UnloadPlan:
        plan = UnloadPlan(
            job_id=request.job_id,
            plan_id=request.plan_id,
            wall_version=request.wall.version,
            advance_base_m=float(advance_m),
        )
        plan.header.frame_id, plan.header.stamp = "trailer", to_time(max(request.stamp_s, 0.0))
        merged = standing_groups(request)
        if made is None:
            plan.text = "no carton in view" + (": the base advances to see more" if advance_m else "")
            if not advance_m:
                plan.outcome.code = OutcomeCode.NEEDS_PERSON
            return plan
        plan.outcome.code = int(made.outcome)
        plan.text = made.text
        plan.picks = [self._pick(pick, merged) for pick in made.picks]
        plan.rejected = [_rejection(item, merged) for item in made.rejected]
        plan.expected_s = float(made.expected_s)
        return plan

    def _pick(self, pick: Any, merged: Sequence[Sequence[int]]) -> PlannedPick:
        place = matrix_of(pick.place_position, pick.place_orientation)
        place[2, 3] += self._lift_over_belt(place @ inverse(matrix_of(pick.load_position, pick.load_orientation)))
        message = PlannedPick(
            carton_ids=_ids(pick.carton_ids, merged),
            stroke=int(pick.stroke),
            zones=int(pick.zones),
            extract_m=to_vector3(pick.extract_m),
            lift_m=float(pick.lift_m),
            tilt_rad=float(pick.tilt_rad),
            speed_limit_mps=float(pick.speed_limit_mps),
            size_m=to_vector3(pick.size_m),
            mass_kg=float(pick.mass_kg),
            predicted_accel_mps2=float(pick.predicted_accel_mps2),
            expected_s=float(pick.expected_s),
            risk_s=float(pick.risk_s),
            certificate=int(pick.certificate),
        )
        message.grasp_pose = _pose(pick.grasp_position, pick.grasp_orientation)
        message.place_pose = _pose(place[:3, 3], pick.place_orientation)
        message.load_in_tool = _pose(pick.load_position, pick.load_orientation)
        return message

    def _lift_over_belt(self, tool_in_infeed: Array) -> float:
        """How much higher the load must be let go so that the pad, larger than a low carton's face, clears the belt, m."""
        gripper = self._robot.gripper
        corners = np.array(
            [
                (x * gripper.pad_width_m / 2, y * gripper.pad_height_m / 2, z)
                for x in (-1, 1)
                for y in (-1, 1)
                for z in (0.0, -gripper.pad_depth_m)
            ]
        )
        lowest = float((corners @ tool_in_infeed[:3, :3].T + tool_in_infeed[:3, 3])[:, 2].min())
        return max(0.0, PAD_OVER_BELT_M - lowest)


def _rejection(item: Any, merged: Sequence[Sequence[int]]) -> RejectedCarton:
    ids = _ids([item.carton_id], merged)
    return RejectedCarton(
        carton_id=ids[0],
        reason=int(item.reason),
        figure=float(item.figure),
        limit=float(item.limit),
        because_of=_ids(item.because_of, merged),
        text=item.text,
    )
