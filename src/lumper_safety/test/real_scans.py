"""What the monitor makes of real scans of people: how many it stops for, how many stops are false, how far off it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lumper_msgs.msg import SafetyState
from recordings import Recording
from robot_bench import ROBOT, Bench
from sensor_msgs.msg import LaserScan

from lumper_ros.convert import to_time
from lumper_safety.people import People, Tuning
from lumper_safety.space import teach_contour
from lumper_safety.surroundings import capsule_distances

TAUGHT = 500  # scans from which the room is taught; the rest is judged
SAME_LEG_M = 0.15


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


@dataclass(frozen=True)
class Walking:
    """People before the arm, scan by scan. `*_stop`, `*_slow`: counts of scans."""

    scans: int
    modes: frozenset[int]
    near: int  # with somebody within the stopping distance
    missed: list[tuple[float, int]]  # of those: distance in m and number of the scans at which motion was permitted
    moving: int  # with somebody at a distance
    false_slow: int  # of those: slower than if whoever was nearest in the last 1.1 s ran
    clear: int  # without a reason to stop for a second
    false_stop: int

    def __str__(self) -> str:
        return (
            f"{self.scans} scans, {self.near} with somebody within the stopping distance, {len(self.missed)} of them missed; "
            f"{self.moving} with somebody at a distance: {self.false_slow} slowed too much; "
            f"{self.clear} without reason to stop: {self.false_stop} stopped"
        )


def walking(recording: Recording) -> Walking:
    """Taught from the first scans of a recording and judged on the others, against the nearest foreground."""
    contour = teach_contour(recording.usable()[:TAUGHT])
    bench, replayed = replay(recording, TAUGHT, contour)
    truth = np.array([distance for distance, _ in replayed])
    scale = bench.core._guard._scale
    # Tr as the monitor measures it here (its floor: the replay has no latency), and the time to the next scan.
    reaction_s = 0.05
    assert all(abs(state.reaction_time_s - reaction_s) < 1e-6 for _, state in replayed)
    expected = np.array([scale.largest(d, reaction_s + 0.12, reaction_s, 0.0) for d in truth])
    modes = np.array([state.mode for _, state in replayed])
    permitted = (modes == SafetyState.RUN) | (modes == SafetyState.REDUCED)
    missed = [(round(float(truth[i]), 3), i) for i in range(10, len(truth)) if expected[i] <= 0.0 and permitted[i]]
    # No slower than if whoever was nearest in the last 1.1 s ran: legs that swing reach 2.8 m/s in these recordings.
    running = np.array([scale.largest(d, reaction_s + 0.12, reaction_s, 0.0, 3.0) for d in truth])
    asked = np.array([running[max(0, i - 11) : i + 1].min() for i in range(len(truth))])
    given = np.array([state.speed_scale for _, state in replayed])
    moving = np.array([i >= 11 and asked[i] > 0.1 for i in range(len(truth))])
    clear = np.array([i >= 10 and expected[i - 10 : i + 1].min() > 0.2 for i in range(len(truth))])
    return Walking(
        scans=len(truth),
        modes=frozenset(modes.tolist()),
        near=int((expected[10:] <= 0.0).sum()),
        missed=missed,
        moving=int(moving.sum()),
        false_slow=int((given < asked - 0.02)[moving].sum()),
        clear=int(clear.sum()),
        false_stop=int((~permitted[clear]).sum()),
    )


@dataclass(frozen=True)
class Labelled:
    """Legs labelled by hand and the tracks found there. Errors in m: of the centre, and of the nearest point's range (+ = too far)."""

    labelled: int
    found: int
    centre_error_m: np.ndarray
    range_error_m: np.ndarray

    def __str__(self) -> str:
        centre, nearest = 1e3 * self.centre_error_m, 1e3 * self.range_error_m
        return (
            f"{self.found} of {self.labelled} labelled legs found; centre off by {np.median(centre):.0f} mm median, "
            f"{np.percentile(centre, 95):.0f} mm p95; nearest point {np.median(nearest):+.0f} mm median, "
            f"{np.percentile(nearest, 2):+.0f} to {np.percentile(nearest, 98):+.0f} mm"
        )


def labelled_legs(recording: Recording) -> Labelled:
    """Every other scan teaches the room; the others are judged."""
    usable = recording.usable()
    contour = teach_contour(usable[::2])
    angles = recording.angle_min_rad + recording.step_rad * np.arange(usable.shape[1])
    people = People(np.zeros(2), angles, contour, Tuning(0.15, 0.30, 0.40, 30.0))

    def nothing(points: np.ndarray) -> np.ndarray:
        return np.zeros(len(points), dtype=bool)

    found, centre_error_m, range_error_m = 0, [], []
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
            if best >= 0 and away[best] < SAME_LEG_M:
                found += 1
                track = people.tracks[best]
                centre_error_m.append(float(np.hypot(*(track.centre - leg))))
                range_error_m.append(float(np.hypot(*track.points.T).min() - np.hypot(*leg)))
    return Labelled(labelled, found, np.array(centre_error_m), np.array(range_error_m))
