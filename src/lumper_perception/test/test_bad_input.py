"""Every bad input is named in diagnostics, counted and dropped, and the wall ages visibly."""

import sqlite3

import numpy as np
import pytest
from conftest import data_folder, transform
from lumper_msgs.msg import CartonDetection, CartonDetections, Wall
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from lumper_perception.validate import cloud_fault, header_fault, points_fault
from lumper_ros import cloud as clouds
from lumper_ros.convert import to_time
from lumper_ros.core import Compute

GOOD = np.full((60, 80, 3), 2.0, dtype=np.float32)


def detections(rig, count: int = 1) -> CartonDetections:
    message = CartonDetections(source="test", view_coverage=1.0)
    message.header = Header(frame_id="camera_optical_frame", stamp=to_time(rig.time_s))
    for _ in range(count):
        item = CartonDetection(width_m=0.4, height_m=0.3, depth_m=float("nan"), mass_kg=float("nan"), confidence=0.9)
        item.face_pose.position.z = 2.0
        item.face_pose.orientation.w = 1.0
        item.position_sigma_m = item.size_sigma_m = 0.004
        message.detections.append(item)
    return message


def dropped(rig, reason: str) -> int:
    rig.step(1.1)
    rig.tick()
    return sum(int(d.values.get(f"dropped.{reason}", 0)) for d in rig.diagnoses.values())


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("pose", lambda m: setattr(m.detections[0].face_pose.position, "x", float("nan"))),
        ("quaternion", lambda m: setattr(m.detections[0].face_pose.orientation, "w", 0.5)),
        ("size", lambda m: setattr(m.detections[0], "width_m", -0.4)),
        ("size", lambda m: setattr(m.detections[0], "height_m", float("nan"))),
        ("depth", lambda m: setattr(m.detections[0], "depth_m", -1.0)),
        ("sigma", lambda m: setattr(m.detections[0], "position_sigma_m", float("nan"))),
        ("confidence", lambda m: setattr(m.detections[0], "confidence", 1.5)),
        ("mass", lambda m: setattr(m.detections[0], "mass_kg", -3.0)),
        ("view_coverage", lambda m: setattr(m, "view_coverage", float("nan"))),
        ("frame", lambda m: setattr(m.header, "frame_id", "0")),
        ("frame", lambda m: setattr(m.header, "frame_id", "")),
        ("no_stamp", lambda m: setattr(m.header, "stamp", to_time(0.0))),
        ("future", lambda m: setattr(m.header, "stamp", to_time(200.0))),
        ("late", lambda m: setattr(m.header, "stamp", to_time(50.0))),
    ],
)
def test_bad_detections_are_named_and_dropped(rig, reason, spoil):
    r = rig().start()
    message = detections(r)
    spoil(message)
    r.send("detections", message)
    assert dropped(r, reason) == 1
    assert not r.wall.cartons
    assert any(reason in d.text for d in r.diagnoses.values())


def test_unknown_frame_is_dropped_after_the_wait(rig):
    r = rig().start()
    message = detections(r)
    message.header.frame_id = "nowhere"
    r.send("detections", message)
    r.step(0.3)
    r.tick()
    assert dropped(r, "no_transform") == 1


def test_out_of_order_and_ten_times_the_rate(rig):
    r = rig().start()
    for _ in range(100):
        r.step(0.01)
        r.send("detections", detections(r))
    early = detections(r)
    early.header.stamp = to_time(r.time_s - 0.05)
    r.send("detections", early)
    assert dropped(r, "out_of_order") == 1
    rate = dropped(r, "rate")
    assert 70 <= rate <= 90, "about one in six is used"


def bad_clouds() -> list[tuple[str, PointCloud2]]:
    def make() -> PointCloud2:
        return clouds.from_xyz(GOOD.copy(), Header(frame_id="camera_optical_frame"))

    big = make()
    big.is_bigendian = True
    step = make()
    step.point_step = 10
    short = make()
    short.data = short.data[:-100]
    flat = make()
    flat.width, flat.height, flat.row_step = 80 * 60, 1, 80 * 60 * 12
    nothing = PointCloud2(header=Header(frame_id="camera_optical_frame"))
    fields = make()
    fields.fields[2].name = "w"
    nan = clouds.from_xyz(np.full((60, 80, 3), np.nan, dtype=np.float32), Header(frame_id="camera_optical_frame"))
    millimetres = clouds.from_xyz(GOOD * 1000.0, Header(frame_id="camera_optical_frame"))
    frame = make()
    frame.header.frame_id = "0"
    return [
        ("big_endian", big),
        ("layout", step),
        ("layout", short),
        ("unorganised", flat),
        ("no_points", nothing),
        ("layout", fields),
        ("all_invalid", nan),
        ("unit", millimetres),
        ("frame", frame),
    ]


@pytest.mark.parametrize(("reason", "cloud"), bad_clouds())
def test_bad_clouds_are_named_and_dropped(rig, reason, cloud):
    r = rig().start()
    cloud.header.stamp = to_time(r.time_s)
    r.send("points", cloud)
    assert dropped(r, reason) == 1
    assert r.wall.status == Wall.STATUS_UNKNOWN


def test_one_camera_dying_is_reported_and_the_other_goes_on(rig):
    r = rig().start()
    for index in range(30):
        r.step(0.2)
        for source in ("left", "right"):
            if source == "right" and index > 10:
                continue
            message = detections(r)
            message.source = source
            r.send("detections", message)
    r.step(0.1)
    r.tick()
    level = {name.split()[1]: d.level for name, d in r.diagnoses.items() if name.startswith("detections")}
    assert level == {"left": 0, "right": 2}
    assert r.wall.status == Wall.STATUS_OK


def test_every_camera_gets_its_turn_however_fast_the_others_are(rig):
    computes, seen = [], []
    r = rig(segment=lambda cloud, colour, view, up: seen.append(float(cloud[0, 0, 2])), detector="cloud").start()
    frames = {"camera_optical_frame": 1.0, "left_camera": 2.0, "right_camera": 3.0}
    static = r.static()
    for frame in list(frames)[1:]:
        static.transforms.append(transform("base_link", frame, np.eye(4), 0.0))
    r.send("/tf_static", static)
    take = r.take
    r.take = lambda effects: [computes.append(e) if isinstance(e, Compute) else take([e]) for e in effects]
    for _ in range(9):
        r.step(0.1)
        for frame, depth in frames.items():
            cloud = GOOD.copy()
            cloud[0, 0, 2] = depth
            message = clouds.from_xyz(cloud, Header(frame_id=frame))
            message.header.stamp = to_time(r.time_s)
            r.send("points", message)
        computes.pop(0).function()
        r.take(r.core.computed("segment", ValueError("this one shows nothing"), r.now))
    assert [seen.count(depth) for depth in frames.values()] == [3, 3, 3]


def test_the_worker_is_one_cloud_ahead_and_of_those_that_came_meanwhile_the_newest_is_looked_at_next(rig):
    computes, seen = [], []
    r = rig(segment=lambda cloud, colour, view, up: seen.append(float(cloud[0, 0, 2])), detector="cloud").start()
    take = r.take
    r.take = lambda effects: [computes.append(e) if isinstance(e, Compute) else take([e]) for e in effects]
    for depth in (1.0, 2.0, 3.0, 4.0, 5.0):
        r.step(0.1)
        cloud = GOOD.copy()
        cloud[0, 0, 2] = depth
        message = clouds.from_xyz(cloud, Header(frame_id="camera_optical_frame"))
        message.header.stamp = to_time(r.time_s)
        r.send("points", message)
    for given in (2, 2, 1):
        assert len(computes) == given
        computes.pop(0).function()
        r.take(r.core.computed("segment", ValueError("this one shows nothing"), r.now))
    r.step(1.1)
    r.tick()
    assert seen == [1.0, 2.0, 5.0] and not computes and r.diagnoses["wall"].values["skipped_busy"] == 2


def raw_messages(folder: str) -> list[tuple[str, bytes]]:
    files = sorted((data_folder() / "clouds" / folder).glob("*.db3"))
    if not files:
        pytest.skip("recorded clouds are not on this machine (LUMPER_DATA)")
    store = sqlite3.connect(f"file:{files[0]}?mode=ro&immutable=1", uri=True)
    return store.execute("select t.type, m.data from messages m join topics t on t.id = m.topic_id").fetchall()


def test_recorded_frame_0_is_refused():
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import Image

    images = [
        deserialize_message(data, Image)
        for kind, data in raw_messages("realsense_sample")
        if kind == "sensor_msgs/msg/Image"
    ]
    assert images
    for image in images:
        fault = header_fault(image)
        assert fault is not None
        assert fault.reason == "frame"
        assert "'0'" in fault.text


def test_recorded_cloud_with_invalid_points_is_read_or_named():
    from rclpy.serialization import deserialize_message

    found = [
        deserialize_message(data, PointCloud2)
        for kind, data in raw_messages("moveit_cloud")
        if kind == "sensor_msgs/msg/PointCloud2"
    ]
    assert found
    for cloud in found:
        assert header_fault(cloud) is None
        fault = cloud_fault(cloud)
        if fault is None:
            depth = clouds.xyz(cloud)[..., 2].astype(float)
            assert np.isnan(depth).any()
            assert points_fault(depth, 0.02) is None
        else:
            assert fault.reason in ("unorganised", "layout", "big_endian")
