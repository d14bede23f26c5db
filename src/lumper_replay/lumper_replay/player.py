"""Play a recording onto the live graph, each topic with the quality of service that it was recorded with."""

import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from lumper_replay.pace import Pace
from lumper_replay.qos_form import profile_of
from lumper_replay.reader import Bag, Message, installed
from lumper_ros.interfaces import TOPICS
from lumper_ros.priority import raise_priority
from lumper_ros.qos import qos
from lumper_ros.spin import Spinner

_AHEAD = 400
# The last stretch before a message is slept exactly; before it a pause or the end is noticed at once.
_EXACT_S = 0.002
_LAST = Duration(seconds=2)
# Below the safety monitor's. Reader and player take turns in one interpreter: the player must not wait long for its turn.
_PRIORITY = 10
_TURN_S = 0.0005


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """How to play.

    rate: recorded seconds per second. start_s: offset into the recording. clock_hz: /clock from bag time, 0 = the recorded one.
    topics: only these (absolute names); empty = all. without: not these. remap: recorded name -> name on the graph.
    """

    rate: float = 1.0
    start_s: float = 0.0
    loop: bool = False
    clock_hz: float = 0.0
    topics: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    remap: dict[str, str] = field(default_factory=dict)
    paused: bool = False


class Player:
    """Publishes from a thread of its own; services `~/pause`, `~/resume` and `~/step` belong to the executor."""

    def __init__(self, node: Node, bag: Bag, options: PlayOptions, finished: Callable[[], None]) -> None:
        self._node, self._bag, self._options, self._finished = node, bag, options, finished
        self._pace = Pace(options.rate, paused=options.paused)
        self._wake = threading.Condition()
        self._steps = 0
        self._stop = False
        self.skipped: dict[str, str] = {}
        self.played: Counter[str] = Counter()
        self.late_s: list[float] = []
        self._publishers = self._open()
        own = options.clock_hz > 0.0
        self._clock = node.create_publisher(Clock, "/clock", qos(TOPICS["/clock"].profile)) if own else None
        for name, call in (("pause", self.pause), ("resume", self.resume), ("step", self.step)):
            node.create_service(Trigger, f"~/{name}", _answer(call))
        self._thread = threading.Thread(target=self._run, name="player")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, wherever it is."""
        with self._wake:
            self._stop = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def pause(self) -> str:
        with self._wake:
            self._pace.pause(time.monotonic())
            self._wake.notify_all()
        return "paused"

    def resume(self) -> str:
        with self._wake:
            self._pace.resume(time.monotonic())
            self._wake.notify_all()
        return "playing"

    def step(self) -> str:
        """Play one message while paused."""
        with self._wake:
            if not self._pace.paused:
                raise ValueError("not paused: pause first")
            self._steps += 1
            self._wake.notify_all()
        return "one message"

    def _open(self) -> dict[str, Any]:
        opened = {}
        chosen, without = self._options.topics, self._options.without
        for info in self._bag.topics.values():
            if (chosen and info.name not in chosen) or info.name in without:
                continue
            if info.name == "/clock" and self._options.clock_hz > 0.0:
                continue
            kind = installed(info.type)
            if kind is None:
                self.skipped[info.name] = info.type
                continue
            name = self._options.remap.get(info.name, info.name)
            opened[info.name] = self._node.create_publisher(kind, name, profile_of(info.qos))
        return opened

    def _run(self) -> None:
        raise_priority(_PRIORITY, [threading.get_native_id()])
        try:
            while not self._stop:
                self._once()
                if not self._options.loop:
                    break
            for publisher in self._publishers.values():
                # A reliable message that is still on its way would die with this process.
                publisher.wait_for_all_acked(_LAST)
        finally:
            self._finished()

    def _once(self) -> None:
        first_ns, _ = self._bag.span_ns()
        begin_ns = first_ns + int(self._options.start_s * 1e9)
        wanted = set(self._publishers)
        ahead: queue.Queue[Message | None] = queue.Queue(_AHEAD)
        reader = threading.Thread(target=self._read, args=(wanted, begin_ns, ahead), name="reader", daemon=True)
        reader.start()
        with self._wake:
            self._pace.jump(begin_ns, time.monotonic())
        for stamp_ns, message in self._with_clock(begin_ns, iter(ahead.get, None)):
            late_s = self._wait(stamp_ns, message is not None)
            if late_s is None:
                return
            if message is None:
                assert self._clock is not None
                self._clock.publish(Clock(clock=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)))
                continue
            self._publishers[message.topic].publish(message.data)
            self.played[message.topic] += 1
            self.late_s.append(late_s)

    def _read(self, wanted: set[str], begin_ns: int, ahead: "queue.Queue[Message | None]") -> None:
        raise_priority(_PRIORITY, [threading.get_native_id()])
        for message in self._bag.by_stamp(wanted):
            if message.stamp_ns < begin_ns:
                continue
            while True:
                if self._stop:
                    return
                try:
                    ahead.put(message, timeout=0.2)
                    break
                except queue.Full:
                    continue
        ahead.put(None)

    def _with_clock(self, begin_ns: int, messages: Iterator[Message]) -> Iterator[tuple[int, Message | None]]:
        """The messages with the ticks of /clock between them (None); a tick comes before messages of the same stamp."""
        period_ns = int(1e9 / self._options.clock_hz) if self._clock is not None else 0
        tick_ns = begin_ns
        for message in messages:
            while period_ns and tick_ns <= message.stamp_ns:
                yield tick_ns, None
                tick_ns += period_ns
            yield message.stamp_ns, message

    def _wait(self, stamp_ns: int, is_message: bool) -> float | None:
        """Until the stamp is due: how late it is now, s; None = the end was asked for."""
        with self._wake:
            while not self._stop:
                now_s = time.monotonic()
                if self._pace.paused:
                    if self._steps:
                        # The ticks of /clock before the message come with it.
                        self._steps -= is_message
                        self._pace.jump(stamp_ns, now_s)
                        return 0.0
                    self._wake.wait()
                    continue
                left_s = self._pace.due_s(stamp_ns) - now_s
                if left_s <= _EXACT_S:
                    break
                self._wake.wait(left_s - _EXACT_S)
            if self._stop:
                return None
            due_s = self._pace.due_s(stamp_ns)
        left_s = due_s - time.monotonic()
        if left_s > 0.0:
            time.sleep(left_s)
        return time.monotonic() - due_s


def _answer(call: Callable[[], str]) -> Callable[[Any, Any], Any]:
    def handle(request: Any, response: Any) -> Any:
        try:
            response.message, response.success = call(), True
        except ValueError as error:
            response.message, response.success = str(error), False
        return response

    return handle


def play(bag: Bag, options: PlayOptions, name: str = "lumper_player", delay_s: float = 1.0) -> Player:
    """Play until the end or a signal.

    Args:
        delay_s: how long subscribers are given to find the publishers, s.
    """
    sys.setswitchinterval(_TURN_S)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    spinner = Spinner(rclpy.get_default_context())
    node = rclpy.create_node(name)
    spinner.add(node)
    player = Player(node, bag, options, spinner.stop)
    node.create_timer(delay_s, _once_only(player.start))
    try:
        spinner.spin()
    finally:
        player.close()
        spinner.close(node)
        rclpy.try_shutdown()
    return player


def _once_only(call: Callable[[], None]) -> Callable[[], None]:
    done: list[bool] = []

    def run() -> None:
        if not done:
            done.append(True)
            call()

    return run
