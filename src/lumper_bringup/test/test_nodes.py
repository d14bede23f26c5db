"""lifecycle_manager and robot_state_publisher alive on the graph, started by the launcher, in a domain of their own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from lumper_msgs.msg import Event
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from lumper_bringup.demo_setup import choose_domain
from lumper_ros.interfaces import LIFECYCLE_NODES, Profile
from lumper_ros.qos import qos

ROOT = Path(__file__).resolve().parents[3]
MANAGED = """
import sys
from dataclasses import dataclass
from lumper_ros.core import Core
from lumper_ros.host import run_core
from lumper_ros.parameters import parameter

@dataclass(frozen=True)
class Parameters:
    speed_mps: float = parameter(1.0, low=0.0, high=2.0, doc="a speed")

sys.exit(run_core(sys.argv[1], Parameters, lambda parameters: Core(), tick_hz=1.0, lifecycle=True))
"""


class Graph:
    """A node of the test in its own context and thread."""

    def __init__(self, domain: str) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=int(domain))
        self.node = rclpy.create_node("test_observer", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def collect(self, kind: Any, name: str, profile: Profile) -> list[Any]:
        found: list[Any] = []
        self.node.create_subscription(kind, name, found.append, qos(profile))
        return found

    def state(self, name: str) -> str:
        """Lifecycle state of a node; empty when it does not answer in time."""
        client = self.node.create_client(GetState, f"/{name}/get_state")
        try:
            if not client.wait_for_service(2.0):
                return ""
            done = threading.Event()
            future = client.call_async(GetState.Request())
            future.add_done_callback(lambda _: done.set())
            return future.result().current_state.label if done.wait(2.0) else ""
        finally:
            self.node.destroy_client(client)

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()
        self.context.try_shutdown()


class Bench:
    """The launcher on a test's launch file, and the graph beside it."""

    def __init__(self, folder: Path, file: Path) -> None:
        tables = [Path(name).read_text() for name in ("/proc/net/udp", "/proc/net/udp6") if Path(name).is_file()]
        self.domain = choose_domain({}, tables)
        self.screen = folder / "screen.txt"
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": self.domain,
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str(folder / "log"),
            "LUMPER_STATE_DIR": str(folder / "state"),
        }
        with self.screen.open("w") as output:
            command = [sys.executable, "-m", "lumper_bringup.launch", str(file)]
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        self.graph = Graph(self.domain)

    def text(self) -> str:
        return self.screen.read_text()

    def find(self, *words: str) -> psutil.Process:
        (found,) = [
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if all(any(word in part for part in child.cmdline()) for word in words)
        ]
        return found

    def stop(self) -> None:
        """Stop as ctrl-C does; everything must end by itself and be gone."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0, self.text()
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.graph.close()


@pytest.fixture
def bench(
    tmp_path: Path, launch_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Bench]]:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    running: list[Bench] = []

    def start(body: str) -> Bench:
        running.append(Bench(tmp_path, launch_file(body)))
        return running[-1]

    yield start
    for bench in running:
        bench.close()
        print(bench.text())  # shown where the test failed


@pytest.fixture
def managed(tmp_path: Path) -> Path:
    """A program that runs a lifecycle node of the name given as its first argument."""
    file = tmp_path / "managed.py"
    file.write_text(MANAGED)
    return file


def python(script: str, name: str, arguments: str = "", params: str = "") -> str:
    """A <node> element that runs Python."""
    return (
        f'<node exec="{sys.executable}" exec_name="{name}" name="{name}" output="screen" respawn="true" respawn_delay="0.2" '
        f'args="{script} {arguments}">{params}</node>'
    )


MANAGER = "-c 'from lumper_bringup.main import lifecycle_manager as run; run()'"
STATES = "-c 'from lumper_bringup.main import robot_state_publisher as run; run()'"


def test_nodes_come_up_and_a_killed_one_comes_back(
    until: Callable[..., None], bench: Callable[[str], Bench], managed: Path
) -> None:
    body = "".join(python(str(managed), name, name) for name in LIFECYCLE_NODES) + python(MANAGER, "lifecycle_manager")
    system = bench(body)
    events: list[Event] = system.graph.collect(Event, "events", Profile.EVENTS)
    diagnostics: list[DiagnosticArray] = system.graph.collect(DiagnosticArray, "/diagnostics", Profile.STANDARD)

    def codes(node: str) -> list[str]:
        return [event.code for event in events if {item.key: item.value for item in event.values}.get("node") == node]

    until(lambda: any(event.code == "lifecycle.all_active" for event in events), 30.0, "all nodes active")
    order = [event.values[0].value for event in events if event.code == "lifecycle.node_active"]
    assert order == list(LIFECYCLE_NODES)
    for name in LIFECYCLE_NODES:
        until(lambda name=name: system.graph.state(name) == "active", 20.0, f"{name} says that it is active")

    for number, name in ((signal.SIGKILL, "motion_broker"), (signal.SIGINT, "unload_planner")):
        system.find(str(managed), name).send_signal(number)
        until(lambda name=name: "lifecycle.node_restarted" in codes(name), 30.0, f"{name} seen again")
        if number is not signal.SIGKILL:  # a killed one takes up its service itself, perhaps before it was missed
            until(lambda name=name: codes(name)[-1] == "lifecycle.node_active", 30.0, f"{name} active again")
        # A killed server stays on the graph for a while, and a question may go to it: asked again.
        until(lambda name=name: system.graph.state(name) == "active", 30.0, f"{name} says that it is active")

    # A manager that comes back finds everything active and touches nothing.
    count = len(events)
    system.find("lifecycle_manager as run").kill()
    until(lambda: any(event.code == "lifecycle.all_active" for event in events[count:]), 30.0, "the new manager")
    assert not [event for event in events[count:] if event.code == "lifecycle.node_restarted"]

    def messages() -> dict[str, str]:
        return {item.name: item.message for array in diagnostics for item in array.status}

    until(lambda: messages().get("lifecycle_manager: system") == "all nodes are active", 10.0, "diagnostics")
    assert [messages()[f"lifecycle_manager: {name}"] for name in LIFECYCLE_NODES] == ["active"] * 3
    system.stop()


def test_a_node_that_refuses_to_configure_is_reported(
    until: Callable[..., None], bench: Callable[[str], Bench], managed: Path
) -> None:
    first = LIFECYCLE_NODES[0]
    bad = '<param name="speed_mps" value="9.0"/>'
    body = python(str(managed), first, first, bad) + python(str(managed), LIFECYCLE_NODES[1], LIFECYCLE_NODES[1])
    system = bench(body + python(MANAGER, "lifecycle_manager"))
    events: list[Event] = system.graph.collect(Event, "events", Profile.EVENTS)
    until(lambda: any(event.code == "lifecycle.transition_refused" for event in events), 30.0, "the refusal")
    assert "speed_mps=9.0: must be at most 2.0" in system.text()
    # The second waits for the first: the order holds.
    until(
        lambda: system.graph.state(LIFECYCLE_NODES[1]) == "unconfigured",
        20.0,
        "the second says that it is unconfigured",
    )
    system.stop()


def test_a_manager_with_a_bad_parameter_says_so(until: Callable[..., None], bench: Callable[[str], Bench]) -> None:
    params = '<param name="watch_period_s" value="0.0"/><param name="watchdog" value="true"/>'
    system = bench(python(MANAGER, "lifecycle_manager", "", params))
    until(lambda: "watch_period_s=0.0: must be at least 0.5" in system.text(), what="the value refused")
    assert "watchdog: no such parameter; known are" in system.text()


def test_the_state_publisher_turns_joint_states_into_tf(
    until: Callable[..., None], bench: Callable[[str], Bench]
) -> None:
    urdf = ROOT / "config" / "robot" / "lumper_arm.urdf"
    params = f'<param name="robot_description" value="$(file-content {urdf})" type="str"/><param name="frame_prefix" value="r1/"/>'
    system = bench(python(STATES, "robot_state_publisher", "", params))
    graph = system.graph
    descriptions = graph.collect(String, "robot_description", Profile.LATCHED)
    static: list[TFMessage] = graph.collect(TFMessage, "/tf_static", Profile.TF_STATIC)
    moving: list[TFMessage] = graph.collect(TFMessage, "/tf", Profile.TF)
    until(lambda: descriptions and static, 30.0, "description and static transforms")
    assert descriptions[0].data == urdf.read_text()
    assert {"r1/arm_base", "r1/tool0", "r1/infeed"} <= {item.child_frame_id for item in static[0].transforms}

    publisher = graph.node.create_publisher(JointState, "joint_states", qos(Profile.SENSOR))
    stamp_s = 0

    def publish(angle: float, names: int = 6) -> None:
        nonlocal stamp_s
        stamp_s += 1
        message = JointState(name=[f"joint_{index + 1}" for index in range(names)], position=[angle] * 6)
        message.header.stamp.sec = stamp_s
        publisher.publish(message)

    until(lambda: publish(0.5) or moving, 20.0, "transforms")
    (first, *_) = moving[-1].transforms
    assert [item.child_frame_id for item in moving[-1].transforms] == [f"r1/link_{index}" for index in range(1, 7)]
    assert (first.header.frame_id, abs(first.transform.rotation.z)) == (
        "r1/arm_base",
        pytest.approx(0.24740395925, abs=1e-9),
    )

    # Malformed input is named and moves nothing: the next transforms come from the next good message.
    until(lambda: publish(float("nan")) or "joint_states refused" in system.text(), 20.0, "the refusal of NaN")
    until(
        lambda: publish(0.1, names=5) or "5 names, 6 positions" in system.text(), 20.0, "the refusal of wrong lengths"
    )
    count = len(moving)
    until(lambda: publish(0.5) or len(moving) > count, 20.0, "transforms go on")
    for message in moving:
        assert abs(message.transforms[0].transform.rotation.z) == pytest.approx(0.24740395925, abs=1e-9)
    system.stop()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("", "robot_description is required"),
        ('<param name="robot_description" value="hello" type="str"/>', "robot_description is not well-formed XML"),
    ],
)
def test_a_state_publisher_without_a_robot_says_so(
    until: Callable[..., None], bench: Callable[[str], Bench], params: str, message: str
) -> None:
    system = bench(python(STATES, "robot_state_publisher", "", params))
    until(lambda: message in system.text(), what=message)


def test_where_the_standard_state_publisher_is_installed_it_takes_over(
    until: Callable[..., None], bench: Callable[[str], Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "standard"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "robot_state_publisher").touch()
    executable = prefix / "lib" / "robot_state_publisher" / "robot_state_publisher"
    executable.parent.mkdir(parents=True)
    executable.write_text('#!/bin/sh\necho "the standard node: $*"\nsleep 60\n')
    executable.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{prefix}:{os.environ['AMENT_PREFIX_PATH']}")
    system = bench(python(STATES, "robot_state_publisher", "", '<param name="a" value="1"/>'))
    until(lambda: "the standard node: --ros-args -r __node:=robot_state_publisher --params-file" in system.text())
