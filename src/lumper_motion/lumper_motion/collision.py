"""Does the arm, with what it holds, touch anything? Everything in base_link, m.

Which pairs are near enough to be looked at is found for many configurations at once, by bounding boxes in arrays: through the Python
binding of a tree, placing the shapes alone costs more than that. What is near is Coal's to judge.

Three sets of robot shapes, because "touching" means something else while transiting, while the cups press on a face, and
while the load slides out from between its neighbours.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import coal
import numpy as np
from numpy.typing import NDArray

from lumper_motion.kinematics import ArmKinematics
from lumper_motion.obstacles import Load, Obstacle
from lumper_ros.robot import Robot

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

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
class _Form:
    """A geometry on a link: its pose there, and what it extends to along its own axes plus, all round, `round_m`."""

    local: Array  # 4x4
    geometry: coal.CollisionGeometry
    half_m: tuple[float, float, float]
    round_m: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """A part of the robot in its three forms."""

    name: str
    link: int
    forms: dict[Closeness, _Form]


class _Body:
    """The robot's shapes at one closeness, with the load, as arrays."""

    def __init__(self, shapes: Sequence[_Shape], pairs: Sequence[tuple[int, int]], closeness: Closeness) -> None:
        forms = [shape.forms[closeness] for shape in shapes]
        self.names = [shape.name for shape in shapes]
        self.geometries = [form.geometry for form in forms]
        self.pairs = list(pairs)
        self.first = np.array([i for i, _ in pairs], dtype=np.intp)
        self.second = np.array([j for _, j in pairs], dtype=np.intp)
        self.outer = np.array([i for i, name in enumerate(self.names) if _meets_world(name)], dtype=np.intp)
        self._links = np.array([shape.link for shape in shapes], dtype=np.intp)
        self._local = np.array([form.local for form in forms])
        self._half = np.array([form.half_m for form in forms])[:, :, None]
        self._round = np.array([form.round_m for form in forms])[:, None]

    def placed(self, frames: Array) -> tuple[Array, Array, Array]:
        """Poses (n, shapes, 4, 4) at link frames (n, links, 4, 4), lower and upper corners (n, shapes, 3) round them."""
        poses = frames[:, self._links] @ self._local
        reach = (np.abs(poses[:, :, :3, :3]) @ self._half)[:, :, :, 0] + self._round
        centre = poses[:, :, :3, 3]
        return poses, centre - reach, centre + reach


class _World:
    """The obstacles at one closeness as arrays; which of them count can be changed."""

    def __init__(self, obstacles: Sequence[Obstacle], shrink_m: float) -> None:
        sizes = np.array([obstacle.size_m for obstacle in obstacles]).reshape(-1, 3)
        shrunk = np.array([shrink_m if obstacle.carton_id else 0.0 for obstacle in obstacles])
        self._poses = np.array([obstacle.pose for obstacle in obstacles]).reshape(-1, 4, 4)
        self._sizes = np.maximum(sizes - 2.0 * shrunk[:, None], 0.005)
        reach = (np.abs(self._poses[:, :3, :3]) @ (0.5 * self._sizes)[:, :, None])[:, :, 0]
        self._low, self._high = self._poses[:, :3, 3] - reach, self._poses[:, :3, 3] + reach
        self._counts = np.ones(len(obstacles), dtype=bool)
        self._solids: dict[int, tuple[coal.CollisionGeometry, coal.Transform3s]] = {}

    def leave_out(self, which: Sequence[int]) -> None:
        """These count no more; all others do."""
        self._counts[:] = True
        self._counts[list(which)] = False

    def solid(self, which: int) -> tuple[coal.CollisionGeometry, coal.Transform3s]:
        """Made when first looked at: most of a wall is never near the arm."""
        if which not in self._solids:
            pose = self._poses[which]
            self._solids[which] = (coal.Box(*self._sizes[which]), coal.Transform3s(pose[:3, :3], pose[:3, 3]))
        return self._solids[which]

    def near(self, low: Array, high: Array) -> tuple[Indices, Indices, Indices]:
        """Configuration, shape and obstacle of every pair whose boxes overlap, for corners (n, shapes, 3)."""
        some = (self._low <= high.max(axis=(0, 1))) & (self._high >= low.min(axis=(0, 1)))
        rows = np.flatnonzero(some.all(axis=1) & self._counts)
        overlap = np.ones((*low.shape[:2], len(rows)), dtype=bool)
        for axis in range(3):
            overlap &= low[:, :, axis, None] <= self._high[rows, axis]
            overlap &= high[:, :, axis, None] >= self._low[rows, axis]
        at, shape, row = np.nonzero(overlap)
        return at, shape, rows[row]


class CollisionChecker:
    """The robot against one set of obstacles. Not thread-safe; `set_load` and `allow` change what counts."""

    def __init__(self, kinematics: ArmKinematics, obstacles: Sequence[Obstacle], margin_m: float) -> None:
        self._kin = kinematics
        self._margin_m = margin_m
        self._static, masts = self._robot_shapes()
        self._obstacles = [*obstacles, *masts]
        full, less = _World(self._obstacles, 0.0), _World(self._obstacles, CONTACT_SHRINK_M)
        self._worlds = {Closeness.WIDE: full, Closeness.CLEAR: full, Closeness.CONTACT: less}
        self._request, self._result = coal.CollisionRequest(), coal.CollisionResult()
        self._pairs = self._self_pairs()
        self._empty = self._bodies(self._static, self._pairs)
        self._body = self._empty
        self._held: Load | None = None

    def _robot_shapes(self) -> tuple[list[_Shape], list[Obstacle]]:
        """Capsules of the moving links and the pad; what of the robot cannot move is an obstacle (its mast)."""
        robot, links = self._kin.robot, {name: i for i, name in enumerate(self._kin.links)}
        moving = _moving_links(robot)
        margins = {Closeness.WIDE: self._margin_m + ROUNDING_M, Closeness.CLEAR: self._margin_m, Closeness.CONTACT: 0.0}
        shapes, masts = [], []
        for number, capsule in enumerate(robot.capsules):
            if capsule.link == "tool0":
                continue
            name = f"{capsule.link} {number}"
            a, b = np.array(capsule.a), np.array(capsule.b)
            length = float(np.linalg.norm(b - a))
            local = np.eye(4)
            local[:3, :3] = _z_along(b - a)
            local[:3, 3] = (a + b) / 2.0
            if capsule.link == "base_link" and capsule.link not in moving:
                size = (2.0 * capsule.radius_m, 2.0 * capsule.radius_m, length + 2.0 * capsule.radius_m)
                masts.append(Obstacle(name, local, size))
                continue
            forms = {
                closeness: _Form(
                    local,
                    coal.Capsule(capsule.radius_m + margin_m, length),
                    (0.0, 0.0, 0.5 * length),
                    capsule.radius_m + margin_m,
                )
                for closeness, margin_m in margins.items()
            }
            shapes.append(_Shape(name, links[capsule.link], forms))
        pad = robot.gripper
        local = np.eye(4)
        local[2, 3] = -pad.pad_depth_m / 2.0
        short = np.eye(4)
        short[2, 3] = -(pad.pad_depth_m + CUP_CLEARANCE_M) / 2.0
        size = (pad.pad_width_m, pad.pad_height_m, pad.pad_depth_m)
        forms = {
            closeness: _box_form(local, size, margin_m)
            for closeness, margin_m in margins.items()
            if closeness is not Closeness.CONTACT
        }
        forms[Closeness.CONTACT] = _box_form(short, (*size[:2], size[2] - CUP_CLEARANCE_M), 0.0)
        shapes.append(_Shape("gripper", links["tool0"], forms))
        return shapes, masts

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
        body = _Body(self._static, pairs, Closeness.WIDE)
        poses, _, _ = body.placed(self._kin.link_frames(np.array(list(self._kin.robot.poses.values()))))
        return [(j, i) for j, i in pairs if not any(self._meet(body, pose, j, i) for pose in poses)]

    def _bodies(self, shapes: Sequence[_Shape], pairs: Sequence[tuple[int, int]]) -> dict[Closeness, _Body]:
        return {closeness: _Body(shapes, pairs, closeness) for closeness in Closeness}

    def set_load(self, load: Load | None) -> None:
        """What the gripper holds from now on."""
        if load is self._held:
            return
        self._held = load
        if load is None:
            self._body = self._empty
            return
        margin_m = self._margin_m
        forms = {
            Closeness.WIDE: _box_form(load.pose_in_tool, load.size_m, margin_m + ROUNDING_M),
            Closeness.CLEAR: _box_form(load.pose_in_tool, load.size_m, margin_m),
            Closeness.CONTACT: _box_form(load.pose_in_tool, load.size_m, -CONTACT_SHRINK_M),
        }
        number = len(self._static)
        pairs = [(number, i) for i, shape in enumerate(self._static) if _load_can_meet(shape.name)]
        held = _Shape("held carton", self._kin.tool_link, forms)
        self._body = self._bodies([*self._static, held], [*self._pairs, *pairs])

    def allow(self, names: Iterable[str], held: Iterable[str] = ()) -> None:
        """Obstacles, by name, that count no more from now on; replaces what was allowed before.

        Args:
            names: may be touched on the stretches at a face or the belt (CONTACT), not by free motion.
            held: hang on the gripper: no obstacles at all.
        """
        gone = set(held)
        touched = gone.union(names)
        for closeness, left_out in ((Closeness.CLEAR, gone), (Closeness.CONTACT, touched)):
            self._worlds[closeness].leave_out(
                [i for i, obstacle in enumerate(self._obstacles) if obstacle.name in left_out]
            )

    def _meet(self, body: _Body, poses: Array, one: int, other: int) -> bool:
        """Whether two of the robot's own shapes touch at poses (shapes, 4, 4)."""
        self._result.clear()
        return bool(
            coal.collide(
                body.geometries[one],
                _transform(poses[one]),
                body.geometries[other],
                _transform(poses[other]),
                self._request,
                self._result,
            )
        )

    def _touches(self, geometry: coal.CollisionGeometry, pose: coal.Transform3s, world: _World, obstacle: int) -> bool:
        self._result.clear()
        other, there = world.solid(obstacle)
        return bool(coal.collide(geometry, pose, other, there, self._request, self._result))

    def first_hit(self, joints: Array, closeness: Closeness) -> int:
        """Index of the first of (n, 6) configurations that touches something, or -1."""
        return next(self._hits(joints, closeness), -1)

    def each_free(self, joints: Array, closeness: Closeness) -> NDArray[np.bool_]:
        """(n,) whether each of (n, 6) configurations touches nothing."""
        result = np.ones(len(joints), dtype=bool)
        result[list(self._hits(joints, closeness))] = False
        return result

    def _hits(self, joints: Array, closeness: Closeness) -> Iterator[int]:
        """Indices of those of (n, 6) configurations that touch something, in order."""
        if not len(joints):
            return
        body, world = self._body[closeness], self._worlds[closeness]
        poses, low, high = body.placed(self._kin.link_frames(joints))
        close = (low[:, body.first] <= high[:, body.second]) & (high[:, body.first] >= low[:, body.second])
        itself, pair = np.nonzero(close.all(axis=2))
        at, part, obstacle = world.near(low[:, body.outer], high[:, body.outer])
        # One list of what is to be looked at, configuration by configuration; the robot with itself has no obstacle.
        near = sorted(
            [
                *zip(at.tolist(), obstacle.tolist(), body.outer[part].tolist(), strict=True),
                *((sample, -1, which) for sample, which in zip(itself.tolist(), pair.tolist(), strict=True)),
            ]
        )
        hit = -1
        for sample, which, number in near:
            if sample == hit:
                continue
            if which < 0:
                touches = self._meet(body, poses[sample], *body.pairs[number])
            else:
                place = _transform(poses[sample, number])
                touches = self._touches(body.geometries[number], place, world, which)
            if touches:
                hit = sample
                yield sample

    def free(self, joints: Array, closeness: Closeness = Closeness.CLEAR) -> bool:
        """Whether one configuration (6,) touches nothing."""
        return self.first_hit(joints[None], closeness) < 0

    def explain(self, joints: Array, closeness: Closeness) -> list[tuple[str, str]]:
        """All touching pairs (robot part, obstacle) at one configuration (6,)."""
        body, world = self._body[closeness], self._worlds[closeness]
        poses, low, high = body.placed(self._kin.link_frames(joints[None]))
        _, shape, obstacle = world.near(low[:, body.outer], high[:, body.outer])
        pairs = [
            (body.names[part], self._obstacles[which].name)
            for part, which in zip(body.outer[shape].tolist(), obstacle.tolist(), strict=True)
            if self._touches(body.geometries[part], _transform(poses[0, part]), world, which)
        ]
        for one, other in body.pairs:
            if self._meet(body, poses[0], one, other):
                return [*pairs, (f"{body.names[one]} and {body.names[other]}", "the robot itself")]
        return pairs


def _box_form(local: Array, size_m: Sequence[float], grow_m: float) -> _Form:
    x, y, z = (max(float(side) + 2.0 * grow_m, 0.01) for side in size_m)
    return _Form(local, coal.Box(x, y, z), (0.5 * x, 0.5 * y, 0.5 * z))


def _transform(pose: Array) -> coal.Transform3s:
    return coal.Transform3s(pose[:3, :3], pose[:3, 3])


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
