"""Compare two messages or records field by field: identical, equivalent within a stated tolerance, or different."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

# Absolute tolerance by the unit at the end of a field's name; other numbers: relative.
TOLERANCE = {
    "_m": 1e-3,
    "_rad": 1e-3,
    "_s": 1e-3,
    "_kg": 1e-2,
    "_n": 0.1,
    "_mps": 1e-3,
    "_radps": 1e-3,
}
# Components of points, vectors (m) and quaternions.
COMPONENTS = ("x", "y", "z", "w")
COMPONENT_TOLERANCE = 1e-3
RELATIVE = 1e-6
# Fields that say how long the computer took: measured, not decided.
MEASURED = {"plan": ("planning_ms",)}


class Verdict(IntEnum):
    """How a decision of now compares with the recorded one; the larger the worse."""

    IDENTICAL = 0
    EQUIVALENT = 1
    DIFFERENT = 2


@dataclass(frozen=True, slots=True)
class Difference:
    """One field. `then` and `now` as text."""

    path: str
    then: str
    now: str
    verdict: Verdict


def differences(then: Any, now: Any, path: str = "") -> Iterator[Difference]:
    """All fields that are not identical."""
    if hasattr(then, "get_fields_and_field_types") and type(then) is type(now):
        for name in then.get_fields_and_field_types():
            yield from differences(getattr(then, name), getattr(now, name), f"{path}.{name}" if path else name)
    elif isinstance(then, Mapping) and isinstance(now, Mapping):
        for name in sorted(set(then) | set(now), key=str):
            yield from differences(then.get(name), now.get(name), f"{path}.{name}" if path else str(name))
    elif _is_list(then) and _is_list(now):
        yield from _lists(then, now, path)
    elif isinstance(then, float | np.floating) and isinstance(now, float | np.floating | int):
        if not _same(float(then), float(now)):
            verdict = Verdict.EQUIVALENT if _close(float(then), float(now), path) else Verdict.DIFFERENT
            yield Difference(path, f"{float(then):.9g}", f"{float(now):.9g}", verdict)
    elif then != now:
        yield Difference(path, _short(then), _short(now), Verdict.DIFFERENT)


def _lists(then: Sequence[Any], now: Sequence[Any], path: str) -> Iterator[Difference]:
    if len(then) != len(now):
        yield Difference(f"{path}[]", f"{len(then)} entries", f"{len(now)} entries", Verdict.DIFFERENT)
    for index, (left, right) in enumerate(zip(then, now, strict=False)):
        yield from differences(left, right, f"{path}[{index}]")


def _is_list(value: Any) -> bool:
    return (isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)) or hasattr(
        value, "typecode"
    )


def _same(then: float, now: float) -> bool:
    return then == now or (math.isnan(then) and math.isnan(now))


def _close(then: float, now: float, path: str) -> bool:
    if not (math.isfinite(then) and math.isfinite(now)):
        return False
    name = path.split("[", maxsplit=1)[0].rsplit(".", 1)[-1]
    if name in COMPONENTS:
        return abs(then - now) <= COMPONENT_TOLERANCE
    for suffix, absolute in TOLERANCE.items():
        if name.endswith(suffix):
            return abs(then - now) <= absolute
    return abs(then - now) <= RELATIVE * max(abs(then), abs(now), 1e-9)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:197] + "..."


def without_measured(name: str, message: Any) -> Any:
    """The message with its measured fields set to their defaults; the message itself is changed."""
    for field in MEASURED.get(name, ()):
        setattr(message, field, 0.0)
    return message


def parsed(data: bytes) -> Any:
    """JSON of a journal entry."""
    return json.loads(bytes(data))


def reason(message: Any) -> str:
    """Why a decision is what it is, as the decision itself says."""
    parts = []
    outcome = getattr(message, "outcome", None)
    if outcome is not None and hasattr(outcome, "code"):
        parts.append(f"outcome {outcome.code}")
    told = ("mode", "status", "state", "phase", "accepted")
    parts += [f"{name} {getattr(message, name)}" for name in told if hasattr(message, name)]
    if getattr(message, "text", ""):
        parts.append(str(message.text))
    if getattr(message, "picks", None):
        parts.append("picks " + ", ".join(str(getattr(pick, "carton_ids", "?")) for pick in message.picks))
    parts += [str(cause.text) for cause in getattr(message, "causes", ())]
    parts += [
        f"not {row.carton_id}: {row.text}" for row in list(getattr(message, "rejected", ()))[:5] if hasattr(row, "text")
    ]
    if isinstance(message, Mapping):
        parts.append(str(message.get("text", "")))
    return "; ".join(part for part in parts if part)
