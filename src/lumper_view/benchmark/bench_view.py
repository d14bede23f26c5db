"""What the views cost: a marker update and a page frame at 400 cartons, five browsers, and from the button to the stop.

Processor time of this process (all threads), not of the browsers. Peer of the batched page: one viser box per carton.
usage: bench_view.py [--quick]
"""

import faulthandler
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy.serialization
import viser

from lumper_ros.auth import create_key
from lumper_ros.convert import to_time
from lumper_ros.core import Now, Publish
from lumper_ros.robot import load_robot, load_trailer

ROOT = Path(__file__).resolve().parents[3]
TESTS = Path(__file__).resolve().parents[1] / "test"
sys.path.insert(0, str(TESTS))

import view_scenario as scenario  # noqa: E402
from viser_wire import WireClient  # noqa: E402

from lumper_view.core import MarkersCore  # noqa: E402
from lumper_view.node import PanelNodeCore  # noqa: E402
from lumper_view.parameters import MarkersParameters, PanelParameters  # noqa: E402

CARTONS = 400
FOLDER = str(ROOT / "config" / "robot")
TRAILER = str(ROOT / "config" / "trailer.yaml")
faulthandler.dump_traceback_later(130, exit=True)
QUICK = "--quick" in sys.argv


def _varied_walls(count: int) -> list[Any]:
    """Walls as the intake would send them in a row: one carton gone and every pose a little different."""
    rng = np.random.default_rng(7)
    walls = []
    for version in range(count):
        wall = scenario.wall(CARTONS + 1, version=version)
        del wall.cartons[version % CARTONS]
        for carton in wall.cartons:
            carton.pose.position.x += float(rng.normal(0, 0.003))
        walls.append(wall)
    return walls


def _milliseconds(samples_s: list[float]) -> dict[str, float]:
    return {
        "mean": 1e3 * float(np.mean(samples_s)),
        "p50": 1e3 * float(np.percentile(samples_s, 50)),
        "p99": 1e3 * float(np.percentile(samples_s, 99)),
    }


def markers() -> dict[str, dict[str, Any]]:
    """Take a wall, make the array, serialise it: everything changed, one carton changed."""
    robot, trailer = load_robot(Path(FOLDER)), load_trailer(Path(TRAILER))
    core = MarkersCore(MarkersParameters(FOLDER, TRAILER), robot, trailer)
    for name, message in scenario.everything(robot, CARTONS, 1.0).items():
        core.message(name, message, Now(1.0, 1.0, 1.0))
    walls = _varied_walls(20)
    rounds = 40 if QUICK else 150

    def measure(step: Callable[[int], Any]) -> list[float]:
        samples = []
        for number in range(rounds):
            at_s = 2.0 + 0.25 * number
            begin = time.process_time()
            core.message("wall", step(number), Now(at_s, at_s, at_s))
            for effect in core.tick(Now(at_s, at_s, at_s)):
                assert isinstance(effect, Publish)
                rclpy.serialization.serialize_message(effect.message)
            samples.append(time.process_time() - begin)
        return samples[5:]

    everything = _milliseconds(measure(lambda n: walls[n % len(walls)]))
    same = walls[0]

    def one(number: int) -> Any:
        same.cartons[number % CARTONS].pose.position.x += 0.005
        return same

    one_changed = _milliseconds(measure(one))
    return {
        "view.markers_update_ms": {
            "value": round(one_changed["mean"], 2),
            "unit": "ms",
            "note": f"CPU time, {CARTONS} cartons, a new wall with one carton moved, serialised; p99 {one_changed['p99']:.1f}",
        },
        "view.markers_update_all_changed_ms": {
            "value": round(everything["mean"], 2),
            "unit": "ms",
            "note": f"as above with all {CARTONS} poses changed; p99 {everything['p99']:.1f}",
        },
    }


class _Direct:
    """In place of the ROS host: runs what the page hands in, one at a time."""

    def __init__(self, core: PanelNodeCore) -> None:
        self._core = core
        self.lock = threading.Lock()

    def inject(self, function: Any) -> None:
        with self.lock:
            function(self._core, _now())


def _now() -> Now:
    return Now(time.time(), time.monotonic(), time.time())


def page() -> dict[str, dict[str, Any]]:
    """Frames at 10 Hz of a working robot: arm moving in each, a wall with all poses changed twice a second, panels."""
    robot = load_robot(Path(FOLDER))
    parameters = PanelParameters(FOLDER, TRAILER, port=8470, authentication=False)
    core = PanelNodeCore(parameters)
    host = _Direct(core)
    core.attach(host, parameters)  # type: ignore[arg-type]
    core.activate(_now())
    url = f"http://127.0.0.1:{core.port}"
    walls = _varied_walls(20)
    results: dict[str, dict[str, Any]] = {}
    for browsers in (0, 1, 5):
        child = _drain(url, browsers) if browsers else None
        frames = 60 if QUICK else 250
        begin_wall, begin = time.monotonic(), time.process_time()
        for frame in range(frames):
            with host.lock:
                _feed(core, robot, walls, frame)
                core.tick(_now())
            time.sleep(max(0.0, begin_wall + 0.1 * (frame + 1) - time.monotonic()))
        spent_s, elapsed_s = time.process_time() - begin, time.monotonic() - begin_wall
        if child is not None:
            child.kill()
            child.wait()
            time.sleep(1.0)
        per_frame = 1e3 * spent_s / frames
        if browsers == 1:
            results["view.page_frame_cpu_ms"] = {
                "value": round(per_frame, 2),
                "unit": "ms",
                "peer": round(_one_by_one(walls, 20 if QUICK else 60), 2),
                "note": f"CPU time of all threads for each 10 Hz frame, {CARTONS} cartons, one browser; "
                "peer: one viser box per carton, updated in each frame",
            }
        else:
            name = "view.idle_core_percent" if browsers == 0 else "view.browsers5_core_percent"
            note = "no browser, messages taken in" if browsers == 0 else f"five browsers, {CARTONS} cartons, 10 Hz"
            results[name] = {"value": round(100 * spent_s / elapsed_s, 1), "unit": "% of a core", "note": note}
    core.deactivate(_now())
    return results


def _drain(url: str, browsers: int) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, str(TESTS / "viser_wire.py"), url, str(browsers)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(2.0)
    return child


def _feed(core: PanelNodeCore, robot: Any, walls: list[Any], frame: int) -> None:
    now = _now()
    joints = scenario.joints(robot)
    joints.position[0] += 0.4 * math.sin(0.1 * frame)
    tf = scenario.base_tf()
    tf.transforms[0].header.stamp = to_time(now.ros_s)
    messages = {
        "joint_states": joints,
        "/tf": tf,
        "safety/state": scenario.safety(3 - 1, 0.4, 1.9 + 0.01 * frame, frame + 1),
        "scan/front": scenario.scan_with_person(-1.75, 1.9, now.ros_s),
        "motion/state": scenario.broker(),
    }
    if frame % 5 == 0:
        wall = walls[frame // 5 % len(walls)]
        messages |= {"wall": wall, "plan": scenario.plan(wall), "job/state": scenario.job(done=frame)}
    if frame % 10 == 0:
        messages["events"] = scenario.event(f"carton {frame} delivered")
        messages["/diagnostics"] = scenario.diagnostics(dict.fromkeys(("safety_monitor", "unload_planner"), 0))
    for name, message in messages.items():
        core.message(name, message, now)


def _one_by_one(walls: list[Any], frames: int) -> float:
    """CPU milliseconds for each frame of the plain way: a box handle for each carton, its pose set in each frame."""
    server = viser.ViserServer("127.0.0.1", 8490, verbose=False)
    first = walls[0].cartons
    handles = [
        server.scene.add_box(f"/c/{i}", color=(200, 160, 110), dimensions=(c.size_m.x, c.size_m.y, c.size_m.z))
        for i, c in enumerate(first)
    ]
    child = _drain("http://127.0.0.1:8490", 1)
    begin_wall, begin = time.monotonic(), time.process_time()
    for frame in range(frames):
        for handle, carton in zip(handles, walls[frame % len(walls)].cartons, strict=True):
            p, q = carton.pose.position, carton.pose.orientation
            handle.position = (p.x, p.y, p.z)
            handle.wxyz = (q.w, q.x, q.y, q.z)
        time.sleep(max(0.0, begin_wall + 0.1 * (frame + 1) - time.monotonic()))
    spent_s = time.process_time() - begin
    child.kill()
    child.wait()
    server.stop()
    return 1e3 * spent_s / frames


def button() -> dict[str, dict[str, Any]]:
    """From the press leaving the browser's socket to the handler of safety/stop in another process, over DDS."""
    with tempfile.TemporaryDirectory() as folder:
        create_key(Path(folder) / "key")
        env = {
            **os.environ,
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "LUMPER_STATE_DIR": folder,
            "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
            "PYTHONUNBUFFERED": "1",
        }
        peer = subprocess.Popen(
            [sys.executable, str(TESTS / "view_peer.py"), str(ROOT / "config"), f"{folder}/key", str(CARTONS)],
            env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        given = {"robot_folder": FOLDER, "trailer_file": TRAILER, "key_file": f"{folder}/key", "port": "8480"}
        command = [sys.executable, "-m", "lumper_view.main", "operator_panel", "--ros-args"]
        for name, value in given.items():
            command += ["-p", f"{name}:={value}"]
        panel = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            assert peer.stdout is not None and panel.stderr is not None
            peer.stdout.readline()
            url = ""
            for line in panel.stderr:
                if line.startswith("operator page: "):
                    url = line.split()[-1]
                    break
            threading.Thread(target=lambda: list(panel.stderr or ()), daemon=True).start()
            client = WireClient(url)
            stop = client.find("STOP")
            time.sleep(4.0)
            latencies_s = []
            for _ in range(30 if QUICK else 150):
                sent_s = time.time()
                client.update(stop, value=True)
                for line in peer.stdout:
                    if line.startswith('{"service": "safety/stop"'):
                        latencies_s.append(json.loads(line)["at"] - sent_s)
                        break
                time.sleep(0.12)
        finally:
            for child in (panel, peer):
                child.send_signal(signal.SIGKILL)
                child.wait()
    figures = _milliseconds(latencies_s[3:])
    return {
        "view.button_to_stop_p99_ms": {
            "value": round(figures["p99"], 1),
            "unit": "ms",
            "note": f"wall clock, {len(latencies_s)} presses over DDS, {CARTONS} cartons shown; median {figures['p50']:.1f}",
        }
    }


def main() -> None:
    """Run all and write build/bench/view.json."""
    results = {**markers(), **page(), **button()}
    path = ROOT / "build" / "bench" / "view.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
    for name, figure in results.items():
        peer = f" (peer {figure['peer']})" if "peer" in figure else ""
        print(f"{name}: {figure['value']} {figure['unit']}{peer}; {figure['note']}")
    # viser's threads would hold the process for seconds.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
