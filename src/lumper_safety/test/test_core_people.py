"""People before the scanners: seen through walls, cartons, robot and load; slowed for, stopped for, not forgotten."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lumper_msgs.msg import BrokerState, Carton, JobState, SafetyCause, SafetyState
from robot_bench import ROBOT, TRAILER, Bench, a_carton

C = SafetyCause


def walk(bench: Bench, start: tuple[float, float], end: tuple[float, float], speed_mps: float = 1.2) -> None:
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    begin = bench.t

    def each() -> None:
        share = min(1.0, (bench.t - begin) * speed_mps / length)
        bench.people = [(start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))]

    bench.run(length / speed_mps, step_s=0.02, each=each)


def loaded_trailer() -> Bench:
    """Pile across the trailer from x = 4.0 on, base at 1.5."""
    bench = Bench()
    bench.base_xy = (1.5, 0.0)
    bench.cartons = [a_carton(i, 4.2 + 0.41 * (i // 6), -1.03 + 0.41 * (i % 6)) for i in range(12)]
    bench.run(0.2)
    return bench


def test_walls_and_pile_are_nobody() -> None:
    bench = loaded_trailer()
    bench.run(2.0)
    assert bench.state.separation_m == np.inf and bench.state.mode == SafetyState.RUN


def test_next_row_that_no_picture_has_shown_is_nobody() -> None:
    """A carton is taken; what stood behind it is in the scan at once, in the wall a while later."""
    bench = loaded_trailer()
    seen = [c for c in bench.cartons if c.pose.position.x < 4.3]
    all_cartons, bench.cartons = bench.cartons, seen
    cast = bench._ranges

    def without_two(scanner: object) -> object:
        known, bench.cartons = bench.cartons, [c for c in all_cartons if c.id not in (2, 3)]
        try:
            return cast(scanner)
        finally:
            bench.cartons = known

    bench.run(1.2)
    bench._ranges = without_two  # type: ignore[method-assign]
    bench.cartons = [c for c in seen if c.id not in (2, 3)]
    bench.wall_version += 1
    bench._cast.clear()
    bench.run(3.0)
    assert bench.state.mode == SafetyState.RUN, [c.text for c in bench.state.causes]


def test_somebody_before_the_pile_is_somebody() -> None:
    bench = loaded_trailer()
    walk(bench, (-3.0, 0.9), (3.4, 0.9))
    assert bench.state.separation_m < 1.5
    assert bench.state.mode in (SafetyState.REDUCED, SafetyState.PROTECTIVE_STOP)


def test_fallen_carton_in_the_wall_is_nobody_and_unknown_one_is_somebody() -> None:
    bench = loaded_trailer()
    fallen = a_carton(50, 2.9, 0.7)
    fallen.state = Carton.STATE_ON_FLOOR
    fallen.pose.orientation.z, fallen.pose.orientation.w = float(np.sin(0.3)), float(np.cos(0.3))
    fallen.size_m.x = fallen.size_m.y = 0.56
    shape = a_carton(50, 2.9, 0.7)
    cast = bench._ranges
    original = bench.cartons

    def with_fallen(scanner: object) -> object:
        known, bench.cartons = bench.cartons, [*original, shape]
        try:
            return cast(scanner)
        finally:
            bench.cartons = known

    bench._ranges = with_fallen  # type: ignore[method-assign]
    bench._cast.clear()
    bench.run(0.3)
    assert np.isfinite(bench.state.separation_m)
    bench.cartons = [*original, fallen]
    bench._cast.clear()
    bench._due["wall"] = 0.0
    bench.run(1.5)
    assert bench.state.separation_m == np.inf, "known now"


def test_arm_and_load_in_the_scan_plane_are_nobody() -> None:
    """The arm reaches down before the front scanner with a carton on its gripper: the beams that hit them mean nothing."""
    bench = loaded_trailer()
    low = np.array([0.0, 1.0, 1.3, 0.0, -0.73, 0.0])
    bench.position = low
    bench.gripper.part_held, bench.gripper.zones_on, bench.gripper.vacuum_kpa = True, 63, 58.0
    bench.broker.holding_carton, bench.broker.state = True, BrokerState.EXECUTING
    bench.run(0.3)
    tool = ROBOT.link_transforms(low)["tool0"]
    scanner = bench.core._space.scanners["scan/front"]
    hits = []
    for point in (tool[:3, 3], tool[:3, 3] + 0.3 * tool[:3, 2]):
        relative = point[:2] - np.array(scanner.pose[:2])
        bearing = np.arctan2(relative[1], relative[0]) - scanner.pose[2]
        hits.append((round((bearing - scanner.angle_min_rad) / scanner.step_rad), float(np.hypot(*relative))))
    assert abs(tool[2, 3] - scanner.height_m) < 0.35, "the pose of this test reaches into the plane"
    cast = bench._ranges

    def with_load(sensor: object) -> object:
        ranges = cast(sensor)
        if sensor is scanner:
            for beam, distance in hits:
                for i in range(beam - 4, beam + 5):
                    ranges[i] = min(ranges[i], distance)
        return ranges

    bench._ranges = with_load  # type: ignore[method-assign]
    bench._cast.clear()
    bench.run(0.5)
    assert bench.state.separation_m == np.inf


def test_slower_the_nearer_then_stop_then_on_again_after_half_a_second() -> None:
    bench = Bench()
    bench.run(0.2)
    scales, modes = [], []
    for x in np.arange(6.2, 2.0, -0.03):
        bench.people = [(float(x), 0.3)]
        bench.run(0.02)
        scales.append(bench.state.speed_scale)
        modes.append(bench.state.mode)
    assert all(b <= a + 1e-6 for a, b in pairwise(scales)), "never faster on the way in"
    assert max(a - b for a, b in pairwise(scales)) < 0.12, "continuous, not a step"
    assert modes[0] == SafetyState.RUN and SafetyState.REDUCED in modes and modes[-1] == SafetyState.PROTECTIVE_STOP
    assert not bench.permitted and C.PERSON_NEAR in bench.codes(present=True)
    assert not bench.cause(C.PERSON_NEAR).latched
    bench.people = []
    bench.run(0.45)
    assert not bench.permitted
    bench.run(0.4)
    assert bench.state.mode == SafetyState.RUN


def test_separation_is_that_to_the_nearest_link() -> None:
    bench = Bench()
    bench.people = [(4.0, 0.4)]
    bench.run(0.3)
    a, b, radii = ROBOT.capsules_at(bench.position)
    arm = [i for i, c in enumerate(ROBOT.capsules) if c.link != "base_link"]
    best = np.inf
    person = np.array([4.0, 0.4]) - bench.base_xy
    for share in np.linspace(0, 1, 200):
        spine = a[arm] + share * (b[arm] - a[arm])
        for leg in (0.11, -0.11):
            away = np.hypot(*(spine[:, :2] - (person + np.array([0, leg]))).T) - radii[arm] - 0.06
            best = min(best, float(away.min()))
    assert bench.state.separation_m == pytest.approx(best, abs=0.03)


def test_measured_speed_counts_where_the_plan_was_wrong() -> None:
    """The arm moves faster than its scale allows beside a person: stop, whatever the plan said."""
    bench = Bench()
    bench.people = [(3.2, 0.3)]
    bench.run(0.6)
    assert bench.state.mode == SafetyState.REDUCED
    for fraction in np.linspace(0, 0.9, 40):
        bench.velocity = ROBOT.max_speed_radps * [fraction, 0, 0, 0, 0, 0]
        bench.run(0.01)
    assert not bench.permitted
    assert "moves at" in bench.cause(C.PERSON_NEAR).text


def test_what_has_not_walked_is_not_called_a_person() -> None:
    bench = loaded_trailer()
    bench.people = [(3.3, 0.4)]
    bench.run(1.0)
    assert "person or unknown object" in bench.cause(C.PERSON_NEAR).text
    walk(bench, (3.3, 0.4), (2.6, 0.4))
    assert bench.cause(C.PERSON_NEAR).text.startswith("person: ")


def test_person_who_goes_where_nobody_can_look_is_remembered() -> None:
    """Into the strip that the pile explains: they count until they were seen to leave, or the memory is over."""
    bench = loaded_trailer()
    walk(bench, (-2.5, 1.0), (4.08, 1.0))  # pressed against the pile: within its margin
    last_m = bench.state.separation_m
    bench.people = []
    bench.run(5.0)
    assert bench.state.mode == SafetyState.REDUCED, "not seen is not gone"
    assert bench.state.separation_m == pytest.approx(last_m, abs=1e-3)
    walk(bench, (3.7, 1.0), (-4.0, 1.0))
    bench.people = []
    bench.run(1.5)
    assert bench.state.mode == SafetyState.RUN, [c.text for c in bench.state.causes]


def test_person_who_left_is_not_remembered() -> None:
    bench = Bench()
    walk(bench, (6.0, 0.3), (2.8, 0.3))
    assert not bench.permitted
    walk(bench, (2.8, 0.3), (6.5, 0.3))
    bench.people = []
    bench.run(0.9)
    assert bench.permitted


def test_base_of_unknown_place_explains_nothing() -> None:
    bench = Bench()
    bench.run(0.2)
    assert bench.permitted
    bench.silent.add("/tf")
    bench.run(1.4)
    assert np.isfinite(bench.state.separation_m) and not bench.permitted


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-3.0, 6.0),
    y=st.floats(-1.0, 1.0),
    yaw=st.floats(-0.05, 0.05),
)
def test_anybody_in_view_is_found_within_two_scans(x: float, y: float, yaw: float) -> None:
    """Anywhere in an empty trailer or on the dock where the robot itself does not stand in the way."""
    bench = Bench()
    bench.run(0.15)
    bench.people = [(x, y)]
    bench.run(0.1)
    relative = np.array([x, y]) - bench.base_xy
    if abs(relative[0]) < 1.2 and -0.5 < relative[1] < 1.1:
        return  # on the robot
    if abs(y) > TRAILER.width_m / 2 - 0.25:
        return
    assert np.isfinite(bench.state.separation_m), (x, y)


def test_mass_of_the_load_lengthens_the_stop() -> None:
    bench = Bench()
    bench.people = [(3.9, 0.3)]
    bench.run(0.3)
    empty = bench.state.speed_scale
    bench.gripper.part_held, bench.gripper.zones_on, bench.gripper.vacuum_kpa = True, 63, 58.0
    bench.run(0.3)
    assert bench.state.speed_scale < empty
    assert bench.job.phase == JobState.IDLE


@pytest.mark.parametrize("last", ["job/state", "scan/front", "scan/rear", "joint_states", "estop"])
def test_person_there_before_the_start_is_there_after_it(last: str) -> None:
    """Whatever input comes last: no permit is given before both scanners have looked."""
    bench = Bench()
    bench.people = [(2.6, 0.3)]
    bench.silent.add(last)
    bench.run(1.0)
    assert bench.state.mode == SafetyState.STARTING
    bench.silent.clear()
    bench.run(0.5)
    assert bench.state.mode == SafetyState.PROTECTIVE_STOP
    assert not any(state.mode in (SafetyState.RUN, SafetyState.REDUCED) for state in bench.states)


def test_the_first_messages_after_the_process_was_stopped_grant_nothing() -> None:
    bench = loaded_trailer()
    bench.run(1.0)
    assert bench.permitted
    bench.t += 0.45
    # Somebody came near meanwhile: a reason to publish at once, between two ticks.
    bench.people = [(-3.0, 0.0)]
    granted = [
        effect.message.mode
        for name in ("scan/rear", "scan/front", "scan/rear")
        for effect in bench.send(name, bench.make(name))
        if getattr(effect, "name", "") == "safety/state"
        and effect.message.mode in (SafetyState.RUN, SafetyState.REDUCED)
    ]
    assert not granted and not bench.permitted
