"""A way round obstacles in joint space, looked for only when the straight one and the usual detours are blocked.

First over one or two of many configurations drawn at random, judged many at once; then by growing trees (RRTConnect).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ompl import base as ob
from ompl import geometric as og
from ompl import util as ou

from lumper_motion.collision import Closeness, CollisionChecker
from lumper_motion.kinematics import ArmKinematics
from lumper_motion.path import line

Array = NDArray[np.float64]

ou.setLogLevel(ou.LogLevel.LOG_NONE)

# So near to start and goal a search need not keep its wider berth.
NEAR_END_RAD = 0.35
# The search looks this far beyond start and goals first.
SEARCH_MARGIN_RAD = 1.0
# Configurations drawn before a tree is grown, lines judged at once, tries to shorten what was found.
DRAWS = 256
MORE = 4
AT_ONCE = 16
SHORTCUTS = 40


class SearchError(Exception):
    """No path was found within the budget of collision checks, or in time."""


def search(
    kinematics: ArmKinematics,
    checker: CollisionChecker,
    start: Array,
    goals: Sequence[Array],
    max_checks: int,
    seed: int,
    late: Callable[[], bool] = lambda: False,
    few: int = DRAWS,
) -> Array:
    """(n, 6) way points of a collision-free path from `start` to one of `goals`: over a few configurations drawn at random,
    else by a tree (RRTConnect); then shortcuts.

    The budget is counted in collision checks, not in seconds, so that the same call gives the same answer on every
    machine.

    Args:
        late: asked again and again; the search gives up once it is true.
        few: configurations drawn before a tree is grown, and MORE times as many where those lead nowhere.

    Raises:
        SearchError: budget spent, too late, or start or all goals in collision.
    """
    wide = _Room(checker, Closeness.WIDE, np.vstack([start, *goals]))
    clear = _Room(checker, Closeness.CLEAR, np.vstack([start, *goals]))
    random = np.random.default_rng(seed)
    left = max_checks
    for room, draws in ((wide, few), (clear, MORE * few)):
        if late():
            raise SearchError("no path in time")
        way, left = _over_few(kinematics, room, start, goals, left, random, draws)
        if way is not None:
            return shorten(way, room, random, SHORTCUTS)
    for room, margin_rad, share in (
        (wide, SEARCH_MARGIN_RAD, 0.25),
        (clear, SEARCH_MARGIN_RAD, 0.4),
        (clear, math.inf, 0.35),
    ):
        way = _connect(kinematics, room, start, goals, int(share * left), seed, margin_rad, late)
        if way is not None:
            return shorten(way, room, random, SHORTCUTS)
        if late():
            raise SearchError("no path in time")
    raise SearchError(f"no path within {max_checks} collision checks")


def _over_few(
    kinematics: ArmKinematics,
    room: "_Room",
    start: Array,
    goals: Sequence[Array],
    max_checks: int,
    random: np.random.Generator,
    draws: int,
) -> tuple[Array | None, int]:
    """A quick way over one or two of many configurations drawn at random, and the checks left; a tree finds the others.

    Judged many at once, a hundred lines cost what a tree pays for ten.
    """
    robot, ends = kinematics.robot, np.array(goals)
    draws = min(draws, max_checks // 2)
    share, towards = random.uniform(0.0, 1.0, (draws, 1)), random.integers(len(ends), size=draws)
    offset = random.uniform(-SEARCH_MARGIN_RAD, SEARCH_MARGIN_RAD, (draws, ends.shape[1]))
    drawn = np.clip(start + share * (ends[towards] - start) + offset, robot.lower_rad, robot.upper_rad)
    drawn = drawn[room.each_free(drawn)]
    left = max_checks - draws

    def seconds(a: Array, b: Array) -> Array:
        return np.asarray((np.abs(a - b) / robot.max_speed_radps).max(axis=-1))

    to_goal = seconds(drawn[:, None], ends)
    goal = to_goal.argmin(axis=1) if len(drawn) else np.empty(0, dtype=np.intp)
    before, after = seconds(start, drawn), to_goal.min(axis=1, initial=math.inf)
    reached, reaching = np.zeros(len(drawn), dtype=bool), np.zeros(len(drawn), dtype=bool)
    order = np.argsort(before + after, kind="stable")
    for some in np.split(order, range(AT_ONCE, len(order), AT_ONCE)):
        if left < max_checks // 2:
            return None, left
        reached[some], spent = room.lines_free(np.tile(start, (len(some), 1)), drawn[some])
        reaching[some], more = room.lines_free(drawn[some], ends[goal[some]])
        left -= spent + more
        both = some[reached[some] & reaching[some]]
        if len(both):
            return np.array([start, drawn[both[0]], ends[goal[both[0]]]]), left
    first, last = np.flatnonzero(reached), np.flatnonzero(reaching)
    whole = before[first, None] + seconds(drawn[first, None], drawn[last]) + after[last]
    order = np.argsort(whole, axis=None, kind="stable")
    for some in np.split(order, range(AT_ONCE, len(order), AT_ONCE)):
        if left < max_checks // 2 or not len(some):
            break
        i, j = first[some // len(last)], last[some % len(last)]
        free, spent = room.lines_free(drawn[i], drawn[j])
        left -= spent
        if free.any():
            best = int(np.argmax(free))
            return np.array([start, drawn[i[best]], drawn[j[best]], ends[goal[j[best]]]]), left
    return None, left


class _Room:
    """Where the arm may be: `closeness` everywhere but near the ends, which only have to be clear."""

    def __init__(self, checker: CollisionChecker, closeness: Closeness, ends: Array) -> None:
        self._checker = checker
        self._closeness = closeness
        self._ends = ends

    def _parts(self, samples: Array) -> Iterator[tuple[NDArray[np.bool_], Closeness]]:
        """Which of (n, 6) configurations are to be judged how closely."""
        near = np.abs(samples[:, None] - self._ends).max(axis=2).min(axis=1) <= NEAR_END_RAD
        yield ~near, self._closeness
        yield near, Closeness.CLEAR

    def free(self, samples: Array) -> bool:
        """Whether the arm may be at every one of (n, 6) configurations."""
        return all(self._checker.first_hit(samples[part], closeness) < 0 for part, closeness in self._parts(samples))

    def each_free(self, samples: Array) -> NDArray[np.bool_]:
        """(n,) whether the arm may be at each of (n, 6) configurations."""
        result = np.empty(len(samples), dtype=bool)
        for part, closeness in self._parts(samples):
            result[part] = self._checker.each_free(samples[part], closeness)
        return result

    def line_free(self, start: Array, end: Array) -> bool:
        """Whether the straight joint-space line is."""
        return self.free(line(start, end))

    def lines_free(self, starts: Array, ends: Array) -> tuple[NDArray[np.bool_], int]:
        """Whether each of (n, 6) to (n, 6) straight joint-space lines is, and the checks spent."""
        lines = [line(a, b) for a, b in zip(starts, ends, strict=True)]
        result = np.ones(len(lines), dtype=bool)
        spent = 0
        # Most lines that are blocked show it at a few of their samples.
        for part in (slice(2, None, 4), slice(None)):
            numbers = np.flatnonzero(result)
            if not len(numbers):
                break
            samples = [lines[i][part] for i in numbers]
            of = np.repeat(numbers, [len(each) for each in samples])
            free = self.each_free(np.vstack(samples))
            result[of[~free]] = False
            spent += len(of)
        return result, spent


class _Edges(ob.MotionValidator):
    """Judges a straight motion of the search as a whole: its samples at once cost little more than one."""

    def __init__(self, information: Any, free: Callable[[Array], bool], n: int) -> None:
        super().__init__(information)
        self._free = free
        self._n = n

    def checkMotion(self, start: Any, end: Any) -> bool:
        return self._free(line(_joints_of(start, self._n), _joints_of(end, self._n)))


def _joints_of(state: Any, n: int) -> Array:
    return np.array([state[i] for i in range(n)])


def _connect(
    kinematics: ArmKinematics,
    room: _Room,
    start: Array,
    goals: Sequence[Array],
    max_checks: int,
    seed: int,
    margin_rad: float,
    late: Callable[[], bool],
) -> Array | None:
    """RRTConnect among configurations at most `margin_rad` beyond start and goals; None: no way within `max_checks`."""
    robot = kinematics.robot
    ou.RNG.setSeed(seed)
    n = len(robot.joint_names)
    space = ob.RealVectorStateSpace(n)
    bounds = ob.RealVectorBounds(n)
    ends = np.vstack([start, *goals])
    for i in range(n):
        bounds.setLow(i, max(float(ends[:, i].min()) - margin_rad, float(robot.lower_rad[i]) - 1e-6))
        bounds.setHigh(i, min(float(ends[:, i].max()) + margin_rad, float(robot.upper_rad[i]) + 1e-6))
    space.setBounds(bounds)
    spent = 0

    def free(samples: Array) -> bool:
        nonlocal spent
        spent += len(samples)
        return room.free(samples)

    setup = og.SimpleSetup(space)
    setup.setStateValidityChecker(lambda state: free(_joints_of(state, n)[None]))
    information = setup.getSpaceInformation()
    information.setMotionValidator(_Edges(information, free, n))

    def state_of(joints: Array) -> Any:
        state = space.allocState()
        for i in range(n):
            state[i] = float(joints[i])
        return state

    setup.addStartState(state_of(start))
    targets = ob.GoalStates(information)
    for goal in goals:
        targets.addState(state_of(goal))
    setup.setGoal(targets)
    planner = og.RRTConnect(information)
    planner.setRange(0.8)
    setup.setPlanner(planner)
    asked = 0

    def over() -> bool:
        # Asked without a check in between, the search waits for something that does not come.
        nonlocal asked
        asked += 1
        return spent >= max_checks or asked >= 100 * max_checks or late()

    solved = setup.solve(ob.PlannerTerminationCondition(over))
    if not solved or not setup.haveExactSolutionPath():
        return None
    return np.array([_joints_of(state, n) for state in setup.getSolutionPath().getStates()])


def shorten(way: Array, room: _Room, random: np.random.Generator, tries: int) -> Array:
    """Replace parts of a way by straight lines while they stay free; deterministic for a given generator."""
    points = [way[0]]
    at = 0
    while at < len(way) - 1:
        # The farthest way point that is seen from here.
        at = next((j for j in range(len(way) - 1, at + 1, -1) if room.line_free(way[at], way[j])), at + 1)
        points.append(way[at])
    for _ in range(tries):
        if len(points) <= 2:
            break
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        low, high = np.sort(random.uniform(0.0, along[-1], 2))
        i, j = int(np.searchsorted(along, low, side="right")) - 1, int(np.searchsorted(along, high, side="right")) - 1
        if i == j or high - low < 0.05:
            continue
        first = points[i] + (low - along[i]) / (along[i + 1] - along[i]) * (points[i + 1] - points[i])
        j = min(j, len(points) - 2)
        second = points[j] + (high - along[j]) / (along[j + 1] - along[j]) * (points[j + 1] - points[j])
        if room.line_free(first, second):
            points = [*points[: i + 1], first, second, *points[j + 1 :]]
    return np.array(points)
