"""What the cups hold, moments included."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumper_motion.hold import weakest_hold
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
