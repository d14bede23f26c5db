"""A lower end that is only the outline of a carton in front is told from one that was seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lumper_msgs.msg import Carton

from lumper_perception.silhouettes import GOES_ON_M, SAME_LINE_M, ends_at_outlines
from lumper_perception.track import Assumed, Track
from lumper_perception.wall import Picture, picture

EYE = np.array([4.0, -0.15, 2.35])
Corners = tuple[np.ndarray, np.ndarray]


def pair(gap_m: float, top_m: float, end_m: float) -> Corners:
    """Corners of a carton in front with its top at `top_m`, and of one `gap_m` behind it that is seen down to `end_m`."""
    low = np.array([[5.6, 0.0, 0.0], [6.0 + gap_m, 0.02, end_m]])
    high = np.array([[6.0, 0.4, top_m], [6.4 + gap_m, 0.38, end_m + 0.4]])
    return low, high


def seen_down_to(gap_m: float, top_m: float) -> float:
    """Where the front carton's outline lies on the plane of the face behind it: by rays at heights 1 mm apart."""
    low, high = pair(gap_m, top_m, 0.0)
    heights = np.arange(0.0, 3.0, 0.001)
    way = np.stack([np.full(len(heights), low[1, 0]), np.full(len(heights), 0.2), heights], axis=1) - EYE
    # Slabs of the box in front, as shares of the way.
    one, other = (low[0] - EYE) / way, (high[0] - EYE) / way
    enters, leaves = np.minimum(one, other).max(axis=1), np.maximum(one, other).min(axis=1)
    return float(heights[~((enters < leaves) & (enters < 1.0))].min())


def behind(gap_m: float = 0.04) -> Corners:
    return pair(gap_m, 1.5, seen_down_to(gap_m, 1.5))


def ends(corners: Corners) -> list[bool]:
    low, high = corners
    return ends_at_outlines(np.tile(EYE, (len(low), 1)), low, high, np.ones(len(low), dtype=bool)).tolist()


@given(gap_m=st.floats(0.001, 0.45), top_m=st.floats(0.7, 2.3))
def test_an_end_at_the_outline_was_not_seen(gap_m: float, top_m: float) -> None:
    assert ends(pair(gap_m, top_m, seen_down_to(gap_m, top_m))) == [False, True]


@given(gap_m=st.floats(0.001, 0.45), top_m=st.floats(0.4, 2.0), above_m=st.floats(SAME_LINE_M + 0.005, 0.3))
def test_an_end_above_the_outline_was_seen(gap_m: float, top_m: float, above_m: float) -> None:
    assert not any(ends(pair(gap_m, top_m, seen_down_to(gap_m, top_m) + above_m)))


def test_the_outline_of_a_carton_beside_says_nothing() -> None:
    low, high = behind()
    low[0, 1], high[0, 1] = low[0, 1] - 0.3, high[0, 1] - 0.3
    assert not any(ends((low, high)))


def shown(corners: Corners, eye: np.ndarray = EYE) -> Picture:
    """The picture of cartons, the last of which a camera at `eye` showed."""
    tracks = []
    for k, (low, high) in enumerate(zip(*corners, strict=True)):
        half = (high - low) / 2.0
        faces = np.array([True, False, False, False, False, False])
        track = Track(
            np.eye(3),
            low + half,
            np.concatenate([-half, half]),
            np.full(6, 1e-6),
            ~faces & faces,
            faces,
            1e-6,
            0.9,
            np.nan,
            0.0,
            0.0,
        )
        track.id, track.eye = k + 1, EYE
        tracks.append(track)
    tracks[-1].eye = eye
    return picture(tracks, Assumed(0.4))


def goes_on(made: Picture) -> bool:
    """Whether the last carton's lower end is unknown, and was taken further down; its top stays."""
    low, high = made.extents()
    unknown = bool(made.unknown()[-1] & Carton.AXIS_Z)
    assert high[-1, 2] - low[-1, 2] == pytest.approx(0.4 + GOES_ON_M * unknown)
    assert high[-1, 2] == pytest.approx(made.tracks[-1].anchor[2] + 0.2)
    assert not any(each & Carton.AXIS_Z for each in made.unknown()[:-1])
    return unknown


def test_what_stands_close_behind_another_goes_on_below_its_outline() -> None:
    assert goes_on(shown(behind()))


def test_a_detector_that_tells_an_end_is_believed() -> None:
    assert not goes_on(shown(behind(), np.full(3, np.nan)))


def test_only_the_camera_that_showed_a_carton_counts() -> None:
    """Another one looks past the carton in front, and saw the end."""
    assert not goes_on(shown(behind(0.3), np.array([4.0, -0.15, 1.6])))


@pytest.mark.parametrize("set_back_m", [0.03, 0.1, 0.2])
def test_a_carton_set_back_on_another_ends_there(set_back_m: float) -> None:
    low = np.array([[5.6, 0.0, 0.0], [5.6 + set_back_m, 0.0, 1.5]])
    assert not goes_on(shown((low, np.array([[6.1, 0.4, 1.5], [6.1, 0.4, 1.9]]))))


def test_what_is_known_to_stand_on_something_ends_there() -> None:
    low, high = behind()
    low = np.vstack([low[0], [low[1, 0], 0.02, 1.2], low[1]])
    high = np.vstack([high[0], [high[1, 0], 0.38, low[2, 2]], high[1]])
    assert not goes_on(shown((low, high)))


def test_nothing_is_known_of_no_cartons() -> None:
    assert len(picture([], Assumed(0.4)).tracks) == 0
