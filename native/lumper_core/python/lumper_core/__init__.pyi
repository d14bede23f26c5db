"""Which carton next, proved safe: static equilibrium, strokes, grasps and choice for a wall of boxes.

Everything is in SI units in the trailer frame (origin on the floor, middle of the dock threshold, x into the trailer,
y left, z up) unless a name says otherwise. Orientations are unit quaternions x y z w. The functions release the GIL;
separate objects may be used from separate threads. Derivations and sources: docs/planning-core.md.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Record = NDArray[np.void]

BOX_DTYPE: Final[np.dtype[np.void]]
"""One box: id u4, position (3,)f8 centre, orientation (4,)f8, size (3,)f8 along its own axes, size_unknown u1 (bits 1 x,
2 y, 4 z: that size is an assumption), pose_sigma (6,)f8 (x y z in m, rotation x y z in rad), size_sigma (3,)f8, mass f8,
mass_sigma f8, friction f8, confidence f8 (0..1), visible_faces u1 (bits 1 -x, 2 +x, 4 -y, 8 +y, 16 -z, 32 +z, own axes).
"""
GRASP_DTYPE: Final[np.dtype[np.void]]
"""One way to take a load: count u1, ids (4,)u4 (the first `count` are valid), stroke u1 (Stroke), position (3,)f8 and
orientation (4,)f8 of tool0 at contact (z points out of the cups, into the carton; x along the pad's width, y along its
height), zones u4 (bit = row * columns + column, row along +y, column along +x of tool0), extract (3,)f8 displacement after
the lift, lift f8, tilt f8 (about the load's y axis), speed_limit f8, size (3,)f8 of the load along tool0's axes,
load_position (3,)f8 and load_orientation (4,)f8 (the load's centre and axes in tool0), place_position (3,)f8 and
place_orientation (4,)f8 (load's centre and axes in the infeed frame), mass f8, holding_margin f8 (capacity / demand, > 1).
"""
REMOVAL_DTYPE: Final[np.dtype[np.void]]
"""One analysed removal: id u4, verdict u1 (Verdict), nontrivial u1, acceleration f8 (largest predicted for another box,
m/s^2; 0 = proved stable), boxes_solved u4, iterations u4, seconds f8 (CPU time), certificate u8 (content hash)."""
STROKE_DTYPE: Final[np.dtype[np.void]]
"""Prediction of one stroke: safe u1, verdict u1 (Verdict), displacement f8 (m, of the worst other carton), acceleration f8
(m/s^2), speed_limit f8 (m/s)."""
CONTACT_DTYPE: Final[np.dtype[np.void]]
"""One contact point: a i4, b i4 (box indices; -1 floor, -2 y+ wall, -3 y- wall, -4 back wall, -5 something unseen under a
box), position (3,)f8, normal (3,)f8 (from a to b, unit; b is pushed along it), tangent (3,)f8, friction f8, patch u4."""

class InputError(ValueError):
    """Bad input. `box_id`: id of the box (None when no single box is to blame), `index`: its row, `field`: the field."""

    box_id: int | None
    index: int | None
    field: str

class Verdict(IntEnum):
    STABLE = 0
    COLLAPSES = 1
    UNDECIDED = 2

class Stroke(IntEnum):
    """Values as in lumper_msgs/PlannedPick."""

    FRONT_PULL = 0
    LIFT_PULL = 1
    TOP_PICK = 2
    SLOW_PULL = 3
    TILT_PULL = 4

class Reason(IntEnum):
    """Values as in lumper_msgs/RejectedCarton."""

    UNSTABLE = 1
    UNDECIDED = 2
    NO_GRASP = 3
    TOO_HEAVY = 4
    UNREACHABLE = 5
    STROKE_UNSAFE = 6
    UNCERTAIN = 7
    BLOCKED = 8
    COSTLIER = 9
    SKIPPED_BY_PERSON = 10
    FAILED_BEFORE = 11
    DEAD_END = 12

class Outcome(IntEnum):
    """Values as in lumper_msgs/OutcomeCode."""

    NONE = 0
    NO_REMOVABLE_CARTON = 400

class Trailer:
    """Inside of the trailer: floor z = 0, side walls y = +-width/2, back wall x = length; open towards -x."""

    width_m: float
    height_m: float
    length_m: float
    def __init__(self, *, width_m: float = 2.5, height_m: float = 2.7, length_m: float = 7.0) -> None: ...

class StaticsParameters:
    """Contact model and limits of the equilibrium analysis."""

    vertical_tolerance_m: float
    side_tolerance_m: float
    shrink_sigmas: float
    doubt_sigmas: float
    support_friction: float
    side_friction: float
    max_penetration_m: float
    max_boxes: int
    acceleration_threshold_mps2: float
    verify: bool
    force_bound_n: float
    def __init__(self, **values: float) -> None: ...

class Gripper:
    """Suction pad: `columns` x `rows` zones over width (tool0 x) x height (tool0 y)."""

    width_m: float
    height_m: float
    columns: int
    rows: int
    zone_force_n: float
    shear_friction: float
    safety_factor: float
    clearance_m: float
    seal_fraction: float
    cup_stroke_m: float
    def __init__(self, **values: float) -> None: ...

class Arm:
    """Reach and speed model used where no reach callback is given. `mount_*`: arm axis in base_link."""

    mount_x_m: float
    mount_y_m: float
    shoulder_z_m: float
    reach_min_m: float
    reach_max_m: float
    payload_kg: float
    tool_speed_mps: float
    tool_acceleration_mps2: float
    carry_speed_mps: float
    wrist_to_tool_m: float
    def __init__(self, **values: float) -> None: ...

class Conveyor:
    """Where cartons are laid down, in base_link: the infeed frame and the belt's usable width."""

    infeed_x_m: float
    infeed_y_m: float
    infeed_z_m: float
    belt_width_m: float
    def __init__(self, **values: float) -> None: ...

class PlanParameters:
    """Costs and limits of the choice."""

    max_picks: int
    max_group: int
    lookahead: int
    confidence_min: float
    grip_s: float
    release_s: float
    sense_s: float
    base_speed_mps: float
    base_overhead_s: float
    fall_cost_s: float
    pull_speed_mps: float
    slow_pull_speed_mps: float
    lift_m: float
    max_advance_m: float
    tilt_rad: float
    extract_margin_m: float
    working_distance_m: float
    stroke_limit_m: float
    hold_press_n: float
    drag_cost_s: float
    level_cost_spm: float
    def __init__(self, **values: float) -> None: ...

class Pile:
    """A standing pile and its balance. Not thread-safe by itself; use one object per thread."""

    def __init__(self, boxes: Record, trailer: Trailer = ..., parameters: StaticsParameters = ...) -> None:
        """`boxes`: (N,) of BOX_DTYPE. Raises InputError."""
    def __len__(self) -> int: ...
    def add(self, boxes: Record) -> None:
        """Add boxes; contacts are rebuilt only where touched. Raises InputError (and leaves the pile as it was)."""
    def remove(self, ids: Sequence[int]) -> None:
        """Take boxes out. Raises InputError for an unknown id."""
    def move(self, boxes: Record) -> None:
        """Replace boxes of the same ids. Raises InputError."""
    def boxes(self) -> Record: ...
    def contacts(self) -> Record:
        """All contact points, CONTACT_DTYPE."""
    def standing(self) -> Record:
        """Balance of the pile as it is: one REMOVAL_DTYPE record (id 0); COLLAPSES means: not explained by the model."""
    def analyse(self, ids: Sequence[int] | None = None, budget_s: float = ...) -> Record:
        """What happens when each box alone is taken away: (K,) of REMOVAL_DTYPE in the order of ids (None: all boxes)."""
    def analyse_group(self, ids: Sequence[int]) -> Record:
        """What happens when all these boxes are taken away together: one REMOVAL_DTYPE record."""
    def certificate(self, ids: Sequence[int]) -> Certificate:
        """Analyse the removal of these boxes together, and hand out its proof."""
    def falls(self, certificate: Certificate) -> list[int]:
        """Ids of the boxes that a collapse takes along, worst first."""
    def forces(self, certificate: Certificate) -> NDArray[np.float64]:
        """(P, 3) force on body b of each point of `contacts()`, N; zeros unless STABLE."""
    def direction(self, certificate: Certificate) -> NDArray[np.float64]:
        """(N, 6) falling direction of every box (linear m/s^2, angular rad/s^2); zeros unless COLLAPSES."""
    def relief(self) -> NDArray[np.float64]:
        """(N, 6) wrench that the standing pile must receive from something not modelled (see docs), N and Nm."""
    def unexplained(self) -> list[int]:
        """Ids of the boxes that the model cannot hold although they stand."""
    def warnings(self) -> list[str]:
        """Stated repairs and oddities of the input (normalised quaternions, floating or interpenetrating boxes)."""

class Certificate:
    """Proof of one verdict, checkable without the solver (`check`)."""

    verdict: Verdict
    removed: list[int]
    hash: int
    acceleration: float

def check(pile: Pile, certificate: Certificate) -> str:
    """Verify a certificate by plain arithmetic: empty text = verified, else what is wrong with it."""

class Pick:
    """One pick of a plan; field meanings as in lumper_msgs/PlannedPick and GRASP_DTYPE."""

    carton_ids: list[int]
    stroke: Stroke
    grasp_position: NDArray[np.float64]
    grasp_orientation: NDArray[np.float64]
    zones: int
    extract_m: NDArray[np.float64]
    lift_m: float
    tilt_rad: float
    speed_limit_mps: float
    place_position: NDArray[np.float64]
    place_orientation: NDArray[np.float64]
    size_m: NDArray[np.float64]
    load_position: NDArray[np.float64]
    load_orientation: NDArray[np.float64]
    mass_kg: float
    holding_margin: float
    predicted_accel_mps2: float
    expected_s: float
    risk_s: float
    certificate: int

class Rejection:
    """Why a carton was not chosen; field meanings as in lumper_msgs/RejectedCarton."""

    carton_id: int
    reason: Reason
    figure: float
    limit: float
    because_of: list[int]
    text: str

class LeastBad:
    """An option for a person to judge when nothing is proved safe: the pick, and what is predicted to go wrong."""

    pick: Pick
    rejection: Rejection

class Plan:
    outcome: Outcome
    text: str
    picks: list[Pick]
    rejected: list[Rejection]
    least_bad: list[LeastBad]
    advance_base_m: float
    expected_s: float
    planning_s: float
    complete: bool
    """False: the time budget ended before every carton was judged (those are UNDECIDED)."""
    dead_end: bool
    """After these picks nothing that can be reached can be taken safely."""

Reach = Callable[[Record], NDArray[np.float64]]
"""Called once or twice per plan with (K,) GRASP_DTYPE; returns (K,) seconds for approach + carry + return, NaN = not reachable."""

class Planner:
    """Chooses what to take next. Keeps its memory between calls (no allocation after warm-up); one object per thread."""

    def __init__(
        self,
        trailer: Trailer = ...,
        gripper: Gripper = ...,
        arm: Arm = ...,
        conveyor: Conveyor = ...,
        statics: StaticsParameters = ...,
        parameters: PlanParameters = ...,
    ) -> None: ...
    def plan(
        self,
        boxes: Record,
        *,
        base: tuple[float, float, float] = ...,
        reach: Reach | None = None,
        unknown: NDArray[np.float64] | None = None,
        skip: Sequence[int] = (),
        failed: dict[int, int] | None = None,
        max_failed: int = 2,
        budget_s: float = 0.05,
        seed: int = 0,
    ) -> Plan:
        """Plan for these boxes, (N,) of BOX_DTYPE.

        base: x, y (m) and yaw (rad) of base_link in the trailer. unknown: (M, 6) min xyz, max xyz of space that nothing has
        looked into. skip: ids a person excluded. failed: id -> attempts that failed. budget_s: CPU seconds; what is not judged by then is rejected as UNDECIDED.
        seed: orders loads of equal cost. Same input and enough budget: same plan. Raises InputError.
        """
    def grasps(self, boxes: Record) -> Record:
        """All grasp candidates of all boxes, GRASP_DTYPE, before statics and reach."""
    def strokes(self, boxes: Record, grasps: Record) -> Record:
        """Predict these strokes, (K,) GRASP_DTYPE (ids, stroke, extract, lift, tilt, speed_limit are read): STROKE_DTYPE."""

def read_wall(path: str) -> tuple[Record, Trailer]:
    """Boxes of a JSON wall, or of the last lumper_msgs/Wall in an MCAP bag. Raises InputError, OSError."""

__version__: str
