"""Which box of a picture is which known carton: overlap along each axis, in the carton's own axes."""

from dataclasses import dataclass

import numpy as np

from lumper_perception.boxes import PLANE_AXIS, Array, Boxes, Ints, aligned
from lumper_perception.track import Measurements, TrackTable

# Half-width of how well two single planes must agree, m; beyond about twice this they are different cartons.
PLANE_AGREEMENT_M = 0.10
REACH_M = 0.9
LARGEST_TURN_RAD = 0.75


@dataclass(frozen=True, slots=True)
class Pairs:
    """P candidate pairs: box and track index (P,), score 0..1 (P,), and the boxes in each track's axes and anchor.

    offset, own_offset: (P, 6) from the track's anchor, along the track's axes and along the box's own.
    """

    box: Ints
    track: Ints
    score: Array
    boxes: Boxes
    offset: Array
    own_offset: Array

    def measurements(self, rows: Ints) -> Measurements:
        """The boxes of some pairs, as their tracks see them."""
        boxes = self.boxes
        return Measurements(
            boxes.rotation[rows],
            self.offset[rows],
            self.own_offset[rows],
            boxes.sigma[rows],
            boxes.bound[rows],
            boxes.seen[rows],
            boxes.rotation_sigma[rows],
            boxes.confidence[rows],
            boxes.mass[rows],
        )


def pair_scores(boxes: Boxes, tracks: TrackTable) -> Pairs:
    """All pairs near enough to be one carton, with how well they agree."""
    if len(boxes) and len(tracks.anchor):
        gap = np.linalg.norm(boxes.anchor[:, None, :] - tracks.centre[None, :, :], axis=2)
        near = gap < np.minimum(REACH_M, 0.5 * np.linalg.norm(tracks.size, axis=1) + 0.25)[None, :]
        box, track = np.nonzero(near)
    else:
        box = track = np.zeros(0, dtype=np.int64)
    in_track = aligned(boxes.take(box), tracks.rotation[track])
    apart = in_track.anchor - tracks.anchor[track]
    lever = np.einsum("pji,pj->pi", tracks.rotation[track], apart)
    own_lever = np.einsum("pji,pj->pi", in_track.rotation, apart)
    relative = np.swapaxes(tracks.rotation[track], 1, 2) @ in_track.rotation
    # Centres of the box's planes, seen from the track: small turns must not shift the planes.
    offset = _planes_in(relative, in_track.offset) + np.concatenate([lever, lever], axis=1)
    own_offset = in_track.offset + np.concatenate([own_lever, own_lever], axis=1)
    score = _agreement(in_track, offset, tracks, track)
    cosine = (np.trace(relative, axis1=1, axis2=2) - 1.0) / 2.0
    score = np.where(cosine > np.cos(LARGEST_TURN_RAD), score, 0.0)
    return Pairs(box, track, score, in_track, offset, own_offset)


def _planes_in(relative: Array, offset: Array) -> Array:
    """(P, 6) component along the track's axis of each plane's centre, relative to the box's anchor."""
    filled = np.nan_to_num(offset, nan=0.0)
    middle = (filled[:, :3] + filled[:, 3:]) / 2.0
    result = np.empty_like(offset)
    for plane in range(6):
        axis = PLANE_AXIS[plane]
        local = middle.copy()
        local[:, axis] = offset[:, plane]
        result[:, plane] = np.einsum("pj,pj->p", relative[:, axis, :], local)
    return result


def _agreement(boxes: Boxes, offset: Array, tracks: TrackTable, track: Ints) -> Array:
    """(P,) product over the axes of overlap (both sides measured) or plane agreement (one side measured)."""
    score = np.ones(len(track))
    low_t, high_t = tracks.offset[track, :3], tracks.offset[track, 3:]
    for axis in range(3):
        low, high = offset[:, axis], offset[:, axis + 3]
        has_low, has_high = np.isfinite(low), np.isfinite(high)
        full = has_low & has_high
        lo = np.nan_to_num(low)
        hi = np.nan_to_num(high)
        inter = np.maximum(np.minimum(hi, high_t[:, axis]) - np.maximum(lo, low_t[:, axis]), 0.0)
        union = np.maximum(np.maximum(hi, high_t[:, axis]) - np.minimum(lo, low_t[:, axis]), 1e-6)
        length = np.maximum(hi - lo, 1e-6)
        loose = boxes.bound[:, axis] | boxes.bound[:, axis + 3]
        loose_t = tracks.loose[track, axis] | tracks.loose[track, axis + 3]
        length_t = np.maximum(high_t[:, axis] - low_t[:, axis], 1e-6)
        # A face partly hidden needs only to lie within the carton (or the carton known so far within it).
        overlap = np.where(
            loose, inter / length, np.where(loose_t, inter / np.minimum(length, length_t), inter / union)
        )
        known_low, known_high = tracks.known[track, axis], tracks.known[track, axis + 3]
        by_low = np.where(has_low & known_low, np.abs(lo - low_t[:, axis]), np.inf)
        by_high = np.where(has_high & known_high, np.abs(hi - high_t[:, axis]), np.inf)
        nearest = np.minimum(by_low, by_high)
        plane = np.exp(-((np.where(np.isfinite(nearest), nearest, 0.0) / PLANE_AGREEMENT_M) ** 2))
        # No common plane: the box must at least lie within what is assumed of the carton.
        inside_m = np.where(
            has_low,
            np.maximum(low_t[:, axis] - lo, lo - high_t[:, axis]),
            np.maximum(low_t[:, axis] - hi, hi - high_t[:, axis]),
        )
        plane = np.where(np.isfinite(nearest), plane, np.exp(-((np.maximum(inside_m, 0.0) / PLANE_AGREEMENT_M) ** 2)))
        plane = np.where(has_low | has_high, plane, 1.0)
        both_known = known_low & known_high
        score *= np.where(full & both_known, overlap, plane)
    return score


def assign(pairs: Pairs, least: float, skip_boxes: set[int], skip_tracks: set[int]) -> list[tuple[int, int, int]]:
    """(box, track, row of `pairs`), each box and track at most once, best agreement first."""
    matches: list[tuple[int, int, int]] = []
    boxes, tracks = set(skip_boxes), set(skip_tracks)
    for row in np.argsort(-pairs.score, kind="stable"):
        if pairs.score[row] < least:
            break
        box, track = int(pairs.box[row]), int(pairs.track[row])
        if box not in boxes and track not in tracks:
            boxes.add(box)
            tracks.add(track)
            matches.append((box, track, int(row)))
    return matches


def merged_faces(boxes: Boxes, tracks: TrackTable, pairs: Pairs) -> dict[int, list[int]]:
    """Boxes whose face covers two or more known cartons: box -> tracks. Such a face says that they are there, no more."""
    result: dict[int, list[int]] = {}
    if not len(pairs.box):
        return result
    face = pairs.boxes.face
    rows = np.arange(len(face))
    axis = PLANE_AXIS[face]
    along = np.abs(pairs.offset[rows, face] - tracks.offset[pairs.track, face]) < 0.04
    along &= tracks.known[pairs.track, face]
    covered = np.ones(len(face), dtype=bool)
    area_track, area_box = np.ones(len(face)), np.ones(len(face))
    for step in (1, 2):
        other = (axis + step) % 3
        low, high = pairs.offset[rows, other], pairs.offset[rows, other + 3]
        low_t, high_t = tracks.offset[pairs.track, other], tracks.offset[pairs.track, other + 3]
        covered &= (low_t > low - 0.02) & (high_t < high + 0.02)
        area_track *= high_t - low_t
        area_box *= np.nan_to_num(high - low, nan=0.0)
    good = along & covered & (area_track < 0.8 * area_box)
    for box in np.unique(pairs.box[good]):
        mine = np.flatnonzero(good & (pairs.box == box))
        if len(mine) >= 2 and area_track[mine].sum() > 0.8 * area_box[mine[0]]:
            result[int(box)] = [int(track) for track in pairs.track[mine]]
    return result
