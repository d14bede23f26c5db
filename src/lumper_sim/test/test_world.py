"""The physical world: conveyor, base, arm, falls, faults, repeatability."""

from collections.abc import Callable

import numpy as np
import pytest

from lumper_sim.drive import DriveEnd, DriveError
from lumper_sim.faults import FaultError, Faults
from lumper_sim.loads import CartonSpec
from lumper_sim.trajectory import Code, Ending, Goal, Point
from lumper_sim.world import World

NAN = float("nan")


def put_on_belt(world: World, carton: int) -> None:
    """Set a carton down at the infeed."""
    infeed = (world.base_pose() @ world.robot.mounts["infeed"].matrix())[:3, 3]
    address, dof = int(world.index.carton_qpos[carton]), int(world.index.carton_dof[carton])
    world.data.qpos[address : address + 7] = [*infeed[:2], infeed[2] + world.half[carton, 2] + 0.01, 1, 0, 0, 0]
    world.data.qvel[dof : dof + 6] = 1e-6


@pytest.fixture
def small(make_world: Callable[..., World]) -> World:
    """Three cartons on the floor, side by side."""
    return make_world(
        own_cartons=tuple(CartonSpec((0.4, 0.4, 0.3), 6.0, 0.5, (6.5, y, 0.151)) for y in (-0.5, 0.0, 0.5))
    )


def test_the_conveyor_delivers_and_counts(small: World) -> None:
    put_on_belt(small, 0)
    small.step(0.5)
    assert small.counts().on_conveyor == 1
    assert not small.conveyor_ready
    small.step(7.0)
    counts = small.counts()
    assert (counts.delivered, counts.on_conveyor, counts.in_trailer, counts.falls) == (1, 0, 2, 0)
    assert small.conveyor_ready


def test_the_belt_runs_at_its_speed(small: World) -> None:
    put_on_belt(small, 0)
    small.step(1.0)
    before = small.carton_position[0, 0]
    small.step(1.0)
    assert small.carton_position[0, 0] - before == pytest.approx(-small.robot.conveyor.speed_mps, rel=0.05)


def test_a_blocked_conveyor_carries_nothing_until_it_runs_again(small: World) -> None:
    faults = Faults(small)
    faults.inject("conveyor", [0.0], 5.0)
    put_on_belt(small, 0)
    small.step(3.0)
    assert small.counts().delivered == 0
    assert small.counts().on_conveyor == 1
    assert not small.conveyor_ready
    for _ in range(100):
        small.step(0.1)
        faults.step()
    assert small.counts().delivered == 1


def test_a_carton_dropped_from_high_up_is_one_fall_and_lies_on_the_floor(make_world: Callable[..., World]) -> None:
    block = CartonSpec((0.6, 0.6, 0.5), 20.0, 0.5, (6.6, 0.0, 0.251))
    top = CartonSpec((0.3, 0.3, 0.3), 4.0, 0.4, (6.5, 0.0, 0.652))
    world = make_world(own_cartons=(block, top))
    Faults(world).inject("push_carton", [1, -35.0, 0.0, 0.0], 0.3)
    world.step(4.0)
    counts = world.counts()
    assert counts.falls == 1
    assert counts.on_floor == 1
    assert counts.in_trailer == 2
    assert set(world.accounting.shifted) == {1}
    assert "took carton 1 away" in Faults(world).inject("take_away", [], NAN)
    assert "nothing fell" in Faults(world).inject("take_away", [], NAN)
    world.step(0.1)
    assert (world.counts().with_person, world.counts().on_floor) == (1, 0)


def test_a_carton_that_a_person_takes_away_is_with_them(small: World) -> None:
    faults = Faults(small)
    assert "took carton 1 away" in faults.inject("take_away", [1], NAN)
    small.step(1.0)
    counts = small.counts()
    assert (counts.with_person, counts.in_trailer, counts.delivered, counts.falls) == (1, 2, 0, 0)
    for args, duration_s in (([1.0], NAN), ([3.0], NAN), ([0.5], NAN), ([0.0], 2.0), ([0.0, 2.0], NAN)):
        with pytest.raises(FaultError):
            faults.inject("take_away", args, duration_s)
    assert small.counts().with_person == 1


def test_a_person_takes_the_carton_that_they_are_shown(small: World) -> None:
    faults = Faults(small)
    shown = small.carton_position[2] + (0.1, -0.05, 0.0)
    with pytest.raises(FaultError, match="no carton within"):
        faults.inject("take_away", [*shown[:2], shown[2] + 2.0], NAN)
    assert "took carton 2 away" in faults.inject("take_away", shown.tolist(), NAN)
    assert small.counts().with_person == 1


def test_a_carton_that_is_pushed_along_is_shifted_once_for_each_push(small: World) -> None:
    faults = Faults(small)
    for _ in range(2):
        faults.inject("push_carton", [2, 0.0, 60.0, 0.0], 0.3)
        small.step(2.0)
    assert small.accounting.shifted == [2, 2]
    assert small.counts().falls == 0


def test_the_base_advances_and_takes_the_conveyor_with_it(small: World) -> None:
    x = small.base_x_m
    belt = small.data.geom_xpos[small.index.belt_geom].copy()
    small.drive.start("a", 0.5, 0.3)
    small.step(4.0)
    assert small.drive.take_ended() == [("a", DriveEnd.REACHED, pytest.approx(0.5))]
    assert small.base_x_m - x == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(small.data.geom_xpos[small.index.belt_geom] - belt, [0.5, 0, 0], atol=1e-3)


def test_the_base_brakes_on_cancel(small: World) -> None:
    x = small.base_x_m
    small.drive.start("a", 1.0, 0.4)
    small.step(1.5)
    assert small.drive.cancel("a")
    small.step(1.5)
    ((name, end, moved),) = small.drive.take_ended()
    assert (name, end) == ("a", DriveEnd.CANCELED)
    assert small.base_x_m - x == pytest.approx(moved, abs=2e-3)
    assert 0.3 < moved < 0.9
    assert abs(small.base_speed_mps) < 1e-3


@pytest.mark.parametrize(
    ("distance_m", "speed_mps", "named"),
    [
        (NAN, 0.2, "distance_m"),
        (0.5, 0.0, "max_speed_mps"),
        (0.5, NAN, "max_speed_mps"),
        (9.0, 0.2, "distance_m"),
        (-40.0, 0.2, "distance_m"),
    ],
)
def test_a_base_motion_that_cannot_be_is_refused(small: World, distance_m: float, speed_mps: float, named: str) -> None:
    with pytest.raises(DriveError, match=named):
        small.drive.start("a", distance_m, speed_mps)


def test_something_in_the_way_of_the_base_is_noticed(make_world: Callable[..., World]) -> None:
    wall = tuple(CartonSpec((0.5, 0.6, 0.5), 27.0, 0.6, (6.7, y, 0.251)) for y in (-0.62, 0.0, 0.62))
    world = make_world(own_cartons=wall, stand_off_m=1.2)
    world.drive.start("a", 0.7, 0.4)
    world.step(6.0)
    ((_, end, moved),) = world.drive.take_ended()
    assert end is DriveEnd.BLOCKED
    assert moved < 0.65


def test_the_arm_follows_a_fast_motion_closely(small: World, driver: type) -> None:
    drive = driver(small)
    target = small.robot.poses["home"] + np.array([-0.8, 0.3, -0.3, 0.5, 0.3, -0.6])
    drive.submit([target], 1.2)
    worst = 0.0
    for _ in range(330):
        small.step(0.004)
        worst = max(worst, float(np.abs(small.joint_state()[0] - small.trajectory.reference.position).max()))
    assert worst < np.radians(1.0)
    assert small.trajectory.take_finished()[0].code is Code.SUCCESSFUL
    np.testing.assert_allclose(small.joint_state()[0], target, atol=0.002)


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75, 1.0])
def test_the_arm_stops_within_the_time_that_its_description_states(small: World, fraction: float) -> None:
    robot = small.robot
    home, speed = robot.poses["home"], np.zeros(6)
    speed[[3, 5]] = robot.max_speed_radps[[3, 5]] * fraction
    ramp, even = 0.8, 0.5
    points = (
        Point(ramp, tuple(home + speed * ramp / 2), tuple(speed)),
        Point(ramp + even, tuple(home + speed * (ramp / 2 + even)), tuple(speed)),
        Point(2 * ramp + even, tuple(home + speed * (ramp + even)), tuple(np.zeros(6))),
    )
    assert small.trajectory.submit(Goal("spin", robot.joint_names, points), small.time_s)
    small.step(ramp + even / 2)
    assert np.abs(small.joint_state()[1] / robot.max_speed_radps).max() == pytest.approx(fraction, abs=0.02)
    small.trajectory.cancel("spin", small.time_s)
    small.step(robot.stopping_time(fraction, 0.0) - 0.02)
    assert np.abs(small.joint_state()[1]).max() < 0.01
    assert small.trajectory.take_finished()[0].ending is Ending.CANCELED


def test_the_arm_is_no_faster_than_its_drives(small: World, driver: type) -> None:
    drive = driver(small)
    drive.submit([small.robot.poses["home"] + np.array([1.5, 0, 0, 0, 0, 0])], 0.1)
    done = drive.finish()
    assert done.code is Code.PATH_TOLERANCE_VIOLATED
    assert small.peak_speed_fraction < 1.05


def test_an_arm_that_runs_into_the_trailer_s_wall_stops_with_a_code(small: World, driver: type) -> None:
    drive = driver(small)
    drive.submit([np.array([1.4, 0.6, 1.2, 0.0, 0.0, 0.0])], 3.0)
    assert drive.finish().code is Code.PATH_TOLERANCE_VIOLATED
    small.step(1.0)
    assert np.abs(small.joint_state()[1]).max() < 0.02


def test_an_open_estop_stops_arm_belt_and_base_and_refuses_goals(small: World, driver: type) -> None:
    drive = driver(small)
    drive.submit([small.robot.poses["scan"]], 2.0)
    small.drive.start("b", 0.5, 0.4)
    small.step(0.8)
    Faults(small).inject("estop", [0.0], NAN)
    assert small.trajectory.take_finished()[0].text == "the emergency stop circuit is open"
    small.step(1.2)
    assert np.abs(small.joint_state()[1]).max() < 0.01
    assert abs(small.base_speed_mps) < 1e-3
    assert small.belt_speed_mps == 0.0
    assert small.drive.take_ended()[0][1] is DriveEnd.BLOCKED
    with pytest.raises(AssertionError):
        drive.submit([small.robot.poses["home"]], 1.0)
    Faults(small).inject("estop", [1.0], NAN)
    drive.submit([small.robot.poses["home"]], 2.0)


@pytest.mark.parametrize(
    ("name", "args", "duration_s", "named"),
    [
        ("fire", [], NAN, "no such fault"),
        ("estop", [], NAN, "estop wants"),
        ("estop", [2.0], NAN, "estop wants"),
        ("conveyor", [NAN], NAN, "finite"),
        ("person", [1.0, 2.0], NAN, "person wants"),
        ("vacuum_leak", [1.5], NAN, "vacuum_leak wants"),
        ("sensor_silence", [9.0], NAN, "sensor_silence wants"),
        ("controller", [0.5], NAN, "controller wants"),
        ("push_carton", [99, 0, 0, 1], 1.0, "push_carton wants"),
        ("push_carton", [0, 0, 0, 1], NAN, "duration_s"),
        ("seal", [-0.1], NAN, "seal wants"),
        ("estop", [0.0], -1.0, "duration_s"),
    ],
)
def test_faults_that_make_no_sense_are_refused(
    small: World, name: str, args: list[float], duration_s: float, named: str
) -> None:
    with pytest.raises(FaultError, match=named):
        Faults(small).inject(name, args, duration_s)


def test_a_fault_is_undone_when_its_time_is_over(small: World) -> None:
    faults = Faults(small)
    faults.inject("sensor_silence", [1.0], 0.5)
    faults.inject("controller", [0.0], 0.5)
    faults.inject("vacuum_leak", [0.4], 0.5)
    assert faults.silent == {"scan/front"}
    assert small.trajectory.fault
    assert small.suction.leak == 0.4
    small.step(0.6)
    faults.step()
    assert not faults.silent
    assert not small.trajectory.fault
    assert small.suction.leak == 0.0


def test_the_same_seed_and_commands_give_the_same_world_bit_for_bit(
    make_world: Callable[..., World], driver: type
) -> None:
    states = []
    for _ in range(2):
        world = make_world(load="mixed", cartons=40, seed=3)
        drive = driver(world)
        top = int(np.argmax(world.carton_position[:, 2]))
        drive.grasp(top, 0b111111)
        tool = world.tool_pose()
        tool[:3, 3] += [-0.4, 0.0, 0.03]
        drive.move(tool, 1.0, steps=4)
        scan = world.scan("scanner_front", world.obstacles())
        states.append((world.data.qpos.copy(), world.data.qvel.copy(), world.suction.kpa.copy(), scan))
    for a, b in zip(*states, strict=True):
        np.testing.assert_array_equal(a, b)
