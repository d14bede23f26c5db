"""Real scans of people walking: slowed for and stopped for when within the distance, and not when nobody is.

The recordings come from a room, not a trailer: the room is taught from one part of the recording, judged on the other.
"""

from __future__ import annotations

import numpy as np
import pytest
from lumper_msgs.msg import SafetyCause, SafetyState
from recordings import Recording, load
from robot_bench import FILES, ROBOT, TRAILER, Bench
from sensor_msgs.msg import LaserScan

from lumper_ros.convert import to_time
from lumper_ros.parameters import from_mapping
from lumper_safety.parameters import Parameters
from lumper_safety.people import People, Tuning
from lumper_safety.space import Space, teach_contour
from lumper_safety.surroundings import capsule_distances


def recorded(name: str) -> Recording:
    recording = load(name)
    if recording is None:
        pytest.skip(f"recording {name} is not here; set LUMPER_DATA")
    return recording


def nearest_mover(ranges: np.ndarray, recording: Recording, contour: np.ndarray) -> float:
    """Distance of the nearest foreground from the arm at home, found without the monitor: at least two points together."""
    beams = np.flatnonzero(ranges < contour)
    angle = recording.angle_min_rad + recording.step_rad * beams
    points = ranges[beams, None] * np.column_stack([np.cos(angle), np.sin(angle)]) + [0.75, 0.0]
    together = [i for i in range(len(points)) if np.sum(np.hypot(*(points - points[i]).T) < 0.12) >= 2]
    if not together:
        return np.inf
    a, b, radii = ROBOT.capsules_at(ROBOT.poses["home"])
    arm = [i for i, c in enumerate(ROBOT.capsules) if c.link != "base_link"]
    return float(capsule_distances(points[together], a[arm, :2], b[arm, :2], radii[arm]).min())


def replay(recording: Recording, first: int, contour: np.ndarray) -> tuple[Bench, list[tuple[float, SafetyState]]]:
    """Replay from scan `first` on as scan/front, with the messages as recorded; the true distance and the permit after each."""
    bench = Bench(
        **recording.geometry,
        scan_front_contour_m=contour.tolist(),
        arm_speed_max_mps=0.3,
        scan_period_s=0.12,
    )
    bench.base_xy = (-30.0, 0.0)
    bench.silent.add("scan/front")
    usable = recording.usable()
    result = []
    for i in range(first, len(usable)):
        scan = LaserScan(
            angle_min=recording.angle_min_rad,
            angle_max=recording.angle_min_rad + recording.step_rad * (usable.shape[1] - 1),
            angle_increment=recording.step_rad,
            range_min=recording.range_min_m,
            range_max=recording.range_max_m,
            ranges=recording.ranges[i].tolist(),
        )
        scan.header.frame_id = recording.frame
        scan.header.stamp = to_time(bench.ros_s)
        bench.send("scan/front", scan)
        result.append((nearest_mover(usable[i], recording, contour), bench.state))
        bench.run(0.1, step_s=0.02)
    return bench, result


def test_people_walking_slow_and_stop_the_arm_and_nobody_else_does() -> None:
    recording = recorded("leg_demo")
    taught = 500
    contour = teach_contour(recording.usable()[:taught])
    bench, replayed = replay(recording, taught, contour)
    truth = np.array([distance for distance, _ in replayed])
    scale = bench.core._guard._scale
    # Tr as the monitor measures it here (its floor: the replay has no latency), and the time to the next scan.
    reaction_s = 0.05
    expected = np.array([scale.largest(d, reaction_s + 0.12, reaction_s, 0.0) for d in truth])
    assert all(state.reaction_time_s == pytest.approx(reaction_s) for _, state in replayed)
    modes = np.array([state.mode for _, state in replayed])
    permitted = (modes == SafetyState.RUN) | (modes == SafetyState.REDUCED)
    settled = slice(10, None)
    misses = [(round(float(truth[i]), 3), i) for i in range(10, len(truth)) if expected[i] <= 0.0 and permitted[i]]
    must_stop = expected[settled] <= 0.0
    detected = ~permitted[settled][must_stop]
    # No slower than if whoever was nearest in the last 1.1 s ran: legs that swing reach 2.8 m/s in this recording.
    running = np.array([scale.largest(d, reaction_s + 0.12, reaction_s, 0.0, 3.0) for d in truth])
    asked = np.array([running[max(0, i - 11) : i + 1].min() for i in range(len(truth))])
    given = np.array([state.speed_scale for _, state in replayed])
    moving = np.array([i >= 11 and asked[i] > 0.1 for i in range(len(truth))])
    never_near = np.array([i >= 10 and expected[i - 10 : i + 1].min() > 0.2 for i in range(len(truth))])
    false_slow, false_stop = int((given < asked - 0.02)[moving].sum()), int((~permitted[never_near]).sum())
    print(
        f"leg_demo: {len(truth)} scans, {must_stop.sum()} with somebody within the stopping distance: "
        f"{detected.mean():.4f} detected; {moving.sum()} with somebody at a distance: {false_slow} slowed too much; "
        f"{never_near.sum()} without reason to stop: {false_stop} stopped"
    )
    assert {SafetyState.RUN, SafetyState.REDUCED, SafetyState.PROTECTIVE_STOP} <= set(modes.tolist())
    # At full speed the arm needs 3 m: in this recording somebody is nearer all the time. The empty room is the next test.
    assert must_stop.sum() > 20 and moving.sum() > 20 and never_near.sum() > 20
    assert not misses
    assert false_slow == 0 and false_stop == 0


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
    recording = recorded("leg_pos4_labels")
    usable = recording.usable()
    contour = teach_contour(usable[::2])
    angles = recording.angle_min_rad + recording.step_rad * np.arange(usable.shape[1])
    people = People(np.zeros(2), angles, contour, Tuning(0.15, 0.30, 0.40, 30.0))

    def nothing(points: np.ndarray) -> np.ndarray:
        return np.zeros(len(points), dtype=bool)

    found, error_m, range_error_m = 0, [], []
    time_s, labelled = 0.0, 0
    for i, legs in enumerate(recording.labels):
        time_s += float(np.clip(recording.stamps_s[i] - recording.stamps_s[i - 1], 0.01, 0.14)) if i else 0.0
        people.update(usable[i], time_s, nothing, nothing)
        if i % 2 == 0:
            continue
        for leg in legs:
            labelled += 1
            away = [float(np.hypot(*(track.points - leg).T).min()) for track in people.tracks]
            best = int(np.argmin(away)) if away else -1
            if best >= 0 and away[best] < 0.15:
                found += 1
                track = people.tracks[best]
                error_m.append(float(np.hypot(*(track.centre - leg))))
                range_error_m.append(float(np.hypot(*track.points.T).min() - np.hypot(*leg)))
    print(
        f"leg_pos4: {found} of {labelled} labelled legs found; centre off by {np.median(error_m) * 1e3:.0f} mm median, "
        f"{np.percentile(error_m, 95) * 1e3:.0f} mm p95; nearest point {np.median(range_error_m) * 1e3:+.0f} mm median, "
        f"{np.percentile(range_error_m, 2) * 1e3:+.0f} … {np.percentile(range_error_m, 98) * 1e3:+.0f} mm"
    )
    assert found / labelled >= 0.99
    assert np.median(np.abs(error_m)) < 0.05
    assert np.percentile(range_error_m, 98) < 0.10, "nobody is taken for farther away than they are"


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
