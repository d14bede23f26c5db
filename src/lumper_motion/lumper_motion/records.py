"""Picks and loads as JSON and back, for the journal."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from lumper_motion.requests import Pick


def pick_to_json(pick: Pick) -> dict[str, Any]:
    """A dictionary that JSON can carry."""
    result: dict[str, Any] = {}
    for field in fields(Pick):
        value = getattr(pick, field.name)
        result[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
    return result


def pick_from_json(data: Mapping[str, Any]) -> Pick:
    """The inverse of `pick_to_json`.

    Raises:
        KeyError, TypeError, ValueError: not made by it.
    """
    values = dict(data)
    for name in ("grasp", "extract_m", "place", "load_in_tool"):
        values[name] = np.array(values[name], dtype=float)
    values["carton_ids"] = tuple(int(value) for value in values["carton_ids"])
    x, y, z = (float(value) for value in values["size_m"])
    values["size_m"] = (x, y, z)
    return Pick(**values)
