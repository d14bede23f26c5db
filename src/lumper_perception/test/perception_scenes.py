"""Simulated loads for tests and benchmarks: boxes in a trailer, ray-cast (embreex) by a pinhole camera.

Everything is seeded. The depth noise is sigma = k z^2 along the ray's depth (k in 1/m: 0.001 = 1 mm at 1 m), as of a stereo
or structured-light camera. Colour: every carton has its own shade, its print and tape, darker edges; the picture has noise.
"""

from dataclasses import dataclass, field

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from lumper_msgs.msg import CartonDetection, CartonDetections
from scipy.spatial.transform import Rotation

from lumper_perception.boxes import Faces
from lumper_perception.view import Intrinsics
from lumper_ros.convert import to_point, to_quaternion, to_time

WIDTH_M, HEIGHT_M, LENGTH_M = 2.5, 2.7, 7.0
CAMERA = Intrinsics.of_field_of_view(1.4835298641951802, 640, 480, 0.3, 10.0)

_CUBE = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
# Two triangles per face, faces in plane order -x -y -z +x +y +z.
_QUADS = ([0, 1, 3, 2], [0, 4, 5, 1], [0, 2, 6, 4], [4, 6, 7, 5], [2, 3, 7, 6], [1, 5, 7, 3])
_TRIANGLES = np.array([t for q in _QUADS for t in ([q[0], q[1], q[2]], [q[0], q[2], q[3]])])


@dataclass
class Load:
    """Boxes: centre (N, 3) m, size (N, 3) m, rotation (N, 3, 3), all in frame trailer; key (N,) names them."""

    centre: np.ndarray
    size: np.ndarray
    rotation: np.ndarray
    key: np.ndarray
    shade: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))

    def without(self, *keys: int) -> "Load":
        keep = ~np.isin(self.key, keys)
        return Load(self.centre[keep], self.size[keep], self.rotation[keep], self.key[keep], self.shade[keep])


def wall(
    rng: np.random.Generator,
    front_x_m: float = 5.0,
    ragged: bool = True,
    rows: int = 2,
    top_m: float = 2.2,
    gap_m: float = 0.004,
    yaw_rad: float = 0.0,
) -> Load:
    """A wall of stacked columns: `ragged` fronts differ by up to 0.15 m, else all are in one plane."""
    centre, size = [], []
    x = front_x_m
    for _ in range(rows):
        y = -WIDTH_M / 2 + 0.03
        deepest = 0.0
        while y < WIDTH_M / 2 - 0.2:
            width = min(float(rng.uniform(0.22, 0.60)), WIDTH_M / 2 - 0.03 - y)
            if width < 0.18:
                break
            top = float(rng.uniform(0.6, 1.0)) * top_m if ragged else top_m
            z = 0.0
            while z < top - 0.15:
                height = float(rng.uniform(0.16, 0.45))
                depth = float(rng.uniform(0.25, 0.60))
                if z + height > HEIGHT_M - 0.1:
                    break
                front = x + (float(rng.uniform(0.0, 0.15)) if ragged else 0.0)
                centre.append([front + depth / 2, y + width / 2, z + height / 2])
                size.append([depth, width, height])
                deepest = max(deepest, front + depth - x)
                z += height + 0.0005
            y += width + gap_m
        x += deepest + 0.02
    count = len(centre)
    turn = rng.normal(0.0, yaw_rad, count) if yaw_rad else np.zeros(count)
    return Load(
        np.array(centre),
        np.array(size),
        Rotation.from_rotvec(turn[:, None] * np.array([0.0, 0.0, 1.0])).as_matrix(),
        np.arange(1, count + 1),
        rng.uniform([110, 80, 50], [220, 180, 140], (count, 3)),
    )


def camera_pose(base_x_m: float) -> np.ndarray:
    """4x4 of camera_optical_frame in trailer for a base at x, as the robot's mounts have it."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [-1.9547687622336491, 0.0, -1.5707963267948966]).as_matrix()
    pose[:3, 3] = [base_x_m - 0.35, -0.15, 2.35]
    return pose


@dataclass
class Picture:
    """One ray-cast picture: cloud (H, W, 3) m in the optical frame, colour (H, W, 3), box index and plane per pixel (-1 = none)."""

    cloud: np.ndarray
    colour: np.ndarray
    box: np.ndarray
    plane: np.ndarray
    pose: np.ndarray


class Renderer:
    """Casts one ray per pixel of `intrinsics`."""

    def __init__(self, intrinsics: Intrinsics = CAMERA) -> None:
        self.k = intrinsics
        columns, rows = np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height))
        self.rays = np.stack(
            [(columns - intrinsics.cx) / intrinsics.fx, (rows - intrinsics.cy) / intrinsics.fy, np.ones(columns.shape)],
            axis=-1,
        ).reshape(-1, 3)

    def render(
        self, load: Load, pose: np.ndarray, rng: np.random.Generator, noise: float = 0.001, colour: bool = False
    ) -> Picture:
        """Ray-cast the load inside the trailer; `noise` is k of sigma = k z^2 (1/m)."""
        scene = rtcore_scene.EmbreeScene()
        count = len(load.centre)
        corners = np.einsum("nij,nkj->nki", load.rotation, _CUBE[None] * load.size[:, None]) + load.centre[:, None]
        shell = _CUBE * np.array([LENGTH_M + 6.0, WIDTH_M, HEIGHT_M]) + np.array(
            [(LENGTH_M - 6.0) / 2, 0.0, HEIGHT_M / 2]
        )
        everything = np.concatenate([corners.reshape(-1, 3), shell]).astype(np.float32)
        triangles = (np.arange(count + 1)[:, None, None] * 8 + _TRIANGLES[None]).reshape(-1, 3)
        TriangleMesh(scene, everything[triangles])
        directions = self.rays @ pose[:3, :3].T
        origins = np.tile(pose[:3, 3], (len(directions), 1))
        hits = scene.run(origins.astype(np.float32), directions.astype(np.float32), output=1)
        primitive, distance = hits["primID"], hits["tfar"]
        box = np.where(primitive >= 0, primitive // 12, -1)
        plane = np.where(primitive >= 0, primitive % 12 // 2, -1)
        box[box == count] = -2
        depth = np.where(primitive >= 0, distance, np.nan).astype(float)
        noisy = depth + noise * depth**2 * rng.standard_normal(depth.shape)
        cloud = (self.rays * noisy[:, None]).astype(np.float32)
        height, width = self.k.height, self.k.width
        shade = (
            self._shade(load, box, plane, cloud, depth, pose, rng)
            if colour
            else np.zeros((len(box), 3), dtype=np.uint8)
        )
        return Picture(
            cloud.reshape(height, width, 3),
            shade.reshape(height, width, 3),
            box.reshape(height, width),
            plane.reshape(height, width),
            pose,
        )

    def _shade(
        self,
        load: Load,
        box: np.ndarray,
        plane: np.ndarray,
        cloud: np.ndarray,
        depth: np.ndarray,
        pose: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        base = np.full((len(box), 3), 95.0)
        on = box >= 0
        owner = box[on]
        base[on] = load.shade[owner]
        points = (self.rays[on] * depth[on, None]) @ pose[:3, :3].T + pose[:3, 3]
        local = np.einsum("pji,pj->pi", load.rotation[owner], points - load.centre[owner]) / load.size[owner] + 0.5
        axis = plane[on] % 3
        rows = np.arange(len(owner))
        u, v = local[rows, (axis + 1) % 3], local[rows, (axis + 2) % 3]
        size_u, size_v = load.size[owner, (axis + 1) % 3], load.size[owner, (axis + 2) % 3]
        edge = np.minimum.reduce([u * size_u, (1 - u) * size_u, v * size_v, (1 - v) * size_v])
        # Rounded, shadowed edges of board; a label and a tape, where a carton has them.
        base[on] *= np.where(edge < 0.004, 0.62, 1.0)[:, None]
        label = (owner % 3 == 0) & (u > 0.55) & (u < 0.85) & (v > 0.2) & (v < 0.55)
        tape = (owner % 2 == 0) & (np.abs(v - 0.5) * size_v < 0.025)
        base[on] *= np.where(tape, 0.9, 1.0)[:, None]
        shaded = base[on]
        shaded[label] = [225, 225, 220]
        base[on] = shaded
        base *= np.where(plane == 0, 1.0, np.where(plane == 5, 1.1, 0.85))[:, None]
        return np.clip(base + rng.normal(0.0, 3.0, base.shape), 0, 255).astype(np.uint8)


def true_faces(load: Load, picture: Picture, k: Intrinsics = CAMERA, least_px: int = 60) -> list[dict]:
    """Faces that the picture shows: box index, plane, pixels, and the share of the whole face that is visible."""
    code = np.where(picture.box >= 0, picture.box * 6 + picture.plane, -1).reshape(-1)
    values, counts = np.unique(code[code >= 0], return_counts=True)
    to_camera = np.linalg.inv(picture.pose)
    result = []
    for value, pixels in zip(values.tolist(), counts.tolist(), strict=True):
        if pixels < least_px:
            continue
        box, plane = divmod(value, 6)
        axis, sign = plane % 3, -1.0 if plane < 3 else 1.0
        a, b = (axis + 1) % 3, (axis + 2) % 3
        rotation, size = load.rotation[box], load.size[box]
        centre = load.centre[box] + rotation[:, axis] * sign * size[axis] / 2
        corners = np.array(
            [
                centre + rotation[:, a] * i * size[a] / 2 + rotation[:, b] * j * size[b] / 2
                for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
        )
        local = corners @ to_camera[:3, :3].T + to_camera[:3, 3]
        u, v, depth = k.project(local)
        if depth.min() < 0.1:
            continue
        full = 0.5 * abs(float(np.dot(u, np.roll(v, -1)) - np.dot(v, np.roll(u, -1))))
        result.append(
            {"box": box, "plane": plane, "pixels": pixels, "share": pixels / max(full, 1.0), "centre": centre}
        )
    return result


def face_frame(load: Load, box: int, plane: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Centre, rotation (x width, y height, z outward), width and height of one face, in trailer."""
    axis, sign = plane % 3, -1.0 if plane < 3 else 1.0
    rotation = load.rotation[box]
    normal = rotation[:, axis] * sign
    up_axis = 2 if axis != 2 else 0
    up = rotation[:, up_axis]
    across = np.cross(up, normal)
    across_axis = int(np.argmax(np.abs(rotation.T @ across)))
    centre = load.centre[box] + normal * load.size[box, axis] / 2
    return (
        centre,
        np.stack([across, up, normal], axis=1),
        float(load.size[box, across_axis]),
        float(load.size[box, up_axis]),
    )


def detect(
    load: Load,
    picture: Picture,
    stamp_s: float,
    rng: np.random.Generator,
    sigma_m: float = 0.003,
    least_share: float = 0.35,
    dropout: float = 0.0,
    frame: str = "camera_optical_frame",
) -> CartonDetections:
    """What an upstream detector reports of this picture: noisy faces in the camera frame; faces mostly hidden are left out."""
    message = CartonDetections()
    message.header.frame_id = frame
    message.header.stamp = to_time(stamp_s)
    message.source = "simulated"
    message.view_coverage = 1.0
    to_camera = np.linalg.inv(picture.pose)
    for face in true_faces(load, picture):
        if face["share"] < least_share or rng.uniform() < dropout:
            continue
        centre, rotation, width, height = face_frame(load, face["box"], face["plane"])
        look = picture.pose[:3, 3] - centre
        if float(rotation[:, 2] @ look) / np.linalg.norm(look) < 0.2:
            continue
        item = CartonDetection()
        spin = Rotation.from_rotvec(rng.normal(0.0, 0.005, 3)).as_matrix()
        item.face_pose.position = to_point(to_camera[:3, :3] @ (centre + rng.normal(0, sigma_m, 3)) + to_camera[:3, 3])
        item.face_pose.orientation = to_quaternion(Rotation.from_matrix(to_camera[:3, :3] @ spin @ rotation).as_quat())
        item.width_m = width + float(rng.normal(0, sigma_m))
        item.height_m = height + float(rng.normal(0, sigma_m))
        item.depth_m = float("nan")
        item.mass_kg = float("nan")
        item.position_sigma_m = sigma_m
        item.rotation_sigma_rad = 0.005
        item.size_sigma_m = sigma_m
        item.confidence = 0.9
        item.occluded = face["share"] < 0.9
        message.detections.append(item)
    return message


def empty_faces() -> Faces:
    none = np.zeros(0)
    return Faces(
        np.zeros((0, 3)),
        np.zeros((0, 3, 3)),
        np.zeros((0, 2)),
        none,
        none,
        none,
        none,
        none,
        none,
        np.zeros((0, 4), dtype=bool),
    )
