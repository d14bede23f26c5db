"""A lower end that is only the outline of a carton in front is told from one that was seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumper_perception.silhouettes import SAME_LINE_M, ends_at_outlines

EYE = np.array([4.0, -0.15, 2.35])
SEEN = np.ones(2, dtype=bool)


def pair(gap_m: float, top_m: float, end_m: float) -> tuple[np.ndarray, np.ndarray]:
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


@given(gap_m=st.floats(0.001, 0.45), top_m=st.floats(0.7, 2.3))
def test_an_end_at_the_outline_was_not_seen(gap_m: float, top_m: float) -> None:
    end_m = seen_down_to(gap_m, top_m)
    assert ends_at_outlines(EYE, *pair(gap_m, top_m, end_m), SEEN).tolist() == [False, True]


@given(gap_m=st.floats(0.001, 0.45), top_m=st.floats(0.4, 2.0), above_m=st.floats(SAME_LINE_M + 0.005, 0.3))
def test_an_end_above_the_outline_was_seen(gap_m: float, top_m: float, above_m: float) -> None:
    end_m = seen_down_to(gap_m, top_m) + above_m
    assert not ends_at_outlines(EYE, *pair(gap_m, top_m, end_m), SEEN).any()


def test_the_outline_of_a_carton_beside_says_nothing() -> None:
    low, high = pair(0.04, 1.5, seen_down_to(0.04, 1.5))
    low[0, 1], high[0, 1] = low[0, 1] - 0.3, high[0, 1] - 0.3
    assert not ends_at_outlines(EYE, low, high, SEEN).any()


@pytest.mark.parametrize("set_back_m", [0.03, 0.1, 0.2])
def test_a_carton_set_back_on_another_ends_there(set_back_m: float) -> None:
    low = np.array([[5.6, 0.0, 0.0], [5.6 + set_back_m, 0.0, 1.5]])
    high = np.array([[6.1, 0.4, 1.5], [6.1, 0.4, 1.9]])
    assert not ends_at_outlines(EYE, low, high, SEEN).any()


def test_what_is_known_to_stand_on_something_ends_there() -> None:
    low, high = pair(0.04, 1.5, seen_down_to(0.04, 1.5))
    low = np.vstack([low, [low[1, 0], 0.02, 1.2]])
    high = np.vstack([high, [high[1, 0], 0.38, low[1, 2]]])
    assert not ends_at_outlines(EYE, low, high, np.ones(3, dtype=bool)).any()


def test_nothing_is_known_of_no_cartons() -> None:
    assert ends_at_outlines(EYE, np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, dtype=bool)).shape == (0,)
