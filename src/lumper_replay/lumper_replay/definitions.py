"""Message definitions and type hashes of installed interface packages, as rosbag2 puts them into its files."""

import json
import os
import re
from functools import cache
from pathlib import Path

_SEPARATOR = "=" * 80
_FIELD = re.compile(r"^\s*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+\w+")
_PRIMITIVES = {
    "bool", "byte", "char", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
    "uint64", "string", "wstring",
}  # fmt: skip


class UnknownTypeError(ValueError):
    """The interface package of a type is not installed, or lacks it; the text names the type."""


def _file(type_name: str, suffix: str) -> Path:
    package, kind, name = type_name.split("/")
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "share" / package / kind / f"{name}{suffix}"
        if prefix and path.is_file():
            return path
    raise UnknownTypeError(f"{type_name}: not among the installed interface packages")


def _uses(text: str, package: str) -> list[str]:
    found = []
    for line in text.splitlines():
        match = _FIELD.match(line.split("#")[0])
        if match is None or match[1] in _PRIMITIVES:
            continue
        parts = match[1].split("/")
        found.append(f"{package}/msg/{parts[0]}" if len(parts) == 1 else f"{parts[0]}/msg/{parts[-1]}")
    return found


@cache
def definition(type_name: str) -> str:
    """The .msg text of a type and of all types in it, in the form of MCAP's `ros2msg` schemas.

    Raises:
        UnknownTypeError: a file is not installed.
    """
    parts: list[str] = []
    waiting, seen = [type_name], {type_name}
    while waiting:
        current = waiting.pop(0)
        text = _file(current, ".msg").read_text()
        package, _, name = current.split("/")
        parts.append(text if not parts else f"{_SEPARATOR}\nMSG: {package}/{name}\n{text}")
        for used in _uses(text, package):
            if used not in seen:
                seen.add(used)
                waiting.append(used)
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


@cache
def type_hash(type_name: str) -> str:
    """The type's RIHS01 hash.

    Raises:
        UnknownTypeError: the description is not installed.
    """
    for entry in json.loads(_file(type_name, ".json").read_text())["type_hashes"]:
        if entry["type_name"] == type_name:
            return str(entry["hash_string"])
    raise UnknownTypeError(f"{type_name}: its description carries no hash")
