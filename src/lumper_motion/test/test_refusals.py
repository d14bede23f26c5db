"""Everything that is refused: the code, a text that names the field, and an arm that does not move because of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Vector3
from harness import World, carton, pick_of, wall_of
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode
from tf2_msgs.msg import TFMessage

from lumper_ros import core as c
from lumper_ros.convert import to_time

G, B, C = ExecuteMotion.Goal, BrokerState, OutcomeCode
TARGET = 3 * 6 + 3


@pytest.fixture(scope="module")
def shared() -> World:
    world = World()
    world.cartons = wall_of()
    return world.boot()


def refused(world: World, goal: Any, code: int, word: str) -> None:
    before, sent = world.position.copy(), len(world.sent)
    request = world.send(goal)
    assert world.finish(request, 5.0) == code, world.results[request][1].text
    assert word in world.results[request][1].text
    world.run(0.1)
    assert len(world.sent) == sent
    assert np.array_equal(world.position, before)
    # The same id again: the same answer.
    text = world.results[request][1].text
    del world.results[request]
    world.send(goal, request)
    assert world.finish(request, 5.0) == code
    assert world.results[request][1].text == text


def with_pick(world: World, change: Callable[[Any], None], kind: int = G.PICK) -> Any:
    message = pick_of(world.cartons[TARGET])
    change(message)
    return world.goal(kind, message)


def put(path: str, value: Any) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            message = getattr(message, parent)
        setattr(message, last, value)

    return change


NAN = float("nan")


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("grasp_pose.position.x", NAN, "grasp_pose"),
        ("grasp_pose.orientation.w", 0.9, "unit quaternion"),
        ("grasp_pose.orientation.x", NAN, "grasp_pose"),
        ("place_pose.position.z", float("inf"), "place_pose"),
        ("load_in_tool.orientation.x", 2.0, "load_in_tool"),
        ("zones", 0, "zones"),
        ("zones", 0b1000000, "zones"),
        ("carton_ids", [], "carton_ids"),
        ("carton_ids", [3, 3], "carton_ids"),
        ("mass_kg", NAN, "mass_kg"),
        ("mass_kg", -1.0, "mass_kg"),
        ("speed_limit_mps", 0.0, "speed_limit_mps"),
        ("lift_m", NAN, "lift_m"),
        ("tilt_rad", 3.0, "tilt_rad"),
        ("size_m", Vector3(x=0.4, y=0.0, z=0.4), "size_m"),
        ("extract_m", Vector3(x=NAN, y=0.0, z=0.0), "extract_m"),
    ],
)
def test_malformed_pick(shared: World, path: str, value: Any, word: str) -> None:
    refused(shared, with_pick(shared, put(path, value)), C.MALFORMED, word)


def test_a_probe_that_does_not_pull(shared: World) -> None:
    refused(shared, with_pick(shared, put("extract_m", Vector3()), G.PROBE), C.MALFORMED, "extract_m")
    refused(shared, with_pick(shared, put("grasp_pose.position.y", 5.0), G.PROBE), C.OUT_OF_WORKSPACE, "outside")
    goal = with_pick(shared, put("lift_m", 0.0), G.PROBE)
    goal.wall_version = 99
    refused(shared, goal, C.UNKNOWN_WALL_VERSION, "wall_version=99")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"kind": 0}, "kind=0"),
        ({"kind": 99}, "kind=99"),
        ({"kind": G.HOME, "priority": 7}, "priority=7"),
        ({"kind": G.HOME, "deadline": to_time(0.0)}, "deadline is zero"),
        ({"kind": G.JOG, "jog_joint_names": ["elbow"], "jog_joint_delta_rad": [0.1]}, "jog_joint_names"),
        ({"kind": G.JOG, "jog_joint_names": ["joint_1"], "jog_joint_delta_rad": []}, "jog_joint_names"),
        ({"kind": G.JOG, "jog_joint_names": ["joint_1"], "jog_joint_delta_rad": [NAN]}, "jog_joint_delta_rad"),
        ({"kind": G.JOG, "jog_joint_names": ["joint_1"], "jog_joint_delta_rad": [1.5]}, "jog_joint_delta_rad"),
    ],
)
def test_malformed_request(shared: World, changes: dict[str, Any], word: str) -> None:
    goal = shared.goal(G.HOME)
    for name, value in changes.items():
        setattr(goal, name, value)
    refused(shared, goal, C.MALFORMED, word)


def test_jog_of_the_tool_too_far(shared: World) -> None:
    goal = shared.goal(G.JOG)
    goal.jog_tool_delta.position.x = 0.5
    refused(shared, goal, C.MALFORMED, "jog_tool_delta")


def test_deadline_past(shared: World) -> None:
    refused(shared, shared.goal(G.HOME, deadline=to_time(1.0)), C.DEADLINE_PAST, "passed")


def test_out_of_workspace(shared: World) -> None:
    refused(shared, with_pick(shared, put("grasp_pose.position.y", 5.0)), C.OUT_OF_WORKSPACE, "outside the trailer")
    refused(shared, with_pick(shared, put("place_pose.position.y", 3.0)), C.OUT_OF_WORKSPACE, "off the belt")


def test_overloaded(shared: World) -> None:
    refused(shared, with_pick(shared, put("mass_kg", 90.0)), C.OVERLOADED, "more zones")
    refused(shared, with_pick(shared, put("mass_kg", 200.0)), C.OVERLOADED, "arm's")


def test_overloaded_by_its_lever(shared: World) -> None:
    """What the zones hold at its middle they do not hold at its edge."""
    own = World()
    own.cartons = wall_of()
    assert own.boot().ask(with_pick(own, put("mass_kg", 25.0))) == C.NONE

    def aside(message: Any) -> None:
        message.mass_kg = 25.0
        message.load_in_tool.position.x = 0.55

    refused(shared, with_pick(shared, aside), C.OVERLOADED, "nearer to its middle")


def test_unknown_wall_version(shared: World) -> None:
    goal = with_pick(shared, lambda message: None)
    goal.wall_version = 999
    refused(shared, goal, C.UNKNOWN_WALL_VERSION, "999")


def test_wall_version_superseded_long_ago() -> None:
    world = World({"wall_max_age_s": 1.0})
    world.cartons = wall_of()
    world.boot()
    world.wall_version = 2
    world.tell("wall", world.wall())
    world.run(2.0)
    goal = with_pick(world, lambda message: None)
    goal.wall_version = 1
    refused(world, goal, C.UNKNOWN_WALL_VERSION, "too old")


def test_carton_not_in_the_wall(shared: World) -> None:
    refused(shared, with_pick(shared, put("carton_ids", [4242])), C.WALL_CHANGED, "4242")


def test_unreachable(shared: World) -> None:
    refused(shared, with_pick(shared, put("grasp_pose.position.x", 6.9)), C.UNREACHABLE, "face is")


def test_target_in_a_wall_or_the_robot(shared: World) -> None:
    refused(shared, with_pick(shared, put("grasp_pose.position.y", 1.24)), C.IN_COLLISION, "trailer left wall")


def test_face_covered_by_another_carton() -> None:
    world = World()
    world.cartons = [*wall_of(), carton(700, 3.8, 0.2, 1.4, (0.15, 0.4, 0.4))]
    world.boot()
    refused(world, with_pick(world, lambda message: None), C.IN_COLLISION, "carton 700")


def test_place_with_nothing_held(shared: World) -> None:
    refused(shared, with_pick(shared, lambda message: None, G.PLACE), C.CARTON_LOST, "nothing is held")


def test_not_permitted() -> None:
    world = World()
    world.permit = False
    world.boot()
    refused(world, world.goal(G.HOME), C.NOT_PERMITTED, "protective stop")


def test_not_permitted_while_recovering() -> None:
    world = World()
    world.joints_alive = False
    world.boot()
    assert world.state.state == B.RECOVERING
    refused(world, world.goal(G.HOME), C.NOT_PERMITTED, "looking")


def test_unknown_frame() -> None:
    world = World()
    world.cartons = wall_of()
    world.tf = TFMessage  # type: ignore[method-assign]
    world.boot()
    refused(world, with_pick(world, lambda message: None), C.UNKNOWN_FRAME, "/tf")


def test_duplicate_in_flight() -> None:
    world = World().boot()
    goal = world.goal(G.SCAN)
    request = world.send(goal)
    world.run(0.1)
    world.send(goal, request)
    assert world.code(request) == C.DUPLICATE_IN_FLIGHT
    assert len(world.sent) == 1
    del world.results[request]
    assert world.finish(request) == C.NONE, "the first one is executed all the same"


def test_queue_full_and_a_place_for_who_matters_more() -> None:
    world = World({"queue_size": 3}).boot()
    ids = [world.send(world.goal(G.SCAN)) for _ in range(5)]
    assert world.code(ids[4]) == C.QUEUE_FULL
    urgent = world.send(world.goal(G.HOME, priority=G.OPERATOR))
    assert world.code(ids[3]) == C.QUEUE_FULL, "the newest of the least important gives way"
    assert world.finish(urgent) == C.NONE
    assert [world.finish(i) for i in ids[:3]] == [C.PREEMPTED, C.NONE, C.NONE]


def test_planning_timeout_when_the_planner_takes_too_long() -> None:
    world = World({"planning_deadline_s": 0.05})
    world.compute_delay_s = 0.2
    world.boot()
    refused(world, world.goal(G.SCAN), C.PLANNING_TIMEOUT, "no motion within")


def test_planning_timeout_when_the_search_finds_nothing() -> None:
    world = World({"search_checks": 50})
    # A cage of thin walls round the way to the scan pose.
    world.cartons = [carton(1 + i, 2.9 + 0.05 * (i % 3), -1.0 + 0.22 * i, 1.2, (0.05, 0.2, 2.3)) for i in range(10)]
    world.cartons += wall_of(rows=5, columns=6, layers=1)[:0]
    world.base[0, 3] = 2.0
    world.boot()
    far = carton(99, 3.9, 0.2, 1.2, (0.4, 0.4, 0.4))
    world.cartons.append(far)
    world.wall_version += 1
    world.tell("wall", world.wall())
    request = world.send(world.goal(G.PICK, pick_of(far)))
    assert world.finish(request) in (C.PLANNING_TIMEOUT, C.IN_COLLISION)
    assert not world.sent


def test_ten_thousand_requests_at_once_and_two_clients() -> None:
    world = World({"refusals_size": 2000}).boot()
    ids = [world.send(world.goal(G.SCAN if i % 2 else G.HOME, job_id=f"client {i % 2}")) for i in range(10000)]
    codes = [world.code(i) if i in world.results else None for i in ids]
    assert codes.count(None) == 1 + world.parameters.queue_size
    assert codes.count(C.QUEUE_FULL) == 10000 - 1 - world.parameters.queue_size
    assert all(world.finish(i, 60.0) == C.NONE for i, code in zip(ids, codes, strict=True) if code is None)
    assert len(world.broker._journal._refusals) <= 2000


def test_waiting_too_long_is_told() -> None:
    world = World().boot()
    world.send(world.goal(G.SCAN))
    late = world.send(world.goal(G.HOME, deadline=to_time(world.ros_s() + 0.3)))
    assert world.finish(late) == C.DEADLINE_PAST


def test_deadline_passes_during_the_motion() -> None:
    world = World().boot()
    request = world.send(world.goal(G.SCAN, deadline=to_time(world.ros_s() + 0.5)))
    assert world.finish(request) == C.DEADLINE_PASSED
    assert world.result_speed[request] < 0.01


def test_permit_lost_drops_what_waits() -> None:
    world = World().boot()
    first, second = world.send(world.goal(G.SCAN)), world.send(world.goal(G.HOME))
    world.run(0.3)
    world.permit = False
    assert world.finish(first) == C.STOPPED_BY_SAFETY
    assert world.code(second) == C.NOT_PERMITTED
    world.permit = True
    world.run(1.0)
    assert len(world.sent) == 1, "a permit that comes back moves nothing by itself"


def test_controller_fault_rejects() -> None:
    world = World().boot()
    world.arm.fault = "drives are off"
    request = world.send(world.goal(G.SCAN))
    assert world.finish(request) == C.CONTROLLER_FAULT
    assert "drives are off" in world.results[request][1].text


def test_silent_joints_stop_the_arm() -> None:
    world = World().boot()
    request = world.send(world.goal(G.SCAN))
    world.run(0.3)
    world.joints_alive = False
    world.run(1.0)
    assert world.canceled_at_s
    world.joints_alive = True
    assert world.finish(request) == C.CONTROLLER_FAULT


def test_arm_held_back_violates_its_tolerance() -> None:
    world = World().boot()
    request = world.send(world.goal(G.SCAN))
    world.run(0.3)
    world.broke = True
    world.run(0.4)
    world.velocity[:] = 0.0
    assert world.finish(request) == C.TOLERANCE_VIOLATED


@pytest.mark.parametrize(("off_rad", "outcome"), [(0.021, C.NONE), (0.12, C.TOLERANCE_VIOLATED)])
def test_a_load_that_the_belt_bears_before_the_arm_is_down_is_let_go_there_and_not_higher(
    off_rad: float, outcome: int
) -> None:
    world = World({"goal_time_s": 0.2})
    world.cartons = wall_of()
    world.boot()
    message = pick_of(world.cartons[TARGET])
    assert world.ask(world.goal(G.PICK, message)) == C.NONE
    ends: list[np.ndarray] = []

    def keep(effect: c.Effect) -> bool:
        if isinstance(effect, c.SendGoal):
            ends.append(np.array(effect.goal.trajectory.points[-1].positions))
        return True

    world.after_effect = keep
    request = world.send(world.goal(G.PLACE, message))
    world.until(lambda: world.state.stage == B.STAGE_PLACE and float(np.abs(world.position - ends[-1]).max()) < off_rad)
    world.broke = True
    world.velocity[:] = 0.0
    world.until(lambda: world.zones == 0 or request in world.results)
    world.broke = False
    assert world.finish(request) == outcome
    assert world.results[request][1].holding_carton == (outcome != C.NONE)


def test_carton_lost_in_the_stroke_and_in_the_carry() -> None:
    for kind, stage in ((G.PICK, B.STAGE_EXTRACT), (G.PLACE, B.STAGE_CARRY)):
        world = World()
        world.cartons = wall_of()
        world.boot()
        message = pick_of(world.cartons[TARGET])
        if kind == G.PLACE:
            assert world.ask(world.goal(G.PICK, message)) == C.NONE
        request = world.send(world.goal(kind, message))
        world.until(lambda w=world, s=stage: w.state.stage == s and w.max_speed_seen > 0.3)
        world.attached, world.seals = False, False
        assert world.finish(request) == C.CARTON_LOST
        assert world.result_speed[request] < 0.01
        assert not world.results[request][1].holding_carton


def test_conveyor_never_ready() -> None:
    world = World({"conveyor_wait_s": 2.0})
    world.cartons = wall_of()
    world.boot()
    message = pick_of(world.cartons[TARGET])
    assert world.ask(world.goal(G.PICK, message)) == C.NONE
    world.conveyor_ready = False
    world.run(0.3)
    request = world.send(world.goal(G.PLACE, message))
    assert world.finish(request) == C.CONVEYOR_NOT_READY
    assert world.results[request][1].holding_carton


def test_journal_that_cannot_be_written_moves_nothing() -> None:
    world = World().boot()
    failing = [True]

    def stop_at_persist(effect: Any) -> bool:
        if type(effect).__name__ == "Persist" and effect.kind == "request" and failing[0]:
            failing[0] = False
            world.do(world.broker.persist_failed(effect.kind, effect.key, "disk full", world.now()))
            return False
        return True

    world.after_effect = stop_at_persist
    request = world.send(world.goal(G.SCAN))
    assert world.finish(request) == C.INTERNAL
    assert "disk full" in world.results[request][1].text
    assert not world.sent
    world.run(0.3)
    assert world.states[-1].dispatched == 0


def test_every_bad_input_is_counted_and_named() -> None:
    world = World().boot()
    bad = world.joint_state()
    bad.position[0] = NAN
    world.run(0.01)
    bad.header.stamp = to_time(world.ros_s() + 0.001)
    world.tell("joint_states", bad)
    wall = world.wall()
    wall.header.frame_id = "map"
    world.tell("wall", wall)
    named = {(d.name, d.level) for d in world.diagnoses}
    assert ("joint_states", 1) in named
    assert ("wall", 1) in named
