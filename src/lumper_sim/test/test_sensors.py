"""Scanners, camera and detector model see what stands in front of them and nothing else."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lumper_ros.robot import Robot
from lumper_sim.camera import NOTHING, PERSON, ROBOT, CameraSpec, DepthCamera, colours
from lumper_sim.detector import Detections, Detector, DetectorSpec, face_frame
from lumper_sim.loads import CartonSpec
from lumper_sim.people import LEG_RADIUS_M, Person
from lumper_sim.rays import cast_boxes, cast_capsules
from lumper_sim.world import World

EXACT = DetectorSpec(0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def quiet(make_world: Callable[..., World]) -> World:
    cartons = tuple(CartonSpec((0.4, 0.4, 0.3), 6.0, 0.5, (6.5, y, 0.151)) for y in (-0.5, 0.0, 0.5))
    world = make_world(own_cartons=cartons, scan_noise_m=0.0)
    world.data.qpos[world.index.arm_qpos] = world.robot.poses["scan"]
    world.trajectory.__init__(world.trajectory.limits, world.robot.poses["scan"].copy())  # type: ignore[misc]
    world.step(0.1)
    return world


def camera(robot: Robot, width: int = 320) -> DepthCamera:
    raw = robot.raw["camera"]
    return DepthCamera(
        CameraSpec(width, width * 3 // 4, raw["hfov_rad"], raw["range_min_m"], raw["range_max_m"], 0.001)
    )


def look(world: World, spec: DetectorSpec = EXACT, width: int = 320, seed: int = 0) -> Detections:
    cam = camera(world.robot, width)
    view = world.view()
    detector = Detector(spec, cam.spec.rays(), cam.spec.focal_px)
    return detector.detect(cam.take(view), view, np.random.default_rng(seed))


# --- rays ---

COORD = st.floats(-3.0, 3.0)


@given(
    st.tuples(COORD, COORD, COORD),
    st.tuples(*[st.floats(0.05, 1.0)] * 3),
    st.tuples(COORD, COORD, COORD),
    st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_boxes_are_hit_where_their_surface_is(
    centre: tuple[float, ...], half: tuple[float, ...], turn: tuple[float, ...], seed: int
) -> None:
    rotation = Rotation.from_rotvec(turn).as_matrix()
    if (np.abs(np.array(centre) @ rotation) <= np.array(half) + 0.01).all():
        return
    directions = np.random.default_rng(seed).normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    t = cast_boxes(np.zeros(3), directions, np.array([centre]), rotation[None], np.array([half]))
    for ray, distance in zip(directions, t, strict=True):
        at = np.linspace(0, 8, 4001)[:, None] * ray
        inside = (np.abs((at - centre) @ rotation) <= half).all(axis=1)
        if np.isfinite(distance):
            local = np.abs((ray * distance - centre) @ rotation) - half
            assert local.max() == pytest.approx(0.0, abs=1e-9)
            assert not inside[: int(distance / 0.002) - 1].any()
        else:
            # A ray may graze a corner between two samples, or the other way round.
            assert inside.sum() < 3


@given(st.tuples(COORD, COORD, COORD), st.tuples(COORD, COORD, COORD), st.floats(0.05, 0.5), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_capsules_are_hit_where_their_surface_is(
    a: tuple[float, ...], b: tuple[float, ...], radius: float, seed: int
) -> None:
    directions = np.random.default_rng(seed).normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    start, end = np.array(a), np.array(b)

    def gap(points: np.ndarray) -> np.ndarray:
        axis = end - start
        s = np.clip((points - start) @ axis / max(float(axis @ axis), 1e-12), 0, 1)
        return np.linalg.norm(points - start - s[:, None] * axis, axis=1) - radius

    if gap(np.zeros((1, 3)))[0] <= 0.0:
        return
    t = cast_capsules(np.zeros(3), directions, start[None], end[None], np.array([radius]))
    for ray, distance in zip(directions, t, strict=True):
        if np.isfinite(distance):
            assert gap((ray * distance)[None])[0] == pytest.approx(0.0, abs=1e-6)
        else:
            assert gap(np.linspace(0, 10, 2001)[:, None] * ray).min() > -2e-4


# --- scanners ---


def test_a_person_is_scanned_at_the_right_distance(quiet: World) -> None:
    scanner = (quiet.base_pose() @ quiet.robot.mounts["scanner_rear"].matrix())[:3, 3]
    quiet.people.enter(Person(float(scanner[0]) - 2.0, 0.11, 0.0, 0.0, quiet.time_s, 0.0, 1e9))
    ranges = quiet.scan("scanner_rear", quiet.obstacles())
    # The right leg (as the person faces +x) stands straight behind the scanner.
    assert ranges[len(ranges) // 2] == pytest.approx(2.0 - LEG_RADIUS_M, abs=1e-3)


def test_a_walking_person_comes_nearer(quiet: World) -> None:
    x = quiet.base_x_m
    quiet.people.enter(Person(x - 4.0, 0.0, 1.0, 0.0, quiet.time_s, 10.0, 1e9))
    seen = []
    for _ in range(4):
        ranges = quiet.scan("scanner_rear", quiet.obstacles())
        seen.append(float(ranges[240:301].min()))
        quiet.step(0.5)
    assert np.diff(seen) == pytest.approx([-0.5] * 3, abs=0.2)


def test_people_leave(quiet: World) -> None:
    before = np.minimum(quiet.scan("scanner_rear", quiet.obstacles()), 20.0)
    quiet.people.enter(Person(quiet.base_x_m - 2.5, 0.0, 0.0, 0.0, quiet.time_s, 0.0, quiet.time_s + 0.5))
    with_person = np.minimum(quiet.scan("scanner_rear", quiet.obstacles()), 20.0)
    assert np.abs(with_person - before).max() > 1.0
    quiet.step(0.6)
    after = np.minimum(quiet.scan("scanner_rear", quiet.obstacles()), 20.0)
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_the_front_scanner_sees_cartons_and_walls(quiet: World) -> None:
    ranges = quiet.scan("scanner_front", quiet.obstacles())
    origin = (quiet.base_pose() @ quiet.robot.mounts["scanner_front"].matrix())[:3, 3]
    assert ranges[len(ranges) // 2] == pytest.approx(6.3 - origin[0], abs=5e-3)
    angles = quiet.scanner.angles_rad
    left = int(np.argmin(np.abs(angles - np.pi / 2)))
    assert ranges[left] == pytest.approx(quiet.spec.trailer.width_m / 2, abs=1e-3)
    assert len(ranges) == 541


def test_scan_noise_is_as_stated(make_world: Callable[..., World]) -> None:
    world = make_world(load="uniform", cartons=20, scan_noise_m=0.02)
    obstacles = world.obstacles()
    many = np.array([world.scan("scanner_front", obstacles)[250:291] for _ in range(80)])
    assert many.std(axis=0).mean() == pytest.approx(0.02, rel=0.15)


# --- camera ---


def test_depth_is_exact_before_noise(quiet: World) -> None:
    view = quiet.view()
    cam = camera(quiet.robot)
    picture = cam.take(view)
    rays = cam.spec.rays().reshape(*picture.depth_m.shape, 3)
    world_points = (rays * picture.depth_m[..., None]) @ view.camera[:3, :3].T + view.camera[:3, 3]
    for carton in range(3):
        front = (picture.object_id == carton) & (picture.face == 0)
        assert front.sum() > 50
        np.testing.assert_allclose(world_points[front][:, 0], quiet.carton_position[carton, 0] - 0.2, atol=2e-3)


def test_the_camera_sees_people_robot_and_structure(quiet: World) -> None:
    quiet.people.enter(Person(quiet.base_x_m + 1.2, -0.3, 0.0, 0.0, quiet.time_s, 0.0, 1e9))
    picture = camera(quiet.robot).take(quiet.view())
    assert (picture.object_id == PERSON).sum() > 200
    assert (picture.object_id == NOTHING).mean() < 0.2
    quiet.data.qpos[quiet.index.arm_qpos] = [-0.3, 0.2, 1.2, 0, 0, 0]
    quiet.trajectory.__init__(quiet.trajectory.limits, quiet.data.qpos[quiet.index.arm_qpos].copy())  # type: ignore[misc]
    quiet.step(0.01)
    assert (camera(quiet.robot).take(quiet.view()).object_id == ROBOT).sum() > 2000


def test_noise_grows_with_the_square_of_the_distance(quiet: World) -> None:
    cam = camera(quiet.robot)
    picture = cam.take(quiet.view())
    error = np.array([cam.points(picture, np.random.default_rng(k))[..., 2] - picture.depth_m for k in range(30)])
    far = picture.depth_m > 2.5
    ratio = error.std(axis=0)[far] / picture.depth_m[far] ** 2
    assert np.nanmedian(ratio) == pytest.approx(0.001, rel=0.1)


def test_each_carton_has_its_colour(quiet: World) -> None:
    picture = camera(quiet.robot).take(quiet.view())
    palette = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], dtype=np.uint8)
    image = colours(picture, palette)
    for carton in range(3):
        assert (image[picture.object_id == carton].argmax(axis=1) == carton).all()


# --- detector ---


def test_a_free_face_is_found_where_it_is(quiet: World) -> None:
    found = look(quiet)
    view = quiet.view()
    fronts = [f for f in found.faces if (view.camera[:3, :3] @ f.pose[:3, 2])[0] < -0.99 and not f.hidden_sides]
    assert len(fronts) == 3
    for carton in range(3):
        expected = quiet.carton_position[carton] - [0.2, 0, 0]
        centres = [view.camera[:3, :3] @ f.pose[:3, 3] + view.camera[:3, 3] for f in fronts]
        best = fronts[int(np.argmin([np.linalg.norm(c - expected) for c in centres]))]
        np.testing.assert_allclose(min(centres, key=lambda c: float(np.linalg.norm(c - expected))), expected, atol=1e-6)
        assert best.width_m == pytest.approx(0.4)
        assert best.height_m == pytest.approx(0.3)
        # y, the height, points up.
        assert (view.camera[:3, :3] @ best.pose[:3, 1])[2] > 0.99


@pytest.mark.parametrize("seed", range(4))
def test_a_hidden_carton_is_never_reported(make_world: Callable[..., World], seed: int) -> None:
    """Every reported face, without noise, lies on a carton face of which the picture has pixels, and within its edges."""
    world = make_world(load="mixed", cartons=120, seed=seed)
    cam = camera(world.robot)
    view = world.view()
    picture = cam.take(view)
    detector = Detector(EXACT, cam.spec.rays(), cam.spec.focal_px)
    found = detector.detect(picture, view, np.random.default_rng(seed))
    assert len(found.faces) > 10
    visible = {(int(c), int(f)) for c, f in zip(picture.object_id.ravel(), picture.face.ravel(), strict=True) if c >= 0}
    hidden = [c for c in range(120) if c not in {v[0] for v in visible}]
    assert hidden
    for face in found.faces:
        centre = view.camera[:3, :3] @ face.pose[:3, 3] + view.camera[:3, 3]
        matches = []
        for carton, side in visible:
            rotation, half = view.carton_rotation[carton], view.carton_half[carton]
            local = (centre - view.carton_position[carton]) @ rotation
            on_plane = abs(local[side // 2] - (1 if side % 2 else -1) * half[side // 2]) < 1e-3
            matches.append(on_plane and bool((np.abs(local) <= half + 1e-3).all()))
        assert any(matches)


def test_a_partly_hidden_face_is_reported_smaller_and_as_occluded(make_world: Callable[..., World]) -> None:
    low = CartonSpec((0.3, 0.5, 0.3), 6.0, 0.5, (6.2, 0.0, 0.151))
    tall = CartonSpec((0.4, 0.5, 0.6), 6.0, 0.5, (6.7, 0.0, 0.301))
    world = make_world(own_cartons=(low, tall))
    found = look(world, width=640)
    view = world.view()
    behind = [
        f
        for f in found.faces
        if (view.camera[:3, :3] @ f.pose[:3, 2])[0] < -0.99
        and (view.camera[:3, :3] @ f.pose[:3, 3] + view.camera[:3, 3])[0] > 6.4
    ]
    assert len(behind) == 1
    assert behind[0].hidden_sides
    assert 0.2 < behind[0].height_m < 0.55


def test_noise_misses_and_inventions_are_as_stated(quiet: World) -> None:
    spec = DetectorSpec(0.01, 0.02, 0.006, 0.25, 0.1)
    cam = camera(quiet.robot)
    view = quiet.view()
    picture = cam.take(view)
    exact = Detector(EXACT, cam.spec.rays(), cam.spec.focal_px).detect(picture, view, np.random.default_rng(0))
    noisy = Detector(spec, cam.spec.rays(), cam.spec.focal_px)
    found, invented, errors = 0, 0, []
    for seed in range(300):
        faces = noisy.detect(picture, view, np.random.default_rng(seed)).faces
        for face in faces:
            distance = [np.linalg.norm(face.pose[:3, 3] - e.pose[:3, 3]) for e in exact.faces]
            if face.confidence <= 0.7 and min(distance) > 0.04:
                invented += 1
            else:
                found += 1
                errors.append(face.pose[:3, 3] - exact.faces[int(np.argmin(distance))].pose[:3, 3])
    assert found / (300 * len(exact.faces)) == pytest.approx(0.75, abs=0.05)
    assert invented / 300 == pytest.approx(0.1, abs=0.06)
    assert np.array(errors).std() == pytest.approx(0.01, rel=0.1)


def test_the_arm_hides_what_is_behind_it(quiet: World, driver: type) -> None:
    free = look(quiet)
    between = np.eye(4)
    between[:3, :3] = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    between[:3, 3] = [quiet.base_x_m + 1.0, -0.05, 1.03]
    driver(quiet).move(between, 3.0)
    hidden = look(quiet)
    assert hidden.coverage < free.coverage - 0.005
    whole = [sum(not f.hidden_sides for f in d.faces) for d in (hidden, free)]
    assert whole[0] < whole[1]


@given(st.integers(0, 5), st.integers(0, 2**31))
def test_face_axes_are_right_handed_and_outward(face: int, seed: int) -> None:
    rotation = Rotation.random(rng=seed).as_matrix()
    axes, width, height = face_frame(rotation, face, np.array([0.0, 0, 1]), np.array([1.0, 0, 0]))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert {face // 2, width, height} == {0, 1, 2}
    np.testing.assert_allclose(axes[:, 2], rotation[:, face // 2] * (1 if face % 2 else -1), atol=1e-12)
    assert abs(axes[:, 0] @ rotation[:, width]) == pytest.approx(1.0)
