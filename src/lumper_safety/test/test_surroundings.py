"""The geometry in the scanners' plane against the same said plainly, one point and one capsule at a time."""

import numpy as np
import pytest
from robot_bench import ROBOT

from lumper_safety.surroundings import capsule_distances, robot_explains


def plain_distance(point: np.ndarray, a: np.ndarray, b: np.ndarray, radius: float) -> float:
    along = b - a
    share = np.clip((point - a) @ along / max(along @ along, 1e-12), 0.0, 1.0)
    return float(np.linalg.norm(point - a - share * along)) - radius


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_distance_of_every_point_from_every_capsule(dimension: int) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 7, dimension))
    b[3] = a[3]  # a sphere
    points, radii = 2.0 * rng.normal(size=(60, dimension)), rng.uniform(0.05, 0.3, 7)
    found = capsule_distances(points, a, b, radii)
    plain = [[plain_distance(p, a[k], b[k], radii[k]) for k in range(7)] for p in points]
    assert found == pytest.approx(np.array(plain), abs=1e-12)
    assert capsule_distances(points[:0], a, b, radii).shape == (0, 7)


def test_the_robot_explains_exactly_the_points_on_its_capsules() -> None:
    rng = np.random.default_rng(6)
    explained = 0
    for _ in range(40):
        a, b, radii = ROBOT.capsules_at(rng.uniform(ROBOT.lower_rad, ROBOT.upper_rad))
        points, height_m, margin_m = rng.uniform(-2.5, 2.5, (300, 2)), 0.25, 0.08
        found = robot_explains(points, height_m, a, b, radii, margin_m)
        spatial = np.column_stack([points, np.full(len(points), height_m)])
        for row, point in enumerate(spatial):
            nearest = min(plain_distance(point, a[k], b[k], radii[k]) for k in range(len(radii)))
            assert found[row] == (nearest <= margin_m)
        explained += int(found.sum())
    assert explained > 100
