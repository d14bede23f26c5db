"""Recorder, player and deciding again: throughput, loss, processor time, jitter beside a bare loop, speed, share of identical decisions.

python src/lumper_replay/benchmark/bench_replay.py [--jobs 20] [--only record play check]
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "src" / "lumper_replay" / "test"))
DOMAIN = "112"
CLOUD_BYTES = 320 * 240 * 12
# Messages per second and bytes of each topic while the demonstration works, its nodes' journals included.
DEMO = {
    "joint_states": (125, 300), "/tf": (90, 500), "/clock": (50, 0), "safety/state": (50, 200), "scan/front": (25, 2200),
    "scan/rear": (25, 2200), "gripper/state": (25, 100), "estop": (12, 0), "conveyor/state": (10, 50),
    "motion/state": (15, 400), "job/state": (3, 400), "wall": (5, 20_000), "detections": (5, 10_000),
    "decisions": (70, 8000), "points": (5, CLOUD_BYTES),
}  # fmt: skip
LOADS = {"clouds": {"points": (75, CLOUD_BYTES)}, "small": {"joint_states": (5500, 200)}, "demo": DEMO}


def message(name: str, size: int) -> Any:
    """A message of about `size` bytes."""
    from lumper_msgs.msg import CoreStep

    from lumper_ros.interfaces import TOPICS, resolve_type

    made = resolve_type(TOPICS[name].type)()
    if name == "points":
        made.data = bytes(size)
    elif name == "joint_states":
        made.position = [0.0] * (size // 8)
    elif name.startswith("scan"):
        made.ranges = [1.0] * (size // 4)
    elif name == "decisions":
        made.steps = [CoreStep(data=bytes(400)) for _ in range(size // 450)]
    elif hasattr(made, "text"):
        made.text = "x" * size
    return made


def source(load: str, seconds: float) -> None:
    """Publish a load, prepared as bytes so that this process is not what is measured; prints what was sent."""
    import rclpy
    from rclpy.serialization import serialize_message

    from lumper_ros.interfaces import TOPICS, resolve_type
    from lumper_ros.qos import qos

    rclpy.init()
    node = rclpy.create_node("source")
    rows = []
    for name, (rate, size) in LOADS[load].items():
        publisher = node.create_publisher(resolve_type(TOPICS[name].type), name, qos(TOPICS[name].profile))
        rows.append([0.0, 1.0 / rate, name, publisher, serialize_message(message(name, size)), 0])
    end_s = time.monotonic() + 30.0
    while any(row[3].get_subscription_count() < 1 for row in rows) and time.monotonic() < end_s:
        time.sleep(0.05)
    begun_s = time.monotonic()
    while (now_s := time.monotonic() - begun_s) < seconds:
        for row in rows:
            while row[0] <= now_s:
                row[3].publish(row[4])
                row[0] += row[1]
                row[5] += 1
        time.sleep(max(0.0, min(row[0] for row in rows) - (time.monotonic() - begun_s)))
    spent_s = time.monotonic() - begun_s
    time.sleep(1.0)
    print(
        json.dumps(
            {
                "sent": {row[2]: row[5] for row in rows},
                "bytes": sum(row[5] * len(row[4]) for row in rows),
                "spent_s": spent_s,
            }
        )
    )
    rclpy.shutdown()


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "ROS_DOMAIN_ID": DOMAIN,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml"),
    }


def recorded(load: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Record a load: what was sent and kept, and the recorder's share of one core."""
    from lumper_replay.reader import open_bag

    bag = folder / load
    command = [sys.executable, "-m", "lumper_replay.recorder", "--ros-args", "-p", f"folder:={bag}"]
    recorder = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process = psutil.Process(recorder.pid)
        sender = subprocess.Popen(
            [sys.executable, __file__, "--source", load, "--seconds", str(seconds)],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        while not bag.is_dir():
            time.sleep(0.1)
        time.sleep(2.0)
        before, at_s = process.cpu_times(), time.monotonic()
        time.sleep(seconds - 3.0)
        after, passed_s = process.cpu_times(), time.monotonic() - at_s
        told = json.loads(sender.communicate(timeout=120.0)[0])
        recorder.send_signal(signal.SIGINT)
        recorder.wait(60.0)
    finally:
        recorder.kill()
    kept = open_bag(bag).counts()
    sent = told["sent"]
    total = sum(sent.values())
    arrived = sum(min(kept[name if name.startswith("/") else f"/{name}"], count) for name, count in sent.items())
    cpu = after.user + after.system - before.user - before.system
    return {
        "loss": 1.0 - arrived / total,
        "mb_per_s": told["bytes"] * arrived / total / told["spent_s"] / 1e6,
        "msgs_per_s": arrived / told["spent_s"],
        "cores": cpu / passed_s,
    }


def record(folder: Path, seconds: float) -> dict[str, Any]:
    clouds, small, demo = (recorded(load, seconds, folder) for load in ("clouds", "small", "demo"))
    return {
        "replay.record_mb_per_s": {
            "value": clouds["mb_per_s"],
            "unit": "MB/s",
            "note": f"clouds over DDS, {clouds['loss']:.2%} lost, {clouds['cores']:.0%} of a core; writer alone {writer(folder):.0f} MB/s",
        },
        "replay.record_msgs_per_s": {
            "value": small["msgs_per_s"],
            "unit": "1/s",
            "note": f"over DDS, {small['loss']:.2%} lost, {small['cores']:.0%} of a core",
        },
        "replay.record_loss": {
            "value": demo["loss"],
            "unit": "1",
            "note": f"at the demonstration's load: {demo['msgs_per_s']:.0f} messages/s, {demo['mb_per_s']:.1f} MB/s",
        },
        "replay.record_cores": {"value": demo["cores"], "unit": "cores", "note": "of the recorder at the same load"},
    }


def writer(folder: Path) -> float:
    """MB/s of the writer by itself."""
    from lumper_replay.writer import BagWriter

    bag = BagWriter(folder / "alone")
    bag.add_topic("/points", "sensor_msgs/msg/PointCloud2", [])
    data = os.urandom(CLOUD_BYTES)
    begun_s = time.monotonic()
    for number in range(300):
        bag.write("/points", number, data)
    bag.close()
    return 300 * len(data) / (time.monotonic() - begun_s) / 1e6


def bare(late_s: list[float], seconds: float) -> None:
    """The loop that playing is measured beside."""
    begun_s = time.monotonic()
    for number in range(int(seconds * 100)):
        due_s = begun_s + number * 0.01
        time.sleep(max(0.0, due_s - time.monotonic()))
        late_s.append(time.monotonic() - due_s)


def play(folder: Path, seconds: float) -> dict[str, Any]:
    """How late each message is published, beside a bare loop in a process of its own at the same time."""
    from rclpy.serialization import serialize_message
    from std_msgs.msg import String

    from lumper_replay.writer import BagWriter

    bag = BagWriter(folder / "hundred")
    bag.add_topic("/hundred", "std_msgs/msg/String", [])
    for number in range(int(seconds * 100)):
        bag.write("/hundred", number * 10_000_000, serialize_message(String(data="x" * 200)))
    bag.close()
    words = [
        [sys.executable, __file__, "--player", str(bag.folder)],
        [sys.executable, __file__, "--bare", str(seconds)],
    ]
    running = [subprocess.Popen(each, env=environment(), stdout=subprocess.PIPE, text=True) for each in words]
    played, plain = (np.array(json.loads(each.communicate(timeout=seconds + 60.0)[0])) * 1e3 for each in running)
    return {
        "replay.play_jitter_p99_ms": {
            "value": float(np.percentile(played, 99)),
            "unit": "ms",
            "peer": float(np.percentile(plain, 99)),
            "note": f"lateness at 100 Hz, median {np.median(played):.2f} ms; peer: a bare loop of the same rate beside it, "
            f"median {np.median(plain):.2f} ms",
        }
    }


def check(folder: Path, jobs: int, seconds: float) -> dict[str, Any]:
    from virtual_jobs import record_job

    from lumper_replay.check import check as decide
    from lumper_replay.differ import Verdict

    identical = total = 0
    span_s = spent_s = cpu_s = 0.0
    for seed in range(1, jobs + 1):
        # One long job for the speed, in which the start of the processes does not count.
        record_job(folder / f"job{seed}", cartons=20, seed=seed, limit_s=seconds * (4 if seed == 1 else 1))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = decide(folder / f"job{seed}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        identical += result.count(Verdict.IDENTICAL)
        total += result.total() + result.undecided
        if seed == 1:
            span_s, spent_s = result.span_s, result.spent_s
            cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "replay.identical_fraction": {
            "value": identical / total,
            "unit": "1",
            "note": f"{total} decisions of {jobs} jobs",
        },
        "replay.speed_factor": {
            "value": span_s / spent_s,
            "unit": "1",
            "note": f"{span_s:.0f} s of a job in {spent_s:.1f} s with {os.cpu_count()} processes ({cpu_s:.1f} s of processor time), their start included; the cores "
            "themselves (planning, tracking, people) take most of it",
        },
    }


def parts(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    known: dict[str, Callable[[], dict[str, Any]]] = {
        "record": lambda: record(folder, options.seconds),
        "play": lambda: play(folder, 20.0),
        "check": lambda: check(folder, options.jobs, options.job_seconds),
    }
    for name in options.only or known:
        yield known[name]()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--job-seconds", type=float, default=12.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--only", nargs="+", choices=("record", "play", "check"))
    parser.add_argument("--source", choices=tuple(LOADS), help=argparse.SUPPRESS)
    parser.add_argument("--player", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bare", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.source:
        source(options.source, options.seconds)
        return
    if options.player:
        from lumper_replay.player import PlayOptions
        from lumper_replay.player import play as run
        from lumper_replay.reader import open_bag

        print(json.dumps(run(open_bag(options.player), PlayOptions()).late_s))
        return
    if options.bare:
        late_s: list[float] = []
        thread = threading.Thread(target=bare, args=(late_s, options.bare))
        thread.start()
        thread.join()
        print(json.dumps(late_s))
        return
    target = ROOT / "build" / "bench" / "replay.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = json.loads(target.read_text()) if target.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="lumper_bench_") as folder:
        for figures in parts(options, Path(folder)):
            # Other parts keep the day on which they were measured.
            result |= {name: row | {"day": time.strftime("%Y-%m-%d")} for name, row in figures.items()}
            target.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in result.items():
        print(f"{name:32s} {row['value']:.4g} {row['unit']}  {row.get('note', '')}")


if __name__ == "__main__":
    main()
