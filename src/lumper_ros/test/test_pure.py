"""Parameters, conversions, transforms, clouds, store and robot files: no node needed."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Pose, Quaternion, TransformStamped
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from lumper_ros import cloud, convert, interfaces
from lumper_ros.parameters import ParameterError, from_mapping, parameter
from lumper_ros.robot import RobotError, load_robot, load_trailer, make_robot, parse_joints
from lumper_ros.store import Store, read_records
from lumper_ros.tf import TransformBuffer, TransformError

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Settings:
    name: str = parameter(doc="required")
    rate_hz: float = parameter(10.0, low=1.0, high=50.0, doc="rate")
    load: str = parameter("mixed", choices=("mixed", "uniform"), doc="kind of load")
    zones: tuple[int, ...] = parameter((1, 2), low=0, doc="zones")

    def validate(self) -> list[str]:
        return ["name and load must differ"] if self.name == self.load else []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "a", "rate": 1.0}, ["rate: no such parameter", "rate_hz"]),
        ({"name": "a", "rate_hz": 0.5}, ["rate_hz=0.5", "at least 1.0"]),
        ({"name": "a", "rate_hz": 51}, ["rate_hz=51.0", "at most 50.0"]),
        ({"name": "a", "rate_hz": float("nan")}, ["rate_hz is NaN"]),
        ({"name": "a", "rate_hz": True}, ["rate_hz=True", "a number"]),
        ({"name": "a", "load": "heavy"}, ["load='heavy'", "mixed, uniform"]),
        ({"name": "a", "zones": "12"}, ["zones='12'", "list"]),
        ({"name": "a", "zones": [1, 2.5]}, ["zones", "integer"]),
        ({"name": "a", "zones": [1, -2]}, ["zones=-2", "at least 0"]),
        ({}, ["name is required"]),
        ({"name": "mixed"}, ["must differ"]),
        ({"rate_hz": 0.0, "colour": 1}, ["rate_hz", "colour", "name"]),
    ],
)
def test_bad_parameters_are_all_named(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ParameterError) as caught:
        from_mapping(Settings, values)
    for word in words:
        assert word in str(caught.value)


def test_good_parameters() -> None:
    assert from_mapping(Settings, {"name": "a", "rate_hz": 2, "zones": [3]}) == Settings("a", 2.0, "mixed", (3,))


@given(st.floats(0.0, 2**31 - 1))
def test_stamps_keep_their_time(seconds_s: float) -> None:
    stamp = convert.to_time(seconds_s)
    assert 0 <= stamp.nanosec < 10**9
    assert abs(convert.seconds(stamp) - seconds_s) <= 1e-6


@pytest.mark.parametrize("seconds_s", [-1.0, float("nan"), float("inf"), 2.0**31])
def test_stamps_out_of_range_are_refused(seconds_s: float) -> None:
    with pytest.raises(ValueError, match="stamp"):
        convert.to_time(seconds_s)


quaternions = (
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1).map(lambda q: q / np.linalg.norm(q))
)
positions = st.tuples(*[st.floats(-10, 10)] * 3)


@given(positions, quaternions)
def test_poses_survive_the_round_trip(xyz: Any, xyzw: Any) -> None:
    transform = convert.matrix_of(xyz, xyzw)
    assert np.allclose(convert.matrix(convert.to_pose(transform)), transform, atol=1e-9)
    assert np.allclose(convert.inverse(transform) @ transform, np.eye(4), atol=1e-9)
    assert convert.pose_fault(convert.to_pose(transform)) == ""


def test_bad_poses_are_named() -> None:
    pose = Pose(orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.5))
    assert "norm is 0.5" in convert.pose_fault(pose)
    pose.position.x = float("nan")
    assert "not finite" in convert.pose_fault(pose)


def transform(parent: str, child: str, stamp_s: float, x: float, yaw: float = 0.0) -> TransformStamped:
    item = TransformStamped(header=Header(frame_id=parent, stamp=convert.to_time(stamp_s)), child_frame_id=child)
    item.transform.translation.x = x
    item.transform.rotation = convert.to_quaternion(Rotation.from_euler("z", yaw).as_quat())
    return item


def test_transforms_interpolate_connect_and_refuse() -> None:
    buffer = TransformBuffer(history_s=5.0, extrapolation_s=0.1)
    assert (
        buffer.add(
            [transform("trailer", "base_link", 1.0, 0.0), transform("trailer", "base_link", 2.0, 1.0, np.pi / 2)]
        )
        == []
    )
    buffer.add([transform("base_link", "camera", 0.0, 0.5)], static=True)
    between = buffer.lookup("trailer", "camera", 1.5)
    assert between[:2, 3] == pytest.approx([0.5 + 0.5 * np.cos(np.pi / 4), 0.5 * np.sin(np.pi / 4)])
    assert np.allclose(buffer.lookup("camera", "trailer", 1.5) @ between, np.eye(4))
    assert buffer.lookup("trailer", "base_link", 2.05)[0, 3] == 1.0
    for stamp_s in (2.2, 0.9):
        with pytest.raises(TransformError):
            buffer.lookup("trailer", "base_link", stamp_s)
    with pytest.raises(TransformError, match="no connection"):
        buffer.lookup("trailer", "elsewhere")
    faulty = transform("trailer", "trailer", 1.0, 0.0)
    broken = transform("trailer", "x", 1.0, float("nan"))
    assert len(buffer.add([faulty, broken])) == 2


def test_clouds_are_read_without_copying() -> None:
    points = np.random.default_rng(1).normal(size=(4, 5, 3)).astype(np.float32)
    for rgb in (None, np.full((4, 5, 3), 200, dtype=np.uint8)):
        message = cloud.from_xyz(points, Header(frame_id="camera"), rgb)
        back = cloud.xyz(message)
        assert np.array_equal(back, points)
        assert not back.flags.owndata
        assert back.base is not None


@pytest.mark.parametrize("swap", [False, True])
def test_big_endian_clouds_are_understood(swap: bool) -> None:
    order = ">" if swap else "<"
    fields = [PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate("zyx")]
    message = PointCloud2(height=1, width=1, fields=fields, is_bigendian=swap, point_step=12, row_step=12)
    message.data = list(struct.pack(order + "3f", 3.0, 2.0, 1.0))
    assert cloud.xyz(message).tolist() == [[[1.0, 2.0, 3.0]]]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"point_step": 8}, "point_step"),
        ({"row_step": 3}, "row_step"),
        ({"height": 9}, "data has"),
        ({"fields": []}, "lack 'x'"),
        ({"fields": [PointField(name="x", offset=0, datatype=99, count=1)]}, "datatype=99"),
        ({"fields": [PointField(name=n, offset=0, datatype=8, count=1) for n in "xyz"]}, "FLOAT32"),
    ],
)
def test_clouds_that_lie_about_themselves_are_named(change: dict[str, Any], word: str) -> None:
    message = cloud.from_xyz(np.zeros((2, 2, 3), dtype=np.float32), Header())
    for key, value in change.items():
        setattr(message, key, value)
    with pytest.raises(cloud.CloudError, match=word):
        cloud.xyz(message)


def test_the_store_keeps_and_deletes(tmp_path: Path) -> None:
    store = Store(tmp_path / "a" / "x.sqlite")
    store.write([("job", "1", {"n": 1}), ("job", "2", {"n": 2}), ("job", "1", {"n": 3}), ("job", "2", None)])
    assert store.read() == {"job": {"1": {"n": 3}}}
    assert read_records(tmp_path / "a" / "x.sqlite") == store.read()
    with pytest.raises(TypeError):
        store.write([("job", "4", {"n": 1}), ("job", "5", {"n": object()})])
    assert "4" not in store.read()["job"]
    with pytest.raises(FileNotFoundError):
        read_records(tmp_path / "none")


def test_every_name_of_the_interface_table_has_an_installed_type() -> None:
    for row in (*interfaces.TOPICS.values(), *interfaces.SERVICES.values(), *interfaces.ACTIONS.values()):
        assert interfaces.resolve_type(row.type) is not None


def test_the_robot_files_fit_together() -> None:
    robot = load_robot(ROOT / "config" / "robot")
    trailer = load_trailer(ROOT / "config" / "trailer.yaml")
    assert trailer.width_m > 2.0
    assert robot.accel_limit(0.0) == pytest.approx(robot.max_accel_radps2)
    assert np.all(robot.accel_limit(30.0) < robot.max_accel_radps2)
    assert robot.stopping_time(1.0, 30.0) > robot.stopping_time(0.5, 0.0) > 0.0
    a, b, radius = robot.capsules_at(robot.poses["home"])
    assert a.shape == b.shape == (len(radius), 3)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"joint_names": ["a"] * 6}, "not in the robot description"),
        ({"lower_rad": [0.0]}, "lower_rad"),
        ({"gripper": None}, "missing or wrong"),
        ({"capsules": [{"link": "link_1", "a": "text", "b": [0, 0, 1], "radius_m": 0.1}]}, "missing or wrong"),
        ({"poses": {"home": [0.0]}}, "missing or wrong"),
        ({"upper_rad": ["2026-11-26"] * 6}, "missing or wrong"),
    ],
)
def test_broken_robot_files_are_named(change: dict[str, Any], word: str) -> None:
    robot = load_robot(ROOT / "config" / "robot")
    with pytest.raises(RobotError, match=word):
        make_robot({**robot.raw, **change}, robot.urdf)


def test_broken_descriptions_are_named(tmp_path: Path) -> None:
    with pytest.raises(RobotError, match="not XML"):
        parse_joints("<robot")
    with pytest.raises(RobotError, match="not connected"):
        parse_joints('<robot><joint name="j" type="fixed"><parent link="x"/><child link="y"/></joint></robot>')
    with pytest.raises(RobotError, match="prismatic"):
        parse_joints(
            '<robot><joint name="j" type="prismatic"><parent link="base_link"/><child link="y"/></joint></robot>'
        )
    with pytest.raises(RobotError, match=r"arm\.yaml"):
        load_robot(tmp_path)
    (tmp_path / "trailer.yaml").write_text("width_m: -1\nheight_m: 1\nlength_m: 1\ndock_length_m: 1\n")
    with pytest.raises(RobotError, match="width_m"):
        load_trailer(tmp_path / "trailer.yaml")


def test_the_arm_at_several_positions_is_the_arm_at_each() -> None:
    robot = load_robot(ROOT / "config" / "robot")
    positions = np.random.default_rng(3).uniform(robot.lower_rad, robot.upper_rad, (5, len(robot.joint_names)))
    a, b, tool = robot.arm_at(positions)
    for row, position in enumerate(positions):
        one_a, one_b, radii = robot.capsules_at(position)
        assert a[row] == pytest.approx(one_a, abs=1e-12) and b[row] == pytest.approx(one_b, abs=1e-12)
        assert tool[row] == pytest.approx(robot.link_transforms(position)["tool0"], abs=1e-12)
        assert (radii == robot.capsule_radii).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"width_m: [", "no YAML"),
        (b"\xff\xfe\x00width", "cannot be read"),
        (b"- 1", "no mapping"),
        (b"", "no mapping"),
        (b"width_m: .nan\nheight_m: .inf", "width_m, height_m: not finite"),
    ],
)
def test_what_is_no_trailer_file_is_named(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "trailer.yaml"
    path.write_bytes(text)
    with pytest.raises(RobotError, match=words):
        load_trailer(path)
