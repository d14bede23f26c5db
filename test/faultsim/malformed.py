"""Structure-aware malformed messages: real ones, captured from a run, with one to three of their fields made wrong.

Only what can travel is made: a value of another type than the field's never reaches a node.
"""

import copy
import math
import random
import re
from typing import Any

import numpy as np

_FLOATS = (math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 1e-300, 1e308, -1e308, 1e6, 3.5e38)
_TEXTS = ("", "/", "trailer", "base_link", "\0", "x" * 2000, "ä" * 50, "../../etc/passwd", "%s%n", "nan", " ")
_BITS = re.compile(r"u?int(\d+)")
_ARRAY = re.compile(r"^(?:sequence<(.+?)(?:, *\d+)?>|(.+)\[(\d+)\])$")


def _number(kind: str, rng: random.Random) -> Any:
    if kind == "boolean":
        return rng.random() < 0.5
    if kind in ("octet", "byte"):
        return bytes([rng.randrange(256)])
    if kind in ("float", "double"):
        value = rng.choice(_FLOATS) if rng.random() < 0.8 else rng.uniform(-100.0, 100.0)
        return float(np.float32(value)) if kind == "float" and math.isfinite(value) and abs(value) < 3e38 else value
    bits = int(_BITS.fullmatch(kind).group(1)) if _BITS.fullmatch(kind) else 8
    low, high = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return rng.choice((low, high, 0, 1, high - 1, max(low, -1), rng.randint(low, high), rng.randrange(16)))


def _value(kind: str, old: Any, rng: random.Random) -> Any:
    """Another value for a field of a type, given what it holds."""
    array = _ARRAY.match(kind)
    if array is not None:
        return _array(array.group(1) or array.group(2), old, bool(array.group(3)), rng)
    if kind.startswith(("string", "wstring")):
        return rng.choice(_TEXTS)
    if "/" in kind:
        return mutated(old, rng)
    return _number(kind, rng)


def _array(kind: str, old: Any, fixed: bool, rng: random.Random) -> Any:
    items = list(old)
    how = rng.randrange(6)
    if items and (how < 3 or fixed):
        at = rng.randrange(len(items))
        items[at] = _value(kind, copy.deepcopy(items[at]), rng)
        if how == 2 and not fixed:
            items[at:] = [copy.deepcopy(items[at]) for _ in items[at:]]
    elif how == 3:
        items = []
    elif how == 4 and items:
        items = items[: rng.randrange(len(items))]
    elif items:
        items = items + [copy.deepcopy(items[-1])] * rng.choice((1, 2, 50))
    elif "/" not in kind:
        items = [_value(kind, 0, rng) for _ in range(rng.randrange(1, 9))]
    if kind in ("uint8", "byte", "octet") and items and isinstance(items[0], bytes):
        return items
    return items


def mutated(message: Any, rng: random.Random, fields: int = 1) -> Any:
    """`message` with so many of its fields made wrong, deep ones too. Works on the object given."""
    kinds = message.get_fields_and_field_types()
    for _ in range(fields if kinds else 0):
        name = rng.choice(list(kinds))
        try:
            setattr(message, name, _value(kinds[name], getattr(message, name), rng))
        except (AssertionError, OverflowError, TypeError, ValueError):
            # No such value can be put on the wire.
            continue
    return message


def pool(templates: list[Any], count: int, rng: random.Random) -> list[Any]:
    """`count` malformed messages; one in eight stays as it was."""
    made = []
    for _ in range(count):
        message = copy.deepcopy(rng.choice(templates))
        made.append(message if rng.random() < 0.125 else mutated(message, rng, rng.randint(1, 3)))
    return made
