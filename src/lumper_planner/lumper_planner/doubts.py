"""A face that may be two cartons: after a loss in the pull it is tested by a small pull at one end of it, before it is taken again.

What comes along is one carton; the next picture says so. Until then the choice is made as if it were two.
"""

from typing import Any

import numpy as np
from lumper_msgs.msg import Carton, PlannedPick

from lumper_planner.unloading import Unloading

# A face with no edge as long as this is hardly two cartons, m.
LEAST_EDGE_M = 0.30
# It stands where it was lost from while that grasp's place is no farther outside of it than this, m.
NEAR_M = 0.10
# A pull at more than this share of the face tells nothing; a face that shrank below it was parted by the loss itself.
PART_SHARE = 0.75
# A shorter pull shows nothing, m.
LEAST_PULL_M = 0.10


def raise_about(u: Unloading, pick: dict[str, Any]) -> None:
    """A load was lost while it was pulled out: perhaps the cups held two cartons, each by its edge."""
    job, ids = u.require_job(), [int(carton) for carton in pick["carton_ids"]]
    size, place = pick["size_m"], pick["grasp_pose"]["position"]
    edge_m = max(size["x"], size["y"])
    if len(ids) == 1 and ids[0] not in job.probed and edge_m >= LEAST_EDGE_M:
        job.doubted[str(ids[0])] = [place["x"], place["y"], place["z"], edge_m]
        u.emit("carton.doubted", f"carton {ids[0]} may be two: it is pulled at a little before it is taken again")


def about(u: Unloading, chosen: PlannedPick) -> bool:
    """Whether this pick is of a face that is in doubt."""
    return len(chosen.carton_ids) == 1 and str(chosen.carton_ids[0]) in u.require_job().doubted


def testable(u: Unloading, chosen: PlannedPick) -> bool:
    """Whether pulling by this pick would tell: at one end, forwards, of a carton that still stands, as wide, where it was lost from."""
    job, wall = u.require_job(), u.world.wall
    assert wall is not None
    carton = next(item for item in wall.cartons if item.id == chosen.carton_ids[0])
    *lost_from, edge_m = job.doubted[str(carton.id)]
    centre = np.array([carton.pose.position.x, carton.pose.position.y, carton.pose.position.z])
    size = np.array([carton.size_m.x, carton.size_m.y, carton.size_m.z])
    stands = (
        bool((np.abs(np.array(lost_from) - centre) < size / 2.0 + NEAR_M).all())
        and carton.state != Carton.STATE_ON_FLOOR
    )
    as_one = float(size[1:].max()) > PART_SHARE * edge_m
    part = max(chosen.size_m.x, chosen.size_m.y) < PART_SHARE * float(size[1:].max())
    return stands and as_one and part and -chosen.extract_m.x >= LEAST_PULL_M


def settle(u: Unloading, carton: int) -> None:
    """The doubt is over: it was pulled at, or cannot be."""
    job = u.require_job()
    if job.doubted.pop(str(carton), None) is not None:
        job.probed = sorted({*job.probed, carton})
        u.dirty = True
