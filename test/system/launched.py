"""The launched system for tests: the real launch file, real nodes, real DDS, its own domain and state folder."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import rclpy
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor

from lumper_ros.auth import load_key, sign_command
from lumper_ros.interfaces import ACTIONS, SERVICES, TOPICS, resolve_type
from lumper_ros.qos import qos

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILE = ROOT / "launch" / "unload.launch.xml"
_DOMAINS = iter(range(60, 100))


class Observer:
    """A client of the running system: remembers the newest message of each topic, calls services, sends goals."""

    def __init__(self, domain_id: int) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain_id)
        self.node = rclpy.create_node("observer", context=self.context)
        self.newest: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        self.history: dict[str, list[Any]] = {}
        self._clients: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def watch(self, *names: str, keep: bool = False) -> None:
        for name in names:
            row = TOPICS[name]

            def store(message: Any, name: str = name) -> None:
                self.newest[name] = message
                self.counts[name] = self.counts.get(name, 0) + 1
                if keep:
                    self.history.setdefault(name, []).append(message)

            self.node.create_subscription(resolve_type(row.type), name, store, qos(row.profile))

    def call(self, service: str, timeout_s: float = 10.0, **fields: Any) -> Any:
        """The answer to a request, which may arrive more than once: a server that does not know this client's reader yet
        answers into the void.
        """
        kind = resolve_type(SERVICES[service].type)
        # One for all calls: every node of the graph keeps what it knows of each client that there ever was.
        client = self._clients.get(service) or self.node.create_client(kind, service)
        self._clients[service] = client
        assert client.wait_for_service(timeout_s), f"no server for {service}"
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            done = threading.Event()
            future = client.call_async(kind.Request(**fields))
            future.add_done_callback(lambda _, done=done: done.set())
            if done.wait(min(2.0, timeout_s)):
                return future.result()
        raise AssertionError(f"{service} did not answer within {timeout_s} s")

    def send(self, name: str, timeout_s: float = 30.0, **fields: Any) -> Any:
        """Send a goal; returns (goal handle, future of the result)."""
        kind = resolve_type(ACTIONS[name].type)
        client: Any = ActionClient(self.node, kind, name)
        assert client.wait_for_server(timeout_s), f"no server for {name}"
        accepted = threading.Event()
        future = client.send_goal_async(kind.Goal(**fields))
        future.add_done_callback(lambda _: accepted.set())
        assert accepted.wait(timeout_s), f"{name} did not accept"
        handle = future.result()
        return handle, handle.get_result_async()

    def answer(self, question: Any, option: str, key: bytes | None, ahead_s: float = 0.0) -> bool:
        """Answer a question as a person does; whether the planner took it.

        Args:
            option: key of one of those offered.
            ahead_s: of the robot's system clock, by which a person's command is stamped.
        """
        arguments = {"question_id": question.question_id, "option_key": option, "carton_ids": []}
        auth = sign_command(key, "assist/answer", arguments, "observer", time.time() + ahead_s, random.getrandbits(64))
        return bool(self.call("assist/answer", auth=auth, **arguments).accepted)

    def wait(self, what: Callable[[], Any], timeout_s: float, why: str) -> Any:
        end = time.monotonic() + timeout_s
        while not (value := what()):
            assert time.monotonic() < end, f"not within {timeout_s} s: {why}; newest: {self.summary()}"
            time.sleep(0.02)
        return value

    def summary(self) -> str:
        job, safety = self.newest.get("job/state"), self.newest.get("safety/state")
        parts = [f"job {job.phase} {job.text!r} done {job.done}" if job else "no job state"]
        if safety:
            parts.append(f"safety mode {safety.mode}: {[cause.text for cause in safety.causes]}")
        return "; ".join(parts)

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()
        self.context.try_shutdown()


def node_name(process: psutil.Process) -> str | None:
    """Executable name of a node's process started by the launcher, or of one that the node has of its own; None otherwise."""
    for word in process.cmdline()[:3]:
        path = Path(word)
        if path.parent.parent.name == "lib" and path.parent.name.startswith("lumper_"):
            return path.name
    return None


def node_processes(pid: int) -> dict[str, psutil.Process]:
    """Running node processes below a process by executable name; not those that a node has of its own."""
    found: dict[str, psutil.Process] = {}
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if (name := node_name(child)) is not None:
                found.setdefault(name, child)
    return found


def state_folder(pid: int) -> Path:
    """Where the nodes below a demonstration's process keep their state; the robot's key lies beside it."""
    return Path(node_processes(pid)["safety_monitor"].environ()["LUMPER_STATE_DIR"])


def robot_key(pid: int) -> bytes | None:
    """The key that signs a person's commands to a demonstration."""
    return load_key(True, str(state_folder(pid).parent / "key"))


def start_demo(
    report: Path, *words: str, environment: Mapping[str, str] | None = None
) -> "tuple[subprocess.Popen[str], int, str]":
    """The demonstration as a child process, its ROS domain, and the address of its page ("" without one).

    Args:
        environment: variables for it and all of its nodes, besides those of this process.
    """
    command = [sys.executable, "-m", "lumper_bringup.demo", "--report", str(report), *words]
    environment = {**os.environ, "ROS_LOG_DIR": str(report.parent / "log"), **(environment or {})}
    demo = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    said = demo.stdout.readline()
    domain, page = re.search(r"ROS_DOMAIN_ID=(\d+)", said), None
    assert domain is not None, f"the demonstration did not say its domain: {said}"
    if "--headless" not in words:
        page = re.search(r"http://\S+", demo.stdout.readline())
        assert page is not None, "the demonstration did not say its page"
    threading.Thread(target=demo.stdout.read, daemon=True).start()
    return demo, int(domain[1]), page[0] if page else ""


class System:
    """The launcher as a child process."""

    def __init__(self, folder: Path, arguments: dict[str, str]) -> None:
        self.domain_id = next(_DOMAINS)
        self.log = folder / "launch.log"
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(self.domain_id),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "LUMPER_STATE_DIR": str(folder / "state"),
            "ROS_LOG_DIR": str(folder / "log"),
            "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml"),
        }
        words = [f"{name}:={value}" for name, value in {"page": "false", **arguments}.items()]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lumper_bringup.launch", str(LAUNCH_FILE), *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = environment["FASTDDS_DEFAULT_PROFILES_FILE"]
        self.observer = Observer(self.domain_id)

    def processes(self) -> dict[str, psutil.Process]:
        return node_processes(self.process.pid)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        self.processes()[name].send_signal(number)

    def stop(self) -> int:
        """SIGINT, as ctrl-C does; returns the exit code. Asserts that nothing is left running."""
        children = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        # First: its middleware may get stuck for good over publishers that leave (see lumper_ros.reachable), and would not close then.
        self.observer.close()
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(40.0)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        left = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert not left, f"left running: {left}"
        return code
