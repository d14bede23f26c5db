"""Generated loads are as ordered, and stand."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lumper_ros.robot import Robot, Trailer
from lumper_sim.loads import GENERATORS, LoadError, Space, generate
from lumper_sim.world import World, WorldSpec, settled_load, space_of

SPACE = Space(1.245, 2.3, 0.3, 6.995)


@pytest.mark.parametrize("load", GENERATORS)
@pytest.mark.parametrize("count", [20, 60, 200, 400])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cartons_are_as_ordered_and_do_not_overlap(load: str, count: int, seed: int) -> None:
    cartons = generate(load, count, seed, SPACE)
    assert len(cartons) == count
    size = np.array([c.size_m for c in cartons])
    mass = np.array([c.mass_kg for c in cartons])
    centre = np.array([c.position_m for c in cartons])
    assert size.min() >= 0.15
    assert size.max() <= 0.61
    assert mass.min() >= 1.0
    assert (mass > 27.0).sum() == (load == "jammed"), "only the one that jams is too heavy"
    upright = np.array([c.quat_wxyz[0] == 1.0 for c in cartons])
    low, high = (centre - size / 2)[upright], (centre + size / 2)[upright]
    assert low[:, 2].min() >= 0.0
    assert high[:, 2].max() <= SPACE.height_m + 1e-9
    assert np.abs(np.r_[low[:, 1], high[:, 1]]).max() <= SPACE.half_width_m + 1e-9
    assert low[:, 0].min() >= SPACE.front_x_m
    assert high[:, 0].max() <= SPACE.back_x_m
    apart = ((low[:, None] >= high[None] - 1e-9) | (low[None] >= high[:, None] - 1e-9)).any(axis=2)
    np.fill_diagonal(apart, True)
    assert apart.all()


def test_the_same_arguments_give_the_same_load_and_another_seed_another() -> None:
    assert generate("mixed", 60, 5, SPACE) == generate("mixed", 60, 5, SPACE)
    assert generate("mixed", 60, 5, SPACE) != generate("mixed", 60, 6, SPACE)


def test_leaning_cartons_lean() -> None:
    tilts = [2 * np.arccos(c.quat_wxyz[0]) for c in generate("leaning", 60, 1, SPACE)]
    assert sum(t > np.radians(10) for t in tilts) >= 3


def test_the_jam_is_one_heavy_carton_on_the_middle_two_in_front() -> None:
    *others, heavy = generate("jammed", 12, 1, SPACE)
    below = [c for c in others if abs(c.position_m[1]) < 0.4 and c.position_m[0] == heavy.position_m[0]]
    assert heavy.mass_kg == 200.0 and len(below) == 2
    assert min(c.position_m[0] - c.size_m[0] / 2 for c in others) == below[0].position_m[0] - below[0].size_m[0] / 2


@pytest.mark.parametrize(
    ("load", "count", "seed", "named"),
    [
        ("heap", 60, 1, "load='heap'"),
        ("mixed", 0, 1, "cartons=0"),
        ("mixed", 401, 1, "cartons=401"),
        ("mixed", 60, -1, "seed=-1"),
        ("jammed", 5, 1, "cartons=5"),
    ],
)
def test_what_cannot_be_made_is_named(load: str, count: int, seed: int, named: str) -> None:
    with pytest.raises(LoadError, match=named):
        generate(load, count, seed, SPACE)


def test_a_trailer_too_short_is_named() -> None:
    with pytest.raises(LoadError, match="cartons=300"):
        generate("mixed", 300, 1, Space(1.2, 2.0, 5.5, 7.0))


@pytest.mark.parametrize(
    ("load", "count", "seed"),
    [*((load, 60, seed) for load in GENERATORS for seed in (1, 2, 3, 4, 5)), *((load, 200, 1) for load in GENERATORS)],
)
def test_loads_settle_without_collapse(load: str, count: int, seed: int, robot: Robot, trailer: Trailer) -> None:
    spec = WorldSpec(robot, trailer, load, count, seed)
    cartons, state = settled_load(spec)
    drift = np.linalg.norm(state[:, :3] - np.array([c.position_m for c in cartons]), axis=1)
    upright = np.array([c.quat_wxyz[0] == 1.0 for c in cartons])
    assert drift[upright].max() < 0.05
    tilt = np.degrees(Rotation.from_quat(state[:, 3:], scalar_first=True).magnitude())
    assert tilt[upright].max() < 8.0
    assert space_of(spec).half_width_m < trailer.width_m / 2


@pytest.mark.parametrize("load", GENERATORS)
def test_a_load_left_alone_stays_as_it_is(load: str, robot: Robot, trailer: Trailer) -> None:
    world = World(WorldSpec(robot, trailer, load, 60, 2))
    before = world.carton_position.copy()
    world.step(5.0)
    assert np.linalg.norm(world.carton_position - before, axis=1).max() < 0.01
    assert world.counts().falls == 0
    assert world.counts().in_trailer == 60
