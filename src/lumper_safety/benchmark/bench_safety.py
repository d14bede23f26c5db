"""Figures of the safety monitor: cause to withdrawal over DDS, cost of authentication, forgeries, CPU.

`python src/lumper_safety/benchmark/bench_safety.py [--causes N] [--forgeries N]` writes build/bench/safety.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "src" / "lumper_safety" / "test"))

from live_robot import LiveRobot, start_monitor  # noqa: E402
from lumper_msgs.msg import SafetyState  # noqa: E402
from real_scans import TAUGHT, labelled_legs, walking  # noqa: E402
from recordings import load  # noqa: E402
from robot_bench import KEY, Bench  # noqa: E402

from lumper_ros.auth import permit_genuine, permit_mac  # noqa: E402
from lumper_ros.priority import raise_priority  # noqa: E402
from lumper_safety.main import PRIORITY  # noqa: E402

DOMAIN = int(os.environ.get("ROS_DOMAIN_ID", "15"))


def withdrawal(causes: int) -> dict[str, Any]:
    """E-stop opened, over DDS, from the write of the message to the arrival of a permit that permits nothing.

    The other core is kept busy. The same robot process stamps both ends, so the figure has both ways in it. Each cause is
    undone by an authenticated reset.
    """
    from lumper_msgs.srv import ResetSafety

    busy = subprocess.Popen(["nice", "-n", "0", sys.executable, "-c", "while True: pass"])
    with tempfile.TemporaryDirectory() as folder:
        process = start_monitor(Path(folder), DOMAIN)
        assert process.stdout is not None
        # Its log: a pipe that nobody reads fills up, and the monitor waits for ever in the middle of a line.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        robot = LiveRobot(DOMAIN)
        delays: list[float] = []
        try:
            robot.wait(lambda s: s.mode == SafetyState.RUN, 30)
            priority = raise_priority(PRIORITY)
            reset = robot.node.create_client(ResetSafety, "safety/reset")
            reset.wait_for_service(5.0)
            rng = np.random.default_rng(1)
            begin_s, cpu = time.monotonic(), _cpu_s(process.pid)
            for number in range(causes):
                time.sleep(float(rng.uniform(0.005, 0.03)))
                with robot.lock:
                    robot.estop_closed = False
                    message = robot.make("estop")
                    seen = len(robot.arrivals)
                    sent_s = time.monotonic()
                    robot.publishers["estop"].publish(message)
                delays.append((_first_stop(robot, seen) - sent_s) * 1e3)
                with robot.lock:
                    robot.estop_closed = True
                    robot.publishers["estop"].publish(robot.make("estop"))
                # An input of this robot that came late on the busy machine refuses the reset: rightly, and not counted.
                _reset_until_running(robot, reset, number)
            cpu_percent = (_cpu_s(process.pid) - cpu) / (time.monotonic() - begin_s) * 100
            periods = np.diff([state.stamp.sec + state.stamp.nanosec * 1e-9 for _, state in robot.arrivals]) * 1e3
        finally:
            busy.kill()
            process.terminate()
            process.wait(timeout=10)
            robot.close()
    note = f"{causes} causes, other core busy; p50 {np.percentile(delays, 50):.1f} ms, p99 {np.percentile(delays, 99):.1f} ms, worst {max(delays):.1f} ms; both ways over DDS and the receiver's own delay (priority {priority}) are in it"
    return {
        "safety.cause_to_withdrawal_p999_ms": {
            "value": round(float(np.percentile(delays, 99.9)), 2),
            "unit": "ms",
            "note": note,
        },
        "safety.cause_to_withdrawal_p50_ms": {"value": round(float(np.percentile(delays, 50)), 2), "unit": "ms"},
        "safety.longest_silence_ms": {
            "value": round(float(periods.max()), 1),
            "unit": "ms",
            "note": f"between stamps of two permits; p99.9 {np.percentile(periods, 99.9):.1f} ms; period is 20 ms, a lease 100 ms",
        },
        "safety.cpu_percent": {
            "value": round(cpu_percent, 1),
            "unit": "%",
            "note": "of one core, all inputs at their rates, over DDS",
        },
    }


def _reset_until_running(robot: LiveRobot, client: Any, number: int) -> None:
    """Reset as a signed operator until there is a permit again, within 20 s."""
    from lumper_msgs.srv import ResetSafety

    from lumper_ros.auth import sign_command

    for attempt in range(100):
        time.sleep(0.03 if attempt == 0 else 0.2)
        nonce = number * 1000 + attempt + 1
        auth = sign_command(KEY, "safety/reset", {"reason": "bench"}, "bench", time.time(), nonce)
        future = client.call_async(ResetSafety.Request(reason="bench", auth=auth))
        end_s = time.monotonic() + 2.0
        while not future.done() and time.monotonic() < end_s:
            time.sleep(0.001)
        state = robot.last()
        if future.done() and future.result().accepted and state is not None:
            robot.wait(lambda s: s.mode == SafetyState.RUN, 5)
            return
    raise TimeoutError("no permit again within 20 s")


def _first_stop(robot: LiveRobot, seen: int) -> float:
    end_s = time.monotonic() + 2.0
    while time.monotonic() < end_s:
        with robot.lock:
            fresh = robot.arrivals[seen:]
        for at_s, state in fresh:
            if state.mode == SafetyState.EMERGENCY_STOP:
                return at_s
        time.sleep(0.0005)
    raise TimeoutError("the permit was not withdrawn within 2 s")


def _cpu_s(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def cost_of_tick() -> dict[str, Any]:
    """CPU of the core alone, with and without a key, in the same run; every input at its rate, 60 s of robot time."""
    cpu: dict[bool, list[float]] = {True: [], False: []}
    worst_ms = 0.0
    for _ in range(8):
        for authentication in (True, False):
            bench = Bench(authentication=authentication)
            bench.people = [(4.5, 0.3)]
            bench.run(0.5)
            spent, calls = [0.0], []
            for name in ("message", "tick"):
                setattr(bench.core, name, _timed(getattr(bench.core, name), spent, calls))
            bench.run(20.0)
            cpu[authentication].append(spent[0] / 20.0 * 100)
            worst_ms = max(worst_ms, float(np.percentile(calls, 99.9)) * 1e3)
    with_key, without = min(cpu[True]), min(cpu[False])
    return {
        "safety.core_cpu_percent": {"value": round(with_key, 2), "unit": "%", "note": "of one core; logic only"},
        "safety.step_p999_ms": {"value": round(worst_ms, 2), "unit": "ms", "note": "CPU of one message or tick"},
        "safety.authentication_cpu_percent": {
            "value": round((with_key / without - 1.0) * 100, 2),
            "unit": "%",
            "peer": round(without, 2),
            "note": "more CPU of the core with a key than without; peer = percent of a core without",
        },
    }


def _timed(function: Any, spent: list[float], calls: list[float]) -> Any:
    def timed(*arguments: Any) -> Any:
        begin = time.process_time()
        result = function(*arguments)
        calls.append(time.process_time() - begin)
        spent[0] += calls[-1]
        return result

    return timed


def forgeries(count: int) -> dict[str, Any]:
    """Forged, altered and wrongly keyed permits against the check that the broker uses."""
    rng = np.random.default_rng(2)
    bench = Bench()
    bench.run(0.2)
    genuine = bench.state
    accepted = 0
    begin = time.process_time()
    for number in range(count):
        kind = number % 3
        if kind == 0:
            genuine.mac = rng.integers(0, 256, 32, dtype=np.uint8).tolist()
        elif kind == 1:
            genuine.sequence = int(rng.integers(1 << 40, 1 << 60))
        else:
            genuine.mac = list(permit_mac(rng.bytes(32), genuine))
        accepted += permit_genuine(KEY, genuine)
    spent = time.process_time() - begin
    return {
        "safety.forged_permits_accepted": {
            "value": accepted,
            "unit": "1",
            "note": f"of {count}; {spent / count * 1e6:.0f} us each with the forging",
        }
    }


def real_scans() -> dict[str, Any]:
    """Recorded scans of people walking; nothing where the recordings are not."""
    walk, legs = load("leg_demo"), load("leg_pos4_labels")
    result: dict[str, Any] = {}
    if walk is not None:
        seen = walking(walk)
        result["safety.real_scans_detected"] = {
            "value": 1.0 - len(seen.missed) / seen.near,
            "unit": "1",
            "note": f"people walking, room taught from the first {TAUGHT} scans: {seen}",
        }
        result["safety.real_scans_false_stops"] = {
            "value": seen.false_stop,
            "unit": "1",
            "note": f"of {seen.clear} scans",
        }
    if legs is not None:
        found = labelled_legs(legs)
        result["safety.real_legs_found"] = {"value": found.found / found.labelled, "unit": "1", "note": str(found)}
        result["safety.real_legs_centre_error_mm"] = {
            "value": round(float(np.median(found.centre_error_m)) * 1e3, 1),
            "unit": "mm",
            "note": "median, against labels by hand",
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--causes", type=int, default=1000)
    parser.add_argument("--forgeries", type=int, default=100_000)
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    result |= withdrawal(arguments.causes)
    result |= cost_of_tick()
    result |= forgeries(arguments.forgeries)
    result |= real_scans()
    target = ROOT / "build" / "bench" / "safety.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in result.items():
        print(f"{name:40s} {row['value']} {row['unit']}  {row.get('note', '')}")


if __name__ == "__main__":
    main()
