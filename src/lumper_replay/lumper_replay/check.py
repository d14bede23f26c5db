"""Decide again: every life of every deciding node of a recording, each node in a process of its own, as fast as they go."""

import gc
import hashlib
import multiprocessing
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lumper_msgs.msg import CoreStep
from rclpy.serialization import deserialize_message

from lumper_replay import steps
from lumper_replay.cores import NODES
from lumper_replay.differ import Verdict
from lumper_replay.names import Names
from lumper_replay.peek import Head, head
from lumper_replay.reader import Bag, Message, open_bag
from lumper_replay.redo import Redo, Tally, topic_class
from lumper_replay.steps import Step
from lumper_ros import canonical, interfaces, journal

# How much of a topic's past is kept for steps that refer to it, bytes.
_KEPT_BYTES = 256 * 2**20
# A large message reaches the recording at about the time the step does; after so much receive time it is lost, ns.
_WAIT_NS = 3_000_000_000
_SHARED = 4096
_COLLECT_EVERY = 20_000


@dataclass(slots=True)
class Checked:
    """What came of a recording.

    span_s: of the receive stamps; spent_s: wall time of deciding again.
    software: fingerprints of then and now differ in these packages.
    """

    bag: str
    tallies: list[Tally] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unknown: dict[str, tuple[str, int]] = field(default_factory=dict)
    span_s: float = 0.0
    spent_s: float = 0.0
    hash: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    changed_software: list[str] = field(default_factory=list)

    def count(self, verdict: Verdict) -> int:
        return sum(tally.count(verdict) for tally in self.tallies)

    def total(self) -> int:
        return sum(tally.total() for tally in self.tallies)

    @property
    def undecided(self) -> int:
        """Steps that could not be decided again."""
        return sum(tally.undecided_steps for tally in self.tallies)

    @property
    def speed(self) -> float:
        """Recorded seconds decided again per second."""
        return self.span_s / self.spent_s if self.spent_s else 0.0

    def first(self) -> Any:
        """The first divergence in ROS time that is more than a tolerance; None = there is none."""
        found = [entry for tally in self.tallies for entry in tally.divergences if entry.verdict is Verdict.DIFFERENT]
        return min(found, key=lambda entry: entry.ros_s, default=None)


class _Window:
    """The latest messages of some topics by what refers to them. They are looked at only when one is asked for."""

    def __init__(self, key: Callable[[Any], int], decode: Callable[[str, bytes, Any], Any | None]) -> None:
        self._key, self._decode = key, decode
        self._raw: deque[tuple[str, bytes]] = deque()
        self._kept: OrderedDict[tuple[str, int], tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def add(self, topic: str, data: bytes) -> None:
        self._raw.append((topic, data))
        self._bytes += len(data)
        while self._bytes > _KEPT_BYTES:
            if self._kept:
                self._bytes -= self._kept.popitem(last=False)[1][1]
            else:
                self._bytes -= len(self._raw.popleft()[1])

    def find(self, topic: str, key: int) -> Any | None:
        """The message, or None."""
        while self._raw and (topic, key) not in self._kept:
            name, data = self._raw.popleft()
            message = self._decode(name, data, topic_class(name))
            if message is None:
                self._bytes -= len(data)
                continue
            self._kept[name, self._key(message)] = (message, len(data))
        found = self._kept.get((topic, key))
        return None if found is None else found[0]


class _Decoder:
    """Messages from their bytes. What several nodes were given, such as transforms, is made once and shared, as in one process."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, bytes], Any] = OrderedDict()

    def __call__(self, name: str, data: bytes) -> Any:
        key = (name, data)
        message = self._made.get(key)
        if message is None:
            message = self._made[key] = deserialize_message(data, topic_class(name))
            if len(self._made) > _SHARED:
                self._made.popitem(last=False)
        return message


class _Node:
    """Gathers one node's steps from the bag and feeds them to its lives."""

    def __init__(self, node: str, changes: Mapping[str, Any], key_file: str, decode: _Decoder, bag: Bag) -> None:
        self.tally = Tally(node)
        self._decode = decode
        self._node, self._changes, self._key_file = node, changes, key_file
        self._outputs = _Window(lambda message: journal.digest(canonical.encode(message)), bag.decoded)
        self._inputs = _Window(journal.reference, bag.decoded)
        self._redo: Redo | None = None
        self._life = 0
        self._expected = 0
        self._waiting: deque[tuple[Step, int]] = deque()
        self._hash = hashlib.blake2b(digest_size=16)
        self.software: dict[str, str] = {}

    def topics(self) -> set[str]:
        """Names of the table that this node's check needs."""
        named = {topic.name for topic in interfaces.published_by(self._node)} - {"events", "/diagnostics"}
        return named | {topic.name for topic in interfaces.subscribed_by(self._node)} | {journal.TOPIC}

    def take(self, name: str, message: Message) -> None:
        if self._node in interfaces.TOPICS[name].publishers:
            self._outputs.add(name, message.data)
        if len(message.data) > journal.EMBEDDED_BYTES:
            self._inputs.add(name, message.data)

    def batch(self, batch: Head, steps: list[Step], stamp_ns: int) -> None:
        """Consecutive steps of this node. They wait for the next ones: what they published may follow them in the file."""
        self._drain(stamp_ns)
        if batch.life != self._life:
            self.end()
            self._life, self._expected = batch.life, 0
            self.tally.lives += 1
            self._redo = Redo(
                self._node,
                self.tally.lives,
                self.tally,
                self._outputs.find,
                self._decode,
                self._changes,
                self._key_file,
            )
        assert self._redo is not None
        if batch.first_sequence + len(steps) <= self._expected:
            return  # recorded twice
        missing = batch.first_sequence - self._expected
        if missing > 0 and not self._redo.broken:
            where = "its beginning" if self._expected == 0 else f"steps {self._expected} to {batch.first_sequence - 1}"
            self._redo.broken = (
                f"{self._node}, life {self.tally.lives}: {where} is not in the recording ({missing} steps)"
            )
            self.tally.faults.append(f"{self._redo.broken}; this life is decided again only up to there")
        self._expected = batch.first_sequence + len(steps)
        self._waiting.extend((step, stamp_ns) for step in steps)

    def _drain(self, stamp_ns: int | None) -> None:
        """Feed the steps whose messages are there; `stamp_ns` None = nothing more comes."""
        redo = self._redo
        while self._waiting and redo is not None:
            step, since_ns = self._waiting[0]
            large = None
            if step.kind == CoreStep.MESSAGE and not step.present:
                large = self._inputs.find(step.name, step.digest)
                if large is None and stamp_ns is not None and stamp_ns - since_ns < _WAIT_NS:
                    return
            self._waiting.popleft()
            broken = redo.broken
            redo.take(step, large)
            if redo.broken and not broken:
                self.tally.faults.append(f"{self._node}, life {self.tally.lives}: {redo.broken}")

    def end(self) -> None:
        """The life that is being fed is over."""
        self._drain(None)
        if self._redo is not None:
            self.software = self._redo.software or self.software
            self._hash.update(self._redo.close().encode())
            self._redo = None
        self.tally.hash = self._hash.hexdigest()


Part = tuple[Tally, dict[str, str]]


def check_nodes(
    path: str, nodes: Sequence[str], changes: Mapping[tuple[str, str], Any], key_file: str
) -> tuple[list[Part], list[str]]:
    """Decide some nodes' parts again in this process: (tally, recorded fingerprints) of each, faults of the bag."""
    bag = open_bag(Path(path))
    names = Names(bag)
    decode = _Decoder()
    feeders = {
        node: _Node(
            node, {name: value for (owner, name), value in changes.items() if owner == node}, key_file, decode, bag
        )
        for node in nodes
    }
    topics = {node: feeder.topics() for node, feeder in feeders.items()}
    wanted = {absolute for absolute, name in names.known.items() if any(name in each for each in topics.values())}
    damaged = 0
    # What the cores keep grows slowly; looking for cycles among it all the time costs more than it frees.
    gc.disable()
    for number, message in enumerate(bag.messages(wanted)):
        name = names.known[message.topic]
        if name == journal.TOPIC:
            try:
                owner = head(message.data).node
                if owner in feeders:
                    feeders[owner].batch(*steps.batch(message.data), message.stamp_ns)
            except ValueError:
                damaged += 1
            continue
        for node, feeder in feeders.items():
            if name in topics[node]:
                feeder.take(name, message)
        if number % _COLLECT_EVERY == 0:
            gc.collect(1)
    gc.enable()
    parts = []
    for feeder in feeders.values():
        feeder.end()
        feeder.tally.decisions = dict(feeder.tally.decisions)
        parts.append((feeder.tally, feeder.software))
    faults = bag.faults_now() + ([f"{damaged} messages on {journal.TOPIC} are damaged"] if damaged else [])
    return parts, faults


def check(
    path: Path, changes: Mapping[tuple[str, str], Any] | None = None, key_file: str = "", processes: int = 0
) -> Checked:
    """Decide a recording again.

    Args:
        changes: parameters that are to differ: (node, parameter) -> value.
        processes: how many at once; 0 = as many as there are cores.

    Raises:
        BagError: there is nothing readable, or it holds no journal.
    """
    bag = open_bag(path)
    result = Checked(str(path), changes={f"{node}.{name}": value for (node, name), value in (changes or {}).items()})
    result.unknown = unknown_types(bag)
    first_ns, last_ns = bag.span_ns()
    result.span_s = (last_ns - first_ns) * 1e-9
    begun_s = time.monotonic()
    processes = min(processes or os.cpu_count() or 1, len(NODES))
    groups = [NODES[number::processes] for number in range(processes)]
    jobs = [(str(path), group, dict(changes or {}), key_file) for group in groups]
    if processes == 1:
        done = [check_nodes(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            done = list(pool.map(check_nodes, *zip(*jobs, strict=True)))
    result.spent_s = time.monotonic() - begun_s
    total = hashlib.blake2b(digest_size=16)
    then: dict[str, str] = {}
    for _, faults in done:
        result.faults += faults
    parts = {tally.node: (tally, software) for part, _ in done for tally, software in part}
    for node in NODES:
        tally, software = parts[node]
        result.tallies.append(tally)
        then |= software
        total.update(tally.hash.encode())
    result.hash = total.hexdigest()
    result.faults = list(dict.fromkeys([*bag.faults_now(), *result.faults, *Names(bag).faults]))
    now = journal.software(*then)
    result.changed_software = sorted(name for name in then if now.get(name) != then[name])
    return result


def has_journal(bag: Bag) -> bool:
    """Whether the nodes' journals are in a recording."""
    topics = {absolute for absolute, name in Names(bag).known.items() if name == journal.TOPIC}
    return any(True for _ in bag.messages(topics)) if topics else False


def unknown_types(bag: Bag) -> dict[str, tuple[str, int]]:
    """Topics whose type is not installed: topic -> (type, messages in the recording by its metadata; -1 = not told)."""
    from lumper_replay.reader import installed

    told = {} if bag.meta is None else {entry.name: entry.count for entry in bag.meta.topics}
    return {
        topic.name: (topic.type, told.get(topic.name, -1))
        for topic in bag.topics.values()
        if installed(topic.type) is None
    }
