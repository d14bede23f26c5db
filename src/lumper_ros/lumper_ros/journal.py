"""A flight recorder of decisions: a core wrapped so that all it is given, and all it answers, can be written down.

The journal of one life of a node suffices to decide again: how the core was built, then each input in order with the three
clocks. Messages above `EMBEDDED_BYTES` are only referred to: a recording has them once, on their own topic.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Mapping, Sized
from pathlib import Path
from typing import Any

from lumper_msgs.msg import CoreEffect, CoreStep, CoreSteps
from rclpy.serialization import deserialize_message, serialize_message

from lumper_ros import canonical
from lumper_ros import core as c

TOPIC = "decisions"
ENVIRONMENT = "LUMPER_JOURNAL"
EMBEDDED_BYTES = 64 * 1024
# Status of a COMPUTED step whose result depended on a clock.
GAVE_UP = "gave up"
_BATCH_BYTES = 128 * 1024
_BATCH_STEPS = 200
_BATCH_S = 0.05
_ENDS_BYTES = 4096
# Parameters that name files which shape decisions. Keys and tokens are not among them and never enter a journal.
_FOLDERS = ("robot_folder",)
_FILES = ("trailer_file", "causes_file")
_FOLDER_PATTERNS = ("arm.yaml", "*.urdf")


def wanted() -> bool:
    """Whether this process was asked to keep a journal."""
    return os.environ.get(ENVIRONMENT, "").lower() in ("1", "true")


def digest(data: bytes) -> int:
    """What stands for `data` where only equality matters."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def reference(message: Any) -> int:
    """What finds a large message among those of its topic: its length and both ends (the stamp is in one of them)."""
    data = canonical.encode(message)
    return digest(len(data).to_bytes(8, "little") + data[:_ENDS_BYTES] + data[-_ENDS_BYTES:])


def effect_record(effect: c.Effect) -> CoreEffect | None:
    """An effect as it is written down; None for diagnostics, which decide nothing."""
    match effect:
        case c.Publish(name, message):
            return CoreEffect(kind=CoreEffect.PUBLISH, name=name, digest=digest(canonical.encode(message)))
        case c.SendGoal(name, goal_id, goal):
            return _sent(CoreEffect.SEND_GOAL, name, goal_id, goal)
        case c.CancelGoal(name, goal_id):
            return _made(CoreEffect.CANCEL_GOAL, name, goal_id, b"")
        case c.FinishGoal(name, goal_id, status, result):
            return _sent(CoreEffect.FINISH_GOAL, name, goal_id, result, status.value)
        case c.Feedback(name, goal_id, feedback):
            return _sent(CoreEffect.FEEDBACK, name, goal_id, feedback)
        case c.CallService(name, tag, request):
            return _sent(CoreEffect.CALL_SERVICE, name, tag, request)
        case c.Respond(response):
            return _sent(CoreEffect.RESPOND, "", "", response)
        case c.Compute(tag):
            return _made(CoreEffect.COMPUTE, "", tag, b"")
        case c.Persist(kind, key, record):
            return _made(CoreEffect.PERSIST, kind, key, _json(record))
        case c.Emit():
            told = {
                "text": effect.text,
                "severity": effect.severity.value,
                "ids": [effect.job_id, effect.plan_id, effect.request_id],
                "values": dict(effect.values),
            }
            return _made(CoreEffect.EVENT, effect.code, "", _json(told))
    return None


def _made(kind: int, name: str, ident: str, data: bytes, status: str = "") -> CoreEffect:
    return CoreEffect(kind=kind, name=name, id=ident, status=status, digest=digest(data), data=data)


def _sent(kind: int, name: str, ident: str, message: Any, status: str = "") -> CoreEffect:
    known = digest(canonical.encode(message))
    return CoreEffect(kind=kind, name=name, id=ident, status=status, digest=known, data=serialize_message(message))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def build_record(core: c.Core, parameters: Any) -> dict[str, Any]:
    """All that a core was built from.

    Args:
        parameters: the node's parameters dataclass.
    """
    values = {field.name: getattr(parameters, field.name) for field in dataclasses.fields(parameters)}
    files: dict[str, dict[str, str]] = {}
    for name in _FOLDERS:
        if values.get(name):
            folder = Path(values[name])
            found = [path for pattern in _FOLDER_PATTERNS for path in sorted(folder.glob(pattern))]
            files[name] = {path.name: path.read_text() for path in found}
    for name in _FILES:
        if name in values:
            default = Path(values["trailer_file"]).parent / "safety_causes.yaml"
            path = Path(values[name]) if values[name] else default
            files[name] = {path.name: path.read_text()}
    package = type(core).__module__.split(".")[0]
    return {"parameters": values, "files": files, "origin": dict(core.origin()), "software": software(package)}


def software(*packages: str) -> dict[str, str]:
    """Fingerprint of each package's code, of the glue and of the native libraries: equal = the same build."""
    found = {}
    for name in sorted({*packages, "lumper_ros", "lumper_core", "lumper_faces"}):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        total = hashlib.blake2b(digest_size=8)
        for path in sorted(Path(spec.origin).parent.iterdir()):
            if path.suffix in (".py", ".so"):
                total.update(path.name.encode() + path.read_bytes())
        found[name] = total.hexdigest()
    return found


class Journalled(c.Core):
    """The same core, with its journal handed to `send` in batches.

    A batch leaves after 50 ms, when it is large, and before anything is computed off the event loop: a crash in native code
    is then preceded by its inputs.
    """

    def __init__(self, core: c.Core, node: str, parameters: Any, *, through_wire: bool = False) -> None:
        """
        Args:
            through_wire: hand messages on as they would arrive from the network (float32 fields rounded), for hosts that
                pass them by reference.
        """
        self.inner = core
        self._node = node
        self._life = time.time_ns()
        self._through_wire = through_wire
        self._send: Callable[[CoreSteps], None] | None = None
        self._steps: list[CoreStep] = []
        self._first = 0
        self._bytes = 0
        self._since_s = 0.0
        data = _json(build_record(core, parameters))
        self._keep(CoreStep(kind=CoreStep.BUILD, present=True, data=data), len(data))

    def open(self, send: Callable[[CoreSteps], None]) -> None:
        """From now on batches go to `send`."""
        self._send = send

    def flush(self) -> None:
        """Hand over what has gathered."""
        if not self._steps or self._send is None:
            return
        steps, self._steps, self._bytes = self._steps, [], 0
        first, self._first = self._first, self._first + len(steps)
        self._send(CoreSteps(node=self._node, life=self._life, first_sequence=first, steps=steps))

    def _keep(self, step: CoreStep, size: int) -> None:
        if not self._steps:
            self._since_s = step.steady_s
        self._steps.append(step)
        self._bytes += size

    def _step(
        self, kind: int, now: c.Now, call: Callable[[], c.Effects], name: str = "", ident: str = "", status: str = "",
        data: bytes | None = None, message: Any = None,
    ) -> c.Effects:  # fmt: skip
        step = CoreStep(
            kind=kind, name=name, id=ident, status=status, ros_s=now.ros_s, steady_s=now.steady_s, system_s=now.system_s
        )
        if data is not None:
            step.present, step.data = True, data
        elif message is not None:
            step.digest = reference(message)
        self._keep(step, len(step.data))
        try:
            effects = call()
        except BaseException:
            self.flush()
            raise
        if effects:
            step.effects = [record for effect in effects if (record := effect_record(effect)) is not None]
            self._bytes += sum(len(effect.data) for effect in step.effects)
        if (
            self._bytes > _BATCH_BYTES
            or len(self._steps) >= _BATCH_STEPS
            or not 0.0 <= now.steady_s - self._since_s < _BATCH_S
            or any(isinstance(effect, c.Compute) for effect in effects)
        ):
            self.flush()
        return effects

    def _taken(self, message: Any) -> tuple[bytes, Any]:
        data = serialize_message(message)
        return data, deserialize_message(data, type(message)) if self._through_wire else message

    def _maybe(self, message: Any | None) -> tuple[bytes | None, Any | None]:
        return (None, None) if message is None else self._taken(message)

    def origin(self) -> Mapping[str, Any]:
        return self.inner.origin()

    def restore(self, records: Mapping[str, Mapping[str, Any]], now: c.Now) -> c.Effects:
        return self._step(CoreStep.RESTORE, now, lambda: self.inner.restore(records, now), data=_json(records))

    def activate(self, now: c.Now) -> c.Effects:
        return self._step(CoreStep.ACTIVATE, now, lambda: self.inner.activate(now))

    def deactivate(self, now: c.Now) -> c.Effects:
        effects = self._step(CoreStep.DEACTIVATE, now, lambda: self.inner.deactivate(now))
        self.flush()
        return effects

    def message(self, name: str, message: Any, now: c.Now) -> c.Effects:
        # Clouds and pictures are not even serialised: this runs beside the robot's work.
        block = getattr(message, "data", None)
        large = isinstance(block, Sized) and len(block) > EMBEDDED_BYTES
        data = None if large and not self._through_wire else serialize_message(message)
        if data is not None and self._through_wire:
            message = deserialize_message(data, type(message))
        kept = None if data is None or len(data) > EMBEDDED_BYTES else data
        call = lambda: self.inner.message(name, message, now)  # noqa: E731
        return self._step(CoreStep.MESSAGE, now, call, name, data=kept, message=message)

    def tick(self, now: c.Now) -> c.Effects:
        return self._step(CoreStep.TICK, now, lambda: self.inner.tick(now))

    def goal(self, name: str, goal_id: str, goal: Any, now: c.Now) -> c.Effects:
        data, goal = self._taken(goal)
        return self._step(
            CoreStep.GOAL, now, lambda: self.inner.goal(name, goal_id, goal, now), name, goal_id, data=data
        )

    def cancel(self, name: str, goal_id: str, now: c.Now) -> c.Effects:
        return self._step(CoreStep.CANCEL, now, lambda: self.inner.cancel(name, goal_id, now), name, goal_id)

    def service(self, name: str, request: Any, now: c.Now) -> c.Effects:
        data, request = self._taken(request)
        return self._step(CoreStep.SERVICE, now, lambda: self.inner.service(name, request, now), name, data=data)

    def goal_accepted(self, name: str, goal_id: str, now: c.Now) -> c.Effects:
        call = lambda: self.inner.goal_accepted(name, goal_id, now)  # noqa: E731
        return self._step(CoreStep.GOAL_ACCEPTED, now, call, name, goal_id)

    def goal_feedback(self, name: str, goal_id: str, feedback: Any, now: c.Now) -> c.Effects:
        data, feedback = self._taken(feedback)
        call = lambda: self.inner.goal_feedback(name, goal_id, feedback, now)  # noqa: E731
        return self._step(CoreStep.GOAL_FEEDBACK, now, call, name, goal_id, data=data)

    def goal_result(self, name: str, goal_id: str, status: c.GoalStatus, result: Any | None, now: c.Now) -> c.Effects:
        data, result = self._maybe(result)
        call = lambda: self.inner.goal_result(name, goal_id, status, result, now)  # noqa: E731
        return self._step(CoreStep.GOAL_RESULT, now, call, name, goal_id, status.value, data)

    def service_result(self, name: str, tag: str, response: Any | None, now: c.Now) -> c.Effects:
        data, response = self._maybe(response)
        call = lambda: self.inner.service_result(name, tag, response, now)  # noqa: E731
        return self._step(CoreStep.SERVICE_RESULT, now, call, name, tag, data=data)

    def computed(self, tag: str, result: Any, now: c.Now) -> c.Effects:
        status = GAVE_UP if isinstance(result, c.GaveUpError) else "raised" if isinstance(result, Exception) else ""
        data = _json(str(result)) if status == GAVE_UP else None
        call = lambda: self.inner.computed(tag, result, now)  # noqa: E731
        return self._step(CoreStep.COMPUTED, now, call, "", tag, status, data)

    def persist_failed(self, kind: str, key: str, error: str, now: c.Now) -> c.Effects:
        call = lambda: self.inner.persist_failed(kind, key, error, now)  # noqa: E731
        return self._step(CoreStep.PERSIST_FAILED, now, call, kind, key, data=_json(error))

    def observed(self, name: str, value: Any, now: c.Now) -> c.Effects:
        return self._step(
            CoreStep.OBSERVED, now, lambda: self.inner.observed(name, value, now), name, data=_json(value)
        )
