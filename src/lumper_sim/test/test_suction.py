"""Suction: seal by area, vacuum over time, what the cups hold, and the physics of holding and letting go."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lumper_ros.robot import Robot
from lumper_sim.loads import CartonSpec
from lumper_sim.suction import Boxes, Suction, load_fraction, seal_fractions
from lumper_sim.world import World

ALL = 0b111111


def box(
    centre: tuple[float, float, float], size: tuple[float, float, float], rotation: np.ndarray | None = None
) -> Boxes:
    return Boxes(
        np.array([4]), np.array([centre]), (np.eye(3) if rotation is None else rotation)[None], np.array([size]) / 2
    )


def test_a_large_face_seals_all_zones(robot: Robot) -> None:
    fraction, owner = seal_fractions(robot.gripper, np.eye(4), box((0, 0, 0.2), (0.5, 0.5, 0.4)), 0.01)
    np.testing.assert_array_equal(fraction, 1.0)
    np.testing.assert_array_equal(owner, 4)


def test_fraction_is_the_area_on_the_face(robot: Robot) -> None:
    """The face ends at x = -0.133: the left column lies on it by half."""
    fraction, _ = seal_fractions(robot.gripper, np.eye(4), box((-0.383333, 0, 0.2), (0.5, 0.5, 0.4)), 0.01)
    np.testing.assert_allclose(fraction, [0.5, 0, 0, 0.5, 0, 0])


def test_the_upper_row_does_not_seal_on_a_low_carton(robot: Robot) -> None:
    fraction, _ = seal_fractions(robot.gripper, np.eye(4), box((0, -0.075, 0.2), (0.5, 0.15, 0.4)), 0.01)
    np.testing.assert_array_equal(fraction, [1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("gap_m", "sealed"), [(0.0, True), (0.014, True), (0.016, False), (-0.009, True), (-0.011, False)]
)
def test_cups_reach_only_so_far(robot: Robot, gap_m: float, sealed: bool) -> None:
    fraction, _ = seal_fractions(robot.gripper, np.eye(4), box((0, 0, 0.2 + gap_m), (0.5, 0.5, 0.4)), 0.01)
    assert (fraction == (1.0 if sealed else 0.0)).all()


def test_a_face_at_an_angle_does_not_seal(robot: Robot) -> None:
    turned = Rotation.from_euler("x", 12, degrees=True).as_matrix()
    fraction, _ = seal_fractions(robot.gripper, np.eye(4), box((0, 0, 0.2), (0.5, 0.5, 0.4), turned), 0.01)
    assert fraction.max() == 0.0


def test_each_zone_belongs_to_one_carton(robot: Robot) -> None:
    two = Boxes(
        np.array([7, 9]), np.array([[-0.2, 0, 0.2], [0.2, 0, 0.2]]), np.stack([np.eye(3)] * 2), np.full((2, 3), 0.195)
    )
    fraction, owner = seal_fractions(robot.gripper, np.eye(4), two, 0.01)
    np.testing.assert_array_equal(owner[[0, 2, 3, 5]], [7, 9, 7, 9])
    assert (fraction[[1, 4]] <= 0.5).all()


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=3), st.lists(st.floats(-9, 9), min_size=3, max_size=3))
def test_load_grows_with_force_and_shrinks_with_vacuum(robot: Robot, force: list[float], torque: list[float]) -> None:
    zones, kpa = [0, 1, 2, 3, 4, 5], np.full(6, 60.0)
    f, t = np.array(force), np.array(torque)
    load = load_fraction(robot.gripper, zones, kpa, f, t)
    assert load_fraction(robot.gripper, zones, kpa, 2 * f, 2 * t) == pytest.approx(2 * load)
    assert load_fraction(robot.gripper, zones, kpa / 2, f, t) == pytest.approx(2 * load)


def test_straight_pull_is_measured_against_the_zones_holding(robot: Robot) -> None:
    kpa = np.full(6, robot.gripper.vacuum_kpa)
    half = robot.gripper.zones[1].holding_n
    assert load_fraction(robot.gripper, [1, 4], kpa, np.array([0, 0, half]), np.zeros(3)) == pytest.approx(0.5)
    assert load_fraction(robot.gripper, [1, 4], kpa, np.array([0, 0, -500.0]), np.zeros(3)) < 1e-9
    assert load_fraction(robot.gripper, [0, 1, 2, 3, 4, 5], np.zeros(6), np.ones(3), np.zeros(3)) == np.inf


def test_vacuum_builds_up_in_time_and_only_where_sealed(robot: Robot) -> None:
    suction = Suction(robot.gripper, lambda: 0.0)
    suction.command(ALL)
    owner = np.full(6, 3)
    fraction = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
    suction.step(0.01, fraction, owner)
    assert not suction.holding
    for _ in range(20):
        suction.step(0.01, fraction, owner)
    assert suction.holding == {3: [0, 1, 2]}
    assert suction.kpa[3] < 10.0
    suction.command(0)
    for _ in range(20):
        suction.step(0.01, fraction, owner)
    assert suction.kpa.max() < 5.0


def test_a_grasp_that_was_drawn_to_fail_does_not_seal_until_tried_again(robot: Robot) -> None:
    draws = iter([0.9, 0.1])
    suction = Suction(robot.gripper, lambda: next(draws))
    suction.seal_probability = 0.5
    for expected in ({}, {3: [0]}):
        suction.command(1)
        for _ in range(30):
            suction.step(0.01, np.ones(6), np.full(6, 3))
        assert suction.holding == expected
        suction.command(0)
        suction.step(0.5, np.ones(6), np.full(6, 3))


def test_unknown_zones_are_refused(robot: Robot) -> None:
    with pytest.raises(ValueError, match="zones_on=0x40"):
        Suction(robot.gripper, lambda: 0.0).command(1 << 6)


LIFT = np.array([0.0, 0.0, 0.15])


def test_a_carton_is_lifted_and_follows_the_tool(one_carton: Callable[..., World], driver: type) -> None:
    world = one_carton(mass_kg=15.0)
    drive = driver(world)
    drive.grasp(2, ALL)
    assert world.suction.holding == {2: [0, 1, 2, 3, 4, 5]}
    before = world.tool_pose()[:3, :3].T @ (world.carton_position[2] - world.tool_pose()[:3, 3])
    tool = world.tool_pose()
    tool[:3, 3] += LIFT
    drive.move(tool, 1.0, steps=4)
    after = world.tool_pose()[:3, :3].T @ (world.carton_position[2] - world.tool_pose()[:3, 3])
    assert np.linalg.norm(after - before) < 0.002
    assert world.carton_position[2, 2] > 1.002 + 0.175 + 0.13
    assert 0.15 < world.suction.load < 0.6
    assert world.counts().held == 1
    assert world.counts().falls == 0


def test_the_force_on_the_cups_is_the_carton_s_weight(one_carton: Callable[..., World], driver: type) -> None:
    world = one_carton(mass_kg=12.0)
    drive = driver(world)
    drive.grasp(2, ALL)
    tool = world.tool_pose()
    tool[:3, 3] += LIFT
    drive.move(tool, 1.0, steps=4)
    world.step(0.5)
    force, torque = world.cup_wrench(2)
    # tool0 y is up; the weight hangs half a carton's depth in front of the cups.
    np.testing.assert_allclose(force, [0.0, -12.0 * 9.81, 0.0], atol=1.5)
    assert torque[0] == pytest.approx(12.0 * 9.81 * 0.2, rel=0.1)


def test_overloaded_cups_let_go(one_carton: Callable[..., World], driver: type) -> None:
    world = one_carton(mass_kg=27.0)
    drive = driver(world)
    drive.grasp(2, 0b000010)
    assert world.suction.holding == {2: [1]}
    tool = world.tool_pose()
    tool[:3, 3] += [-0.5, 0.0, 0.02]
    drive.move(tool, 1.5, steps=4)
    world.step(1.5)
    assert world.lost == [2]
    assert not world.suction.holding
    assert world.suction.load == 0.0


def test_two_cartons_are_held_at_once(make_world: Callable[..., World], driver: type) -> None:
    block, size = (0.6, 0.8, 0.5), (0.4, 0.24, 0.35)
    stack = [CartonSpec(block, 27.0, 0.6, (6.6, 0.3, 0.25 + 0.501 * k)) for k in range(2)]
    pair = [CartonSpec(size, 3.0, 0.5, (6.5, 0.3 + side * 0.122, 1.002 + 0.175)) for side in (1, -1)]
    world = make_world(own_cartons=(*stack, *pair))
    drive = driver(world)
    drive.grasp(2, ALL, np.array([0.0, -0.122, 0.0]))
    assert world.suction.holding == {2: [2, 5], 3: [0, 3]}
    tool = world.tool_pose()
    tool[:3, 3] += LIFT
    drive.move(tool, 1.2, steps=4)
    assert world.counts().held == 2
    assert world.carton_position[2:, 2].min() > 1.002 + 0.175 + 0.12
    world.suction.command(0)
    world.step(0.4)
    assert world.counts().held == 0


def test_a_leak_weakens_the_grip(one_carton: Callable[..., World], driver: type) -> None:
    world = one_carton(mass_kg=15.0)
    drive = driver(world)
    drive.grasp(2, ALL)
    tool = world.tool_pose()
    tool[:3, 3] += LIFT
    drive.move(tool, 1.2, steps=4)
    # The arm must stand: its braking is part of the load.
    world.step(0.5)
    before = world.suction.load
    world.suction.leak = 0.3
    world.step(0.5)
    assert world.suction.load == pytest.approx(before / 0.7, rel=0.1)
    world.suction.leak = 0.9
    world.step(1.0)
    assert not world.suction.holding
    assert world.counts().held == 0
