"""Clouds into the running robot as fast as they may come: what of them reaches the wall, how late, and whether memory grows.

Every node of the launch file runs, the arm stands; the simulated camera is silenced, and pictures of a ragged wall, ray-cast at
640x480 with colour, take its place. Then the simulated camera sends too: two on one topic, the one often later than the other.
Writes build/bench/sustained.json.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import results
import yaml
from bench_soak import WARM, Sample, sample, slope

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / "system"), str(ROOT / "src" / "lumper_perception" / "test")]

from launched import System  # noqa: E402
from lumper_msgs.msg import Wall  # noqa: E402
from perception_scenes import Renderer, camera_pose, wall  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from lumper_ros import cloud as clouds  # noqa: E402
from lumper_ros.convert import seconds, to_time  # noqa: E402
from lumper_ros.interfaces import TOPICS  # noqa: E402
from lumper_ros.qos import qos  # noqa: E402

RATE_HZ = 20.0
CAMERA_SILENT = [3.0]
WARM_S = 20.0


class Camera:
    """Publishes pictures of the same scene, each with its own noise, stamped with the newest /clock."""

    def __init__(self, system: System, base_x_m: float) -> None:
        rng, renderer = np.random.default_rng(5), Renderer()
        load, pose = wall(rng, front_x_m=base_x_m + 1.9, ragged=True), camera_pose(base_x_m)
        self._pictures: list[PointCloud2] = []
        for _ in range(6):
            picture = renderer.render(load, pose, rng, 0.001, colour=True)
            header = Header(frame_id="camera_optical_frame")
            self._pictures.append(clouds.from_xyz(picture.cloud, header, picture.colour))
        node = system.observer.node
        self._newest = system.observer.newest
        self._publisher = node.create_publisher(PointCloud2, "points", qos(TOPICS["points"].profile))
        self.sent: dict[float, float] = {}  # stamp, s -> monotonic s
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        begun_s, count, last_s = time.monotonic(), 0, 0.0
        while not self._ends.wait(max(0.0, begun_s + count / RATE_HZ - time.monotonic())):
            message = self._pictures[count % len(self._pictures)]
            count += 1
            stamp_s = seconds(self._newest["/clock"].clock)
            if stamp_s <= last_s:
                continue
            last_s = stamp_s
            message.header.stamp = to_time(stamp_s)
            self.sent[round(stamp_s, 6)] = time.monotonic()
            self._publisher.publish(message)

    def stop(self) -> None:
        self._ends.set()
        self._thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lumper_bench_") as scratch:
        config = Path(scratch) / "config"
        shutil.copytree(ROOT / "config", config)
        given = {"/**": {"ros__parameters": {"publish_period_s": 0.02}}}
        (config / "perception_intake.yaml").write_text(yaml.safe_dump(given))
        system = System(Path(scratch), {"detector": "cloud", "cartons": "20", "config": str(config)})
        try:
            figures = measure(system, 60.0 * options.minutes)
        finally:
            system.stop()
    results.write("sustained", figures)


def watch(process: psutil.Process, length_s: float) -> list[Sample]:
    """Samples of the process over so long."""
    until_s, samples = time.monotonic() + length_s, []
    while time.monotonic() < until_s:
        samples.append(sample(process))
        time.sleep(1.0)
    return samples


def growth(samples: list[Sample], what: str) -> dict[str, Any]:
    """Figure of its memory."""
    settled = samples[int(WARM * len(samples)) :]
    (begun_s, first, _), (ended_s, last, _) = settled[0], settled[-1]
    note = (
        f"private memory of the intake over {(ended_s - begun_s) / 60.0:.1f} min, {what}; {first:.0f} -> {last:.0f} MB"
    )
    return {"value": slope(samples, 1), "unit": "MB/h", "note": note}


def measure(system: System, length_s: float) -> dict[str, dict[str, Any]]:
    see = system.observer
    see.watch("/clock", "/tf")
    see.watch("events", keep=True)
    arrived: dict[float, float] = {}

    def on_wall(message: Wall) -> None:
        stamp_s = round(seconds(message.header.stamp), 6)
        arrived.setdefault(stamp_s, time.monotonic())

    see.node.create_subscription(Wall, "wall", on_wall, qos(TOPICS["wall"].profile))

    def active() -> bool:
        return any(event.code == "lifecycle.all_active" for event in see.history.get("events", []))

    see.wait(active, 90.0, "all nodes active")
    silent_s = WARM_S + length_s + 10.0
    assert see.call("sim/fault", name="sensor_silence", args=CAMERA_SILENT, duration_s=silent_s).ok
    silent_until_s = time.monotonic() + silent_s

    def base() -> Any:
        told = see.newest.get("/tf")
        return next((t for t in told.transforms if t.child_frame_id == "base_link"), None) if told else None

    camera = Camera(system, see.wait(base, 30.0, "where the base stands").transform.translation.x)
    perception = system.processes()["perception_intake"]
    time.sleep(WARM_S)
    begun_s, before = time.monotonic(), perception.cpu_times()
    memory = watch(perception, length_s)
    after = perception.cpu_times()
    took_s = time.monotonic() - begun_s
    sent = sum(begun_s <= at_s <= begun_s + took_s for at_s in list(camera.sent.values()))
    time.sleep(max(0.0, silent_until_s - time.monotonic()))
    memory_of_two = watch(perception, length_s)
    camera.stop()
    seen = {stamp_s: at_s for stamp_s, at_s in arrived.items() if begun_s <= at_s <= begun_s + took_s}
    late_ms = [1e3 * (at_s - camera.sent[stamp_s]) for stamp_s, at_s in seen.items() if stamp_s in camera.sent]
    busy = sum(getattr(after, name) - getattr(before, name) for name in ("user", "system")) / took_s
    load = psutil.cpu_percent(1.0)
    note = (
        f"walls with new evidence at {sent / took_s:.1f} clouds a second of 640x480 with colour, over DDS, every node of the robot running "
        f"and the simulated world beside it, {took_s / 60.0:.0f} min; intake {busy:.2f} of a core, machine {load:.0f} % busy after"
    )
    figures = {
        "perception.sustained_hz": {"value": len(seen) / took_s, "unit": "Hz", "note": note},
        "perception.live_cloud_to_wall_p99_ms": {
            "value": float(np.percentile(late_ms, 99)),
            "unit": "ms",
            "note": f"wall clock from publishing a cloud to receiving its wall, DDS and the waiting for a processor in it; "
            f"median {np.median(late_ms):.0f} ms; {len(late_ms)} pictures",
        },
        "perception.memory_slope_mb_per_h": growth(memory, "one camera"),
        "perception.memory_slope_two_cameras_mb_per_h": growth(memory_of_two, "the simulated camera sending beside it"),
    }
    for name, figure in figures.items():
        print(f"{name:40} {figure['value']:8.2f} {figure['unit']}  {figure['note']}", flush=True)
    return figures


if __name__ == "__main__":
    main()
