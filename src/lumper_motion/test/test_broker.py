"""The broker as a whole, in virtual time: requests done, stopped, paused, told."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import World, carton, pick_of, wall_of
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode

from lumper_ros.core import GoalStatus, Severity

G, B, C = ExecuteMotion.Goal, BrokerState, OutcomeCode
TARGET = 3 * 6 + 3


@pytest.fixture
def world() -> World:
    made = World()
    made.cartons = wall_of()
    return made.boot()


def moving(world: World, stage: int) -> Callable[[], bool]:
    return lambda: world.state.stage == stage and world.max_speed_seen > 0.05


def picked(world: World) -> Any:
    """A pick message whose load is on the gripper now."""
    message = pick_of(world.cartons[TARGET])
    assert world.ask(world.goal(G.PICK, message)) == C.NONE
    return message


def test_pick_then_place_then_home_and_scan(world: World) -> None:
    target = world.cartons[TARGET]
    begun = world.time_s
    pick = world.send(world.goal(G.PICK, pick_of(target)))
    assert world.finish(pick) == C.NONE, world.results[pick]
    assert world.results[pick][0] is GoalStatus.SUCCEEDED
    assert world.results[pick][1].holding_carton
    assert world.state.held_carton_ids.tolist() == [target.id]
    assert [s.stage for s in world.results[pick][1].stages] == ["approach", "grasp", "extract"]
    place = world.send(world.goal(G.PLACE, pick_of(target)))
    assert world.finish(place) == C.NONE, world.results[place]
    assert [s.stage for s in world.results[place][1].stages] == ["carry", "place", "retreat"]
    assert not world.results[place][1].holding_carton
    assert world.time_s - begun < 9.0
    assert world.ask(world.goal(G.HOME)) == C.NONE
    assert np.allclose(world.position, world.robot.poses["home"], atol=1e-3)
    assert world.ask(world.goal(G.SCAN)) == C.NONE
    assert np.allclose(world.position, world.robot.poses["scan"], atol=1e-3)
    assert world.peak_speed <= 1.0
    assert world.peak_accel <= 1.02
    assert world.state.dispatched_without_permit == 0
    assert {f.stage for f in world.feedback[pick]} >= {B.STAGE_APPROACH, B.STAGE_EXTRACT}


def test_a_probe_pulls_a_little_lets_go_and_backs_off(world: World) -> None:
    target = world.cartons[TARGET]
    world.ask(world.goal(G.SCAN))
    tool = world.broker._planner.kinematics.tool
    probe = world.send(world.goal(G.PROBE, pick_of(target)))
    world.until(lambda: world.attached)
    gripped = tool(world.position)[0][:3, 3]
    world.until(lambda: world.zones == 0)
    pulled_m = np.linalg.norm(tool(world.position)[0][:3, 3] - gripped)
    assert pulled_m == pytest.approx(world.parameters.probe_m + world.parameters.press_m, abs=1e-3), "from the face on"
    assert world.max_speed_seen < 0.01
    assert world.finish(probe) == C.NONE, world.results[probe]
    result = world.results[probe][1]
    assert [s.stage for s in result.stages] == ["approach", "grasp", "extract", "retreat"]
    assert not result.holding_carton and not world.state.held_carton_ids.tolist()
    assert not [event for event in world.events if event.severity.value >= Severity.WARN.value]
    assert world.ask(world.goal(G.PICK, pick_of(target))) == C.NONE, "nothing is in the way of taking it then"


def test_a_probe_that_was_broken_off_is_a_pick_broken_off(world: World) -> None:
    message = pick_of(world.cartons[TARGET])
    probe = world.send(world.goal(G.PROBE, message))
    world.until(moving(world, B.STAGE_EXTRACT))
    world.permit = False
    assert world.finish(probe) == C.STOPPED_BY_SAFETY
    assert world.results[probe][1].holding_carton
    world.permit = True
    world.run(0.2)
    assert world.ask(world.goal(G.PROBE, message)) == C.MALFORMED, "the gripper is not empty"
    place = world.send(world.goal(G.PLACE, message))
    assert world.finish(place) == C.NONE, world.results[place]
    assert [s.stage for s in world.results[place][1].stages] == ["extract", "carry", "place", "retreat"]


def test_a_probe_whose_grasp_does_not_hold_is_tried_again_as_a_pick_is(world: World) -> None:
    probe = world.send(world.goal(G.PROBE, pick_of(world.cartons[TARGET])))
    world.seals = False
    world.until(lambda: any(event.code == "motion.grip_again" for event in world.events))
    world.seals = True
    assert world.finish(probe) == C.NONE, world.results[probe]
    assert not world.results[probe][1].holding_carton and not world.attached


def test_load_is_laid_with_its_centre_where_it_was_asked(world: World) -> None:
    message = picked(world)
    tools = []
    place = world.send(world.goal(G.PLACE, message))
    world.until(lambda: world.zones == 0)
    tools.append(world.broker._planner.kinematics.tool(world.position)[0])
    assert world.finish(place) == C.NONE
    load = np.eye(4)
    load[:3, 3] = (0.0, 0.0, message.load_in_tool.position.z)
    centre = (tools[0] @ load)[:3, 3]
    infeed = world.robot.link_transforms(np.zeros(6))["infeed"]
    assert np.allclose(centre[:2], infeed[:2, 3], atol=0.01)
    assert infeed[2, 3] + 0.195 <= centre[2] <= infeed[2, 3] + 0.195 + 0.05


@pytest.mark.parametrize("stage", [B.STAGE_APPROACH, B.STAGE_EXTRACT])
def test_permit_lost_stops_pick_and_says_so_at_standstill(world: World, stage: int) -> None:
    pick = world.send(world.goal(G.PICK, pick_of(world.cartons[TARGET])))
    world.until(moving(world, stage))
    world.permit = False
    lost_s = world.time_s
    world.until(lambda: bool(world.canceled_at_s))
    assert world.canceled_at_s[0] - lost_s <= 0.02 + 0.015, "one period of the monitor, then at once"
    assert world.finish(pick) == C.STOPPED_BY_SAFETY
    assert world.result_speed[pick] < 0.01
    assert world.peak_accel <= 1.02
    sent = len(world.sent)
    world.run(0.5)
    assert len(world.sent) == sent
    assert world.state.state == B.HOLDING
    assert world.state.dispatched_without_permit == 0


def test_silent_monitor_stops_within_its_lease(world: World) -> None:
    home = world.send(world.goal(G.SCAN))
    world.until(moving(world, B.STAGE_MOVE))
    world.monitor_alive = False
    silent_s = world.time_s
    assert world.finish(home) == C.STOPPED_BY_SAFETY
    assert world.canceled_at_s[0] - silent_s <= 0.13


def test_stopped_pick_goes_on_from_the_failed_stage(world: World) -> None:
    message = pick_of(world.cartons[TARGET])
    first = world.send(world.goal(G.PICK, message))
    world.until(moving(world, B.STAGE_EXTRACT))
    world.run(0.3)
    world.permit = False
    assert world.finish(first) == C.STOPPED_BY_SAFETY
    assert world.results[first][1].holding_carton
    world.permit = True
    world.run(0.2)
    end = world.broker._runner.memory.trail.position[-1]
    again = world.send(world.goal(G.PICK, message))
    assert world.finish(again) == C.NONE, world.results[again][1].text
    assert [s.stage for s in world.results[again][1].stages] == ["extract"]
    assert np.allclose(world.position, end, atol=0.01), "the rest of the stroke, not the stroke again"


def test_stopped_carry_goes_on_with_a_new_place(world: World) -> None:
    message = picked(world)
    first = world.send(world.goal(G.PLACE, message))
    world.until(moving(world, B.STAGE_CARRY))
    world.permit = False
    assert world.finish(first) == C.STOPPED_BY_SAFETY
    world.permit = True
    world.run(0.2)
    assert world.ask(world.goal(G.PLACE, message)) == C.NONE
    assert not world.attached


def test_stopped_retreat_is_made_up_for(world: World) -> None:
    message = picked(world)
    first = world.send(world.goal(G.PLACE, message))
    world.until(moving(world, B.STAGE_RETREAT))
    world.permit = False
    assert world.finish(first) == C.STOPPED_BY_SAFETY
    world.permit = True
    world.run(0.2)
    again = world.send(world.goal(G.PLACE, message))
    assert world.finish(again) == C.NONE
    assert [s.stage for s in world.results[again][1].stages] == ["retreat"]


def test_speed_scale_is_followed_along_the_path_without_a_jump(world: World) -> None:
    scan = world.send(world.goal(G.SCAN))
    world.until(moving(world, B.STAGE_MOVE))
    path = world.broker._runner.active.follower.trajectory.path
    world.scale = 0.3
    world.run(0.35)
    slow = world.max_speed_seen
    assert slow < 0.35 * float(world.robot.max_speed_radps.max())
    world.scale = 0.8
    off = []
    dense = path.at(np.linspace(0.0, path.length_rad, 4000))
    while scan not in world.results:
        world.step()
        off.append(float(np.abs(dense - world.position).max(axis=1).min()))
    assert world.code(scan) == C.NONE
    assert max(off) < 2e-3, "it never leaves the path"
    assert world.peak_accel <= 1.05


def test_scale_zero_pauses_with_the_goal_kept(world: World) -> None:
    scan = world.send(world.goal(G.SCAN))
    world.until(moving(world, B.STAGE_MOVE))
    world.scale = 0.0
    world.run(2.0)
    assert scan not in world.results
    assert world.max_speed_seen < 1e-6
    assert world.state.state == B.HOLDING
    world.scale = 1.0
    assert world.finish(scan) == C.NONE
    assert np.allclose(world.position, world.robot.poses["scan"], atol=1e-3)
    assert world.peak_accel <= 1.05


def test_request_at_scale_zero_waits_for_speed(world: World) -> None:
    world.scale = 0.0
    world.run(0.1)
    scan = world.send(world.goal(G.SCAN))
    world.run(1.0)
    assert not world.sent
    world.scale = 0.5
    assert world.finish(scan) == C.NONE


def test_an_arm_that_never_comes_to_rest_is_a_fault_and_not_a_wait_for_ever(world: World) -> None:
    scan = world.send(world.goal(G.SCAN))
    world.until(moving(world, B.STAGE_MOVE))
    world.shaking_radps = 0.03
    world.do(world.broker.cancel("motion/execute", scan, world.now()))
    assert world.finish(scan) == C.CONTROLLER_FAULT
    status, result = world.results[scan]
    assert status is not GoalStatus.CANCELED
    assert "does not come to rest, 0.03" in result.text
    world.shaking_radps = 0.0
    world.run(0.2)
    assert world.ask(world.goal(G.SCAN)) == C.NONE


def test_cancel_slows_down_on_the_path_and_ends_at_standstill(world: World) -> None:
    scan = world.send(world.goal(G.SCAN))
    world.until(moving(world, B.STAGE_MOVE))
    world.do(world.broker.cancel("motion/execute", scan, world.now()))
    assert world.finish(scan) == C.CANCELLED
    assert world.results[scan][0] is GoalStatus.CANCELED
    assert world.result_speed[scan] < 0.01
    assert world.peak_accel <= 1.05


def test_higher_priority_preempts_at_a_safe_point(world: World) -> None:
    pick = world.send(world.goal(G.PICK, pick_of(world.cartons[TARGET])))
    world.until(moving(world, B.STAGE_APPROACH))
    home = world.send(world.goal(G.HOME, priority=G.OPERATOR))
    assert world.finish(home) == C.NONE
    assert world.code(pick) == C.PREEMPTED
    assert world.result_speed[pick] < 0.01
    assert list(world.results).index(pick) < list(world.results).index(home)


def test_a_stroke_is_finished_before_a_higher_priority_gets_its_turn(world: World) -> None:
    pick = world.send(world.goal(G.PICK, pick_of(world.cartons[TARGET])))
    world.until(moving(world, B.STAGE_EXTRACT))
    retreat = world.send(world.goal(G.RETREAT, priority=G.SAFETY_RETREAT))
    assert world.finish(retreat) == C.NONE
    assert world.code(pick) == C.NONE


def test_retreat_goes_back_the_way_it_came(world: World) -> None:
    pick = world.send(world.goal(G.PICK, pick_of(world.cartons[TARGET])))
    world.until(lambda: world.state.stage == B.STAGE_GRASP)
    trajectory = world.broker._runner.active.follower.trajectory
    world.permit = False
    world.finish(pick)
    world.permit = True
    world.run(0.2)
    assert world.ask(world.goal(G.RETREAT)) == C.NONE
    dense = trajectory.path.at(np.linspace(0.0, trajectory.path.length_rad, 4000))
    assert float(np.abs(dense - world.position).max(axis=1).min()) < 0.02


def test_jog_joint_and_tool(world: World) -> None:
    before = world.position.copy()
    assert world.ask(world.goal(G.JOG, jog_joint_names=["joint_4"], jog_joint_delta_rad=[0.2])) == C.NONE
    assert np.allclose(world.position - before, [0, 0, 0, 0.2, 0, 0], atol=1e-3)
    tool = world.broker._planner.kinematics.tool(world.position)[0]
    goal = world.goal(G.JOG)
    goal.jog_tool_delta.position.z = 0.1
    assert world.ask(goal) == C.NONE
    moved = world.broker._planner.kinematics.tool(world.position)[0][:3, 3] - tool[:3, 3]
    assert np.allclose(moved, 0.1 * tool[:3, 2], atol=2e-3)


def test_conveyor_not_ready_waits_over_the_belt_then_goes_on(world: World) -> None:
    message = picked(world)
    world.conveyor_ready = False
    world.run(0.3)
    place = world.send(world.goal(G.PLACE, message))
    world.run(6.0)
    assert place not in world.results
    assert world.attached
    assert world.max_speed_seen < 1e-6
    world.conveyor_ready = True
    assert world.finish(place) == C.NONE
    assert world.peak_accel <= 1.05


def test_gripper_that_never_seals_is_tried_otherwise_then_said(world: World) -> None:
    world.seals = False
    pick = world.send(world.goal(G.PICK, pick_of(world.cartons[TARGET])))
    assert world.finish(pick) == C.GRASP_NOT_MADE
    tries = [event.text for event in world.events if event.code == "motion.grip_again"]
    assert len(tries) == 2
    assert "pressing harder" in tries[0]
    assert "another grasp" in tries[1]
    assert world.zones == 0


def test_another_grasp_succeeds_after_the_first_did_not(world: World) -> None:
    world.seals = False
    message = pick_of(world.cartons[TARGET])
    pick = world.send(world.goal(G.PICK, message))
    world.until(lambda: any("another grasp" in event.text for event in world.events))
    world.seals = True
    assert world.finish(pick) == C.NONE
    assert world.ask(world.goal(G.PLACE, message)) == C.NONE


def test_wall_change_across_the_approach_is_planned_around(world: World) -> None:
    message = pick_of(world.cartons[TARGET])
    pick = world.send(world.goal(G.PICK, message))
    world.until(moving(world, B.STAGE_APPROACH))
    tool = world.broker._planner.kinematics.tool(world.broker._runner.active.follower.trajectory.position[-60])[0]
    at = world.base @ tool
    # Something now stands a hand before the face, over half of the way.
    world.cartons.append(carton(900, at[0, 3], at[1, 3] + 0.25, at[2, 3], (0.1, 0.2, 0.2)))
    world.wall_version += 1
    world.tell("wall", world.wall())
    code = world.finish(pick)
    assert code in (C.NONE, C.WALL_CHANGED)
    assert any("lies across the approach" in event.text for event in world.events)


def test_target_gone_during_the_approach_is_not_grasped_for(world: World) -> None:
    pick = world.send(world.goal(G.PICK, pick_of(world.cartons[TARGET])))
    world.until(moving(world, B.STAGE_APPROACH))
    wall = world.wall()
    wall.version += 1
    wall.removed_ids = [world.cartons[TARGET].id]
    world.tell("wall", wall)
    assert world.finish(pick) == C.WALL_CHANGED
    assert world.zones == 0


def test_pick_of_two_neighbours_at_once(world: World) -> None:
    left, right = carton(501, 3.7, 0.1, 1.0, (0.3, 0.19, 0.3)), carton(502, 3.7, -0.1, 1.0, (0.3, 0.19, 0.3))
    world.cartons += [left, right]
    world.wall_version += 1
    world.tell("wall", world.wall())
    both = pick_of(carton(501, 3.7, 0.0, 1.0, (0.3, 0.39, 0.3)))
    both.carton_ids = [501, 502]
    assert world.ask(world.goal(G.PICK, both)) == C.NONE
    assert world.state.held_carton_ids.tolist() == [501, 502]
    assert world.ask(world.goal(G.PLACE, both)) == C.NONE


def test_next_requests_wait_their_turn_and_all_end(world: World) -> None:
    ids = [world.send(world.goal(kind)) for kind in (G.SCAN, G.HOME, G.SCAN)]
    assert world.state.queued_request_ids == ids[1:]
    assert [world.finish(i) for i in ids] == [C.NONE] * 3
