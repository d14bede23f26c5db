"""The Wall message: built from the tracks, its version raised only by a meaningful change."""

from dataclasses import dataclass, field

import numpy as np
from geometry_msgs.msg import Pose
from lumper_msgs.msg import Box, Carton, Wall
from scipy.spatial.transform import Rotation

from lumper_perception.boxes import Array, Bools, rotation_vectors
from lumper_perception.relations import Relations, closed_gaps, half_extents, on_floor, relations
from lumper_perception.track import Assumed, Track, TrackState, stacked
from lumper_ros.convert import to_point, to_quaternion, to_time, to_vector3


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
    """Cartons of one instant as arrays (frame trailer), and how they touch."""

    tracks: list[Track]
    centre: Array
    rotation: Array
    size: Array
    floor: Bools
    relation: Relations

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
    touching = relations(centre, table.rotation, size)
    touching.supports[held, :] = touching.supports[:, held] = False
    touching.beside[held, :] = touching.beside[:, held] = False
    fallen = np.array([track.fallen for track in tracks], dtype=bool)
    floor = on_floor(centre, table.rotation, size, touching, fallen) & ~held
    return Picture(tracks, centre, table.rotation, size, floor, touching)


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
            tuple(track.unknown_axes() for track in now.tracks),
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
        if not now.tracks:
            return []
        # Of all at once: one call for each costs more than everything else in the message.
        quaternions = Rotation.from_matrix(now.rotation).as_quat()
        turn_2 = now.rotation**2
        ids = [track.id for track in now.tracks]
        return [self._carton(now, index, quaternions[index], turn_2[index], ids) for index in range(len(now.tracks))]

    def _carton(self, now: Picture, index: int, quaternion: Array, turn_2: Array, ids: list[int]) -> Carton:
        track = now.tracks[index]
        limits = self._limits
        size = now.size[index]
        carton = Carton()
        carton.id = track.id
        carton.state = _state(track, bool(now.floor[index]))
        carton.pose = Pose(position=to_point(now.centre[index]), orientation=to_quaternion(quaternion))
        carton.size_m = to_vector3(size)
        carton.size_unknown = track.unknown_axes()
        along, size_sigma = _sigmas(track)
        across = np.sqrt(turn_2 @ along**2)
        turn = float(np.sqrt(track.rotation_var))
        carton.pose_sigma = [*across.tolist(), turn, turn, turn]
        carton.size_sigma_m = size_sigma.tolist()
        volume = float(size.prod())
        if np.isfinite(track.mass):
            carton.mass_kg, carton.mass_sigma_kg = track.mass, 0.1 * track.mass
        else:
            carton.mass_kg = limits.density_kgpm3 * volume
            carton.mass_sigma_kg = limits.density_sigma * limits.density_kgpm3 * volume
        carton.friction = limits.friction
        carton.confidence = float(np.clip(track.confidence * (1.0 - 0.5 ** min(track.times_seen, 8)), 0.0, 1.0))
        carton.visible_faces = track.visible_faces()
        carton.supported_by = [ids[i] for i in np.flatnonzero(now.relation.supports[:, index])]
        carton.supports = [ids[i] for i in np.flatnonzero(now.relation.supports[index])]
        carton.neighbours = [ids[i] for i in np.flatnonzero(now.relation.beside[index])]
        carton.last_seen = to_time(max(track.last_seen_s, 0.0))
        carton.times_seen = track.times_seen
        return carton


def _state(track: Track, floor: bool) -> int:
    if floor and track.state in (TrackState.SEEN, TrackState.HIDDEN):
        return int(Carton.STATE_ON_FLOOR)
    return track.state.value


def _sigmas(track: Track) -> tuple[Array, Array]:
    """Standard deviations of centre and size (3,) along the carton's axes; an assumed size may be off by a third of it."""
    known = np.isfinite(track.offset) & ~track.loose
    var = np.where(np.isfinite(track.offset), track.var, 0.0)
    low, high = var[:3], var[3:]
    both = known[:3] & known[3:]
    size = np.where(both, np.sqrt(low + high), 0.12)
    centre = np.where(both, np.sqrt(low + high) / 2.0, 0.06)
    return centre, size
