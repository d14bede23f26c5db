"""The robot as data: reads config/robot/arm.yaml and the URDF beside it. Another arm is another pair of files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml
from numpy.typing import NDArray
from transforms3d.euler import euler2mat
from transforms3d.quaternions import quat2mat

Array = NDArray[np.float64]


class RobotError(ValueError):
    """The robot's files are incomplete or contradict each other; the text names file and field."""


@dataclass(frozen=True, slots=True)
class Opw:
    """Ortho-parallel basis with spherical wrist (Brandstoetter et al. 2014); lengths in m."""

    a1: float
    a2: float
    b: float
    c1: float
    c2: float
    c3: float
    c4: float
    offsets_rad: tuple[float, ...]
    signs: tuple[int, ...]

    def model(self) -> dict[str, Any]:
        """Arguments of py_opw_kinematics.KinematicModel."""
        lengths = {name: getattr(self, name) for name in ("a1", "a2", "b", "c1", "c2", "c3", "c4")}
        return lengths | {"offsets": self.offsets_rad, "flip_axes": tuple(sign < 0 for sign in self.signs)}


@dataclass(frozen=True, slots=True)
class Capsule:
    """Segment a-b (m, in the link's frame) with a radius."""

    link: str
    a: tuple[float, float, float]
    b: tuple[float, float, float]
    radius_m: float


@dataclass(frozen=True, slots=True)
class Zone:
    """A suction zone: centre and size in tool0 x, y; force it holds at full vacuum."""

    bit: int
    x_m: float
    y_m: float
    w_m: float
    h_m: float
    holding_n: float


@dataclass(frozen=True, slots=True)
class Gripper:
    pad_width_m: float
    pad_height_m: float
    pad_depth_m: float
    zones: tuple[Zone, ...]
    vacuum_kpa: float
    part_present_kpa: float
    seal_fraction: float
    cup_stroke_m: float
    shear_fraction: float
    build_up_s: float
    release_s: float


@dataclass(frozen=True, slots=True)
class Mount:
    """A frame fixed to `parent`; rpy about fixed axes."""

    parent: str
    xyz: tuple[float, float, float]
    rpy: tuple[float, float, float]

    def matrix(self) -> Array:
        result = np.eye(4)
        result[:3, :3] = euler2mat(*self.rpy)
        result[:3, 3] = self.xyz
        return result


@dataclass(frozen=True, slots=True)
class Conveyor:
    """Belt, fixed to the base; m in base_link."""

    surface_z_m: float
    center_y_m: float
    width_m: float
    front_x_m: float
    end_x_m: float
    thickness_m: float
    speed_mps: float


@dataclass(frozen=True, slots=True)
class Joint:
    """One joint of the URDF; axis in the joint's frame, all zeros for a fixed joint."""

    name: str
    parent: str
    child: str
    origin: Array
    axis: tuple[float, float, float]


@dataclass(frozen=True)
class Robot:
    """Arm, gripper, mounts and limits. Joint arrays are ordered as `joint_names`."""

    name: str
    joint_names: tuple[str, ...]
    lower_rad: Array
    upper_rad: Array
    max_speed_radps: Array
    max_accel_radps2: Array
    max_jerk_radps3: Array
    payload_kg: float
    tool_mass_kg: float
    derating_mass_kg: Array
    derating_scale: Array
    opw: Opw
    flange_to_tool: Array
    capsules: tuple[Capsule, ...]
    gripper: Gripper
    poses: Mapping[str, Array]
    mounts: Mapping[str, Mount]
    conveyor: Conveyor
    stopping_speed_fraction: Array
    stopping_mass_kg: Array
    stopping_time_s: Array
    joints: tuple[Joint, ...]
    urdf: str
    raw: Mapping[str, Any] = field(repr=False)

    def accel_limit(self, mass_kg: float) -> Array:
        """(n,) rad/s^2 allowed while carrying `mass_kg`."""
        return self.max_accel_radps2 * float(np.interp(mass_kg, self.derating_mass_kg, self.derating_scale))

    def stopping_time(self, speed_fraction: float, mass_kg: float) -> float:
        """Seconds to standstill from a speed, as a fraction of the joint limits, with a load."""
        by_mass = [np.interp(speed_fraction, self.stopping_speed_fraction, row) for row in self.stopping_time_s]
        return float(np.interp(mass_kg, self.stopping_mass_kg, by_mass))

    @cached_property
    def chain(self) -> "Chain":
        """Where every link is, for many joint positions at once."""
        return Chain(self)

    def link_transforms(self, position_rad: Any) -> dict[str, Array]:
        """4x4 of every link's frame in base_link at joint position (n,)."""
        return dict(zip(self.chain.links, self.chain.frames(position_rad), strict=True))

    def capsules_at(self, position_rad: Any) -> tuple[Array, Array, Array]:
        """Capsules in base_link at a joint position: ends a (k, 3), ends b (k, 3), radii (k,)."""
        ends = self.chain.capsule_ends(self.chain.frames(position_rad))
        return ends[:, :, 0], ends[:, :, 1], self.chain.radii

    def arm_at(self, positions_rad: Array) -> tuple[Array, Array, Array]:
        """Capsules and tool in base_link at joint positions (m, n), each as at one: ends a (m, k, 3), ends b (m, k, 3),
        tool0 (m, 4, 4)."""
        frames = self.chain.frames(positions_rad)
        ends = self.chain.capsule_ends(frames)
        return ends[..., 0], ends[..., 1], frames[:, self.chain.links.index("tool0")]

    @property
    def capsule_radii(self) -> Array:
        """(k,) m, in the order of `capsules`."""
        return self.chain.radii


class Chain:
    """The arm's links as arrays. A joint's transform is `fixed + sin * with_sin + cos * with_cos` (Rodrigues' formula)."""

    def __init__(self, robot: Robot) -> None:
        order = {name: i for i, name in enumerate(robot.joint_names)}
        self.links = ("base_link", *(joint.child for joint in robot.joints))
        index = {name: i for i, name in enumerate(self.links)}
        # What stands still with the base is known once and for all; of the rest `_rest` holds the joint's own transform.
        self._rest = np.tile(np.eye(4), (len(self.links), 1, 1))
        self._steps: list[tuple[int, int, int | None]] = []  # link, its parent, its row among the joints that turn
        still, joints = {0}, list[int]()
        turned: list[tuple[Array, Array, Array]] = []
        for row, joint in enumerate(robot.joints, start=1):
            parent, place = index[joint.parent], order.get(joint.name)
            if place is None and parent in still:
                still.add(row)
                self._rest[row] = self._rest[parent] @ joint.origin
                continue
            self._steps.append((row, parent, None if place is None else len(joints)))
            self._rest[row] = joint.origin
            if place is None:
                continue
            x, y, z = joint.axis
            along, across, cross = np.eye(4), np.zeros((4, 4)), np.zeros((4, 4))
            along[:3, :3] = np.outer(joint.axis, joint.axis)
            across[:3, :3] = np.eye(3) - along[:3, :3]
            cross[:3, :3] = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]
            joints.append(place)
            turned.append((joint.origin @ along, joint.origin @ cross, joint.origin @ across))
        self._joints = np.array(joints, dtype=np.intp)
        self._turned = np.array(turned).reshape(-1, 3, 4, 4).transpose(1, 0, 2, 3).copy()
        self._capsule_links = np.array([index[capsule.link] for capsule in robot.capsules], dtype=np.intp)
        self._capsule_ends = np.ones((len(robot.capsules), 4, 2))
        for row, capsule in enumerate(robot.capsules):
            self._capsule_ends[row, :3, 0], self._capsule_ends[row, :3, 1] = capsule.a, capsule.b
        self.radii = np.array([capsule.radius_m for capsule in robot.capsules])

    def frames(self, position_rad: Any) -> Array:
        """(links, 4, 4) in base_link, in the order of `links`, at position (n,); (m, links, 4, 4) at positions (m, n)."""
        angles = np.asarray(position_rad, dtype=float)[..., self._joints, None, None]
        local = self._turned[0] + np.sin(angles) * self._turned[1] + np.cos(angles) * self._turned[2]
        result = np.empty((*angles.shape[:-3], *self._rest.shape))
        result[...] = self._rest
        for row, parent, moved in self._steps:
            joint = self._rest[row] if moved is None else local[..., moved, :, :]
            np.matmul(result[..., parent, :, :], joint, out=result[..., row, :, :])
        return result

    def capsule_ends(self, frames: Array) -> Array:
        """(..., k, 3, 2) both ends of every capsule in base_link, with the links' frames (..., links, 4, 4)."""
        ends: Array = frames[..., self._capsule_links, :3, :] @ self._capsule_ends
        return ends


def _floats(text: str) -> tuple[float, float, float]:
    x, y, z = (float(word) for word in text.split())
    return x, y, z


def parse_joints(urdf: str) -> tuple[Joint, ...]:
    """Joints of a URDF, parents before children, from base_link on.

    Raises:
        RobotError: not XML, a joint lacks parent or child, or is of a type other than fixed, revolute and continuous.
    """
    try:
        root = ElementTree.fromstring(urdf)
    except ElementTree.ParseError as error:
        raise RobotError(f"robot description is not XML: {error}") from error
    joints = []
    for element in root.findall("joint"):
        name, kind = element.get("name", ""), element.get("type", "")
        parent, child = element.find("parent"), element.find("child")
        if parent is None or child is None or kind not in ("fixed", "revolute", "continuous"):
            raise RobotError(
                f"joint {name!r} of type {kind!r}: needs parent and child, and must be fixed, revolute or continuous"
            )
        origin, axis = element.find("origin"), element.find("axis")
        mount = Mount(
            "",
            _floats(origin.get("xyz", "0 0 0")) if origin is not None else (0.0, 0.0, 0.0),
            _floats(origin.get("rpy", "0 0 0")) if origin is not None else (0.0, 0.0, 0.0),
        )
        direction = (0.0, 0.0, 0.0)
        if kind != "fixed":
            direction = _floats(axis.get("xyz", "1 0 0")) if axis is not None else (1.0, 0.0, 0.0)
        joints.append(Joint(name, parent.get("link", ""), child.get("link", ""), mount.matrix(), direction))
    ordered: list[Joint] = []
    known = {"base_link"}
    while joints:
        ready = [joint for joint in joints if joint.parent in known]
        if not ready:
            raise RobotError(f"joint {joints[0].name!r}: its parent {joints[0].parent!r} is not connected to base_link")
        ordered += ready
        known |= {joint.child for joint in ready}
        joints = [joint for joint in joints if joint not in ready]
    return tuple(ordered)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RobotError(f"{path}: cannot be read: {error}") from None


def _read_yaml(path: Path) -> Mapping[str, Any]:
    """A mapping of finite numbers, texts and lists of them."""
    try:
        raw = yaml.safe_load(_read(path))
    except (yaml.YAMLError, ValueError) as error:
        raise RobotError(f"{path}: is no YAML: {error}") from None
    if not isinstance(raw, dict):
        raise RobotError(f"{path}: is no mapping")
    faults = _not_finite(raw, "")
    if faults:
        raise RobotError(f"{path}: {', '.join(faults)}: not finite")
    return raw


def _not_finite(value: Any, where: str) -> list[str]:
    """Names of the numbers below a parsed document that are none."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [fault for key, below in items for fault in _not_finite(below, f"{where}.{key}".lstrip("."))]
    return [where] if isinstance(value, float) and not np.isfinite(value) else []


def load_robot(folder: Path) -> Robot:
    """Read arm.yaml and the one URDF of a folder such as config/robot.

    Raises:
        RobotError: a file or field is missing, or an array has the wrong length.
    """
    path = folder / "arm.yaml"
    urdfs = sorted(folder.glob("*.urdf"))
    if not path.is_file() or len(urdfs) != 1:
        raise RobotError(f"{folder}: needs arm.yaml and exactly one .urdf, found {len(urdfs)}")
    return make_robot(_read_yaml(path), _read(urdfs[0]), str(path))


def make_robot(raw: Mapping[str, Any], urdf: str, where: str = "arm.yaml") -> Robot:
    """Robot from the parsed YAML and the URDF's text.

    Raises:
        RobotError: as `load_robot`.
    """
    try:
        names = tuple(raw["joint_names"])

        def joint_array(key: str) -> Array:
            values = np.array(raw[key], dtype=float)
            if values.shape != (len(names),) or not np.all(np.isfinite(values)):
                raise RobotError(f"{where}: {key} needs {len(names)} finite numbers, one for each joint")
            return values

        tool = np.eye(4)
        x, y, z, w = raw["flange_to_tool"]["quat_xyzw"]
        tool[:3, :3] = quat2mat((w, x, y, z))
        tool[:3, 3] = raw["flange_to_tool"]["xyz"]
        gripper = dict(raw["gripper"])
        gripper["zones"] = tuple(Zone(**zone) for zone in gripper["zones"])
        opw = dict(raw["opw"])
        opw["offsets_rad"], opw["signs"] = tuple(opw["offsets_rad"]), tuple(opw["signs"])
        robot = Robot(
            name=raw["name"],
            joint_names=names,
            lower_rad=joint_array("lower_rad"),
            upper_rad=joint_array("upper_rad"),
            max_speed_radps=joint_array("max_speed_radps"),
            max_accel_radps2=joint_array("max_accel_radps2"),
            max_jerk_radps3=joint_array("max_jerk_radps3"),
            payload_kg=float(raw["payload_kg"]),
            tool_mass_kg=float(raw["tool_mass_kg"]),
            derating_mass_kg=np.array(raw["payload_derating"]["mass_kg"], dtype=float),
            derating_scale=np.array(raw["payload_derating"]["accel_scale"], dtype=float),
            opw=Opw(**opw),
            flange_to_tool=tool,
            capsules=tuple(
                Capsule(c["link"], tuple(c["a"]), tuple(c["b"]), float(c["radius_m"])) for c in raw["capsules"]
            ),
            gripper=Gripper(**gripper),
            poses={name: np.array(pose, dtype=float) for name, pose in raw["poses"].items()},
            mounts={name: Mount(m["parent"], tuple(m["xyz"]), tuple(m["rpy"])) for name, m in raw["mounts"].items()},
            conveyor=Conveyor(**{key: value for key, value in raw["conveyor"].items() if key != "frame"}),
            stopping_speed_fraction=np.array(raw["stopping"]["speed_fraction"], dtype=float),
            stopping_mass_kg=np.array([row["mass_kg"] for row in raw["stopping"]["time_s_by_mass"]], dtype=float),
            stopping_time_s=np.array([row["time_s"] for row in raw["stopping"]["time_s_by_mass"]], dtype=float),
            joints=parse_joints(urdf),
            urdf=urdf,
            raw=raw,
        )
        _try_out(robot)
    except RobotError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise RobotError(f"{where}: missing or wrong field: {error!r}") from error
    described = {joint.name for joint in robot.joints}
    absent = [name for name in names if name not in described]
    if absent:
        raise RobotError(f"{where}: joint_names {absent} are not in the robot description")
    return robot


def _try_out(robot: Robot) -> None:
    """Use once what would otherwise turn out wrong when the arm is to move."""
    robot.arm_at(np.array([robot.lower_rad, *robot.poses.values()]))
    robot.stopping_time(0.5, 0.5 * robot.payload_kg)
    robot.accel_limit(0.5 * robot.payload_kg)
    for mount in robot.mounts.values():
        mount.matrix()


@dataclass(frozen=True, slots=True)
class Trailer:
    """Inside of the trailer, m; frame `trailer`: origin on the floor, middle of the dock threshold, x inwards."""

    width_m: float
    height_m: float
    length_m: float
    dock_length_m: float


def load_trailer(path: Path) -> Trailer:
    """Read config/trailer.yaml.

    Raises:
        RobotError: a field is missing, unknown or not positive.
    """
    try:
        trailer = Trailer(**{str(key): float(value) for key, value in _read_yaml(path).items()})
    except RobotError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise RobotError(f"{path}: {error}") from error
    for name in ("width_m", "height_m", "length_m", "dock_length_m"):
        if not getattr(trailer, name) > 0.0:
            raise RobotError(f"{path}: {name} must be positive")
    return trailer
