"""The small parts by themselves: pace, stamps, comparison, canonical bytes, steps, changes."""

import array
import math

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from lumper_msgs.msg import Carton, CoreEffect, CoreStep, CoreSteps, SafetyState, UnloadPlan, Wall
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState, PointCloud2

from lumper_replay import peek, steps
from lumper_replay.cores import parse_change
from lumper_replay.differ import Verdict, differences
from lumper_replay.pace import Pace
from lumper_replay.qos_form import described, profile_of
from lumper_replay.stamps import Stamper
from lumper_ros import canonical, journal
from lumper_ros.interfaces import TOPICS
from lumper_ros.parameters import ParameterError
from lumper_ros.qos import qos


def test_pace_keeps_rate_pause_and_steps() -> None:
    pace = Pace(2.0)
    pace.jump(1_000_000_000, 50.0)
    assert pace.due_s(3_000_000_000) == 51.0
    pace.pause(50.5)
    assert pace.stamp_ns(99.0) == 2_000_000_000
    pace.jump(2_500_000_000, 99.0)
    pace.resume(100.0)
    assert pace.due_s(3_500_000_000) == pytest.approx(100.5)
    for rate in (0.0, -1.0, math.nan, 1e5):
        with pytest.raises(ValueError, match="rate"):
            Pace(rate)


def test_stamps_flow_between_clock_steps_and_follow_a_jump() -> None:
    stamper = Stamper()
    assert stamper.stamp(0, 10.0) is None
    assert stamper.stamp(1_000_000_000, 10.0) == 1_000_000_000
    stamper.stamp(1_020_000_000, 10.02)
    assert stamper.stamp(1_020_000_000, 10.03) == pytest.approx(1_030_000_000, abs=1000)
    assert stamper.stamp(1_020_000_000, 15.0) == 1_040_000_000  # paused: never past one step
    assert stamper.stamp(500_000_000, 16.0) == 500_000_000


def test_comparison_knows_tolerances_by_unit() -> None:
    then, now = UnloadPlan(expected_s=10.0, advance_base_m=1.0), UnloadPlan(expected_s=10.0004, advance_base_m=1.1)
    found = {entry.path: entry.verdict for entry in differences(then, now)}
    assert found == {"expected_s": Verdict.EQUIVALENT, "advance_base_m": Verdict.DIFFERENT}
    assert not list(differences(SafetyState(separation_m=math.nan), SafetyState(separation_m=math.nan)))
    assert [entry.path for entry in differences(Wall(removed_ids=[1, 2]), Wall(removed_ids=[1, 3]))] == [
        "removed_ids[1]"
    ]
    assert [entry.path for entry in differences({"a": 1}, {"a": 1, "b": 2})] == ["b"]


def test_canonical_bytes_are_equal_exactly_when_messages_are() -> None:
    wall = Wall(
        text="full",
        cartons=[Carton(id=i, mass_kg=0.1 * i, pose_sigma=np.arange(6, dtype=np.float32)) for i in range(5)],
    )
    for message in (
        wall,
        JointState(name=["a", "bb"], position=[0.1, np.float64(2.0)]),
        PoseStamped(),
        PointCloud2(data=array.array("B", b"abc")),
    ):
        known = canonical.encode(message)
        for _ in range(20):
            assert canonical.encode(deserialize_message(serialize_message(message), type(message))) == known
    wall.cartons[3].supported_by = [7]
    other = deserialize_message(serialize_message(wall), Wall)
    assert canonical.encode(other) == canonical.encode(wall)
    other.cartons[3].supported_by = [8]
    assert canonical.encode(other) != canonical.encode(wall)


@pytest.mark.parametrize("node", ["", "a", "safety_monitor", "unload_planner", "äöü"])
def test_steps_are_read_as_rclpy_reads_them(node: str) -> None:
    effects = [
        CoreEffect(kind=i, name="n" * i, id="x" * (i % 3), status="s", digest=2**63 + i, data=bytes(i))
        for i in range(9)
    ]
    made = [
        CoreStep(
            kind=i % 16, name="name"[: i % 5], id="id" * (i % 4), status="", ros_s=0.1 * i, steady_s=1e9 + i, system_s=-1.0,
            present=bool(i % 2), digest=i, data=bytes(range(i)), effects=effects[: i % 9],
        )
        for i in range(40)
    ]  # fmt: skip
    data = serialize_message(CoreSteps(node=node, life=2**62, first_sequence=17, steps=made))
    about, read = steps.batch(data)
    assert about == peek.head(data) == (node, 2**62, 17)
    for then, now in zip(made, read, strict=True):
        for name in ("kind", "name", "id", "status", "ros_s", "steady_s", "system_s", "present", "digest"):
            assert getattr(then, name) == getattr(now, name)
        assert bytes(then.data) == now.data
        assert [(e.kind, e.name, e.id, e.status, e.digest, bytes(e.data)) for e in then.effects] == [
            (e.kind, e.name, e.id, e.status, e.digest, e.data) for e in now.effects
        ]
    for size in range(0, len(data), 7):
        with pytest.raises(ValueError, match=r"cut short|CDR"):
            steps.batch(data[:size])


def test_quality_of_service_survives_the_metadata() -> None:
    for row in TOPICS.values():
        profile = qos(row.profile)
        again = profile_of([described(profile)])
        for name in ("reliability", "durability", "depth", "history"):
            assert getattr(again, name) == getattr(profile, name), row.name
        if row.name == "safety/state":
            assert again.deadline == profile.deadline and again.lifespan == profile.lifespan
    old = {
        "history": 1,
        "depth": 3,
        "reliability": 2,
        "durability": 2,
        "deadline": {"sec": 2147483647, "nsec": 4294967295},
    }
    assert profile_of([old]) == QoSProfile(depth=3, reliability=2, durability=2, history=1)
    assert profile_of([]).depth == 10


def test_changes_name_node_and_parameter() -> None:
    assert parse_change("planner.picks_per_plan=1") == ("unload_planner", "picks_per_plan", 1)
    assert parse_change("safety_monitor.scan_front_frame=x") == ("safety_monitor", "scan_front_frame", "x")
    for text in ("planner", "planner=1", "nobody.x=1", "=3"):
        with pytest.raises(ParameterError, match="--set"):
            parse_change(text)


def test_large_messages_are_told_apart_by_their_reference() -> None:
    one, other = PointCloud2(width=1, data=bytes(200_000)), PointCloud2(width=1, data=bytes(200_000))
    other.header.stamp.nanosec = 1
    assert journal.reference(one) != journal.reference(other)
    assert journal.reference(one) == journal.reference(deserialize_message(serialize_message(one), PointCloud2))
