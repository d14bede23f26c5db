"""Real scans of people walking: slowed for and stopped for when within the distance, and not when nobody is.

The recordings come from a room, not a trailer: the room is taught from one part of the recording, judged on the other.
"""

from __future__ import annotations

import numpy as np
import pytest
from lumper_msgs.msg import SafetyCause, SafetyState
from real_scans import labelled_legs, replay, walking
from recordings import Recording, load
from robot_bench import FILES, ROBOT, TRAILER, Bench
from sensor_msgs.msg import LaserScan

from lumper_ros.convert import to_time
from lumper_ros.parameters import from_mapping
from lumper_safety.parameters import Parameters
from lumper_safety.space import Space, teach_contour


def recorded(name: str) -> Recording:
    recording = load(name)
    if recording is None:
        pytest.skip(f"recording {name} is not here; set LUMPER_DATA")
    return recording


def test_people_walking_slow_and_stop_the_arm_and_nobody_else_does() -> None:
    result = walking(recorded("leg_demo"))
    print(f"leg_demo: {result}")
    assert {SafetyState.RUN, SafetyState.REDUCED, SafetyState.PROTECTIVE_STOP} <= result.modes
    # At full speed the arm needs 3 m: in this recording somebody is nearer all the time. The empty room is the next test.
    assert result.near > 20 and result.moving > 20 and result.clear > 20
    assert not result.missed
    assert result.false_slow == 0 and result.false_stop == 0


def test_empty_room_makes_no_stop() -> None:
    """The same recording with everybody taken out: what remains is the room, with its noise as recorded."""
    recording = recorded("leg_demo")
    usable = recording.usable()
    contour = teach_contour(usable)
    ranges = recording.ranges.copy()
    ranges[usable < contour] = np.inf
    empty = Recording(
        ranges, recording.stamps_s, [], recording.angle_min_rad, recording.step_rad, recording.range_min_m,
        recording.range_max_m, recording.frame,
    )  # fmt: skip
    bench, replayed = replay(empty, 0, contour)
    assert {e.values.get("to") for e in bench.events if e.code == "safety.mode_changed"} <= {"STARTING", "RUN"}
    assert len(replayed) > 1000


def test_labelled_legs_are_found_where_they_are() -> None:
    result = labelled_legs(recorded("leg_pos4_labels"))
    print(f"leg_pos4: {result}")
    assert result.found / result.labelled >= 0.99
    assert np.median(result.centre_error_m) < 0.05
    assert np.percentile(result.range_error_m, 98) < 0.10, "nobody is taken for farther away than they are"


def test_untaught_room_is_somebody() -> None:
    """Unknown is unsafe: without a contour the furniture at 0.4 m stops the arm."""
    recording = recorded("leg_pos4_labels")
    parameters = from_mapping(Parameters, FILES | recording.geometry)
    space = Space(parameters, ROBOT, TRAILER)
    space.scan("scan/front", recording.usable()[0], 1.0, 1.0, False)
    assert space.nearest()[0] < 0.5


def test_recorded_driver_that_writes_zeros_is_refused_unless_told() -> None:
    recording = recorded("leg_pos4_labels")
    for told in (False, True):
        bench = Bench(**recording.geometry, scan_front_below_min_is_no_return=told)
        bench.run(0.1)
        scan = LaserScan(
            angle_min=recording.angle_min_rad,
            angle_max=recording.angle_min_rad + recording.step_rad * 767,
            angle_increment=recording.step_rad,
            range_min=recording.range_min_m,
            range_max=recording.range_max_m,
            ranges=recording.ranges[0].tolist(),
        )
        scan.header.frame_id = recording.frame
        scan.header.stamp = to_time(bench.ros_s)
        state = bench.core._inputs["scan/front"]
        bench.send("scan/front", scan)
        assert (state.malformed, state.good) == ((0, state.good) if told else (1, state.good))
        assert told or "below range_min" in bench.cause(SafetyCause.MALFORMED_INPUT).text
