"""The recorder on a live graph: everything comes into the bag, whatever happens to the process."""

import json
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from live import ROOT, Graph, wait
from lumper_msgs.msg import Event, SafetyState
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState, LaserScan
from std_msgs.msg import Bool, String

from lumper_replay.check import check
from lumper_replay.differ import Verdict
from lumper_replay.names import Names
from lumper_replay.reader import open_bag
from lumper_ros.convert import to_time
from lumper_ros.interfaces import SAFETY, TOPICS
from lumper_ros.qos import qos


def started(graph: Graph, folder: Path, *parameters: str) -> "subprocess.Popen[str]":
    """A recorder that listens."""
    words = [word for parameter in (f"folder:={folder}", *parameters) for word in ("-p", parameter)]
    process = graph.run("lumper_replay.recorder", "--ros-args", *words)
    wait(
        lambda: any(
            end.node_name == "lumper_recorder" for end in graph.node.get_subscriptions_info_by_topic("/joint_states")
        ),
        30.0,
        f"the recorder listens: {graph.output()}",
    )
    return process


class Source:
    """Publishes numbered joint states, scans and the E-stop from a thread."""

    def __init__(self, graph: Graph, rate_hz: float) -> None:
        self._joints, self._scan = graph.publisher("joint_states"), graph.publisher("scan/front")
        self._estop, self._description = graph.publisher("estop"), graph.publisher("robot_description")
        self._description.publish(String(data="<robot name='test'/>"))
        self.sent = 0
        self._rate_hz = rate_hz
        self._end = threading.Event()
        wait(lambda: self._joints.get_subscription_count() > 0, 20.0, "a subscriber of joint_states")
        wait(lambda: self._scan.get_subscription_count() > 0, 20.0, "a subscriber of scan/front")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        begun_s = time.monotonic()
        while not self._end.wait(max(0.0, begun_s + self.sent / self._rate_hz - time.monotonic())):
            message = JointState(name=["a"], position=[float(self.sent)])
            message.header.stamp = to_time(self.sent * 1e-3)
            self._joints.publish(message)
            if self.sent % 5 == 0:
                self._scan.publish(LaserScan(ranges=[1.0] * 512))
            if self.sent % 20 == 0:
                self._estop.publish(Bool(data=True))
            self.sent += 1

    def stop(self) -> int:
        self._end.set()
        self._thread.join()
        return self.sent


def joint_numbers(folder: Path) -> list[int]:
    bag = open_bag(folder)
    return [int(deserialize_message(m.data, JointState).position[0]) for m in bag.messages({"/joint_states"})]


def test_all_that_is_published_is_in_the_bag(graph: Graph, tmp_path: Path) -> None:
    process = started(graph, tmp_path / "bag", "max_file_s:=1.0")
    source = Source(graph, 400.0)
    wait(lambda: source.sent >= 1200, 30.0, "messages")
    sent = source.stop()
    wait(lambda: joint_numbers(tmp_path / "bag")[-1:] == [sent - 1], 10.0, "the last message on disk")
    assert graph.stop(process) == 0, graph.output()
    assert joint_numbers(tmp_path / "bag") == list(range(sent))
    files = sorted((tmp_path / "bag").glob("*.mcap"))
    assert len(files) >= 3
    with AnyReader([tmp_path / "bag"]) as reader:
        kinds = {c.topic: c for c in reader.connections}
        assert kinds["/scan/front"].msgtype == "sensor_msgs/msg/LaserScan"
        stamps = [stamp for c, stamp, _ in reader.messages() if c.topic == "/joint_states"]
    assert stamps == sorted(stamps) and len(stamps) == sent
    about = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    rows = {row["topic_metadata"]["name"]: row["topic_metadata"] for row in about["topics_with_message_count"]}
    assert rows["/estop"]["offered_qos_profiles"][0]["durability"] == "transient_local"
    assert rows["/joint_states"]["offered_qos_profiles"][0]["reliability"] == "best_effort"
    assert about["custom_data"]["lumper.robot_description"] == "<robot name='test'/>"


def test_kill_9_leaves_what_was_flushed(graph: Graph, tmp_path: Path) -> None:
    process = started(graph, tmp_path / "bag", "flush_s:=0.2")
    source = Source(graph, 300.0)
    wait(lambda: source.sent >= 600, 30.0, "messages")
    process.send_signal(signal.SIGKILL)
    process.wait(10.0)
    at_kill = source.stop()
    bag = open_bag(tmp_path / "bag")
    kept = joint_numbers(tmp_path / "bag")
    assert kept == list(range(len(kept)))
    # Flushed every 0.2 s at 300 Hz, looked at every 50 ms; the rest is for a loaded machine.
    assert len(kept) >= at_kill - 450
    assert bag.meta is not None
    assert any("its writer was killed" in fault or "cut or damaged" in fault for fault in bag.faults_now())


def test_recording_ends_cleanly_before_the_disk_is_full(graph: Graph, tmp_path: Path) -> None:
    events: list[Any] = []
    graph.node.create_subscription(Event, "events", events.append, qos(TOPICS["events"].profile))
    process = started(graph, tmp_path / "bag", "min_free_mb:=900000.0")
    source = Source(graph, 100.0)
    wait(lambda: any(event.code == "recorder.disk" for event in events), 20.0, "an event")
    source.stop()
    assert graph.stop(process) == 1
    assert "MB are free" in next(event.text for event in events if event.code == "recorder.disk")
    bag = open_bag(tmp_path / "bag")
    assert bag.faults_now() == [] or "holds no" in bag.faults_now()[0]


def test_simulated_time_and_latched_messages_before_the_first_clock(graph: Graph, tmp_path: Path) -> None:
    process = started(graph, tmp_path / "bag", "use_sim_time:=true")
    description, clock, joints = (
        graph.publisher("robot_description"),
        graph.publisher("/clock"),
        graph.publisher("joint_states"),
    )
    description.publish(String(data="<robot/>"))
    wait(lambda: joints.get_subscription_count() > 0 and clock.get_subscription_count() > 1, 20.0, "subscribers")
    count = [0]

    def tick() -> None:
        now_s = 100.0 + count[0] * 0.02
        clock.publish(Clock(clock=to_time(now_s)))
        for _ in range(2):
            joints.publish(JointState(position=[float(count[0])]))
        count[0] += 1

    timer = graph.node.create_timer(0.02, tick)
    wait(lambda: count[0] > 100, 20.0, "ticks")
    timer.cancel()
    assert graph.stop(process) == 0
    bag = open_bag(tmp_path / "bag")
    first_ns, last_ns = bag.span_ns()
    assert first_ns >= 100e9 and last_ns <= (100.0 + count[0] * 0.02 + 0.05) * 1e9
    first = next(iter(bag.messages()))
    assert bag.custom["lumper.robot_description"] == "<robot/>" and first.stamp_ns >= 100e9
    stamps = [m.stamp_ns for m in bag.messages({"/joint_states"})]
    assert stamps == sorted(stamps) and len(set(stamps)) > count[0] * 1.2
    assert first.publish_ns > 1e18  # the wall clock is kept beside


def test_a_wrong_parameter_is_named(graph: Graph, tmp_path: Path) -> None:
    process = graph.run("lumper_replay.recorder", "--ros-args", "-p", "flush_s:=0.0", "-p", "colour:=red")
    assert process.wait(30.0) == 2
    assert "flush_s=0.0: must be at least 0.05" in graph.output() and "colour: no such parameter" in graph.output()


def test_a_live_monitor_is_recorded_and_decides_the_same_again(graph: Graph, tmp_path: Path) -> None:
    process = started(graph, tmp_path / "bag")
    config = ROOT / "config"
    words = [f"robot_folder:={config / 'robot'}", f"trailer_file:={config / 'trailer.yaml'}", "authentication:=false"]
    given = [word for each in words for word in ("-p", each)]
    monitor = graph.run(
        "lumper_safety.main",
        "--ros-args",
        "--params-file",
        str(config / "safety_monitor.yaml"),
        *given,
        LUMPER_JOURNAL="1",
    )
    permits = graph.collect(SafetyState, "safety/state", qos(TOPICS["safety/state"].profile))
    source = Source(graph, 100.0)
    wait(lambda: len(permits) > 200, 120.0, f"permits: {graph.output()}")
    source.stop()
    graph.stop(monitor)
    assert graph.stop(process) == 0
    result = check(tmp_path / "bag", processes=1)
    tally = next(tally for tally in result.tallies if tally.node == SAFETY)
    assert tally.lives == 1 and tally.undecided_steps == 0
    assert tally.count(Verdict.IDENTICAL) == tally.total() > 150, tally.divergences[:3]
    bag = open_bag(tmp_path / "bag")
    assert json.loads(bag.custom["lumper.parameters"])[SAFETY]["authentication"] is False
    assert set(json.loads(bag.custom["lumper.software"])) >= {"lumper_safety", "lumper_ros"}
    assert Names(bag).namespace == ""
