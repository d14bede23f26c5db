"""A cheap stand-in for perception_intake: exact faces in, a tracked and versioned wall out, by the same interfaces.

Ids are by place; what the gripper holds is known from motion/state; what moved without touch is said so. It judges ages
and frames as the robot's own does, and forgets nothing but by evidence.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, Carton, Wall
from numpy.typing import NDArray

from lumper_ros import core as c
from lumper_ros.convert import seconds, to_point, to_time, to_vector3
from lumper_ros.robot import Robot

Array = NDArray[np.float64]
SAME_M, MOVED_M, WITHOUT_M, CHANGE_M = 0.12, 0.05, 0.6, 0.01
STALE_S = 2.0
PERIOD_S = 0.45
TAKING = (ExecuteMotion.Goal.PICK, ExecuteMotion.Goal.PROBE)
IDS_RESERVED, VERSIONS_RESERVED = 1000, 100_000


@dataclass(slots=True)
class Seen:
    centre: Array
    size: Array
    seen_s: float
    misses: int = 0
    put_back: bool = False  # let go of, or lost, where it was taken: it may stand elsewhere now


class LightEyes(c.Core):
    """The wall as a camera that errs in nothing would give it."""

    def __init__(self, robot: Robot) -> None:
        self._camera = robot.mounts["camera_optical_frame"].matrix()
        self._tracks: dict[int, Seen] = {}
        self._held: dict[int, Seen] = {}
        self._elsewhere = False  # a carton is not where the last version says
        self._taking = False  # the request that was under way last takes, it does not place
        self._base_x: float | None = None
        self._next, self._version = 1, 0
        self._reserved_id = self._reserved_version = 0
        self._evidence_s = -math.inf
        self._sent_s = -math.inf
        self._removed: list[int] = []
        self._moved: list[int] = []
        self._shape: Any = None
        self._busy = False

    def restore(self, records: Mapping[str, Mapping[str, Any]], now: c.Now) -> c.Effects:
        kept = records.get("reserved", {}).get("reserved", {})
        self._next = self._reserved_id = int(kept.get("id", 1))
        self._version = self._reserved_version = int(kept.get("version", 0))
        return c.NOTHING

    def message(self, name: str, message: Any, now: c.Now) -> c.Effects:
        if name == "/tf":
            for item in message.transforms:
                if item.child_frame_id == "base_link" and math.isfinite(item.transform.translation.x):
                    self._base_x = item.transform.translation.x
        elif name == "motion/state":
            return self._follow(message, now)
        elif name == "detections":
            return self._look(message, now)
        return c.NOTHING

    def tick(self, now: c.Now) -> c.Effects:
        return self._publish(now)

    def _follow(self, state: Any, now: c.Now) -> c.Effects:
        if state.state in (BrokerState.INACTIVE, BrokerState.RECOVERING):
            return c.NOTHING
        self._busy = state.state in (BrokerState.EXECUTING, BrokerState.STOPPING, BrokerState.HOLDING)
        if state.active_request_id:
            self._taking = state.active_kind in TAKING
        held = list(state.held_carton_ids) if state.holding_carton else []
        for carton in held:
            if carton not in self._held:
                self._held[carton] = self._tracks.pop(carton, Seen(np.zeros(3), np.full(3, 0.4), now.ros_s))
        for carton in [known for known in self._held if known not in held]:
            # Where it went only a picture can say: what was lost in a pull perhaps stands there still.
            track = self._held.pop(carton)
            if self._taking:
                self._tracks[carton] = Seen(track.centre, track.size, track.seen_s, put_back=True)
            else:
                self._removed.append(carton)
        return self._publish(now)

    def _look(self, message: Any, now: c.Now) -> c.Effects:
        stamp_s = seconds(message.header.stamp)
        if message.header.frame_id != "camera_optical_frame" or self._base_x is None:
            return c.NOTHING
        if not now.ros_s - 1.0 <= stamp_s <= now.ros_s + 0.1 or stamp_s <= self._evidence_s <= now.ros_s:
            return c.NOTHING
        turn, eye = self._camera[:3, :3], self._camera[:3, 3] + np.array([self._base_x, 0.0, 0.0])
        free = dict(self._tracks)
        news: list[tuple[Array, Array]] = []
        for face in message.detections:
            at = face.face_pose.position
            front = turn @ np.array([at.x, at.y, at.z]) + eye
            size = np.array([face.depth_m, face.width_m, face.height_m])
            if not (np.all(np.isfinite(front)) and np.all(np.isfinite(size))):
                return c.NOTHING
            centre = front + np.array([size[0] / 2, 0.0, 0.0])
            near = min(free, key=lambda one: float(np.abs(free[one].centre - centre).max()), default=None)
            if near is None or float(np.abs(free[near].centre - centre).max()) > SAME_M:
                news.append((centre, size))
                continue
            self._again(near, free.pop(near), centre, size, stamp_s)
        for centre, size in news:
            near = min(free, key=lambda one: float(np.abs(free[one].centre - centre).max()), default=None)
            if near is not None and float(np.abs(free[near].centre - centre).max()) < WITHOUT_M:
                self._again(near, free.pop(near), centre, size, stamp_s)
                continue
            self._tracks[self._next] = Seen(centre, size, stamp_s)
            self._next += 1
        for carton, track in free.items():
            track.misses += 1
            if track.misses >= 2:
                del self._tracks[carton]
                self._removed.append(carton)
        self._evidence_s = stamp_s
        return self._publish(now)

    def _again(self, carton: int, track: Seen, centre: Array, size: Array, stamp_s: float) -> None:
        by_m = float(np.abs(track.centre - centre).max())
        if by_m > MOVED_M and not track.put_back:
            self._moved.append(carton)
        self._elsewhere = self._elsewhere or by_m > CHANGE_M
        self._tracks[carton] = Seen(centre, size, stamp_s)

    def _publish(self, now: c.Now) -> c.Effects:
        shape = (
            tuple(self._tracks),
            tuple(self._held),
            tuple(self._removed),
            tuple(self._moved),
            self._status(now),
        )
        changed = shape != self._shape or self._elsewhere or bool(self._removed or self._moved)
        self._elsewhere = False
        if not changed and now.steady_s - self._sent_s < PERIOD_S:
            return c.NOTHING
        if changed:
            self._version += 1
        self._sent_s = now.steady_s
        effects: list[c.Effect] = []
        if self._next > self._reserved_id or self._version > self._reserved_version:
            self._reserved_id = self._next + IDS_RESERVED
            self._reserved_version = self._version + VERSIONS_RESERVED
            kept = {"id": self._reserved_id, "version": self._reserved_version}
            effects.append(c.Persist("reserved", "reserved", kept))
        effects.append(c.Publish("wall", self._wall(now)))
        self._removed, self._moved = [], []
        self._shape = (tuple(self._tracks), tuple(self._held), (), (), self._status(now))
        return effects

    def _status(self, now: c.Now) -> int:
        if not math.isfinite(self._evidence_s):
            return int(Wall.STATUS_UNKNOWN)
        if now.ros_s - self._evidence_s > STALE_S:
            return int(Wall.STATUS_STALE)
        return int(Wall.STATUS_OK if self._tracks or self._held else Wall.STATUS_EMPTY)

    def _wall(self, now: c.Now) -> Wall:
        wall = Wall(version=self._version, status=self._status(now), coverage=1.0, back_wall_x_m=float("nan"))
        wall.header.frame_id = "trailer"
        wall.header.stamp = to_time(max(self._evidence_s, 0.0) if math.isfinite(self._evidence_s) else 0.0)
        wall.removed_ids, wall.moved_ids = list(self._removed), list(self._moved)
        for state, tracks in ((None, self._tracks), (Carton.STATE_HELD, self._held)):
            for carton, track in tracks.items():
                fallen = self._base_x is not None and track.centre[0] - self._base_x < 1.75 and track.centre[2] < 0.25
                item = Carton(id=carton, mass_kg=8.0, mass_sigma_kg=1.0, friction=0.5, confidence=0.95, visible_faces=1)
                item.state = state if state is not None else Carton.STATE_ON_FLOOR if fallen else Carton.STATE_SEEN
                item.pose.position, item.size_m = to_point(track.centre), to_vector3(track.size)
                item.pose.orientation.w = 1.0
                item.last_seen = to_time(max(track.seen_s, 0.0))
                wall.cartons.append(item)
        return wall
