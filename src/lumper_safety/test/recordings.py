"""Recorded scans of people walking before a real scanner. Read where they are; skipped where they are not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from robot_bench import ROOT
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

DATA = Path(os.environ.get("LUMPER_DATA", ROOT.parent / "shared" / "data")) / "scans"


@dataclass(frozen=True)
class Recording:
    """Scans (n, beams) as recorded; stamps (n,) s; legs by hand or none."""

    ranges: np.ndarray
    stamps_s: np.ndarray
    labels: list[np.ndarray]
    angle_min_rad: float
    step_rad: float
    range_min_m: float
    range_max_m: float
    frame: str

    @property
    def geometry(self) -> dict[str, object]:
        """Parameters of the monitor for this scanner at scan/front."""
        return {
            "scan_front_frame": self.frame,
            "scan_front_angle_min_rad": self.angle_min_rad,
            "scan_front_step_rad": self.step_rad,
            "scan_front_beams": self.ranges.shape[1],
        }

    def usable(self) -> np.ndarray:
        """(n, beams) with +inf where nothing came back."""
        with np.errstate(invalid="ignore"):
            good = (self.ranges >= self.range_min_m) & (self.ranges <= self.range_max_m)
        return np.where(good, self.ranges, np.inf)


def load(name: str) -> Recording | None:
    """A recording of the folder, or None where it is absent."""
    if not (DATA / name).is_dir():
        return None
    ranges, stamps, labels, last = [], [], [], None
    with AnyReader([DATA / name], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection, _, raw in reader.messages():
            if connection.msgtype == "sensor_msgs/msg/LaserScan":
                last = reader.deserialize(raw, connection.msgtype)
                ranges.append(np.array(last.ranges, dtype=np.float64))
                stamps.append(last.header.stamp.sec + last.header.stamp.nanosec * 1e-9)
            elif connection.msgtype == "geometry_msgs/msg/PoseArray":
                poses = reader.deserialize(raw, connection.msgtype).poses
                labels.append(np.array([[p.position.x, p.position.y] for p in poses]))
    return Recording(
        np.array(ranges),
        np.array(stamps),
        labels,
        float(last.angle_min),
        float(last.angle_increment),
        float(last.range_min),
        float(last.range_max),
        last.header.frame_id,
    )
