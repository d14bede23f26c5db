"""Node parameters as frozen dataclasses: each declared once, with unit in the name, default, bounds and description."""

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

_SCALARS: dict[type, str] = {bool: "a bool (true or false)", int: "an integer", float: "a number", str: "a string"}


class ParameterError(ValueError):
    """One or more parameters are unknown, of the wrong type or out of range; the text names each and the remedy."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What is known of one parameter besides its name and type."""

    doc: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


def parameter(
    default: Any = MISSING,
    *,
    doc: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Field of a parameters dataclass. Types: bool, int, float, str, tuple[float|int|str|bool, ...]. No default = required."""
    spec = Spec(doc, low, high, choices)
    if default is MISSING:
        return dataclasses.field(metadata={"spec": spec})
    return dataclasses.field(default=default, metadata={"spec": spec})


def spec_of(field: "dataclasses.Field[Any]") -> Spec:
    """Spec of a dataclass field made by `parameter`."""
    spec = field.metadata["spec"]
    assert isinstance(spec, Spec)
    return spec


def _element(hint: Any) -> tuple[bool, type]:
    """(is a tuple, scalar type) of a field's type hint."""
    if hint in _SCALARS:
        return False, hint
    args: list[Any] = list(get_args(hint))
    if get_origin(hint) is tuple and len(args) == 2 and args[1] is Ellipsis and args[0] in _SCALARS:
        return True, args[0]
    raise TypeError(f"unsupported parameter type {hint}")


def _scalar(value: Any, wanted: type) -> Any:
    """`value` as `wanted`, or MISSING when it is of another type."""
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is wanted:
        return value
    return MISSING


def _check_range(name: str, value: Any, spec: Spec) -> str:
    if spec.choices and value not in spec.choices:
        return f"{name}={value!r}: must be one of {', '.join(spec.choices)} ({spec.doc})"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value != value:
            return f"{name} is NaN ({spec.doc})"
        if spec.low is not None and value < spec.low:
            return f"{name}={value}: must be at least {spec.low} ({spec.doc})"
        if spec.high is not None and value > spec.high:
            return f"{name}={value}: must be at most {spec.high} ({spec.doc})"
    return ""


def _convert(name: str, value: Any, hint: Any, spec: Spec) -> tuple[Any, str]:
    many, wanted = _element(hint)
    if many:
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
            return None, f"{name}={value!r}: must be a list, each {_SCALARS[wanted]} ({spec.doc})"
        items = [_scalar(item, wanted) for item in value]
        if any(item is MISSING for item in items):
            return None, f"{name}={list(value)!r}: each must be {_SCALARS[wanted]} ({spec.doc})"
        faults = [fault for item in items if (fault := _check_range(name, item, spec))]
        return tuple(items), faults[0] if faults else ""
    item = _scalar(value, wanted)
    if item is MISSING:
        return None, f"{name}={value!r}: must be {_SCALARS[wanted]} ({spec.doc})"
    return item, _check_range(name, item, spec)


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build parameters dataclass `cls` from names and values.

    Raises:
        ParameterError: names every unknown, missing, mistyped or out-of-range parameter. A `validate()` method of the
            dataclass may return further faults (a list of sentences) about values that do not fit together.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    faults = [
        f"{name}: no such parameter; known are {', '.join(sorted(fields)) or 'none'}"
        for name in values
        if name not in fields
    ]
    converted: dict[str, Any] = {}
    for name, field in fields.items():
        if name in values:
            converted[name], fault = _convert(name, values[name], hints[name], spec_of(field))
            if fault:
                faults.append(fault)
        elif field.default is MISSING:
            faults.append(f"{name} is required and was not given ({spec_of(field).doc})")
    if not faults:
        made = cls(**converted)
        faults = list(getattr(made, "validate", list)())
        if not faults:
            return made
    raise ParameterError("; ".join(faults))
