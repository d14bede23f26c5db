"""Open any rosbag2 recording, MCAP or sqlite3, whole or damaged: what can be used is used, what cannot is named."""

import heapq
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rclpy.serialization import deserialize_message

from lumper_replay import metadata
from lumper_replay.mcap_read import McapFile
from lumper_replay.metadata import Metadata, MetadataError
from lumper_replay.sqlite_read import SqliteFile
from lumper_replay.writer import BagError
from lumper_ros.interfaces import resolve_type

_SUFFIXES = {".mcap": "mcap", ".db3": "sqlite3"}


class Message(NamedTuple):
    """One recorded message; stamps in ns."""

    topic: str
    stamp_ns: int
    data: bytes
    publish_ns: int


@dataclass(slots=True)
class TopicInfo:
    """What the bag says of a topic. `text`: message definition, empty = not in the bag."""

    name: str
    type: str
    qos: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    type_hash: str = ""
    serialization: str = "cdr"


@dataclass(slots=True)
class Bag:
    """A recording.

    faults: what is wrong with it; more may come while messages are read.
    meta: metadata.yaml; None = missing or damaged.
    """

    path: Path
    meta: Metadata | None
    faults: list[str]
    files: list[McapFile | SqliteFile]
    topics: dict[str, TopicInfo]
    backwards: int = 0
    undecoded: Counter[str] = field(default_factory=Counter)

    def decoded(self, topic: str, data: bytes, kind: Any) -> Any | None:
        """A message of class `kind` from its bytes; None, and counted, where they are none."""
        try:
            return deserialize_message(data, kind)
        except RuntimeError:
            self.undecoded[topic] += 1
            return None

    @property
    def custom(self) -> dict[str, str]:
        """metadata.yaml's custom_data."""
        return {} if self.meta is None else self.meta.custom

    def faults_now(self) -> list[str]:
        """All that was found so far, each once."""
        own = [fault for file in self.files for fault in file.faults]
        if self.backwards:
            own.append(
                f"{self.path.name}: {self.backwards} receive stamps run backwards; messages are taken in file order"
            )
        own += [
            f"{count} messages on {topic} are damaged; they are left out" for topic, count in self.undecoded.items()
        ]
        return list(dict.fromkeys([*self.faults, *own]))

    def span_ns(self) -> tuple[int, int]:
        """First and last receive stamp."""
        starts, ends = [], []
        for file in self.files:
            if isinstance(file, McapFile):
                starts += [block.start_ns for block in file.blocks]
                ends += [block.end_ns for block in file.blocks]
            elif file.topics:
                starts.append(file.start_ns)
                ends.append(file.end_ns)
        return (min(starts), max(ends)) if starts else (0, 0)

    def counts(self) -> Counter[str]:
        """Messages by topic; reads the whole recording."""
        return Counter(message.topic for message in self.messages())

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """Messages in file order."""
        self.backwards = 0
        newest = 0
        for message in itertools.chain.from_iterable(_of_file(file, self.topics) for file in self.files):
            self.backwards += message.stamp_ns < newest
            newest = max(newest, message.stamp_ns)
            if topics is None or message.topic in topics:
                yield message

    def by_stamp(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """Messages by receive stamp; equal stamps stay in file order."""
        with ExitStack() as stack:
            blocks = [part for file in self.files for part in _parts(file, self.topics, stack)]
            order = itertools.count()
            heap: list[tuple[int, int, Message]] = []
            later = list(itertools.accumulate((start for start, _ in reversed(blocks)), min))[::-1]
            for number, (_, read) in enumerate(blocks):
                for message in read():
                    if topics is None or message.topic in topics:
                        heapq.heappush(heap, (message.stamp_ns, next(order), message))
                while heap and (number + 1 == len(blocks) or heap[0][0] < later[number + 1]):
                    yield heapq.heappop(heap)[2]


def _parts(
    file: McapFile | SqliteFile, topics: dict[str, TopicInfo], stack: ExitStack
) -> Iterator[tuple[int, Callable[[], Iterator[Message]]]]:
    """Pieces of a file in file order: first stamp in ns, and how to read it."""
    if isinstance(file, SqliteFile):
        yield file.start_ns, partial(_of_file, file, topics)
        return
    stream = stack.enter_context(file.path.open("rb"))
    for block in file.blocks:
        yield block.start_ns, partial(_of_block, file, stream, block, topics)


def _of_block(file: McapFile, stream: Any, block: Any, topics: dict[str, TopicInfo]) -> Iterator[Message]:
    for ident, stamp_ns, publish_ns, data in file.read(stream, block):
        channel = file.channels.get(ident)
        if channel is None:
            continue
        if channel.topic not in topics:
            _learn(file, topics)
        yield Message(channel.topic, stamp_ns, data, publish_ns)


def _of_file(file: McapFile | SqliteFile, topics: dict[str, TopicInfo]) -> Iterator[Message]:
    if isinstance(file, McapFile):
        with file.path.open("rb") as stream:
            for block in file.blocks:
                yield from _of_block(file, stream, block, topics)
        return
    for ident, stamp_ns, data in file.read():
        if ident in file.topics:
            yield Message(file.topics[ident].name, stamp_ns, data, stamp_ns)


def _learn(file: McapFile | SqliteFile, topics: dict[str, TopicInfo]) -> None:
    """Topics that a file declares."""
    if isinstance(file, McapFile):
        for channel in file.channels.values():
            if channel.topic not in topics:
                topics[channel.topic] = TopicInfo(
                    channel.topic,
                    channel.type,
                    metadata.parse_qos(channel.about.get("offered_qos_profiles")),
                    channel.text if channel.text_encoding == "ros2msg" else "",
                    channel.about.get("topic_type_hash", ""),
                    channel.encoding,
                )
        return
    for entry in file.topics.values():
        topics.setdefault(
            entry.name, TopicInfo(entry.name, entry.type, entry.qos, file.texts.get(entry.type, ""), entry.type_hash)
        )


def open_bag(path: Path) -> Bag:
    """Open a rosbag2 folder, or one of its files.

    Raises:
        BagError: there is nothing readable; the text names what was looked for.
    """
    if not path.exists():
        raise BagError(f"{path} is not there")
    meta, faults = None, []
    if path.is_file():
        files = [path]
        if path.suffix not in _SUFFIXES:
            raise BagError(f"{path.name} is neither .mcap nor .db3")
    else:
        try:
            meta = metadata.load(path)
        except MetadataError as error:
            faults.append(f"{error}; the files of the folder are used")
        files = _listed(path, meta, faults)
    if not files:
        raise BagError(f"{path} holds no .mcap and no .db3 file")
    opened: list[McapFile | SqliteFile] = []
    topics: dict[str, TopicInfo] = {}
    for file in files:
        plain = _plain(file, faults)
        if plain is None:
            continue
        made: McapFile | SqliteFile
        if plain.suffix == ".db3":
            made = SqliteFile(plain)
        else:
            made = McapFile(plain)
            made.scan()
            _first_channels(made)
        opened.append(made)
        _learn(made, topics)
    return Bag(path, meta, faults, opened, topics)


def _listed(folder: Path, meta: Metadata | None, faults: list[str]) -> list[Path]:
    found = sorted(
        (path for path in folder.iterdir() if path.suffix in _SUFFIXES or path.suffix == ".zstd"), key=_number
    )
    if meta is None:
        return found
    named = [folder / entry.path for entry in meta.files]
    missing = [path.name for path in named if not path.is_file()]
    faults += [f"{name} is named by metadata.yaml and not there" for name in missing]
    # Older versions of rosbag2 name files relative to the folder's parent.
    unnamed = [path for path in found if path.name not in {Path(entry.path).name for entry in meta.files}]
    faults += [f"{path.name} is not named by metadata.yaml; it is used" for path in unnamed]
    known = {Path(entry.path).name for entry in meta.files}
    return [path for path in found if path.name in known] + unnamed


def _number(path: Path) -> tuple[int, str]:
    tail = path.name.split(".")[0].rsplit("_", 1)[-1]
    return (int(tail) if tail.isdigit() else 0, path.name)


def _plain(path: Path, faults: list[str]) -> Path | None:
    """The file itself, or its decompressed copy in the temporary folder."""
    if path.suffix != ".zstd":
        return path
    from backports import zstd

    target = Path(tempfile.mkdtemp(prefix="lumper_replay_")) / path.stem
    try:
        with zstd.open(path, "rb") as source, target.open("wb") as out:
            while block := source.read(1 << 20):
                out.write(block)
    except (zstd.ZstdError, EOFError, OSError) as error:
        faults.append(f"{path.name}: cannot be unpacked ({error}); it is left out")
        return None
    return target


def _first_channels(file: McapFile) -> None:
    """Topics are declared inside of chunks: read until the summary, or the file without one, has told them."""
    if file.channels and file.complete:
        return
    with file.path.open("rb") as stream:
        for block in file.blocks:
            for _ in file.read(stream, block):
                pass


def installed(type_name: str) -> Any | None:
    """The message class of a type, or None when it is not installed."""
    try:
        return resolve_type(type_name)
    except (ModuleNotFoundError, AttributeError, ValueError):
        return None
