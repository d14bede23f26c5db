"""trailer_sim as a process on a graph of its own: what other people's clients meet."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs a ROS 2 environment")

from action_msgs.msg import GoalStatus  # noqa: E402
from control_msgs.action import FollowJointTrajectory  # noqa: E402
from control_msgs.msg import JointTolerance  # noqa: E402
from lumper_msgs.action import AdvanceBase  # noqa: E402
from lumper_msgs.srv import InjectFault, SetGripper  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint  # noqa: E402

from lumper_ros.convert import to_duration  # noqa: E402
from lumper_ros.interfaces import SIM, published_by, resolve_type  # noqa: E402
from lumper_ros.qos import qos  # noqa: E402

CONFIG = Path(__file__).parents[3] / "config"
DATA = Path(os.environ.get("LUMPER_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
DOMAIN = 60 + os.getpid() % 40
NAMES = [f"joint_{k}" for k in range(1, 7)]
HOME = [0.0, -0.6981, 1.9199, 0.0, 0.3491, 0.0]


class Client:
    """One node with the means to wait for things with a deadline."""

    def __init__(self, context: Any) -> None:
        self.node = rclpy.create_node("test_client", context=context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)

    def until(self, done: Callable[[], bool], what: str, limit_s: float = 90.0) -> None:
        end = time.monotonic() + limit_s
        while not done():
            assert time.monotonic() < end, f"no {what} within {limit_s} s"
            self.executor.spin_once(timeout_sec=0.05)

    def result(self, future: Any, what: str) -> Any:
        self.until(future.done, what)
        return future.result()

    def send(self, client: ActionClient, goal: Any) -> Any:
        self.until(client.server_is_ready, "action server")
        handle = self.result(client.send_goal_async(goal), "answer to the goal")
        assert handle.accepted
        return handle

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, "service")
        return self.result(client.call_async(request), "answer")


def start(*parameters: str, domain: int = DOMAIN) -> "subprocess.Popen[str]":
    arguments = [
        f"robot_folder:={CONFIG / 'robot'}",
        f"trailer_file:={CONFIG / 'trailer.yaml'}",
        *(parameters or ("cartons:=20",)),
    ]
    command = [sys.executable, "-m", "lumper_sim.main", "--ros-args"]
    for argument in arguments:
        command += ["-p", argument]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    os.environ["LUMPER_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    process = start()
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    made = Client(context)
    yield made
    made.node.destroy_node()
    rclpy.shutdown(context=context)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0


def goal(position: list[float], time_s: float, names: list[str] = NAMES, **more: Any) -> Any:
    point = JointTrajectoryPoint(positions=position, time_from_start=to_duration(time_s), **more)
    return FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=names, points=[point]))


@pytest.fixture(scope="module")
def arm(client: Client) -> ActionClient:
    return ActionClient(client.node, FollowJointTrajectory, "arm_controller/follow_joint_trajectory")


def test_every_topic_of_the_table_arrives_with_the_table_s_qos(client: Client) -> None:
    seen: dict[str, Any] = {}
    topics = [t for t in published_by(SIM) if t.name != "events"]
    for topic in topics:
        client.node.create_subscription(
            resolve_type(topic.type),
            topic.name,
            lambda m, name=topic.name: seen.setdefault(name, m),
            qos(topic.profile),
        )
    client.until(lambda: len(seen) == len(topics), "message on each topic")


def test_a_single_point_goal_is_reached(client: Client, arm: ActionClient) -> None:
    target = [0.2, *HOME[1:]]
    handle = client.send(arm, goal(target, 1.0, velocities=[0.0] * 6))
    answer = client.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert answer.result.error_code == FollowJointTrajectory.Result.SUCCESSFUL


def test_a_bad_goal_comes_back_with_code_and_text(client: Client, arm: ActionClient) -> None:
    handle = client.send(arm, goal(HOME[:5], 1.0, NAMES[:5]))
    answer = client.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.error_code == FollowJointTrajectory.Result.INVALID_JOINTS
    assert "joint_6" in answer.result.error_string


def test_cancel_ends_canceled(client: Client, arm: ActionClient) -> None:
    handle = client.send(arm, goal([-0.8, *HOME[1:]], 3.0, velocities=[0.0] * 6))
    accepted = client.result(handle.cancel_goal_async(), "answer to cancel")
    assert len(accepted.goals_canceling) == 1
    answer = client.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_CANCELED


def test_a_second_goal_preempts_the_first(client: Client, arm: ActionClient) -> None:
    first = client.send(arm, goal([0.5, *HOME[1:]], 4.0, velocities=[0.0] * 6))
    second = client.send(arm, goal(HOME, 2.0, velocities=[0.0] * 6))
    assert client.result(first.get_result_async(), "result").status == GoalStatus.STATUS_ABORTED
    assert client.result(second.get_result_async(), "result").status == GoalStatus.STATUS_SUCCEEDED


def test_a_recorded_arm_s_waypoints_are_followed(client: Client, arm: ActionClient) -> None:
    """Rows of a CSV file sent as they are: another arm's recording, its joints in the file's order, positions only."""
    recording = DATA / "joints" / "kuka_lbr_rosbag2" / "joint_states.csv"
    if not recording.exists():
        pytest.skip("the recorded joints are not on this machine (LUMPER_DATA)")
    header, *rows = csv.reader(recording.open())
    mapped = [(column, int(name[-1])) for column, name in enumerate(header) if int(name[-1]) < 6]
    first = [float(word) for word in rows[0]]
    points, period_s = [], 0.1
    for number, row in enumerate(rows, 1):
        positions = [HOME[k] + 0.5 * (float(row[column]) - first[column]) for column, k in mapped]
        points.append(JointTrajectoryPoint(positions=positions, time_from_start=to_duration(number * period_s)))
    names = [NAMES[k] for _, k in mapped]
    asked = FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=names, points=points))
    asked.path_tolerance = [JointTolerance(name=name, position=0.1) for name in names]
    asked.goal_tolerance = [JointTolerance(name=name, position=0.01) for name in names]
    seen: list[Any] = []
    states = next(topic for topic in published_by(SIM) if topic.name == "joint_states")
    subscription = client.node.create_subscription(
        resolve_type(states.type), states.name, seen.append, qos(states.profile)
    )
    answer = client.result(client.send(arm, asked).get_result_async(), "result")
    client.node.destroy_subscription(subscription)
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.error_string
    passed = np.array([[state.position[list(state.name).index(name)] for name in names] for state in seen])
    for point in points:
        # Between two measurements the arm moves on.
        assert np.abs(passed - np.array(point.positions)).max(axis=1).min() < 0.05


def test_gripper_fault_and_base(client: Client) -> None:
    assert client.call(SetGripper, "gripper/set", SetGripper.Request(zones_on=3)).ok
    assert not client.call(SetGripper, "gripper/set", SetGripper.Request(zones_on=999)).ok
    assert client.call(InjectFault, "sim/fault", InjectFault.Request(name="conveyor", args=[0.0], duration_s=1.0)).ok
    refused = client.call(InjectFault, "sim/fault", InjectFault.Request(name="flood", duration_s=1.0))
    assert not refused.ok
    assert "flood" in refused.text
    base = ActionClient(client.node, AdvanceBase, "base/advance")
    handle = client.send(base, AdvanceBase.Goal(distance_m=-0.1, max_speed_mps=0.2))
    answer = client.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert answer.result.moved_m == pytest.approx(-0.1, abs=2e-3)


@pytest.mark.parametrize("parameter", ["load:=heap", "cartons:=401", "rate:=fast", "colour:=3"])
def test_a_bad_parameter_is_one_clear_line_and_exit_2(parameter: str) -> None:
    process = start(parameter, domain=DOMAIN + 1)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "refused to start" in output
    assert parameter.split(":=", maxsplit=1)[0] in output
    assert "Traceback" not in output
