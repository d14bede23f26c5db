"""Free motion: from where the arm stands to one of several goals, straight, round what usually is in the way, or searched; and
any path checked and timed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
from lumper_msgs.msg import OutcomeCode
from numpy.typing import NDArray

from lumper_motion.collision import Closeness, CollisionChecker
from lumper_motion.kinematics import ArmKinematics, straight_tools
from lumper_motion.parameters import MotionParameters
from lumper_motion.path import Leg, Path, check_path, line, make_path
from lumper_motion.search import SearchError, search
from lumper_motion.timing import Limits, TimingError, Trajectory, time_path
from lumper_motion.tools import along_tool, moved, raised
from lumper_ros.core import GaveUpError
from lumper_ros.robot import Robot

Array = NDArray[np.float64]

# Goals tried with a straight path, at most.
MAX_STRAIGHT = 4
# A way found may touch something once its corners are rounded: then another is looked for.
SEARCHES = 3
# Of the planning deadline: the rest is for what comes before and after.
SEARCH_SHARE = 0.7
# Half the length of path that a corner is rounded over: the roundest that is free is taken.
CORNERS_RAD = (0.25, 0.08, 0.02, 0.004)
# An arm that stands too near something may leave it over this much of its path.
ESCAPE_RAD = 0.35
# So far it steps off, or rises, first, where that is enough.
STEPS_CLEAR_M = (0.05, 0.12)
RISES_CLEAR_M = (0.25, 0.45)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no motion: OutcomeCode and text."""

    code: int
    text: str


Motion = Trajectory | Failure


@dataclass(frozen=True, slots=True, eq=False)
class Goal:
    """A way to end a motion: where free motion ends, and the legs from there."""

    via: Array  # (6,), touches nothing
    legs: tuple[Leg, ...]


class FreeMotion:
    """Finds motions among obstacles for one arm."""

    def __init__(
        self, kinematics: ArmKinematics, parameters: MotionParameters, clock: Callable[[], float] | None
    ) -> None:
        """
        Args:
            clock: seconds; with it a search gives up in time for the planning deadline. Without it only the count of
                collision checks ends a search, and the same call gives the same motion on every machine.
        """
        self._kinematics = kinematics
        self._robot: Robot = kinematics.robot
        self._p = parameters
        self._clock = clock

    def find(
        self,
        start: Array,
        tried: int,
        checker: CollisionChecker,
        ways: Iterator[Goal],
        stage: int,
        limits: Limits,
    ) -> Motion | None:
        """Straight to the first goal that can be reached so, or around what is in the way; None where there is no goal.

        Args:
            start: (6,) rad, where the arm stands.
            tried: makes one search differ from another with the same start and goals.
            ways: the ways to end, best first; made only as far as they are asked for.
            stage: BrokerState.STAGE_* of the motion up to where the goal's own legs begin.

        Raises:
            GaveUpError: the planning deadline is near.
        """
        blocked = ""
        goals: list[Goal] = []
        late = self._lateness()
        legs_before: list[Leg] = []
        if not checker.free(start):
            freed = self._step_clear(start, checker, stage)
            if freed is not None:
                legs_before, start = [freed], freed.joints[-1]

        start_free = checker.free(start)

        def through(points: Iterable[Array], goal: Goal) -> Motion:
            legs = [Leg(line(a, b), stage) for a, b in pairwise(points)]
            if start_free:
                # Most ways are blocked where rounding their corners would not help: to see that, no path need be made.
                samples = np.vstack([leg.joints for leg in legs])
                hit = checker.first_hit(samples, Closeness.CLEAR)
                if hit >= 0:
                    return Failure(OutcomeCode.IN_COLLISION, pairs_text(checker.explain(samples[hit], Closeness.CLEAR)))
            return self.timed([*legs_before, *legs, *goal.legs], checker, limits)

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
                raise GaveUpError(f"no path in time; straight it is blocked: {blocked}")
        if not start_free:
            return Failure(
                OutcomeCode.IN_COLLISION,
                f"where the arm stands: {pairs_text(checker.explain(start, Closeness.CLEAR))}",
            )
        found: Motion = Failure(OutcomeCode.PLANNING_TIMEOUT, blocked)
        for attempt in range(SEARCHES):
            try:
                way = search(
                    self._kinematics,
                    checker,
                    start,
                    [goal.via for goal in goals],
                    self._p.search_checks // SEARCHES,
                    self._p.search_seed + SEARCHES * tried + attempt,
                    late,
                )
            except SearchError as error:
                text = f"{error}; straight it is blocked: {blocked}"
                if late():
                    raise GaveUpError(text) from error
                found = Failure(OutcomeCode.PLANNING_TIMEOUT, text)
                continue
            goal = min(goals, key=lambda item: float(np.abs(item.via - way[-1]).max()))
            found = through(way, goal)
            if not isinstance(found, Failure):
                break
        return found

    def timed(self, legs: Sequence[Leg], checker: CollisionChecker, limits: Limits) -> Motion:
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
            return time_path(path, self._kinematics, limits, self._p.smoothing_s)
        except TimingError as error:
            return Failure(OutcomeCode.INTERNAL, str(error))

    def _fault(self, path: Path, checker: CollisionChecker) -> str:
        """Why a path cannot be gone; empty = it can."""
        outside = _outside_limits(path, self._robot)
        if outside:
            return outside
        block = check_path(path, self._kinematics, checker, 0.0, ESCAPE_RAD)
        return block.what if block else ""

    def _lateness(self) -> Callable[[], bool]:
        """Whether a search begun now shall give up, asked later."""
        clock = self._clock
        if clock is None:
            return lambda: False
        end_s = clock() + SEARCH_SHARE * self._p.planning_deadline_s
        return lambda: clock() > end_s

    def _detours(self, start: Array, goal: Array) -> list[tuple[Array, ...]]:
        """Ways round what usually is in the way: up first, back from the load, high over the belt, arm drawn in between."""
        tools = self._kinematics.tool(np.array([start, goal]))
        rise = max(0.25, float(tools[1][2, 3] - tools[0][2, 3]) + 0.15)
        ups = list(self._kinematics.solutions(raised(tools[0], rise), start)[:1])
        backs = self._kinematics.solutions(along_tool(tools[0], -0.25), start)[:1]
        overs = self._kinematics.solutions(raised(tools[1], 0.3), goal)[:1]
        drawn_in = 0.5 * (start + goal)
        drawn_in[1:3] = self._robot.poses["home"][1:3]
        ways: list[tuple[Array, ...]] = [(drawn_in,)]
        # A load that is turned where it came out would sweep the pile: a little back as well.
        ups += list(self._kinematics.solutions(along_tool(raised(tools[0], rise), -0.25), start)[:1])
        ways += [(up,) for up in ups] + [(up, over) for up in ups for over in overs]
        ways += [(back,) for back in backs] + [(over,) for over in overs]
        ways += [(back, over) for back in backs for over in overs]
        ways += [(back, drawn_in) for back in backs] + [(drawn_in, over) for over in overs]
        return ways

    def _step_clear(self, start: Array, checker: CollisionChecker, stage: int) -> Leg | None:
        """A short tool line to a configuration that is free, from one that is too near something."""
        tool = self._kinematics.tool(start)[0]
        # Away from a side wall, which a load may stand next to all along the way out; out of a gap it must come up first.
        beside = [moved(tool, np.array([0.0, side, 0.0])) for side in (-0.06, 0.06, -0.03, 0.03)]
        near = [
            end
            for far_m in STEPS_CLEAR_M
            for end in (moved(tool, np.array([-far_m, 0.0, 0.0])), along_tool(tool, -far_m), raised(tool, far_m))
        ] + beside
        near += [raised(along_tool(way, -0.15), 0.04) for way in near]
        above = [raised(way, rise_m) for rise_m in RISES_CLEAR_M for way in (tool, *beside)]
        # High up the way goes on in any direction: there is room for a rounded corner, or a higher place is taken.
        tries = [(near, Closeness.CLEAR), (above, Closeness.WIDE), (above, Closeness.CLEAR)]
        for end, closeness in ((end, closeness) for ends, closeness in tries for end in ends):
            joints = self._kinematics.tool_line(straight_tools(tool, end), start)
            if joints is None or not checker.free(joints[-1], closeness):
                continue
            leg = Leg(joints, stage, Closeness.CONTACT)
            # The tool's way may be free where the wrist, turning to follow it, dips into the deck.
            if not self._fault(make_path([leg], CORNERS_RAD[-1]), checker):
                return leg
        return None


def _outside_limits(path: Path, robot: Robot) -> str:
    joints = path.at(np.linspace(0.0, path.length_rad, 60))
    over = (joints < robot.lower_rad - 1e-6) | (joints > robot.upper_rad + 1e-6)
    if not over.any():
        return ""
    return f"{robot.joint_names[int(np.argmax(over.any(axis=0)))]} would leave its range"


def pairs_text(pairs: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{part} touches {other}" for part, other in pairs[:3]) or "contact"
