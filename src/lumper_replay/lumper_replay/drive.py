"""Recordings without a journal, made by anyone: their topics drive the nodes that sensing alone drives, with ticks between.

What a node decided then depended on when each input reached it, which such a recording does not tell: the comparison is by
time, not by step.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rclpy.serialization import deserialize_message

from lumper_replay.cores import TICK_HZ, maker
from lumper_replay.names import Names
from lumper_replay.reader import Bag, Message
from lumper_replay.redo import topic_class
from lumper_replay.scene import MODES
from lumper_ros import core as c
from lumper_ros import interfaces
from lumper_ros.interfaces import PERCEPTION, SAFETY
from lumper_ros.parameters import ParameterError, from_mapping

NODES = (SAFETY, PERCEPTION)


@dataclass(slots=True)
class Driven:
    """What one node made of a recording.

    fed: messages by topic. refused: messages that could not be decoded. published: by topic; events: by code.
    mode_s: seconds in each safety mode. agreement: share of the recorded safety states with the mode of now; None = none.
    """

    node: str
    fed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    published: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    said: dict[str, str] = field(default_factory=dict)
    mode_s: dict[str, float] = field(default_factory=dict)
    stops: int = 0
    agreement: float | None = None
    span_s: float = 0.0
    spent_s: float = 0.0
    walls: list[tuple[float, int, int]] = field(default_factory=list)


def parameters_of(node: str, config: Path, changes: Mapping[str, Any]) -> Any:
    """Parameters from a folder like config/, as the launch file gives them.

    Raises:
        ParameterError: a value is wrong, or the folder lacks a file.
    """
    file = config / f"{node}.yaml"
    if not file.is_file():
        raise ParameterError(f"{file} is not there; give the robot's configuration with --config FOLDER")
    raw = yaml.safe_load(file.read_text()) or {}
    values: dict[str, Any] = {}
    for section in raw.values():
        values |= (section or {}).get("ros__parameters", {})
    kind = maker(node).parameters
    values |= {"robot_folder": str(config / "robot"), "trailer_file": str(config / "trailer.yaml")}
    if "authentication" in kind.__dataclass_fields__:  # type: ignore[attr-defined]
        values["authentication"] = False
    values.pop("use_sim_time", None)
    return from_mapping(kind, values | dict(changes))


def drive(
    bag: Bag, node: str, config: Path, changes: Mapping[str, Any] | None = None, remap: Mapping[str, str] | None = None
) -> Driven:
    """Give a node the recording.

    Args:
        config: folder with parameters, robot and trailer.
        remap: recorded topic -> name in the interface table.

    Raises:
        ParameterError: as `parameters_of`.
    """
    made = maker(node)
    core = made.build(parameters_of(node, config, changes or {}), {"monitor_id": 1})
    known = Names(bag).known | dict(remap or {})
    inputs = {topic.name for topic in interfaces.subscribed_by(node)}
    wanted = {absolute for absolute, name in known.items() if name in inputs or name == "safety/state"}
    result = Driven(node)
    watch = _Watch(result)
    first_ns, last_ns = bag.span_ns()
    result.span_s = (last_ns - first_ns) * 1e-9
    begun_s = time.monotonic()
    start = _now(first_ns)
    watch.take(core.restore({}, start), start)
    watch.take(core.activate(start), start)
    for stamp_ns, message in _with_ticks(bag, wanted, first_ns, TICK_HZ[node]):
        now = _now(stamp_ns)
        if message is None:
            watch.take(core.tick(now), now)
            continue
        name = known[message.topic]
        decoded = _decoded(bag, message, name, result)
        if decoded is None:
            continue
        if name == "safety/state" and node == SAFETY:
            watch.compare(decoded)
        if name in inputs:
            result.fed[name] += 1
            watch.take(core.message(name, decoded, now), now)
        while watch.functions:
            tag, function = watch.functions.pop(0)
            watch.take(core.computed(tag, _result_of(function), now), now)
    watch.end(_now(last_ns))
    result.spent_s = time.monotonic() - begun_s
    return result


def _result_of(function: Any) -> Any:
    try:
        return function()
    except Exception as error:  # the live host hands it on as well
        return error


def _now(stamp_ns: int) -> c.Now:
    return c.Now(stamp_ns * 1e-9, stamp_ns * 1e-9, stamp_ns * 1e-9)


def _with_ticks(bag: Bag, wanted: set[str], first_ns: int, tick_hz: float) -> Iterator[tuple[int, Message | None]]:
    period_ns = int(1e9 / tick_hz)
    tick_ns = first_ns
    for message in bag.by_stamp(wanted):
        while tick_ns <= message.stamp_ns:
            yield tick_ns, None
            tick_ns += period_ns
        yield message.stamp_ns, message


def _decoded(bag: Bag, message: Message, name: str, result: Driven) -> Any | None:
    """The message, or None when it is not of the type of the table or does not decode."""
    if bag.topics[message.topic].type != interfaces.TOPICS[name].type:
        result.refused[f"{message.topic} is {bag.topics[message.topic].type}, not {interfaces.TOPICS[name].type}"] += 1
        return None
    try:
        return deserialize_message(message.data, topic_class(name))
    except RuntimeError as error:
        result.refused[f"{message.topic}: {str(error)[:100]}"] += 1
        return None


class _Watch:
    """Keeps what a node said."""

    def __init__(self, result: Driven) -> None:
        self._result = result
        self._mode: int | None = None
        self._since_s = 0.0
        self._compared = self._agreed = 0
        self.functions: list[tuple[str, Any]] = []

    def take(self, effects: c.Effects, now: c.Now) -> None:
        for effect in effects:
            match effect:
                case c.Compute(tag, function):
                    self.functions.append((tag, function))
                case c.Emit():
                    self._result.events[effect.code] += 1
                    self._result.said[effect.code] = effect.text
                case c.Publish(name, message):
                    self._result.published[name] += 1
                    if name == "safety/state":
                        self._mode_of(int(message.mode), now)
                    elif name == "wall":
                        self._result.walls.append((now.ros_s, int(message.version), len(message.cartons)))

    def _mode_of(self, mode: int, now: c.Now) -> None:
        if mode == self._mode:
            return
        self.end(now)
        self._mode, self._since_s = mode, now.steady_s
        self._result.stops += MODES.get(mode) == "PROTECTIVE STOP"

    def compare(self, recorded: Any) -> None:
        """A recorded safety state against the mode of now."""
        if self._mode is not None:
            self._compared += 1
            self._agreed += int(recorded.mode) == self._mode

    def end(self, now: c.Now) -> None:
        if self._mode is not None:
            mode = MODES.get(self._mode, str(self._mode))
            self._result.mode_s[mode] = self._result.mode_s.get(mode, 0.0) + now.steady_s - self._since_s
        self._result.agreement = self._agreed / self._compared if self._compared else None


def text(result: Driven) -> str:
    """In words."""
    lines = [
        f"{result.node}: {result.span_s:.1f} s decided in {result.spent_s:.1f} s from "
        + (", ".join(f"{count} {name}" for name, count in sorted(result.fed.items())) or "nothing that it understands")
    ]
    lines += [f"  ! {count} x {what}" for what, count in result.refused.items()]
    if result.mode_s:
        lines.append("  modes: " + ", ".join(f"{mode} {spent:.1f} s" for mode, spent in result.mode_s.items()))
        lines.append(f"  protective stops: {result.stops}")
    if result.agreement is not None:
        lines.append(f"  mode as recorded in {result.agreement:.1%} of the recorded states")
    if result.walls:
        lines.append(
            f"  walls: {len(result.walls)}, the last one version {result.walls[-1][1]} with {result.walls[-1][2]} cartons"
        )
    lines += [f"  {count} x {code}: {result.said[code][:200]}" for code, count in sorted(result.events.items())]
    return "\n".join(lines)
