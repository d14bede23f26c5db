"""One motion of a request at a time: from where the arm stands, what it holds and what is known of the load, to a checked,
timed trajectory or the reason why there is none. Pure functions of a snapshot; run off the event loop.

Frames: plans are made in base_link; the snapshot says where that is in the trailer.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from lumper_msgs.msg import BrokerState, OutcomeCode
from numpy.typing import NDArray

from lumper_motion.collision import Closeness, CollisionChecker
from lumper_motion.free_motion import ESCAPE_RAD, Failure, FreeMotion, Goal, Motion, pairs_text
from lumper_motion.intake import load_acceleration
from lumper_motion.kinematics import ArmKinematics, straight_tools
from lumper_motion.obstacles import Load, Obstacle, base_obstacles, trailer_obstacles
from lumper_motion.parameters import MotionParameters
from lumper_motion.path import Leg, check_path, line
from lumper_motion.requests import Pick
from lumper_motion.timing import Limits, Trajectory
from lumper_motion.tools import LAYING_SHIFTS_M, along_tool, laying_tools, load_of, raised, rest_of, stroke_tools
from lumper_ros.convert import inverse
from lumper_ros.robot import Robot, Trailer

Array = NDArray[np.float64]
B = BrokerState

# Joint solutions of one tool pose that are looked at.
MAX_CANDIDATES = 8
# Other straight ways to a face: shorter under the roof, longer where it stands back between its neighbours.
OTHER_APPROACHES_M = (0.03, 0.25, 0.45)


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

    def __reduce__(self) -> tuple[Any, ...]:
        """A wall goes to another process as three arrays: two hundred cartons one by one take 2 ms."""
        cartons = (
            np.array([carton.carton_id for carton in self.cartons], dtype=np.int64),
            np.array([carton.pose for carton in self.cartons]).reshape(-1, 4, 4),
            np.array([carton.size_m for carton in self.cartons]).reshape(-1, 3),
        )
        return _unpacked, (self.start, self.trailer_from_base, cartons, self.wall_version, self.load, self.tried)


def _unpacked(
    start: Array, base: Array, cartons: tuple[NDArray[np.int64], Array, Array], wall_version: int, *rest: Any
) -> Snapshot:
    known = tuple(
        KnownCarton(carton_id, pose, (x, y, z))
        for carton_id, pose, (x, y, z) in zip(cartons[0].tolist(), cartons[1], cartons[2].tolist(), strict=True)
    )
    return Snapshot(start, base, known, wall_version, *rest)


class StagePlanner:
    """Plans motions for one robot. Keeps the last scene, which is a function of the snapshot."""

    def __init__(
        self, robot: Robot, trailer: Trailer, parameters: MotionParameters, clock: Callable[[], float] | None = None
    ) -> None:
        """
        Args:
            clock: as for `FreeMotion`.
        """
        self.robot = robot
        self.kinematics = ArmKinematics(robot)
        self._trailer = trailer
        self._p = parameters
        self._free = FreeMotion(self.kinematics, parameters, clock)
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
        contact = along_tool(face, p.press_m if press_m is None else press_m)
        near = along_tool(face, -p.contact_m)
        checker = self._checker(snapshot, _names(pick.carton_ids))
        out = stroke_tools(pick, contact, base_from_trailer)
        reached, followed, blocked = False, False, ""

        def ways() -> Iterator[tuple[Array, Array]]:
            """From near the face first; from further out where neighbours stand out beside it."""
            nonlocal reached, blocked
            for distance in (p.approach_m, *OTHER_APPROACHES_M):
                before = along_tool(face, -p.contact_m - distance)
                for via in self.kinematics.solutions(before, snapshot.start)[:MAX_CANDIDATES]:
                    reached = True
                    if checker.free(via):
                        yield before, via
                    else:
                        blocked = blocked or pairs_text(checker.explain(via, Closeness.CLEAR))

        def goals() -> Iterator[Goal]:
            nonlocal followed, blocked
            for before, via in ways():
                legs = self._lines(
                    via,
                    (before, near, contact),
                    (B.STAGE_APPROACH, B.STAGE_GRASP),
                    (p.approach_speed_mps, p.contact_speed_mps),
                )
                stroke = self._follow(out, legs[-1].joints[-1], 0.05) if legs is not None else None
                if legs is None or stroke is None:
                    continue
                followed = True
                touches = _hit(checker, legs) or self._stroke_block(snapshot, checker, pick, stroke)
                blocked = blocked or touches
                if not touches:
                    yield Goal(via, legs)

        motion = self._free.find(
            snapshot.start, snapshot.tried, checker, goals(), B.STAGE_APPROACH, self._limits(snapshot.load)
        )
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
        whole = stroke_tools(pick, base_from_trailer @ pick.grasp, base_from_trailer)
        if len(whole) == 1:
            return Failure(OutcomeCode.MALFORMED, "pick.extract_m and lift_m are zero: the load cannot be taken clear")
        tools = rest_of(whole, self.kinematics.tool(snapshot.start)[0])
        joints = self._follow(tools, snapshot.start)
        if joints is None:
            return Failure(OutcomeCode.UNREACHABLE, f"the stroke of {list(pick.carton_ids)} leaves the arm's reach")
        checker = self._checker(snapshot, _names(pick.carton_ids))
        # Neighbours that it leans on now are what it slides along: the stroke was judged by the planner.
        touching = {other for _, other in checker.explain(snapshot.start, Closeness.CONTACT)}
        checker.allow({*_names(pick.carton_ids), *touching}, self._itself(snapshot))
        lengths = [float(np.linalg.norm(end[:3, 3] - start[:3, 3])) for start, end in pairwise(tools)]
        legs = [
            Leg(part, B.STAGE_EXTRACT, Closeness.CONTACT, pick.speed_limit_mps, tool_m)
            for part, tool_m in zip(joints, lengths, strict=True)
        ]
        return self._free.timed(legs, checker, self._limits(snapshot.load))

    def place(self, snapshot: Snapshot, pick: Pick) -> Motion:
        """CARRY and PLACE: over the belt, then down onto it."""
        load, p = snapshot.load, self._p
        assert load is not None
        blocked = ""
        checker = self._checker(snapshot, ())
        speed = self.robot.max_speed_radps

        def ways() -> Iterator[tuple[Array, tuple[Array, ...]]]:
            """Where the centre is asked for first, there the quickest wrist first."""
            for shift_m in LAYING_SHIFTS_M:
                found = [
                    (via, (above, raised(down, p.contact_m), down))
                    for down in laying_tools(self.robot, pick, load, p.max_drop_m, shift_m)
                    for above in (raised(down, p.above_belt_m),)
                    for via in self.kinematics.solutions(above, snapshot.start)[:4]
                ]
                yield from sorted(found, key=lambda way: float((np.abs(way[0] - snapshot.start) / speed).max()))

        def goals() -> Iterator[Goal]:
            nonlocal blocked
            for via, tools in ways():
                touches = ""
                if not checker.free(via):
                    touches = pairs_text(checker.explain(via, Closeness.CLEAR))
                elif legs := self._lines(
                    via, tools, (B.STAGE_PLACE, B.STAGE_PLACE), (p.lower_speed_mps, p.lay_speed_mps)
                ):
                    back = self._follow([tools[-1], self._backed(tools[-1])], legs[-1].joints[-1])
                    touches = _hit(checker, legs) if back is not None else "no way back from the belt"
                    if not touches:
                        yield Goal(via, legs)
                blocked = blocked or touches

        motion = self._free.find(snapshot.start, snapshot.tried, checker, goals(), B.STAGE_CARRY, self._limits(load))
        if motion is not None:
            return motion
        text = f"no way to lay {list(load.carton_ids)} on the belt: {blocked or 'no pose over it'}"
        return Failure(OutcomeCode.UNREACHABLE, text)

    def back_off(self, snapshot: Snapshot) -> Motion:
        """RETREAT after a release or a failed grasp: straight back from the face."""
        here = self.kinematics.tool(snapshot.start)[0]
        legs = self._lines(
            snapshot.start,
            (here, self._backed(here)),
            (B.STAGE_RETREAT,),
            (self._p.approach_speed_mps,),
        )
        if legs is None:
            return Failure(OutcomeCode.UNREACHABLE, "no way straight back from here")
        names = _names(tuple(carton.carton_id for carton in snapshot.cartons))
        return self._free.timed(legs, self._checker(snapshot, names), self._limits(None))

    def to_pose(self, snapshot: Snapshot, target: Array) -> Motion:
        """HOME and SCAN: to a named joint pose."""
        checker = self._checker(snapshot, ())
        if not checker.free(target):
            pairs = checker.explain(target, Closeness.CLEAR)
            return Failure(OutcomeCode.IN_COLLISION, f"the pose asked for: {pairs_text(pairs)}")
        if float(np.abs(target - snapshot.start).max()) < 1e-4:
            target = snapshot.start + 1e-4
        goals = iter([Goal(target, ())])
        motion = self._free.find(
            snapshot.start, snapshot.tried, checker, goals, B.STAGE_MOVE, self._limits(snapshot.load)
        )
        assert motion is not None
        return motion

    def retrace(self, snapshot: Snapshot, way: Array) -> Motion:
        """RETREAT as a request: back along (n, 6) joints that the arm came along, newest first, slowly."""
        joints = np.vstack([snapshot.start, way])
        speed = self._p.retreat_speed_mps
        legs = [Leg(joints, B.STAGE_RETREAT, Closeness.CONTACT, speed)]
        names = _names(tuple(carton.carton_id for carton in snapshot.cartons))
        return self._free.timed(legs, self._checker(snapshot, names), self._limits(snapshot.load))

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
            legs = self._lines(snapshot.start, (here, here @ tool_delta), (B.STAGE_MOVE,), (speed,))
        if legs is None:
            return Failure(OutcomeCode.UNREACHABLE, "the displaced tool pose is out of the arm's reach")
        return self._free.timed(legs, self._checker(snapshot, ()), self._limits(snapshot.load))

    def press(self, snapshot: Snapshot, carton_ids: tuple[int, ...], by_m: float) -> Motion:
        """GRASP again: push the cups further onto the face."""
        here = self.kinematics.tool(snapshot.start)[0]
        speed = self._p.contact_speed_mps
        legs = self._lines(snapshot.start, (here, along_tool(here, by_m)), (B.STAGE_GRASP,), (speed,))
        if legs is None:
            return Failure(OutcomeCode.UNREACHABLE, "the face cannot be pressed harder from here")
        return self._free.timed(legs, self._checker(snapshot, _names(carton_ids)), self._limits(None))

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
        text = "" if hit < 0 else f"on the way out {pairs_text(checker.explain(samples[hit], Closeness.CONTACT))}"
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
        checker.allow(allowed, self._itself(snapshot))
        return checker

    def _itself(self, snapshot: Snapshot) -> list[str]:
        """Names of the held load: what the picture shows in its place is it, whatever a restarted intake calls it."""
        load = snapshot.load
        if load is None:
            return []
        place = snapshot.trailer_from_base @ self.kinematics.tool(snapshot.start)[0] @ load.pose_in_tool
        half = np.array(load.size_m) / 2.0
        ids = set(load.carton_ids)
        for carton in snapshot.cartons:
            apart = np.abs(place[:3, :3].T @ (carton.pose[:3, 3] - place[:3, 3]))
            if bool((apart < 0.6 * half).all()):
                ids.add(carton.carton_id)
        return _names(sorted(ids))

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
        self, via: Array, tools: Sequence[Array], stages: Sequence[int], speeds: Sequence[float]
    ) -> tuple[Leg, ...] | None:
        """Straight stretches to or from a face or the belt; None where the arm cannot follow."""
        parts = self._follow(tools, via)
        if parts is None:
            return None
        return tuple(
            Leg(part, stage, Closeness.CONTACT, speed) for part, stage, speed in zip(parts, stages, speeds, strict=True)
        )

    def _backed(self, tool: Array) -> Array:
        """Back from a face; a little upwards too where the tool lies level, off a moving belt."""
        back = along_tool(tool, -self._p.retreat_m)
        return back if abs(tool[2, 2]) > 0.7 else raised(back, 0.3 * self._p.retreat_m)

    def _reach_text(self, tool: Array) -> str:
        shoulder = self.robot.link_transforms(np.zeros(len(self.robot.joint_names)))["link_2"][:3, 3]
        far = float(np.linalg.norm(tool[:3, 3] - shoulder))
        return f"no joint solution within limits for approach, contact and stroke; the face is {far:.2f} m from the shoulder"


def _names(carton_ids: Sequence[int]) -> list[str]:
    return [f"carton {carton_id}" for carton_id in carton_ids]


def _hit(checker: CollisionChecker, legs: Sequence[Leg]) -> str:
    """What the ends of straight stretches to a face or the belt touch; the whole path is checked later."""
    ends = np.array([leg.joints[-1] for leg in legs])
    hit = checker.first_hit(ends, Closeness.CONTACT)
    return "" if hit < 0 else pairs_text(checker.explain(ends[hit], Closeness.CONTACT))
