"""What the gripper does to the cartons: held, delivered, lost, and which movement its touch explains."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode

from lumper_perception.boxes import Array
from lumper_perception.tracker import Tracker
from lumper_perception.wall import Picture

_UNSURE = (BrokerState.INACTIVE, BrokerState.RECOVERING)
_TOUCHING = (BrokerState.STAGE_GRASP, BrokerState.STAGE_EXTRACT, BrokerState.STAGE_CARRY, BrokerState.STAGE_PLACE)


@dataclass(slots=True)
class GripperStory:
    """Follows motion/state. Ids in `held` hang on the gripper; `touched` maps ids to (metres explained, until s).

    under_kind, under_id: the request that was under way last while something hung there, or that it left the cups in.
    """

    held: tuple[int, ...] = ()
    under_kind: int = 0
    under_id: str = ""
    busy: bool = False
    touching: bool = False
    touched: dict[int, tuple[float, float]] = field(default_factory=dict)

    def follow(self, state: Any, tracker: Tracker, tool: Array | None, stamp_s: float) -> tuple[list[int], list[int]]:
        """Take a BrokerState; returns the ids delivered and the ids lost."""
        executing = state.state in (BrokerState.EXECUTING, BrokerState.STOPPING, BrokerState.HOLDING)
        manipulates = state.active_kind in (
            ExecuteMotion.Goal.PICK,
            ExecuteMotion.Goal.PLACE,
            ExecuteMotion.Goal.PROBE,
            ExecuteMotion.Goal.RETREAT,
        )
        self.busy = executing and manipulates
        self.touching = self.busy and (state.stage in _TOUCHING or bool(state.holding_carton))
        if state.state in _UNSURE:
            return [], []
        now_held = tuple(state.held_carton_ids) if state.holding_carton else ()
        if state.active_request_id and (now_held or state.active_kind == ExecuteMotion.Goal.PLACE):
            self.under_kind, self.under_id = int(state.active_kind), state.active_request_id
        for carton_id in now_held:
            if not tracker.holds(carton_id):
                tracker.take_hold(carton_id, tool, stamp_s)
        delivered: list[int] = []
        lost: list[int] = []
        for carton_id in self.held:
            if carton_id in now_held:
                continue
            if self.under_kind == ExecuteMotion.Goal.PROBE:
                tracker.put_back(carton_id, stamp_s)
                continue
            good = self._delivered(state)
            if tracker.release(carton_id, good, stamp_s):
                (delivered if good else lost).append(carton_id)
        self.held = now_held
        return delivered, lost

    def _delivered(self, state: Any) -> bool:
        """Whether what left the cups lies on the belt: a PLACE lets go of it now, or did so and ended well."""
        if self.under_kind != ExecuteMotion.Goal.PLACE:
            return False
        if state.active_request_id == self.under_id:
            return state.state == BrokerState.EXECUTING and state.stage in (
                BrokerState.STAGE_PLACE,
                BrokerState.STAGE_RETREAT,
            )
        outcomes = dict(zip(state.last_request_ids, state.last_outcomes, strict=False))
        return self.under_id in outcomes and outcomes[self.under_id].code == OutcomeCode.NONE

    def explain(
        self, picture: Picture, tool: Array | None, reach_m: float, neighbour_m: float, until_s: float, now_s: float
    ) -> dict[int, float]:
        """Carton id -> displacement (m) that the robot's touch explains now."""
        self.touched = {key: value for key, value in self.touched.items() if value[1] >= now_s}
        if self.busy and tool is not None and len(picture.tracks):
            local = np.einsum("nji,nj->ni", picture.rotation, tool[:3, 3] - picture.centre)
            outside = np.maximum(np.abs(local) - picture.size / 2.0, 0.0)
            near = np.linalg.norm(outside, axis=1) < reach_m
            beside = (picture.relation.beside | picture.relation.supports | picture.relation.supports.T)[near].any(
                axis=0
            )
            for index, track in enumerate(picture.tracks):
                if near[index]:
                    self._touch(track.id, 10.0, until_s)
                elif beside[index]:
                    self._touch(track.id, neighbour_m, until_s)
        for carton_id in self.held:
            self._touch(carton_id, 10.0, until_s)
        return {key: value[0] for key, value in self.touched.items()}

    def _touch(self, carton_id: int, allowance_m: float, until_s: float) -> None:
        known = self.touched.get(carton_id, (0.0, 0.0))
        self.touched[carton_id] = (max(allowance_m, known[0]), max(until_s, known[1]))
