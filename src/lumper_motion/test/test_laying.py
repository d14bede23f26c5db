"""Laying a load on the belt: where it is asked for, or beside it where the arm cannot lay it there."""

from dataclasses import replace

import numpy as np
import pytest
from harness import CONFIG, parameters
from hypothesis import given, settings
from hypothesis import strategies as st
from lumper_msgs.msg import OutcomeCode, PlannedPick

from lumper_motion.free_motion import Failure
from lumper_motion.requests import Pick
from lumper_motion.stages import KnownCarton, Snapshot, StagePlanner
from lumper_motion.timing import Trajectory
from lumper_motion.tools import LAYING_SHIFTS_M, corners, laying_tools, load_of
from lumper_ros.convert import inverse
from lumper_ros.robot import load_robot, load_trailer

ROBOT = load_robot(CONFIG / "robot")
TRAILER = load_trailer(CONFIG / "trailer.yaml")
MAX_DROP_M = parameters().max_drop_m
# Held at a face that looks at the robot: tool0's z into the trailer, its x to the left.
FACING = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
STANDS_M = 4.12


def held(size: tuple[float, float, float], beside_m: float) -> Pick:
    """A front pull of a load, size along tool0's axes, held `beside_m` beside the middle of its face."""
    load_in_tool = np.eye(4)
    # The load's own axes are the trailer's; a carton lies with its depth along them.
    load_in_tool[:3, :3] = FACING.T
    load_in_tool[:3, 3] = (beside_m, 0.0, size[2] / 2)
    grasp, place = np.eye(4), np.eye(4)
    grasp[:3, :3], grasp[:3, 3] = FACING, (6.084, 0.111, 1.975)
    place[2, 3] = size[1] / 2
    pull = np.array([-size[2] - 0.1, 0.0, 0.0])
    return Pick(
        (26,), PlannedPick.STROKE_FRONT_PULL, grasp, 0b100100, pull, 0.02, 0.0, 0.5, place, size, load_in_tool, 8.4
    )


def on_belt(tool: np.ndarray, pick: Pick) -> np.ndarray:
    """(8, 3) the load's corners in base_link."""
    load = load_of(pick)
    hung = corners(load.size_m) @ load.pose_in_tool[:3, :3].T + load.pose_in_tool[:3, 3]
    return hung @ tool[:3, :3].T + tool[:3, 3]


def found_without_a_place() -> tuple[StagePlanner, Snapshot, Pick]:
    """A deep load held beside its middle: the elbow would meet the side wall, the forearm the gripper, in every turn."""
    pick = held((0.238, 0.348, 0.61), 0.133)
    planner = StagePlanner(ROBOT, TRAILER, parameters())
    base = np.eye(4)
    base[0, 3] = STANDS_M
    tool = np.eye(4)
    tool[:3, :3], tool[:3, 3] = FACING, (5.369 - STANDS_M, 0.111, 1.995)
    start = planner.kinematics.solutions(tool, ROBOT.poses["home"])[0]
    return planner, Snapshot(start, base, (), 1, load_of(pick)), pick


def test_a_load_that_cannot_be_laid_where_it_is_asked_to_is_laid_beside_it() -> None:
    planner, snapshot, pick = found_without_a_place()
    motion = planner.place(snapshot, pick)
    assert isinstance(motion, Trajectory), motion.text
    box = on_belt(planner.kinematics.tool(motion.path.at(np.array([motion.path.length_rad])))[0], pick)
    infeed = ROBOT.link_transforms(np.zeros(6))["infeed"]
    off_m = box.mean(axis=0)[:2] - (infeed @ pick.place)[:2, 3]
    assert tuple(off_m.round(3)) in LAYING_SHIFTS_M[1:]


def test_what_can_be_laid_nowhere_is_told_with_what_is_in_the_way() -> None:
    planner, snapshot, pick = found_without_a_place()
    over_belt = np.eye(4)
    over_belt[:3, 3] = (STANDS_M + 0.4, ROBOT.conveyor.center_y_m, 0.95)
    blocked = replace(snapshot, cartons=(KnownCarton(8, over_belt, (1.6, 0.9, 0.3)),))
    failure = planner.place(blocked, pick)
    assert isinstance(failure, Failure)
    assert failure.code == OutcomeCode.UNREACHABLE
    assert failure.text.startswith("no way to lay [26] on the belt: ")
    assert " touches " in failure.text


def test_an_arm_that_stands_too_near_something_does_not_leave_it_by_a_way_that_dips_its_wrist_into_the_deck() -> None:
    pick = held((0.496, 0.298, 0.436), 0.0)
    pick.load_in_tool[1, 3] = -0.037
    pick.place[:3, :3] = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    planner = StagePlanner(ROBOT, TRAILER, parameters())
    base, beside = np.eye(4), np.eye(4)
    base[0, 3] = 4.376
    beside[:3, 3] = (6.3, -0.13, 0.1)
    # Pulled out low over the deck, with the wrist turned over.
    start = np.array([-0.375, 0.548, 2.62, 2.766, 1.595, 3.131])
    snapshot = Snapshot(start, base, (KnownCarton(52, beside, (0.56, 0.2, 0.2)),), 1, load_of(pick))
    motion = planner.place(snapshot, pick)
    assert isinstance(motion, Trajectory), motion.text


@settings(max_examples=60)
@given(
    width_m=st.floats(0.2, 0.6),
    height_m=st.floats(0.15, 0.5),
    depth_m=st.floats(0.2, 0.6),
    beside_m=st.floats(-0.13, 0.13),
    shift_m=st.sampled_from(LAYING_SHIFTS_M[1:]),
)
def test_a_load_that_is_laid_elsewhere_lies_on_the_belt_whole(
    width_m: float, height_m: float, depth_m: float, beside_m: float, shift_m: tuple[float, float]
) -> None:
    pick = held((width_m, height_m, depth_m), beside_m)
    belt = ROBOT.conveyor
    centre = (ROBOT.link_transforms(np.zeros(6))["infeed"] @ pick.place)[:2, 3]
    for tool in laying_tools(ROBOT, pick, load_of(pick), MAX_DROP_M, shift_m):
        box = on_belt(tool, pick)
        assert box[:, 2].min() >= belt.surface_z_m
        assert np.abs(box[:, 1] - belt.center_y_m).max() <= belt.width_m / 2 + 1e-9
        assert box[:, 0].max() <= belt.front_x_m
        assert box.mean(axis=0)[:2] - centre == pytest.approx(shift_m)


@given(beside_m=st.floats(-0.13, 0.13))
def test_asked_for_in_the_middle_it_is_laid_in_the_middle_first(beside_m: float) -> None:
    pick = held((0.3, 0.3, 0.4), beside_m)
    tool = laying_tools(ROBOT, pick, load_of(pick), MAX_DROP_M)[0]
    infeed = ROBOT.link_transforms(np.zeros(6))["infeed"]
    laid = inverse(infeed) @ tool @ pick.load_in_tool
    assert laid[:2, 3] == pytest.approx(pick.place[:2, 3])
