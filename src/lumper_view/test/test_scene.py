"""From messages to what is drawn: looks, orders, places, and what happens to unusable input."""

import math
from typing import Any

import numpy as np
import pytest
import view_scenario as scenario
from hypothesis import given, settings
from hypothesis import strategies as st
from lumper_msgs.msg import Carton, PlannedPick, RejectedCarton, SafetyState

from lumper_ros.core import Now
from lumper_ros.robot import Robot, Trailer
from lumper_view import scene as sc
from lumper_view.core import SceneKeeper
from lumper_view.placement import clusters
from lumper_view.scene import Look


def _cartons(load: Any, plan: Any = None, held: tuple[int, ...] = ()) -> sc.Cartons:
    return sc.cartons_of(sc.wall_shapes(load), plan, held, None)


def test_looks_follow_plan_state_and_gripper() -> None:
    load = scenario.wall(60)
    plan = scenario.plan(load)
    cartons = _cartons(load, plan)
    by_id = dict(zip(cartons.ids, zip(cartons.looks, cartons.order, cartons.reasons, strict=True), strict=True))
    assert by_id[plan.picks[0].carton_ids[0]][:2] == (Look.NEXT, 1)
    assert by_id[plan.picks[3].carton_ids[0]][:2] == (Look.PLANNED, 4)
    for item in plan.rejected:
        look, order, reason = by_id[item.carton_id]
        assert order == 0 and reason
        if item.reason == RejectedCarton.UNSTABLE:
            assert look is Look.UNSAFE
            assert reason.startswith("others would fall (0.31 m/s², at most 0.05) — because of")
    taken = plan.picks[0].carton_ids[0]
    assert _cartons(load, plan, (taken,)).looks[cartons.ids.index(taken)] is Look.HELD


def test_two_cartons_taken_together_share_a_number() -> None:
    load = scenario.wall(20)
    plan = scenario.plan(load, 2)
    plan.picks[0].carton_ids = [load.cartons[0].id, load.cartons[1].id]
    cartons = _cartons(load, plan)
    assert [cartons.order[cartons.ids.index(c.id)] for c in load.cartons[:2]] == [1, 1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: setattr(c.pose.position, "x", math.nan),
        lambda c: setattr(c.size_m, "y", 0.0),
        lambda c: setattr(c.size_m, "z", math.inf),
        lambda c: setattr(c.pose.orientation, "w", 3.0),
        lambda c: setattr(c, "id", 1),
    ],
)
def test_an_unusable_carton_is_named_and_left_out(spoil: Any) -> None:
    load = scenario.wall(10)
    spoil(load.cartons[4])
    shapes = sc.wall_shapes(load)
    assert len(shapes.ids) == 9
    assert len(shapes.faults) == 1 and "wall.cartons[4]" in shapes.faults[0]


def test_too_many_cartons_are_said() -> None:
    load = scenario.wall(4)
    load.cartons = [Carton(id=i) for i in range(sc.MAX_CARTONS + 1)]
    assert "2001 cartons" in sc.wall_shapes(load).faults[0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_wall_and_plan_can_be_drawn(data: Any) -> None:
    number = st.floats(width=32) | st.floats(-3, 3, width=32)
    load = scenario.wall(6)
    for carton in load.cartons:
        carton.state = data.draw(st.integers(0, 255))
        carton.id = data.draw(st.integers(0, 8))
        carton.pose.position.x = data.draw(number)
        carton.size_m.x = data.draw(number)
        carton.supports = data.draw(st.lists(st.integers(0, 8), max_size=3))
        carton.supported_by = data.draw(st.lists(st.integers(0, 8), max_size=3))
    plan = scenario.plan(load, 0)
    pick = PlannedPick(carton_ids=data.draw(st.lists(st.integers(0, 8), max_size=3)))
    pick.grasp_pose.position.y = data.draw(number)
    pick.extract_m.x = data.draw(number)
    plan.picks = [pick]
    cartons = _cartons(load, plan)
    assert np.isfinite(cartons.positions).all() and (cartons.sizes > 0).all()
    assert len(set(cartons.ids)) == len(cartons.ids)
    for arrow in sc.arrows_of(plan, load, cartons):
        assert np.isfinite([arrow.start, arrow.end]).all()


def test_grasp_arrow_ends_at_the_face_and_extraction_goes_out() -> None:
    load = scenario.wall(30)
    plan = scenario.plan(load)
    grasp, extraction = sc.arrows_of(plan, load, _cartons(load, plan))[:2]
    assert grasp.kind == "grasp" and np.allclose(grasp.end - grasp.start, [0.35, 0, 0])
    assert np.allclose(extraction.end - extraction.start, [-0.6, 0, 0])


def test_support_arrows_show_who_carries_what_rested_on_the_pick() -> None:
    load = scenario.wall(12)
    a, b, top = load.cartons[0], load.cartons[1], load.cartons[5]
    a.supports, b.supports, top.supported_by = [top.id], [top.id], [a.id, b.id]
    plan = scenario.plan(load, 1)
    plan.picks[0].carton_ids = [a.id]
    cartons = _cartons(load, plan)
    arrows = [arrow for arrow in sc.arrows_of(plan, load, cartons) if arrow.kind == "support"]
    assert len(arrows) == 1
    assert np.allclose(arrows[0].end, cartons.positions[cartons.ids.index(b.id)])


def test_safety_field_keeps_the_required_distance_from_every_point() -> None:
    points = np.array([[0.0, 0.5, 0.3], [1.2, 0.2, 1.0], [1.6, -0.4, 0.8]])
    field = sc.safety_field(scenario.safety(SafetyState.REDUCED, 0.4, 1.9), points)
    assert field is not None
    distance = np.linalg.norm(field.outline[:, None] - points[None, :, :2], axis=2).min(axis=1)
    assert np.allclose(distance, 1.24, atol=1e-9)
    assert sc.safety_field(None, points) is None


def test_people_are_what_load_trailer_and_robot_do_not_explain(robot: Robot, trailer: Trailer) -> None:
    keeper = SceneKeeper(robot, trailer)
    for name, message in scenario.everything(robot, 60, 10.0).items():
        keeper.take(name, message)
    links = keeper.placement.links()
    assert set(links) >= {"arm_base", "link_3", "tool0"}
    people = keeper.scene(Now(10.0, 10.0, 10.0), links).people
    # The scanner stands at x = 0.75 of the base; the person at (-1.75, 1.9) from it, seen from the near side.
    assert people.shape == (1, 2)
    assert np.linalg.norm(people[0] - [-1.0, 1.9]) < 0.25
    assert not len(keeper.scene(Now(20.0, 20.0, 20.0), links).people), "an old scan shows nobody"


def test_people_outside_the_trailer_walls_are_not_invented(robot: Robot, trailer: Trailer) -> None:
    keeper = SceneKeeper(robot, trailer)
    keeper.take("/tf", scenario.base_tf(1.0))
    keeper.take("joint_states", scenario.joints(robot))
    # From inside the trailer the side wall is seen 1.2 m away: that is the wall, nobody.
    keeper.take("scan/front", scenario.scan_with_person(0.3, 1.4, 10.0))
    assert not len(keeper.scene(Now(10.0, 10.0, 10.0), keeper.placement.links()).people)


def test_clusters_keep_two_people_apart_and_drop_specks() -> None:
    a = np.random.default_rng(3).normal(0.0, 0.03, (10, 3))
    points = np.concatenate([a, a + np.array([1.5, 0.0, 0.0]), np.array([[5.0, 5.0, 0.0]])])
    assert clusters(points).shape == (2, 2)


def test_a_held_carton_moves_with_the_tool(robot: Robot, trailer: Trailer) -> None:
    keeper = SceneKeeper(robot, trailer)
    for name, message in scenario.everything(robot, 10, 1.0).items():
        keeper.take(name, message)
    now = Now(1.0, 1.0, 1.0)
    keeper.take("motion/state", scenario.broker((3,)))
    before = keeper.scene(now, keeper.placement.links()).cartons
    first = keeper.placement.links()["tool0"]
    joints = scenario.joints(robot)
    joints.position[0] += 0.5
    keeper.take("joint_states", joints)
    second = keeper.placement.links()["tool0"]
    after = keeper.scene(now, keeper.placement.links()).cartons
    row = before.ids.index(3)
    moved = second @ np.linalg.inv(first) @ np.append(before.positions[row], 1.0)
    assert np.allclose(after.positions[row], moved[:3])
    assert np.linalg.norm(after.positions[row] - before.positions[row]) > 0.3
    other = before.ids.index(4)
    assert np.allclose(after.positions[other], before.positions[other])
