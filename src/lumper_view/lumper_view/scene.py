"""From the robot's messages to what there is to draw. Shared by the RViz markers and the operator's page.

Frame of everything: `trailer`. Lengths m, quaternions (x, y, z, w). Nothing here knows RViz or a browser.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from lumper_msgs.msg import Carton, PlannedPick, RejectedCarton
from numpy.typing import NDArray

from lumper_view import words

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_CARTONS = 2000
MAX_ASKED = 40
SAFETY_FIELD_CORNERS = 64


class Look(IntEnum):
    """How a carton is shown. Later ones win over earlier ones."""

    SEEN = 0
    HIDDEN = 1
    UNCERTAIN = 2
    CANNOT = 3  # cannot be taken now: reach, weight, grasp, failed before
    UNSAFE = 4  # taking it would let others fall or shift
    SKIPPED = 5  # left out by a person
    ON_FLOOR = 6
    PLANNED = 7
    NEXT = 8
    HELD = 9


LOOK_WORDS: dict[Look, str] = {
    Look.SEEN: "seen",
    Look.HIDDEN: "hidden now, seen before",
    Look.UNCERTAIN: "uncertain",
    Look.CANNOT: "cannot be taken now",
    Look.UNSAFE: "unsafe to take",
    Look.SKIPPED: "left out by a person",
    Look.ON_FLOOR: "on the floor",
    Look.PLANNED: "planned, with its number",
    Look.NEXT: "next",
    Look.HELD: "held by the gripper",
}
# Colours after Okabe and Ito (2008), told apart by most colour-blind people; the page adds a sign to each.
LOOK_RGB: dict[Look, tuple[int, int, int]] = {
    Look.SEEN: (201, 167, 118),
    Look.HIDDEN: (150, 150, 150),
    Look.UNCERTAIN: (204, 121, 167),
    Look.CANNOT: (140, 120, 100),
    Look.UNSAFE: (213, 94, 0),
    Look.SKIPPED: (90, 90, 90),
    Look.ON_FLOOR: (240, 228, 66),
    Look.PLANNED: (86, 180, 233),
    Look.NEXT: (0, 158, 115),
    Look.HELD: (0, 114, 178),
}
_STATE_LOOK = {
    Carton.STATE_SEEN: Look.SEEN,
    Carton.STATE_UNCERTAIN: Look.UNCERTAIN,
    Carton.STATE_HELD: Look.HELD,
    Carton.STATE_ON_FLOOR: Look.ON_FLOOR,
    Carton.STATE_HIDDEN: Look.HIDDEN,
}
_REASON_LOOK = {
    RejectedCarton.UNSTABLE: Look.UNSAFE,
    RejectedCarton.UNDECIDED: Look.UNSAFE,
    RejectedCarton.STROKE_UNSAFE: Look.UNSAFE,
    RejectedCarton.NO_GRASP: Look.CANNOT,
    RejectedCarton.TOO_HEAVY: Look.CANNOT,
    RejectedCarton.UNREACHABLE: Look.CANNOT,
    RejectedCarton.FAILED_BEFORE: Look.CANNOT,
    RejectedCarton.UNCERTAIN: Look.UNCERTAIN,
    RejectedCarton.BLOCKED: Look.SEEN,
    RejectedCarton.COSTLIER: Look.SEEN,
    RejectedCarton.DEAD_END: Look.SEEN,
    RejectedCarton.SKIPPED_BY_PERSON: Look.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class Cartons:
    """All cartons as arrays; row i is carton `ids[i]`."""

    ids: tuple[int, ...]
    positions: Floats  # (n, 3) centres
    quaternions: Floats  # (n, 4) x y z w
    sizes: Floats  # (n, 3)
    looks: tuple[Look, ...]
    order: tuple[int, ...]  # place in the plan, 1 = next, 0 = not planned
    reasons: tuple[str, ...]  # why it was not chosen; empty where there is nothing to say

    def row(self, carton_id: int) -> int | None:
        """Row of a carton, or None."""
        try:
            return self.ids.index(carton_id)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Arrow:
    """From start to end, (3,) each."""

    kind: str  # grasp, extraction, support
    start: Floats
    end: Floats


@dataclass(frozen=True, slots=True)
class Body:
    """A part of the robot as a box or a capsule, posed in the trailer."""

    name: str
    transform: Floats  # (4, 4) of the shape's own frame: centre; a capsule lies along z
    size: tuple[float, float, float]  # box: full size; capsule: radius, radius, length between the ends


@dataclass(frozen=True, slots=True)
class SafetyField:
    """The area that a person must stay out of at the present speed, on the floor, and the sentence about it."""

    outline: Floats  # (k, 2) closed polygon, counter-clockwise; empty when the arm's place is not known
    separation_m: float
    required_m: float
    text: str
    stopped: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything there is to draw now."""

    cartons: Cartons
    arrows: tuple[Arrow, ...] = ()
    unknown: tuple[tuple[Floats, Floats], ...] = ()  # (centre, size) of boxes that nothing has looked into
    people: Floats = field(default_factory=lambda: np.zeros((0, 2)))  # (k, 2) on the floor
    safety: SafetyField | None = None
    asked: tuple[int, ...] = ()  # cartons that an answer may name: shown with their ids


NO_CARTONS = Cartons((), np.zeros((0, 3)), np.zeros((0, 4)), np.zeros((0, 3)), (), (), ())


@dataclass(frozen=True, slots=True)
class WallShapes:
    """The geometry of one Wall message, taken out once; invalid cartons are left out and named."""

    ids: tuple[int, ...]
    states: tuple[int, ...]
    positions: Floats
    quaternions: Floats
    sizes: Floats
    faults: tuple[str, ...]


def wall_shapes(wall: Any) -> WallShapes:
    """Take the cartons' geometry out of a Wall.

    Cartons beyond MAX_CARTONS, with an id twice, or with a pose or size that is not finite, not positive or not a unit
    quaternion are dropped and named in `faults`.
    """
    cartons = list(wall.cartons)
    faults = []
    if len(cartons) > MAX_CARTONS:
        faults.append(f"wall.cartons: {len(cartons)} cartons, only the first {MAX_CARTONS} are shown")
        cartons = cartons[:MAX_CARTONS]
    if not cartons:
        return WallShapes((), (), np.zeros((0, 3)), np.zeros((0, 4)), np.zeros((0, 3)), tuple(faults))
    rows = []
    for carton in cartons:
        p, q, s = carton.pose.position, carton.pose.orientation, carton.size_m
        rows.append((p.x, p.y, p.z, q.x, q.y, q.z, q.w, s.x, s.y, s.z))
    table = np.array(rows, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        good = np.isfinite(table).all(axis=1) & (table[:, 7:] > 0).all(axis=1)
        good &= np.abs(np.linalg.norm(table[:, 3:7], axis=1) - 1.0) < 1e-2
    ids = [carton.id for carton in cartons]
    seen: set[int] = set()
    for row, carton_id in enumerate(ids):
        if not good[row]:
            faults.append(f"wall.cartons[{row}] (id {carton_id}): pose or size is not usable; not shown")
        elif carton_id in seen:
            good[row] = False
            faults.append(f"wall.cartons[{row}]: id {carton_id} is there twice; the second is not shown")
        seen.add(carton_id)
    keep = np.flatnonzero(good)
    table = table[keep]
    return WallShapes(
        tuple(ids[i] for i in keep),
        tuple(cartons[i].state for i in keep),
        table[:, :3],
        table[:, 3:7],
        table[:, 7:],
        tuple(faults),
    )


def cartons_of(
    shapes: WallShapes,
    plan: Any | None,
    held_ids: Sequence[int],
    held_pose: tuple[Floats, Floats] | None,
) -> Cartons:
    """Decide how each carton is shown.

    Args:
        plan: newest UnloadPlan, or None.
        held_ids: cartons on the gripper.
        held_pose: (3,) position and (4,) quaternion of the held load now, or None when it is not known.
    """
    order: dict[int, int] = {}
    reasons: dict[int, str] = {}
    looks = {
        carton_id: _STATE_LOOK.get(state, Look.UNCERTAIN)
        for carton_id, state in zip(shapes.ids, shapes.states, strict=True)
    }
    if plan is not None:
        for item in plan.rejected:
            look = _REASON_LOOK.get(item.reason, Look.CANNOT)
            if item.carton_id in looks:
                looks[item.carton_id] = max(looks[item.carton_id], look)
                reasons[item.carton_id] = words.rejection(item)
        for place, pick in enumerate(plan.picks, start=1):
            for carton_id in pick.carton_ids:
                if carton_id in looks and carton_id not in order:
                    order[carton_id] = place
                    looks[carton_id] = max(looks[carton_id], Look.NEXT if place == 1 else Look.PLANNED)
    positions, quaternions = shapes.positions, shapes.quaternions
    for carton_id in held_ids:
        if carton_id in looks:
            looks[carton_id] = Look.HELD
    if held_pose is not None and len(held_ids) == 1 and held_ids[0] in looks:
        row = shapes.ids.index(held_ids[0])
        positions, quaternions = positions.copy(), quaternions.copy()
        positions[row], quaternions[row] = held_pose
    return Cartons(
        shapes.ids,
        positions,
        quaternions,
        shapes.sizes,
        tuple(looks[i] for i in shapes.ids),
        tuple(order.get(i, 0) for i in shapes.ids),
        tuple(reasons.get(i, "") for i in shapes.ids),
    )


def arrows_of(plan: Any | None, wall: Any | None, cartons: Cartons) -> tuple[Arrow, ...]:
    """Grasp and extraction of the next pick, and which cartons will carry those that now rest on it."""
    if plan is None or not plan.picks:
        return ()
    pick = plan.picks[0]
    pose = pick.grasp_pose
    contact = np.array([pose.position.x, pose.position.y, pose.position.z])
    q = pose.orientation
    into = _z_axis(q.x, q.y, q.z, q.w)
    lift = contact + np.array([0.0, 0.0, pick.lift_m])
    out = lift + np.array([pick.extract_m.x, pick.extract_m.y, pick.extract_m.z])
    arrows = []
    if np.isfinite(contact).all() and np.isfinite(into).all():
        arrows.append(Arrow("grasp", contact - 0.35 * into, contact))
        if np.isfinite(out).all() and np.linalg.norm(out - contact) > 1e-3:
            arrows.append(Arrow("extraction", lift, out))
    if wall is not None:
        arrows += _support_arrows(pick, wall, cartons)
    return tuple(arrows)


def _support_arrows(pick: PlannedPick, wall: Any, cartons: Cartons) -> list[Arrow]:
    taken = set(pick.carton_ids)
    by_id = {carton.id: carton for carton in wall.cartons}
    above = {upper for carton_id in taken if carton_id in by_id for upper in by_id[carton_id].supports} - taken
    arrows = []
    for upper in sorted(above)[:20]:
        row = cartons.row(upper)
        if row is None or upper not in by_id:
            continue
        for lower in [i for i in by_id[upper].supported_by if i not in taken][:8]:
            other = cartons.row(lower)
            if other is not None:
                arrows.append(Arrow("support", cartons.positions[row], cartons.positions[other]))
    return arrows


def _z_axis(x: float, y: float, z: float, w: float) -> Floats:
    return np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])


def unknown_of(wall: Any | None) -> tuple[tuple[Floats, Floats], ...]:
    """Centre and size of each region that nothing has looked into; at most 200, empty or non-finite ones left out."""
    if wall is None:
        return ()
    boxes = []
    for box in list(wall.unknown_space)[:200]:
        low = np.array([box.min_m.x, box.min_m.y, box.min_m.z])
        high = np.array([box.max_m.x, box.max_m.y, box.max_m.z])
        if np.isfinite(low).all() and np.isfinite(high).all() and (high > low).all():
            boxes.append(((low + high) / 2, high - low))
    return tuple(boxes)


def asked_of(request: Any | None) -> tuple[int, ...]:
    """Ids of the cartons that the open question is about, those of its options first; at most MAX_ASKED."""
    if request is None or not request.open:
        return ()
    ids = dict.fromkeys(int(i) for option in request.options for i in option.carton_ids[:MAX_ASKED])
    ids |= dict.fromkeys(int(i) for i in request.carton_ids)
    return tuple(ids)[:MAX_ASKED]


def safety_field(state: Any | None, arm_points: Floats) -> SafetyField | None:
    """The floor area within the required separation of the arm.

    Args:
        state: newest SafetyState, or None.
        arm_points: (k, 3) points of the arm's links in the trailer.
    """
    if state is None:
        return None
    required = float(state.required_separation_m)
    outline = np.zeros((0, 2))
    if len(arm_points) and math.isfinite(required) and 0.0 < required < 50.0:
        angles = np.linspace(0.0, 2 * np.pi, SAFETY_FIELD_CORNERS, endpoint=False)
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        flat = arm_points[:, :2]
        # The boundary of (convex hull of the points) + (disc): its support point in each direction.
        outline = flat[np.argmax(flat @ directions.T, axis=0)] + required * directions
    return SafetyField(
        outline,
        float(state.separation_m),
        required,
        words.separation(state),
        state.mode >= state.PROTECTIVE_STOP,
    )


def legend(cartons: Cartons) -> Mapping[Look, int]:
    """How many cartons are shown in each way."""
    counts: dict[Look, int] = {}
    for look in cartons.looks:
        counts[look] = counts.get(look, 0) + 1
    return counts
