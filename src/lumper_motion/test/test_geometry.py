"""Kinematics, collision, paths and timing: properties that hold for any pose."""

import math
from itertools import pairwise

import coal
import numpy as np
import pytest
from harness import CONFIG, carton, parameters, pick_of, wall_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lumper_msgs.msg import PlannedPick

from lumper_motion.collision import Closeness, CollisionChecker
from lumper_motion.follow import Follower
from lumper_motion.kinematics import LIMIT_MARGIN_RAD, ArmKinematics, straight_tools
from lumper_motion.obstacles import Load, Obstacle, base_obstacles, trailer_obstacles
from lumper_motion.path import Leg, check_path, line, make_path
from lumper_motion.requests import Pick
from lumper_motion.search import SearchError, search
from lumper_motion.stages import KnownCarton, Snapshot, StagePlanner
from lumper_motion.timing import Limits, Trajectory, optimal_profile, profile_times, time_path
from lumper_motion.tools import moved
from lumper_ros.convert import matrix, seconds
from lumper_ros.robot import load_robot, load_trailer

ROBOT = load_robot(CONFIG / "robot")
TRAILER = load_trailer(CONFIG / "trailer.yaml")
KIN = ArmKinematics(ROBOT)
LIMITS = Limits(ROBOT.max_speed_radps, ROBOT.max_accel_radps2)
SPAN = ROBOT.upper_rad - ROBOT.lower_rad


def joints(share: float = 1.0) -> st.SearchStrategy[np.ndarray]:
    unit = st.floats(-1.0, 1.0, allow_nan=False)
    middle = 0.5 * (ROBOT.upper_rad + ROBOT.lower_rad)
    return st.tuples(*[unit] * 6).map(lambda u: middle + 0.5 * share * SPAN * np.array(u))


@given(joints(0.98))
def test_inverse_finds_what_forward_gave(position: np.ndarray) -> None:
    # At a singularity (wrist straight, arm stretched, wrist over the first axis) joints are not defined by the pose.
    assume(np.linalg.svd(KIN.jacobian(position), compute_uv=False)[-1] > 5e-3)
    tool = KIN.tool(position)[0]
    found = KIN.solutions(tool, position)
    assert len(found)
    assert np.abs(found[0] - position).max() < 1e-6
    assert np.abs(KIN.tool(found) - tool).max() < 1e-9
    assert ((found >= ROBOT.lower_rad) & (found <= ROBOT.upper_rad)).all()


@given(joints(0.9))
def test_jacobian_is_the_derivative(position: np.ndarray) -> None:
    step = 1e-6
    moved = np.array([(KIN.tool(position + step * e)[0] - KIN.tool(position - step * e)[0])[:3, 3] for e in np.eye(6)])
    assert np.allclose(moved.T / (2 * step), KIN.jacobian(position)[:3], atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(joints(0.7), joints(0.7))
def test_timing_keeps_the_limits_and_the_path(start: np.ndarray, end: np.ndarray) -> None:
    assume(float(np.abs(start - end).max()) > 0.02)
    middle = 0.5 * (start + end) + 0.1 * np.sin(np.arange(6))
    path = make_path([Leg(line(start, middle), 1), Leg(line(middle, end), 2)])
    trajectory = time_path(path, KIN, LIMITS, 0.048)
    assert (np.abs(trajectory.velocity) <= ROBOT.max_speed_radps * (1 + 1e-9)).all()
    assert (np.abs(trajectory.acceleration) <= ROBOT.max_accel_radps2 * (1 + 1e-9)).all()
    assert np.allclose(trajectory.position[0], start, atol=1e-9)
    assert np.allclose(trajectory.position[-1], end, atol=1e-6)
    assert (np.diff(trajectory.s) >= -1e-12).all()
    assert [stage for stage, _ in trajectory.marks] == [1, 2]
    numeric = np.gradient(trajectory.position, trajectory.step_s, axis=0)
    assert np.abs(numeric - trajectory.velocity)[2:-2].max() < 0.02
    grid, rate = optimal_profile(path, KIN, LIMITS)
    assert trajectory.duration_s >= float(profile_times(grid, rate)[-1]) - 0.01


@given(st.integers(5, 90), st.floats(-2e-8, 2e-8), st.floats(0.0, 5000.0))
def test_no_two_points_of_a_goal_have_one_time(steps: int, off: float, starts_s: float) -> None:
    # Controllers refuse equal times, and a time is a whole number of nanoseconds.
    trajectory = time_path(make_path([Leg(line(np.zeros(6), np.full(6, 0.4)), 1)]), KIN, LIMITS, 0.048)
    period_s = trajectory.duration_s / (steps + off)
    goal = Follower(trajectory, "1", starts_s, 1.0).goal(ROBOT.joint_names, 0.0, period_s, 0.1, 0.01, 1.0)
    times = [seconds(point.time_from_start) for point in goal.trajectory.points]
    assert all(b - a > 1e-6 for a, b in pairwise(times)) and times[-1] == pytest.approx(trajectory.duration_s, abs=1e-6)


def test_tool_speed_limit_of_a_leg() -> None:
    start = KIN.tool(ROBOT.poses["home"])[0]
    end = start.copy()
    end[0, 3] += 0.3
    legs = [Leg(KIN.tool_line(straight_tools(start, end), ROBOT.poses["home"]), 1, Closeness.CLEAR, 0.2)]
    trajectory = time_path(make_path(legs), KIN, LIMITS, 0.048)
    tips = KIN.tool(trajectory.position)[:, :3, 3]
    speed = np.linalg.norm(np.diff(tips, axis=0), axis=1) / trajectory.step_s
    assert speed.max() <= 0.2 * 1.03
    assert np.abs(tips[:, 1:] - start[1:3, 3]).max() < 2e-3, "it stays on the line"


def test_load_acceleration_limit() -> None:
    limits = Limits(ROBOT.max_speed_radps, ROBOT.max_accel_radps2, 2.0, np.array([0.0, 0.0, 0.2]))
    path = make_path([Leg(line(ROBOT.poses["home"], ROBOT.poses["home"] + [1.2, 0.2, 0, 0, 0.3, 0]), 1)])
    trajectory = time_path(path, KIN, limits, 0.048)
    tools = KIN.tool(trajectory.position)
    centre = tools[:, :3, :3] @ np.array([0, 0, 0.2]) + tools[:, :3, 3]
    accel = np.gradient(np.gradient(centre, trajectory.step_s, axis=0), trajectory.step_s, axis=0)[5:-5]
    assert np.abs(accel).max() < 2.0 * 1.15


@pytest.mark.parametrize("beyond_rad", [0.0, 7e-5, 0.005])
def test_an_arm_that_a_servos_error_put_at_a_joints_limit_can_leave_it(beyond_rad: float) -> None:
    """As a broker finds it that was killed in a motion to there: what was planned is not known any more."""
    measured = np.array([-1.209128, -0.092522, 2.221385, ROBOT.upper_rad[3] + beyond_rad, 1.012693, 0.363151])
    start = KIN.inside(measured)
    assert np.abs(start - measured).max() <= beyond_rad + LIMIT_MARGIN_RAD + 1e-9
    tool = KIN.tool(start)[0]
    ways = [moved(tool, 0.1 * axis) for axis in (*np.eye(3), *-np.eye(3))]
    lines = [line for way in ways if (line := KIN.tool_line(straight_tools(tool, way), start)) is not None]
    assert lines and all((line <= ROBOT.upper_rad).all() for line in lines)
    far = measured.copy()
    far[3] += 0.1
    assert (KIN.inside(far) == far).all(), "a joint that is really out of its range is not made good"


def test_corners_are_rounded_within_both_legs_and_ends_are_kept() -> None:
    a, b = ROBOT.poses["home"], ROBOT.poses["home"] + np.array([0.5, 0, 0, 0, 0, 0])
    c = b + np.array([0, 0.5, 0, 0, 0, 0])
    path = make_path([Leg(line(a, b), 1), Leg(line(b, c), 2)])
    assert np.allclose(path.at(np.array([0.0]))[0], a)
    assert np.allclose(path.at(np.array([path.length_rad]))[0], c)
    dense = path.at(np.linspace(0, path.length_rad, 500))
    assert np.linalg.norm(dense - b, axis=1).min() < 0.13
    assert np.abs(path.at(np.linspace(0, path.length_rad, 500), 2)).max() < 30.0


def lift_then_pull(x: float, y: float, z: float, lift_m: float, pull_m: float, max_tool_mps: float) -> list[Leg]:
    """Two legs from a face at x, y, z (m, base_link); an example that the arm cannot follow is set aside."""
    contact = np.eye(4)
    contact[:3, :3] = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    contact[:3, 3] = x, y, z
    up, out = contact.copy(), contact.copy()
    up[2, 3] += lift_m
    out[:3, 3] += -pull_m, 0.0, lift_m
    seeds = KIN.solutions(contact, ROBOT.poses["scan"])
    assume(len(seeds))
    seed, legs = seeds[0], []
    for start, end in pairwise((contact, up, out)):
        part = KIN.tool_line(straight_tools(start, end, 0.02), seed)
        assume(part is not None)
        tool_m = float(np.linalg.norm(end[:3, 3] - start[:3, 3]))
        legs.append(Leg(part, 1, max_tool_mps=max_tool_mps, tool_m=tool_m))
        seed = part[-1]
    return legs


STROKES = {
    "x": st.floats(1.5, 1.95),
    "y": st.floats(-0.9, 0.9),
    "z": st.floats(0.4, 2.2),
    "lift_m": st.floats(0.01, 0.04),
    "pull_m": st.floats(0.3, 0.6),
}


@settings(max_examples=60, deadline=None)
@given(**STROKES)
def test_a_lift_does_not_push_into_what_stands_behind(
    x: float, y: float, z: float, lift_m: float, pull_m: float
) -> None:
    """Lift, then pull: the load never goes forward, where the next row or the back wall stands against it."""
    path = make_path(lift_then_pull(x, y, z, lift_m, pull_m, math.inf))
    tools = KIN.tool(path.at(np.linspace(0.0, path.length_rad, 400)))[:, :3, 3]
    assert tools[:, 0].max() < x + 2e-4
    assert tools[:, 2].max() < z + lift_m + 1e-3


@settings(max_examples=60, deadline=None)
@given(**STROKES, accel_mps2=st.floats(1.0, 30.0))
def test_a_sharp_corner_costs_no_more_than_standing_still_in_it(
    x: float, y: float, z: float, lift_m: float, pull_m: float, accel_mps2: float
) -> None:
    legs = lift_then_pull(x, y, z, lift_m, pull_m, 0.5)
    # Where the wrist turns over on the way, that is what takes the time.
    assume(make_path(legs).length_rad < 1.5)
    limits = Limits(ROBOT.max_speed_radps, ROBOT.max_accel_radps2, accel_mps2, np.array([0.0, 0.0, 0.2]))
    standing = sum(time_path(make_path([leg]), KIN, limits, 0.048).duration_s for leg in legs)
    assert time_path(make_path(legs), KIN, limits, 0.048).duration_s < 1.05 * standing


def scene(extra: list[Obstacle] | None = None) -> CollisionChecker:
    base = np.eye(4)
    base[0, 3] = -2.0
    obstacles = trailer_obstacles(TRAILER, base) + base_obstacles(ROBOT)
    obstacles += [
        Obstacle(f"carton {item.id}", base @ matrix(item.pose), (item.size_m.x, item.size_m.y, item.size_m.z), item.id)
        for item in wall_of()
    ]
    return CollisionChecker(KIN, obstacles + (extra or []), 0.02)


@settings(max_examples=150, deadline=None)
@given(joints(0.8))
def test_boxes_in_arrays_leave_no_pair_out(position: np.ndarray) -> None:
    checker = scene_cached()
    near = np.linspace(position - 0.02, position + 0.02, 5)
    for closeness in Closeness:
        hits = [bool(pairs_that_touch(checker, each, closeness)) for each in near]
        assert [not free for free in checker.each_free(near, closeness)] == hits
        assert checker.first_hit(near, closeness) == (hits.index(True) if any(hits) else -1)
        met = {pair for pair in checker.explain(near[0], closeness) if pair[1] != "the robot itself"}
        assert met == {pair for pair in pairs_that_touch(checker, near[0], closeness) if pair[1] != "the robot itself"}


def pairs_that_touch(checker: CollisionChecker, position: np.ndarray, closeness: Closeness) -> set[tuple[str, str]]:
    """Every pair of shapes put to Coal, however far apart."""
    body, world = checker._body[closeness], checker._worlds[closeness]
    poses = body.placed(KIN.link_frames(position[None]))[0][0]
    request, result = coal.CollisionRequest(), coal.CollisionResult()
    places = [coal.Transform3s(pose[:3, :3], pose[:3, 3]) for pose in poses]
    touching = set()
    for part in body.outer.tolist():
        for i, obstacle in enumerate(checker._obstacles):
            result.clear()
            if coal.collide(body.geometries[part], places[part], *world.solid(i), request, result):
                touching.add((body.names[part], obstacle.name))
    for one, other in body.pairs:
        result.clear()
        if coal.collide(body.geometries[one], places[one], body.geometries[other], places[other], request, result):
            touching.add((f"{body.names[one]} and {body.names[other]}", "the robot itself"))
    return touching


_SCENE: list[CollisionChecker] = []


def scene_cached() -> CollisionChecker:
    if not _SCENE:
        _SCENE.append(scene())
    return _SCENE[0]


def test_named_poses_are_free_and_what_is_hit_is_named() -> None:
    checker = scene()
    for name in ("home", "scan"):
        assert checker.free(ROBOT.poses[name]), checker.explain(ROBOT.poses[name], Closeness.CLEAR)
    box = np.eye(4)
    box[:3, 3] = KIN.tool(ROBOT.poses["home"])[0][:3, 3]
    blocked = scene([Obstacle("crate", box, (0.1, 0.1, 0.1))])
    assert not blocked.free(ROBOT.poses["home"])
    assert any(other == "crate" for _, other in blocked.explain(ROBOT.poses["home"], Closeness.CLEAR))
    blocked.allow(["crate"])
    assert blocked.free(ROBOT.poses["home"], Closeness.CONTACT)
    assert not blocked.free(ROBOT.poses["home"]), "free motion goes round what may be touched at the end"
    blocked.allow([], held=["crate"])
    assert blocked.free(ROBOT.poses["home"])
    blocked.allow([])
    assert not blocked.free(ROBOT.poses["home"])


def test_held_carton_counts() -> None:
    box = np.eye(4)
    tool = KIN.tool(ROBOT.poses["home"])[0]
    box[:3, 3] = tool[:3, 3] + 0.4 * tool[:3, 2]
    checker = scene([Obstacle("crate", box, (0.1, 0.1, 0.1))])
    assert checker.free(ROBOT.poses["home"])
    pose = np.eye(4)
    pose[2, 3] = 0.25
    checker.set_load(Load((1,), pose, (0.4, 0.4, 0.5), 5.0, 1))
    assert ("held carton", "crate") in checker.explain(ROBOT.poses["home"], Closeness.CLEAR)
    checker.set_load(None)
    assert checker.free(ROBOT.poses["home"])


def test_search_goes_round_is_repeatable_and_keeps_its_budget() -> None:
    start = ROBOT.poses["home"] + [-0.9, 0, 0, 0, 0, 0]
    goal = ROBOT.poses["home"] + [0.4, 0, 0, 0, 0, 0]
    post = np.eye(4)
    post[:3, 3] = (1.1, 0.45, 2.0)
    checker = scene([Obstacle("post", post, (0.1, 0.1, 0.8))])
    assert checker.free(start)
    assert checker.free(goal)
    assert check_path(make_path([Leg(line(start, goal), 1)]), KIN, checker) is not None
    way = search(KIN, checker, start, [goal], 4000, 3)
    again = search(KIN, checker, start, [goal], 4000, 3)
    assert np.array_equal(way, again)
    assert np.allclose(way[0], start)
    assert np.allclose(way[-1], goal)
    for a, b in pairwise(way):
        assert checker.first_hit(line(a, b), Closeness.CONTACT) < 0
    tree = search(KIN, checker, start, [goal], 4000, 3, few=0)
    assert len(tree) > 2, "a tree is grown where nothing drawn leads round"
    for a, b in pairwise(tree):
        assert checker.first_hit(line(a, b), Closeness.CLEAR) < 0
    with pytest.raises(SearchError, match="checks"):
        search(KIN, checker, start, [goal], 3, 3)
    with pytest.raises(SearchError, match="in time"):
        search(KIN, checker, start, [goal], 4000, 3, late=lambda: True)


def test_grasp_helpers_face_the_carton() -> None:
    message = pick_of(carton(1, 4.0, 0.0, 1.0, (0.5, 0.4, 0.3)))
    assert math.isclose(message.grasp_pose.position.x, 3.75)


@given(wall_gap=st.floats(0.003, 0.018), gap=st.floats(0.004, 0.05), tall_m=st.floats(0.35, 0.6))
@settings(max_examples=25, deadline=None)
def test_a_load_held_by_its_top_in_a_gap_at_the_side_wall_is_taken_out_of_it(
    wall_gap: float, gap: float, tall_m: float
) -> None:
    """Nearer than the margin to the wall, with a neighbour too near to step aside: up first."""
    size = (0.30, 0.40, 0.35)  # across, along, down: in tool0
    tool = np.array([[0.0, 1.0, 0.0, 1.75], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.62], [0.0, 0.0, 0.0, 1.0]])
    middle_y = -TRAILER.width_m / 2 + wall_gap + size[0] / 2
    # The pad is wider than the load: it is held beside its middle.
    load_in_tool = np.eye(4)
    load_in_tool[:3, 3] = (-0.08, 0.0, size[2] / 2)
    tool[1, 3] = middle_y + 0.08
    neighbour = np.eye(4)
    neighbour[:3, 3] = (1.75, middle_y + size[0] / 2 + gap + 0.15, tall_m / 2)
    planner = StagePlanner(ROBOT, TRAILER, parameters())
    start = planner.kinematics.solutions(tool, ROBOT.poses["home"])[0]
    load = Load((7,), load_in_tool, size, 6.0, 0b111111)
    place = np.diag([1.0, -1.0, -1.0, 1.0])
    place[2, 3] = size[2] / 2
    pick = Pick(
        (7,), PlannedPick.STROKE_TOP_PICK, tool, 0b111111, np.array([0.0, 0.0, 0.1]), 0.1, 0.0, 0.6, place, size, load_in_tool, 6.0
    )  # fmt: skip
    known = (KnownCarton(8, neighbour, (0.4, 0.3, tall_m)),)
    motion = planner.place(Snapshot(start, np.eye(4), known, 1, load), pick)
    assert isinstance(motion, Trajectory), motion.text
