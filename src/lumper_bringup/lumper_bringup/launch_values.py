"""Typing of values in launch files: conditions, and parameters by YAML's rules as launch_ros does it."""

from typing import Any

import yaml

_SCALARS = (bool, int, float, str)
_TYPES: dict[str, type] = {"str": str, "bool": bool, "float": float, "int": int}
TYPE_NAMES = (*_TYPES, *(f"list_of_{name}" for name in _TYPES), "yaml")


def condition(text: str) -> bool:
    """Value of an `if` or `unless`.

    Raises:
        ValueError: neither true, false, 1 nor 0.
    """
    match text.strip().lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise ValueError(f"{text!r} is neither true, false, 1 nor 0")


def _uniform(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and type(value[0]) in _SCALARS and len({type(v) for v in value}) == 1


def by_yaml(text: str) -> Any:
    """`text` by YAML's rules: a bool, int, float, str or non-empty list of one of them.

    Raises:
        ValueError: not YAML, or something else.
    """
    if not text:
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is not valid YAML (for a string that YAML cannot read use type='str')") from error
    if type(value) in _SCALARS or _uniform(value):
        return value
    raise ValueError(f"{text!r} is neither a bool, int, float, string nor a non-empty list of one of these")


def unquoted(text: str) -> str:
    """Text with substitutions, without the quotes that YAML would take away before they are made.

    Raises:
        ValueError: the substitutions stand inside a list or mapping.
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        return value
    raise ValueError(f"{text!r}: substitutions inside a list are not supported; substitute the whole list")


def _scalar(text: str, wanted: type) -> Any:
    if wanted is bool:
        value = by_yaml({"1": "true", "0": "false"}.get(text, text))
        if isinstance(value, bool):
            return value
        raise ValueError(f"{text!r} is not a bool")
    try:
        return wanted(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not of type {wanted.__name__}") from error


def boolean(text: str) -> bool:
    """A bool by YAML's rules, or 1 or 0.

    Raises:
        ValueError: something else.
    """
    return bool(_scalar(text, bool))


def typed(text: str, type_name: str) -> Any:
    """`text` as the type named by <param>'s `type` attribute ("yaml": by YAML's rules).

    Raises:
        ValueError: no such type, or `text` is not of it.
    """
    if type_name == "yaml":
        return by_yaml(text)
    if type_name in _TYPES:
        return _scalar(text, _TYPES[type_name])
    if type_name not in TYPE_NAMES:
        raise ValueError(f"unknown type {type_name!r}; known are {', '.join(TYPE_NAMES)}")
    item = _TYPES[type_name.removeprefix("list_of_")]
    value = by_yaml(text)
    if isinstance(value, list) and all(type(v) is item for v in value):
        return value
    raise ValueError(f"{text!r} is not a list of {item.__name__}")
