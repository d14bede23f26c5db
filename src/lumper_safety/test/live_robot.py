"""The robot's inputs on a real ROS graph, from one process; and a subscriber that keeps the permits with their arrival."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from lumper_msgs.msg import SafetyState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from robot_bench import FILES, KEY, PERIODS_S, Bench

from lumper_ros import interfaces
from lumper_ros.qos import qos


class LiveRobot(Bench):
    """Publishes every input at its rate from one thread until `close`."""

    def __init__(self, domain_id: int) -> None:
        super().__init__()
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain_id)
        self.node = Node("robot", context=self.context)
        self.lock = threading.RLock()
        self.arrivals: list[tuple[float, SafetyState]] = []  # time.monotonic, message
        self.publishers: dict[str, Any] = {
            name: self.node.create_publisher(
                interfaces.resolve_type(interfaces.TOPICS[name].type), name, qos(interfaces.TOPICS[name].profile)
            )
            for name in PERIODS_S
        }
        self.node.create_subscription(
            SafetyState, "safety/state", self._arrived, qos(interfaces.TOPICS["safety/state"].profile)
        )
        for name, period_s in PERIODS_S.items():
            self.node.create_timer(period_s, lambda name=name: self._publish(name))
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while self.context.ok():
            try:
                self.executor.spin_once(timeout_sec=0.05)
            except Exception:
                if self.context.ok():
                    raise

    def _arrived(self, message: SafetyState) -> None:
        at_s = time.monotonic()
        with self.lock:
            self.arrivals.append((at_s, message))

    def _stamp(self) -> Any:
        return self.node.get_clock().now().to_msg() if hasattr(self, "node") else super()._stamp()

    def _publish(self, name: str) -> None:
        with self.lock:
            if name not in self.silent:
                self.publishers[name].publish(self.make(name))

    def last(self) -> SafetyState | None:
        with self.lock:
            return self.arrivals[-1][1] if self.arrivals else None

    def wait(self, met: Callable[[SafetyState], bool], limit_s: float) -> float:
        """Time of arrival (monotonic) of the first permit from now on that meets the condition.

        Raises:
            TimeoutError: none did within the limit.
        """
        with self.lock:
            seen = len(self.arrivals)
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            with self.lock:
                fresh = self.arrivals[seen:]
                seen += len(fresh)
            for at_s, message in fresh:
                if met(message):
                    return at_s
            time.sleep(0.0005)
        last = self.last()
        raise TimeoutError(
            f"last permit: mode {last.mode}, {[c.text for c in last.causes]}" if last else "no permit came"
        )

    def close(self) -> None:
        rclpy.try_shutdown(context=self.context)
        self._thread.join(timeout=2.0)


def start_monitor(folder: Path, domain_id: int, *more: str, authentication: bool = True) -> subprocess.Popen[str]:
    """The real node as a process. Its key is `robot_bench.KEY`."""
    key_file = folder / "lumper.key"
    if authentication and not key_file.exists():
        key_file.write_text(KEY.hex())
        key_file.chmod(0o600)
    values = FILES | {"authentication": str(authentication).lower(), "key_file": str(key_file)}
    command = [sys.executable, "-m", "lumper_safety.main", "--ros-args"]
    for name, value in values.items():
        command += ["-p", f"{name}:={value}"]
    environment = os.environ | {
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "LUMPER_STATE_DIR": str(folder / "state"),
    }
    return subprocess.Popen(
        [*command, *more], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
