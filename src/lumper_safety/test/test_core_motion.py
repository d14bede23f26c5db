"""Supervision of motion: limits, following error, a lost carton, a collapse; and none of it in normal work."""

from __future__ import annotations

import numpy as np
import pytest
from lumper_msgs.msg import BrokerState, JobState, SafetyCause, SafetyState
from robot_bench import ROBOT, Bench, a_carton

C = SafetyCause


def running(**more: object) -> Bench:
    bench = Bench(**more)  # type: ignore[arg-type]
    bench.run(0.14)
    assert bench.permitted
    return bench


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize("side", [-1, 1])
def test_joint_out_of_range_is_named(joint: int, side: int) -> None:
    bench = running()
    limit = ROBOT.upper_rad[joint] if side > 0 else ROBOT.lower_rad[joint]
    bench.position[joint] = limit + side * 0.015
    bench.run(0.02)
    assert bench.permitted, "within the margin"
    bench.position[joint] = limit + side * 0.025
    message = bench.make("joint_states")
    bench.send("joint_states", message)
    cause = bench.cause(C.JOINT_POSITION)
    assert f"joint_{joint + 1}" in cause.text and not bench.permitted
    assert cause.limit == pytest.approx(limit + side * 0.02, abs=1e-6)


@pytest.mark.parametrize("joint", range(6))
def test_joint_too_fast_is_named(joint: int) -> None:
    bench = running()
    for fraction in np.linspace(0.0, 1.09, 50):
        bench.velocity = np.eye(6)[joint] * fraction * ROBOT.max_speed_radps
        bench.run(0.01)
    assert bench.permitted, [c.text for c in bench.state.causes]
    bench.velocity = np.eye(6)[joint] * 1.12 * ROBOT.max_speed_radps
    bench.run(0.01)
    assert f"joint_{joint + 1}" in bench.cause(C.JOINT_SPEED).text and not bench.permitted


def test_planned_accelerations_pass_and_a_jolt_does_not() -> None:
    bench = running()
    for step in range(100):
        bench.velocity = ROBOT.max_speed_radps * min(1.0, step * 0.01 / 0.35)
        bench.run(0.01)
    assert C.JOINT_ACCELERATION not in bench.codes()
    bench.velocity = ROBOT.max_speed_radps * [1, 1, 1, 1, -1, 1]
    bench.run(0.02)
    assert "joint_5" in bench.cause(C.JOINT_ACCELERATION).text and not bench.permitted


def test_gap_in_joint_states_is_no_acceleration() -> None:
    bench = running()
    bench.silent.add("joint_states")
    bench.run(0.5)
    bench.silent.clear()
    bench.velocity = ROBOT.max_speed_radps * 0.5
    bench.run(0.02)
    assert C.JOINT_ACCELERATION not in bench.codes() and C.JOINTS_STALE in bench.codes()


def swing(bench: Bench, lag_s: float, offset_rad: float = 0.0) -> None:
    """Joint 1 swings at up to its full speed; the arm follows the command `lag_s` late and `offset_rad` away."""
    rate = 2.0
    amplitude = ROBOT.max_speed_radps[0] / rate

    def command(t: float) -> np.ndarray:
        return ROBOT.poses["home"] + np.array([amplitude * np.sin(rate * t), 0, 0, 0, 0, 0])

    def each() -> None:
        bench.position = command(bench.t - lag_s) + np.eye(6)[5] * offset_rad
        bench.velocity = np.array([amplitude * rate * np.cos(rate * (bench.t - lag_s)), 0, 0, 0, 0, 0])
        bench.broker.joint_names = list(ROBOT.joint_names)
        bench.broker.commanded_position_rad = command(bench.t).tolist()

    bench.broker.state = BrokerState.EXECUTING
    bench.run(6.0, each=each)


def test_normal_following_error_passes() -> None:
    """Measured of the simulated arm: 0.7 degrees at full speed; clocks a period apart."""
    bench = Bench()
    swing(bench, lag_s=0.03, offset_rad=0.012)
    assert {e.values["to"] for e in bench.events} <= {"STARTING", "RUN"}, [e.text for e in bench.events]


@pytest.mark.parametrize(("lag_s", "offset_rad", "joint"), [(0.25, 0.0, "joint_1"), (0.0, 0.2, "joint_6")])
def test_arm_off_its_trajectory_stops(lag_s: float, offset_rad: float, joint: str) -> None:
    bench = Bench()
    swing(bench, lag_s, offset_rad)
    assert joint in bench.cause(C.FOLLOWING_ERROR).text and not bench.permitted


def test_commanded_release_is_no_loss() -> None:
    bench = running()
    for stage in (BrokerState.STAGE_GRASP, BrokerState.STAGE_EXTRACT, BrokerState.STAGE_CARRY, BrokerState.STAGE_PLACE):
        bench.broker.stage = stage
        bench.gripper.part_held, bench.gripper.zones_on, bench.gripper.vacuum_kpa = True, 63, 58.0
        bench.run(0.3)
    bench.gripper.part_held, bench.gripper.zones_on, bench.gripper.vacuum_kpa = False, 0, 0.0
    bench.run(0.3)
    assert bench.permitted


def test_grasp_that_fails_is_no_loss() -> None:
    bench = running()
    bench.broker.stage = BrokerState.STAGE_GRASP
    bench.gripper.part_held, bench.gripper.zones_on, bench.gripper.vacuum_kpa = True, 63, 31.0
    bench.run(0.3)
    bench.gripper.part_held, bench.gripper.vacuum_kpa = False, 20.0
    bench.run(0.3)
    assert bench.permitted


@pytest.mark.parametrize("stage", [BrokerState.STAGE_EXTRACT, BrokerState.STAGE_CARRY, BrokerState.STAGE_PLACE])
def test_lost_carton_needs_a_fresh_wall_and_a_person(stage: int) -> None:
    bench = running()
    bench.silent.add("wall")
    bench.broker.stage = stage
    bench.gripper.part_held, bench.gripper.zones_on, bench.gripper.vacuum_kpa = True, 63, 58.0
    bench.run(0.3)
    bench.gripper.part_held, bench.gripper.vacuum_kpa = False, 3.0
    bench.send("gripper/state", bench.make("gripper/state"))
    assert not bench.permitted and bench.cause(C.CARTON_LOST).value == pytest.approx(3.0)
    bench.gripper.zones_on = 0
    bench.run(5.0)
    assert not bench.reset().accepted, "no fresh wall yet"
    bench.silent.clear()
    bench._due["wall"] = 0.0
    bench.run(0.1)
    assert not bench.permitted, "a person must look"
    assert bench.reset().accepted
    bench.run(0.02)
    assert bench.permitted


def test_collapse_stops_once_for_each_version_of_the_wall() -> None:
    bench = running()
    bench.moved_ids, bench.wall_version = [3], 2
    bench._due["wall"] = 0.0
    bench.run(0.02)
    assert "3" in bench.cause(C.COLLAPSE).text and not bench.permitted
    assert not bench.reset().accepted, "the wall that showed it is not fresh"
    bench.run(1.1)
    assert bench.reset().accepted
    bench.run(2.2)
    assert bench.permitted, "the same version, published again, is no new collapse"
    bench.wall_version = 3
    bench._due["wall"] = 0.0
    bench.run(0.02)
    assert not bench.permitted


def test_a_minute_of_normal_work_makes_no_stop() -> None:
    """The hour with physics is a test of the whole system. Here: picks with cartons in view, held and laid down."""
    bench = Bench()
    wall = [a_carton(i, 3.4 + 0.5 * (i // 6), -1.0 + 0.4 * (i % 6)) for i in range(12)]
    bench.cartons = list(wall)
    bench.base_xy = (1.5, 0.0)
    bench.job.phase = JobState.PICKING
    bench.broker.joint_names = list(ROBOT.joint_names)

    def each() -> None:
        phase = bench.t % 10.0
        angle = 0.8 * np.sin(2 * np.pi * bench.t / 10.0)
        bench.position = ROBOT.poses["home"] + [angle, 0, 0, 0, 0, 0]
        bench.velocity = np.array([0.8 * 2 * np.pi / 10 * np.cos(2 * np.pi * bench.t / 10.0), 0, 0, 0, 0, 0])
        bench.broker.state = BrokerState.EXECUTING
        bench.broker.commanded_position_rad = bench.position.tolist()
        held = 3.0 < phase < 8.0
        bench.gripper.part_held, bench.gripper.zones_on = held, 63 if held else 0
        bench.gripper.vacuum_kpa = 55.0 if held else 0.0
        bench.broker.stage = BrokerState.STAGE_CARRY if held else BrokerState.STAGE_APPROACH

    bench.run(60.0, step_s=0.02, each=each)
    assert [e.values["to"] for e in bench.events] == ["STARTING", "RUN"], [e.text for e in bench.events]
    assert bench.state.mode == SafetyState.RUN
