"""One motion of a request at a time: from where the arm stands, what it holds and what is known of the load, to a checked,
timed trajectory or the reason why there is none. Pure functions of a snapshot; run off the event loop.

Frames: plans are made in base_link; the snapshot says where that is in the trailer.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np
from lumper_msgs.msg import BrokerState, OutcomeCode
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lumper_motion.collision import (
    Closeness,
    CollisionChecker,
    Load,
    Obstacle,
    base_obstacles,
    trailer_obstacles,
)
from lumper_motion.intake import load_acceleration
from lumper_motion.kinematics import ArmKinematics, straight_tools
from lumper_motion.parameters import MotionParameters
from lumper_motion.path import Leg, Path, SearchError, check_path, line, make_path, search
from lumper_motion.requests import Pick
from lumper_motion.timing import Limits, TimingError, Trajectory, time_path
from lumper_ros.convert import inverse
from lumper_ros.robot import Robot, Trailer

Array = NDArray[np.float64]
B = BrokerState

# Goals tried with a straight path, and given to the search, at most.
MAX_CANDIDATES = 8
MAX_STRAIGHT = 4
# Other straight ways to a face: shorter under the roof, longer where it stands back between its neighbours.
OTHER_APPROACHES_M = (0.03, 0.25, 0.45)
# A way found may touch something once its corners are rounded: then another is looked for.
SEARCHES = 3
# Of the planning deadline: the rest is for what comes before and after.
SEARCH_SHARE = 0.7
# Half the length of path that a corner is rounded over: the roundest that is free is taken.
CORNERS_RAD = (0.25, 0.08, 0.02, 0.004)
# An arm that stands too near something may leave it over this much of its path.
ESCAPE_RAD = 0.35
# So far it steps off first, where that is enough.
STEPS_CLEAR_M = (0.05, 0.12)
# A tool nearer to the stroke than this is on it; a stroke that is all but done goes on for this much.
STROKE_NEAR_M = 0.08
STROKE_LEAST_M = 0.02
# The running belt must not take hold of a load that still hangs on the cups: it is let go this much above.
BELT_GAP_M = 0.02
PAD_GAP_M = 0.015
# The belt carries the load to -x: a gripper pointing along +x more than this would be pushed.
DOWNSTREAM_COSINE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class KnownCarton:
    """A carton of the wall: pose of its centre in trailer."""

    carton_id: int
    pose: Array
    size_m: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What a plan is made from."""

    start: Array  # (6,) rad
    trailer_from_base: Array  # 4x4
    cartons: tuple[KnownCarton, ...]
    wall_version: int
    load: Load | None
    tried: int = 0  # makes one search differ from another with the same start and goal


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no motion: OutcomeCode and text."""

    code: int
    text: str


Motion = Trajectory | Failure


@dataclass(frozen=True, slots=True, eq=False)
class _Goal:
    """A way to end a motion: where free motion ends, and the legs from there."""

    via: Array  # (6,)
    legs: tuple[Leg, ...]


class StagePlanner:
    """Plans motions for one robot. Keeps the last scene, which is a function of the snapshot."""

    def __init__(
        self, robot: Robot, trailer: Trailer, parameters: MotionParameters, clock: Callable[[], float] | None = None
    ) -> None:
        """
        Args:
            clock: seconds; with it a search gives up in time for the planning deadline. Without it only the count of
                collision checks ends a search, and the same call gives the same motion on every machine.
        """
        self.robot = robot
        self.kinematics = ArmKinematics(robot)
        self.clock = clock
        self._trailer = trailer
        self._p = parameters
        self._scene: tuple[tuple[int, bytes], CollisionChecker] | None = None

    @property
    def made_of(self) -> tuple[Robot, Trailer, MotionParameters]:
        return self.robot, self._trailer, self._p

    # --- the stages ---

    def approach(self, snapshot: Snapshot, pick: Pick, press_m: float | None = None) -> Motion:
        """APPROACH and GRASP: to the face, the cups pressed on."""
        p = self._p
        base_from_trailer = inverse(snapshot.trailer_from_base)
        face = base_from_trailer @ pick.grasp
        contact = _along_tool(face, p.press_m if press_m is None else press_m)
        near = _along_tool(face, -p.contact_m)
        checker = self._checker(snapshot, _names(pick.carton_ids))
        out = self._stroke_tools(pick, contact, base_from_trailer)
        reached, followed, blocked = False, False, ""

        def ways() -> Iterator[tuple[Array, Array]]:
            """From near the face first; from further out where neighbours stand out beside it."""
            nonlocal reached, blocked
            for distance in (p.approach_m, *OTHER_APPROACHES_M):
                before = _along_tool(face, -p.contact_m - distance)
                for via in self.kinematics.solutions(before, snapshot.start)[:MAX_CANDIDATES]:
                    reached = True
                    if checker.free(via):
                        yield before, via
                    else:
                        blocked = blocked or _pairs_text(checker.explain(via, Closeness.CLEAR))

        def goals() -> Iterator[_Goal]:
            nonlocal followed, blocked
            for before, via in ways():
                legs = self._lines(
                    via,
                    (before, near, contact),
                    (B.STAGE_APPROACH, B.STAGE_GRASP),
                    Closeness.CONTACT,
                    (p.approach_speed_mps, p.contact_speed_mps),
                )
                stroke = self._follow(out, legs[-1].joints[-1], 0.05) if legs is not None else None
                if legs is None or stroke is None:
                    continue
                followed = True
                touches = _hit(checker, legs) or self._stroke_block(snapshot, checker, pick, stroke)
                blocked = blocked or touches
                if not touches:
                    yield _Goal(via, legs)

        motion = self._free_motion(snapshot, checker, goals(), B.STAGE_APPROACH, self._limits(snapshot.load))
        if motion is not None:
            return motion
        if not reached or not (followed or blocked):
            return Failure(OutcomeCode.UNREACHABLE, f"cartons {list(pick.carton_ids)}: {self._reach_text(contact)}")
        return Failure(OutcomeCode.IN_COLLISION, f"at the face of {list(pick.carton_ids)}: {blocked}")

    def extract(self, snapshot: Snapshot, pick: Pick) -> Motion:
        """EXTRACT: lift, tilt, pull the load out at its speed limit; ends with the load held clear.

        A stroke that was broken off goes on from where the tool is along it.
        """
        assert snapshot.load is not None
        base_from_trailer = inverse(snapshot.trailer_from_base)
        whole = self._stroke_tools(pick, base_from_trailer @ pick.grasp, base_from_trailer)
        if len(whole) == 1:
            return Failure(OutcomeCode.MALFORMED, "pick.extract_m and lift_m are zero: the load cannot be taken clear")
        tools = _rest_of(whole, self.kinematics.tool(snapshot.start)[0])
        joints = self._follow(tools, snapshot.start)
        if joints is None:
            return Failure(OutcomeCode.UNREACHABLE, f"the stroke of {list(pick.carton_ids)} leaves the arm's reach")
        checker = self._checker(snapshot, _names(pick.carton_ids))
        # Neighbours that it leans on now are what it slides along: the stroke was judged by the planner.
        touching = {other for _, other in checker.explain(snapshot.start, Closeness.CONTACT)}
        checker.allow({*_names(pick.carton_ids), *touching}, _names(snapshot.load.carton_ids))
        legs = [Leg(part, B.STAGE_EXTRACT, Closeness.CONTACT, pick.speed_limit_mps) for part in joints]
        return self._timed(legs, checker, self._limits(snapshot.load))

    def place(self, snapshot: Snapshot, pick: Pick) -> Motion:
        """CARRY and PLACE: over the belt, then down onto it."""
        load, p = snapshot.load, self._p
        assert load is not None
        text = "no pose over the belt"
        checker = self._checker(snapshot, ())
        ways = [
            (via, above, near, down)
            for down in self._laying_tools(pick, load)
            for above, near in ((_raised(down, p.above_belt_m), _raised(down, p.contact_m)),)
            for via in self.kinematics.solutions(above, snapshot.start)[:4]
        ]
        # The quickest wrist first.
        speed = self.robot.max_speed_radps
        ways.sort(key=lambda way: float((np.abs(way[0] - snapshot.start) / speed).max()))

        def goals() -> Iterator[_Goal]:
            nonlocal text
            for via, above, near, down in ways:
                legs = self._lines(
                    via,
                    (above, near, down),
                    (B.STAGE_PLACE, B.STAGE_PLACE),
                    Closeness.CONTACT,
                    (p.lower_speed_mps, p.lay_speed_mps),
                )
                if legs is None:
                    continue
                back = self._follow([down, self._backed(down)], legs[-1].joints[-1])
                touches = _hit(checker, legs) if back is not None else "no way back from the belt"
                text = touches or text
                if not touches:
                    yield _Goal(via, legs)

        motion = self._free_motion(snapshot, checker, goals(), B.STAGE_CARRY, self._limits(load))
        if motion is not None:
            return motion
        return Failure(OutcomeCode.UNREACHABLE, f"no way to lay {list(load.carton_ids)} on the belt: {text}")

    def back_off(self, snapshot: Snapshot) -> Motion:
        """RETREAT after a release or a failed grasp: straight back from the face."""
        here = self.kinematics.tool(snapshot.start)[0]
        legs = self._lines(
            snapshot.start,
            (here, self._backed(here)),
            (B.STAGE_RETREAT,),
            Closeness.CONTACT,
            (self._p.approach_speed_mps,),
        )
        if legs is None:
            return Failure(OutcomeCode.UNREACHABLE, "no way straight back from here")
        names = _names(tuple(carton.carton_id for carton in snapshot.cartons))
        return self._timed(legs, self._checker(snapshot, names), self._limits(None))

    def to_pose(self, snapshot: Snapshot, target: Array) -> Motion:
        """HOME and SCAN: to a named joint pose."""
        checker = self._checker(snapshot, ())
        if not checker.free(target):
            pairs = checker.explain(target, Closeness.CLEAR)
            return Failure(OutcomeCode.IN_COLLISION, f"the pose asked for: {_pairs_text(pairs)}")
        if float(np.abs(target - snapshot.start).max()) < 1e-4:
            target = snapshot.start + 1e-4
        goals = iter([_Goal(target, ())])
        motion = self._free_motion(snapshot, checker, goals, B.STAGE_MOVE, self._limits(snapshot.load))
        assert motion is not None
        return motion

    def retrace(self, snapshot: Snapshot, way: Array) -> Motion:
        """RETREAT as a request: back along (n, 6) joints that the arm came along, newest first, slowly."""
        joints = np.vstack([snapshot.start, way])
        speed = self._p.retreat_speed_mps
        legs = [Leg(joints, B.STAGE_RETREAT, Closeness.CONTACT, speed)]
        names = _names(tuple(carton.carton_id for carton in snapshot.cartons))
        return self._timed(legs, self._checker(snapshot, names), self._limits(snapshot.load))

    def jog(self, snapshot: Snapshot, joint_delta: Array | None, tool_delta: Array | None) -> Motion:
        """JOG: straight in joint space, or straight in tool0."""
        speed = self._p.retreat_speed_mps
        if joint_delta is not None:
            target = snapshot.start + joint_delta
            outside = (target < self.robot.lower_rad) | (target > self.robot.upper_rad)
            if outside.any():
                name = self.robot.joint_names[int(np.argmax(outside))]
                return Failure(OutcomeCode.UNREACHABLE, f"{name} would leave its range")
            legs: Sequence[Leg] | None = [Leg(line(snapshot.start, target), B.STAGE_MOVE, Closeness.CONTACT, speed)]
        else:
            assert tool_delta is not None
            here = self.kinematics.tool(snapshot.start)[0]
            legs = self._lines(snapshot.start, (here, here @ tool_delta), (B.STAGE_MOVE,), Closeness.CONTACT, (speed,))
        if legs is None:
            return Failure(OutcomeCode.UNREACHABLE, "the displaced tool pose is out of the arm's reach")
        return self._timed(legs, self._checker(snapshot, ()), self._limits(snapshot.load))

    def press(self, snapshot: Snapshot, carton_ids: tuple[int, ...], by_m: float) -> Motion:
        """GRASP again: push the cups further onto the face."""
        here = self.kinematics.tool(snapshot.start)[0]
        speed = self._p.contact_speed_mps
        legs = self._lines(
            snapshot.start, (here, _along_tool(here, by_m)), (B.STAGE_GRASP,), Closeness.CONTACT, (speed,)
        )
        if legs is None:
            return Failure(OutcomeCode.UNREACHABLE, "the face cannot be pressed harder from here")
        return self._timed(legs, self._checker(snapshot, _names(carton_ids)), self._limits(None))

    def recheck(self, snapshot: Snapshot, trajectory: Trajectory, from_s: float, carton_ids: tuple[int, ...]) -> str:
        """What the rest of a running trajectory would touch on the snapshot's wall; empty = nothing."""
        checker = self._checker(snapshot, _names(carton_ids))
        block = check_path(trajectory.path, self.kinematics, checker, from_s, ESCAPE_RAD)
        return "" if block is None else block.what

    # --- parts ---

    def _stroke_block(self, snapshot: Snapshot, checker: CollisionChecker, pick: Pick, stroke: Sequence[Array]) -> str:
        """What the stroke after this grasp would touch, besides what the load leans on; empty = nothing."""
        if not stroke:
            return ""
        samples = np.vstack(stroke)
        checker.set_load(load_of(pick))
        touching = {other for _, other in checker.explain(samples[0], Closeness.CONTACT)}
        checker.allow({*_names(pick.carton_ids), *touching})
        hit = checker.first_hit(samples, Closeness.CONTACT)
        text = "" if hit < 0 else f"on the way out {_pairs_text(checker.explain(samples[hit], Closeness.CONTACT))}"
        checker.set_load(snapshot.load)
        checker.allow(_names(pick.carton_ids))
        return text

    def _checker(self, snapshot: Snapshot, allowed: Sequence[str]) -> CollisionChecker:
        key = (snapshot.wall_version, snapshot.trailer_from_base.tobytes())
        if self._scene is None or self._scene[0] != key:
            base_from_trailer = inverse(snapshot.trailer_from_base)
            obstacles = trailer_obstacles(self._trailer, base_from_trailer) + base_obstacles(self.robot)
            obstacles += [
                Obstacle(name, base_from_trailer @ carton.pose, carton.size_m, carton.carton_id)
                for carton in snapshot.cartons
                for name in _names((carton.carton_id,))
            ]
            self._scene = (key, CollisionChecker(self.kinematics, obstacles, self._p.clearance_m))
        checker = self._scene[1]
        checker.set_load(snapshot.load)
        held = snapshot.load.carton_ids if snapshot.load else ()
        checker.allow(allowed, _names(held))
        return checker

    def _limits(self, load: Load | None) -> Limits:
        share = self._p.limit_fraction
        mass = load.mass_kg if load else 0.0
        limits = Limits(self.robot.max_speed_radps * share, self.robot.accel_limit(mass) * share)
        if load is None or mass <= 0.0:
            return limits
        # The bound is per axis: the worst direction is the diagonal of two.
        centre = load.pose_in_tool[:3, 3]
        accel = load_acceleration(load.zones, mass, centre, self.robot, self._p.hold_share) / math.sqrt(2.0)
        return replace(limits, load_accel_mps2=max(accel, 0.3), load_in_tool=load.pose_in_tool[:3, 3])

    def _stroke_tools(self, pick: Pick, contact: Array, base_from_trailer: Array) -> list[Array]:
        """Tool poses of lift, tilt and pull, from contact on."""
        tools = [contact]
        turn = base_from_trailer[:3, :3]
        if pick.lift_m > 0.0:
            tools.append(_moved(tools[-1], turn @ np.array([0.0, 0.0, pick.lift_m])))
        if pick.tilt_rad != 0.0:
            load = tools[-1] @ pick.load_in_tool
            rotation = np.eye(4)
            rotation[:3, :3] = Rotation.from_euler("y", -pick.tilt_rad).as_matrix()
            tools.append(load @ rotation @ inverse(pick.load_in_tool))
        if float(np.linalg.norm(pick.extract_m)) > 0.0:
            tools.append(_moved(tools[-1], turn @ pick.extract_m))
        return tools

    def _follow(self, tools: Sequence[Array], seed: Array, step_m: float = 0.02) -> list[Array] | None:
        """Joint samples of each straight tool line, or None where the arm cannot follow."""
        parts = []
        for start, end in pairwise(tools):
            part = self.kinematics.tool_line(straight_tools(start, end, step_m), seed)
            if part is None:
                return None
            part[0] = seed
            parts.append(part)
            seed = part[-1]
        return parts

    def _lines(
        self, via: Array, tools: Sequence[Array], stages: Sequence[int], closeness: Closeness, speeds: Sequence[float]
    ) -> tuple[Leg, ...] | None:
        parts = self._follow(tools, via)
        if parts is None:
            return None
        return tuple(
            Leg(part, stage, closeness, speed) for part, stage, speed in zip(parts, stages, speeds, strict=True)
        )

    def _backed(self, tool: Array) -> Array:
        """Back from a face; a little upwards too where the tool lies level, off a moving belt."""
        back = _along_tool(tool, -self._p.retreat_m)
        return back if abs(tool[2, 2]) > 0.7 else _raised(back, 0.3 * self._p.retreat_m)

    def _laying_tools(self, pick: Pick, load: Load) -> list[Array]:
        """Tool poses with the load on the belt, as asked first, then turned by quarters about the vertical.

        The place pose's centre binds, its turn does not: a box lies as well in any of four.
        """
        infeed = self.robot.link_transforms(np.zeros(len(self.robot.joint_names)))["infeed"]
        from_load = inverse(pick.load_in_tool)
        corners = _corners(load.size_m) @ load.pose_in_tool[:3, :3].T + load.pose_in_tool[:3, 3]
        pad = _pad_corners(self.robot)
        result: list[Array] = []
        pushed: list[Array] = []
        for quarter in range(4):
            turn = np.eye(4)
            turn[:3, :3] = Rotation.from_euler("z", quarter * math.pi / 2.0).as_matrix()
            wanted = pick.place.copy()
            wanted[:3, :3] = turn[:3, :3] @ wanted[:3, :3]
            tool = wanted @ from_load
            box = corners @ tool[:3, :3].T + tool[:3, 3]
            grip = pad @ tool[:3, :3].T + tool[:3, 3]
            if quarter and np.abs(box[:, 1]).max() > self.robot.conveyor.width_m / 2.0:
                continue
            lift = max(0.0, BELT_GAP_M - float(box[:, 2].min()))
            drop = max(0.0, PAD_GAP_M - float(grip[:, 2].min()) - lift)
            if drop > self._p.max_drop_m:
                continue
            placed = infeed @ _raised(tool, lift + drop)
            (pushed if tool[0, 2] > DOWNSTREAM_COSINE else result).append(placed)
        return result or pushed

    def _free_motion(
        self, snapshot: Snapshot, checker: CollisionChecker, ways: Iterator[_Goal], stage: int, limits: Limits
    ) -> Motion | None:
        """Straight to the first goal that can be reached so, or around what is in the way; None where there is no goal."""
        blocked = ""
        goals: list[_Goal] = []
        late = self._lateness()
        start = snapshot.start
        legs_before: list[Leg] = []
        if not checker.free(start):
            freed = self._step_clear(start, checker)
            if freed is not None:
                legs_before, start = [Leg(freed, stage, Closeness.CONTACT)], freed[-1]

        def through(points: Iterable[Array], goal: _Goal) -> Motion:
            legs = [*legs_before, *(Leg(line(a, b), stage) for a, b in pairwise(points)), *goal.legs]
            return self._timed(legs, checker, limits)

        for goal in islice(ways, MAX_STRAIGHT):
            goals.append(goal)
            motion = through((start, goal.via), goal)
            if not isinstance(motion, Failure):
                return motion
            blocked = blocked or motion.text
        if not goals:
            return None
        for vias in self._detours(start, goals[0].via):
            motion = through((start, *vias, goals[0].via), goals[0])
            if not isinstance(motion, Failure):
                return motion
            if late():
                return Failure(OutcomeCode.PLANNING_TIMEOUT, f"no path in time; straight it is blocked: {blocked}")
        if not checker.free(start):
            return Failure(
                OutcomeCode.IN_COLLISION,
                f"where the arm stands: {_pairs_text(checker.explain(start, Closeness.CLEAR))}",
            )
        open_goals = [goal for goal in goals if checker.free(goal.via)]
        if not open_goals:
            return Failure(OutcomeCode.IN_COLLISION, f"every way to begin the straight stretch is blocked: {blocked}")
        found: Motion = Failure(OutcomeCode.PLANNING_TIMEOUT, blocked)
        for attempt in range(SEARCHES):
            try:
                way = search(
                    self.kinematics,
                    checker,
                    start,
                    [goal.via for goal in open_goals],
                    self._p.search_checks // SEARCHES,
                    self._p.search_seed + SEARCHES * snapshot.tried + attempt,
                    late,
                )
            except SearchError as error:
                found = Failure(OutcomeCode.PLANNING_TIMEOUT, f"{error}; straight it is blocked: {blocked}")
                if late():
                    break
                continue
            goal = min(open_goals, key=lambda item: float(np.abs(item.via - way[-1]).max()))
            found = through(way, goal)
            if not isinstance(found, Failure):
                break
        return found

    def _lateness(self) -> Callable[[], bool]:
        """Whether a search begun now shall give up, asked later."""
        clock = self.clock
        if clock is None:
            return lambda: False
        end_s = clock() + SEARCH_SHARE * self._p.planning_deadline_s
        return lambda: clock() > end_s

    def _detours(self, start: Array, goal: Array) -> list[tuple[Array, ...]]:
        """Ways round what usually is in the way: up first, back from the load, high over the belt, arm drawn in between."""
        tools = self.kinematics.tool(np.array([start, goal]))
        rise = max(0.25, float(tools[1][2, 3] - tools[0][2, 3]) + 0.15)
        ups = list(self.kinematics.solutions(_raised(tools[0], rise), start)[:1])
        backs = self.kinematics.solutions(_along_tool(tools[0], -0.25), start)[:1]
        overs = self.kinematics.solutions(_raised(tools[1], 0.3), goal)[:1]
        drawn_in = 0.5 * (start + goal)
        drawn_in[1:3] = self.robot.poses["home"][1:3]
        ways: list[tuple[Array, ...]] = [(drawn_in,)]
        # A load that is turned where it came out would sweep the pile: a little back as well.
        ups += list(self.kinematics.solutions(_along_tool(_raised(tools[0], rise), -0.25), start)[:1])
        ways += [(up,) for up in ups] + [(up, over) for up in ups for over in overs]
        ways += [(back,) for back in backs] + [(over,) for over in overs]
        ways += [(back, over) for back in backs for over in overs]
        ways += [(back, drawn_in) for back in backs] + [(drawn_in, over) for over in overs]
        return ways

    def _step_clear(self, start: Array, checker: CollisionChecker) -> Array | None:
        """(n, 6) short tool line to a configuration that is free, from one that is too near something."""
        tool = self.kinematics.tool(start)[0]
        # Away from a side wall, which a load may stand next to all along the way out.
        beside = [_moved(tool, np.array([0.0, side, 0.0])) for side in (-0.06, 0.06)]
        near = [
            end
            for far_m in STEPS_CLEAR_M
            for end in (_moved(tool, np.array([-far_m, 0.0, 0.0])), _along_tool(tool, -far_m), _raised(tool, far_m))
        ] + beside
        for end in [*near, *(_raised(_along_tool(way, -0.15), 0.04) for way in near), _raised(tool, 0.25)]:
            joints = self.kinematics.tool_line(straight_tools(tool, end), start)
            if joints is not None and checker.free(joints[-1]):
                return joints
        return None

    def _timed(self, legs: Sequence[Leg], checker: CollisionChecker, limits: Limits) -> Motion:
        """Check and time; corners are rounded less where rounding makes the path touch something."""
        path = make_path(legs, CORNERS_RAD[0])
        text = self._fault(path, checker)
        if text and len(legs) > 1:
            # What is blocked with its corners sharp is blocked with any.
            sharp = make_path(legs, CORNERS_RAD[-1])
            text = self._fault(sharp, checker)
            if not text:
                rounder = (make_path(legs, corner) for corner in CORNERS_RAD[1:-1])
                path = next((each for each in rounder if not self._fault(each, checker)), sharp)
        if text:
            return Failure(OutcomeCode.IN_COLLISION, text)
        try:
            return time_path(path, self.kinematics, limits, self._p.smoothing_s)
        except TimingError as error:
            return Failure(OutcomeCode.INTERNAL, str(error))

    def _fault(self, path: Path, checker: CollisionChecker) -> str:
        """Why a path cannot be gone; empty = it can."""
        outside = _outside_limits(path, self.robot)
        if outside:
            return outside
        block = check_path(path, self.kinematics, checker, 0.0, ESCAPE_RAD)
        return block.what if block else ""

    def _reach_text(self, tool: Array) -> str:
        shoulder = self.robot.link_transforms(np.zeros(len(self.robot.joint_names)))["link_2"][:3, 3]
        far = float(np.linalg.norm(tool[:3, 3] - shoulder))
        return f"no joint solution within limits for approach, contact and stroke; the face is {far:.2f} m from the shoulder"


def _rest_of(tools: Sequence[Array], here: Array) -> list[Array]:
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
    rest = [here, *(_moved(tool, offset) for tool in tools[following:])]
    last = tools[-1][:3, 3] - tools[-2][:3, 3]
    if len(rest) == 2 and float(np.linalg.norm(rest[1][:3, 3] - here[:3, 3])) < STROKE_LEAST_M:
        rest[1] = _moved(here, last / float(np.linalg.norm(last)) * STROKE_LEAST_M)
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


def _outside_limits(path: Path, robot: Robot) -> str:
    joints = path.at(np.linspace(0.0, path.length_rad, 60))
    over = (joints < robot.lower_rad - 1e-6) | (joints > robot.upper_rad + 1e-6)
    if not over.any():
        return ""
    return f"{robot.joint_names[int(np.argmax(over.any(axis=0)))]} would leave its range"


def _names(carton_ids: Sequence[int]) -> list[str]:
    return [f"carton {carton_id}" for carton_id in carton_ids]


def _pairs_text(pairs: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{part} touches {other}" for part, other in pairs[:3]) or "contact"


def _hit(checker: CollisionChecker, legs: Sequence[Leg]) -> str:
    """What the ends of straight stretches touch; the whole path is checked later."""
    for leg in legs:
        if not checker.free(leg.joints[-1], leg.closeness):
            return _pairs_text(checker.explain(leg.joints[-1], leg.closeness))
    return ""


def _moved(pose: Array, by: Array) -> Array:
    result = pose.copy()
    result[:3, 3] += by
    return result


def _raised(pose: Array, by_m: float) -> Array:
    return _moved(pose, np.array([0.0, 0.0, by_m]))


def _along_tool(tool: Array, by_m: float) -> Array:
    return _moved(tool, tool[:3, 2] * by_m)


def _corners(size_m: Sequence[float]) -> Array:
    signs = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    return np.asarray(signs * np.array(size_m))


def _pad_corners(robot: Robot) -> Array:
    pad = robot.gripper
    return _corners((pad.pad_width_m, pad.pad_height_m, pad.pad_depth_m)) - np.array([0.0, 0.0, pad.pad_depth_m / 2.0])
