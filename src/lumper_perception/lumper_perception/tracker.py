"""Cartons over time: which box of this picture is which known carton, what moved, what is gone, what is only hidden."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lumper_perception.boxes import Array, Bools, Boxes, plane_centres
from lumper_perception.filtering import Change, update
from lumper_perception.matching import Pairs, assign, merged_faces, pair_scores
from lumper_perception.track import Assumed, Track, TrackState, TrackTable, birth, stacked
from lumper_perception.view import View, cut_by_boxes

# A carton that vanished is the one found elsewhere, when it lies no further away and its sizes differ by no more (RMS).
SAME_CARTON_REACH_M = 3.5
SAME_CARTON_SIZE_M = 0.03
HELD_MARGIN_M = 0.08
FALL_M = 0.05
# Nearer than this it never went away.
SAME_PLACE_M = 0.08
# A face must be in clear view so far before a picture without it says anything.
CLEAR_SHARE = 0.75
# More of a face than this cannot lie on another that is seen, within CLAIMED_M and by INSIDE_M within that one's edges: one of the
# two is not there.
CLAIMED_SHARE, CLAIMED_M, INSIDE_M = 0.2, 0.02, 0.01
ALL_CLEAR_SHARE = 0.99
# A carton that was missed in fewer pictures in a row still stands where it was.
STANDS_MISSES = 2
# While clouds come they tell what is gone; without their word it takes so many times more pictures.
CLOUD_PATIENCE = 5
CLOUD_SILENT_S = 2.0
# A carton on the cups contains the point so far before them, give or take what it may hang off.
BEFORE_CUPS_M, AT_CUPS_M = 0.05, 0.02


@dataclass(frozen=True, slots=True)
class TrackerLimits:
    """When evidence is enough. m, rad, s; counts are pictures in which the carton could have been seen."""

    confirm_hits: int = 2
    gone_misses: int = 4
    gone_after_s: float = 0.25
    moved_m: float = 0.05
    moved_rad: float = 0.12
    match_score: float = 0.25
    min_confidence: float = 0.4
    assumed_size_m: float = 0.35
    min_size_m: float = 0.10
    max_size_m: float = 0.80
    lost_memory_s: float = 15.0
    back_x_m: float = np.inf


@dataclass(frozen=True, slots=True)
class _Vacated:
    """A place where a carton stood until lately: what appears behind it was revealed, it did not arrive."""

    centre: Array
    rotation: Array
    size: Array
    until_s: float


@dataclass(slots=True)
class Report:
    """What one picture changed: ids of cartons born, gone, and moved without being touched."""

    born: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)


class Tracker:
    """All cartons known. Ids rise from `first_id` and never name two cartons."""

    def __init__(self, limits: TrackerLimits, first_id: int = 1) -> None:
        self.limits = limits
        self.tracks: list[Track] = []
        self._lost: list[Track] = []
        self.next_id = first_id
        self._vacated: list[_Vacated] = []
        self._cloud_s = -np.inf

    # Pictures

    def observe(
        self,
        boxes: Boxes,
        view: View | None,
        stamp_s: float,
        touched: Mapping[int, float],
        *,
        from_cloud: bool = False,
    ) -> Report:
        """Take one picture's boxes (frame trailer).

        Args:
            touched: carton id -> displacement (m) that the robot's own touch explains.
            from_cloud: the faces were found in a cloud, not told by a detector.
        """
        report = Report()
        boxes = boxes.take(~self._held_parts(boxes))
        self._vacated = [place for place in self._vacated if place.until_s > stamp_s]
        self._lost = [track for track in self._lost if stamp_s - track.last_seen_s < self.limits.lost_memory_s]
        free = [track for track in self.tracks if track.state is not TrackState.HELD]
        table = stacked(free, self.assumed_depth())
        pairs = pair_scores(boxes, table)
        merged = merged_faces(boxes, table, pairs)
        matches = assign(pairs, self.limits.match_score, set(merged), set())
        matched = {track for _, track, _ in matches}
        for box, members in merged.items():
            for index in members:
                if index not in matched:
                    free[index].seen_again(stamp_s, float(boxes.confidence[box]))
                    matched.add(index)
        self._update(boxes, free, pairs, matches, view, stamp_s, touched, report)
        missed = [index for index in range(len(free)) if index not in matched]
        self._miss(free, missed, view, stamp_s, touched, report)
        used = set(merged) | {box for box, _, _ in matches}
        self._birth(boxes, [box for box in range(len(boxes)) if box not in used], stamp_s)
        self._confirm(view, stamp_s, touched, report)
        if from_cloud and view is not None:
            for track in self.tracks:
                if track.last_seen_s == stamp_s:
                    track.eye = view.origin
        return report

    def _update(
        self,
        boxes: Boxes,
        free: list[Track],
        pairs: Pairs,
        matches: list[tuple[int, int, int]],
        view: View | None,
        stamp_s: float,
        touched: Mapping[int, float],
        report: Report,
    ) -> None:
        tracks = [free[index] for _, index, _ in matches]
        rows = np.array([row for _, _, row in matches], dtype=np.int64)
        changes = update(tracks, pairs.measurements(rows), stamp_s, self._settling(tracks, view))
        for track, change in zip(tracks, changes, strict=True):
            if change is Change.NONE:
                continue
            allowance = touched.get(track.id, 0.0)
            shift_m, turn_rad = track.displacement()
            turned = turn_rad > self.limits.moved_rad
            if not turned and shift_m <= self.limits.moved_m:
                continue
            if change is Change.CUT and self._not_seen_empty(track, stamp_s):
                # Where it lay at rest is where it still lies.
                continue
            if track.established() and (shift_m > max(allowance, self.limits.moved_m) or (not allowance and turned)):
                report.moved.append(track.id)
            track.rest()

    def _not_seen_empty(self, track: Track, stamp_s: float) -> bool:
        """Whether clouds come, and none since the first doubt looked through the place that the track is said to have left."""
        return stamp_s - self._cloud_s < CLOUD_SILENT_S and track.last_beyond_s < track.suspect_since_s

    def _settling(self, tracks: list[Track], view: View | None) -> Bools:
        """(M,) which of these a picture may say anew: those pulled at, once nothing hides a part of them."""
        result = np.array([track.reopened for track in tracks], dtype=bool)
        rows = np.flatnonzero(result)
        if len(rows) and view is not None:
            result[rows] = self.visible_fraction(tracks, rows.tolist(), view) > ALL_CLEAR_SHARE
        return result

    def _miss(
        self,
        free: list[Track],
        missed: list[int],
        view: View | None,
        stamp_s: float,
        touched: Mapping[int, float],
        report: Report,
    ) -> None:
        visible = self.visible_fraction(free, missed, view) if view is not None else np.ones(len(missed))
        claimed = self._claimed(free, missed, view, stamp_s) if view is not None else np.zeros(len(missed))
        gone: list[Track] = []
        patience = CLOUD_PATIENCE if stamp_s - self._cloud_s < CLOUD_SILENT_S else 1
        for share, taken, index in zip(visible, claimed, missed, strict=True):
            track = free[index]
            track.suspect = 0
            if not track.id:
                track.misses += 1
                if track.misses >= 2:
                    gone.append(track)
                continue
            if taken > CLAIMED_SHARE:
                track.claimed_s = stamp_s
            elif share < CLEAR_SHARE:
                track.state = TrackState.HIDDEN
                continue
            track.misses += 1
            track.confidence *= 0.85
            if track.misses >= 3 and stamp_s - track.last_depth_s > CLOUD_SILENT_S:
                track.state = TrackState.UNCERTAIN
            if (
                track.misses >= patience * self.limits.gone_misses
                and stamp_s - track.last_seen_s >= self.limits.gone_after_s
            ):
                gone.append(track)
                if not track.dropped:
                    report.removed.append(track.id)
                self._lost.append(track)
                self._vacate(track, stamp_s)
        self._forget(gone)

    def _claimed(self, free: list[Track], missed: list[int], view: View, stamp_s: float) -> Array:
        """(len(missed),) share of sample points on each missed track's face that lie on a face, turned to the view, of a carton
        that this picture shows."""
        seen = [track for track in free if track.id and track.last_seen_s == stamp_s]
        if not seen or not missed:
            return np.zeros(len(missed))
        assumed = self.assumed_depth()
        table = stacked(seen, assumed)
        half = table.size / 2.0
        eye = np.einsum("nji,nj->ni", table.rotation, view.origin[None] - table.centre)
        shares = np.zeros(len(missed))
        for row, index in enumerate(missed):
            points, _ = free[index].samples(view.origin, assumed)
            local = np.einsum("nji,pnj->pni", table.rotation, points[:, None, :] - table.centre[None])
            on = (np.abs(np.abs(local) - half[None]) < CLAIMED_M) & (local * eye[None] > 0.0)
            within = np.abs(local) < half[None] - INSIDE_M
            others = within.sum(axis=2)[..., None] - within
            shares[row] = float((on & (others == 2)).any(axis=(1, 2)).mean())
        return shares

    def visible_fraction(self, free: list[Track], which: list[int], view: View) -> Array:
        """(len(which),) share of sample points on each track's known faces that the view should show."""
        if not which:
            return np.zeros(0)
        assumed = self.assumed_depth()
        points, owner, facing = [], [], []
        for slot, index in enumerate(which):
            samples, towards = free[index].samples(view.origin, assumed)
            points.append(samples)
            facing.append(towards)
            owner.append(np.full(len(samples), slot))
        everything, owners = np.concatenate(points), np.concatenate(owner)
        total = np.bincount(owners, minlength=len(which))
        clear = np.concatenate(facing) & view.in_picture(everything)
        clear[clear] = ~view.behind_arm(everything[clear])
        # What hangs on the gripper hides as much as what stands.
        held = [track for track in self.tracks if track.state is TrackState.HELD]
        solid = [index for index, track in enumerate(free) if track.id]
        place = {index: row for row, index in enumerate(solid)}
        table = stacked([*(free[index] for index in solid), *held], assumed)
        own = np.array([place.get(index, len(table.centre)) for index in which])[owners]
        clear[clear] = ~cut_by_boxes(
            view.origin, everything[clear], table.centre, table.rotation, table.size, own[clear]
        )
        return np.bincount(owners, weights=clear, minlength=len(which)) / np.maximum(total, 1)

    def _birth(self, boxes: Boxes, unused: list[int], stamp_s: float) -> None:
        low, high = self.limits.min_size_m, self.limits.max_size_m
        inside = self.part_of_known(boxes.face_centre(), boxes.normal())
        for box in unused:
            extent = boxes.offset[box, 3:] - boxes.offset[box, :3]
            known = extent[np.isfinite(extent)]
            if len(known) and (known.max() > high or (known.min() < low and not boxes.bound[box].any())):
                continue
            if boxes.bound[box].any() and inside[box]:
                continue
            self.tracks.append(birth(boxes, box, stamp_s))

    def _held_parts(self, boxes: Boxes) -> Bools:
        """(M,) boxes that are faces of what hangs on the gripper."""
        held = [track for track in self.tracks if track.state is TrackState.HELD and track.tool_to_anchor is not None]
        if not held or not len(boxes):
            return np.zeros(len(boxes), dtype=bool)
        table = stacked(held, self.assumed_depth())
        local = np.einsum("nji,pnj->pni", table.rotation, boxes.face_centre()[:, None, :] - table.centre[None])
        # The arm moves between joint states and exposure, and the load sways on the cups.
        return np.asarray((np.abs(local) < table.size[None] / 2.0 + HELD_MARGIN_M).all(axis=2).any(axis=1))

    def part_of_known(self, centre: Array, normal: Array) -> Bools:
        """(M,) faces (trailer) that lie on or in a known carton: where the arm cuts a face in two, both parts are that one's."""
        known = self._standing()
        if not known or not len(centre):
            return np.zeros(len(centre), dtype=bool)
        table = stacked(known, self.assumed_depth())
        point = centre - 0.03 * normal
        local = np.einsum("nji,pnj->pni", table.rotation, point[:, None, :] - table.centre[None])
        return np.asarray((np.abs(local) < table.size[None] / 2.0 + 0.015).all(axis=2).any(axis=1))

    def _confirm(self, view: View | None, stamp_s: float, touched: Mapping[int, float], report: Report) -> None:
        ready = [
            track
            for track in self.tracks
            if not track.id
            and track.times_seen >= self.limits.confirm_hits
            and track.confidence >= self.limits.min_confidence
        ]
        ghosts = []
        for track in ready:
            if self._overlaps_known(track):
                ghosts.append(track)
                continue
            known = self._same_carton(track, view, bool(touched))
            if known is None:
                track.id, self.next_id = self.next_id, self.next_id + 1
                report.born.append(track.id)
                continue
            stayed = self._same_place(track, known)
            track.adopt(known)
            if known in self._lost:
                self._lost.remove(known)
                if known.id in report.removed:
                    report.removed.remove(known.id)
            else:
                self._forget([known])
            if stayed and not known.dropped:
                continue
            if known.established() and not touched.get(track.id) and not known.dropped:
                report.moved.append(track.id)
            track.fallen = True
        self._forget(ghosts)

    def _standing(self) -> list[Track]:
        """Cartons that stand where they were last seen, as far as is known."""
        return [
            track
            for track in self.tracks
            if track.id and track.misses < STANDS_MISSES and track.state is not TrackState.HELD
        ]

    def _overlaps_known(self, track: Track) -> bool:
        """Whether most of the new box lies inside a carton that stands there: then it is a ghost of that one."""
        others = self._standing()
        if not others:
            return False
        depth = self.assumed_depth()
        table = stacked(others, depth)
        points = track.interior(depth)
        local = np.einsum("nji,pnj->pni", table.rotation, points[:, None, :] - table.centre[None])
        inside = (np.abs(local) < table.size[None] / 2.0 - 0.015).all(axis=2).mean(axis=0)
        return bool((inside > 0.5).any())

    def _same_carton(self, track: Track, view: View | None, busy: bool) -> Track | None:
        """The one known carton that vanished from its place before this box arrived, and has its size."""
        missing = [
            other
            for other in self.tracks
            if other.id and other.misses >= STANDS_MISSES and other.state is not TrackState.HELD
        ]
        assumed = self.assumed_depth()
        fitting = []
        for other in missing + self._lost:
            near_m = float(np.linalg.norm(other.centre(assumed) - track.centre(assumed)))
            error_m = track.size_error(other)
            if near_m < SAME_CARTON_REACH_M and error_m < SAME_CARTON_SIZE_M and track.first_seen_s > other.last_seen_s:
                if self._same_place(track, other):
                    return other
                # While clouds come, one of them must show that its place is empty.
                clouded = track.last_seen_s - self._cloud_s < CLOUD_SILENT_S
                if clouded and not other.dropped and other.last_beyond_s <= other.last_seen_s:
                    continue
                fell = other.centre(assumed) - track.centre(assumed)
                down, forward = fell[2] > FALL_M, fell[0] > FALL_M
                # While the robot works, cartons come to light everywhere: only what fell forwards is taken for a fallen one.
                if other.dropped or (down and forward) or (not busy and (down or forward)):
                    fitting.append((error_m + 0.01 * near_m, other))
        fitting.sort(key=lambda item: item[0])
        if not fitting or (
            len(fitting) > 1
            and fitting[1][0] - fitting[0][0] < 0.002
            and fitting[1][1].dropped == fitting[0][1].dropped
        ):
            return None
        return fitting[0][1] if view is None or self._arrived(track, fitting[0][1], view) else None

    def _same_place(self, track: Track, known: Track) -> bool:
        """Whether the faces that the new box shows lie where the known carton has its own: then it never went away."""
        assumed = self.assumed_depth()
        shared = known.seen & track.seen
        where = plane_centres(known.rotation[None], known.anchor[None], np.concatenate(known.bounds(assumed))[None])[0]
        found = plane_centres(track.rotation[None], track.anchor[None], np.concatenate(track.bounds(assumed))[None])[0]
        apart = where - found
        if shared.any():
            return bool(np.linalg.norm(apart[shared], axis=1).min() < SAME_PLACE_M)
        # Another face of it came into view: its plane must bound the carton known.
        local = (found[track.seen] - known.centre(assumed)) @ known.rotation
        return bool((np.abs(local) < known.size(assumed) / 2.0 + SAME_PLACE_M).all(axis=1).any())

    def _arrived(self, track: Track, vanished: Track, view: View) -> bool:
        """Whether the place of a new box could be seen before: if not, it was only revealed by what was taken away."""
        assumed = self.assumed_depth()
        points, _ = track.samples(view.origin, assumed)
        places = [(place.centre, place.rotation, place.size) for place in self._vacated]
        if not vanished.dropped:
            places.append((vanished.centre(assumed), vanished.rotation, vanished.size(assumed)))
        if not places:
            return True
        centre, rotation, size = (np.stack([place[k] for place in places]) for k in range(3))
        nobody = np.full(len(points), len(places))
        return bool(cut_by_boxes(view.origin, points, centre, rotation, size, nobody).mean() < 0.3)

    def _vacate(self, track: Track, stamp_s: float) -> None:
        assumed = self.assumed_depth()
        self._vacated.append(
            _Vacated(track.centre(assumed), track.rotation, track.size(assumed), stamp_s + self.limits.lost_memory_s)
        )

    def _forget(self, gone: list[Track]) -> None:
        keys = {id(track) for track in gone}
        self.tracks = [track for track in self.tracks if id(track) not in keys]

    # Evidence from elsewhere

    def take_hold(self, carton_id: int, tool: Array | None, stamp_s: float) -> bool:
        """The gripper holds this carton now; it moves with the tool (4x4 tool0 to trailer).

        After a restart its id is unknown here; then it is the carton that lies against the cups. False = there is none.
        """
        track = next((track for track in self.tracks if track.id == carton_id), None)
        if track is None and tool is not None:
            track = self._against(tool)
        if track is None:
            return False
        self._vacate(track, stamp_s)
        track.id = carton_id
        track.state = TrackState.HELD
        track.misses = 0
        track.grip(tool, self.assumed_depth())
        return True

    def holds(self, carton_id: int) -> bool:
        """Whether this carton is known to hang on the gripper."""
        return any(track.id == carton_id and track.state is TrackState.HELD for track in self.tracks)

    def held_boxes(self) -> TrackTable:
        """What hangs on the gripper."""
        return stacked([track for track in self.tracks if track.state is TrackState.HELD], self.assumed_depth())

    def _against(self, tool: Array) -> Track | None:
        """What lies just before the cups (4x4 tool0 to trailer)."""
        assumed = self.assumed_depth()
        point = tool[:3, 3] + BEFORE_CUPS_M * tool[:3, 2]
        for track in self.tracks:
            local = track.rotation.T @ (point - track.centre(assumed))
            if bool((np.abs(local) < track.size(assumed) / 2.0 + AT_CUPS_M).all()):
                return track
        return None

    def release(self, carton_id: int, delivered: bool, stamp_s: float) -> bool:
        """The gripper let go. Delivered: the carton is gone for good; else it may lie anywhere, and be found again.

        Until a picture shows that place empty it counts as standing where the cups let go of it: it may never have come off
        the pile, and the arm before it hides that.
        """
        for track in self.tracks:
            if track.id == carton_id:
                if delivered:
                    self._forget([track])
                    return True
                track.dropped = track.reopened = True
                track.last_seen_s = stamp_s
                track.state = TrackState.UNCERTAIN
                track.misses = STANDS_MISSES
                return True
        return False

    def put_back(self, carton_id: int, stamp_s: float) -> None:
        """The gripper let go of a carton where it stands, after a pull of a few cm. Whether all of it came along is to be seen."""
        for track in self.tracks:
            if track.id == carton_id and track.state is TrackState.HELD:
                track.state, track.last_seen_s, track.misses = TrackState.SEEN, stamp_s, 0
                track.reopened = True
                track.rest()

    def forget(self, carton_id: int) -> None:
        """A carton that is known to be where no picture is judged."""
        self._forget([track for track in self.tracks if track.id == carton_id])

    def carry(self, tool: Array) -> None:
        """Move what is held along with the tool (4x4 tool0 to trailer)."""
        for track in self.tracks:
            if track.state is TrackState.HELD:
                track.carried(tool)

    def depth_evidence(self, carton_id: int, agrees: float, beyond: float, stamp_s: float) -> list[int]:
        """Shares of sample points where the cloud shows the carton's face, or a surface clearly behind it.

        Returns the id in a list when this proves the carton gone.
        """
        self._cloud_s = max(self._cloud_s, stamp_s)
        for track in self.tracks:
            if track.id != carton_id or track.state is TrackState.HELD:
                continue
            if agrees >= 0.5 and stamp_s - track.claimed_s > CLOUD_SILENT_S:
                track.misses = 0
                track.last_depth_s = stamp_s
                continue
            if beyond >= 0.6:
                track.last_beyond_s = stamp_s
            unseen = track.misses >= 1 or track.state is TrackState.HIDDEN
            if beyond >= 0.8 and unseen and stamp_s > track.last_seen_s:
                self._forget([track])
                self._lost.append(track)
                self._vacate(track, stamp_s)
                return [track.id]
        return []

    def drop_near(self, centre: Array, radius_m: float) -> None:
        """Forget unconfirmed boxes near a point (what hangs on the gripper is no new carton)."""
        depth = self.assumed_depth()
        self._forget(
            [t for t in self.tracks if not t.id and float(np.linalg.norm(t.centre(depth) - centre)) < radius_m]
        )

    # Figures

    def assumed_depth(self) -> Assumed:
        """What is taken along an axis that no face shows: the median of the depths known."""
        offset = np.array([track.offset for track in self.tracks if track.id]).reshape(-1, 6)
        known = (offset[:, 3] - offset[:, 0])[np.isfinite(offset[:, [0, 3]]).all(axis=1)]
        limits = self.limits
        size_m = limits.assumed_size_m
        if len(known) >= 3:
            size_m = float(np.clip(np.median(known), limits.min_size_m, limits.max_size_m))
        return Assumed(size_m, limits.back_x_m)

    def confirmed(self) -> list[Track]:
        """Cartons with an id, by id."""
        return sorted((track for track in self.tracks if track.id), key=lambda track: track.id)
