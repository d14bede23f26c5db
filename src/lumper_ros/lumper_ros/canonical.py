"""Messages as bytes that depend on nothing but their values: CDR leaves the gaps between fields to chance.

Numbers are packed as the fields' types say (float32 rounded as on the wire), strings and sequences follow with their lengths.
"""

import re
import struct
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

_CODES = {
    "boolean": "?", "octet": "c", "byte": "c", "char": "B", "float": "f", "double": "d", "int8": "b", "uint8": "B",
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
}  # fmt: skip
_MANY = re.compile(r"sequence<(.+?)(?:, \d+)?>$|(.+)\[\d+\]$")
_LENGTH = struct.Struct("<I")

Encode = Callable[[Any], bytes]


def encode(message: Any) -> bytes:
    """Bytes of any ROS message, equal exactly when all fields would be equal after a trip over the wire."""
    kind: Any = type(message)
    return _encoder(kind)(message)


def _text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _LENGTH.pack(len(data)) + data


def _numbers(code: str) -> Encode:
    def pack(values: Any) -> bytes:
        if hasattr(values, "tobytes"):
            return _LENGTH.pack(len(values)) + bytes(values.tobytes())
        return struct.pack(f"<I{len(values)}{code}", len(values), *values)

    return pack


def _one(kind: str) -> Encode:
    if kind.startswith(("string", "wstring")):
        return _text
    from lumper_ros.interfaces import resolve_type

    package, name = kind.split("/")
    return _encoder(resolve_type(f"{package}/msg/{name}"))


def _field(kind: str) -> Encode:
    """Encoder of a field that is no single number."""
    many = _MANY.match(kind)
    if many is None:
        return _one(kind)
    inner = many[1] or many[2]
    if inner in _CODES:
        return _numbers(_CODES[inner])
    one = _one(inner)
    return lambda values: _LENGTH.pack(len(values)) + b"".join([one(value) for value in values])


@cache
def _encoder(kind: Any) -> Encode:
    fields = kind.get_fields_and_field_types()
    plain = [name for name, what in fields.items() if what in _CODES]
    other = [(attrgetter(f"_{name}"), _field(what)) for name, what in fields.items() if what not in _CODES]
    packer = struct.Struct("<" + "".join(_CODES[fields[name]] for name in plain))
    # The slots behind the properties: this runs for every carton of every wall.
    values = attrgetter(*(f"_{name}" for name in plain)) if plain else None
    single = len(plain) == 1

    def encode_one(message: Any) -> bytes:
        parts = []
        if values is not None:
            parts.append(packer.pack(values(message)) if single else packer.pack(*values(message)))
        parts += [pack(get(message)) for get, pack in other]
        return b"".join(parts)

    return encode_one
