"""The depth camera: rays of a pinhole image against triangles (embree), without any graphics library.

Every pixel knows which carton and which of its faces it sees; only the simulated detector may use that.
"""

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int32]

NOTHING, STRUCTURE, ROBOT, PERSON = -1, -2, -3, -4

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
# Two triangles for each face; faces in the order -x +x -y +y -z +z.
_BOX_TRIANGLES = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ]
)
_SIDES, _RINGS = 12, 3


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """Pinhole camera; optical frame: x right, y down, z forward."""

    width_px: int
    height_px: int
    hfov_rad: float
    range_min_m: float
    range_max_m: float
    noise_per_m2: float

    @property
    def focal_px(self) -> float:
        return float(self.width_px / 2 / np.tan(self.hfov_rad / 2))

    def rays(self) -> NDArray[np.float32]:
        """(height * width, 3) directions with z = 1 through the pixel centres."""
        u, v = np.meshgrid(
            np.arange(self.width_px) + 0.5 - self.width_px / 2, np.arange(self.height_px) + 0.5 - self.height_px / 2
        )
        return (
            np.stack([u / self.focal_px, v / self.focal_px, np.ones_like(u)], axis=-1).reshape(-1, 3).astype(np.float32)
        )


@dataclass(frozen=True, slots=True)
class View:
    """The scene at one instant, world frame: enough to take a picture of it."""

    time_s: float
    camera: Array
    carton_position: Array
    carton_rotation: Array
    carton_half: Array
    structure_centre: Array
    structure_rotation: Array
    structure_half: Array
    robot_a: Array
    robot_b: Array
    robot_radius: Array
    robot_box_centre: Array
    robot_box_rotation: Array
    robot_box_half: Array
    person_a: Array
    person_b: Array
    person_radius: Array


@dataclass(frozen=True, slots=True)
class Picture:
    """What each pixel saw: exact depth along z (h, w) float32 m, NaN = nothing in range; object and carton face ids."""

    depth_m: NDArray[np.float32]
    object_id: Ints
    face: Ints


def _box_mesh(centre: Array, rotation: Array, half: Array) -> tuple[Array, NDArray[np.int64]]:
    corners = _CORNERS[None] * half[:, None, :]
    vertices = np.einsum("nij,nkj->nki", rotation, corners) + centre[:, None, :]
    triangles = _BOX_TRIANGLES[None] + 8 * np.arange(len(centre))[:, None, None]
    return vertices.reshape(-1, 3), triangles.reshape(-1, 3)


def _capsule_template() -> tuple[Array, Array, NDArray[np.int64]]:
    """Unit capsule: sphere points (k, 3), which end each belongs to (k,), triangles (m, 3)."""
    points, ends = [], []
    latitudes = [*np.linspace(-np.pi / 2, 0, _RINGS + 1), *np.linspace(0, np.pi / 2, _RINGS + 1)]
    turn = 2 * np.pi * np.arange(_SIDES) / _SIDES
    for number, latitude in enumerate(latitudes):
        ring = np.stack(
            [np.cos(latitude) * np.cos(turn), np.cos(latitude) * np.sin(turn), np.full(_SIDES, np.sin(latitude))],
            axis=1,
        )
        points.append(ring)
        ends.append(np.full(_SIDES, number > _RINGS))
    triangles = []
    for low in range(len(latitudes) - 1):
        for k in range(_SIDES):
            p, q = low * _SIDES + k, low * _SIDES + (k + 1) % _SIDES
            triangles += [[p, q, p + _SIDES], [q, q + _SIDES, p + _SIDES]]
    return np.concatenate(points), np.concatenate(ends), np.array(triangles)


_SPHERE, _END, _CAPSULE_TRIANGLES = _capsule_template()


def _capsule_mesh(a: Array, b: Array, radius: Array) -> tuple[Array, NDArray[np.int64]]:
    axis = b - a
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    z = np.where(length > 1e-9, axis / np.maximum(length, 1e-9), np.array([0.0, 0.0, 1.0]))
    side = np.where(np.abs(z[:, :1]) < 0.9, np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    x = np.cross(side, z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    rotation = np.stack([x, np.cross(z, x), z], axis=2)
    vertices = np.einsum("nij,kj->nki", rotation, _SPHERE) * radius[:, None, None]
    vertices += np.where(_END[None, :, None], b[:, None, :], a[:, None, :])
    triangles = _CAPSULE_TRIANGLES[None] + len(_SPHERE) * np.arange(len(a))[:, None, None]
    return vertices.reshape(-1, 3), triangles.reshape(-1, 3)


class DepthCamera:
    """Takes pictures of views. Holds no state but the rays."""

    def __init__(self, spec: CameraSpec) -> None:
        self.spec = spec
        self._rays = spec.rays()
        self._origin = np.zeros_like(self._rays)

    def take(self, view: View) -> Picture:
        """The picture of `view`. Everything is moved into the camera's frame, so that depth is the ray parameter."""
        meshes = [
            _box_mesh(view.carton_position, view.carton_rotation, view.carton_half),
            _box_mesh(view.structure_centre, view.structure_rotation, view.structure_half),
            _box_mesh(view.robot_box_centre, view.robot_box_rotation, view.robot_box_half),
            _capsule_mesh(view.robot_a, view.robot_b, view.robot_radius),
            _capsule_mesh(view.person_a, view.person_b, view.person_radius),
        ]
        cartons = len(view.carton_position)
        owners = [np.repeat(np.arange(cartons), 12)]
        owners += [
            np.full(len(mesh[1]), owner)
            for mesh, owner in zip(meshes[1:], (STRUCTURE, ROBOT, ROBOT, PERSON), strict=True)
        ]
        offset, vertices, triangles = 0, [], []
        for points, faces in meshes:
            vertices.append(points)
            triangles.append(faces + offset)
            offset += len(points)
        rotation, position = view.camera[:3, :3], view.camera[:3, 3]
        local = (np.concatenate(vertices) - position) @ rotation
        scene = EmbreeScene()
        TriangleMesh(
            scene,
            np.ascontiguousarray(local, dtype=np.float32),
            np.ascontiguousarray(np.concatenate(triangles), dtype=np.int32),
        )
        hits = scene.run(self._origin, self._rays, query="INTERSECT", output=True)
        triangle = hits["primID"]
        depth = hits["tfar"].copy()
        owner = np.concatenate([*owners, [NOTHING]])
        seen = owner[triangle].astype(np.int32)
        missed = (triangle < 0) | (depth < self.spec.range_min_m) | (depth > self.spec.range_max_m)
        seen[missed] = NOTHING
        depth[missed] = np.nan
        face = np.where(seen >= 0, (triangle // 2) % 6, 0).astype(np.int32)
        shape = (self.spec.height_px, self.spec.width_px)
        return Picture(depth.reshape(shape), seen.reshape(shape), face.reshape(shape))

    def points(self, picture: Picture, rng: np.random.Generator) -> NDArray[np.float32]:
        """(h, w, 3) float32 in the optical frame, with depth noise growing with the square of the distance."""
        depth = picture.depth_m.reshape(-1)
        noise = rng.standard_normal(depth.shape, dtype=np.float32)
        noisy = depth + np.float32(self.spec.noise_per_m2) * depth * depth * noise
        return np.asarray((self._rays * noisy[:, None]).reshape(*picture.depth_m.shape, 3))


def colours(picture: Picture, carton_colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) plain colours: each carton its own, darker on its sides; grey structure, orange robot, blue people."""
    palette = np.concatenate(
        [carton_colour, np.array([[60, 90, 200], [235, 120, 30], [130, 130, 130], [0, 0, 0]], dtype=np.uint8)]
    )
    image = palette[picture.object_id].astype(np.float32)
    shade = np.array([1.0, 1.0, 0.8, 0.8, 0.6, 0.9], dtype=np.float32)
    return np.asarray((image * shade[picture.face][..., None]).astype(np.uint8))
