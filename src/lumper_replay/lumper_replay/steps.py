"""Read serialised CoreSteps at speed: the messages of rclpy cost more here than the decisions themselves."""

import struct
from dataclasses import dataclass, field

from lumper_replay.peek import Head, head

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_CLOCKS = struct.Struct("<ddd")


@dataclass(slots=True)
class Effect:
    """As lumper_msgs/CoreEffect."""

    kind: int
    name: str
    id: str
    status: str
    digest: int
    data: bytes


@dataclass(slots=True)
class Step:
    """As lumper_msgs/CoreStep."""

    kind: int
    name: str
    id: str
    status: str
    ros_s: float
    steady_s: float
    system_s: float
    present: bool
    digest: int
    data: bytes
    effects: list[Effect] = field(default_factory=list)


class _Cursor:
    """Walks through CDR. `base`: where alignment is counted from."""

    __slots__ = ("at", "base", "data")

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at, self.base = data, at, 4

    def align(self, size: int) -> int:
        return self.at + (self.base - self.at) % size

    def u32(self) -> int:
        at = self.align(4)
        self.at = at + 4
        return int(_U32.unpack_from(self.data, at)[0])

    def u64(self) -> int:
        at = self.align(8)
        self.at = at + 8
        return int(_U64.unpack_from(self.data, at)[0])

    def u8(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def block(self) -> bytes:
        length = self.u32()
        at, self.at = self.at, self.at + length
        if self.at > len(self.data):
            raise ValueError("cut short")
        return self.data[at : self.at]

    def text(self) -> str:
        return self.block()[:-1].decode()


def _effect(cursor: _Cursor) -> Effect:
    kind = cursor.u8()
    name, ident, status = cursor.text(), cursor.text(), cursor.text()
    return Effect(kind, name, ident, status, cursor.u64(), cursor.block())


def _step(cursor: _Cursor) -> Step:
    kind = cursor.u8()
    name, ident, status = cursor.text(), cursor.text(), cursor.text()
    at = cursor.align(8)
    ros_s, steady_s, system_s = _CLOCKS.unpack_from(cursor.data, at)
    cursor.at = at + 24
    present = cursor.u8() != 0
    digest, data = cursor.u64(), cursor.block()
    made = Step(kind, name, ident, status, ros_s, steady_s, system_s, present, digest, data)
    count = cursor.u32()
    if count:
        made.effects = [_effect(cursor) for _ in range(count)]
    return made


def batch(data: bytes) -> tuple[Head, list[Step]]:
    """All steps of a message.

    Raises:
        ValueError: cut short, or of another encoding.
    """
    about = head(data)
    length = _U32.unpack_from(data, 4)[0]
    cursor = _Cursor(data, 4 + (4 + length + 7) // 8 * 8 + 16)
    try:
        return about, [_step(cursor) for _ in range(cursor.u32())]
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("cut short") from error
