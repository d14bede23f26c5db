"""What is planned for the running request: the step that is due, the one after it ahead of time, a check of the rest of a path.

Decides what is to be computed and from what; the computing itself is stages.py's, in another process.
"""

from functools import partial
from typing import Any

import numpy as np
from lumper_msgs.action import ExecuteMotion
from numpy.typing import NDArray

from lumper_motion.active import Active, Ahead, Memory, Step
from lumper_motion.free_motion import Failure, Motion
from lumper_motion.obstacles import Load
from lumper_motion.parameters import MotionParameters
from lumper_motion.requests import Pick
from lumper_motion.senses import Senses
from lumper_motion.stages import Snapshot, StagePlanner
from lumper_motion.tools import load_of, probing
from lumper_ros.core import Compute, Now

Array = NDArray[np.float64]
AT_END_RAD = 0.03


class Planning:
    """Keeps count of what was asked for; what was planned ahead is in `memory`."""

    def __init__(self, parameters: MotionParameters, planner: StagePlanner, senses: Senses, memory: Memory) -> None:
        self._p = parameters
        self._planner = planner
        self._senses = senses
        self._memory = memory
        self._asked = 0

    def snapshot(self, start: Array, load: Load | None) -> Snapshot:
        """What is known now; the arm at `start` (6,) rad."""
        base = self._senses.base_in_trailer()
        wall = self._senses.wall
        return Snapshot(
            start,
            np.eye(4) if base is None else base,
            wall.cartons if wall else (),
            wall.version if wall else 0,
            load,
            self._asked,
        )

    def _here(self) -> Array:
        """(6,) where the next motion starts: where the controller holds the arm, if it is measured there."""
        joints, end = self._senses.joints, self._memory.end
        assert joints is not None
        if end is not None and float(np.abs(joints.position - end).max()) < AT_END_RAD:
            return self._planner.kinematics.inside(end)
        return self._planner.kinematics.inside(joints.position)

    def _load(self) -> Load | None:
        return self._memory.held.load if self._memory.held else None

    def due(self, active: Active, now: Now) -> Compute | Motion | None:
        """The present step, from where the arm stands: to be computed, or planned ahead (None: that is still going on)."""
        start, load = self._here(), self._load()
        self._asked += 1
        active.tag = f"plan {self._asked}"
        active.planning_since_s = now.steady_s
        key = self._key(active.step, active, start, load)
        for ahead in self._memory.ahead:
            # What failed ahead may be found by another search.
            if ahead.key == key and active.step is not Step.MOVE and not isinstance(ahead.motion, Failure):
                active.tag = ahead.tag
                found: Motion | None = ahead.motion
                return found
        return Compute(active.tag, self._function(active.step, active, self.snapshot(start, load)))

    def ahead(self, active: Active, end: Array) -> list[Compute]:
        """What most likely comes next, to be planned while the motion to `end` runs."""
        self._memory.ahead.clear()
        pick = active.pick
        if pick is None:
            return []
        load = self._load()
        if active.step is Step.APPROACH or active.step is Step.PRESS:
            step, load = Step.EXTRACT, load_of(pick)
        elif active.lets_go_here:
            step, load = Step.BACK_OFF, None
        elif active.step is Step.EXTRACT:
            step = Step.PLACE
        else:
            return []
        self._asked += 1
        tag = f"ahead {self._asked}"
        self._memory.ahead.append(Ahead(tag, self._key(step, active, end, load)))
        return [Compute(tag, self._function(step, active, self.snapshot(end, load)))]

    def computed(self, tag: str, result: Any) -> None:
        """Keep what was planned ahead."""
        for ahead in [ahead for ahead in self._memory.ahead if ahead.tag == tag]:
            if isinstance(result, BaseException):
                # Nobody shall wait for it.
                self._memory.ahead.remove(ahead)
            else:
                ahead.motion = result

    def recheck(self, active: Active, version: int, now: Now) -> Compute:
        """Whether the rest of the running approach is still free in the newest picture, of this version."""
        follower = active.follower
        assert follower is not None and active.pick is not None
        from_s = follower.trajectory.s_at(follower.tau(now.ros_s))
        snapshot = self.snapshot(self._here(), None)
        return Compute(
            f"recheck {follower.goal_id} {version}",
            partial(self._planner.recheck, snapshot, follower.trajectory, from_s, active.pick.carton_ids),
        )

    def _key(self, step: Step, active: Active, start: Array, load: Load | None) -> tuple[Any, ...]:
        """Everything that a plan depends on."""
        pick = self._pulled(active)
        base, wall = self._senses.base_in_trailer(), self._senses.wall
        target: tuple[Any, ...] = ()
        if pick is not None:
            target = (
                pick.carton_ids,
                pick.zones,
                pick.grasp.tobytes(),
                pick.place.tobytes(),
                pick.extract_m.tobytes(),
                pick.load_in_tool.tobytes(),
                pick.lift_m,
                pick.speed_limit_mps,
            )
        return (
            step,
            target,
            start.tobytes(),
            load.carton_ids if load else (),
            wall.version if wall else 0,
            b"" if base is None else np.round(base, 6).tobytes(),
        )

    def _pulled(self, active: Active) -> Pick | None:
        """The pick with the stroke that this request makes."""
        pick = active.pick
        return probing(pick, self._p.probe_m) if pick and active.request.kind == ExecuteMotion.Goal.PROBE else pick

    def _function(self, step: Step, active: Active, snapshot: Snapshot) -> Any:
        """What plans a step; closes over nothing that changes."""
        request, pick, planner = active.request, active.pick, self._planner
        kinds = ExecuteMotion.Goal
        if step is Step.APPROACH:
            assert pick is not None
            return partial(planner.approach, snapshot, pick)
        if step is Step.PRESS:
            assert pick is not None
            return partial(planner.press, snapshot, pick.carton_ids, self._p.press_again_m)
        if step is Step.EXTRACT:
            pulled = self._pulled(active)
            assert pulled is not None
            return partial(planner.extract, snapshot, pulled)
        if step is Step.PLACE:
            assert pick is not None
            return partial(planner.place, snapshot, pick)
        if step is Step.BACK_OFF:
            return partial(planner.back_off, snapshot)
        if request.kind == kinds.RETREAT:
            way = self._way_back(snapshot.start)
            return partial(planner.retrace, snapshot, way) if way is not None else partial(planner.back_off, snapshot)
        if request.kind == kinds.JOG:
            assert request.jog is not None
            return partial(planner.jog, snapshot, request.jog.joint_delta_rad, request.jog.tool_delta)
        pose = self._planner.robot.poses["home" if request.kind == kinds.HOME else "scan"]
        return partial(planner.to_pose, snapshot, pose)

    def apart_m(self, one: Array, other: Array) -> float:
        """Distance of tool0 between two joint positions (6,)."""
        tips = self._planner.kinematics.tool(np.stack([one, other]))[:, :3, 3]
        return float(np.linalg.norm(tips[1] - tips[0]))

    def _way_back(self, start: Array) -> Array | None:
        """(n, 6) joints along which the arm came, newest first, over about half a metre of tool path."""
        trail = self._memory.trail
        if trail is None:
            return None
        s_now = trail.s_at(self._memory.trail_tau_s)
        if float(np.abs(trail.path.at(np.array([s_now]))[0] - start).max()) > 0.1 or s_now < 1e-3:
            return None
        s = np.linspace(s_now, 0.0, max(3, int(s_now / 0.02)))
        joints = trail.path.at(s)
        tips = self._planner.kinematics.tool(joints)[:, :3, 3]
        gone = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(tips, axis=0), axis=1))])
        return joints[1 : max(2, int(np.searchsorted(gone, 0.5)))]
