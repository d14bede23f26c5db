"""The node as a process over DDS: brought up by its lifecycle, driven by its topics, actions and services, killed, restarted."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from action_msgs.msg import GoalStatus as RosStatus
from fake_world import GOAL, KEY, FakeWorld, pile
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from lumper_msgs.action import AdvanceBase, ExecuteMotion, Unload
from lumper_msgs.msg import JobState, OutcomeCode
from lumper_msgs.srv import JobCommand
from rclpy.action import ActionClient, ActionServer
from rclpy.executors import SingleThreadedExecutor

from lumper_ros import interfaces
from lumper_ros.auth import sign_command
from lumper_ros.qos import qos

HEARD = ("wall", "safety/state", "motion/state", "conveyor/state", "/tf")


class Peers:
    """The node's neighbours on the graph: the test's world, spoken over DDS. Motions take no time."""

    def __init__(self, context: rclpy.Context) -> None:
        self.node = rclpy.create_node("peers", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.world = FakeWorld(pile(layers=1))
        self.world.kill()  # its own core is not used here: what it would hear goes to the graph
        self.world._send = self._publish  # type: ignore[method-assign]
        self.world.now = lambda: None  # type: ignore[assignment,method-assign,return-value]
        self.states: list[JobState] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self._publishers = {
            name: self.node.create_publisher(
                interfaces.resolve_type(interfaces.TOPICS[name].type), name, qos(interfaces.TOPICS[name].profile)
            )
            for name in HEARD
        }
        self.node.create_subscription(
            JobState, "job/state", self.states.append, qos(interfaces.TOPICS["job/state"].profile)
        )
        ActionServer(self.node, ExecuteMotion, "motion/execute", self._execute)
        ActionServer(self.node, AdvanceBase, "base/advance", self._advance)
        self.client = ActionClient(self.node, Unload, "unload")
        self.commands = self.node.create_client(JobCommand, "job/command")
        self.node.create_timer(0.05, self._beat)

    def _publish(self, name: str, message: Any) -> None:
        self._publishers[name].publish(message)

    def _beat(self) -> None:
        world = self.world
        world.ros_s = self.node.get_clock().now().nanoseconds * 1e-9
        for publish in (world._safety, world._wall, world._broker, world._belt, world._tf):
            publish()

    def _execute(self, handle: Any) -> Any:
        world, goal_id = self.world, uuid.UUID(bytes=bytes(handle.goal_id.uuid)).hex
        world.tell = lambda step: None  # type: ignore[method-assign]
        world.active = (goal_id, handle.request)
        goal, held = handle.request, list(world.held)
        world._done(goal_id, goal, 0, world.life)
        code = world.last[0][1]
        result = ExecuteMotion.Result(outcome=OutcomeCode(code=code), holding_carton=bool(world.held))
        assert held or goal.kind != GOAL.PLACE
        if code == 0:
            handle.succeed()
        else:
            handle.abort()
        return result

    def _advance(self, handle: Any) -> Any:
        self.world.base_x += handle.request.distance_m
        handle.succeed()
        return AdvanceBase.Result(moved_m=handle.request.distance_m)

    def wait(self, until: Callable[[], bool], limit_s: float = 30.0) -> bool:
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if until():
                return True
            self.executor.spin_once(timeout_sec=0.05)
        return until()

    def done(self, future: Any, limit_s: float = 30.0) -> Any:
        assert self.wait(future.done, limit_s)
        return future.result()


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    context = rclpy.Context()
    rclpy.init(context=context)
    made = Peers(context)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
            process.wait(10.0)
    made.node.destroy_node()
    rclpy.shutdown(context=context)


class Process:
    """The planner's process, up to its active state."""

    def __init__(self, peers: Peers, state: Path) -> None:
        here = Path(__file__).parent
        environment = os.environ | {"LUMPER_STATE_DIR": str(state), "PYTHONUNBUFFERED": "1"}
        environment["PYTHONPATH"] = f"{here}:{environment.get('PYTHONPATH', '')}"
        ros = ["--ros-args", "-p", "robot_folder:=x", "-p", "trailer_file:=x", "-p", "look_grace_s:=0.1"]
        self.process = subprocess.Popen([sys.executable, str(here / "planner_process.py"), *ros], env=environment)
        peers.processes.append(self.process)
        self.change = peers.node.create_client(ChangeState, "unload_planner/change_state")
        self.state = peers.node.create_client(GetState, "unload_planner/get_state")
        # One that was killed while it was active is so again without being told.
        for transition, goals in (
            (Transition.TRANSITION_CONFIGURE, (State.PRIMARY_STATE_INACTIVE, State.PRIMARY_STATE_ACTIVE)),
            (Transition.TRANSITION_ACTIVATE, (State.PRIMARY_STATE_ACTIVE,)),
        ):
            deadline_s = time.monotonic() + 40.0
            while self._state(peers) not in goals and not self._changed(peers, transition):
                assert time.monotonic() < deadline_s, "the node does not come up"

    def _changed(self, peers: Peers, transition: int) -> bool:
        """Ask for a transition. A killed process leaves a server behind that never answers: then it is asked again."""
        if not peers.wait(self.change.service_is_ready, 2.0):
            return False
        future = self.change.call_async(ChangeState.Request(transition=Transition(id=transition)))
        return peers.wait(future.done, 2.0) and bool(future.result().success)

    def _state(self, peers: Peers) -> int:
        """Where its life is: a transition whose answer came too late was made all the same, and is refused now."""
        future = self.state.call_async(GetState.Request())
        return int(future.result().current_state.id) if peers.wait(future.done, 2.0) else -1

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        self.process.send_signal(how)
        return self.process.wait(10.0)


def send(peers: Peers, job_id: str) -> Any:
    assert peers.wait(peers.client.server_is_ready)
    handle = peers.done(peers.client.send_goal_async(Unload.Goal(job_id=job_id)))
    assert handle.accepted
    return handle


def test_a_job_over_dds_and_a_clean_end(peers: Peers, tmp_path: Path) -> None:
    planner = Process(peers, tmp_path)
    try:
        handle = send(peers, "over-dds")
        response = peers.done(handle.get_result_async(), 60.0)
        assert response.status == RosStatus.STATUS_SUCCEEDED
        assert response.result.outcome.code == OutcomeCode.NONE and response.result.delivered == 3
        assert peers.wait(lambda: peers.states[-1].phase == JobState.DONE)
        auth = sign_command(b"x" * 32, "job/command", {"command": 4}, "Eve", time.time(), 1)
        refused = peers.done(peers.commands.call_async(JobCommand.Request(command=4, auth=auth)))
        assert not refused.accepted and "key" in refused.text
        auth = sign_command(KEY, "job/command", {"command": 2}, "Ada", time.time(), 2)
        assert "no job" in peers.done(peers.commands.call_async(JobCommand.Request(command=2, auth=auth))).text
    finally:
        assert planner.kill(signal.SIGINT) == 0


def test_a_killed_node_goes_on_with_its_job(peers: Peers, tmp_path: Path) -> None:
    planner = Process(peers, tmp_path)
    handle = send(peers, "killed")
    result = handle.get_result_async()
    assert peers.wait(lambda: peers.world.belt == 1, 60.0)
    planner.kill()
    planner = Process(peers, tmp_path)
    try:
        assert peers.wait(lambda: peers.states[-1].job_id == "killed" and peers.states[-1].phase == JobState.WAITING)
        assert not result.done()
        handle = send(peers, "killed")
        response = peers.done(handle.get_result_async(), 60.0)
        assert response.result.outcome.code == OutcomeCode.NONE
        assert response.result.delivered + response.result.dropped == 3 and peers.world.belt == 3
    finally:
        assert planner.kill(signal.SIGTERM) == 0
