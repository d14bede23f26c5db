"""A live graph: a node of the test's own, and processes of lumper_replay on the same domain."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from lumper_ros.interfaces import TOPICS, resolve_type
from lumper_ros.qos import qos

ROOT = Path(__file__).resolve().parents[3]


def wait(what: Callable[[], Any], timeout_s: float, why: str) -> Any:
    """Until `what()` is true."""
    end = time.monotonic() + timeout_s
    while not (value := what()):
        assert time.monotonic() < end, f"not within {timeout_s} s: {why}"
        time.sleep(0.01)
    return value


class Graph:
    """One domain."""

    def __init__(self, domain_id: int, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(domain_id),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml"),
            "LUMPER_STATE_DIR": str(folder / "state"),
            "ROS_LOG_DIR": str(folder / "log"),
            "PYTHONUNBUFFERED": "1",
        }
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = self.environment["FASTDDS_DEFAULT_PROFILES_FILE"]
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain_id)
        self.node: Node = rclpy.create_node("tester", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self.processes: list[subprocess.Popen[str]] = []

    def run(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a module of Python in the background; its output goes to a file."""
        log = (self.folder / f"process_{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment | environment,
        )
        self.processes.append(process)
        return process

    def output(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("process_*.log")))

    def stop(self, process: "subprocess.Popen[str]", number: int = signal.SIGINT, timeout_s: float = 20.0) -> int:
        process.send_signal(number)
        return process.wait(timeout_s)

    def publisher(self, name: str) -> Any:
        row = TOPICS[name]
        return self.node.create_publisher(resolve_type(row.type), name, qos(row.profile))

    def collect(self, kind: Any, name: str, profile: Any = 100) -> list[Any]:
        """Messages as they come, with their arrival on the steady clock in s."""
        found: list[Any] = []
        self.node.create_subscription(kind, name, lambda message: found.append((time.monotonic(), message)), profile)
        return found

    def call(self, kind: Any, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(timeout_s), f"no server for {name}"
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        assert done.wait(timeout_s), f"{name} did not answer"
        return future.result()

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait(10.0)
        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()
        self.context.try_shutdown()
