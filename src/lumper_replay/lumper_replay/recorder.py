"""Node lumper_recorder: every topic of the interface table, as it comes off the wire, into a rosbag2 MCAP folder."""

import json
import os
import shutil
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import rclpy
from lumper_msgs.msg import CoreSteps, Event
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from lumper_replay import peek
from lumper_replay.names import NAMESPACE
from lumper_replay.parameters import RecorderParameters
from lumper_replay.qos_form import described
from lumper_replay.reader import installed
from lumper_replay.stamps import Stamper
from lumper_replay.writer import BagError, BagWriter, Limits
from lumper_ros import interfaces, journal
from lumper_ros.core import Severity
from lumper_ros.host import load_parameters
from lumper_ros.interfaces import RECORDER
from lumper_ros.parameters import ParameterError
from lumper_ros.qos import qos
from lumper_ros.spin import Spinner

# The writer looks for work this often, s; more often when there is much.
_PERIOD_S = 0.05
_BURST_BYTES = 4 * 2**20
_LARGE = ("sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/Image")
_OTHERS_PERIOD_S = 1.0


def default_folder() -> Path:
    """A new folder named by date and time."""
    home = Path(os.environ.get("ROS_HOME") or Path.home() / ".ros")
    return home / "lumper" / "bags" / datetime.now().strftime("%Y_%m_%d-%H_%M_%S")


class Queue:
    """Messages between the executor's thread and the writer's."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._entries: deque[tuple[str, int, bytes, int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.much = threading.Event()
        self.refused: Counter[str] = Counter()

    def put(self, topic: str, stamp_ns: int, data: bytes, wall_ns: int) -> None:
        """Called for each message: refuses it when the disk does not keep up."""
        with self._lock:
            if self._bytes + len(data) > self._limit:
                self.refused[topic] += 1
                return
            self._entries.append((topic, stamp_ns, data, wall_ns))
            self._bytes += len(data)
            if self._bytes > _BURST_BYTES:
                self.much.set()

    def take(self) -> deque[tuple[str, int, bytes, int]]:
        """All that waits."""
        with self._lock:
            entries, self._entries, self._bytes = self._entries, deque(), 0
            self.much.clear()
            return entries


class Recorder:
    """The recording of one process life."""

    def __init__(self, node: Node, parameters: RecorderParameters) -> None:
        self._node, self._p = node, parameters
        self._log = node.get_logger()
        self._sim_time = bool(node.get_parameter("use_sim_time").value)
        self._clock = node.get_clock()
        self._stamper = Stamper()
        self._early: list[tuple[str, bytes, int]] = []
        self._queue = Queue(int(parameters.queue_mb * 2**20))
        self._lost: dict[str, int] = {}
        self._parameters: dict[str, Any] = {}
        self._software: dict[str, Any] = {}
        self._subscribed: set[str] = set()
        self.skipped: dict[str, str] = {}
        self.ended = ""
        folder = Path(parameters.folder).expanduser() if parameters.folder else default_folder()
        limits = Limits(int(parameters.max_file_mb * 2**20), parameters.max_file_s)
        namespace = node.get_namespace().rstrip("/")
        custom = {NAMESPACE: namespace, "lumper.sim_time": str(self._sim_time).lower()}
        self.writer = BagWriter(folder, limits, parameters.compression, custom)
        self._events = node.create_publisher(Event, "events", qos(interfaces.TOPICS["events"].profile))
        self._event_number = 0
        for row in interfaces.TOPICS.values():
            if row.name not in parameters.without:
                self._subscribe(node.resolve_topic_name(row.name), row.type, qos(row.profile))
        if parameters.other_topics:
            node.create_timer(_OTHERS_PERIOD_S, self._look_for_others)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writer")
        self._thread.start()
        self._tell("recorder.started", f"recording into {folder}", Severity.INFO)

    def close(self) -> None:
        """Write what waits and finish the bag."""
        self._stop.set()
        self._queue.much.set()
        self._thread.join()
        lost = sum(self._lost.values()) + sum(self._queue.refused.values())
        text = f"{self.writer.messages} messages in {self.writer.folder}; {lost} lost"
        if lost:
            text += f" ({ {**self._lost, **self._queue.refused} })"
        self._log.info(text)

    # --- executor's thread ---

    def _subscribe(self, name: str, type_name: str, profile: QoSProfile) -> None:
        kind = installed(type_name)
        if kind is None:
            if name not in self.skipped:
                self.skipped[name] = type_name
                self._log.warning(f"{name}: {type_name} is not installed; not recorded")
            return
        self.writer.add_topic(name, type_name, [described(profile)])
        depth = 20 if type_name in _LARGE else 2000
        wanted = QoSProfile(depth=depth, reliability=profile.reliability, durability=profile.durability)
        events = SubscriptionEventCallbacks(message_lost=lambda told: self._count_lost(name, told.total_count))
        self._node.create_subscription(kind, name, self._receive(name), wanted, raw=True, event_callbacks=events)
        self._subscribed.add(name)

    def _count_lost(self, name: str, total: int) -> None:
        self._lost[name] = total

    def _receive(self, name: str) -> Callable[[bytes], None]:
        if not self._sim_time:

            def now(data: bytes) -> None:
                stamp_ns = time.time_ns()
                self._queue.put(name, stamp_ns, data, stamp_ns)

            return now

        def simulated(data: bytes) -> None:
            stamp_ns = self._stamper.stamp(self._clock.now().nanoseconds, time.monotonic())
            wall_ns = time.time_ns()
            if stamp_ns is None:
                # Latched messages come before the first /clock: they belong to the beginning.
                self._early.append((name, data, wall_ns))
                return
            for early_name, early_data, early_ns in self._early:
                self._queue.put(early_name, stamp_ns, early_data, early_ns)
            self._early.clear()
            self._queue.put(name, stamp_ns, data, wall_ns)

        return simulated

    def _look_for_others(self) -> None:
        for name, types in self._node.get_topic_names_and_types():
            if name in self._subscribed or len(types) != 1:
                continue
            ends = self._node.get_publishers_info_by_topic(name)
            reliable = bool(ends) and all(end.qos_profile.reliability == ReliabilityPolicy.RELIABLE for end in ends)
            latched = bool(ends) and all(end.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for end in ends)
            profile = QoSProfile(
                depth=10,
                reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
            )
            if ends:
                self._subscribe(name, types[0], profile)

    def _tell(self, code: str, text: str, severity: Severity) -> None:
        self._log.info(text) if severity is Severity.INFO else self._log.error(text)
        self._event_number += 1
        self._events.publish(
            Event(
                stamp=self._clock.now().to_msg(),
                node=RECORDER,
                sequence=self._event_number,
                code=code,
                severity=severity.value,
                text=text,
            )
        )

    # --- writer's thread ---

    def _write(self) -> None:
        flushed_s = time.monotonic()
        try:
            while not self._stop.is_set():
                self._queue.much.wait(_PERIOD_S)
                self._drain()
                if time.monotonic() - flushed_s > self._p.flush_s:
                    flushed_s = time.monotonic()
                    self.writer.flush()
                    free = shutil.disk_usage(self.writer.folder).free
                    if free < self._p.min_free_mb * 2**20:
                        raise OSError(f"only {free / 2**20:.0f} MB are free, {self._p.min_free_mb:g} are to be left")
            self._drain()
            self._describe()
            self.writer.close()
        except Exception as error:
            # Of whatever kind: a recorder that goes on without writing would be believed to record.
            self.ended = f"recording ended: {error}; what was written until then is readable"
            self._tell("recorder.disk" if isinstance(error, OSError) else "recorder.defect", self.ended, Severity.ERROR)
            with _quiet():
                self.writer.close()

    def _drain(self) -> None:
        decisions = self._node.resolve_topic_name(journal.TOPIC)
        description = self._node.resolve_topic_name("robot_description")
        for topic, stamp_ns, data, wall_ns in self._queue.take():
            self.writer.write(topic, stamp_ns, data, wall_ns)
            if topic == decisions and _begins(data):
                self._learn(data)
            elif topic == description:
                self.writer.custom["lumper.robot_description"] = deserialize_message(data, String).data

    def _learn(self, data: bytes) -> None:
        """A node's life begins: its parameters and software belong into the metadata."""
        try:
            batch = deserialize_message(data, CoreSteps)
            record = json.loads(bytes(batch.steps[0].data))
            self._parameters[batch.node] = record["parameters"]
            self._software |= record["software"]
        except (RuntimeError, ValueError, KeyError, IndexError) as error:
            self._log.warning(
                f"{journal.TOPIC}: a journal begins in a way that is not known here ({error}); recorded as it is"
            )
            return
        self._describe()

    def _describe(self) -> None:
        self.writer.custom["lumper.parameters"] = json.dumps(self._parameters, sort_keys=True)
        self.writer.custom["lumper.software"] = json.dumps(self._software, sort_keys=True)
        self.writer.describe()


def _begins(data: bytes) -> bool:
    """Whether a message on `decisions` is the first one of a node's life."""
    try:
        return peek.head(data).first_sequence == 0
    except ValueError:
        return False


class _quiet:  # noqa: N801 - reads as what it does
    """An error of the disk that was told already."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return isinstance(error, OSError | BagError)


def main(argv: Sequence[str] | None = None) -> int:
    """Record until a signal; 1 = ended early, 2 = refused to start."""
    rclpy.init(args=None if argv is None else list(argv), signal_handler_options=SignalHandlerOptions.NO)
    spinner = Spinner(rclpy.get_default_context())
    node = rclpy.create_node(RECORDER, automatically_declare_parameters_from_overrides=True)
    spinner.add(node)
    recorder = None
    try:
        try:
            recorder = Recorder(node, load_parameters(node, RecorderParameters))
        except (ParameterError, BagError, OSError) as error:
            node.get_logger().fatal(f"refused to start: {error}")
            return 2
        spinner.spin()
        recorder.close()
        return 1 if recorder.ended else 0
    finally:
        sys.stdout.flush()
        spinner.close(node)
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
