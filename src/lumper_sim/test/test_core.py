"""trailer_sim's core without ROS: rates, stamps, goals, services, faults; driven tick by tick."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from lumper_msgs.action import AdvanceBase
from lumper_msgs.msg import OutcomeCode
from lumper_msgs.srv import InjectFault, SetGripper
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from lumper_ros import cloud
from lumper_ros.convert import seconds, to_duration
from lumper_ros.core import Compute, Effect, Feedback, FinishGoal, GoalStatus, Now, Publish, Respond
from lumper_ros.interfaces import SIM, TOPICS, published_by, resolve_type
from lumper_ros.parameters import ParameterError, from_mapping
from lumper_sim.core import ARM, BASE, SLICE_S, SimCore
from lumper_sim.node import build
from lumper_sim.parameters import SimParameters
from lumper_sim.world import START_S

CONFIG = Path(__file__).parents[3] / "config"
FILES = {"robot_folder": str(CONFIG / "robot"), "trailer_file": str(CONFIG / "trailer.yaml")}
NOW = Now(0.0, 0.0, 0.0)
NAN = float("nan")


def make(**parameters: Any) -> SimCore:
    return build(from_mapping(SimParameters, {**FILES, "load": "uniform", "cartons": 20, **parameters}))


@pytest.fixture
def core() -> SimCore:
    return make()


def run(core: SimCore, seconds_s: float) -> list[Effect]:
    """Advance and carry out computations at once."""
    effects: list[Effect] = []
    for _ in range(round(seconds_s / SLICE_S)):
        for effect in core.advance():
            if isinstance(effect, Compute):
                effects += core.computed(effect.tag, effect.function(), NOW)
            else:
                effects.append(effect)
    return effects


def published(effects: list[Effect], name: str) -> list[Any]:
    return [e.message for e in effects if isinstance(e, Publish) and e.name == name]


def finished(effects: Any) -> list[FinishGoal]:
    return [e for e in effects if isinstance(e, FinishGoal)]


def move(core: SimCore, position: Any, time_s: float = 1.0, names: Any = None) -> Any:
    point = JointTrajectoryPoint(
        positions=[float(v) for v in position], velocities=[0.0] * len(position), time_from_start=to_duration(time_s)
    )
    names = list(core.world.robot.joint_names) if names is None else names
    return FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=names, points=[point]))


def fault(core: SimCore, name: str, *args: float, duration_s: float = NAN) -> Any:
    request = InjectFault.Request(name=name, args=[float(a) for a in args], duration_s=duration_s)
    (answer,) = [e.response for e in core.service("sim/fault", request, NOW) if isinstance(e, Respond)]
    return answer


def test_everything_in_the_table_is_published_at_its_rate(core: SimCore) -> None:
    counts = Counter(e.name for e in run(core, 4.0) if isinstance(e, Publish))
    rates = {name: count / 4.0 for name, count in counts.items()}
    assert set(rates) == {t.name for t in published_by(SIM)} - {"events"}
    assert rates["joint_states"] >= 100
    assert 15 <= rates["scan/front"] <= 40
    assert rates["scan/rear"] == rates["scan/front"]
    assert rates["gripper/state"] >= 20
    assert rates["estop"] >= 10
    assert rates["conveyor/state"] >= 5
    assert rates["/clock"] <= 50
    assert rates["sim/report"] == 1
    assert rates["points"] == pytest.approx(5, abs=0.3)
    assert rates["detections"] == rates["points"]


def test_messages_are_of_the_table_s_types_and_stamped_in_simulated_time(core: SimCore) -> None:
    effects = run(core, 1.5)
    for effect in effects:
        if isinstance(effect, Publish):
            assert type(effect.message) is resolve_type(TOPICS[effect.name].type)
            stamp = getattr(effect.message, "stamp", None) or getattr(
                getattr(effect.message, "header", None), "stamp", None
            )
            if stamp is not None:
                assert START_S < seconds(stamp) <= core.world.time_s + 1e-6
    stamps = [seconds(m.header.stamp) for m in published(effects, "joint_states")]
    np.testing.assert_allclose(np.diff(stamps), SLICE_S, atol=1e-6)


@pytest.mark.parametrize(("rate", "expected"), [(1.0, 2.0), (0.5, 1.0), (4.0, 8.0)])
def test_time_passes_at_the_rate_asked_for(rate: float, expected: float) -> None:
    core = make(rate=rate, camera_rate_hz=0.2)
    start = core.world.time_s
    for k in range(251):
        core.tick(Now(0.0, 100.0 + k * 0.008, 0.0))
    assert core.world.time_s - start == pytest.approx(expected, abs=0.02)


def test_a_stalled_process_does_not_catch_up_in_a_burst() -> None:
    core = make(camera_rate_hz=0.2)
    core.tick(Now(0.0, 100.0, 0.0))
    core.tick(Now(0.0, 130.0, 0.0))
    assert core.world.time_s - START_S < 0.25


def test_a_goal_is_executed_with_feedback(core: SimCore) -> None:
    names = list(reversed(core.world.robot.joint_names))
    target = core.world.robot.poses["home"] + np.array([0.2, 0.1, -0.1, 0.1, 0.1, 0.2])
    assert not finished(core.goal(ARM, "g1", move(core, target[::-1], 1.0, names), NOW))
    effects = run(core, 1.5)
    (done,) = finished(effects)
    assert (done.name, done.goal_id, done.status) == (ARM, "g1", GoalStatus.SUCCEEDED)
    assert done.result.error_code == FollowJointTrajectory.Result.SUCCESSFUL
    feedback = [e.feedback for e in effects if isinstance(e, Feedback)]
    assert len(feedback) > 10
    np.testing.assert_allclose(
        np.array(feedback[5].error.positions),
        np.array(feedback[5].desired.positions) - np.array(feedback[5].actual.positions),
        atol=1e-12,
    )
    last = published(effects, "joint_states")[-1]
    np.testing.assert_allclose(last.position, target, atol=0.01)


R = FollowJointTrajectory.Result


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda g: g.trajectory.points.clear(), R.INVALID_GOAL),
        (lambda g: g.trajectory.joint_names.pop(), R.INVALID_JOINTS),
        (lambda g: setattr(g.trajectory.header.stamp, "sec", 1), R.OLD_HEADER_TIMESTAMP),
        (lambda g: g.path_tolerance.append(JointTolerance(name="elbow")), R.INVALID_JOINTS),
        (lambda g: setattr(g.trajectory.points[0], "positions", [NAN] * 6), R.INVALID_GOAL),
    ],
)
def test_a_bad_goal_ends_with_its_code_and_moves_nothing(core: SimCore, spoil: Callable[[Any], Any], code: int) -> None:
    goal = move(core, core.world.robot.poses["scan"])
    spoil(goal)
    (done,) = finished(core.goal(ARM, "g1", goal, NOW))
    assert done.status is GoalStatus.ABORTED
    assert done.result.error_code == code
    assert done.result.error_string
    before = core.world.joint_state()[0]
    run(core, 0.5)
    np.testing.assert_allclose(core.world.joint_state()[0], before, atol=1e-6)


def test_cancel_is_reported_only_at_standstill(core: SimCore) -> None:
    core.goal(ARM, "g1", move(core, core.world.robot.poses["home"] + np.array([-1.0, 0, 0, 0, 0, 0]), 1.5), NOW)
    run(core, 0.75)
    core.cancel(ARM, "g1", NOW)
    for _ in range(300):
        done = finished(core.advance())
        if done:
            break
        peak = np.abs(core.world.joint_state()[1]).max()
    assert done[0].status is GoalStatus.CANCELED
    assert np.abs(core.world.joint_state()[1]).max() < 0.01
    assert peak < 0.1


def test_the_last_of_two_goals_wins(core: SimCore) -> None:
    home = core.world.robot.poses["home"]
    core.goal(ARM, "g1", move(core, home + 0.3), NOW)
    run(core, 0.4)
    first = finished(core.goal(ARM, "g2", move(core, home), NOW))
    assert [(f.goal_id, f.status) for f in first] == [("g1", GoalStatus.ABORTED)]
    second = finished(run(core, 1.5))
    assert [(f.goal_id, f.status) for f in second] == [("g2", GoalStatus.SUCCEEDED)]


def test_the_base_advances(core: SimCore) -> None:
    assert not core.goal(BASE, "b", AdvanceBase.Goal(distance_m=-0.3, max_speed_mps=0.3), NOW)
    busy = finished(core.goal(BASE, "c", AdvanceBase.Goal(distance_m=0.1, max_speed_mps=0.3), NOW))
    assert busy[0].result.outcome.code == OutcomeCode.BUSY
    (done,) = finished(run(core, 3.0))
    assert done.result.outcome.code == OutcomeCode.NONE
    assert done.result.moved_m == pytest.approx(-0.3, abs=1e-3)
    transforms = published(run(core, 0.2), "/tf")[-1].transforms
    assert transforms[0].header.frame_id == "trailer"
    assert transforms[0].child_frame_id == "base_link"
    assert transforms[0].transform.translation.x == pytest.approx(core.world.base_x_m, abs=1e-6)


@pytest.mark.parametrize(("distance_m", "speed_mps"), [(NAN, 0.2), (50.0, 0.2), (0.2, 0.0)])
def test_a_base_goal_out_of_range_is_malformed(core: SimCore, distance_m: float, speed_mps: float) -> None:
    (done,) = finished(core.goal(BASE, "b", AdvanceBase.Goal(distance_m=distance_m, max_speed_mps=speed_mps), NOW))
    assert done.status is GoalStatus.ABORTED
    assert done.result.outcome.code == OutcomeCode.MALFORMED


def test_gripper_valves(core: SimCore) -> None:
    (answer,) = [
        e.response
        for e in core.service("gripper/set", SetGripper.Request(zones_on=0b101), NOW)
        if isinstance(e, Respond)
    ]
    assert answer.ok
    state = published(run(core, 0.5), "gripper/state")[-1]
    assert state.zones_on == 0b101
    assert state.zones_sealed == 0
    assert not state.part_held
    (answer,) = [
        e.response
        for e in core.service("gripper/set", SetGripper.Request(zones_on=1 << 9), NOW)
        if isinstance(e, Respond)
    ]
    assert not answer.ok
    assert "zones_on" in answer.text
    assert published(run(core, 0.1), "gripper/state")[-1].zones_on == 0b101


@pytest.mark.parametrize(
    ("sensor", "names"),
    [
        (1, ["scan/front"]),
        (2, ["scan/rear"]),
        (3, ["points", "detections"]),
        (4, ["joint_states"]),
        (5, ["gripper/state"]),
        (6, ["detections"]),
        (7, ["estop"]),
    ],
)
def test_a_silent_sensor_says_nothing_until_it_is_over(core: SimCore, sensor: int, names: list[str]) -> None:
    assert fault(core, "sensor_silence", sensor, duration_s=1.0).ok
    run(core, 0.3)
    quiet = run(core, 0.65)
    after = run(core, 1.0)
    for name in names:
        assert not published(quiet, name)
        assert published(after, name)


def test_the_estop_is_seen_and_stops(core: SimCore) -> None:
    assert fault(core, "estop", 0).ok
    effects = run(core, 0.3)
    assert [m.data for m in published(effects, "estop")] == [False] * 3
    assert published(effects, "conveyor/state")[-1].speed_mps == 0.0
    (done,) = finished(core.goal(ARM, "g", move(core, core.world.robot.poses["scan"]), NOW))
    assert "emergency stop" in done.result.error_string
    (base,) = finished(core.goal(BASE, "b", AdvanceBase.Goal(distance_m=0.1, max_speed_mps=0.1), NOW))
    assert base.result.outcome.code == OutcomeCode.BASE_FAILED


def test_a_nonsense_fault_is_refused_by_name(core: SimCore) -> None:
    answer = fault(core, "earthquake", 1)
    assert not answer.ok
    assert "earthquake" in answer.text


def test_cloud_and_detections_agree(core: SimCore) -> None:
    effects = run(core, 0.5)
    points, found = published(effects, "points")[-1], published(effects, "detections")[-1]
    assert points.header == found.header
    assert points.header.frame_id == "camera_optical_frame"
    xyz = cloud.xyz(points)
    assert xyz.shape == (240, 320, 3)
    assert np.isfinite(xyz[..., 2]).mean() > 0.7
    assert len(found.detections) > 3
    for detection in found.detections:
        assert np.isnan(detection.mass_kg)
        assert np.isnan(detection.depth_m)
    assert 0.5 < found.view_coverage <= 1.0


def test_colour_is_there_when_asked_for() -> None:
    effects = run(make(camera_rgb=True), 0.3)
    assert [f.name for f in published(effects, "points")[0].fields] == ["x", "y", "z", "rgb"]


def test_the_report_is_of_the_physics(core: SimCore) -> None:
    report = published(run(core, 1.2), "sim/report")[-1]
    assert (report.total, report.in_trailer, report.delivered, report.falls) == (20, 20, 0, 0)
    assert report.settled


def test_two_runs_say_the_same_bit_for_bit() -> None:
    said = []
    for _ in range(2):
        core = make(seed=4)
        core.goal(ARM, "g", move(core, core.world.robot.poses["scan"], 1.5), NOW)
        effects = run(core, 1.0)
        said.append([(e.name, e.message) for e in effects if isinstance(e, Publish)])
    assert len(said[0]) > 200
    for (name, a), (other, b) in zip(*said, strict=True):
        assert name == other
        # NaN is not equal to itself: compare what is printed.
        assert a == b or str(a) == str(b), name


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"load": "heap"}, "load"),
        ({"cartons": 0}, "cartons"),
        ({"rate": 0.0}, "rate"),
        ({"colour": 1}, "colour"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_parameters_are_named(bad: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        make(**bad)


def test_the_next_trailer_takes_the_place_of_the_one_before(core: SimCore) -> None:
    run(core, 1.0)
    before = core.world
    request = InjectFault.Request(name="next_trailer", args=[9.0], duration_s=NAN)
    (answer, work) = core.service("sim/fault", request, NOW)
    assert isinstance(answer, Respond) and answer.response.ok and isinstance(work, Compute)
    assert "another one docks" in fault(core, "next_trailer", 10.0).text
    (picture,) = [e for e in (core.advance() for _ in range(40)) for e in e if isinstance(e, Compute)]
    world = work.function()
    (docked,) = core.computed(work.tag, world, NOW)
    assert docked.code == "sim.trailer_docked" and core.world is world
    assert world.time_s == before.time_s and world.base_x_m != before.base_x_m
    assert np.array_equal(world.joint_state()[0], before.joint_state()[0])
    # A picture of the trailer before is not shown.
    assert core.computed(picture.tag, picture.function(), NOW) == []
    later = run(core, 1.0)
    assert {len(m.detections) > 0 for m in published(later, "detections")} == {True}
    assert published(later, "sim/report")[-1].in_trailer == len(world.cartons)


@pytest.mark.parametrize("args", [[], [1.5], [-1.0], [1.0, 2.0], [NAN], [float("inf")], [2.0**31]])
def test_a_next_trailer_needs_a_seed(core: SimCore, args: list[float]) -> None:
    assert "next_trailer wants [seed" in fault(core, "next_trailer", *args).text


def test_no_trailer_is_changed_under_a_robot_that_moves_or_holds_something(core: SimCore) -> None:
    home = core.world.robot.poses["home"]
    core.goal(ARM, "1", move(core, home + 0.1), NOW)
    assert "the robot moves" in fault(core, "next_trailer", 1.0).text
    run(core, 2.0)
    request = InjectFault.Request(name="next_trailer", args=[1.0], duration_s=NAN)
    _, work = core.service("sim/fault", request, NOW)
    assert isinstance(work, Compute)
    core.service("gripper/set", SetGripper.Request(zones_on=1), NOW)
    (failed,) = core.computed(work.tag, work.function(), NOW)
    assert failed.code == "sim.trailer_failed" and "the gripper is on" in failed.text
    (lost,) = core.computed(work.tag, ValueError("no draw stands"), NOW)
    assert "no draw stands" in lost.text
