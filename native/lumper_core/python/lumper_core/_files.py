"""Walls in files: JSON, and lumper_msgs/Wall in MCAP bags."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import BOX_DTYPE, InputError, Trailer


def _fault(index: int | None, field: str, text: str) -> InputError:
    error = InputError(text)
    error.box_id, error.index, error.field = None, index, field
    return error


def _from_json(document: Any) -> tuple[NDArray[np.void], Trailer]:
    if not isinstance(document, dict) or not isinstance(document.get("boxes"), list):
        raise _fault(None, "boxes", 'a wall is an object with a list "boxes"')
    trailer = Trailer(**document.get("trailer", {}))
    boxes = np.zeros(len(document["boxes"]), BOX_DTYPE)
    boxes["orientation"][:, 3] = 1.0
    boxes["friction"] = 0.3
    boxes["confidence"] = 1.0
    for i, entry in enumerate(document["boxes"]):
        for name in ("id", "position", "size", "mass"):
            if name not in entry:
                raise _fault(i, name, f"row {i}: {name} is missing")
        for name, value in entry.items():
            if name not in (BOX_DTYPE.names or ()):
                raise _fault(
                    i, name, f"row {i}: {name} is not a field of a box; fields: {', '.join(BOX_DTYPE.names or ())}"
                )
            try:
                boxes[name][i] = value
            except (TypeError, ValueError, OverflowError) as error:
                raise _fault(i, name, f"row {i}: {name} = {value!r}: {error}") from error
    return boxes, trailer


def _from_wall(wall: Any) -> tuple[NDArray[np.void], Trailer]:
    boxes = np.zeros(len(wall.cartons), BOX_DTYPE)
    for i, carton in enumerate(wall.cartons):
        p, q = carton.pose.position, carton.pose.orientation
        boxes[i] = (
            carton.id,
            (p.x, p.y, p.z),
            (q.x, q.y, q.z, q.w),
            (carton.size_m.x, carton.size_m.y, carton.size_m.z),
            carton.size_unknown,
            carton.pose_sigma,
            carton.size_sigma_m,
            carton.mass_kg,
            carton.mass_sigma_kg,
            carton.friction,
            carton.confidence,
            carton.visible_faces,
        )
    length_m = float(wall.back_wall_x_m)
    return boxes, Trailer(length_m=length_m) if np.isfinite(length_m) else Trailer()


def _from_mcap(path: Path) -> tuple[NDArray[np.void], Trailer]:
    from mcap.reader import make_reader
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    last = None
    schema = None
    with path.open("rb") as stream:
        for found, _channel, message in make_reader(stream).iter_messages():
            if found is not None and found.name == "lumper_msgs/msg/Wall":
                schema, last = found, message
    if schema is None or last is None:
        raise _fault(None, "wall", f"{path}: no lumper_msgs/msg/Wall in this bag")
    store = get_typestore(Stores.EMPTY)
    # One text holds the message and, after lines of "=", every message it uses.
    parts = schema.data.decode().split("=" * 80 + "\n")
    for name, text in [(schema.name, parts[0])] + [
        (part.split("\n", 1)[0].removeprefix("MSG: ").strip(), part.split("\n", 1)[1]) for part in parts[1:]
    ]:
        package, kind = name.split("/")[0], name.split("/")[-1]
        full = f"{package}/msg/{kind}"
        if full not in store.fielddefs:
            store.register(get_types_from_msg(text, full))
    return _from_wall(store.deserialize_cdr(last.data, schema.name))


def read_wall(path: str) -> tuple[NDArray[np.void], Trailer]:
    """Boxes of a JSON wall, or of the last lumper_msgs/Wall in an MCAP bag.

    JSON: {"trailer": {"width_m": ...}, "boxes": [{"id": 1, "position": [x, y, z], "size": [x, y, z], "mass": kg, ...}]},
    any other field of BOX_DTYPE optional.

    Raises:
        InputError: what is missing or wrong, by row and field.
        OSError: the file cannot be read.
    """
    file = Path(path)
    if file.suffix == ".mcap":
        return _from_mcap(file)
    try:
        document = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise _fault(None, "boxes", f"{path}: not JSON: {error}") from error
    return _from_json(document)
