"""Plans from the real planning core and the real arm: what is taken, from where, and that the arm can do it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fake_world import FakeWorld, parameters, pile
from lumper_msgs.msg import Box, Carton, PlannedPick, RejectedCarton, Wall
from test_job import ended

from lumper_planner.choose import SAME_GRASP_COST_S, SAME_PLACE_M, SECOND_HALF, Chooser, boxes_of
from lumper_planner.clearance import lanes_of, room_ahead
from lumper_planner.reach import APPROACH_M, ArmReach, base_matrix
from lumper_planner.unloading import Choice, ChoiceRequest
from lumper_planner.world import picture_of
from lumper_ros.convert import inverse, matrix, to_point, to_vector3
from lumper_ros.robot import Robot, load_robot, load_trailer

CONFIG = Path(__file__).resolve().parents[3] / "config"


@pytest.fixture(scope="module")
def robot() -> Robot:
    return load_robot(CONFIG / "robot")


@pytest.fixture(scope="module")
def chooser(robot: Robot) -> Chooser:
    return Chooser(parameters(), robot, load_trailer(CONFIG / "trailer.yaml"), ArmReach(robot))


def wall_of(cartons: dict[int, list[float]], sigma: float = 0.003) -> Wall:
    world = FakeWorld(cartons)
    wall = world.wall_message()
    for carton in wall.cartons:
        carton.pose_sigma = [sigma, sigma, 0.002, 0.001, 0.001, 0.001]
        carton.size_sigma_m = [0.003] * 3
        carton.mass_sigma_kg = 0.5
        carton.visible_faces = Carton.FACE_NEG_X | Carton.FACE_POS_Z
    return wall


def request_for(wall: Wall, base_x: float = 0.0, **changes: object) -> ChoiceRequest:
    request = ChoiceRequest(
        job_id="j",
        plan_id="p",
        stamp_s=1.0,
        wall=wall,
        picture=picture_of(wall),
        base=(base_x, 0.0, 0.0),
        gone=frozenset(),
        skipped=(),
        failed=(),
        failed_grasps=(),
        no_path=(),
        set_aside=(),
        merged=(),
        split=(),
    )
    return dataclasses.replace(request, **changes)  # type: ignore[arg-type]


def reasons(choice: Choice) -> dict[int, int]:
    return {int(item.carton_id): int(item.reason) for item in choice.plan.rejected}


def test_the_top_is_taken_first_and_what_carries_it_is_rejected_with_the_reason(chooser: Chooser) -> None:
    choice = chooser(request_for(wall_of(pile(columns=1, layers=5))))
    assert [list(pick.carton_ids) for pick in choice.plan.picks] == [[5], [4], [3]]
    said = reasons(choice)
    assert said[1] == said[2] == RejectedCarton.BLOCKED
    assert choice.plan.wall_version == 1 and choice.plan.header.frame_id == "trailer"
    assert choice.plan.picks[0].predicted_accel_mps2 == 0.0 and choice.plan.picks[0].certificate != 0


def test_the_same_question_has_the_same_answer(chooser: Chooser) -> None:
    wall = wall_of(pile(rows=2, columns=4, layers=3))
    first, second = (chooser(request_for(wall)) for _ in range(2))
    assert first.plan.picks == second.plan.picks and first.plan.rejected == second.plan.rejected


def check_pick(pick: PlannedPick, robot: Robot, base_x: float) -> None:
    """The pick is something the arm can do: contact, approach, extraction and laying down, on the belt, with clearance."""
    grasp = matrix(pick.grasp_pose)
    assert pick.zones
    out = grasp.copy()
    out[:3, 3] += [pick.extract_m.x, pick.extract_m.y, pick.extract_m.z + pick.lift_m]
    before = grasp.copy()
    before[:3, 3] -= APPROACH_M * grasp[:3, 2]
    laid = matrix(pick.place_pose) @ inverse(matrix(pick.load_in_tool))
    arm_in_base = robot.mounts["arm_base"].matrix()
    in_trailer = inverse(base_matrix((base_x, 0.0, 0.0)) @ arm_in_base)
    tools = np.array([in_trailer @ before, in_trailer @ grasp, in_trailer @ out])
    _, good = ArmReach(robot).joints(tools)
    assert good.all(axis=0).any()
    _, good = ArmReach(robot).joints((inverse(arm_in_base) @ robot.mounts["infeed"].matrix() @ laid)[None])
    assert good.any()
    place = matrix(pick.place_pose)
    size_tool = np.array([pick.size_m.x, pick.size_m.y, pick.size_m.z])
    # size_m is along the axes of tool0: corners of the load as it hangs there.
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * size_tool / 2
    centre_in_tool = np.array(
        [pick.load_in_tool.position.x, pick.load_in_tool.position.y, pick.load_in_tool.position.z]
    )
    on_belt = (corners + centre_in_tool) @ laid[:3, :3].T + laid[:3, 3]
    assert -1e-6 <= on_belt[:, 2].min() <= 0.12
    assert np.abs(on_belt[:, 1]).max() <= robot.conveyor.width_m / 2
    extent = np.ptp(on_belt, axis=0)
    assert extent[0] >= extent[1] - 1e-6 or pick.stroke == PlannedPick.STROKE_TOP_PICK, (
        "the long side lies across the belt"
    )
    assert np.allclose(place[:2, 3], 0.0, atol=1e-6)
    pad = np.array([(x * 0.2, y * 0.15, z) for x in (-1, 1) for y in (-1, 1) for z in (0.0, -0.1)])
    assert (pad @ laid[:3, :3].T + laid[:3, 3])[:, 2].min() >= 0.01 - 1e-6


def test_every_pick_down_to_the_last_carton_can_be_done_by_the_arm(chooser: Chooser, robot: Robot) -> None:
    cartons = pile(rows=2, columns=4, layers=4, x=2.1)
    base_x, count = 0.0, len(cartons)
    for _ in range(3 * count):
        if not cartons:
            break
        choice = chooser(request_for(wall_of(cartons), base_x))
        if choice.plan.advance_base_m:
            base_x += choice.plan.advance_base_m
            continue
        assert choice.plan.picks, choice.plan.text
        check_pick(choice.plan.picks[0], robot, base_x)
        for carton in choice.plan.picks[0].carton_ids:
            del cartons[carton]
    assert not cartons


def test_a_far_pile_is_driven_to_and_a_near_one_is_backed_away_from(chooser: Chooser) -> None:
    far = chooser(request_for(wall_of(pile(layers=1, x=4.0))))
    assert far.plan.advance_base_m > 0.5
    assert far.plan.picks, "the plan says what it advances for"
    near = chooser(request_for(wall_of(pile(columns=1, layers=8, x=4.0)), base_x=3.4))
    assert near.plan.advance_base_m < 0.0


def test_the_base_keeps_clear_of_what_lies_on_the_floor(robot: Robot) -> None:
    wall = wall_of({1: [5.0, 0.0, 0.15], 2: [2.0, -0.7, 0.15], 3: [3.0, 0.4, 0.15], 4: [1.4, 0.4, 2.0]})
    wall.cartons[1].state = Carton.STATE_ON_FLOOR
    picture = picture_of(wall)
    lanes = lanes_of(robot)
    room, blockers = room_ahead(picture, (0.0, 0.0, 0.0), lanes, 7.0, 0.15)
    assert room == pytest.approx(2.0 - 0.2 - 1.0 - 0.15) and blockers == (2,)
    room, blockers = room_ahead(picture.without({2}), (0.0, 0.0, 0.0), lanes, 7.0, 0.15)
    assert room == pytest.approx(3.0 - 0.2 - 0.7 - 0.15) and blockers == ()
    assert room_ahead(picture.without({1, 2, 3}), (0.0, 0.0, 0.0), lanes, 7.0, 0.15)[0] == pytest.approx(5.85)
    assert room_ahead(picture, (0.9, 0.0, 0.0), lanes, 7.0, 0.15)[0] == 0.0


def test_nothing_in_view_drives_on_until_the_back_wall(chooser: Chooser) -> None:
    assert chooser(request_for(wall_of({}))).plan.advance_base_m > 0.0
    at_wall = chooser(request_for(wall_of({}), base_x=5.9))
    assert at_wall.plan.advance_base_m == 0.0 and at_wall.plan.text == "no carton in view"


def test_what_people_and_failures_excluded_is_not_picked(chooser: Chooser) -> None:
    wall = wall_of(pile(columns=3, layers=1))
    assert reasons(chooser(request_for(wall, skipped=(1,))))[1] == RejectedCarton.SKIPPED_BY_PERSON
    assert reasons(chooser(request_for(wall, failed=((2, 2),))))[2] == RejectedCarton.FAILED_BEFORE
    assert reasons(chooser(request_for(wall, set_aside=(3,))))[3] == RejectedCarton.FAILED_BEFORE
    assert 1 not in reasons(chooser(request_for(wall, gone=frozenset({1}))))
    wall.cartons[0].state = Carton.STATE_UNCERTAIN
    assert reasons(chooser(request_for(wall)))[1] == RejectedCarton.UNCERTAIN


def test_nothing_removable_comes_with_the_least_bad(chooser: Chooser) -> None:
    wall = wall_of(pile(columns=1, layers=2))
    choice = chooser(request_for(wall, skipped=(2,)))
    assert not choice.plan.picks and choice.plan.outcome.code == 400
    assert choice.least_bad and list(choice.least_bad[0][0].carton_ids) == [1] and choice.least_bad[0][0].risk_s > 0


# Two slender columns under one carton, as they were seen: id -> centre, size (m, trailer), what it stands on, whether its depth is
# an assumption.
TOWER: dict[int, tuple[tuple[float, float, float], tuple[float, float, float], list[int], bool]] = {
    3: ((6.692, -0.410, 0.451), (0.350, 0.225, 0.299), [58], True),
    4: ((6.764, -0.165, 0.425), (0.350, 0.256, 0.250), [56, 58], True),
    10: ((6.782, -0.164, 0.700), (0.350, 0.255, 0.299), [4], True),
    12: ((6.686, -0.409, 0.749), (0.350, 0.227, 0.301), [3], True),
    19: ((6.764, -0.165, 1.075), (0.350, 0.256, 0.450), [10], True),
    20: ((6.676, -0.409, 1.050), (0.350, 0.226, 0.300), [12], True),
    26: ((6.709, -0.410, 1.350), (0.350, 0.225, 0.300), [20], True),
    30: ((6.710, -0.166, 1.401), (0.350, 0.256, 0.200), [19], True),
    34: ((6.749, -0.279, 1.726), (0.451, 0.486, 0.449), [26, 30], False),
    56: ((6.789, 0.020, 0.150), (0.403, 0.486, 0.300), [], False),
    58: ((6.712, -0.374, 0.150), (0.350, 0.296, 0.300), [], True),
}


def test_what_bears_nothing_is_offered_before_what_would_surely_bring_something_down(chooser: Chooser) -> None:
    wall = wall_of({carton: list(centre) for carton, (centre, *_) in TOWER.items()}, 0.001)
    for carton in wall.cartons:
        _, size, carton.supported_by, assumed = TOWER[carton.id]
        carton.size_m = to_vector3(size)
        carton.friction, carton.mass_kg = 0.45, 40.0 * float(np.prod(size))
        if assumed:
            carton.size_unknown, carton.visible_faces = Carton.AXIS_X, Carton.FACE_NEG_X
            carton.pose_sigma[0], carton.size_sigma_m[0] = 0.06, 0.12
    choice = chooser(request_for(wall, 4.4))
    assert not choice.plan.picks
    offered = [list(pick.carton_ids) for pick, _ in choice.least_bad]
    assert offered[0] == [34] and len(offered) > 3


def test_a_grasp_that_failed_is_made_last(chooser: Chooser) -> None:
    wall = wall_of(pile(columns=1, layers=1))
    first = chooser(request_for(wall)).plan.picks[0]
    place = first.grasp_pose.position
    again = chooser(request_for(wall, failed_grasps=((1, ((place.x, place.y, place.z),)),))).plan.picks[0]
    moved = np.linalg.norm([getattr(again.grasp_pose.position, axis) - getattr(place, axis) for axis in "xyz"])
    assert moved > 0.03 or again.expected_s >= first.expected_s + SAME_GRASP_COST_S - 1e-3


def test_a_grasp_without_a_way_is_tried_from_another_place(chooser: Chooser) -> None:
    wall = wall_of(pile(columns=1, layers=1))
    first = chooser(request_for(wall)).plan.picks[0]
    place = first.grasp_pose.position
    tried = (place.x, place.y, place.z, 0.0, first.stroke)
    once = chooser(request_for(wall, no_path=((1, (tried,)),))).plan
    assert not once.advance_base_m and once.picks[0].stroke != first.stroke, "another stroke first"
    twice = chooser(request_for(wall, no_path=((1, (tried, tried)),))).plan
    assert twice.picks and abs(twice.advance_base_m) > SAME_PLACE_M
    elsewhere = chooser(request_for(wall, base_x=SAME_PLACE_M + 0.01, no_path=((1, (tried, tried)),))).plan
    assert elsewhere.picks and not elsewhere.advance_base_m


def test_one_face_read_as_two_cartons(chooser: Chooser) -> None:
    wall = wall_of(pile(columns=1, layers=1))
    boxes = boxes_of(wall, frozenset(), (1,))
    assert sorted(boxes["id"].tolist()) == [1, 1 | SECOND_HALF]
    assert boxes["size"][:, 1].tolist() == [0.2, 0.2] and boxes["mass"].sum() == pytest.approx(8.0)
    choice = chooser(request_for(wall, split=(1,)))
    assert list(choice.plan.picks[0].carton_ids) == [1] and choice.plan.picks[0].mass_kg < 8.0


def test_two_faces_read_as_one_carton(chooser: Chooser) -> None:
    wall = wall_of({1: [1.9, -0.202, 0.15], 2: [1.9, 0.202, 0.15]})
    choice = chooser(request_for(wall, merged=((1, 2),)))
    assert choice.plan.picks and all(sorted(pick.carton_ids) == [1, 2] for pick in choice.plan.picks)


def test_space_nobody_has_looked_into_is_handed_on(chooser: Chooser) -> None:
    wall = wall_of(pile(columns=1, layers=1))
    box = Box()
    box.min_m, box.max_m = to_point((2.1, -0.3, 0.0)), to_point((7.0, 0.3, 2.7))
    wall.unknown_space = [box]
    assert chooser(request_for(wall)).plan.picks


def test_a_job_with_the_real_core_and_arm(robot: Robot) -> None:
    chooser = Chooser(parameters(), robot, load_trailer(CONFIG / "trailer.yaml"), ArmReach(robot))
    world = FakeWorld(pile(rows=2, columns=4, layers=3), choose=chooser)
    result = ended(world, world.unload(), 3000.0)
    assert result.outcome.code == 0 and result.delivered == 24 == world.belt
    assert world.diagnoses["planning"].level == 0


def test_a_box_the_core_refuses_is_named(robot: Robot) -> None:
    chooser = Chooser(parameters(), robot, load_trailer(CONFIG / "trailer.yaml"), ArmReach(robot))
    world = FakeWorld(pile(columns=1), choose=chooser)
    original = world.wall_message

    def spoiled() -> Wall:
        wall = original()
        wall.cartons[0].friction = -1.0
        return wall

    world.wall_message = spoiled  # type: ignore[method-assign]
    world.unload()
    assert world.run(world.asked)
    assert "friction" in world.questions[-1].text


def test_a_tower_out_of_reach_is_gone_to_before_the_low_ones_are_taken(chooser: Chooser) -> None:
    low = {1: [2.0, 0.6, 0.15], 2: [2.0, 0.2, 0.15]}
    tower = {10 + k: [2.9, -0.7, 0.15 + 0.3 * k] for k in range(6)}
    choice = chooser(request_for(wall_of(low | tower), base_x=0.0))
    out_of_reach = {carton for carton, reason in reasons(choice).items() if reason == RejectedCarton.UNREACHABLE}
    assert choice.plan.advance_base_m > 0.0 or 15 not in out_of_reach
    taken = {int(carton) for carton in choice.plan.picks[0].carton_ids}
    assert taken == {15}, "the top of the tower comes first"


def test_what_would_be_drawn_into_the_belt_is_not_taken_from_there(robot: Robot, chooser: Chooser) -> None:
    belt = robot.conveyor
    front_m = 0.35
    near = {1: [belt.front_x_m + front_m + 0.2, belt.center_y_m, 0.15]}
    choice = chooser(request_for(wall_of(near), base_x=0.0))
    assert not choice.plan.picks or choice.plan.advance_base_m < 0.0, "the base goes back first"
    for pick in choice.plan.picks:
        base_x = choice.plan.advance_base_m
        drawn_to_m = near[1][0] - 0.2 + pick.extract_m.x - base_x
        assert pick.lift_m > belt.surface_z_m or drawn_to_m >= belt.front_x_m
