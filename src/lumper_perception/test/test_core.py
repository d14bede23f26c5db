"""The intake from its messages: what the wall says while cartons are seen, hidden, taken, fall and run out."""

import numpy as np
import pytest
from lumper_msgs.msg import BrokerState, Carton, CartonDetection, Wall
from perception_scenes import CAMERA, LENGTH_M, Load, camera_pose, detect, wall
from scipy.spatial.transform import Rotation
from seen_world import PICK, PLACE, RENDERER, World, fall, one_row, shift

from lumper_perception.boxes import Faces
from lumper_perception.cloudfaces import segment
from lumper_perception.evidence import behind_robot
from lumper_perception.track import Assumed, stacked
from lumper_perception.view import Capsules, View
from lumper_ros.convert import to_point, to_time, vector
from lumper_ros.core import Severity


def test_cartons_are_found_with_pose_size_and_ids(world):
    world.see(5)
    shown = world.rig.wall
    assert shown.status == Wall.STATUS_OK
    assert len(shown.cartons) == len(world.load.centre)
    assert sorted(c.id for c in shown.cartons) == list(range(1, len(shown.cartons) + 1))
    for carton in shown.cartons:
        i = world.index_of(carton)
        assert carton.pose.position.y == pytest.approx(world.load.centre[i, 1], abs=0.01)
        assert carton.pose.position.z == pytest.approx(world.load.centre[i, 2], abs=0.015)
        front = carton.pose.position.x - carton.size_m.x / 2
        assert front == pytest.approx(world.load.centre[i, 0] - world.load.size[i, 0] / 2, abs=0.01)
        if not carton.size_unknown & Carton.AXIS_X:
            assert carton.size_m.x == pytest.approx(world.load.size[i, 0], abs=0.02)


def test_version_rests_while_nothing_changes(world):
    world.see(6)
    version = world.rig.wall.version
    published = len(world.rig.walls)
    world.see(30)
    assert world.rig.wall.version == version
    assert len(world.rig.walls) > published, "an unchanged wall is still published"


@pytest.mark.parametrize("seed", [3, 4])
def test_faces_that_are_missed_now_and_then_give_no_carton_a_second_id(rig, seed):
    world = World(rig().start(), wall(np.random.default_rng(seed), front_x_m=4.0), seed)
    rig = world.rig
    for _ in range(150):
        rig.step(0.1)
        rig.send("detections", detect(world.load, world.picture(), rig.time_s, world.rng, sigma_m=0.006, dropout=0.1))
    cartons = rig.wall.cartons
    owners = [world.index_of(carton) for carton in cartons]
    assert len(set(owners)) == len(owners), f"seed {seed}: two ids on one carton"
    assert max(carton.id for carton in cartons) <= len(cartons) + 1, f"seed {seed}: ids came and went"
    assert not [event for event in rig.events if event.code == "perception.moved_untouched"]


def test_hidden_by_the_arm_is_not_gone(world):
    world.see(4)
    rig = world.rig
    before = sorted(c.id for c in rig.wall.cartons)
    # The arm reaches for the load; the cartons behind it, as the camera sees it, are not reported any more.
    rig.joints = np.array([-0.2, 0.9, 0.9, 0.0, -0.3, 0.0])
    rig.step()
    pose = np.eye(4)
    pose[0, 3] = rig.base_x
    from lumper_perception.arm import ArmHistory
    from lumper_perception.view import View

    arm = ArmHistory(rig.robot)
    from sensor_msgs.msg import JointState

    state = JointState(name=list(rig.robot.joint_names), position=rig.joints.tolist())
    state.header.stamp = to_time(rig.time_s)
    arm.add(state)
    capsules, _ = arm.at(rig.time_s, pose)
    view = View(camera_pose(rig.base_x), rig.core._intrinsics("camera_optical_frame"), capsules)
    fronts = world.load.centre - np.array([0.5, 0, 0]) * world.load.size
    hidden_keys = [int(k) for k in world.load.key[view.behind_arm(fronts)]]
    assert 1 <= len(hidden_keys) < len(world.load.key)
    hidden_ids = [world.id_of(k) for k in hidden_keys]
    full = world.load
    for _ in range(20):
        rig.step()
        picture = world.picture()
        keep = np.isin(np.arange(len(full.key)), np.flatnonzero(~np.isin(full.key, hidden_keys)))
        masked = np.where((picture.box >= 0) & ~keep[np.clip(picture.box, 0, None)], -1, picture.box)
        message = detect(
            full,
            type(picture)(picture.cloud, picture.colour, masked, picture.plane, picture.pose),
            rig.time_s,
            world.rng,
        )
        assert message.detections
        rig.send("detections", message)
    states = {c.id: c.state for c in rig.wall.cartons}
    assert sorted(states) == before
    for carton_id in hidden_ids:
        assert states[carton_id] in (Carton.STATE_HIDDEN, Carton.STATE_UNCERTAIN)
    assert sum(states[i] == Carton.STATE_HIDDEN for i in hidden_ids) >= 1


def test_not_seen_though_in_clear_view_is_gone(world):
    world.see(4)
    key = int(world.load.key[np.argmax(world.load.centre[:, 2])])
    carton_id = world.id_of(key)
    world.load = world.load.without(key)
    world.see(6)
    assert carton_id not in [c.id for c in world.rig.wall.cartons]
    assert any(carton_id in w.removed_ids for w in world.rig.walls)


def test_collapse_is_reported_within_two_pictures(world):
    world.see(6)
    key = int(world.load.key[np.argmax(world.load.centre[:, 2])])
    carton_id = world.id_of(key)
    fall(world, key)
    world.see(2)
    assert carton_id in world.rig.wall.moved_ids
    assert any(e.code == "perception.moved_untouched" for e in world.rig.events)
    world.see(6)
    lying = next(c for c in world.rig.wall.cartons if c.id == carton_id)
    assert lying.state == Carton.STATE_ON_FLOOR
    assert lying.pose.position.x == pytest.approx(3.5, abs=0.08)


def test_small_shift_is_reported_as_movement(world):
    world.see(6)
    key = int(world.load.key[np.argmax(world.load.centre[:, 2])])
    carton_id = world.id_of(key)
    world.load.centre[world.load.key == key] += [-0.07, 0.0, 0.0]
    world.see(2)
    assert carton_id in world.rig.wall.moved_ids


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("turn_rad", [-0.7, -0.47, -0.3, 0.15, 0.47, 0.6])
def test_a_carton_that_turned_is_reported_within_two_pictures_and_stays_one(rig, seed: int, turn_rad: float):
    world = World(rig().start(), one_row(seed))
    world.see(8)
    key = int(world.load.key[np.argmax(world.load.centre[:, 2])])
    carton_id, i = world.id_of(key), int(np.flatnonzero(world.load.key == key)[0])
    world.load.rotation[i] = Rotation.from_euler("z", turn_rad).as_matrix()
    world.load.centre[i, 0] -= 0.08
    world.see(2)
    assert carton_id in world.rig.wall.moved_ids, f"seed {seed}"
    world.see(6)
    near = [c for c in world.rig.wall.cartons if world.index_of(c) == i]
    assert [carton.id for carton in near] == [carton_id], f"seed {seed}: what turned is the carton known, not another"
    half = np.array([near[0].pose.orientation.w, near[0].pose.orientation.z])
    assert 2.0 * np.arctan2(half[1], half[0]) == pytest.approx(turn_rad, abs=0.03)
    assert sum(event.code == "perception.moved_untouched" for event in world.rig.events) == 1, "told once"


@pytest.mark.parametrize(("clouds_come", "stands"), [(True, True), (True, False), (False, True)])
def test_a_box_cut_out_elsewhere_in_its_plane_has_moved_only_where_a_cloud_looks_through_its_place(
    rig, clouds_come: bool, stands: bool
):
    """A detector that reads a face with a hidden end 0.12 m aside; in the cloud it stands where it stood, or is gone from there."""
    world = World(rig().start(), one_row())
    row = int(np.argmax(world.load.centre[:, 2]))
    key, front = int(world.load.key[row]), world.load.centre[row] - [world.load.size[row, 0] / 2.0, 0.0, 0.0]
    aside = -1.0 if front[1] > 0.0 else 1.0

    def see(times: int, by_m: float) -> None:
        for _ in range(times):
            world.rig.step(0.1)
            if clouds_come:
                world.rig.send("points", world.cloud())
            pose = camera_pose(world.rig.base_x)
            message = detect(whole, RENDERER.render(whole, pose, world.rng), world.rig.time_s, world.rng)
            place = np.linalg.inv(pose) @ [*front, 1.0]
            mine = min(
                message.detections,
                key=lambda item: np.linalg.norm(vector(item.face_pose.position) - place[:3]),
            )
            at = vector(mine.face_pose.position) + by_m * aside * pose[:3, :3].T @ [0.0, 1.0, 0.0]
            mine.face_pose.position = to_point(at)
            mine.hidden_sides = CartonDetection.SIDE_RIGHT if aside > 0.0 else CartonDetection.SIDE_LEFT
            world.rig.send("detections", message)

    whole = world.load
    see(10, 0.0)
    carton_id = world.id_of(key)
    if not stands:
        world.load = world.load.without(key)
    see(8, 0.12)
    moved = any(carton_id in wall.moved_ids for wall in world.rig.walls)
    assert moved is not (clouds_come and stands)


def test_what_is_said_to_stand_in_a_carton_that_is_seen_is_forgotten(rig):
    """Read once as narrow and high, then as what it is: the cloud shows a face at half of the wrong one all the time."""
    true = one_row(seed=5)
    top = int(np.argmax(true.centre[:, 2]))
    wrong = Load(*(each.copy() for each in (true.centre, true.size, true.rotation, true.key, true.shade)))
    depth, width, height = true.size[top]
    wrong.size[top] = [depth, 0.52 * width, 2.0 * height]
    wrong.centre[top] += [0.0, -0.24 * width, height / 2.0]
    wrong.key[top] = 999
    world = World(rig(wall_max_age_s=60.0).start(), wrong)

    def see(times: int) -> None:
        for _ in range(times):
            world.see(1)
            world.rig.send("points", world.cloud())

    see(8)
    ghost = world.id_of(999)
    world.load = true
    see(60)
    assert ghost not in {carton.id for carton in world.rig.wall.cartons}
    assert len(world.rig.wall.cartons) == len(true.key)
    assert world.id_of(int(true.key[top])) != ghost


def test_only_pictures_that_agree_make_a_carton(rig):
    world = World(rig().start(), one_row())
    only = int(world.load.key[0])
    world.load = world.load.without(*(int(key) for key in world.load.key if key != only))
    for _ in range(6):
        world.see(1)
        shift(world, only, [0.0, 0.0, 0.12])
        world.see(1)
        shift(world, only, [0.0, 0.0, -0.12])
    assert not world.rig.walls or not world.rig.wall.cartons, "a face that jumps is no carton"
    world.see(3)
    assert len(world.rig.wall.cartons) == 1


def test_a_carton_hardly_seen_yet_has_not_collapsed_when_it_is_read_elsewhere(world):
    world.see(3)
    shift(world, int(world.load.key[np.argmax(world.load.centre[:, 2])]), [-0.07, 0.0, 0.0])
    world.see(6)
    assert not [event for event in world.rig.events if event.code == "perception.moved_untouched"]


def test_empty_is_asserted_from_floor_and_back_wall(rig):
    load = Load(
        np.array([[6.7, 0.2, 0.15]]), np.array([[0.4, 0.5, 0.3]]), np.eye(3)[None], np.array([1]), np.zeros((1, 3))
    )
    r = rig()
    r.base_x = 4.2
    world = World(r.start(), load)
    world.see(3)
    r.send("points", world.cloud())
    assert r.wall.status == Wall.STATUS_OK and len(r.wall.cartons) == 1
    r.broker(held=[r.wall.cartons[0].id], kind=PICK, stage=BrokerState.STAGE_EXTRACT, state=BrokerState.EXECUTING)
    world.load = Load(
        np.array([[20.0, 0.0, 0.0]]), np.array([[0.1, 0.1, 0.1]]), np.eye(3)[None], np.array([2]), np.zeros((1, 3))
    )
    world.see(2)
    r.broker(kind=PLACE, stage=BrokerState.STAGE_RETREAT, state=BrokerState.EXECUTING)
    taken_s = r.time_s
    while r.wall.status != Wall.STATUS_EMPTY and r.time_s < taken_s + 5.0:
        world.see(1)
        r.send("points", world.cloud())
    assert r.wall.status == Wall.STATUS_EMPTY, r.wall.text
    assert r.time_s - taken_s < 2.0
    assert r.wall.back_wall_x_m == pytest.approx(LENGTH_M, abs=0.05)


def test_a_small_carton_that_left_its_corner_is_gone(rig):
    """Floor and walls are seen so near behind where it stood that depth alone does not tell."""
    r = rig()
    r.base_x = 4.6
    corner = Load(np.array([[6.942, 1.14, 0.0725]]), np.array([[0.116, 0.2, 0.145]]), np.eye(3)[None], np.array([1]))
    world = World(r.start(), corner)
    for _ in range(8):
        world.see(1)
        r.send("points", world.cloud())
    assert len(r.wall.cartons) == 1 and r.wall.cartons[0].state == Carton.STATE_SEEN
    world.load = Load(np.array([[20.0, 0, 0]]), np.array([[0.1, 0.1, 0.1]]), np.eye(3)[None], np.array([2]))
    for _ in range(20):
        world.see(1)
        r.send("points", world.cloud())
    assert not r.wall.cartons


def test_an_empty_trailer_is_seen_in_clouds_alone(rig):
    """No face is found in any picture."""
    r = rig(segment, detector="cloud")
    r.base_x = 4.2
    nothing = Load(
        np.array([[20.0, 0, 0]]), np.array([[0.1, 0.1, 0.1]]), np.eye(3)[None], np.array([2]), np.zeros((1, 3))
    )
    world = World(r.start(), nothing)
    for _ in range(12):
        r.step()
        r.send("points", world.cloud())
    assert r.wall.status == Wall.STATUS_EMPTY, r.wall.text
    assert not [e for e in r.events if e.severity.value >= Severity.ERROR.value]


def test_no_detections_alone_do_not_make_a_trailer_empty(rig):
    r = rig()
    r.base_x = 4.2
    nothing = Load(
        np.array([[20.0, 0, 0]]), np.array([[0.1, 0.1, 0.1]]), np.eye(3)[None], np.array([2]), np.zeros((1, 3))
    )
    world = World(r.start(), nothing)
    world.see(10)
    assert r.wall.status == Wall.STATUS_OK and not r.wall.cartons
    assert "without clouds" in r.wall.text


def test_unseen_load_keeps_the_trailer_from_being_empty(rig):
    r = rig()
    r.base_x = 4.2
    load = Load(
        np.array([[6.5, 0.3, 0.1]]), np.array([[0.3, 0.3, 0.2]]), np.eye(3)[None], np.array([1]), np.zeros((1, 3))
    )
    world = World(r.start(), load)
    for _ in range(20):
        r.step()
        message = detect(load, world.picture(), r.time_s, world.rng, least_share=2.0)
        assert not message.detections
        r.send("detections", message)
        r.send("points", world.cloud())
    assert r.wall.status == Wall.STATUS_OK
    assert "not proved empty" in r.wall.text


def test_wall_ages_visibly_when_pictures_stop(world):
    world.see(4)
    for _ in range(15):
        world.rig.step(0.2)
        world.rig.tick()
    assert world.rig.wall.status == Wall.STATUS_STALE
    assert world.rig.wall.age_s > 2.0
    assert len(world.rig.wall.cartons) == len(world.load.key), "aged, not forgotten"
    assert world.rig.diagnoses["wall"].level == 3


def test_ids_and_versions_do_not_come_again_after_a_restart(world, rig):
    world.see(4)
    record = [p for p in world.rig.persisted if p.kind == "wall"][-1].record
    again = rig()
    again.take(again.core.restore({"wall": {"reserved": record}}, again.now))
    second = World(again.start(), world.load)
    second.see(4)
    assert not {c.id for c in again.wall.cartons} & {c.id for c in world.rig.wall.cartons}
    assert again.wall.version > world.rig.wall.version


def test_new_cartons_behind_get_new_ids(rig):
    world = World(rig().start(), wall(np.random.default_rng(5), front_x_m=4.0, rows=2, top_m=1.2))
    world.see(4)
    known = {c.id for c in world.rig.wall.cartons}
    front = [int(k) for k, c in zip(world.load.key, world.load.centre, strict=True) if c[0] < 4.5]
    for key in front:
        carton_id = world.id_of(key)
        world.rig.broker(held=[carton_id], kind=PICK, stage=BrokerState.STAGE_EXTRACT, state=BrokerState.EXECUTING)
        world.load = world.load.without(key)
        world.see(1)
        world.rig.broker(kind=PLACE, stage=BrokerState.STAGE_RETREAT, state=BrokerState.EXECUTING)
        world.see(2)
    world.see(3)
    now = {c.id for c in world.rig.wall.cartons}
    assert len(now) == len(world.load.key)
    assert now - known
    assert not [e for e in world.rig.events if e.code == "perception.moved_untouched"]


def test_a_face_parted_otherwise_for_a_few_pictures_has_not_moved(rig):
    rig = rig().start()
    load = Load(np.array([[4.0, 0.0, 0.25]]), np.array([[0.4, 0.5, 0.5]]), np.eye(3)[None], np.array([1]))
    world = World(rig, load)
    world.see(8)
    before = rig.wall.cartons[0]
    # The right fifth of its front is read as another's; its plane stays where it is.
    world.load = Load(np.array([[4.0, 0.05, 0.25]]), np.array([[0.4, 0.4, 0.5]]), np.eye(3)[None], np.array([1]))
    world.see(4)
    assert not any(wall.moved_ids for wall in rig.walls)
    kept = next(c for c in rig.wall.cartons if c.id == before.id)
    assert kept.size_m.y == pytest.approx(before.size_m.y, abs=0.02)


def test_sides_beside_the_arm_are_bounds():
    none = np.zeros((0, 3))
    nothing = stacked([], Assumed(0.35))
    arm = Capsules(np.array([[3.0, 0.28, 0.0]]), np.array([[3.0, 0.28, 3.0]]), np.array([0.05]))
    view = View(camera_pose(2.0), CAMERA, arm)
    # A front that looks back at the camera; the arm stands upright in the line of sight to its edge towards +y.
    face = Faces(
        np.array([[4.0, 0.15, 1.2]]),
        np.array([[[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]),
        np.array([[0.5, 0.4]]),
        *(np.full(1, 0.1) for _ in range(6)),
        np.zeros((1, 4), dtype=bool),
    )
    assert behind_robot(face, View(camera_pose(2.0), CAMERA, Capsules(none, none, np.zeros(0))), nothing).sum() == 0
    cut = behind_robot(face, view, nothing)[0]
    assert cut[0] and not cut[1]
