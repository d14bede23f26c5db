"""One carton over time: six planes filtered one by one, its axes, and how sure we are of it."""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from lumper_perception.boxes import (
    CONTRADICTED_M,
    PLANE_AXIS,
    PLANE_BIT,
    PLANE_SIGN,
    Array,
    Bools,
    Boxes,
    rotation_vectors,
    rotations,
)
from lumper_ros.convert import inverse

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
ESTABLISHED_SEEN = 6
# A face so far elsewhere, or turned so far, was not parted otherwise: its carton moved.
CLEAR_M, CLEAR_TURN_RAD = 0.05, 0.10

_CORNERS = np.array([[x, y] for x in (-0.7, 0.0, 0.7) for y in (-0.7, 0.0, 0.7)])


class TrackState(Enum):
    """As Carton.STATE_* (what lies on the floor is derived from the geometry)."""

    SEEN = 0
    UNCERTAIN = 1
    HELD = 2
    HIDDEN = 4


@dataclass(frozen=True, slots=True)
class Measurement:
    """One box already expressed in a track's axes and relative to its anchor: offset, sigma, bound, seen (6,).

    own_offset: (6,) the same in the box's own axes, which are `rotation`; differs where it is turned against the track.
    """

    rotation: Array
    offset: Array
    own_offset: Array
    sigma: Array
    bound: Bools
    seen: Bools
    rotation_sigma: float
    confidence: float
    mass: float


@dataclass(slots=True, eq=False)
class Track:
    """State of one carton. `id` 0 = not confirmed yet. Offsets as in `boxes.Boxes`; variances in m^2, rad^2."""

    rotation: Array
    anchor: Array
    offset: Array
    var: Array
    loose: Bools
    seen: Bools
    rotation_var: float
    confidence: float
    mass: float
    first_seen_s: float
    last_seen_s: float
    id: int = 0
    state: TrackState = TrackState.SEEN
    times_seen: int = 1
    misses: int = 0
    suspect: int = 0
    exceeded: int = 0
    last_depth_s: float = -np.inf
    last_beyond_s: float = -np.inf
    fallen: bool = False
    dropped: bool = False
    visible_now: int = 0
    rest_rotation: Array = field(default_factory=lambda: np.eye(3))
    rest_offset: Array = field(default_factory=lambda: np.full(6, np.nan))
    tool_to_anchor: Array | None = None

    def bounds(self, assumed: "Assumed") -> tuple[Array, Array]:
        """Low and high offsets (3,), (3,) with the assumption where a plane is not known."""
        filled = filled_planes(self.offset[None], self.loose[None], self.rotation[None], self.anchor[None], assumed)[0]
        return filled[:3], filled[3:]

    def centre(self, assumed: "Assumed") -> Array:
        """(3,) centre in trailer, m."""
        low, high = self.bounds(assumed)
        middle: Array = self.anchor + self.rotation @ ((low + high) / 2.0)
        return middle

    def size(self, assumed: "Assumed") -> Array:
        """(3,) size along the carton's axes, m."""
        low, high = self.bounds(assumed)
        return high - low

    def update(self, z: Measurement, stamp_s: float) -> bool:
        """Filter one measurement in. True when the carton was taken to have moved (or changed) and was set anew."""
        elapsed_s = max(0.0, stamp_s - self.last_seen_s)
        self.var = self.var + PROCESS_VAR_M2PS * elapsed_s
        self.rotation_var += PROCESS_VAR_RAD2PS * elapsed_s
        measured, known = np.isfinite(z.offset), np.isfinite(self.offset)
        both = measured & known & ~z.bound
        innovation = np.where(both, z.offset - self.offset, 0.0)
        noise = np.where(both, z.sigma, 0.0)
        firm = both & ~self.loose
        turn = rotation_vectors((self.rotation.T @ z.rotation)[None])[0]
        turn_rad = float(np.linalg.norm(turn))
        limit = 3.0 * np.sqrt(self.var + noise**2) + SLACK_M
        # Where a face of its own was seen, its side's end further in is the edge of what hides the rest.
        firm &= ~(self.seen & ~z.seen & (PLANE_SIGN * innovation < -limit))
        off = firm & (np.abs(innovation) > limit)
        turned = turn_rad > 3.0 * np.hypot(np.sqrt(self.rotation_var), z.rotation_sigma) + SLACK_RAD
        # It was seen to go further than this end, which then is where a face was parted, not the carton's.
        within = both & self.loose & (PLANE_SIGN * innovation < -limit - CONTRADICTED_M)
        strange = turned or bool((off | within).any())
        grown = firm[:3] & firm[3:] & (np.abs(innovation[3:] - innovation[:3]) > np.maximum(limit[:3], limit[3:]))
        shown = off & z.seen
        in_place = not turned and not shown.any()
        resized = bool(grown.any()) or not (off.any() or turned)
        clearly_moved = turn_rad > CLEAR_TURN_RAD or bool((np.abs(innovation[shown]) > CLEAR_M).any())
        self._noticed(z, stamp_s)
        if strange and not self.id:
            # Not yet a carton: only pictures that agree make it one.
            self._set_anew(z)
            self.times_seen = 1
            return False
        if strange:
            self.suspect += 1
            if self.suspect < (RESIZED_AFTER if resized and not clearly_moved else CONSISTENT_AFTER):
                return False
            self._set_anew(z)
            self.suspect = 0
            if resized and in_place:
                self.rest()
                return False
            return True
        self.suspect = 0
        gain = np.where(firm, self.var / (self.var + noise**2 + 1e-12), 0.0)
        self.offset = self.offset + gain * innovation
        self.var = np.maximum((1.0 - gain) * self.var, LEAST_VAR_M2)
        first = measured & (~known | (self.loose & ~z.bound))
        self.offset = np.where(first, z.offset, self.offset)
        self.var = np.where(first, z.sigma**2, self.var)
        self.loose = np.where(first, z.bound, self.loose)
        self._reach(z)
        rotation_gain = self.rotation_var / (self.rotation_var + z.rotation_sigma**2)
        self.rotation = self.rotation @ rotations((rotation_gain * turn)[None])[0]
        self.rotation_var = max((1.0 - rotation_gain) * self.rotation_var, LEAST_VAR_RAD2)
        return False

    def _reach(self, z: Measurement) -> None:
        """What the places say that the box goes at least to. Of a side never seen whole, those that agree are averaged, one clearly
        further out moves it, others say nothing. An end that two pictures running reach beyond was none: it is open again.
        """
        bound = z.bound & np.isfinite(z.offset) & np.isfinite(self.offset)
        innovation = np.where(bound, z.offset - self.offset, 0.0)
        noise = np.where(bound, z.sigma, 1.0)
        limit = 3.0 * np.sqrt(self.var + noise**2) + SLACK_M
        near = bound & self.loose & (np.abs(innovation) < limit)
        gain = np.where(near, self.var / (self.var + noise**2), 0.0)
        further = bound & self.loose & (PLANE_SIGN * innovation >= limit)
        past = bound & ~self.loose & (PLANE_SIGN * innovation > limit + CONTRADICTED_M)
        self.exceeded = self.exceeded + 1 if past.any() else 0
        if self.exceeded >= CONSISTENT_AFTER:
            self.exceeded = 0
            self.loose = self.loose | past
            self.rest_offset = np.where(past, z.offset, self.rest_offset)
            further |= past
        self.offset = np.where(further, z.offset, self.offset + gain * innovation)
        self.var = np.where(further, noise**2, np.maximum((1.0 - gain) * self.var, LEAST_VAR_M2))

    def _set_anew(self, z: Measurement) -> None:
        measured, known = np.isfinite(z.own_offset), np.isfinite(self.offset)
        both = measured & known & ~z.bound
        for axis in range(3):
            low, high = axis, axis + 3
            if both[low] != both[high]:
                # One side was seen to move: the other goes with it, unless it was measured itself.
                # The end of another face, where both ends were known, tells of the size.
                seen_side, other = (low, high) if both[low] else (high, low)
                tells_place = z.seen[seen_side] or self.loose[other]
                if tells_place and known[other] and not (measured[other] and not z.bound[other]):
                    self.offset[other] += z.own_offset[seen_side] - self.offset[seen_side]
        take = measured & ~z.bound
        self.offset = np.where(take, z.own_offset, self.offset)
        self.var = np.where(take, z.sigma**2, self.var + 1e-4)
        self.loose = np.where(take, False, self.loose)
        self.rotation = z.rotation
        self.rotation_var = z.rotation_sigma**2

    def _noticed(self, z: Measurement, stamp_s: float) -> None:
        self.seen = self.seen | z.seen
        self.visible_now = int(PLANE_BIT[z.seen].sum())
        if np.isfinite(z.mass):
            self.mass = z.mass
        self.seen_again(stamp_s, z.confidence)

    def seen_again(self, stamp_s: float, confidence: float) -> None:
        """Count a sighting, without touching the geometry."""
        self.times_seen += 1
        self.misses = 0
        self.last_seen_s = stamp_s
        self.confidence += 0.3 * (confidence - self.confidence)
        if self.state is not TrackState.HELD:
            self.state = TrackState.SEEN

    def established(self) -> bool:
        """Whether it was seen often enough for a change of place to be a movement, not a misreading that another one ends."""
        return self.times_seen >= ESTABLISHED_SEEN

    def displacement(self) -> tuple[float, float]:
        """How far (m, rad) the carton is from where it last lay at rest."""
        both = np.isfinite(self.offset) & np.isfinite(self.rest_offset)
        delta = np.where(both, self.offset - self.rest_offset, 0.0)
        count = both[:3].astype(int) + both[3:].astype(int)
        # Sizes that become better known move one plane only; a carton that moves takes both with it.
        shift = np.where(count == 2, _smaller(delta[:3], delta[3:]), delta[:3] + delta[3:])
        turn = rotation_vectors((self.rest_rotation.T @ self.rotation)[None])[0]
        return float(np.linalg.norm(shift)), float(np.linalg.norm(turn))

    def rest(self) -> None:
        """Where it is now is where it lies."""
        self.rest_offset, self.rest_rotation = self.offset.copy(), self.rotation.copy()

    def adopt(self, known: "Track") -> None:
        """This box is that carton, found at another place."""
        self.id, self.mass = known.id, known.mass if np.isnan(self.mass) else self.mass
        self.times_seen += known.times_seen
        self.first_seen_s = known.first_seen_s
        self.fallen = known.dropped or known.fallen
        self.rest()

    def size_error(self, other: "Track") -> float:
        """Smallest RMS difference (m) between the known sizes of this box and sizes of another; inf = nothing to compare."""
        mine = self.offset[3:] - self.offset[:3]
        theirs = other.offset[3:] - other.offset[:3]
        mine, theirs = np.sort(mine[np.isfinite(mine)]), theirs[np.isfinite(theirs)]
        if len(mine) < 2 or len(theirs) < 2:
            return float("inf")
        if len(theirs) < len(mine):
            mine, theirs = np.sort(theirs), mine
        best = float("inf")
        for skip in range(len(theirs) if len(theirs) > len(mine) else 1):
            kept = np.sort(np.delete(theirs, skip) if len(theirs) > len(mine) else theirs)
            best = min(best, float(np.sqrt(np.mean((kept - mine) ** 2))))
        return best

    def samples(self, eye: Array, assumed: "Assumed") -> tuple[Array, Bools]:
        """Points (P, 3) on the seen faces that look at `eye`, and whether each looks at it steeply enough to be detected."""
        low, high = self.bounds(assumed)
        middle, half = (low + high) / 2.0, (high - low) / 2.0
        best: tuple[float, Array] | None = None
        for plane in np.flatnonzero(self.seen):
            axis = int(PLANE_AXIS[plane])
            local = np.tile(middle, (len(_CORNERS), 1))
            local[:, axis] = low[axis] if plane < 3 else high[axis]
            others = [k for k in range(3) if k != axis]
            local[:, others] += _CORNERS * half[others]
            points = self.anchor + local @ self.rotation.T
            to_eye = eye - points[len(points) // 2]
            cosine = float(PLANE_SIGN[plane] * self.rotation[:, axis] @ to_eye / np.linalg.norm(to_eye))
            if best is None or cosine * half[others].prod() > best[0]:
                best = (cosine * float(half[others].prod()), points)
                steep = cosine > 0.25
        if best is None:
            return np.zeros((1, 3)), np.zeros(1, dtype=bool)
        return best[1], np.full(len(best[1]), steep)

    def interior(self, assumed: "Assumed") -> Array:
        """(27, 3) points inside the box, trailer."""
        low, high = self.bounds(assumed)
        grid = np.array([[x, y, z] for x in (0.15, 0.5, 0.85) for y in (0.15, 0.5, 0.85) for z in (0.15, 0.5, 0.85)])
        inside: Array = self.anchor + (low + grid * (high - low)) @ self.rotation.T
        return inside

    def grip(self, tool: Array | None, assumed: "Assumed") -> None:
        """Remember how it hangs on the tool, so that `carried` can follow."""
        self.tool_to_anchor = None
        if tool is None or float(np.linalg.norm(tool[:3, 3] - self.centre(assumed))) > 1.0:
            return
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self.rotation, self.anchor
        self.tool_to_anchor = inverse(tool) @ pose

    def carried(self, tool: Array) -> None:
        """Move with the tool (4x4 tool0 to trailer)."""
        if self.tool_to_anchor is not None:
            pose = tool @ self.tool_to_anchor
            self.rotation, self.anchor = pose[:3, :3], pose[:3, 3]


def _smaller(a: Array, b: Array) -> Array:
    """Elementwise: the value nearer to zero where both have one sign, else zero."""
    return np.where(np.sign(a) == np.sign(b), np.where(np.abs(a) < np.abs(b), a, b), 0.0)


def birth(boxes: Boxes, index: int, stamp_s: float) -> Track:
    """A new, unconfirmed track from one box."""
    track = Track(
        rotation=boxes.rotation[index],
        anchor=boxes.anchor[index],
        offset=boxes.offset[index].copy(),
        var=np.where(np.isfinite(boxes.sigma[index]), boxes.sigma[index], 1.0) ** 2,
        loose=boxes.bound[index].copy(),
        seen=boxes.seen[index].copy(),
        rotation_var=float(boxes.rotation_sigma[index]) ** 2,
        confidence=float(boxes.confidence[index]),
        mass=float(boxes.mass[index]),
        first_seen_s=stamp_s,
        last_seen_s=stamp_s,
        visible_now=int(PLANE_BIT[boxes.seen[index]].sum()),
    )
    track.rest()
    return track


@dataclass(frozen=True, slots=True)
class TrackTable:
    """N tracks as arrays: rotation (N, 3, 3), anchor, centre, size (N, 3), offset (N, 6), loose (N, 6), with assumptions filled."""

    rotation: Array
    anchor: Array
    centre: Array
    size: Array
    offset: Array
    known: Bools
    loose: Bools
    seen: Bools


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is taken where no face tells: size along an unknown axis, m, but not through the floor or the back wall (x, m)."""

    size_m: float
    back_x_m: float = np.inf

    # An unknown side is never taken to be thinner than this, m.
    least_m: float = 0.10


# Sine from which a box is tilted, not badly measured: 6 degrees.
LEAST_TILT = 0.1


def filled_planes(offset: Array, loose: Bools, rotation: Array, anchor: Array, assumed: Assumed) -> Array:
    """(N, 6) offsets without gaps, of boxes with axes `rotation` (N, 3, 3) and anchors (N, 3).

    A depth of which only a lower bound (`loose`) is known, as of a ledge that another carton stands on, is taken as the
    assumed one where that is more.
    """
    known = np.isfinite(offset)
    low, high = offset[:, :3].copy(), offset[:, 3:].copy()
    # Room below the highest and behind the foremost known plane, for axes that stand upright or point inwards.
    room = np.full(low.shape, assumed.size_m)
    upright = rotation[:, 2, :] > 0.9
    inwards = rotation[:, 0, :] > 0.9
    with np.errstate(invalid="ignore"):
        room = np.where(upright & known[:, 3:], np.minimum(room, anchor[:, 2:3] + high), room)
        room = np.where(inwards & known[:, :3], np.minimum(room, assumed.back_x_m - anchor[:, 0:1] - low), room)
    room = np.maximum(room, assumed.least_m)
    deeper = inwards & known[:, :3] & known[:, 3:] & loose[:, 3:]
    high = np.where(deeper, np.maximum(high, low + room), high)
    neither = ~known[:, :3] & ~known[:, 3:]
    low = np.where(neither, -room / 2.0, np.where(known[:, :3], low, high - room))
    high = np.where(known[:, 3:], high, low + room)
    leaning = _room_over_floor(low, high, known, rotation, anchor)
    leaning = np.maximum(leaning, assumed.least_m)
    high = np.where(known[:, :3] & ~known[:, 3:], np.minimum(high, low + leaning), high)
    low = np.where(known[:, 3:] & ~known[:, :3], np.maximum(low, high - leaning), low)
    return np.concatenate([low, high], axis=1)


def _room_over_floor(low: Array, high: Array, known: Bools, rotation: Array, anchor: Array) -> Array:
    """(N, 3) how far each axis of a tilted box can reach from its one known plane before an edge is in the floor, m.

    What leans against the load stands on its lower back edge: its hidden depth is this, where it stands on the floor.
    """
    rise = rotation[:, 2, :]
    lowest = np.minimum(low * rise, high * rise)
    from_low = known[:, :3]
    near = np.where(from_low, low, high) * rise
    near_m = anchor[:, 2:3] + near + lowest.sum(axis=1, keepdims=True) - lowest
    fall = np.where(from_low, -rise, rise)
    tilted = (fall > LEAST_TILT) & (fall < 0.9)
    return np.where(tilted, near_m / np.where(tilted, fall, 1.0), np.inf)


def stacked(tracks: list[Track], assumed: "Assumed") -> TrackTable:
    """Arrays of these tracks."""
    if not tracks:
        empty = np.zeros((0, 3))
        return TrackTable(
            np.zeros((0, 3, 3)), empty, empty, empty, np.zeros((0, 6)), *(np.zeros((0, 6), dtype=bool),) * 3
        )
    rotation = np.stack([t.rotation for t in tracks])
    anchor = np.stack([t.anchor for t in tracks])
    raw = np.stack([t.offset for t in tracks])
    loose = np.stack([t.loose for t in tracks])
    known = np.isfinite(raw)
    filled = filled_planes(raw, loose, rotation, anchor, assumed)
    low, high = filled[:, :3], filled[:, 3:]
    return TrackTable(
        rotation,
        anchor,
        anchor + np.einsum("nij,nj->ni", rotation, (low + high) / 2.0),
        high - low,
        np.concatenate([low, high], axis=1),
        known,
        loose,
        np.stack([t.seen for t in tracks]),
    )
