"""Joints of a URDF as transforms. Lengths in m, angles in rad; quaternions x, y, z, w.

Source of the conventions: the URDF joint specification (origin xyz and fixed-axis roll-pitch-yaw, axis in the joint's frame).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

FIXED = "fixed"
_TURNING = ("revolute", "continuous")
_SLIDING = ("prismatic",)


class UrdfError(ValueError):
    """The URDF cannot be used; the text names the joint and what is wrong."""


@dataclass(frozen=True, slots=True)
class Joint:
    """One joint. `mimic` = (name of the joint followed, multiplier, offset)."""

    name: str
    kind: str
    parent: str
    child: str
    translation_m: Vector
    rotation: Quaternion
    axis: Vector
    mimic: tuple[str, float, float] | None


def quaternion_of_rpy(roll_rad: float, pitch_rad: float, yaw_rad: float) -> Quaternion:
    """Rotation about the fixed axes x, then y, then z."""
    cr, sr = math.cos(roll_rad / 2), math.sin(roll_rad / 2)
    cp, sp = math.cos(pitch_rad / 2), math.sin(pitch_rad / 2)
    cy, sy = math.cos(yaw_rad / 2), math.sin(yaw_rad / 2)
    return (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )


def product(a: Quaternion, b: Quaternion) -> Quaternion:
    """The rotation `b` followed, in the outer frame, by `a`."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def rotate(q: Quaternion, v: Vector) -> Vector:
    """`v` rotated by `q`."""
    x, y, z, _ = product(product(q, (*v, 0.0)), (-q[0], -q[1], -q[2], q[3]))
    return x, y, z


def _numbers(text: str | None, default: Vector, what: str) -> Vector:
    if text is None:
        return default
    try:
        x, y, z = (float(word) for word in text.split())
    except ValueError as error:
        raise UrdfError(f"{what}={text!r} must be three numbers") from error
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise UrdfError(f"{what}={text!r} must be finite")
    return x, y, z


def _link(element: ElementTree.Element, tag: str, joint: str, links: set[str]) -> str:
    found = element.find(tag)
    name = "" if found is None else found.get("link", "")
    if name not in links:
        raise UrdfError(f"joint {joint}: <{tag} link={name!r}> names no link of this robot")
    return name


def _joint(element: ElementTree.Element, links: set[str]) -> Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    if not name:
        raise UrdfError("a joint has no name")
    if kind not in (FIXED, *_TURNING, *_SLIDING):
        raise UrdfError(f"joint {name}: type {kind!r} is not supported; use {', '.join((FIXED, *_TURNING, *_SLIDING))}")
    origin = element.find("origin")
    attributes: Mapping[str, str] = {} if origin is None else origin.attrib
    rpy = _numbers(attributes.get("rpy"), (0.0, 0.0, 0.0), f"joint {name}: origin rpy")
    axis_element = element.find("axis")
    axis = _numbers(
        None if axis_element is None else axis_element.get("xyz"), (1.0, 0.0, 0.0), f"joint {name}: axis xyz"
    )
    length = math.hypot(*axis)
    if length < 1e-9:
        raise UrdfError(f"joint {name}: axis xyz is zero")
    mimic = element.find("mimic")
    return Joint(
        name,
        kind,
        _link(element, "parent", name, links),
        _link(element, "child", name, links),
        _numbers(attributes.get("xyz"), (0.0, 0.0, 0.0), f"joint {name}: origin xyz"),
        quaternion_of_rpy(*rpy),
        (axis[0] / length, axis[1] / length, axis[2] / length),
        None
        if mimic is None
        else (mimic.get("joint", ""), float(mimic.get("multiplier", "1")), float(mimic.get("offset", "0"))),
    )


def parse(text: str) -> list[Joint]:
    """Joints of the URDF `text`, in its order.

    Raises:
        UrdfError: not XML, no robot, or a joint is incomplete, of another type, or contradicts another.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise UrdfError(f"robot_description is not well-formed XML: {error}") from error
    links = {link.get("name", "") for link in root.findall("link")}
    if root.tag != "robot" or not links:
        raise UrdfError(f"robot_description is no URDF: a <robot> with links is expected, found <{root.tag}>")
    joints = [_joint(element, links) for element in root.findall("joint")]
    names, children = [joint.name for joint in joints], [joint.child for joint in joints]
    for what, items in (("joint name", names), ("child link", children)):
        twice = sorted({item for item in items if items.count(item) > 1})
        if twice:
            raise UrdfError(f"{what} {', '.join(twice)} appears more than once")
    for joint in joints:
        if joint.mimic is not None and joint.mimic[0] not in names:
            raise UrdfError(f"joint {joint.name}: mimics {joint.mimic[0]!r}, which does not exist")
    return joints


def transform(joint: Joint, position: float) -> tuple[Vector, Quaternion]:
    """The child link's frame in the parent link's, at `position` (rad or m; no meaning for a fixed joint)."""
    if joint.kind in _TURNING:
        half = position / 2
        sine = math.sin(half)
        turn = (joint.axis[0] * sine, joint.axis[1] * sine, joint.axis[2] * sine, math.cos(half))
        return joint.translation_m, product(joint.rotation, turn)
    if joint.kind in _SLIDING:
        along = rotate(joint.rotation, joint.axis)
        x, y, z = (at + position * step for at, step in zip(joint.translation_m, along, strict=True))
        return (x, y, z), joint.rotation
    return joint.translation_m, joint.rotation


def positions_of(joints: list[Joint], measured: Mapping[str, float]) -> dict[str, float]:
    """Position of every movable joint that is measured or mimics a measured one."""
    found = {joint.name: measured[joint.name] for joint in joints if joint.kind != FIXED and joint.name in measured}
    for joint in joints:
        if joint.mimic is not None and joint.mimic[0] in measured:
            followed, multiplier, offset = joint.mimic
            found[joint.name] = multiplier * measured[followed] + offset
    return found
