"""How a request begins: which of its steps earlier requests have done already, and what of it does not fit what is held or seen."""

from dataclasses import replace

from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import OutcomeCode

from lumper_motion.active import Active, Held, Memory, Step
from lumper_motion.free_motion import Failure
from lumper_motion.intake import TAKING
from lumper_motion.requests import Request
from lumper_motion.senses import Senses
from lumper_motion.tools import load_of

C = OutcomeCode


def fit(active: Active, memory: Memory, senses: Senses) -> Failure | None:
    """Skip the steps that an earlier request for the same cartons has done; refuse what cannot be."""
    request, held = active.request, memory.held
    if request.pick is None:
        return None
    ids = request.pick.carton_ids
    if request.kind in TAKING:
        if held is None and senses.holds():
            return Failure(C.CARTON_LOST, "the gripper holds something that no request picked: take it off by hand")
        if held is not None and (held.load.carton_ids != ids or request.kind == ExecuteMotion.Goal.PROBE):
            return Failure(C.MALFORMED, f"the gripper holds cartons {list(held.load.carton_ids)}: place them first")
        if held is not None:
            active.pick, active.steps = held.pick, [Step.EXTRACT]
        else:
            return _target_fault(request, senses)
    elif held is None and memory.laid_down == ids and not senses.holds():
        active.steps = [Step.BACK_OFF]
    elif held is None and senses.holds():
        memory.held = Held(load_of(request.pick), request.pick)
    elif held is None:
        return Failure(C.CARTON_LOST, f"nothing is held: PICK cartons {list(ids)} before PLACE")
    elif held.load.carton_ids != ids:
        return Failure(C.MALFORMED, f"the gripper holds cartons {list(held.load.carton_ids)}, not {list(ids)}")
    else:
        # How it is held is what was picked; only where to lay it is this request's.
        active.pick = replace(held.pick, place=request.pick.place)
        if not held.out:
            active.steps = [Step.EXTRACT, *active.steps]
    return None


def _target_fault(request: Request, senses: Senses) -> Failure | None:
    """Whether the cartons are still where the picture of the request showed them."""
    assert request.pick is not None
    wall = senses.wall
    if wall is None:
        return Failure(C.UNKNOWN_WALL_VERSION, "no wall was ever received")
    known = {carton.carton_id for carton in wall.cartons}
    absent = [carton_id for carton_id in request.pick.carton_ids if carton_id not in known]
    if absent:
        return Failure(C.WALL_CHANGED, f"cartons {absent} are not in wall version {wall.version}: plan again")
    return None
