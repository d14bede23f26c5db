"""Hidden edges and ledges: nothing floats, and what is known stays as it is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lumper_perception.filtering import CONSISTENT_AFTER, RESIZED_AFTER, Change, update
from lumper_perception.relations import HIDDEN_MAX_M, closed_gaps
from lumper_perception.track import Assumed, Measurements, Track, filled_planes

FILTERED = np.zeros(1, dtype=bool)


def column(gap_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A carton of 0.4 m on the floor and one of 0.3 m whose underside is `gap_m` above it."""
    centre = np.array([[6.0, 0.0, 0.2], [6.0, 0.05, 0.4 + gap_m + 0.15]])
    return centre, np.tile(np.eye(3), (2, 1, 1)), np.array([[0.4, 0.4, 0.4], [0.4, 0.4, 0.3]])


def none(count: int) -> np.ndarray:
    return np.zeros(count, dtype=bool)


@given(gap_m=st.floats(0.001, HIDDEN_MAX_M - 0.001))
def test_a_hidden_top_reaches_what_stands_on_it(gap_m: float) -> None:
    centre, size = closed_gaps(*column(gap_m), np.array([True, False]), none(2))
    assert centre[0, 2] + size[0, 2] / 2 == pytest.approx(0.4 + gap_m)
    assert centre[0, 2] - size[0, 2] / 2 == pytest.approx(0.0)
    assert centre[1, 2] == pytest.approx(0.55 + gap_m) and size[1, 2] == pytest.approx(0.3)


@given(gap_m=st.floats(0.001, HIDDEN_MAX_M - 0.001))
def test_a_hidden_bottom_reaches_what_it_stands_on(gap_m: float) -> None:
    centre, size = closed_gaps(*column(gap_m), none(2), np.array([False, True]))
    assert centre[1, 2] - size[1, 2] / 2 == pytest.approx(0.4)
    assert centre[1, 2] + size[1, 2] / 2 == pytest.approx(0.7 + gap_m)


@given(into_m=st.floats(0.04, 0.29), upper=st.booleans())
def test_an_end_nobody_saw_does_not_reach_into_a_carton_that_is_known(into_m: float, upper: bool) -> None:
    """Two of one colour seen as one for a moment: what one of them is taken to reach to is where the other begins."""
    centre, rotation, size = column(0.0)
    k, away = (1, -1.0) if upper else (0, 1.0)
    size[k, 2] += into_m
    centre[k, 2] += away * into_m / 2.0
    closed, tall = closed_gaps(centre, rotation, size, np.array([not upper, False]), np.array([False, upper]))
    assert closed[0, 2] + tall[0, 2] / 2 == pytest.approx(0.4)
    assert closed[1, 2] - tall[1, 2] / 2 == pytest.approx(0.4)


@given(gap_m=st.floats(0.0, 0.5))
def test_edges_that_were_seen_stay(gap_m: float) -> None:
    given_centre, _, given_size = column(gap_m)
    centre, size = closed_gaps(*column(gap_m), none(2), none(2))
    assert np.array_equal(centre, given_centre) and np.array_equal(size, given_size)


@given(overhang_m=st.floats(0.004, 0.03), share=st.floats(0.0, 1.0))
def test_what_an_overhang_hides_of_a_top_is_no_gap(overhang_m: float, share: float) -> None:
    """From a camera that looks down a strip below the upper carton is not seen, and its edge looks like the lower one's."""
    gap_m = share * overhang_m + 0.001
    centre, half, size = column(gap_m)
    centre[1, 0] -= overhang_m
    closed, tall = closed_gaps(centre, half, size, none(2), none(2))
    assert closed[0, 2] + tall[0, 2] / 2 == pytest.approx(0.4 + gap_m)
    centre[1, 0] += 2.0 * overhang_m
    unchanged, _ = closed_gaps(centre, half, size, none(2), none(2))
    assert np.array_equal(unchanged, centre), "further back it hides nothing of the lower one's front"


@given(overhang_m=st.floats(0.0, 0.03))
def test_a_wider_gap_than_an_overhang_hides_stays(overhang_m: float) -> None:
    centre, half, size = column(1.6 * overhang_m + 0.01)
    centre[1, 0] -= overhang_m
    unchanged, _ = closed_gaps(centre, half, size, none(2), none(2))
    assert np.array_equal(unchanged, centre)


def test_a_carton_that_stands_on_one_is_not_stretched_to_a_lower_one() -> None:
    centre = np.array([[6.0, 0.0, 0.2], [6.0, 0.3, 0.13], [6.0, 0.1, 0.548]])
    size = np.array([[0.4, 0.4, 0.4], [0.4, 0.2, 0.26], [0.4, 0.4, 0.3]])
    closed, _ = closed_gaps(centre, np.tile(np.eye(3), (3, 1, 1)), size, none(3), np.array([False, False, True]))
    assert closed[2, 2] == pytest.approx(0.548, abs=0.003)


def test_a_ledge_is_no_depth() -> None:
    """The front of a carton and 0.09 m of its top are seen: another one stands on the rest."""
    offset = np.array([[0.0, -0.2, -0.15, 0.09, 0.2, 0.15]])
    loose = np.array([[False, False, False, True, False, False]])
    planes = filled_planes(offset, loose, np.eye(3)[None], np.array([[6.5, 0.0, 0.4]]), Assumed(0.42, 7.0))
    assert planes[0, 3] - planes[0, 0] == pytest.approx(0.42)
    deep = filled_planes(offset * 6.0, loose, np.eye(3)[None], np.array([[6.0, 0.0, 1.2]]), Assumed(0.42, 7.0))
    assert deep[0, 3] == pytest.approx(0.54), "a bound beyond the assumption counts"


def seen(depth_m: float, bound: bool) -> Measurements:
    """A carton's front and 0 … depth_m of its top, from above."""
    offset = np.array([0.0, -0.12, -0.3, depth_m, 0.12, 0.0])
    ends, faces = np.zeros(6, dtype=bool), np.array([True, False, False, False, False, True])
    ends[3] = bound
    return Measurements(
        np.eye(3)[None], offset[None], offset[None], np.full((1, 6), 0.003), ends[None], faces[None],
        np.full(1, 0.01), np.full(1, 0.9), np.full(1, np.nan),
    )  # fmt: skip


def track_of(z: Measurements) -> Track:
    return Track(
        np.eye(3), np.array([6.0, 0.0, 0.5]), z.offset[0].copy(), z.sigma[0] ** 2, z.bound[0].copy(), z.seen[0].copy(),
        1e-4, 0.9, np.nan, 0.0, 0.0, id=3,
    )  # fmt: skip


@given(hidden_m=st.floats(0.03, 0.25), ends=st.booleans())
def test_what_hides_the_front_of_a_side_moves_no_carton(hidden_m: float, ends: bool) -> None:
    """The arm stands before a carton whose front was seen: of its top only what lies further in is left."""
    whole, rest = seen(0.3, bound=False), seen(0.3, bound=False)
    track = track_of(whole)
    rest.offset[0, 0] = hidden_m
    rest.seen[0, 0] = False
    rest.bound[0, 3] = ends
    for k in range(2 * RESIZED_AFTER):
        assert update([track], rest, 0.2 * (k + 1), FILTERED) == [Change.NONE]
    assert track.offset[[0, 3]] == pytest.approx([0.0, 0.3], abs=1e-6)
    away = whole.offset + np.array([0.1, 0.0, 0.0, 0.1, 0.0, 0.0])
    moved = replace(whole, offset=away, own_offset=away)
    answers = [update([track], moved, 5.0 + 0.2 * k, FILTERED)[0] for k in range(CONSISTENT_AFTER)]
    assert answers[-1] is Change.MOVED, "a front that is seen elsewhere did move"


@given(short_m=st.floats(0.1, 0.2), long_m=st.floats(0.28, 0.4))
def test_an_end_that_is_seen_to_go_on_is_open_again(short_m: float, long_m: float) -> None:
    track = track_of(seen(short_m, bound=False))
    for k in range(CONSISTENT_AFTER):
        assert track.offset[3] == pytest.approx(short_m) and not track.loose[3]
        assert update([track], seen(long_m, bound=True), 0.2 * (k + 1), FILTERED) == [Change.NONE], (
            "it grew, it did not move"
        )
    assert track.offset[3] == pytest.approx(long_m) and track.loose[3]
    for k in range(RESIZED_AFTER):
        assert track.offset[3] == pytest.approx(long_m), "one picture parted wrongly says nothing"
        assert update([track], seen(short_m, bound=False), 1.0 + 0.2 * k, FILTERED) == [Change.NONE]
    assert track.offset[3] == pytest.approx(short_m, abs=0.01) and not track.loose[3], "so many are believed"


@given(
    tilt_deg=st.floats(8.0, 35.0),
    depth_m=st.floats(0.15, 0.4),
    height_m=st.floats(0.4, 0.6),
    turn_deg=st.floats(-10.0, 10.0),
    above_m=st.floats(0.0, 0.3),
)
def test_a_carton_that_leans_back_stands_on_its_hidden_lower_edge(
    tilt_deg: float, depth_m: float, height_m: float, turn_deg: float, above_m: float
) -> None:
    """Only the front of a leaning carton is seen: the floor says how deep it is; above the floor it is taken as deep as any."""
    turned = Rotation.from_euler("ZY", [turn_deg, tilt_deg], degrees=True).as_matrix()
    half = np.array([depth_m, 0.3, height_m]) / 2.0
    lowest = (turned[2] * half).sum(where=turned[2] > 0.0) - (turned[2] * half).sum(where=turned[2] < 0.0)
    centre = np.array([5.0, 0.0, lowest + above_m])
    front = centre - turned[:, 0] * half[0]
    offset = np.array([[0.0, -0.15, -half[2], np.nan, 0.15, half[2]]])
    planes = filled_planes(offset, np.zeros((1, 6), dtype=bool), turned[None], front[None], Assumed(0.42, 7.0))
    if above_m == 0.0 or depth_m + above_m / np.sin(np.radians(tilt_deg)) < 0.42:
        assert planes[0, 3] == pytest.approx(depth_m + above_m / np.sin(np.radians(tilt_deg)), abs=1e-6)
    else:
        assert planes[0, 3] == pytest.approx(0.42)
