"""Action and service clients that always end: every goal and call gives exactly one outcome, also when a server dies."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from action_msgs.msg import GoalStatus as RosStatus
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from unique_identifier_msgs.msg import UUID

from lumper_ros.core import GoalStatus

_STATUS = {
    RosStatus.STATUS_SUCCEEDED: GoalStatus.SUCCEEDED,
    RosStatus.STATUS_ABORTED: GoalStatus.ABORTED,
    RosStatus.STATUS_CANCELED: GoalStatus.CANCELED,
}
CHECK_PERIOD_S = 0.2
ACCEPT_TIMEOUT_S = 3.0
# A new server shows on the graph within this time after its predecessor is gone.
SERVER_WAIT_S = 1.0


@dataclass(slots=True)
class _Goal:
    sent_s: float
    message: Any
    on_wire: bool = False
    handle: ClientGoalHandle[Any, Any, Any] | None = None
    server: frozenset[bytes] = frozenset()
    cancel_wanted: bool = False


@dataclass(slots=True)
class _Call:
    begun_s: float
    timeout_s: float
    request: Any
    future: Any = None  # None = no server was seen yet
    servers: frozenset[bytes] = frozenset()


class GoalSender:
    """Client of one action. Callbacks run on the node's executor."""

    def __init__(
        self,
        node: Node,
        action_type: Any,
        name: str,
        on_accept: Callable[[str], None],
        on_feedback: Callable[[str, Any], None],
        on_result: Callable[[str, GoalStatus, Any | None], None],
    ) -> None:
        self._node = node
        self._name = name
        self._client: ActionClient[Any, Any, Any] = ActionClient(node, action_type, name)
        self._on_accept = on_accept
        self._on_feedback = on_feedback
        self._on_result = on_result
        self._goals: dict[str, _Goal] = {}
        self._status_topic = f"{name}/_action/status"

    def send(self, goal_id: str, message: Any) -> None:
        """Send a goal; waits for a server up to SERVER_WAIT_S, then it ends as UNAVAILABLE."""
        self._goals[goal_id] = _Goal(time.monotonic(), message)
        self._try_send(goal_id)

    def cancel(self, goal_id: str) -> None:
        goal = self._goals.get(goal_id)
        if goal is None:
            return
        goal.cancel_wanted = True
        if goal.handle is not None:
            goal.handle.cancel_goal_async()

    def check(self) -> None:
        """End the goals whose server is gone or silent. Call every CHECK_PERIOD_S."""
        if not self._goals:
            return
        servers = self._servers()
        now_s = time.monotonic()
        for goal_id, goal in list(self._goals.items()):
            if goal.on_wire and not goal.server:
                goal.server = servers
            if not goal.on_wire:
                self._try_send(goal_id)
                if not goal.on_wire and now_s - goal.sent_s > SERVER_WAIT_S:
                    self._end(goal_id, GoalStatus.UNAVAILABLE, None)
            elif goal.handle is None and now_s - goal.sent_s > ACCEPT_TIMEOUT_S:
                self._end(goal_id, GoalStatus.UNAVAILABLE, None)
            elif goal.handle is not None and servers != goal.server and (servers - goal.server or not servers):
                # A newcomer means that the server was restarted: discovery keeps a killed one on the graph for its lease.
                self._end(goal_id, GoalStatus.LOST, None)

    def close(self) -> None:
        for goal_id in list(self._goals):
            self._end(goal_id, GoalStatus.LOST, None)
        self._client.destroy()

    def _servers(self) -> frozenset[bytes]:
        return frozenset(
            bytes(info.endpoint_gid) for info in self._node.get_publishers_info_by_topic(self._status_topic)
        )

    def _try_send(self, goal_id: str) -> None:
        goal = self._goals[goal_id]
        if not self._client.server_is_ready():
            return
        goal.on_wire = True
        goal.sent_s = time.monotonic()
        goal.server = self._servers()
        future = self._client.send_goal_async(
            goal.message,
            feedback_callback=lambda message: self._feedback(goal_id, message.feedback),
            goal_uuid=UUID(uuid=list(uuid.UUID(goal_id).bytes)),
        )
        future.add_done_callback(lambda done: self._answered(goal_id, goal, done.result()))

    def _feedback(self, goal_id: str, feedback: Any) -> None:
        if goal_id in self._goals:
            self._on_feedback(goal_id, feedback)

    def _answered(self, goal_id: str, goal: _Goal, handle: ClientGoalHandle[Any, Any, Any]) -> None:
        if self._goals.get(goal_id) is not goal:
            return
        goal.handle = handle
        # A server that still knows this id rejects it as a goal but gives its result: join that.
        handle.get_result_async().add_done_callback(lambda done: self._result(goal_id, goal, done.result()))
        if handle.accepted:
            self._on_accept(goal_id)
            if goal.cancel_wanted:
                handle.cancel_goal_async()

    def _result(self, goal_id: str, goal: _Goal, response: Any) -> None:
        if self._goals.get(goal_id) is not goal:
            return
        status = _STATUS.get(response.status)
        if status is None:
            self._end(goal_id, GoalStatus.REJECTED, None)
        else:
            self._end(goal_id, status, response.result)

    def _end(self, goal_id: str, status: GoalStatus, result: Any | None) -> None:
        if self._goals.pop(goal_id, None) is not None:
            self._on_result(goal_id, status, result)


@dataclass(slots=True)
class ServiceCaller:
    """Client of one service."""

    node: Node
    service_type: Any
    name: str
    on_response: Callable[[str, Any | None], None]
    _client: Any = None
    _calls: dict[str, _Call] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._client = self.node.create_client(self.service_type, self.name)

    def call(self, tag: str, request: Any, timeout_s: float) -> None:
        """Call; the answer, or None when there is none within `timeout_s`, goes to `on_response`."""
        self._calls[tag] = _Call(time.monotonic(), timeout_s, request)
        self._try_send(tag)

    def check(self) -> None:
        now_s = time.monotonic()
        for tag, call in list(self._calls.items()):
            if now_s - call.begun_s > call.timeout_s:
                del self._calls[tag]
                if call.future is not None:
                    self._client.remove_pending_request(call.future)
                self.on_response(tag, None)
            elif call.future is None:
                self._try_send(tag)
            elif self._servers() - call.servers:
                # The server was restarted: the newcomer does not know what its predecessor was asked.
                self._client.remove_pending_request(call.future)
                self._try_send(tag)

    def _servers(self) -> frozenset[bytes]:
        replies = f"rr{self.node.resolve_service_name(self.name)}Reply"
        return frozenset(
            bytes(info.endpoint_gid) for info in self.node.get_publishers_info_by_topic(replies, no_mangle=True)
        )

    def _try_send(self, tag: str) -> None:
        """Send once a server is there: a request that leaves before discovery is lost."""
        call = self._calls[tag]
        if self._client.service_is_ready():
            call.servers = self._servers()
            call.future = self._client.call_async(call.request)
            call.future.add_done_callback(lambda done: self._answered(tag, call, done))

    def close(self) -> None:
        self._calls.clear()
        self.node.destroy_client(self._client)

    def _answered(self, tag: str, call: _Call, future: Any) -> None:
        if self._calls.get(tag) is call and call.future is future:
            del self._calls[tag]
            self.on_response(tag, future.result())
