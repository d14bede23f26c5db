"""Arm and people on the page stand where the robot's files and the scanners say."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lumper_view.page_scene import capsule_mesh

POINT = st.tuples(*(st.floats(-2.0, 2.0),) * 3).map(np.array)


@given(a=POINT, b=POINT, radius_m=st.floats(0.02, 0.4))
def test_a_capsule_surrounds_its_segment(a: np.ndarray, b: np.ndarray, radius_m: float) -> None:
    vertices = np.asarray(capsule_mesh(a, b, radius_m).vertices)
    axis = b - a
    length2 = float(axis @ axis)
    share = np.clip((vertices - a) @ axis / length2, 0.0, 1.0) if length2 > 1e-12 else np.zeros(len(vertices))
    distance = np.linalg.norm(vertices - (a + share[:, None] * axis), axis=1)
    assert np.allclose(distance, radius_m, atol=1e-6)
    if length2 > 1e-6:
        along = (vertices - a) @ axis / np.sqrt(length2)
        assert along.min() < -0.9 * radius_m and along.max() > np.sqrt(length2) + 0.9 * radius_m
