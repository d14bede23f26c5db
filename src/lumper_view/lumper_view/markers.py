"""A scene as visualization_msgs markers. Markers are kept by (namespace, id) and rebuilt only where something changed."""

from collections.abc import Iterable

import numpy as np
from geometry_msgs.msg import Point, Pose, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from lumper_ros.convert import to_point, to_pose, to_time
from lumper_view.scene import LOOK_RGB, Body, Look, Scene

Key = tuple[str, int]

FRAME = "trailer"
# A deletion is repeated so that a viewer that missed one message still loses the marker.
DELETE_REPEATS = 10
# In between only what changed is sent; the last message of a quiet scene is always the whole, for those who come later.
WHOLE_PERIOD_S = 1.0
TEXT_HEIGHT_M = 0.16
_ALPHA = {Look.HIDDEN: 0.35, Look.SEEN: 0.9}
_TEXT_LOOKS = frozenset((Look.UNSAFE, Look.CANNOT, Look.UNCERTAIN, Look.ON_FLOOR, Look.SKIPPED))
_WHITE = (255, 255, 255)
_ARROW_RGB = {"grasp": (0, 114, 178), "extraction": (0, 158, 115), "support": (120, 120, 120)}


def _colour(rgb: tuple[int, int, int], alpha: float = 1.0) -> ColorRGBA:
    return ColorRGBA(r=rgb[0] / 255, g=rgb[1] / 255, b=rgb[2] / 255, a=alpha)


_LOOK_COLOUR = {look: _colour(LOOK_RGB[look], _ALPHA.get(look, 1.0)) for look in Look}


class MarkerBook:
    """The markers shown now, and those that have to go."""

    def __init__(self, stamp_s: float = 0.0) -> None:
        self._markers: dict[Key, Marker] = {}
        self._made_from: dict[Key, object] = {}
        self._leaving: dict[Key, int] = {}
        self._header = Header(frame_id=FRAME, stamp=to_time(stamp_s))
        self._first = True
        self._whole_s = float("-inf")
        self._partial = False
        self._changed: set[Key] = set()
        self._wanted: set[Key] = set()

    def update(
        self, scene: Scene, bodies: Iterable[Body], stamp_s: float, steady_s: float, reasons: bool = True
    ) -> MarkerArray | None:
        """The markers that changed, with deletions of those gone, and once a second all; None when there is nothing to say.

        Args:
            bodies: boxes of base and conveyor.
            stamp_s: ROS time for the headers. One Header object is shared by all markers.
            steady_s: monotonic clock.
            reasons: also write why cartons are not taken.
        """
        self._header.stamp = to_time(max(0.0, stamp_s))
        self._changed = set()
        self._wanted = set()
        self._leaving = {key: left for key, left in self._leaving.items() if left > 0}
        self._cartons(scene, reasons)
        self._arrows(scene)
        self._regions(scene)
        self._safety(scene)
        for number, body in enumerate(bodies):
            self._box("robot", number, to_pose(body.transform), body.size, (110, 110, 120), 0.5)
        for key in [key for key in self._markers if key not in self._wanted]:
            del self._markers[key], self._made_from[key]
            self._leaving[key] = DELETE_REPEATS
        due = self._partial and steady_s - self._whole_s >= WHOLE_PERIOD_S
        if not (self._first or self._changed or self._leaving or due):
            return None
        if self._first or due or len(self._changed) == len(self._markers):
            array = [*self._deletions(), *self._markers.values()]
            self._whole_s, self._partial = steady_s, False
        else:
            array = [*self._deletions(), *(self._markers[key] for key in self._markers if key in self._changed)]
            self._partial = True
        if self._first:
            array.insert(0, Marker(header=self._header, action=Marker.DELETEALL))
            self._first = False
        return MarkerArray(markers=array)

    def _deletions(self) -> list[Marker]:
        self._leaving = {key: left - 1 for key, left in self._leaving.items() if key not in self._markers}
        return [Marker(header=self._header, ns=ns, id=number, action=Marker.DELETE) for ns, number in self._leaving]

    def _slot(self, key: Key, made_from: object) -> Marker | None:
        """The marker to fill in, or None when it stands as it is."""
        self._wanted.add(key)
        if self._made_from.get(key) == made_from:
            return None
        self._changed.add(key)
        self._made_from[key] = made_from
        marker = self._markers.get(key)
        if marker is None:
            ns, number = key
            marker = self._markers[key] = Marker(header=self._header, ns=ns, id=number)
            # The constructor copies nothing: sharing the header keeps one stamp for all.
            marker.header = self._header
        return marker

    def _cartons(self, scene: Scene, reasons: bool) -> None:
        cartons, asked = scene.cartons, frozenset(scene.asked)
        rows = (
            np.concatenate([cartons.positions, cartons.quaternions, cartons.sizes], axis=1).tolist()
            if cartons.ids
            else []
        )
        for carton_id, row, look, place, reason in zip(
            cartons.ids, rows, cartons.looks, cartons.order, cartons.reasons, strict=True
        ):
            number = carton_id % 2**31
            marker = self._slot(("cartons", number), (row, look))
            if marker is not None:
                marker.type = Marker.CUBE
                # Filled in place: making four new message objects for each carton would cost more than all the rest.
                position, orientation, scale = marker.pose.position, marker.pose.orientation, marker.scale
                position.x, position.y, position.z = row[0], row[1], row[2]
                orientation.x, orientation.y, orientation.z, orientation.w = row[3], row[4], row[5], row[6]
                scale.x, scale.y, scale.z = row[7], row[8], row[9]
                marker.color = _LOOK_COLOUR[look]
            if place:
                self._text("order", number, (row[0] - row[7] / 2 - 0.05, row[1], row[2]), str(place), 1.6)
            elif look is Look.HELD:
                self._text("order", number, (row[0], row[1], row[2] + row[9] / 2 + 0.1), "held", 1.0)
            if carton_id in asked:
                at = (row[0] - row[7] / 2 - 0.05, row[1], row[2] + row[9] / 4)
                self._text("asked", number, at, f"#{carton_id}", 0.9)
            if not place and look is not Look.HELD and reasons and look in _TEXT_LOOKS:
                words = reason or look.name.lower().replace("_", " ")
                self._text("reasons", number, (row[0] - row[7] / 2 - 0.03, row[1], row[2]), words, 0.3)

    def _text(self, ns: str, number: int, at: tuple[float, float, float], words: str, size: float) -> None:
        marker = self._slot((ns, number), (at, words))
        if marker is not None:
            marker.type = Marker.TEXT_VIEW_FACING
            marker.pose = Pose(position=Point(x=at[0], y=at[1], z=at[2]))
            marker.scale = Vector3(z=TEXT_HEIGHT_M * size)
            marker.color = _colour(_WHITE)
            marker.text = words

    def _arrows(self, scene: Scene) -> None:
        for number, arrow in enumerate(scene.arrows):
            marker = self._slot((arrow.kind, number), (arrow.start.tolist(), arrow.end.tolist()))
            if marker is not None:
                thin = arrow.kind == "support"
                marker.type = Marker.ARROW
                marker.points = [to_point(arrow.start), to_point(arrow.end)]
                marker.scale = Vector3(x=0.015 if thin else 0.04, y=0.04 if thin else 0.09, z=0.0)
                marker.color = _colour(_ARROW_RGB[arrow.kind])

    def _regions(self, scene: Scene) -> None:
        for number, (centre, size) in enumerate(scene.unknown):
            pose = Pose(position=to_point(centre))
            self._box("unknown", number, pose, (size[0], size[1], size[2]), (120, 120, 160), 0.15)

    def _box(
        self,
        ns: str,
        number: int,
        pose: Pose,
        size: tuple[float, float, float],
        rgb: tuple[int, int, int],
        alpha: float,
    ) -> None:
        p, q = pose.position, pose.orientation
        made_from = tuple(round(v, 4) for v in (p.x, p.y, p.z, q.x, q.y, q.z, q.w, *size))
        marker = self._slot((ns, number), made_from)
        if marker is not None:
            marker.type = Marker.CUBE
            marker.pose = pose
            marker.scale = Vector3(x=float(size[0]), y=float(size[1]), z=float(size[2]))
            marker.color = _colour(rgb, alpha)

    def _safety(self, scene: Scene) -> None:
        for number, (x, y) in enumerate(scene.people.round(2).tolist()):
            marker = self._slot(("people", number), (x, y))
            if marker is not None:
                marker.type = Marker.CYLINDER
                marker.pose = Pose(position=Point(x=x, y=y, z=0.9))
                marker.scale = Vector3(x=0.4, y=0.4, z=1.8)
                marker.color = _colour((230, 159, 0), 0.8)
        field = scene.safety
        if field is None or not len(field.outline):
            return
        outline = field.outline.round(2)
        rgb = (213, 94, 0) if field.stopped else (86, 180, 233)
        marker = self._slot(("safety", 0), (outline.tobytes(), field.stopped))
        if marker is not None:
            marker.type = Marker.LINE_STRIP
            marker.points = _ring(outline)
            marker.scale = Vector3(x=0.03)
            marker.color = _colour(rgb)
        x, y = outline.mean(axis=0).tolist()
        self._text("safety", 1, (round(x - field.required_m, 1), round(y, 1), 0.3), field.text, 1.2)


def _ring(outline: NDArray[np.float64]) -> list[Point]:
    points = [Point(x=x, y=y, z=0.02) for x, y in outline.tolist()]
    return [*points, points[0]]
