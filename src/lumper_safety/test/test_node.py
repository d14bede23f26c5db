"""The node itself, as a process on a real graph: refuses to start without key, runs, stops, restarts, resists strangers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_robot import LiveRobot, start_monitor
from lumper_msgs.msg import SafetyCause, SafetyState
from lumper_msgs.srv import ResetSafety
from rclpy.node import Node
from robot_bench import FILES, KEY
from std_srvs.srv import Trigger

from lumper_ros import interfaces
from lumper_ros.auth import permit_genuine, sign_command
from lumper_ros.convert import seconds
from lumper_ros.qos import qos

DOMAIN = int(os.environ.get("LUMPER_TEST_DOMAIN", "15"))


@pytest.fixture
def robot() -> Iterator[LiveRobot]:
    robot = LiveRobot(DOMAIN)
    yield robot
    robot.close()


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = start_monitor(tmp_path, DOMAIN)
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    process.communicate(timeout=10)


def running(state: SafetyState) -> bool:
    return bool(state.mode == SafetyState.RUN)


def test_starts_runs_stops_and_resets_over_the_graph(robot: LiveRobot, monitor: subprocess.Popen[str]) -> None:
    robot.wait(running, 20)
    state = robot.last()
    assert state is not None and permit_genuine(KEY, state)
    assert 0.0 < seconds(state.permit_until) - seconds(state.stamp) <= 0.1001

    stop = robot.node.create_client(Trigger, "safety/stop")
    assert stop.wait_for_service(5.0)
    assert _call(stop, Trigger.Request()).success
    robot.wait(lambda s: s.mode == SafetyState.PROTECTIVE_STOP, 2)
    reset = robot.node.create_client(ResetSafety, "safety/reset")
    assert reset.wait_for_service(5.0)
    forged = ResetSafety.Request(
        reason="let me", auth=sign_command(bytes(32), "safety/reset", {"reason": "let me"}, "Eve", time.time(), 1)
    )
    assert not _call(reset, forged).accepted
    signed = ResetSafety.Request(
        reason="clear", auth=sign_command(KEY, "safety/reset", {"reason": "clear"}, "Ada", time.time(), 2)
    )
    assert _call(reset, signed).accepted
    robot.wait(lambda s: running(s) and s.last_reset_by == "Ada", 2)
    assert not _call(reset, signed).accepted, "replayed"

    robot.silent.add("scan/front")
    robot.wait(lambda s: any(c.code == SafetyCause.SCAN_STALE for c in s.causes), 2)
    robot.silent.clear()
    robot.wait(running, 5)


def test_second_publisher_of_permits_is_noticed(robot: LiveRobot, monitor: subprocess.Popen[str]) -> None:
    robot.wait(running, 20)
    stranger = Node("stranger", context=robot.context)
    topic = interfaces.TOPICS["safety/state"]
    publisher = stranger.create_publisher(SafetyState, topic.name, qos(topic.profile))
    robot.wait(lambda s: any(c.code == SafetyCause.SECOND_MONITOR for c in s.causes), 5)
    stranger.destroy_publisher(publisher)
    stranger.destroy_node()


def test_killed_monitor_is_silent_and_comes_back_with_its_latch(
    robot: LiveRobot, monitor: subprocess.Popen[str], tmp_path: Path
) -> None:
    robot.wait(running, 20)
    with robot.lock:
        robot.estop_closed = False
    robot.wait(lambda s: s.mode == SafetyState.EMERGENCY_STOP, 2)
    with robot.lock:
        robot.estop_closed = True
    time.sleep(0.3)
    first = robot.last()
    monitor.kill()
    monitor.wait(timeout=5)
    silent_from = len(robot.arrivals)
    again = start_monitor(tmp_path, DOMAIN)
    try:
        robot.wait(
            lambda s: first is not None and s.monitor_id != first.monitor_id and s.mode == SafetyState.EMERGENCY_STOP,
            20,
        )
        time.sleep(1.5)
        state = robot.last()
        assert state is not None and state.mode == SafetyState.EMERGENCY_STOP
        assert all(not running(s) for _, s in robot.arrivals[silent_from:])
    finally:
        again.terminate()
        again.communicate(timeout=10)


def test_frozen_monitor_gives_no_permit(robot: LiveRobot, monitor: subprocess.Popen[str]) -> None:
    robot.wait(running, 20)
    monitor.send_signal(signal.SIGSTOP)
    try:
        frozen_s = time.monotonic()
        time.sleep(1.0)
        with robot.lock:
            last_s, last = robot.arrivals[-1]
        assert last_s - frozen_s < 0.15
        assert seconds(last.permit_until) < time.time()
    finally:
        monitor.send_signal(signal.SIGCONT)
    robot.wait(lambda s: s.sequence > last.sequence, 5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-p", "key_file:=/nowhere/lumper.key"], "python -m lumper_ros.auth"),
        ([], "key_file"),
        (["-p", "authentication:=false", "-p", "permit_s:=5.0"], "permit_s"),
        (["-p", "authentication:=false", "-p", "sped_scale_min:=0.1"], "sped_scale_min"),
        (["-p", "authentication:=false", "-p", "causes_file:=/nowhere/causes.yaml"], "causes_file"),
        (["-p", "authentication:=false", "-p", "scan_front_contour_m:=[1.0, 2.0]"], "scan_front_contour_m"),
    ],
)
def test_refuses_to_start_and_names_the_remedy(arguments: list[str], named: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lumper_safety.main", "--ros-args"]
    for name, value in FILES.items():
        if f"{name}:=" not in " ".join(arguments):
            command += ["-p", f"{name}:={value}"]
    environment = os.environ | {
        "ROS_DOMAIN_ID": str(DOMAIN),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "LUMPER_STATE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0
    assert "refused to start" in done.stderr and named in done.stderr


def _call(client: object, request: object) -> object:
    future = client.call_async(request)  # type: ignore[attr-defined]
    end_s = time.monotonic() + 5.0
    while not future.done() and time.monotonic() < end_s:
        time.sleep(0.005)
    assert future.done(), "no answer within 5 s"
    return future.result()
