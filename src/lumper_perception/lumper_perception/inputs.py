"""The door: each source's messages checked, counted, and taken as pictures that wait for their transform."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lumper_perception.boxes import Faces
from lumper_perception.evidence import Cloud
from lumper_perception.parameters import PerceptionParameters
from lumper_perception.validate import (
    Fault,
    SourceHealth,
    StampLimits,
    cloud_fault,
    header_fault,
    points_fault,
    read_faces,
    stamp_of,
)
from lumper_ros import cloud as clouds
from lumper_ros.core import Diagnose, Now

# A fault stays in a source's diagnostic text for so long, s.
FAULT_SHOWN_S = 5.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture that passed the door: faces of a detector, or a cloud (H, W, 3) m with packed colour or None."""

    key: str
    frame: str
    stamp_s: float
    give_up_s: float
    faces: Faces | None
    cloud: Cloud | None
    colour: Any
    coverage: float


class Inputs:
    """Health of every source. A source is a detector's name, or a camera's cloud, with its frame."""

    def __init__(self, parameters: PerceptionParameters) -> None:
        self._p = parameters
        self._sources: dict[str, SourceHealth] = {}
        self._last_cloud_s: dict[str, float] = {}

    def _health(self, key: str, frame: str) -> SourceHealth:
        health = self._sources.get(key)
        if health is None or health.frame != frame:
            health = self._sources[key] = SourceHealth(frame)
        return health

    def detections(self, message: Any, now: Now) -> Taken | None:
        """A CartonDetections message, or None when it was dropped."""
        frame = str(message.header.frame_id).lstrip("/")
        key = f"detections {message.source or 'unnamed'} {frame or '(no frame)'}"
        health = self._health(key, frame)
        limits = StampLimits(self._p.max_future_s, self._p.detections_max_age_s, self._p.max_rate_hz)
        stamp_s = stamp_of(message)
        fault = header_fault(message) or health.check_stamp(stamp_s, now.ros_s, limits)
        coverage = float(message.view_coverage)
        if fault is None and not 0.0 <= coverage <= 1.0:
            fault = Fault("view_coverage", f"view_coverage is {coverage}; it must lie in 0 … 1")
        if fault is not None:
            health.drop(fault, now.ros_s)
            return None
        faces, faults = read_faces(message, self._p.max_faces)
        for item in faults:
            health.drop(item, now.ros_s)
        health.accept(stamp_s)
        return Taken(key, frame, stamp_s, now.steady_s + self._p.transform_wait_s, faces, None, None, coverage)

    def points(self, message: Any, now: Now) -> Taken | None:
        """A PointCloud2 message, or None when it was dropped, or is not needed yet."""
        frame = str(message.header.frame_id).lstrip("/")
        key = f"points {frame or '(no frame)'}"
        health = self._health(key, frame)
        stamp_s = stamp_of(message)
        limits = StampLimits(self._p.max_future_s, self._p.points_max_age_s, self._p.max_rate_hz)
        fault = header_fault(message) or cloud_fault(message) or health.check_stamp(stamp_s, now.ros_s, limits)
        if fault is not None:
            health.drop(fault, now.ros_s)
            return None
        faces_wanted = self._p.detector != "detections"
        if not faces_wanted and stamp_s - self._last_cloud_s.get(key, -np.inf) < self._p.evidence_period_s:
            health.accept(stamp_s)
            return None
        cloud = clouds.xyz(message)
        stride = max(1, cloud.shape[1] // self._p.evidence_columns)
        fault = points_fault(cloud[::stride, ::stride, 2].astype(float), self._p.min_valid_fraction)
        if fault is not None:
            health.drop(fault, now.ros_s)
            return None
        health.accept(stamp_s)
        colour = None
        names = [field.name for field in message.fields]
        if faces_wanted and ("rgb" in names or "rgba" in names):
            colour = clouds.view(message)["rgb" if "rgb" in names else "rgba"]
        self._last_cloud_s[key] = stamp_s
        return Taken(key, frame, stamp_s, now.steady_s + self._p.transform_wait_s, None, cloud, colour, 1.0)

    def drop(self, key: str, fault: Fault, now_s: float) -> None:
        """Count a picture of source `key` that failed after the door."""
        self._sources[key].drop(fault, now_s)

    def diagnoses(self, now: Now) -> list[Diagnose]:
        """One status per source: rate, what was accepted, what was dropped and why, silence."""
        effects = []
        for key, health in sorted(self._sources.items()):
            age_s = now.ros_s - health.last_accepted_s
            level, text = 0, f"{1.0 / health.interval_s:.1f} Hz" if health.interval_s > 0.0 else "ok"
            if health.last_fault and now.ros_s - health.last_fault_s < FAULT_SHOWN_S:
                level, text = 1, health.last_fault
            if age_s > self._p.source_silent_s:
                level = 2
                text = f"nothing usable for {age_s:.1f} s" if np.isfinite(age_s) else "nothing usable so far"
                if health.last_fault:
                    text += f"; {health.last_fault}"
            values: dict[str, str | float | int | bool] = {"frame": health.frame, "accepted": health.accepted}
            values |= {f"dropped.{reason}": count for reason, count in sorted(health.dropped.items())}
            effects.append(Diagnose(key, level, text, values))
        return effects
