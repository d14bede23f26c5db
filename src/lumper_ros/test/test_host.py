"""The host over real DDS: every kind of effect and input, two cores on two nodes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, Event, OutcomeCode, Wall
from lumper_msgs.srv import JobCommand

from lumper_ros import core as c
from lumper_ros.clients import ServiceCaller
from lumper_ros.host import Host
from lumper_ros.interfaces import BROKER, PERCEPTION, PLANNER, Profile
from lumper_ros.qos import qos
from lumper_ros.spin import Spinner

EXECUTE = "motion/execute"


class Recorder(c.Core):
    """A core whose answers the test sets, and which remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.answers: dict[str, Callable[..., c.Effects]] = {}

    def _note(self, kind: str, *what: Any) -> c.Effects:
        self.seen.append((kind, *what))
        return self.answers[kind](*what) if kind in self.answers else ()

    def restore(self, records: Any, now: c.Now) -> c.Effects:
        return self._note("restore", records)

    def activate(self, now: c.Now) -> c.Effects:
        return self._note("activate")

    def message(self, name: str, message: Any, now: c.Now) -> c.Effects:
        return self._note("message", name, message)

    def goal(self, name: str, goal_id: str, goal: Any, now: c.Now) -> c.Effects:
        return self._note("goal", name, goal_id, goal)

    def cancel(self, name: str, goal_id: str, now: c.Now) -> c.Effects:
        return self._note("cancel", name, goal_id)

    def service(self, name: str, request: Any, now: c.Now) -> c.Effects:
        return self._note("service", name, request)

    def goal_accepted(self, name: str, goal_id: str, now: c.Now) -> c.Effects:
        return self._note("accepted", name, goal_id)

    def goal_feedback(self, name: str, goal_id: str, feedback: Any, now: c.Now) -> c.Effects:
        return self._note("feedback", name, goal_id, feedback)

    def goal_result(self, name: str, goal_id: str, status: c.GoalStatus, result: Any, now: c.Now) -> c.Effects:
        return self._note("result", name, goal_id, status, result)

    def computed(self, tag: str, result: Any, now: c.Now) -> c.Effects:
        return self._note("computed", tag, result)

    def persist_failed(self, kind: str, key: str, error: str, now: c.Now) -> c.Effects:
        return self._note("persist_failed", kind, key)

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [entry[1:] for entry in self.seen if entry[0] == kind]


class Rig:
    """Hosts of several cores in this process, spun by one thread."""

    def __init__(self) -> None:
        rclpy.init()
        self.spinner = Spinner(rclpy.get_default_context())
        self.nodes: list[Any] = []
        self.hosts: list[Host] = []
        self.thread = threading.Thread(target=self.spinner.spin)

    def add(self, name: str, core: c.Core) -> Host:
        node = rclpy.create_node(name)
        node.lumper_failed = False
        self.spinner.add(node)
        host = Host(node, self.spinner, core, 50.0, name)
        self.nodes.append(node)
        self.hosts.append(host)
        return host

    def on_loop(self, function: Callable[[], None]) -> None:
        done = threading.Event()
        self.spinner.call_soon(lambda: (function(), done.set())[1])
        assert done.wait(10.0)

    def close(self) -> None:
        for host in self.hosts:
            if self.spinner.spinning:
                self.on_loop(host.stop)
            else:
                host.stop()
        self.spinner.stop()
        self.thread.join(10.0)
        self.spinner.close(*self.nodes)
        rclpy.shutdown()


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(40 + os.getpid() % 50))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("LUMPER_STATE_DIR", str(tmp_path))
    made = Rig()
    made.thread.start()
    yield made
    made.close()


def wait(what: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    end = time.monotonic() + timeout_s
    while not (value := what()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)
    return value


def finish(code: int, status: c.GoalStatus) -> Callable[..., c.Effects]:
    result = ExecuteMotion.Result(outcome=OutcomeCode(code=code))
    return lambda name, goal_id, *rest: (
        c.Feedback(name, goal_id, ExecuteMotion.Feedback(stage=3)),
        c.FinishGoal(name, goal_id, status, result),
    )


def two(rig: Rig) -> tuple[Recorder, Recorder, Host, Host]:
    planner, broker = Recorder(), Recorder()
    planner_host, broker_host = rig.add(PLANNER, planner), rig.add(BROKER, broker)
    rig.on_loop(broker_host.start)
    rig.on_loop(planner_host.start)
    return planner, broker, planner_host, broker_host


def send(host: Host) -> str:
    goal_id = uuid.uuid4().hex
    host.inject(lambda core, now: (c.SendGoal(EXECUTE, goal_id, ExecuteMotion.Goal(job_id="j")),))
    return goal_id


def accepted(planner: Recorder, host: Host) -> str:
    """Id of a goal that was accepted. An answer may be lost while the middleware finds a new client; it is then asked again."""
    for _ in range(3):
        goal_id = send(host)
        wait(lambda goal_id=goal_id: [x for x in planner.of("accepted") + planner.of("result") if x[1] == goal_id])
        if any(x[1] == goal_id for x in planner.of("accepted")):
            return goal_id
        (ended,) = [x for x in planner.of("result") if x[1] == goal_id]
        assert ended[2] is c.GoalStatus.UNAVAILABLE
    raise AssertionError("no goal was accepted")


def test_topics_reach_the_core_also_when_latched_before_it_started(rig: Rig) -> None:
    broker, planner = Recorder(), Recorder()
    perception = rig.add(PERCEPTION, Recorder())
    rig.on_loop(perception.start)
    perception.inject(lambda core, now: (c.Publish("wall", Wall(version=7)),))
    broker_host, planner_host = rig.add(BROKER, broker), rig.add(PLANNER, planner)
    rig.on_loop(planner_host.start)
    rig.on_loop(broker_host.start)
    wait(lambda: any(name == "wall" and message.version == 7 for name, message in planner.of("message")))
    broker_host.inject(lambda core, now: (c.Publish("motion/state", BrokerState(state=1)),))
    wait(lambda: any(name == "motion/state" for name, _ in planner.of("message")))
    assert planner.seen[0] == ("restore", {})
    assert planner.seen[1] == ("activate",)


@pytest.mark.parametrize("status", [c.GoalStatus.SUCCEEDED, c.GoalStatus.ABORTED])
def test_a_goal_is_answered_with_feedback_and_result(rig: Rig, status: c.GoalStatus) -> None:
    planner, broker, host, _ = two(rig)
    broker.answers["goal"] = finish(305, status)
    goal_id = send(host)
    name, got_id, got, result = wait(lambda: planner.of("result"))[0]
    assert (name, got_id, got, result.outcome.code) == (EXECUTE, goal_id, status, 305)
    assert broker.of("goal")[0][2].job_id == "j"


def test_a_cancelled_goal_ends_when_the_server_says_so(rig: Rig) -> None:
    planner, broker, host, _ = two(rig)
    goal_id = send(host)
    wait(lambda: planner.of("accepted"))
    broker.answers["cancel"] = finish(302, c.GoalStatus.CANCELED)
    host.inject(lambda core, now: (c.CancelGoal(EXECUTE, goal_id),))
    assert wait(lambda: planner.of("result"))[0][2:][0] is c.GoalStatus.CANCELED


def test_the_same_id_again_joins_the_first_and_moves_nothing(rig: Rig) -> None:
    planner, broker, host, _ = two(rig)
    broker.answers["goal"] = finish(0, c.GoalStatus.SUCCEEDED)
    goal_id = send(host)
    wait(lambda: planner.of("result"))
    host.inject(lambda core, now: (c.SendGoal(EXECUTE, goal_id, ExecuteMotion.Goal()),))
    wait(lambda: len(planner.of("result")) == 2)
    assert planner.of("result")[1][2] is c.GoalStatus.SUCCEEDED
    assert len(broker.of("goal")) == 1


def test_without_a_server_a_goal_ends_as_unavailable(rig: Rig) -> None:
    planner = Recorder()
    host = rig.add(PLANNER, planner)
    rig.on_loop(host.start)
    send(host)
    assert wait(lambda: planner.of("result"))[0][2] is c.GoalStatus.UNAVAILABLE


def test_a_goal_whose_server_dies_ends_as_lost_even_when_another_takes_its_place(rig: Rig) -> None:
    planner, broker, host, broker_host = two(rig)
    send(host)
    wait(lambda: broker.of("goal"))
    wait(lambda: planner.of("accepted"))
    rig.on_loop(broker_host.stop)
    rig.on_loop(broker_host.start)
    assert wait(lambda: planner.of("result"))[0][2] is c.GoalStatus.LOST


def test_endpoints_close_under_a_flood_of_their_events(rig: Rig) -> None:
    planner, broker, planner_host, broker_host = two(rig)
    for _ in range(10):
        goal_id = accepted(planner, planner_host)
        told = tuple(c.Feedback(EXECUTE, goal_id, ExecuteMotion.Feedback(stage=k % 5)) for k in range(30))
        for _ in range(4):
            broker_host.inject(lambda core, now, told=told: told)
        rig.on_loop(planner_host.stop)
        for _ in range(4):
            broker_host.inject(lambda core, now, told=told: told)
        end = (c.FinishGoal(EXECUTE, goal_id, c.GoalStatus.ABORTED, ExecuteMotion.Result()),)
        broker_host.inject(lambda core, now, end=end: end)
        rig.on_loop(lambda: None)
        rig.on_loop(planner_host.start)
    assert len({goal_id for _, goal_id, _ in broker.of("goal")}) >= 10


def test_services_are_answered_by_the_core(rig: Rig) -> None:
    planner, _, _, _ = two(rig)
    planner.answers["service"] = lambda name, request: (
        c.Respond(JobCommand.Response(accepted=request.command == JobCommand.Request.PAUSE, text="as you say")),
    )
    answers: list[tuple[str, Any]] = []
    client = rclpy.create_node("client")
    rig.nodes.append(client)
    rig.spinner.add(client)
    caller = ServiceCaller(client, JobCommand, "job/command", lambda tag, response: answers.append((tag, response)))
    nobody = ServiceCaller(client, JobCommand, "no/such", lambda tag, response: answers.append((tag, response)))
    wait(lambda: client.count_services("job/command"))
    rig.on_loop(lambda: caller.call("a", JobCommand.Request(command=1), 5.0))
    assert wait(lambda: answers)[0][1].accepted
    rig.on_loop(lambda: nobody.call("b", JobCommand.Request(), 0.0))
    rig.on_loop(nobody.check)
    assert answers[1] == ("b", None)


def test_a_call_is_made_again_to_a_server_that_took_the_place_of_a_dead_one(rig: Rig) -> None:
    # A killed server stays on the graph for its lease: here, one that nobody spins.
    dead = rclpy.create_node("dead")
    dead.create_service(JobCommand, "job/command", lambda _, response: response)
    client = rclpy.create_node("client")
    rig.nodes += [dead, client]
    rig.spinner.add(client)
    answers: list[tuple[str, Any]] = []
    caller = ServiceCaller(client, JobCommand, "job/command", lambda tag, response: answers.append((tag, response)))
    wait(lambda: client.count_services("job/command"))
    rig.on_loop(lambda: caller.call("a", JobCommand.Request(), 60.0))
    planner = Recorder()
    planner.answers["service"] = lambda name, request: (c.Respond(JobCommand.Response(accepted=True)),)
    host = rig.add(PLANNER, planner)
    rig.on_loop(host.start)
    wait(lambda: (rig.on_loop(caller.check), answers)[1])
    assert [(tag, response.accepted) for tag, response in answers] == [("a", True)]


def test_compute_runs_aside_and_its_errors_come_back(rig: Rig) -> None:
    planner, _, host, _ = two(rig)
    host.inject(
        lambda core, now: (c.Compute("name", lambda: threading.current_thread().name), c.Compute("bad", lambda: 1 // 0))
    )
    (first, name), (second, error) = wait(lambda: len(planner.of("computed")) == 2 and planner.of("computed"))
    assert (first, second) == ("name", "bad")
    assert name.startswith(PLANNER)
    assert isinstance(error, ZeroDivisionError)


def test_what_was_computed_for_an_earlier_life_of_the_core_is_not_handed_to_it(rig: Rig) -> None:
    planner, _, host, _ = two(rig)
    begun, go = threading.Event(), threading.Event()
    host.inject(lambda core, now: (c.Compute("old", lambda: (begun.set(), go.wait(10.0))),))
    assert begun.wait(10.0)
    rig.on_loop(host.stop)
    rig.on_loop(host.start)
    go.set()
    host.inject(lambda core, now: (c.Compute("new", lambda: None),))
    wait(lambda: planner.of("computed"))
    rig.on_loop(lambda: None)
    assert [tag for tag, _ in planner.of("computed")] == ["new"]


def test_what_was_persisted_is_restored_and_a_failed_write_stops_what_follows(rig: Rig, tmp_path: Path) -> None:
    planner, _, host, _ = two(rig)
    host.inject(
        lambda core, now: (
            c.Persist("job", "a", {"n": 1}),
            c.Persist("job", "b", {"n": 2}),
            c.Persist("job", "b", None),
        )
    )
    rig.on_loop(host.stop)
    rig.on_loop(host.start)
    assert planner.of("restore")[1] == ({"job": {"a": {"n": 1}}},)
    assert host._store is not None
    rig.on_loop(host._store.close)
    host.inject(lambda core, now: (c.Persist("job", "c", {}), c.Compute("never", lambda: None)))
    wait(lambda: planner.of("persist_failed"))
    rig.on_loop(lambda: None)
    assert not planner.of("computed")


def test_events_of_every_severity_come_from_one_core(rig: Rig) -> None:
    _, _, _, broker_host = two(rig)
    seen: list[Any] = []
    listener = rclpy.create_node("listener")
    rig.nodes.append(listener)
    rig.spinner.add(listener)
    rig.on_loop(lambda: listener.create_subscription(Event, "events", seen.append, qos(Profile.EVENTS)) and None)
    broker_host.inject(
        lambda core, now: [c.Emit("a.b", "text", severity) for severity in (*c.Severity, c.Severity.INFO)]
    )
    wait(lambda: len(seen) == 6)
    assert [event.severity for event in seen] == [10, 20, 30, 40, 50, 20]
    assert [event.sequence for event in seen] == [1, 2, 3, 4, 5, 6]
    assert not rig.nodes[1].lumper_failed


def test_an_exception_in_the_core_ends_the_process_with_a_fatal_event(rig: Rig) -> None:
    _, _, host, _ = two(rig)
    host.inject(lambda core, now: 1 // 0)  # type: ignore[arg-type,return-value]
    wait(lambda: rig.nodes[0].lumper_failed)


NODE = """
import sys
from dataclasses import dataclass
from lumper_ros.core import Core
from lumper_ros.host import run_core
from lumper_ros.parameters import parameter

@dataclass(frozen=True)
class P:
    rate_hz: float = parameter(1.0, low=0.0, high=5.0, doc="rate")

sys.exit(run_core("unload_planner", P, lambda p: Core(), tick_hz=10.0, lifecycle=False))
"""


def test_an_unknown_parameter_stops_a_node_with_its_name(tmp_path: Path) -> None:
    script = tmp_path / "node.py"
    script.write_text(NODE)
    command = [sys.executable, str(script), "--ros-args", "-p", "rate_hz:=9.0", "-p", "colour:=red"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "colour: no such parameter" in done.stderr
    assert "rate_hz=9.0: must be at most 5.0" in done.stderr


HEAD = """
import os, sys, threading
from dataclasses import dataclass
from lumper_ros.core import Compute, Core
from lumper_ros.host import run_core
@dataclass(frozen=True)
class P: pass
"""


@contextlib.contextmanager
def process(folder: Path, text: str) -> Iterator[Any]:
    """A node's program, behind HEAD, as a process with pipes; gone at the end."""
    (folder / "node.py").write_text(HEAD + text)
    node = subprocess.Popen(
        [sys.executable, "node.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LUMPER_STATE_DIR": str(folder)},
        cwd=folder,
    )
    try:
        yield node
    finally:
        node.kill()
        node.communicate()


READY = """
class Ready(Core):
    def tick(self, now):
        print("up", flush=True)
        return ()
sys.exit(run_core("scene_markers", P, lambda p: Ready(), tick_hz=20.0, lifecycle=False))
"""


def test_signals_without_end_are_no_death_by_signal(tmp_path: Path) -> None:
    """A launch that an impatient person ends again and again: the node ends once, with 0."""
    with process(tmp_path, READY) as node:
        assert node.stdout.readline() == "up\n"
        end_s = time.monotonic() + 30.0
        while node.poll() is None and time.monotonic() < end_s:
            node.send_signal(signal.SIGINT)
        node.kill()
        assert node.wait() == 0


STUCK = """
class Stuck(Core):
    def tick(self, now):
        print("up", flush=True)
        return ()
    def deactivate(self, now):
        self.wait_for_ever()
    def wait_for_ever(self):
        threading.Event().wait()
sys.exit(run_core("scene_markers", P, lambda p: Stuck(), tick_hz=20.0, lifecycle=False))
"""


def test_a_node_that_hangs_while_it_ends_leaves_and_says_where(tmp_path: Path) -> None:
    """Nobody but the launcher's own end would take it away; it would never be started again."""
    with process(tmp_path, STUCK) as node:
        assert node.stdout.readline() == "up\n"
        node.send_signal(signal.SIGINT)
        assert node.wait(30.0) == 1
        assert "in wait_for_ever" in node.stderr.read()


PROMPT = """
class Prompt(Core):
    def activate(self, now):
        return (Compute("mine", policy),)
    def tick(self, now):
        return (Compute("mine", policy),)
    def computed(self, tag, result, now):
        print(policy(), result, flush=True)
        return ()
def policy():
    return "+".join(sorted({str(os.sched_getscheduler(int(thread))) for thread in os.listdir("/proc/self/task")}))
done = run_core("motion_broker", P, lambda p: Prompt(), tick_hz=20.0, lifecycle=False, own_process=True, priority=3)
sys.exit(done)
"""


def test_a_node_that_must_be_on_time_says_its_priority_and_what_it_computes_has_none(tmp_path: Path) -> None:
    with process(tmp_path, PROMPT) as node:
        said = [node.stdout.readline().split() for _ in range(20)]
        node.send_signal(signal.SIGINT)
        assert node.wait(30.0) == 0
        log = node.stderr.read()
    allowed = "[node.priority] priority: SCHED_FIFO 3" in log
    assert allowed or "SCHED_FIFO is not allowed here" in log or "neither SCHED_FIFO nor nice" in log
    assert said[-1] == [str(os.SCHED_FIFO if allowed else os.SCHED_OTHER), str(os.SCHED_OTHER)]
