"""From the points of a scan that nothing explains to people: clusters, tracks, and those who hide."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Points around somebody: within a step of it.
_RING_M = 0.35 * np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0.0, 2 * np.pi, 12, endpoint=False)])
_RUN_MPS = 2.5
Explains = Callable[[Array], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Tuning:
    """How points become people; m, s."""

    gap_m: float  # farther apart than this: two clusters
    gate_m: float  # a track may be found again within this distance, plus what it can walk
    confirm_m: float  # a track that has moved this far is a person for certain
    hidden_s: float  # such a one is remembered for so long where the scanner cannot look


@dataclass(slots=True)
class Track:
    """Somebody, or something, that nothing explains. Positions in base_link, m and m/s."""

    number: int
    points: Array
    centre: Array
    velocity: Array
    start: Array
    born_s: float
    seen_s: float
    scans: int = 1
    confirmed: bool = False
    hidden: bool = False
    samples: list[tuple[float, Array]] = field(default_factory=list)


def clusters(points: Array, beams: NDArray[np.int64], gap_m: float) -> list[tuple[int, int]]:
    """Runs of neighbouring points: [start, end) indices. points (n, 2) in order of beams (n,)."""
    if not len(points):
        return []
    step = np.hypot(*np.diff(points, axis=0).T)
    breaks = np.flatnonzero((step > gap_m) | (np.diff(beams) > 4)) + 1
    edges = [0, *breaks.tolist(), len(points)]
    return list(pairwise(edges))


class People:
    """The people before one scanner.

    Args:
        origin: (2,) of the scanner in base_link.
        angles_rad: (beams,) in base_link.
        contour_m: (beams,) taught ranges of a room that is not a trailer; what is as far or farther is explained.
            Infinite where nothing was taught.
    """

    def __init__(self, origin: Array, angles_rad: Array, contour_m: Array, tuning: Tuning) -> None:
        self._origin = origin
        self._directions = np.column_stack([np.cos(angles_rad), np.sin(angles_rad)])
        self._angles = angles_rad
        self._contour = contour_m
        self._tuning = tuning
        self._tracks: list[Track] = []
        self._next = 1
        self._single: Array = np.zeros((0, 2))

    @property
    def tracks(self) -> list[Track]:
        return self._tracks

    def fastest_mps(self) -> float:
        """Largest speed measured of anybody who is known long enough to have one."""
        return max((float(np.hypot(*t.velocity)) for t in self._tracks if t.confirmed and not t.hidden), default=0.0)

    def forget(self) -> None:
        """Start anew: nothing is known of the surroundings yet."""
        self._tracks, self._single = [], np.zeros((0, 2))

    def hand_over(self, other: "People") -> None:
        """Let go of those who are hidden from this scanner and whom the other one has found near by since."""
        seen = [track for track in other.tracks if not track.hidden]
        self._tracks = [
            track
            for track in self._tracks
            if not track.hidden
            or not any(
                found.seen_s > track.seen_s
                and np.hypot(*(found.centre - track.centre)) <= self._gate(found.seen_s - track.seen_s)
                for found in seen
            )
        ]

    def _gate(self, unseen_s: float) -> float:
        """How far somebody may be found from where they were last seen, m."""
        return self._tuning.gate_m + min(_RUN_MPS * max(unseen_s, 0.0), 1.0)

    def update(self, ranges: Array, time_s: float, explains: Explains, hides: Explains) -> None:
        """Take a scan.

        Args:
            ranges: (beams,) m, +inf = no return.
            time_s: its stamp.
            explains: (n, 2) points in base_link -> (n,) explained by something.
            hides: as `explains`, by something that a person can disappear into: pile, load, arm.
        """
        beams = np.flatnonzero(ranges < self._contour)
        points = self._origin + ranges[beams, None] * self._directions[beams]
        if len(points):
            keep = ~explains(points)
            beams, points = beams[keep], points[keep]
        found: list[Array] = []
        thin: list[Array] = []
        for start, end in clusters(points, beams, self._tuning.gap_m):
            (found if end - start >= 2 else thin).append(points[start:end])
        # One beam alone may be an edge hit half. Twice in the same place it is something.
        if len(self._single):
            found.extend(s for s in thin if np.hypot(*(self._single - s[0]).T).min() < self._tuning.gap_m)
        self._single = np.concatenate(thin) if thin else np.zeros((0, 2))
        self._associate(found, time_s, ranges, hides)

    def _associate(self, found: list[Array], time_s: float, ranges: Array, hides: Explains) -> None:
        tuning, tracks = self._tuning, self._tracks
        centres = np.array([cluster.mean(axis=0) for cluster in found]).reshape(-1, 2)
        kept: list[Track] = []
        free = set(range(len(found)))
        if tracks and found:
            at = np.array([track.centre for track in tracks])
            distance = np.hypot(*(at[:, None, :] - centres[None, :, :]).transpose(2, 0, 1))
            for flat in np.argsort(distance, axis=None):
                row, column = divmod(int(flat), len(found))
                track = tracks[row]
                if distance[row, column] > tuning.gate_m + 1.0:
                    break
                if (
                    column in free
                    and track.seen_s < time_s
                    and distance[row, column] <= self._gate(time_s - track.seen_s)
                ):
                    free.discard(column)
                    self._follow(track, found[column], centres[column], time_s)
                    kept.append(track)
        for track in tracks:
            if track.seen_s < time_s and self._may_hide(track, time_s, ranges, hides):
                track.hidden = True
                kept.append(track)
        for column in sorted(free):
            centre = centres[column]
            kept.append(Track(self._next, found[column], centre, np.zeros(2), centre, time_s, time_s))
            self._next += 1
        self._tracks = kept

    def _follow(self, track: Track, points: Array, centre: Array, time_s: float) -> None:
        track.points, track.centre, track.hidden = points, centre, False
        track.samples.append((time_s, centre))
        while track.samples and time_s - track.samples[0][0] > 0.6:
            track.samples.pop(0)
        span_s = time_s - track.samples[0][0]
        # Over half a second: a cluster's centre wanders by the breadth of a leg from scan to scan.
        track.velocity = (centre - track.samples[0][1]) / span_s if span_s > 0.45 else np.zeros(2)
        track.seen_s = time_s
        track.scans += 1
        moved_m = float(np.hypot(*(centre - track.start)))
        if moved_m > self._tuning.confirm_m and time_s - track.born_s > 0.3:
            track.confirmed = True

    def _may_hide(self, track: Track, time_s: float, ranges: Array, hides: Explains) -> bool:
        """Whether somebody who was not found may still be where they were."""
        age_s = time_s - track.seen_s
        relative = track.centre - self._origin
        distance, bearing = float(np.hypot(*relative)), float(np.arctan2(relative[1], relative[0]))
        half_rad = max(np.arctan2(0.08, distance), 1.5 * (self._angles[1] - self._angles[0]))
        off = np.angle(np.exp(1j * (self._angles - bearing)))
        look = ranges[np.abs(off) <= half_rad]
        looked_through = len(look) > 0 and float(np.median(look)) > distance + 0.2
        if age_s < 0.15:
            return True
        if not track.confirmed or age_s >= self._tuning.hidden_s:
            return False
        # Not seen empty, or beside something that swallows points.
        return not looked_through or bool(hides(track.centre + _RING_M).any())
