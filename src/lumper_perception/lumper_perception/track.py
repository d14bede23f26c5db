"""One carton over time: six planes filtered one by one, its axes, and how sure we are of it."""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from lumper_perception.boxes import (
    PLANE_AXIS,
    PLANE_BIT,
    PLANE_SIGN,
    Array,
    Bools,
    Boxes,
    rotation_vectors,
)
from lumper_ros.convert import inverse

ESTABLISHED_SEEN = 6
# What moves keeps its size to this, m.
OTHER_SIZE_M = 0.03
_CORNERS = np.array([[x, y] for x in (-0.7, 0.0, 0.7) for y in (-0.7, 0.0, 0.7)])


class TrackState(Enum):
    """As Carton.STATE_* (what lies on the floor is derived from the geometry)."""

    SEEN = 0
    UNCERTAIN = 1
    HELD = 2
    HIDDEN = 4


@dataclass(frozen=True, slots=True)
class Measurements:
    """M boxes, each already expressed in its track's axes and relative to its anchor.

    rotation (M, 3, 3): the boxes' own axes in trailer; offset (M, 6) m along the track's axes, own_offset (M, 6) along the box's
    own, which differs where it is turned against the track; sigma (M, 6) m; bound, seen (M, 6); rotation_sigma (M,) rad;
    confidence (M,); mass (M,) kg, NaN = unknown.
    """

    rotation: Array
    offset: Array
    own_offset: Array
    sigma: Array
    bound: Bools
    seen: Bools
    rotation_sigma: Array
    confidence: Array
    mass: Array


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
    suspect_since_s: float = -np.inf
    exceeded: int = 0
    last_depth_s: float = -np.inf
    last_beyond_s: float = -np.inf
    claimed_s: float = -np.inf  # another carton was seen where this one is said to stand
    fallen: bool = False
    dropped: bool = False
    # It was pulled at, perhaps by a part of it: the next picture that shows all of it says what its id names.
    reopened: bool = False
    visible_now: int = 0
    rest_rotation: Array = field(default_factory=lambda: np.eye(3))
    rest_offset: Array = field(default_factory=lambda: np.full(6, np.nan))
    tool_to_anchor: Array | None = None
    # Where the camera was whose cloud showed it last, trailer; NaN: it is known from detections alone.
    eye: Array = field(default_factory=lambda: np.full(3, np.nan))

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

    def cut_elsewhere(self, z: Measurements, row: int) -> bool:
        """Whether the box may be this carton at rest, of which another part was cut out: each face that is seen lies in its old plane,
        and the size differs, or an end is hidden."""
        own, bound = z.own_offset[row], z.bound[row]
        measured = np.isfinite(own)
        shown = z.seen[row] & measured & np.isfinite(self.rest_offset)
        in_plane = (np.abs(own - self.rest_offset)[shown] < OTHER_SIZE_M).all()
        spans = measured[:3] & measured[3:]
        firm = (np.isfinite(self.offset) & ~self.loose & ~bound).reshape(2, 3).all(axis=0)
        size, was = own[3:] - own[:3], self.offset[3:] - self.offset[:3]
        return bool(in_plane and not (firm & (np.abs(size - was) < OTHER_SIZE_M))[spans].all())

    def set_anew(self, z: Measurements, row: int) -> None:
        """Where the box is measured now is where it is; what is not measured of it moves along where that is known."""
        own, bound = z.own_offset[row], z.bound[row]
        measured, known = np.isfinite(own), np.isfinite(self.offset)
        both = measured & known & ~bound
        for axis in range(3):
            low, high = axis, axis + 3
            if both[low] != both[high]:
                # One side was seen to move: the other goes with it, unless it was measured itself.
                # The end of another face, where both ends were known, tells of the size.
                seen_side, other = (low, high) if both[low] else (high, low)
                tells_place = z.seen[row, seen_side] or self.loose[other]
                if tells_place and known[other] and not (measured[other] and not bound[other]):
                    self.offset[other] += own[seen_side] - self.offset[seen_side]
        # What goes along, or stays, does not leave behind a place to which the box reaches at least.
        reached = measured & known & bound & (PLANE_SIGN * (own - self.offset) > 0.0)
        take = (measured & ~bound) | reached
        self.offset = np.where(take, own, self.offset)
        self.var = np.where(take, z.sigma[row] ** 2, self.var + 1e-4)
        self.loose = np.where(take, reached, self.loose)
        self.rotation = z.rotation[row]
        self.rotation_var = float(z.rotation_sigma[row]) ** 2

    def settle(self, z: Measurements, row: int) -> None:
        """Whatever it was taken for, this box is it, as far as it is seen; what lies beside the box is something else."""
        own, measured = z.own_offset[row], np.isfinite(z.own_offset[row])
        self.offset = np.where(measured, own, self.offset)
        self.var = np.where(measured, z.sigma[row] ** 2, self.var + 1e-4)
        self.loose = np.where(measured, z.bound[row], self.loose)
        self.rotation, self.rotation_var = z.rotation[row], float(z.rotation_sigma[row]) ** 2
        self.reopened, self.suspect = False, 0
        self.rest()

    def seen_again(self, stamp_s: float, confidence: float) -> None:
        """Count a sighting, without touching the geometry."""
        self.times_seen += 1
        if self.times_seen == ESTABLISHED_SEEN:
            # Until then its place and turn are still being found out, from faces that the first pictures perhaps showed a part of.
            self.rest()
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
