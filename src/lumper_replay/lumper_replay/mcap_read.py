"""Read MCAP files that may be damaged: each fault is named, whole chunks are used, the others are left out."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END, _FOOTER = 0x03, 0x04, 0x05, 0x06, 0x0F, 0x02
_METADATA = 0x0C
_HEAD = struct.Struct("<BQ")
_MESSAGE_HEAD = struct.Struct("<HIQQ")
_CHUNK_HEAD = struct.Struct("<QQQI")
_U16, _U32 = struct.Struct("<H"), struct.Struct("<I")
_LARGEST_RECORD = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic of the file. `encoding`: of the messages (cdr); `text`: the message definition, `text_encoding`: ros2msg, ros2idl."""

    topic: str
    type: str
    encoding: str
    text: str
    text_encoding: str
    about: dict[str, str]


@dataclass(slots=True)
class _Block:
    """A chunk, or messages outside of chunks: where it is and which receive stamps it spans, ns."""

    offset: int
    size: int
    start_ns: int
    end_ns: int
    chunk: bool


@dataclass(slots=True)
class McapFile:
    """A scanned file.

    faults: what is damaged, each a sentence that names the file and the place.
    """

    path: Path
    faults: list[str] = field(default_factory=list)
    channels: dict[int, Channel] = field(default_factory=dict)
    blocks: list[_Block] = field(default_factory=list)
    complete: bool = False
    _schemas: dict[int, tuple[str, str, str]] = field(default_factory=dict)

    def scan(self) -> None:
        """Find the blocks, and the topics that are declared outside of them."""
        size = self.path.stat().st_size
        with self.path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                self.faults.append(f"{self.path.name}: does not begin as an MCAP file does; it is left out")
                return
            while True:
                offset = stream.tell()
                head = stream.read(_HEAD.size)
                if len(head) < _HEAD.size:
                    self._cut(offset, size)
                    return
                opcode, length = _HEAD.unpack(head)
                if length > _LARGEST_RECORD or stream.tell() + length > size:
                    self._cut(offset, size)
                    return
                if opcode == _FOOTER:
                    self.complete = True
                    return
                try:
                    self._note(stream, opcode, offset, length)
                except struct.error:
                    self.faults.append(f"{self.path.name}: a damaged record at byte {offset}")
                stream.seek(offset + _HEAD.size + length)

    def _cut(self, offset: int, size: int) -> None:
        lost = size - offset
        if lost:
            text = f"{self.path.name}: cut or damaged at byte {offset}; the last {lost} bytes are left out"
        else:
            text = f"{self.path.name}: has no end record: its writer was killed; all that was flushed is used"
        self.faults.append(text)

    def _note(self, stream: BinaryIO, opcode: int, offset: int, length: int) -> None:
        if opcode == _CHUNK:
            start_ns, end_ns, _, _ = _CHUNK_HEAD.unpack(stream.read(_CHUNK_HEAD.size))
            self.blocks.append(_Block(offset, _HEAD.size + length, start_ns, end_ns, True))
        elif opcode == _MESSAGE:
            _, _, log_ns, _ = _MESSAGE_HEAD.unpack(stream.read(_MESSAGE_HEAD.size))
            self.blocks.append(_Block(offset, _HEAD.size + length, log_ns, log_ns, False))
        elif opcode in (_SCHEMA, _CHANNEL) and not self.complete:
            self._declare(opcode, stream.read(length))

    def _declare(self, opcode: int, data: bytes) -> None:
        try:
            if opcode == _SCHEMA:
                (ident,) = _U16.unpack_from(data)
                name, at = _string(data, 2)
                encoding, at = _string(data, at)
                text, _ = _string(data, at)
                self._schemas[ident] = (name, encoding, text)
            else:
                ident, schema = _U16.unpack_from(data)[0], _U16.unpack_from(data, 2)[0]
                topic, at = _string(data, 4)
                encoding, at = _string(data, at)
                about = _map(data, at)
                name, text_encoding, text = self._schemas.get(schema, ("", "", ""))
                self.channels[ident] = Channel(topic, name, encoding, text, text_encoding, about)
        except (struct.error, UnicodeDecodeError, IndexError):
            self.faults.append(f"{self.path.name}: a damaged {'schema' if opcode == _SCHEMA else 'channel'} record")

    def read(self, stream: BinaryIO, block: _Block) -> Iterator[tuple[int, int, int, bytes]]:
        """Messages of a block in file order: (channel id, receive stamp in ns, publish stamp in ns, data)."""
        stream.seek(block.offset)
        raw = stream.read(block.size)
        body = memoryview(raw)[_HEAD.size :]
        if not block.chunk:
            ident, _, log_ns, publish_ns = _MESSAGE_HEAD.unpack_from(body)
            yield ident, log_ns, publish_ns, bytes(body[_MESSAGE_HEAD.size :])
            return
        records = self._unpack(body, block)
        at, end = 0, len(records)
        while at + _HEAD.size <= end:
            opcode, length = _HEAD.unpack_from(records, at)
            at += _HEAD.size
            if at + length > end or (opcode == _MESSAGE and length < _MESSAGE_HEAD.size):
                self.faults.append(
                    f"{self.path.name}: the chunk at byte {block.offset} ends inside a record or is damaged"
                )
                return
            if opcode == _MESSAGE:
                ident, _, log_ns, publish_ns = _MESSAGE_HEAD.unpack_from(records, at)
                yield ident, log_ns, publish_ns, bytes(records[at + _MESSAGE_HEAD.size : at + length])
            elif opcode in (_SCHEMA, _CHANNEL):
                self._declare(opcode, bytes(records[at : at + length]))
            at += length

    def _unpack(self, body: memoryview, block: _Block) -> memoryview:
        """Records of a chunk; empty when it is damaged."""
        try:
            _, _, size, crc = _CHUNK_HEAD.unpack_from(body)
            compression, at = _string(body, _CHUNK_HEAD.size)
            (packed,) = struct.unpack_from("<Q", body, at)
            data: Any = body[at + 8 : at + 8 + packed]
            records = memoryview(_decompress(compression, data, size))
        except (ValueError, RuntimeError, struct.error, IndexError, ImportError, EOFError, OverflowError) as error:
            self.faults.append(f"{self.path.name}: the chunk at byte {block.offset} cannot be unpacked ({error})")
            return memoryview(b"")
        if crc and zlib.crc32(records) != crc:
            self.faults.append(
                f"{self.path.name}: the chunk at byte {block.offset} has a wrong CRC; its messages are left out"
            )
            return memoryview(b"")
        return records


def _decompress(compression: str, data: memoryview, size: int) -> Any:
    if compression == "":
        return data
    if compression == "lz4":
        import lz4.frame

        return lz4.frame.decompress(data)
    if compression == "zstd":
        from backports import zstd

        return zstd.decompress(data)
    raise ValueError(f"compression {compression!r} is unknown; {size} bytes")


def _string(data: Any, at: int) -> tuple[str, int]:
    (length,) = _U32.unpack_from(data, at)
    end = at + 4 + length
    if end > len(data):
        raise IndexError
    return bytes(data[at + 4 : end]).decode(), end


def _map(data: bytes, at: int) -> dict[str, str]:
    (length,) = _U32.unpack_from(data, at)
    at, end, found = at + 4, at + 4 + length, {}
    while at < end:
        key, at = _string(data, at)
        found[key], at = _string(data, at)
    return found
