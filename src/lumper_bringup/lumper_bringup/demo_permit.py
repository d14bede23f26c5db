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
    """Says whether motion is permitted. What stands latched from the start it resets, as the person at the robot does
    before the first job; stops during the job are left to people."""

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
        self._pending = False

    def _take(self, data: bytes) -> None:
        self._newest = data

    def _answered(self, tag: str, response: Any) -> None:
        self._pending = False

    def check(self) -> tuple[bool, str]:
        """(permitted, why not). Call regularly until it is permitted."""
        self._reset.check()
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
            reason = "start of the demonstration"
            auth = sign_command(
                self._key, "safety/reset", {"reason": reason}, "demo", time.time(), secrets.randbits(64)
            )
            self._reset.call(uuid.uuid4().hex, self._reset_type.Request(reason=reason, auth=auth), _RESET_LIMIT_S)
        return False, "no permit: a latched stop is being reset"

    def close(self) -> None:
        """The job has begun; nothing is reset any more."""
        self._node.destroy_subscription(self._subscription)
        self._reset.close()
