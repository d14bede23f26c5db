"""What the cups hold, moments included."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumper_motion.hold import hold_along, weakest_hold
from lumper_ros.robot import load_robot

GRIPPER = load_robot(Path(__file__).resolve().parents[3] / "config" / "robot").gripper
ALL = sum(1 << zone.bit for zone in GRIPPER.zones)
TOTAL_N = sum(zone.holding_n for zone in GRIPPER.zones)


def test_without_a_lever_the_weakest_direction_is_shear() -> None:
    assert weakest_hold(GRIPPER, ALL, np.zeros(3)) == pytest.approx(1.0 / (TOTAL_N * GRIPPER.shear_fraction), rel=1e-3)


def test_no_zone_holds_nothing() -> None:
    assert weakest_hold(GRIPPER, 0, np.zeros(3)) == math.inf


@given(depth_m=st.floats(0.05, 0.6), more_m=st.floats(0.01, 0.3), zones=st.integers(1, ALL))
def test_a_longer_lever_never_holds_better(depth_m: float, more_m: float, zones: int) -> None:
    near, far = (weakest_hold(GRIPPER, zones, np.array([0.0, 0.0, z])) for z in (depth_m, depth_m + more_m))
    assert far >= near


@given(depth_m=st.floats(0.0, 0.6), zone=st.sampled_from([zone.bit for zone in GRIPPER.zones]))
def test_all_zones_hold_better_than_one(depth_m: float, zone: int) -> None:
    one, every = (weakest_hold(GRIPPER, mask, np.array([0.0, 0.0, depth_m])) for mask in (1 << zone, ALL))
    assert every < one


@given(
    x_m=st.floats(-0.3, 0.3),
    depth_m=st.floats(0.0, 0.6),
    zones=st.integers(1, ALL),
    yaw=st.floats(-np.pi, np.pi),
    lift=st.floats(0.0, 1.0),
)
def test_no_direction_is_weaker_than_the_weakest(
    x_m: float, depth_m: float, zones: int, yaw: float, lift: float
) -> None:
    centre = np.array([x_m, 0.0, depth_m])
    flat = math.sqrt(1.0 - lift * lift)
    direction = np.array([flat * math.cos(yaw), flat * math.sin(yaw), lift])
    # The weakest is one of some fifty directions: another one may be a little weaker.
    assert hold_along(GRIPPER, zones, centre, direction) <= 1.05 * weakest_hold(GRIPPER, zones, centre)


def test_what_is_pressed_on_the_mat_needs_no_vacuum() -> None:
    assert hold_along(GRIPPER, ALL, np.zeros(3), np.array([0.0, 0.0, -1.0])) == pytest.approx(0.0, abs=1e-12)
