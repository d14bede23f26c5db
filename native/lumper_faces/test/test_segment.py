"""lumper_faces on exact scenes whose answer is known by construction."""

import numpy as np
import pytest

import lumper_faces

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
INTRINSICS = (FOCAL, FOCAL, 159.5, 119.5)


def rays() -> np.ndarray:
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return np.stack([(u - INTRINSICS[2]) / FOCAL, (v - INTRINSICS[3]) / FOCAL, np.ones(u.shape)], axis=-1)


def scene(
    rectangles: list[tuple[float, float, float, float, float]], far_m: float, noise: float, seed: int
) -> np.ndarray:
    """Upright rectangles (x, y, width, height, depth) m before a wall at `far_m`; sigma of depth = noise z^2."""
    z = np.full((HEIGHT, WIDTH), far_m)
    r = rays()
    for x, y, width, height, depth in rectangles:
        inside = (np.abs(r[..., 0] * depth - x) < width / 2) & (np.abs(r[..., 1] * depth - y) < height / 2)
        z[inside] = depth
    z = z + noise * z**2 * np.random.default_rng(seed).standard_normal(z.shape)
    return (r * z[..., None]).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.002])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_rectangles(noise, seed):
    wanted = [(-0.25, 0.1, 0.30, 0.40, 1.6), (0.30, -0.1, 0.36, 0.26, 1.5)]
    found = lumper_faces.segment(scene(wanted, 3.0, noise, seed), INTRINSICS)
    small = [i for i in range(len(found["centre"])) if found["size"][i].max() < 0.8]
    assert len(small) == 2
    for i in small:
        x, y, width, height, depth = min(wanted, key=lambda w: abs(w[0] - found["centre"][i][0]))
        assert found["centre"][i] == pytest.approx([x, y, depth], abs=0.008)
        assert sorted(found["size"][i]) == pytest.approx(sorted([width, height]), abs=0.012)
        assert found["rotation"][i][:, 2] == pytest.approx([0, 0, -1], abs=0.04)
        assert np.linalg.det(found["rotation"][i]) == pytest.approx(1.0)
        assert not found["hidden"][i].any()


def test_noise_is_estimated():
    found = lumper_faces.segment(scene([(0.0, 0.0, 0.4, 0.4, 1.5)], 3.0, 0.002, 1), INTRINSICS)
    assert found["noise"] == pytest.approx(0.002, rel=0.1)


def test_a_hidden_side_is_said_to_be_hidden():
    # The nearer rectangle covers the right part of the farther one.
    found = lumper_faces.segment(
        scene([(0.0, 0.0, 0.5, 0.4, 1.9), (0.25, 0.0, 0.3, 0.5, 1.3)], 3.0, 0.0005, 1), INTRINSICS
    )
    behind = [
        i
        for i in range(len(found["centre"]))
        if abs(found["centre"][i][2] - 1.9) < 0.05 and found["size"][i].max() < 0.8
    ]
    assert len(behind) == 1
    assert found["hidden"][behind[0]].sum() == 1


def test_strided_views_are_read_in_place():
    points = scene([(0.0, 0.0, 0.4, 0.4, 1.5)], 3.0, 0.001, 1)
    wide = np.zeros((HEIGHT, WIDTH, 8), dtype=np.float32)
    wide[..., 2:5] = points
    a, b = lumper_faces.segment(points, INTRINSICS), lumper_faces.segment(wide[..., 2:5], INTRINSICS)
    assert np.array_equal(a["label"], b["label"])
    assert np.array_equal(a["centre"], b["centre"])


def test_same_input_same_output():
    points = scene([(0.1, 0.0, 0.4, 0.3, 1.5)], 2.5, 0.002, 4)
    a, b = lumper_faces.segment(points, INTRINSICS), lumper_faces.segment(points, INTRINSICS)
    assert all(np.array_equal(a[key], b[key]) for key in a)
