"""Does the arm, with what it holds, touch anything? Coal with an AABB-tree broadphase; everything in base_link, m.

Three sets of robot shapes, because "touching" means something else while transiting, while the cups press on a face, and
while the load slides out from between its neighbours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import coal
import numpy as np
from numpy.typing import NDArray

from lumper_motion.kinematics import ArmKinematics
from lumper_ros.robot import Robot, Trailer

Array = NDArray[np.float64]

# The cups give way: in contact, the pad's front end is not a collision.
CUP_CLEARANCE_M = 0.03
# What is left of a held or neighbouring carton when contact along its faces is allowed.
CONTACT_SHRINK_M = 0.015
# What rounding a corner may cut off a way that was searched.
ROUNDING_M = 0.02


class Closeness(Enum):
    """How near the arm may come.

    WIDE: where a way is searched: ROUNDING_M more than the margin, since its corners are rounded afterwards.
    CLEAR: free motion: every shape is inflated by the margin.
    CONTACT: the last stretch to or from a face or the belt: true shapes, the cups' front end left out, load shrunk.
    """

    WIDE = "wide"
    CLEAR = "clear"
    CONTACT = "contact"


@dataclass(frozen=True, slots=True, eq=False)
class Obstacle:
    """A box that must not be touched. `carton_id` 0 = not a carton."""

    name: str
    pose: Array  # 4x4 of the centre
    size_m: tuple[float, float, float]
    carton_id: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What the gripper holds: a box fixed in tool0."""

    carton_ids: tuple[int, ...]
    pose_in_tool: Array  # 4x4 of the centre
    size_m: tuple[float, float, float]
    mass_kg: float
    zones: int


@dataclass(frozen=True, slots=True)
class Hit:
    """The first contact of a sequence of configurations: sample index, and the names that touch."""

    sample: int
    robot: str
    obstacle: str


def trailer_obstacles(trailer: Trailer, base_from_trailer: Array, thickness_m: float = 0.2) -> list[Obstacle]:
    """Walls, ceiling, floor and back wall of the trailer, and the dock's floor, as boxes in base_link."""
    half, t = trailer.width_m / 2.0, thickness_m
    length, height, dock = trailer.length_m, trailer.height_m, trailer.dock_length_m
    shapes = {
        "trailer left wall": ((length / 2, half + t / 2, height / 2), (length, t, height)),
        "trailer right wall": ((length / 2, -half - t / 2, height / 2), (length, t, height)),
        "trailer ceiling": ((length / 2, 0.0, height + t / 2), (length, trailer.width_m, t)),
        "trailer back wall": ((length + t / 2, 0.0, height / 2), (t, trailer.width_m, height)),
        "floor": (((length - dock) / 2, 0.0, -t / 2), (length + dock, 2.0 * trailer.width_m, t)),
    }
    result = []
    for name, (centre, size) in shapes.items():
        pose = np.eye(4)
        pose[:3, 3] = centre
        result.append(Obstacle(name, base_from_trailer @ pose, size))
    return result


def base_obstacles(robot: Robot) -> list[Obstacle]:
    """Conveyor and deck of the drive base."""
    belt = robot.conveyor
    pose = np.eye(4)
    pose[:3, 3] = (
        (belt.front_x_m + belt.end_x_m) / 2.0,
        belt.center_y_m,
        belt.surface_z_m - belt.thickness_m / 2.0,
    )
    result = [Obstacle("conveyor", pose, (belt.front_x_m - belt.end_x_m, belt.width_m, belt.thickness_m))]
    deck = robot.raw.get("base", {}).get("deck")
    if deck is not None:
        pose = np.eye(4)
        pose[:3, 3] = deck["xyz"]
        x, y, z = (float(value) for value in deck["size"])
        result.append(Obstacle("deck", pose, (x, y, z)))
    return result


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """A robot shape: its link, its pose there, its true and inflated geometry."""

    name: str
    link: int
    local: Array
    shapes: dict[Closeness, coal.CollisionObject]


class CollisionChecker:
    """The robot against one set of obstacles. Not thread-safe; `set_load` and `allow` change what counts."""

    def __init__(self, kinematics: ArmKinematics, obstacles: Sequence[Obstacle], margin_m: float) -> None:
        self._kin = kinematics
        self._margin_m = margin_m
        self._env = coal.DynamicAABBTreeCollisionManager()
        self._objects: list[tuple[Obstacle, coal.CollisionObject, coal.CollisionObject]] = []
        self._contact_env = coal.DynamicAABBTreeCollisionManager()
        for obstacle in obstacles:
            shrink = CONTACT_SHRINK_M if obstacle.carton_id else 0.0
            full = _box(obstacle.pose, obstacle.size_m, 0.0)
            less = _box(obstacle.pose, obstacle.size_m, -shrink)
            self._objects.append((obstacle, full, less))
            self._env.registerObject(full)
            self._contact_env.registerObject(less)
        self._allowed: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self._static = self._robot_shapes()
        self._env.setup()
        self._contact_env.setup()
        # (obstacles, 6) lower and upper corners of their bounding boxes.
        self._boxes = np.array([[*body.getAABB().min_, *body.getAABB().max_] for _, body, _ in self._objects])
        self._load: _Shape | None = None
        self._held: Load | None = None
        self._pairs: list[tuple[int, int]] = []
        self._managers: dict[Closeness, coal.DynamicAABBTreeCollisionManager] = {}
        self._rebuild()
        self._callback = coal.CollisionCallBackDefault()
        self._request = coal.CollisionRequest()
        self._pairs = self._self_pairs()
        self._rebuild()

    def _robot_shapes(self) -> list[_Shape]:
        """Capsules of the moving links and the pad. Capsules of links that cannot move are obstacles of the mast kind."""
        robot, links = self._kin.robot, {name: i for i, name in enumerate(self._kin.links)}
        moving = _moving_links(robot)
        wide_m = self._margin_m + ROUNDING_M
        result = []
        for number, capsule in enumerate(robot.capsules):
            if capsule.link == "tool0":
                continue
            a, b = np.array(capsule.a), np.array(capsule.b)
            length = float(np.linalg.norm(b - a))
            local = np.eye(4)
            local[:3, :3] = _z_along(b - a)
            local[:3, 3] = (a + b) / 2.0
            if capsule.link not in moving:
                frame = self._kin.link_frames(np.zeros((1, len(robot.joint_names))))[0, links[capsule.link]] @ local
                size = (2.0 * capsule.radius_m, 2.0 * capsule.radius_m, length + 2.0 * capsule.radius_m)
                if capsule.link == "base_link":
                    mast = Obstacle(f"{capsule.link} {number}", frame, size)
                    self._objects.append((mast, _box(frame, size, 0.0), _box(frame, size, 0.0)))
                    self._env.registerObject(self._objects[-1][1])
                    self._contact_env.registerObject(self._objects[-1][2])
                    continue
            result.append(
                _Shape(
                    f"{capsule.link} {number}",
                    links[capsule.link],
                    local,
                    {
                        Closeness.WIDE: coal.CollisionObject(coal.Capsule(capsule.radius_m + wide_m, length)),
                        Closeness.CLEAR: coal.CollisionObject(coal.Capsule(capsule.radius_m + self._margin_m, length)),
                        Closeness.CONTACT: coal.CollisionObject(coal.Capsule(capsule.radius_m, length)),
                    },
                )
            )
        pad = robot.gripper
        local = np.eye(4)
        local[2, 3] = -pad.pad_depth_m / 2.0
        short = np.eye(4)
        short[2, 3] = -(pad.pad_depth_m + CUP_CLEARANCE_M) / 2.0
        m, w = 2.0 * self._margin_m, 2.0 * wide_m
        for closeness, place, size in (
            (Closeness.WIDE, local, (pad.pad_width_m + w, pad.pad_height_m + w, pad.pad_depth_m + w)),
            (Closeness.CLEAR, local, (pad.pad_width_m + m, pad.pad_height_m + m, pad.pad_depth_m + m)),
            (Closeness.CONTACT, short, (pad.pad_width_m, pad.pad_height_m, pad.pad_depth_m - CUP_CLEARANCE_M)),
        ):
            result.append(
                _Shape(
                    f"gripper {closeness.value}",
                    links["tool0"],
                    place,
                    {closeness: coal.CollisionObject(coal.Box(*size))},
                )
            )
        return result

    def _self_pairs(self) -> list[tuple[int, int]]:
        """Pairs of shapes that can meet: links not neighbours in the chain, and apart in every named pose (else built so)."""
        depth = _chain_depth(self._kin.robot)
        names = self._kin.links
        pairs = [
            (j, i)
            for i, first in enumerate(self._static)
            for j, second in enumerate(self._static[:i])
            if abs(depth[names[first.link]] - depth[names[second.link]]) >= 2
            and _wrist_can_meet(first.name, second.name)
        ]
        result = coal.CollisionResult()
        for pose in self._kin.robot.poses.values():
            frames = self._kin.link_frames(pose[None])[0]
            for closeness in Closeness:
                self._place(frames, closeness)
            apart = []
            for j, i in pairs:
                result.clear()
                one, two = (next(iter(self._static[k].shapes.values())) for k in (j, i))
                if not coal.collide(one, two, self._request, result):
                    apart.append((j, i))
            pairs = apart
        return pairs

    def _rebuild(self) -> None:
        self._shapes = {
            closeness: [
                shape for shape in (*self._static, *([self._load] if self._load else [])) if closeness in shape.shapes
            ]
            for closeness in Closeness
        }
        self._locals = {
            closeness: (np.array([s.link for s in shapes]), np.array([s.local for s in shapes]))
            for closeness, shapes in self._shapes.items()
        }
        # Looked up once a configuration: hashing an Enum costs more than testing a pair.
        self._bodies = {key: [shape.shapes[key] for shape in shapes] for key, shapes in self._shapes.items()}
        self._meetings = {key: self._meetings_of(key) for key in Closeness}
        for closeness, shapes in self._shapes.items():
            manager = coal.DynamicAABBTreeCollisionManager()
            for shape in shapes:
                if _meets_world(shape.name):
                    manager.registerObject(shape.shapes[closeness])
            manager.setup()
            self._managers[closeness] = manager

    def set_load(self, load: Load | None) -> None:
        """What the gripper holds from now on."""
        if load is self._held:
            return
        self._held = load
        if load is None:
            self._load = None
        else:
            width, height, depth = load.size_m
            m, w = 2.0 * self._margin_m, 2.0 * (self._margin_m + ROUNDING_M)
            less = 2.0 * CONTACT_SHRINK_M
            self._load = _Shape(
                "held carton",
                self._kin.tool_link,
                load.pose_in_tool,
                {
                    Closeness.WIDE: coal.CollisionObject(coal.Box(width + w, height + w, depth + w)),
                    Closeness.CLEAR: coal.CollisionObject(coal.Box(width + m, height + m, depth + m)),
                    Closeness.CONTACT: coal.CollisionObject(
                        coal.Box(max(width - less, 0.01), max(height - less, 0.01), max(depth - less, 0.01))
                    ),
                },
            )
        self._rebuild()

    def allow(self, names: Iterable[str], held: Iterable[str] = ()) -> None:
        """Obstacles, by name, that count no more from now on; replaces what was allowed before.

        Args:
            names: may be touched on the stretches at a face or the belt (CONTACT), not by free motion.
            held: hang on the gripper: no obstacles at all.
        """
        gone = frozenset(held)
        wanted = (gone, gone | frozenset(names))
        for environment, index, before, now in (
            (self._env, 1, self._allowed[0], wanted[0]),
            (self._contact_env, 2, self._allowed[1], wanted[1]),
        ):
            if before == now:
                continue
            for entry in self._objects:
                name = entry[0].name
                if name in now and name not in before:
                    environment.unregisterObject(entry[index])
                elif name in before and name not in now:
                    environment.registerObject(entry[index])
        self._allowed = wanted

    def _place(self, frames: Array, closeness: Closeness) -> None:
        links, local = self._locals[closeness]
        world = frames[links] @ local
        for body, pose in zip(self._bodies[closeness], world, strict=True):
            body.setTransform(coal.Transform3s(pose[:3, :3], pose[:3, 3]))
            body.computeAABB()

    def _touches(self, frames: Array, closeness: Closeness) -> bool:
        self._place(frames, closeness)
        manager = self._managers[closeness]
        manager.update()
        self._callback.init()
        (self._contact_env if closeness is Closeness.CONTACT else self._env).collide(manager, self._callback)
        return bool(self._callback.data.result.isCollision()) or bool(self._touches_itself(closeness))

    def _meetings_of(self, closeness: Closeness) -> list[tuple[coal.CollisionObject, coal.CollisionObject, str]]:
        """Pairs of the robot's own shapes that could touch, with what to say if they do."""
        meetings = []
        for first, second in self._pairs:
            a, b = self._static[first], self._static[second]
            if closeness in a.shapes and closeness in b.shapes:
                meetings.append((a.shapes[closeness], b.shapes[closeness], f"{a.name} and {b.name}"))
        if self._load is not None:
            held = self._load.shapes[closeness]
            meetings += [
                (held, shape.shapes[closeness], f"held carton and {shape.name}")
                for shape in self._static
                if closeness in shape.shapes and _load_can_meet(shape.name)
            ]
        return meetings

    def _touches_itself(self, closeness: Closeness) -> str:
        result = coal.CollisionResult()
        for one, two, text in self._meetings[closeness]:
            if one.getAABB().overlap(two.getAABB()) and coal.collide(one, two, self._request, result):
                return text
        return ""

    def first_hit(self, joints: Array, closeness: Closeness) -> int:
        """Index of the first of (n, 6) configurations that touches something, or -1."""
        frames = self._kin.link_frames(np.atleast_2d(joints))
        for i in range(len(frames)):
            if self._touches(frames[i], closeness):
                return i
        return -1

    def free(self, joints: Array, closeness: Closeness = Closeness.CLEAR) -> bool:
        """Whether one configuration (6,) touches nothing."""
        return not self._touches(self._kin.link_frames(joints[None])[0], closeness)

    def explain(self, joints: Array, closeness: Closeness) -> list[tuple[str, str]]:
        """All touching pairs (robot part, obstacle) at one configuration (6,)."""
        frames = self._kin.link_frames(joints[None])[0]
        self._place(frames, closeness)
        pairs = []
        result = coal.CollisionResult()
        for shape in self._shapes[closeness]:
            body = shape.shapes[closeness]
            if not _meets_world(shape.name):
                continue
            box = body.getAABB()
            apart = (np.asarray(box.min_) > self._boxes[:, 3:]) | (np.asarray(box.max_) < self._boxes[:, :3])
            for i in np.flatnonzero(~apart.any(axis=1)):
                obstacle, full, less = self._objects[i]
                other = less if closeness is Closeness.CONTACT else full
                if obstacle.name in self._allowed[closeness is Closeness.CONTACT]:
                    continue
                result.clear()
                if coal.collide(body, other, self._request, result):
                    pairs.append((shape.name, obstacle.name))
        itself = self._touches_itself(closeness)
        if itself:
            pairs.append((itself, "the robot itself"))
        return pairs


def _box(pose: Array, size_m: Sequence[float], grow_m: float) -> coal.CollisionObject:
    x, y, z = (max(float(side) + 2.0 * grow_m, 0.005) for side in size_m)
    body = coal.CollisionObject(coal.Box(x, y, z), coal.Transform3s(pose[:3, :3], pose[:3, 3]))
    body.computeAABB()
    return body


def _z_along(direction: Array) -> Array:
    """Rotation whose z axis is `direction`."""
    length = float(np.linalg.norm(direction))
    z = direction / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])
    helper = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.column_stack([x, np.cross(z, x), z])


def _moving_links(robot: Robot) -> set[str]:
    moving: set[str] = set()
    for joint in robot.joints:
        if joint.name in robot.joint_names or joint.parent in moving:
            moving.add(joint.child)
    return moving


def _chain_depth(robot: Robot) -> dict[str, int]:
    """Number of moving joints between base_link and each link."""
    depth = {"base_link": 0}
    for joint in robot.joints:
        depth[joint.child] = depth[joint.parent] + (joint.name in robot.joint_names)
    return depth


def _part(name: str) -> str:
    return name.rsplit(" ", 1)[0]


def _wrist_can_meet(first: str, second: str) -> bool:
    """Links of the wrist are built not to reach each other within their limits."""
    wrist = {"link_5", "link_6", "gripper"}
    return not (_part(first) in wrist and _part(second) in wrist)


def _meets_world(name: str) -> bool:
    """The arm's foot stands on the deck for good."""
    return _part(name) not in ("arm_base", "link_1")


def _load_can_meet(name: str) -> bool:
    return _part(name) not in ("link_5", "link_6", "gripper")
