"""Draws a scene into viser, touching only what changed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import trimesh
import viser
from numpy.typing import NDArray

from lumper_ros.robot import Robot, Trailer
from lumper_view.scene import LOOK_RGB, Arrow, Body, Cartons, Floats, Look, Scene

_CUBE = trimesh.creation.box((1.0, 1.0, 1.0))
_ARROW_RGB = {"grasp": (0, 114, 178), "extraction": (0, 158, 115), "support": (110, 110, 110)}
MAX_ORDER_LABELS = 12
# Corners of a box (unit, centred) and its 12 edges.
_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_EDGES = np.array([(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7)])
# Signs on the face towards the robot (x = -0.5), by look: pairs of points (y, z) in the unit face.
_SIGNS: dict[Look, list[tuple[tuple[float, float], tuple[float, float]]]] = {
    Look.UNSAFE: [((-0.35, -0.35), (0.35, 0.35)), ((-0.35, 0.35), (0.35, -0.35))],
    Look.UNCERTAIN: [((-0.35, -0.35), (0.35, 0.35))],
    Look.CANNOT: [((-0.35, 0.0), (0.35, 0.0))],
    Look.SKIPPED: [((-0.35, 0.0), (0.35, 0.0))],
    Look.ON_FLOOR: [((-0.35, 0.3), (0.35, 0.3)), ((-0.35, 0.3), (0.0, -0.35)), ((0.35, 0.3), (0.0, -0.35))],
}


def wxyz(xyzw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions (…, 4) from x y z w to w x y z."""
    return np.roll(xyzw, 1, axis=-1)


def rotate(xyzw: Floats, vectors: Floats) -> Floats:
    """Rotate vectors (n, k, 3) by quaternions (n, 4) x y z w."""
    u, w = xyzw[:, None, :3], xyzw[:, None, 3:]
    t = 2.0 * np.cross(u, vectors)
    turned: Floats = vectors + w * t + np.cross(u, t)
    return turned


def carton_lines(cartons: Cartons) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Edges of all cartons and the signs on their faces, as (m, 2, 3) segments and their (m, 2, 3) colours."""
    if not cartons.ids:
        return np.zeros((0, 2, 3), np.float32), np.zeros((0, 2, 3), np.uint8)
    corners = rotate(cartons.quaternions, _CORNERS[None] * cartons.sizes[:, None]) + cartons.positions[:, None]
    segments = [corners[:, _EDGES].reshape(-1, 2, 3)]
    for look, strokes in _SIGNS.items():
        rows = [i for i, other in enumerate(cartons.looks) if other is look]
        if rows:
            local = np.array([[(-0.502, *a), (-0.502, *b)] for a, b in strokes]).reshape(1, -1, 3)
            moved = (
                rotate(cartons.quaternions[rows], local * cartons.sizes[rows][:, None])
                + cartons.positions[rows][:, None]
            )
            segments.append(moved.reshape(-1, 2, 3))
    lines = np.concatenate(segments).astype(np.float32)
    return lines, np.full((len(lines), 2, 3), 25, np.uint8)


def look_at_robot(trailer: Trailer, base_x_m: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Camera position and target that show the robot from behind and above, with the load in view."""
    return (base_x_m - 2.6, trailer.width_m * 0.95, trailer.height_m * 1.25), (base_x_m + 1.7, -0.15, 0.85)


def capsule_mesh(a: NDArray[np.float64], b: NDArray[np.float64], radius_m: float) -> trimesh.Trimesh:
    """What lies within `radius_m` of the segment from `a` to `b`, (3,) m each."""
    axis, length_m = b - a, float(np.linalg.norm(b - a))
    # trimesh puts the origin into its middle.
    mesh = trimesh.creation.capsule(length_m, radius_m, count=(16, 16))
    mesh.apply_transform(trimesh.geometry.align_vectors((0, 0, 1), axis if length_m > 1e-6 else (0, 0, 1)))
    mesh.apply_translation((a + b) / 2.0)
    return mesh


class SceneDrawer:
    """The 3-D part of the page; every method runs on the server's event loop.

    Args:
        server: the page.
        robot: the robot's files.
        trailer: the trailer's inside.
    """

    def __init__(self, server: viser.ViserServer, robot: Robot, trailer: Trailer) -> None:
        self._scene = server.scene
        self._server = server
        self._robot = robot
        self._handles: dict[str, Any] = {}
        self._keys: dict[str, object] = {}
        self._labels: dict[int, Any] = {}
        self._cartons: Cartons | None = None
        self._links: dict[str, Any] = {}
        self._dimensions = trailer
        self.aim(0.0)
        self._trailer(trailer)
        self._arm()

    def _trailer(self, trailer: Trailer) -> None:
        half, length, height = trailer.width_m / 2, trailer.length_m, trailer.height_m
        self._scene.add_box(
            "/trailer/floor",
            color=(205, 208, 212),
            dimensions=(length, trailer.width_m, 0.02),
            position=(length / 2, 0.0, -0.012),
            cast_shadow=False,
        )
        self._scene.add_box(
            "/dock",
            color=(178, 182, 188),
            dimensions=(trailer.dock_length_m, trailer.width_m + 3.0, 0.02),
            position=(-trailer.dock_length_m / 2, 0.0, -0.014),
            cast_shadow=False,
        )
        corners = [(x, y, z) for x in (0.0, length) for y in (-half, half) for z in (0.0, height)]
        points = np.array([[corners[a], corners[b]] for a, b in _EDGES], np.float32)
        self._scene.add_line_segments("/trailer/frame", points, (90, 95, 105), thickness=0.02)

    def _arm(self) -> None:
        for name in dict.fromkeys(capsule.link for capsule in self._robot.capsules):
            self._links[name] = self._scene.add_frame(f"/arm/{name}", show_axes=False)
        for number, capsule in enumerate(self._robot.capsules):
            mesh = capsule_mesh(np.array(capsule.a), np.array(capsule.b), capsule.radius_m)
            colour = (245, 160, 30) if capsule.link not in ("tool0", "base_link") else (60, 60, 66)
            self._scene.add_mesh_simple(f"/arm/{capsule.link}/{number}", mesh.vertices, mesh.faces, color=colour)

    def aim(self, base_x_m: float) -> None:
        """Let browsers that come from now on start with the robot in view; those that look already keep their view."""
        if self._changed("aim", round(2.0 * base_x_m)):
            camera = self._server.initial_camera
            camera.position, camera.look_at = look_at_robot(self._dimensions, base_x_m)

    def draw(self, scene: Scene, links: Mapping[str, Floats], bodies: Sequence[Body]) -> None:
        """Bring the page to this scene."""
        with self._server.atomic():
            self._draw_links(links)
            self._draw_bodies(bodies)
            self._draw_cartons(scene.cartons, scene.asked)
            self._draw_arrows(scene.arrows)
            self._draw_unknown(scene.unknown)
            self._draw_people(scene.people)
            self._draw_field(scene)

    def _changed(self, name: str, key: object) -> bool:
        if self._keys.get(name) == key:
            return False
        self._keys[name] = key
        return True

    def _remove(self, name: str) -> None:
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.remove()

    def _draw_links(self, links: Mapping[str, Floats]) -> None:
        for name, handle in self._links.items():
            transform = links.get(name)
            if transform is not None and self._changed(f"link {name}", transform.round(4).tobytes()):
                handle.position = transform[:3, 3]
                handle.wxyz = viser.transforms.SO3.from_matrix(transform[:3, :3]).wxyz

    def _draw_bodies(self, bodies: Sequence[Body]) -> None:
        for body in bodies:
            if self._changed(body.name, body.transform.round(3).tobytes()):
                handle = self._handles.get(body.name)
                rotation = viser.transforms.SO3.from_matrix(body.transform[:3, :3]).wxyz
                if handle is None:
                    colour = (70, 110, 130) if body.name == "conveyor" else (95, 98, 105)
                    self._handles[body.name] = self._scene.add_box(
                        f"/robot/{body.name}", color=colour, dimensions=body.size, cast_shadow=False
                    )
                    handle = self._handles[body.name]
                handle.position, handle.wxyz = body.transform[:3, 3], rotation

    def _draw_cartons(self, cartons: Cartons, asked: tuple[int, ...]) -> None:
        if self._changed("asked", asked) or cartons is not self._cartons:
            self._carton_labels(cartons, frozenset(asked))
        if cartons is self._cartons:
            return
        self._cartons = cartons
        colours = np.array([LOOK_RGB[look] for look in cartons.looks], np.uint8).reshape(-1, 3)
        handle = self._handles.get("cartons")
        positions = cartons.positions.astype(np.float32)
        quaternions = wxyz(cartons.quaternions).astype(np.float32)
        sizes = cartons.sizes.astype(np.float32)
        if handle is not None and self._keys.get("cartons") == len(cartons.ids):
            handle.batched_positions, handle.batched_wxyzs = positions, quaternions
            handle.batched_scales, handle.batched_colors = sizes, colours
        else:
            self._remove("cartons")
            self._keys["cartons"] = len(cartons.ids)
            if cartons.ids:
                self._handles["cartons"] = self._scene.add_batched_meshes_simple(
                    "/cartons",
                    _CUBE.vertices,
                    _CUBE.faces,
                    quaternions,
                    positions,
                    batched_scales=sizes,
                    batched_colors=colours,
                    flat_shading=True,
                    lod="off",
                )
        lines, line_colours = carton_lines(cartons)
        self._lines("carton_lines", lines, line_colours, 0.008)

    def _lines(self, name: str, points: NDArray[Any], colours: Any, thickness: float) -> None:
        """A set of line segments, replaced as a whole where their number changes."""
        handle = self._handles.get(name)
        if handle is not None and handle.points.shape == points.shape:
            handle.points = points
            return
        self._remove(name)
        if len(points):
            self._handles[name] = self._scene.add_line_segments(f"/{name}", points, colours, thickness=thickness)

    def _carton_labels(self, cartons: Cartons, asked: frozenset[int]) -> None:
        """The cartons' ids while a person is asked about them, else their places in the plan."""
        wanted: dict[int, tuple[str, tuple[float, float, float]]] = {}
        for row, place in enumerate(cartons.order):
            x, y, z = cartons.positions[row]
            front = (x - cartons.sizes[row][0] / 2 - 0.05, y, z)
            if cartons.ids[row] in asked:
                wanted[cartons.ids[row]] = (f"#{cartons.ids[row]}", front)
            elif 0 < place <= MAX_ORDER_LABELS and cartons.looks[row] is not Look.HELD:
                wanted[cartons.ids[row]] = (str(place), front)
            elif cartons.looks[row] is Look.HELD:
                wanted[cartons.ids[row]] = ("held", (x, y, z))
        for carton_id in [i for i in self._labels if i not in wanted]:
            self._labels.pop(carton_id).remove()
        for carton_id, (text, at) in wanted.items():
            label = self._labels.get(carton_id)
            if label is None:
                self._labels[carton_id] = self._scene.add_label(
                    f"/order/{carton_id}", text, position=at, font_screen_scale=1.9, anchor="center-center"
                )
            else:
                label.text, label.position = text, at

    def _draw_arrows(self, arrows: Sequence[Arrow]) -> None:
        if not self._changed("arrows", tuple((a.kind, a.start.tobytes(), a.end.tobytes()) for a in arrows)):
            return
        self._remove("arrows")
        if arrows:
            points = np.array([[a.start, a.end] for a in arrows], np.float32)
            colours = np.array([_ARROW_RGB[a.kind] for a in arrows], np.uint8)
            self._handles["arrows"] = self._scene.add_arrows(
                "/arrows", points, colours, shaft_radius=0.022, head_radius=0.06, head_length=0.12
            )

    def _draw_unknown(self, boxes: Sequence[tuple[Floats, Floats]]) -> None:
        if not self._changed("unknown", tuple((c.tobytes(), s.tobytes()) for c, s in boxes)):
            return
        segments = [(_CORNERS * size + centre)[_EDGES] for centre, size in boxes]
        points = np.concatenate(segments).astype(np.float32) if segments else np.zeros((0, 2, 3), np.float32)
        self._lines("unknown", points, (130, 130, 190), 0.006)

    def _draw_people(self, people: Floats) -> None:
        if not self._changed("people", people.round(2).tobytes()):
            return
        self._remove("people")
        if len(people):
            n = len(people)
            body = capsule_mesh(np.array([0.0, 0.0, 0.22]), np.array([0.0, 0.0, 1.5]), 0.22)
            places = np.concatenate([people, np.zeros((n, 1))], axis=1)
            self._handles["people"] = self._scene.add_batched_meshes_simple(
                "/people",
                body.vertices,
                body.faces,
                np.tile([1.0, 0.0, 0.0, 0.0], (n, 1)),
                places,
                batched_colors=np.tile(np.array([[230, 60, 120]], np.uint8), (n, 1)),
                lod="off",
            )

    def _draw_field(self, scene: Scene) -> None:
        field = scene.safety
        outline = field.outline if field is not None else np.zeros((0, 2))
        stopped = field is not None and field.stopped
        if not self._changed("field", (outline.round(2).tobytes(), stopped)):
            return
        ring = np.concatenate([outline, np.full((len(outline), 1), 0.02)], axis=1)
        points = np.stack([ring, np.roll(ring, -1, axis=0)], axis=1).astype(np.float32)
        if self._changed("field colour", stopped):
            self._remove("field")
        self._lines("field", points, (200, 0, 30) if stopped else (0, 90, 160), 0.03)

    def cloud(self, points: NDArray[np.float32]) -> None:
        """Show (k, 3) points of the trailer frame."""
        handle = self._handles.get("cloud")
        if handle is not None and handle.points.shape == points.shape:
            handle.points = points
            return
        self._remove("cloud")
        if len(points):
            self._handles["cloud"] = self._scene.add_point_cloud(
                "/cloud", points, (70, 70, 160), point_size=0.012, point_shape="circle", point_shading="flat"
            )
