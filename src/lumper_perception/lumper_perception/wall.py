"""The Wall message: built from the tracks, its version raised only by a meaningful change."""

import math
from dataclasses import dataclass, field

import numpy as np
from lumper_msgs.msg import Box, Carton, Wall
from scipy.spatial.transform import Rotation

from lumper_perception.boxes import AXIS_BIT, PLANE_BIT, Array, Bools, rotation_vectors
from lumper_perception.relations import (
    TOUCH_M,
    UPRIGHT_COSINE,
    Relations,
    closed_gaps,
    half_extents,
    on_floor,
    relations,
)
from lumper_perception.silhouettes import GOES_ON_M, ends_at_outlines
from lumper_perception.track import Assumed, Track, TrackState, TrackTable, stacked
from lumper_ros.convert import to_point, to_time


@dataclass(frozen=True, slots=True)
class WallLimits:
    """What counts as a meaningful change (m, rad), and what is assumed of a carton that no one has weighed."""

    pose_change_m: float
    pose_change_rad: float
    size_change_m: float
    density_kgpm3: float
    density_sigma: float
    friction: float


@dataclass(slots=True)
class Picture:
    """Cartons of one instant as arrays (frame trailer), and how they touch. measured: (N, 3) axes whose size is no assumption."""

    tracks: list[Track]
    measured: Bools
    centre: Array
    rotation: Array
    size: Array
    floor: Bools
    relation: Relations

    def unknown(self) -> list[int]:
        """Carton.AXIS_* bits of the axes whose size is an assumption or only a lower bound."""
        return list(map(int, ~self.measured @ AXIS_BIT))

    def extents(self) -> tuple[Array, Array]:
        """(N, 3) low and high corners of the axis-aligned boxes round the cartons."""
        half = half_extents(self.rotation, self.size)
        return self.centre - half, self.centre + half


def picture(tracks: list[Track], assumed: Assumed) -> Picture:
    """Geometry and relations of confirmed tracks; a held carton touches nothing."""
    table = stacked(tracks, assumed)
    held = np.array([track.state is TrackState.HELD for track in tracks], dtype=bool)
    unsure = table.loose | ~table.known
    centre, size = closed_gaps(table.centre, table.rotation, table.size, unsure[:, 5] & ~held, unsure[:, 2] & ~held)
    touching = _touching(centre, table.rotation, size, held)
    eye = np.array([track.eye for track in tracks]).reshape(-1, 3)
    hidden = _ends_hidden(eye, table, centre, size, held, touching)
    if hidden.any():
        unsure[:, 2] |= hidden
        centre, size = _going_on(centre, table.rotation, size, hidden)
        touching = _touching(centre, table.rotation, size, held)
    fallen = np.array([track.fallen for track in tracks], dtype=bool)
    floor = on_floor(centre, table.rotation, size, touching, fallen) & ~held
    measured = ~(unsure[:, :3] | unsure[:, 3:])
    return Picture(tracks, measured, centre, table.rotation, size, floor, touching)


def _touching(centre: Array, rotation: Array, size: Array, held: Bools) -> Relations:
    touching = relations(centre, rotation, size)
    touching.supports[held, :] = touching.supports[:, held] = False
    touching.beside[held, :] = touching.beside[:, held] = False
    return touching


def _ends_hidden(eye: Array, table: TrackTable, centre: Array, size: Array, held: Bools, touching: Relations) -> Bools:
    """(N,) cartons whose lower end is not believed: it lies at the outline of what stands in front, and nothing bears it there."""
    half = half_extents(table.rotation, size)
    low, high = centre - half, centre + half
    doubtful = table.seen[:, 0] & (table.rotation[:, 2, 2] > UPRIGHT_COSINE) & (low[:, 2] > TOUCH_M)
    doubtful &= ~touching.supports.any(axis=0)
    # What hangs on the gripper hides nothing for long.
    free, hidden = np.flatnonzero(~held), np.zeros(len(held), dtype=bool)
    hidden[free] = ends_at_outlines(eye[free], low[free], high[free], doubtful[free])
    return hidden


def _going_on(centre: Array, rotation: Array, size: Array, hidden: Bools) -> tuple[Array, Array]:
    """Centres and sizes (N, 3) with these lower ends taken to where they may be."""
    room_m = centre[:, 2] - half_extents(rotation, size)[:, 2]
    drop_m = np.where(hidden, np.minimum(GOES_ON_M, room_m), 0.0)[:, None] * np.array([0.0, 0.0, 1.0])
    return centre - drop_m / 2.0, size + drop_m


@dataclass(slots=True)
class _Published:
    ids: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    unknown: tuple[int, ...] = ()
    centre: Array = field(default_factory=lambda: np.zeros((0, 3)))
    rotation: Array = field(default_factory=lambda: np.zeros((0, 3, 3)))
    size: Array = field(default_factory=lambda: np.zeros((0, 3)))
    status: int = -1


class WallBook:
    """Keeps the version and what it stood for."""

    def __init__(self, limits: WallLimits, version: int = 0) -> None:
        self._limits = limits
        self._last = _Published()
        self.version = version
        self._removed: list[int] = []
        self._moved: list[int] = []

    def changed(self, now: Picture, status: int, removed: list[int], moved: list[int]) -> bool:
        """Compare with the last version; raises the version and returns True when something meaningful changed."""
        fresh = _Published(
            tuple(track.id for track in now.tracks),
            tuple(_state(track, bool(now.floor[i])) for i, track in enumerate(now.tracks)),
            tuple(now.unknown()),
            now.centre,
            now.rotation,
            now.size,
            status,
        )
        if not (removed or moved) and self._same(fresh, now):
            return False
        self.version += 1
        gone = set(self._last.ids) - set(fresh.ids)
        self._removed = sorted(gone | set(removed))
        self._moved = sorted(set(moved))
        self._last = fresh
        return True

    def _same(self, fresh: _Published, now: Picture) -> bool:
        last = self._last
        if (fresh.ids, fresh.status, fresh.unknown) != (last.ids, last.status, last.unknown):
            return False
        # Hidden for a moment, as the arm passes, changes nothing in the load.
        hidden = {Carton.STATE_HIDDEN: Carton.STATE_SEEN}
        if [hidden.get(s, s) for s in fresh.states] != [hidden.get(s, s) for s in last.states]:
            return False
        still = np.array([track.state is not TrackState.HELD for track in now.tracks], dtype=bool)
        if not still.any():
            return True
        limits = self._limits
        turn = rotation_vectors(np.swapaxes(last.rotation, 1, 2) @ fresh.rotation)
        moved = np.abs(fresh.centre - last.centre).max(axis=1) > limits.pose_change_m
        moved |= np.linalg.norm(turn, axis=1) > limits.pose_change_rad
        moved |= np.abs(fresh.size - last.size).max(axis=1) > limits.size_change_m
        return not bool(moved[still].any())

    def message(
        self,
        now: Picture,
        status: int,
        text: str,
        stamp_s: float,
        now_s: float,
        unknown: list[tuple[Array, Array]],
        coverage: float,
        back_wall_x_m: float,
    ) -> Wall:
        """The Wall at this version."""
        wall = Wall()
        wall.header.frame_id = "trailer"
        wall.header.stamp = to_time(max(stamp_s, 0.0))
        wall.version = self.version
        wall.status = status
        wall.text = text
        wall.cartons = self._cartons(now)
        wall.removed_ids = self._removed
        wall.moved_ids = self._moved
        wall.unknown_space = [Box(min_m=to_point(low), max_m=to_point(high)) for low, high in unknown]
        wall.coverage = coverage
        wall.age_s = max(0.0, now_s - stamp_s) if stamp_s > 0.0 else float("inf")
        wall.back_wall_x_m = back_wall_x_m
        return wall

    def _cartons(self, now: Picture) -> list[Carton]:
        tracks = now.tracks
        if not tracks:
            return []
        # Of all at once: one call for each carton costs more than everything else in the message.
        along, size_sigma = _sigmas(np.stack([track.var for track in tracks]), now.measured)
        across = np.sqrt(np.einsum("nij,nj->ni", now.rotation**2, along**2))
        faces = np.stack([track.seen for track in tracks]) @ PLANE_BIT
        rows = zip(
            tracks,
            now.floor.tolist(),
            now.centre.tolist(),
            Rotation.from_matrix(now.rotation).as_quat().tolist(),
            now.size.tolist(),
            now.unknown(),
            across.tolist(),
            size_sigma.tolist(),
            faces.tolist(),
            strict=True,
        )
        cartons = [self._carton(*row) for row in rows]
        for lower, upper in np.argwhere(now.relation.supports).tolist():
            cartons[lower].supports.append(tracks[upper].id)
            cartons[upper].supported_by.append(tracks[lower].id)
        for one, other in np.argwhere(now.relation.beside).tolist():
            cartons[one].neighbours.append(tracks[other].id)
        return cartons

    def _carton(
        self,
        track: Track,
        floor: bool,
        centre: list[float],
        quaternion: list[float],
        size: list[float],
        unknown: int,
        across: list[float],
        size_sigma: list[float],
        faces: int,
    ) -> Carton:
        limits = self._limits
        carton = Carton()
        carton.id = track.id
        carton.state = _state(track, floor)
        # Filled in place: the message is made with all its parts, and making them again costs half of it all.
        place, turned, extent = carton.pose.position, carton.pose.orientation, carton.size_m
        place.x, place.y, place.z = centre
        turned.x, turned.y, turned.z, turned.w = quaternion
        extent.x, extent.y, extent.z = size
        carton.size_unknown = unknown
        turn = math.sqrt(track.rotation_var)
        carton.pose_sigma = [*across, turn, turn, turn]
        carton.size_sigma_m = size_sigma
        if math.isfinite(track.mass):
            carton.mass_kg, carton.mass_sigma_kg = track.mass, 0.1 * track.mass
        else:
            carton.mass_kg = limits.density_kgpm3 * size[0] * size[1] * size[2]
            carton.mass_sigma_kg = limits.density_sigma * carton.mass_kg
        carton.friction = limits.friction
        carton.confidence = min(1.0, max(0.0, track.confidence * (1.0 - 0.5 ** min(track.times_seen, 8))))
        carton.visible_faces = faces
        carton.last_seen = to_time(max(track.last_seen_s, 0.0))
        carton.times_seen = track.times_seen
        return carton


def _state(track: Track, floor: bool) -> int:
    if floor and track.state in (TrackState.SEEN, TrackState.HIDDEN):
        return int(Carton.STATE_ON_FLOOR)
    return track.state.value


def _sigmas(variance: Array, measured: Bools) -> tuple[Array, Array]:
    """Standard deviations of centre and size (N, 3) along the cartons' axes, from the variances (N, 6) of their planes; an assumed
    size may be off by a third of it.
    """
    whole = np.sqrt(variance[:, :3] + variance[:, 3:])
    return np.where(measured, whole / 2.0, 0.06), np.where(measured, whole, 0.12)
