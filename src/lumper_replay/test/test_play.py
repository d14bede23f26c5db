"""Playing onto a live graph: order, time, choice of topics, pause and steps, foreign types."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live import Graph, wait
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from lumper_replay.qos_form import described
from lumper_replay.writer import BagWriter
from lumper_ros.interfaces import Profile
from lumper_ros.qos import qos

# Deep, so that a loaded machine loses none of what is counted.
SEEN = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)
START_NS = 1_700_000_000_000_000_000


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """/count every 10 ms for a second, five with the same stamp in the middle, /latched once, /alien of no known type."""
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/count", "std_msgs/msg/String", [described(qos(Profile.STANDARD))])
    writer.add_topic("/latched", "std_msgs/msg/Bool", [described(qos(Profile.LATCHED))])
    writer.add_topic("/alien", "alien_msgs/msg/Probe", [], text="uint8 x\n", type_hash="RIHS01_0")
    writer.write("/latched", START_NS, serialize_message(Bool(data=True)))
    number = 0
    for step in range(100):
        for _ in range(5 if step == 50 else 1):
            writer.write("/count", START_NS + step * 10_000_000, serialize_message(String(data=str(number))))
            number += 1
    writer.write("/alien", START_NS, b"\0\1\0\0\1")
    writer.close()
    return tmp_path / "bag"


def play(graph: Graph, bag: Path, *words: str, resume: bool = True) -> "subprocess.Popen[str]":
    """A player that begins once both sides have found each other."""
    process = graph.run("lumper_replay.cli", "play", str(bag), "--start-paused", "--delay", "1", *words)
    answer = graph.call(Trigger, "/lumper_player/pause", Trigger.Request(), 40.0)
    assert answer.success
    wait(
        lambda: any(
            end.node_name == "lumper_player"
            for name, _ in graph.node.get_topic_names_and_types()
            for end in graph.node.get_publishers_info_by_topic(name)
            if name.startswith(("/count", "/again", "/scan"))
        ),
        20.0,
        "the player's topics",
    )
    if resume:
        assert graph.call(Trigger, "/lumper_player/resume", Trigger.Request()).success
    return process


def numbers(found: list[Any]) -> list[int]:
    return [int(message.data) for _, message in found]


def test_order_time_and_quality_of_service(graph: Graph, bag: Path) -> None:
    counts = graph.collect(String, "/count")
    latched = graph.collect(Bool, "/latched", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    process = play(graph, bag)
    assert process.wait(60.0) == 0, graph.output()
    wait(lambda: len(counts) == 104, 10.0, "all messages")
    assert numbers(counts) == list(range(104))
    assert 0.9 < counts[-1][0] - counts[0][0] < 2.0
    assert [message.data for _, message in latched] == [True]
    assert "/alien: alien_msgs/msg/Probe is not installed; skipped" in graph.output()


def test_rate_offset_choice_remap_and_clock(graph: Graph, bag: Path) -> None:
    renamed, ticks = graph.collect(String, "/again"), graph.collect(Clock, "/clock", SEEN)
    words = ["--rate", "4", "--start-offset", "0.5", "--topics", "/count", "--remap", "/count:=/again", "--clock", "50"]
    process = play(graph, bag, *words)
    assert process.wait(60.0) == 0, graph.output()
    wait(lambda: len(renamed) == 54, 10.0, "half of the messages")
    assert numbers(renamed) == list(range(50, 104))
    assert renamed[-1][0] - renamed[0][0] < 0.5
    stamps = [tick.clock.sec * 10**9 + tick.clock.nanosec for _, tick in ticks]
    assert stamps == sorted(stamps) and len(stamps) >= 20
    assert stamps[0] >= START_NS + 5e8 and stamps[-1] <= START_NS + 1e9


def test_pause_step_and_resume(graph: Graph, bag: Path) -> None:
    counts = graph.collect(String, "/count")
    process = play(graph, bag, "--topics", "/count", resume=False)
    for expected in range(1, 4):
        answer = graph.call(Trigger, "/lumper_player/step", Trigger.Request())
        assert answer.success, answer.message
        wait(lambda expected=expected: len(counts) == expected, 10.0, f"message {expected}")
    assert graph.call(Trigger, "/lumper_player/resume", Trigger.Request()).success
    refused = graph.call(Trigger, "/lumper_player/step", Trigger.Request())
    assert not refused.success and "pause first" in refused.message
    assert process.wait(60.0) == 0
    wait(lambda: len(counts) == 104, 10.0, "all messages")
    assert numbers(counts) == list(range(104))


def test_loop_goes_on_until_it_is_stopped(graph: Graph, bag: Path) -> None:
    counts = graph.collect(String, "/count")
    process = play(graph, bag, "--loop", "--rate", "5", "--topics", "/count")
    wait(lambda: len(counts) > 250, 60.0, "the third round")
    assert graph.stop(process) == 0
    assert numbers(counts)[:208] == [*range(104), *range(104)]


def test_wrong_words_are_named(bag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lumper_replay.cli import main

    for words, text in (
        (["--topics", "/nothing"], "has no topic /nothing; it has /alien, /count, /latched"),
        (["--remap", "/count"], "must be old:=new"),
        (["--rate", "0"], "must be above 0"),
    ):
        assert main(["play", str(bag), *words]) == 2
        assert text in capsys.readouterr().err


def test_a_foreign_recording_is_played(graph: Graph, data: Callable[[str], Path]) -> None:
    scans = graph.collect(LaserScan, "/scan/front", QoSProfile(depth=2000))
    words = ["--rate", "50", "--remap", "/scan:=/scan/front"]
    process = play(graph, data("scans/leg_demo"), *words)
    assert process.wait(90.0) == 0, graph.output()
    assert len(scans) > 900 and len(scans[-1][1].ranges) == 512
