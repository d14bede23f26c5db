"""The permit at the start of a demonstration."""

import secrets
import time
import uuid
from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message

from lumper_ros.auth import sign_command
from lumper_ros.clients import ServiceCaller
from lumper_ros.interfaces import SERVICES, TOPICS, resolve_type
from lumper_ros.qos import qos

_RESET_LIMIT_S = 2.0


class PermitWatch:
    """Stands in for the person at the robot: says whether motion is permitted, resets a latched stop once its causes are
    gone, and lets the job go on after it. Every reset and resumption is signed as "demo" and counted in the report."""

    def __init__(self, node: Node, key: bytes) -> None:
        state, reset = TOPICS["safety/state"], SERVICES["safety/reset"]
        self._node = node
        self._key = key
        self._newest: bytes | None = None
        self._state_type = resolve_type(state.type)
        self._reset_type = resolve_type(reset.type)
        # As bytes: of 50 messages a second two are looked at.
        self._subscription = node.create_subscription(
            self._state_type, state.name, self._take, qos(state.profile), raw=True
        )
        self._reset = ServiceCaller(node, self._reset_type, reset.name, self._answered)
        command = SERVICES["job/command"]
        self._command_type = resolve_type(command.type)
        self._command = ServiceCaller(node, self._command_type, command.name, self._answered)
        self._pending = False
        self.resets = 0

    def _take(self, data: bytes) -> None:
        self._newest = data

    def _answered(self, tag: str, response: Any) -> None:
        self._pending = False

    def check(self) -> tuple[bool, str]:
        """(permitted, why not). Call regularly; a latched stop is reset."""
        self._reset.check()
        self._command.check()
        if self._newest is None:
            return False, "the safety monitor says nothing"
        state = deserialize_message(self._newest, self._state_type)
        if state.mode in (state.RUN, state.REDUCED):
            return True, ""
        present = [cause.text for cause in state.causes if cause.present]
        if present or not state.causes:
            return False, f"no permit: {'; '.join(present) or 'the safety monitor is starting'}"
        if not self._pending:
            self._pending = True
            reason = "the demonstration's stand-in for a person: no cause is present"
            auth = sign_command(
                self._key, "safety/reset", {"reason": reason}, "demo", time.time(), secrets.randbits(64)
            )
            self.resets += 1
            self._reset.call(uuid.uuid4().hex, self._reset_type.Request(reason=reason, auth=auth), _RESET_LIMIT_S)
        return False, "no permit: a latched stop is being reset"

    def resume(self) -> None:
        """Let a paused job go on."""
        if self._pending:
            return
        self._pending = True
        command = self._command_type.Request.RESUME
        auth = sign_command(self._key, "job/command", {"command": command}, "demo", time.time(), secrets.randbits(64))
        self._command.call(uuid.uuid4().hex, self._command_type.Request(command=command, auth=auth), _RESET_LIMIT_S)

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_subscription(self._subscription)
        self._reset.close()
        self._command.close()
