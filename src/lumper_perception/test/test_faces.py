"""Faces from clouds: recorded boxes, simulated walls, and hypotheses from faces. Exact figures are the benchmark's business."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import data_folder
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pcd import read_pcd
from perception_scenes import CAMERA, Load, Renderer, camera_pose, wall
from scipy.spatial.transform import Rotation

import lumper_faces
from lumper_perception.boxes import PLANE_AXIS, PLANE_SIGN, Faces, aligned, rotation_vectors, rotations
from lumper_perception.cloudfaces import segment
from lumper_perception.evidence import fit_intrinsics
from lumper_perception.hypotheses import boxes_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmark"))
from bench_perception import Score, box_ious, packed

UP = np.array([0.0, 0.0, 1.0])


def test_recorded_boxes_are_found():
    files = sorted((data_folder() / "mosd").glob("*.pcd"))
    if not files:
        pytest.skip("recorded boxes are not on this machine (LUMPER_DATA)")
    ious = []
    for path in files:
        fields = read_pcd(path)
        points = np.stack([fields[name] for name in "xyz"], axis=-1)
        camera = fit_intrinsics(points, 0.3, 6.0)
        assert camera is not None
        found = lumper_faces.segment(points, (camera.fx, camera.fy, camera.cx, camera.cy))
        box = np.where(found["label"] >= 0, found["box_of_plane"][np.clip(found["label"], 0, None)], -1)
        ious += box_ious(fields["label"], box)
    assert np.mean(ious) >= 0.85
    assert np.mean(np.array(ious) > 0.5) >= 0.95


@pytest.mark.parametrize("ragged", [True, False])
def test_simulated_wall(ragged):
    rng = np.random.default_rng(77)
    load = wall(rng, front_x_m=3.4, ragged=ragged)
    pose = camera_pose(2.0)
    picture = Renderer().render(load, pose, rng, 0.001, colour=True)
    score = Score()
    score.add(load, picture, segment(picture.cloud, packed(picture.colour), CAMERA, pose[:3, :3].T @ UP))
    assert score.hit / score.wanted > 0.9
    assert score.right / score.found > 0.88
    assert np.median(score.centre_mm) < 8.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("set_back_m", [0.06, 0.12])
def test_a_ledge_moves_no_edge_and_says_that_it_may_go_on(seed, set_back_m):
    """A carton on another, set back by little: where the lower one's front ends, and how deep its top is."""
    size = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.45]])
    front_x_m = 4.0
    centre = np.array([[front_x_m + 0.25, 0.0, 0.25], [front_x_m + set_back_m + 0.25, 0.0, 0.725]])
    shade = np.array([[190.0, 150.0, 110.0], [150.0, 120.0, 80.0]])
    load = Load(centre, size, np.tile(np.eye(3), (2, 1, 1)), np.array([1, 2]), shade)
    pose = camera_pose(2.0)
    rng = np.random.default_rng(seed)
    picture = Renderer().render(load, pose, rng, 0.001, colour=True)
    faces = segment(picture.cloud, packed(picture.colour), CAMERA, pose[:3, :3].T @ UP).transformed(pose)
    fronts = [i for i in range(len(faces)) if faces.rotation[i, 0, 2] < -0.9]
    lower = min(fronts, key=lambda i: np.linalg.norm(faces.centre[i] - [front_x_m, 0.0, 0.25]))
    assert faces.centre[lower, 2] + faces.size[lower, 1] / 2 == pytest.approx(0.5, abs=0.012)
    ledges = [i for i in range(len(faces)) if faces.rotation[i, 2, 2] > 0.9 and faces.centre[i, 2] < 0.6]
    for i in ledges:
        along = faces.rotation[i, :, :2]
        deep = int(np.argmax(np.abs(along[0])))
        # The side that looks into the trailer: nobody can tell how far the lower carton reaches below the upper one.
        assert faces.hidden[i, 2 * deep + int(along[0, deep] > 0.0)]
    assert ledges or set_back_m < 0.1


def test_a_face_tells_how_far_it_may_be_turned():
    """All faces of these walls look along the trailer's axes; low ones are turned most by what of their neighbours is taken in."""
    renderer, past = Renderer(), []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        load, pose = wall(rng, front_x_m=3.8), camera_pose(1.6)
        picture = renderer.render(load, pose, rng, 0.002, colour=True)
        faces = segment(picture.cloud, packed(picture.colour), CAMERA, pose[:3, :3].T @ UP).transformed(pose)
        turned_rad = np.arccos(np.abs(faces.rotation[:, :, 2]).max(axis=1).clip(0.0, 1.0))
        past += (turned_rad > 3.0 * faces.rotation_sigma).tolist()
    assert len(past) > 100
    assert np.mean(past) < 0.03


def test_nothing_is_found_in_an_empty_trailer():
    rng = np.random.default_rng(1)
    nothing = Load(
        np.array([[30.0, 0, 0]]), np.array([[0.1, 0.1, 0.1]]), np.eye(3)[None], np.array([1]), np.zeros((1, 3))
    )
    pose = camera_pose(4.5)
    picture = Renderer().render(nothing, pose, rng, 0.001)
    assert len(segment(picture.cloud, None, CAMERA, pose[:3, :3].T @ UP)) == 0


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="points"):
        lumper_faces.segment(np.zeros((4, 4), dtype=np.float32), (300, 300, 160, 120))
    with pytest.raises(ValueError, match="intrinsics"):
        lumper_faces.segment(np.ones((100, 100, 3), dtype=np.float32), (0, 300, 160, 120))
    with pytest.raises(ValueError, match="rgb"):
        lumper_faces.segment(
            np.ones((100, 100, 3), dtype=np.float32), (300, 300, 50, 50), np.zeros((3, 3), dtype=np.uint32)
        )


def test_a_cloud_of_nothing_gives_nothing():
    for value in (np.nan, 0.0, 1e6):
        found = lumper_faces.segment(np.full((120, 160, 3), value, dtype=np.float32), (150, 150, 80, 60))
        assert len(found["centre"]) == 0


def faces_of_box(size: np.ndarray, turn: np.ndarray, centre: np.ndarray, which: list[int]) -> Faces:
    """Exact faces of one box: 0 front (-x), 1 left (+y), 2 top (+z)."""
    frames = {0: (0, -1.0, 1, 2), 1: (1, 1.0, 0, 2), 2: (2, 1.0, 1, 0)}
    middle, rotation, extent = [], [], []
    for face in which:
        axis, sign, a, b = frames[face]
        z = turn[:, axis] * sign
        y = turn[:, b]
        middle.append(centre + z * size[axis] / 2)
        rotation.append(np.stack([np.cross(y, z), y, z], axis=1))
        extent.append([size[a], size[b]])
    n = len(which)
    nan, small = np.full(n, np.nan), np.full(n, 0.002)
    return Faces(
        np.array(middle),
        np.array(rotation),
        np.array(extent),
        nan,
        small,
        small,
        small,
        np.full(n, 0.9),
        nan,
        np.zeros((n, 4), dtype=bool),
    )


SIZES = st.tuples(*[st.floats(0.15, 0.6)] * 3)


@settings(deadline=None, max_examples=60)
@given(size=SIZES, yaw=st.floats(-0.6, 0.6), which=st.sampled_from([[0, 2], [0, 1], [0, 1, 2], [1, 2]]))
def test_faces_of_one_box_become_one_box(size, yaw, which):
    extent, turn = np.array(size), Rotation.from_rotvec([0.0, 0.0, yaw]).as_matrix()
    boxes = boxes_of(faces_of_box(extent, turn, np.array([4.0, 0.2, 1.0]), which))
    assert len(boxes) == 1
    assert boxes.seen[0].sum() == len(which)
    measured = boxes.offset[0, 3:] - boxes.offset[0, :3]
    assert np.isfinite(measured).all(), "two square faces tell all three sizes"
    assert np.allclose(np.sort(measured), np.sort(extent), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(size=SIZES, yaw=st.floats(-0.6, 0.6), share=st.floats(0.25, 0.75))
def test_an_end_that_another_face_reaches_beyond_is_no_end(size, yaw, share):
    """A side was parted where no edge is; the top goes on, to where something stands on it."""
    extent, turn = np.array(size), Rotation.from_rotvec([0.0, 0.0, yaw]).as_matrix()
    faces = faces_of_box(extent, turn, np.array([4.0, 0.2, 1.0]), [1, 2])
    faces.hidden[1, 3] = True
    cut = extent[0] * (1.0 - share)
    assume(cut > 0.04)
    faces.centre[0] -= turn[:, 0] * cut / 2.0
    faces.size[0, 0] -= cut
    boxes = boxes_of(faces)
    assert len(boxes) == 1
    assert boxes.offset[0, 3] - boxes.offset[0, 0] == pytest.approx(extent[0], abs=0.002)
    assert boxes.bound[0].tolist() == [False, False, False, True, False, False]


@settings(deadline=None, max_examples=40)
@given(size=SIZES, yaw=st.floats(-0.6, 0.6))
def test_one_face_leaves_the_depth_unknown(size, yaw):
    turn = Rotation.from_rotvec([0.0, 0.0, yaw]).as_matrix()
    boxes = boxes_of(faces_of_box(np.array(size), turn, np.array([4.0, 0.2, 1.0]), [0]))
    assert np.isfinite(boxes.offset[0]).sum() == 5


@settings(deadline=None, max_examples=60)
@given(
    size=SIZES,
    vector=st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    hidden=st.lists(st.booleans(), min_size=4, max_size=4),
    depth=st.one_of(st.just(np.nan), st.floats(0.1, 0.8)),
)
def test_a_face_alone_tells_its_depth_and_what_is_hidden(size, vector, hidden, depth):
    turn = rotations(np.array([vector]))[0]
    faces = replace(
        faces_of_box(np.array(size), turn, np.array([4.0, 0.2, 1.0]), [0]),
        hidden=np.array([hidden]),
        depth=np.array([depth]),
        size_sigma=np.array([0.004]),
    )
    boxes = boxes_of(faces)
    front = int(boxes.face[0])
    back = (front + 3) % 6
    assert boxes.seen[0].tolist() == (np.arange(6) == front).tolist()
    # Each side of the face, found by where it lies.
    for side, direction, half in ((0, -1.0, 0), (1, 1.0, 0), (2, -1.0, 1), (3, 1.0, 1)):
        outward = faces.rotation[0][:, half] * direction
        along = PLANE_SIGN * (boxes.rotation[0].T @ outward)[PLANE_AXIS]
        plane = int(np.argmax(along))
        end = boxes.anchor[0] @ outward + PLANE_SIGN[plane] * boxes.offset[0, plane]
        assert end == pytest.approx(faces.centre[0] @ outward + faces.size[0, half] / 2.0, abs=1e-9)
        assert boxes.bound[0, plane] == hidden[side]
        assert boxes.sigma[0, plane] == pytest.approx(np.hypot(0.002, 0.002))
    assert boxes.sigma[0, front] == pytest.approx(0.002) and not boxes.bound[0, [front, back]].any()
    told = abs(boxes.offset[0, back] - boxes.offset[0, front])
    assert np.isnan(depth) == np.isnan(told) and (np.isnan(depth) or told == pytest.approx(depth))


@settings(deadline=None, max_examples=60)
@given(vector=st.tuples(*[st.floats(-1.5, 1.5)] * 3))
def test_rotation_vectors_and_renamed_axes(vector):
    turn = rotations(np.array([vector]))
    assert np.allclose(turn[0], Rotation.from_rotvec(vector).as_matrix(), atol=1e-9)
    assert np.allclose(rotations(rotation_vectors(turn)), turn, atol=1e-7)
    boxes = boxes_of(faces_of_box(np.array([0.3, 0.4, 0.5]), turn[0], np.zeros(3), [0, 1, 2]))
    again = aligned(boxes, turn[0])
    assert np.linalg.norm(rotation_vectors(turn[0].T[None] @ again.rotation)[0]) < 1e-5
    assert np.allclose(again.offset[0, 3:] - again.offset[0, :3], [0.3, 0.4, 0.5], atol=1e-6)
