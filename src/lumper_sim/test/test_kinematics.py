"""URDF, OPW parameters, arm.yaml and the physics model describe the same arm."""

from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
import py_opw_kinematics as opw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lumper_ros.robot import Robot, Trailer, load_robot
from lumper_sim.loads import CartonSpec
from lumper_sim.model import build

ROBOT = load_robot(Path(__file__).parents[3] / "config" / "robot")
JOINTS = st.tuples(*(st.floats(lo, hi) for lo, hi in zip(ROBOT.lower_rad, ROBOT.upper_rad, strict=True)))
_O = ROBOT.opw
SOLVER = opw.Robot(opw.KinematicModel(_O.a1, _O.a2, _O.b, _O.c1, _O.c2, _O.c3, _O.c4), degrees=False)


@pytest.fixture(scope="module")
def scene(robot: Robot, trailer: Trailer) -> "tuple[mujoco.MjModel, mujoco.MjData, object]":
    model, index = build(robot, trailer, [CartonSpec((0.3, 0.3, 0.3), 5.0, 0.5, (6.0, 0.0, 0.15))], 0.0)
    return model, mujoco.MjData(model), index


@given(JOINTS)
def test_urdf_and_opw_agree(position: tuple[float, ...]) -> None:
    by_urdf = ROBOT.link_transforms(position)["tool0"]
    flange = SOLVER.forward(position).as_matrix()
    by_opw = ROBOT.mounts["arm_base"].matrix() @ flange @ ROBOT.flange_to_tool
    np.testing.assert_allclose(by_urdf, by_opw, atol=1e-9)


@given(JOINTS)
def test_urdf_and_physics_agree(scene: tuple, position: tuple[float, ...]) -> None:
    model, data, index = scene
    data.qpos[index.arm_qpos] = position
    mujoco.mj_kinematics(model, data)
    links = ROBOT.link_transforms(position)
    for name in (*ROBOT.raw["link_names"],):
        body = model.body(name).id
        np.testing.assert_allclose(data.xpos[body], links[name][:3, 3], atol=1e-9)
        np.testing.assert_allclose(data.xmat[body].reshape(3, 3), links[name][:3, :3], atol=1e-9)


def test_mounts_in_yaml_and_urdf_agree(robot: Robot) -> None:
    links = robot.link_transforms(np.zeros(6))
    for name, mount in robot.mounts.items():
        np.testing.assert_allclose(links[name], links[mount.parent] @ mount.matrix(), atol=1e-9)


def test_limits_in_yaml_and_urdf_agree(robot: Robot) -> None:
    root = ElementTree.fromstring(robot.urdf)
    for j, name in enumerate(robot.joint_names):
        limit = root.find(f"joint[@name='{name}']/limit")
        assert limit is not None
        assert float(limit.get("lower", "nan")) == pytest.approx(robot.lower_rad[j])
        assert float(limit.get("upper", "nan")) == pytest.approx(robot.upper_rad[j])
        assert float(limit.get("velocity", "nan")) == pytest.approx(robot.max_speed_radps[j])


def test_capsules_in_yaml_and_urdf_agree(robot: Robot) -> None:
    root = ElementTree.fromstring(robot.urdf)
    for capsule in robot.capsules:
        if capsule.link == "tool0":
            continue
        spheres = [
            [float(v) for v in c.find("origin").get("xyz").split()]  # type: ignore[union-attr]
            for c in root.findall(f"link[@name='{capsule.link}']/collision")
            if c.find("geometry/sphere") is not None
        ]
        for end in (capsule.a, capsule.b):
            assert any(np.allclose(end, s, atol=1e-9) for s in spheres), (capsule.link, end)


def test_camera_looks_into_the_trailer_and_down(robot: Robot) -> None:
    optical = robot.mounts["camera_optical_frame"].matrix()
    np.testing.assert_allclose(optical[:3, 2], [np.cos(np.radians(22)), 0, -np.sin(np.radians(22))], atol=1e-9)
    np.testing.assert_allclose(optical[:3, 0], [0, -1, 0], atol=1e-9)


def test_scan_pose_leaves_the_camera_s_view_of_the_load_free(robot: Robot) -> None:
    """No capsule of the arm hides any point of the load's front, 1.9 m ahead."""
    a, b, radius = robot.capsules_at(robot.poses["scan"])
    arm = np.array([c.link not in ("base_link",) for c in robot.capsules])
    eye = robot.mounts["camera_optical_frame"].matrix()[:3, 3]
    for y in np.linspace(-1.25, 1.25, 26):
        for z in np.linspace(0.0, 2.3, 24):
            line = np.linspace(eye, [1.9, y, z], 60)
            t = np.clip(
                np.einsum("pni,ni->pn", line[:, None] - a[arm], (b - a)[arm])
                / np.maximum(((b - a)[arm] ** 2).sum(1), 1e-9),
                0,
                1,
            )
            gap = np.linalg.norm(line[:, None] - (a[arm] + t[..., None] * (b - a)[arm]), axis=2) - radius[arm]
            assert gap.min() > 0.0, (y, z)


def test_flange_to_tool_names_axes_as_documented(robot: Robot) -> None:
    """Joints 4 and 6 at zero, tool along the trailer: x left, y up, z ahead."""
    tool = robot.link_transforms([0.0, 0.0, np.pi / 2, 0.0, 0.0, 0.0])["tool0"][:3, :3]
    np.testing.assert_allclose(tool, Rotation.from_matrix([[0, 0, 1], [1, 0, 0], [0, 1, 0]]).as_matrix(), atol=1e-9)
