"""Build the live nodes' cores again from what a recording says they were built from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumper_ros.core import Core
from lumper_ros.interfaces import BROKER, PERCEPTION, PLANNER, SAFETY
from lumper_ros.parameters import ParameterError, from_mapping

NODES = (SAFETY, PERCEPTION, BROKER, PLANNER)
# What `--set` may call a node.
SHORT = {"safety": SAFETY, "perception": PERCEPTION, "broker": BROKER, "motion": BROKER, "planner": PLANNER}
TICK_HZ = {SAFETY: 50.0, PERCEPTION: 5.0, BROKER: 100.0, PLANNER: 5.0}


@dataclass(frozen=True, slots=True)
class Maker:
    """How one node's core is made. `build(parameters, origin)`."""

    parameters: type
    build: Callable[[Any, Mapping[str, Any]], Core]


def maker(node: str) -> Maker:
    """The parts of a node's package; imported only when asked for."""
    if node == SAFETY:
        from lumper_safety.node import build as build_safety
        from lumper_safety.parameters import Parameters

        return Maker(Parameters, lambda made, origin: build_safety(made, origin.get("monitor_id")))
    if node == PERCEPTION:
        from lumper_perception.node import build as build_perception
        from lumper_perception.parameters import PerceptionParameters

        return Maker(PerceptionParameters, lambda made, origin: build_perception(made))
    if node == BROKER:
        from lumper_motion.node import build as build_broker
        from lumper_motion.parameters import MotionParameters

        return Maker(MotionParameters, lambda made, origin: build_broker(made))
    if node == PLANNER:
        from lumper_planner.node import build as build_planner
        from lumper_planner.parameters import PlannerParameters

        return Maker(PlannerParameters, lambda made, origin: build_planner(made))
    raise ParameterError(f"{node}: no such deciding node; known are {', '.join(NODES)}")


def write_files(record: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Put the recorded files below `folder`; returns the parameters that name them."""
    named = {}
    for name, files in record.get("files", {}).items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            # Only the last part of a recorded name is used: a bag must not write elsewhere.
            (place / Path(file).name).write_text(text)
        single = name.endswith("_file")
        named[name] = str(place / Path(next(iter(files))).name if single and files else place)
    return named


def rebuild(node: str, record: Mapping[str, Any], folder: Path, changes: Mapping[str, Any], key_file: str = "") -> Core:
    """The core of one life.

    Args:
        record: the BUILD step's content.
        folder: an empty place for the recorded files.
        changes: parameters that are to differ, by name.
        key_file: the robot's key where authentication was on; a recording never holds it.

    Raises:
        ParameterError: today's code does not take the recorded parameters; each is named.
        OSError, ValueError: a file is missing or wrong.
    """
    made = maker(node)
    values = dict(record["parameters"]) | write_files(record, folder)
    if key_file and "key_file" in values:
        values["key_file"] = key_file
    if values.get("authentication") and not key_file:
        raise ParameterError(
            f"{node}: recorded with authentication, and a recording holds no key: give the robot's key with --key FILE"
        )
    parameters: Any = from_mapping(made.parameters, values | dict(changes))
    return made.build(parameters, record.get("origin", {}))


def parse_change(text: str) -> tuple[str, str, Any]:
    """`planner.picks_per_plan=1` as (node, parameter, value); the value is read as YAML, as in parameter files.

    Raises:
        ParameterError: not of that form, or no such node.
    """
    import yaml

    left, equals, right = text.partition("=")
    short, dot, name = left.strip().partition(".")
    if not equals or not dot or not name:
        raise ParameterError(f"--set {text}: must be node.parameter=value, such as planner.picks_per_plan=1")
    node = SHORT.get(short, short)
    if node not in NODES:
        raise ParameterError(f"--set {text}: {short} is none of {', '.join(sorted(SHORT))}")
    return node, name, yaml.safe_load(right)
