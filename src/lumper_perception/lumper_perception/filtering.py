"""One picture's boxes filtered into their tracks: six planes each, one by one, all tracks at once."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from lumper_perception.boxes import (
    CONTRADICTED_M,
    PLANE_BIT,
    PLANE_SIGN,
    Array,
    Bools,
    Ints,
    rotation_vectors,
    rotations,
)
from lumper_perception.track import Measurements, Track

# Random walk of a plane at rest (settling load), and the floor below which no filter is believed.
PROCESS_VAR_M2PS = (0.5e-3) ** 2
LEAST_VAR_M2 = (0.7e-3) ** 2
PROCESS_VAR_RAD2PS = (0.5e-3) ** 2
LEAST_VAR_RAD2 = (1.0e-3) ** 2
# An innovation beyond 3 sigma plus this is not noise.
SLACK_M = 0.006
SLACK_RAD = 0.03
CONSISTENT_AFTER = 2
# What moves keeps its size. A face of another size was parted otherwise in this picture: so many that agree are believed.
RESIZED_AFTER = 6
# A face so far elsewhere, or turned so far, was not parted otherwise: its carton moved.
CLEAR_M, CLEAR_TURN_RAD = 0.05, 0.10


class Change(IntEnum):
    """What a measurement did to its track. CUT: it is another box now, that perhaps only shows another part of what lies at rest."""

    NONE = 0
    MOVED = 1
    CUT = 2


@dataclass(frozen=True, slots=True)
class _States:
    """M tracks as arrays, grown uncertain since they were last seen: as in `Track`, one row each."""

    rotation: Array
    offset: Array
    var: Array
    loose: Bools
    seen: Bools
    rotation_var: Array

    @staticmethod
    def of(tracks: list[Track], stamp_s: float) -> "_States":
        elapsed_s = np.maximum(0.0, stamp_s - np.array([track.last_seen_s for track in tracks]))
        return _States(
            np.stack([track.rotation for track in tracks]),
            np.stack([track.offset for track in tracks]),
            np.stack([track.var for track in tracks]) + PROCESS_VAR_M2PS * elapsed_s[:, None],
            np.stack([track.loose for track in tracks]),
            np.stack([track.seen for track in tracks]),
            np.array([track.rotation_var for track in tracks]) + PROCESS_VAR_RAD2PS * elapsed_s,
        )


@dataclass(frozen=True, slots=True)
class _Judged:
    """How measurements differ from what was known: innovation, noise, firm (M, 6) of the planes that both know; turn (M, 3) rad;
    verdicts (M,). still: only the size differs."""

    innovation: Array
    noise: Array
    firm: Bools
    turn: Array
    strange: Bools
    resized: Bools
    clearly_moved: Bools
    still: Bools


def _judged(now: _States, z: Measurements) -> _Judged:
    both = np.isfinite(z.offset) & np.isfinite(now.offset) & ~z.bound
    innovation = np.where(both, z.offset - now.offset, 0.0)
    noise = np.where(both, z.sigma, 0.0)
    turn = rotation_vectors(np.swapaxes(now.rotation, 1, 2) @ z.rotation)
    turn_rad = np.linalg.norm(turn, axis=1)
    limit = 3.0 * np.sqrt(now.var + noise**2) + SLACK_M
    # Where a face of its own was seen, its side's end further in is the edge of what hides the rest.
    firm = both & ~now.loose & ~(now.seen & ~z.seen & (PLANE_SIGN * innovation < -limit))
    off = firm & (np.abs(innovation) > limit)
    turned = turn_rad > 3.0 * np.hypot(np.sqrt(now.rotation_var), z.rotation_sigma) + SLACK_RAD
    # It was seen to go further than this end, which then is where a face was parted, not the carton's.
    within = both & now.loose & (PLANE_SIGN * innovation < -limit - CONTRADICTED_M)
    grown = firm[:, :3] & firm[:, 3:]
    grown &= np.abs(innovation[:, 3:] - innovation[:, :3]) > np.maximum(limit[:, :3], limit[:, 3:])
    shown = off & z.seen
    resized = grown.any(axis=1) | ~(off.any(axis=1) | turned)
    return _Judged(
        innovation,
        noise,
        firm,
        turn,
        turned | (off | within).any(axis=1),
        resized,
        (turn_rad > CLEAR_TURN_RAD) | (shown & (np.abs(innovation) > CLEAR_M)).any(axis=1),
        resized & ~turned & ~shown.any(axis=1),
    )


def update(tracks: list[Track], z: Measurements, stamp_s: float, settling: Bools) -> list[Change]:
    """Filter a measurement into each of M tracks, row by row; what it did to each. A track that changed was set anew.

    Args:
        settling: (M,) rows of which the measurement is all that is known from now on.
    """
    if not tracks:
        return []
    now = _States.of(tracks, stamp_s)
    judged = _judged(now, z)
    faces = (z.seen * PLANE_BIT).sum(axis=1)
    changes = [Change.NONE] * len(tracks)
    for row, track in enumerate(tracks):
        track.var, track.rotation_var = now.var[row], float(now.rotation_var[row])
        track.seen = now.seen[row] | z.seen[row]
        track.visible_now = int(faces[row])
        if np.isfinite(z.mass[row]):
            track.mass = float(z.mass[row])
        track.seen_again(stamp_s, float(z.confidence[row]))
        if settling[row]:
            track.settle(z, row)
        elif not judged.strange[row]:
            track.suspect = 0
        elif not track.id:
            # Not yet a carton: only pictures that agree make it one.
            track.set_anew(z, row)
            track.times_seen = 1
        else:
            changes[row] = _strange(track, z, judged, row, stamp_s)
    _filter(tracks, now, z, judged, np.flatnonzero(~(judged.strange | settling)))
    return changes


def _strange(track: Track, z: Measurements, judged: _Judged, row: int, stamp_s: float) -> Change:
    """A carton that is not where, or what, it was: believed when pictures running agree."""
    patience = RESIZED_AFTER if judged.resized[row] and not judged.clearly_moved[row] else CONSISTENT_AFTER
    if not track.suspect:
        track.suspect_since_s = stamp_s
    track.suspect += 1
    if track.suspect < patience:
        return Change.NONE
    cut = track.cut_elsewhere(z, row)
    track.set_anew(z, row)
    track.suspect = 0
    if judged.still[row]:
        track.rest()
        return Change.NONE
    return Change.CUT if cut else Change.MOVED


def _filter(tracks: list[Track], now: _States, z: Measurements, judged: _Judged, usual: Ints) -> None:
    """Take the measurements in, in the rows where nothing is strange."""
    gain = np.where(judged.firm, now.var / (now.var + judged.noise**2 + 1e-12), 0.0)
    # A plane that is measured the first time, or of which only a bound was known.
    first = np.isfinite(z.offset) & (np.isnan(now.offset) | (now.loose & ~z.bound))
    offset = np.where(first, z.offset, now.offset + gain * judged.innovation)
    var = np.where(first, z.sigma**2, np.maximum((1.0 - gain) * now.var, LEAST_VAR_M2))
    loose = np.where(first, z.bound, now.loose)
    offset, var, loose = _reached(tracks, usual, z, offset, var, loose)
    rotation_gain = now.rotation_var / (now.rotation_var + z.rotation_sigma**2)
    rotation = now.rotation @ rotations(rotation_gain[:, None] * judged.turn)
    rotation_var = np.maximum((1.0 - rotation_gain) * now.rotation_var, LEAST_VAR_RAD2)
    for row in usual.tolist():
        track = tracks[row]
        track.offset, track.var, track.loose = offset[row], var[row], loose[row]
        track.rotation, track.rotation_var = rotation[row], float(rotation_var[row])


def _reached(
    tracks: list[Track], usual: Ints, z: Measurements, offset: Array, var: Array, loose: Bools
) -> tuple[Array, Array, Bools]:
    """What the places say that the boxes go at least to: offsets, variances and loose ends (M, 6) with that in them.

    Of a side never seen whole, those that agree are averaged, one clearly further out moves it, others say nothing. An end that
    two pictures running reach beyond was none: it is open again.
    """
    bound = z.bound & np.isfinite(z.offset) & np.isfinite(offset)
    innovation = np.where(bound, z.offset - offset, 0.0)
    noise = np.where(bound, z.sigma, 1.0)
    limit = 3.0 * np.sqrt(var + noise**2) + SLACK_M
    near = bound & loose & (np.abs(innovation) < limit)
    gain = np.where(near, var / (var + noise**2), 0.0)
    further = bound & loose & (PLANE_SIGN * innovation >= limit)
    past = bound & ~loose & (PLANE_SIGN * innovation > limit + CONTRADICTED_M)
    beyond = past.any(axis=1)
    for row in usual.tolist():
        track = tracks[row]
        track.exceeded = track.exceeded + 1 if beyond[row] else 0
        if track.exceeded >= CONSISTENT_AFTER:
            track.exceeded = 0
            loose[row] |= past[row]
            track.rest_offset = np.where(past[row], z.offset[row], track.rest_offset)
            further[row] |= past[row]
    reached = np.where(further, z.offset, offset + gain * innovation)
    return reached, np.where(further, noise**2, np.maximum((1.0 - gain) * var, LEAST_VAR_M2)), loose
