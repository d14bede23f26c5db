"""Joint transforms of a URDF against Pinocchio, and every refusal."""

from pathlib import Path

import numpy as np
import pinocchio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lumper_bringup.urdf import FIXED, Joint, UrdfError, parse, positions_of, transform

ARM = Path(__file__).resolve().parents[3] / "config" / "robot" / "lumper_arm.urdf"


def placements(joints: list[Joint], measured: dict[str, float], root: str) -> dict[str, NDArray[np.float64]]:
    """4x4 of each link in the root link, by chaining our transforms."""
    positions = positions_of(joints, measured)
    frames = {root: np.eye(4)}
    rest = list(joints)
    while rest:
        joint = next(joint for joint in rest if joint.parent in frames)
        rest.remove(joint)
        xyz, xyzw = transform(joint, positions.get(joint.name, 0.0))
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = Rotation.from_quat(xyzw).as_matrix(), xyz
        frames[joint.child] = frames[joint.parent] @ local
    return frames


def agree(text: str, measured: dict[str, float]) -> None:
    joints = parse(text)
    (root,) = {joint.parent for joint in joints} - {joint.child for joint in joints}
    ours = placements(joints, measured, root)
    model = pinocchio.buildModelFromXML(text)
    data = model.createData()
    q = pinocchio.neutral(model)
    for name, value in measured.items():
        joint = model.joints[model.getJointId(name)]
        # Continuous joints are stored as cosine and sine.
        q[joint.idx_q : joint.idx_q + joint.nq] = [value] if joint.nq == 1 else [np.cos(value), np.sin(value)]
    pinocchio.framesForwardKinematics(model, data, q)
    for link, matrix in ours.items():
        theirs = data.oMf[model.getFrameId(link)].homogeneous
        assert np.abs(matrix - theirs).max() < 1e-9, link


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-3.0, 3.0), min_size=6, max_size=6))
def test_the_arm_agrees_with_pinocchio(angles: list[float]) -> None:
    agree(ARM.read_text(), {f"joint_{index + 1}": value for index, value in enumerate(angles)})


_NUMBER = st.floats(-3.0, 3.0).map(lambda value: round(value, 6))
_TRIPLE = st.tuples(_NUMBER, _NUMBER, _NUMBER)
_AXIS = _TRIPLE.filter(lambda axis: np.linalg.norm(axis) > 0.1)
_JOINT = st.tuples(st.sampled_from(["fixed", "revolute", "continuous", "prismatic"]), _TRIPLE, _TRIPLE, _AXIS, _NUMBER)


def words(values: tuple[float, ...]) -> str:
    return " ".join(repr(value) for value in values)


@settings(max_examples=100, deadline=None)
@given(st.lists(_JOINT, min_size=1, max_size=6), st.data())
def test_any_tree_agrees_with_pinocchio(
    joints: list[tuple[str, tuple[float, ...], tuple[float, ...], tuple[float, ...], float]], data: st.DataObject
) -> None:
    text = "".join(f'<link name="l{index}"/>' for index in range(len(joints) + 1))
    for index, (kind, xyz, rpy, axis, _) in enumerate(joints):
        parent = data.draw(st.integers(0, index))
        unit = tuple(np.asarray(axis) / np.linalg.norm(axis))
        text += (
            f'<joint name="j{index}" type="{kind}"><parent link="l{parent}"/><child link="l{index + 1}"/>'
            f'<origin xyz="{words(xyz)}" rpy="{words(rpy)}"/><axis xyz="{" ".join(f"{value:.17g}" for value in unit)}"/>'
            '<limit lower="-10" upper="10" effort="1" velocity="1"/></joint>'
        )
    agree(f'<robot name="r">{text}</robot>', {f"j{i}": q for i, (kind, *_, q) in enumerate(joints) if kind != FIXED})


def test_a_mimicking_joint_follows() -> None:
    text = """<robot name="r"><link name="a"/><link name="b"/><link name="c"/>
    <joint name="one" type="prismatic"><parent link="a"/><child link="b"/><axis xyz="0 0 2"/></joint>
    <joint name="two" type="prismatic"><parent link="a"/><child link="c"/><axis xyz="0 0 1"/>
    <mimic joint="one" multiplier="-2" offset="0.5"/></joint></robot>"""
    joints = parse(text)
    assert positions_of(joints, {"one": 0.25}) == {"one": 0.25, "two": 0.0}
    assert transform(joints[0], 0.25)[0] == pytest.approx((0.0, 0.0, 0.25))


LINKS = '<link name="a"/><link name="b"/>'
ENDS = '<parent link="a"/><child link="b"/>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not well-formed XML"),
        ("<robot/>", "is no URDF"),
        ("<sdf><link name='a'/></sdf>", "expected, found <sdf>"),
        (f'<robot>{LINKS}<joint type="fixed">{ENDS}</joint></robot>', "a joint has no name"),
        (f'<robot>{LINKS}<joint name="j" type="ball">{ENDS}</joint></robot>', "joint j: type 'ball' is not supported"),
        (f'<robot>{LINKS}<joint name="j" type="fixed"><parent link="a"/></joint></robot>', "joint j: <child link=''>"),
        (f'<robot>{LINKS}<joint name="j" type="fixed"><parent link="z"/><child link="b"/></joint></robot>', "<parent link='z'>"),
        (f'<robot>{LINKS}<joint name="j" type="fixed">{ENDS}<origin xyz="1 2"/></joint></robot>', "origin xyz='1 2' must be three"),
        (f'<robot>{LINKS}<joint name="j" type="fixed">{ENDS}<origin rpy="0 0 nan"/></joint></robot>', "must be finite"),
        (f'<robot>{LINKS}<joint name="j" type="revolute">{ENDS}<axis xyz="0 0 0"/></joint></robot>', "axis xyz is zero"),
        (f'<robot>{LINKS}<joint name="j" type="fixed">{ENDS}</joint><joint name="j" type="fixed">{ENDS}</joint></robot>', "joint name j appears"),
        (f'<robot>{LINKS}<joint name="j" type="fixed">{ENDS}</joint><joint name="k" type="fixed">{ENDS}</joint></robot>', "child link b appears"),
        (f'<robot>{LINKS}<joint name="j" type="revolute">{ENDS}<mimic joint="z"/></joint></robot>', "mimics 'z'"),
    ],
)  # fmt: skip
def test_refusals_name_the_joint(text: str, message: str) -> None:
    with pytest.raises(UrdfError, match=message):
        parse(text)
