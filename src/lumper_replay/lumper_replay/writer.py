"""Write rosbag2 MCAP folders: split by size and time; what was flushed stays readable when the process is killed or the disk full."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from mcap.writer import CompressionType, Writer

from lumper_replay import definitions, metadata

LIBRARY = "lumper_replay"
_CHUNK_BYTES = 1024 * 1024
_COMPRESSIONS = {"none": CompressionType.NONE, "lz4": CompressionType.LZ4}


class BagError(ValueError):
    """A bag cannot be written or read at all; the text names it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a new file is begun. 0 bytes or 0 s cannot be asked for: a limit always exists.

    file_bytes: size of one file. file_s: span of receive stamps in one file, s.
    """

    file_bytes: int = 2 * 2**30
    file_s: float = 600.0


class _File:
    """The file being written."""

    def __init__(self, path: Path, compression: CompressionType) -> None:
        self.stream: BinaryIO = path.open("xb")
        self.entry = metadata.FileEntry(path.name)
        self.channels: dict[str, int] = {}
        self.good = 0  # all before this offset is whole
        self.pending = 0
        self.writer = Writer(self.stream, chunk_size=_CHUNK_BYTES, compression=compression)
        self.writer.start(profile="ros2", library=LIBRARY)


class BagWriter:
    """A bag folder. Stamps are receive times in ns.

    Raises:
        BagError: the folder exists already, or an unknown compression.
        OSError: from any method, when the disk does not take it; the bag is then closed, and readable up to there.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        compression: str = "none",
        custom: dict[str, str] | None = None,
    ) -> None:
        if compression not in _COMPRESSIONS:
            raise BagError(f"compression {compression!r}: must be one of {', '.join(_COMPRESSIONS)}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            raise BagError(f"{folder} exists already; a bag is never written over") from error
        self.folder = folder
        self._limits = limits or Limits()
        self._compression = _COMPRESSIONS[compression]
        self._meta = metadata.Metadata("mcap", custom=dict(custom or {}), distro=os.environ.get("ROS_DISTRO", ""))
        self._topics: dict[str, metadata.TopicEntry] = {}
        self._texts: dict[str, str] = {}
        self._file: _File | None = None
        self.closed = False
        self.describe()

    @property
    def custom(self) -> dict[str, str]:
        """metadata.yaml's custom_data; written with the next split and at the end, or by `describe`."""
        return self._meta.custom

    @property
    def messages(self) -> int:
        """Messages written."""
        return sum(topic.count for topic in self._topics.values())

    def add_topic(
        self, name: str, type_name: str, qos: list[dict[str, Any]], text: str = "", type_hash: str = ""
    ) -> None:
        """Declare a topic before its first message.

        Args:
            text: its message definition; empty = that of the installed type.

        Raises:
            UnknownTypeError: no text was given and the type is not installed.
        """
        if name in self._topics:
            return
        self._texts[type_name] = text or definitions.definition(type_name)
        entry = metadata.TopicEntry(name, type_name, type_hash or _hash(type_name), qos)
        self._topics[name] = entry
        self._meta.topics.append(entry)

    def write(self, topic: str, stamp_ns: int, data: bytes, publish_ns: int = 0) -> None:
        """Append a message."""
        file = self._file
        if file is None or self._full(file, stamp_ns, len(data)):
            file = self._next()
        try:
            channel = file.channels.get(topic)
            if channel is None:
                channel = self._channel(file, topic)
            file.writer.add_message(channel, stamp_ns, data, publish_ns or stamp_ns)
        except OSError:
            self._abandon()
            raise
        entry = file.entry
        if entry.count == 0:
            entry.start_ns = entry.end_ns = stamp_ns
        entry.start_ns, entry.end_ns = min(entry.start_ns, stamp_ns), max(entry.end_ns, stamp_ns)
        entry.count += 1
        file.pending += len(data)
        self._topics[topic].count += 1

    def flush(self) -> None:
        """What was written so far survives the death of this process."""
        file = self._file
        if file is None or not file.pending:
            return
        try:
            file.writer.flush()
        except OSError:
            self._abandon()
            raise
        file.good, file.pending = file.stream.tell(), 0

    def describe(self) -> None:
        """Bring metadata.yaml up to date."""
        fresh = self.folder / f".{metadata.FILE}"
        fresh.write_text(self._meta.text())
        fresh.replace(self.folder / metadata.FILE)

    def close(self) -> None:
        """Finish the file with its summary, and metadata.yaml. Does nothing the second time."""
        if self.closed:
            return
        self.closed = True
        try:
            self._finish()
            self.describe()
        except OSError:
            self._abandon()
            raise

    def _full(self, file: _File, stamp_ns: int, size: int) -> bool:
        if not file.entry.count:
            return False
        span_s = (stamp_ns - file.entry.start_ns) * 1e-9
        return file.good + file.pending + size > self._limits.file_bytes or span_s > self._limits.file_s

    def _next(self) -> _File:
        if self.closed:
            raise BagError(f"{self.folder} is closed")
        try:
            self._finish()
            name = f"{self.folder.name}_{len(self._meta.files)}.mcap"
            self._file = _File(self.folder / name, self._compression)
            self._meta.files.append(self._file.entry)
            self.describe()
        except OSError:
            self._abandon()
            raise
        return self._file

    def _channel(self, file: _File, topic: str) -> int:
        entry = self._topics[topic]
        schema = file.writer.register_schema(entry.type, "ros2msg", self._texts[entry.type].encode())
        about = {
            "offered_qos_profiles": yaml.safe_dump(entry.qos) if entry.qos else "",
            "topic_type_hash": entry.type_hash,
        }
        channel = file.channels[topic] = file.writer.register_channel(topic, "cdr", schema, about)
        return channel

    def _finish(self) -> None:
        """End the current file with its summary."""
        file = self._file
        if file is None:
            return
        self.flush()
        if self._file is None:
            return
        inside = yaml.safe_dump(self._meta.information(), sort_keys=False)
        file.writer.add_metadata("rosbag2", {"serialized_metadata": inside})
        file.writer.finish()
        file.stream.close()
        self._file = None

    def _abandon(self) -> None:
        """The disk takes no more: cut the file after its last whole chunk and let go."""
        self.closed = True
        file, self._file = self._file, None
        if file is None:
            return
        try:
            os.ftruncate(file.stream.fileno(), file.good)
            file.stream.close()
        except OSError:
            # Closing a buffered file writes what is left in it; the descriptor is gone in either case.
            return


def _hash(type_name: str) -> str:
    try:
        return definitions.type_hash(type_name)
    except definitions.UnknownTypeError:
        return ""
