"""A carton that is seen again under another id: what was tried in vain with it goes along, or the robot would try for ever.

An intake names anew what it lost sight of, as while it hung on the gripper for a moment, or while the intake was started again.
"""

import numpy as np
from lumper_msgs.msg import Carton

from lumper_planner import assist
from lumper_planner.unloading import Unloading

# So far outside of a carton's box, m, a grasp that was tried in vain may have been at one of its faces.
NEAR_M = 0.05


def follow(u: Unloading) -> None:
    """Hand what is known of ids that the wall has no more on to the carton that stands now where those attempts were made."""
    job, picture = u.require_job(), u.world.picture
    if picture is None or not (job.failed_grasps or job.doubted):
        return
    held = set(job.load["carton_ids"]) if job.load is not None else set()
    for old in sorted({*job.failed_grasps, *job.doubted}):
        if int(old) in picture.ids or int(old) in held:
            continue
        tried = job.failed_grasps.get(old) or [job.doubted[old]]
        place = np.array(tried[-1][:3])
        outside = np.maximum(picture.low - place, place - picture.high).max(axis=1)
        standing = np.array([state != Carton.STATE_HELD for state in picture.states], dtype=bool)
        heirs = np.flatnonzero(standing & (outside <= NEAR_M))
        if len(heirs):
            _hand_on(u, old, str(picture.ids[heirs[outside[heirs].argmin()]]))


def _hand_on(u: Unloading, old: str, new: str) -> None:
    job = u.require_job()
    attempts = job.failed.pop(old, 0) + job.failed.get(new, 0)
    asked, left = int(old) in job.asked_about(), int(old) in job.skipped
    if attempts:
        # Of what nobody has been asked about one more attempt is made, which asks if it fails.
        most = u.parameters.grasp_attempts
        job.failed[new] = attempts if asked else min(attempts, most - 1)
    if asked:
        assist.rename(u, int(old), int(new))
    if left:
        job.skipped = sorted({*job.skipped, int(new)})
    for known in (job.failed_grasps, job.no_path):
        _append(known, old, new)
    doubt = job.doubted.pop(old, None)
    if doubt is not None and int(new) not in job.probed:
        job.doubted.setdefault(new, doubt)
    u.dirty = True
    u.emit("carton.renamed", f"carton {old} is seen again as {new}, with {attempts} attempts in vain")


def _append(known: dict[str, list[list[float]]], old: str, new: str) -> None:
    tried = known.pop(old, None)
    if tried:
        known[new] = [*known.get(new, ()), *tried]
