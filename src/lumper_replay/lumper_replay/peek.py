"""The head of a serialised CoreSteps message, without making objects of its steps."""

import struct
from typing import NamedTuple

_U32 = struct.Struct("<I")
_TWO = struct.Struct("<QQ")


class Head(NamedTuple):
    """Whose steps, of which life, from which number on."""

    node: str
    life: int
    first_sequence: int


def head(data: bytes) -> Head:
    """Head of a little-endian CDR message.

    Raises:
        ValueError: too short, or of another encoding.
    """
    if len(data) < 8 or data[1] != 1:
        raise ValueError("no little-endian CDR")
    (length,) = _U32.unpack_from(data, 4)
    # CDR aligns to the field's size, counted from behind the four bytes of the encapsulation.
    at = 4 + (4 + length + 7) // 8 * 8
    if at + _TWO.size > len(data):
        raise ValueError("cut short")
    return Head(data[8 : 8 + length - 1].decode(), *_TWO.unpack_from(data, at))
