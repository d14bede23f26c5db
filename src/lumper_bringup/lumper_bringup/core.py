"""The lifecycle manager's logic: brings the lifecycle nodes up in order and brings back the ones that were restarted.

A node's state is only ever what the node itself says (`get_state`); a transition that went wrong half-way, or one that
somebody else made, is therefore seen like any other. Every question and transition has a time limit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

from lumper_bringup.parameters import ManagerParameters
from lumper_ros.core import CallService, Core, Diagnose, Effect, Effects, Emit, Now, Severity


class NodeState(Enum):
    """What is known of a node."""

    UNKNOWN = "not seen yet"
    LOST = "not answering"
    UNCONFIGURED = "unconfigured"
    INACTIVE = "inactive"
    ACTIVE = "active"
    FINALIZED = "shut down"
    CHANGING = "changing its state"


_BY_ID = {
    State.PRIMARY_STATE_UNCONFIGURED: NodeState.UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE: NodeState.INACTIVE,
    State.PRIMARY_STATE_ACTIVE: NodeState.ACTIVE,
    State.PRIMARY_STATE_FINALIZED: NodeState.FINALIZED,
}
_TRANSITIONS = {
    NodeState.UNCONFIGURED: ("configure", Transition.TRANSITION_CONFIGURE, NodeState.INACTIVE),
    NodeState.INACTIVE: ("activate", Transition.TRANSITION_ACTIVATE, NodeState.ACTIVE),
}
# A node that is not active is asked at every tick of the host.
_SEARCH_PERIOD_S = 0.4
_UP = (NodeState.INACTIVE, NodeState.ACTIVE)


@dataclass(slots=True)
class _Watched:
    """One lifecycle node. Times are on the steady clock."""

    name: str
    since_s: float
    state: NodeState = NodeState.UNKNOWN
    ever_active: bool = False
    # Somebody else took it out of service; it is left alone until it restarts.
    held: bool = False
    # Tag of the transition whose answer is awaited, and the state that it leads to.
    change: str = ""
    change_to: NodeState = NodeState.UNKNOWN
    asking: bool = False
    asked_s: float = float("-inf")
    misses: int = 0
    failures: int = 0
    not_before_s: float = float("-inf")
    fault: str = ""
    late: bool = False
    shown: tuple[int, str] = (-1, "")


def get_state_service(node: str) -> str:
    """Name of the standard service that tells a lifecycle node's state."""
    return f"{node}/get_state"


def change_state_service(node: str) -> str:
    """Name of the standard service that changes it."""
    return f"{node}/change_state"


class LifecycleCore(Core):
    """See the module. The services it calls are named by `get_state_service` and `change_state_service`."""

    def __init__(self, parameters: ManagerParameters) -> None:
        self._p = parameters
        self._nodes: list[_Watched] = []
        self._down_since_s: float | None = None
        self._changes = 0

    def activate(self, now: Now) -> Effects:
        self._nodes = [_Watched(name, now.steady_s) for name in self._p.nodes]
        self._down_since_s = now.steady_s
        return [*self._advance(now)]

    def states(self) -> dict[str, NodeState]:
        """What is known of each node."""
        return {node.name: node.state for node in self._nodes}

    def tick(self, now: Now) -> Effects:
        return [*self._advance(now)]

    def service_result(self, name: str, tag: str, response: Any | None, now: Now) -> Effects:
        node = next(
            node for node in self._nodes if name in (get_state_service(node.name), change_state_service(node.name))
        )
        if name == get_state_service(node.name):
            node.asking = False
            effects = [*self._told(node, response, now)]
        elif tag == node.change:
            effects = [*self._changed(node, response, now)]
        else:
            # The transition was given up before, because the node's state had shown how it ended.
            effects = []
        return [*effects, *self._advance(now)]

    # --- what a node said

    def _told(self, node: _Watched, response: GetState.Response | None, now: Now) -> Iterator[Effect]:
        if response is None:
            # A node in transition need not answer; the transition has a time limit of its own.
            node.misses += not node.change
            if node.misses >= self._p.misses_allowed and node.state not in (NodeState.LOST, NodeState.UNKNOWN):
                self._enter(node, NodeState.LOST, now)
                yield Emit(
                    "lifecycle.node_lost",
                    f"{node.name} does not answer any more",
                    Severity.ERROR,
                    values={"node": node.name},
                )
            return
        node.misses = 0
        before, told = node.state, _BY_ID.get(response.current_state.id, NodeState.CHANGING)
        if node.change:
            yield from self._told_meanwhile(node, told, now)
            return
        if told is before:
            return
        self._enter(node, told, now)
        match told:
            case NodeState.UNCONFIGURED if node.ever_active or before is NodeState.LOST:
                node.failures, node.not_before_s, node.held, node.fault = 0, float("-inf"), False, ""
                text = f"{node.name} was restarted; it is configured and activated again"
                yield Emit("lifecycle.node_restarted", text, Severity.WARN, values={"node": node.name})
            case NodeState.INACTIVE if before is NodeState.ACTIVE:
                node.held = True
                text = f"{node.name} was deactivated by somebody else and is left so; activate it with `ros2 lifecycle set`"
                yield Emit("lifecycle.node_deactivated", text, Severity.WARN, values={"node": node.name})
            case NodeState.FINALIZED:
                text = f"{node.name} was shut down by somebody else; restart its process to have it back"
                yield Emit("lifecycle.node_finalized", text, Severity.ERROR, values={"node": node.name})
            case NodeState.ACTIVE:
                yield from self._active(node)

    def _told_meanwhile(self, node: _Watched, told: NodeState, now: Now) -> Iterator[Effect]:
        """An answer while a transition is awaited: it may show that the transition has ended, or died with its process."""
        if told is node.change_to:
            yield from self._changed(node, ChangeState.Response(success=True), now)
        elif told is node.state:
            node.change = ""

    def _changed(self, node: _Watched, response: ChangeState.Response | None, now: Now) -> Iterator[Effect]:
        verb, node.change = node.change.partition(" ")[0], ""
        if response is not None and response.success:
            self._enter(node, node.change_to, now)
            node.failures, node.fault = 0, ""
            if node.state is NodeState.ACTIVE:
                yield from self._active(node)
            return
        node.failures += 1
        delay_s = min(self._p.retry_first_s * 2.0 ** min(node.failures - 1, 20), self._p.retry_max_s)
        node.not_before_s = now.steady_s + delay_s
        # How far it got is asked before anything else is tried.
        node.asked_s = float("-inf")
        why = "was refused (the node's own log says why)" if response is not None else "was not answered in time"
        node.fault = f"{verb} {why}, {node.failures} time{'s' if node.failures > 1 else ''} in a row"
        values: dict[str, str | float | int | bool] = {
            "node": node.name,
            "transition": verb,
            "failures": node.failures,
            "next_try_s": round(delay_s, 1),
        }
        code = "lifecycle.transition_refused" if response is not None else "lifecycle.transition_timeout"
        yield Emit(code, f"{node.name}: {node.fault}; next try in {delay_s:.1f} s", Severity.ERROR, values=values)

    def _active(self, node: _Watched) -> Iterator[Effect]:
        node.ever_active, node.held, node.late, node.failures, node.fault = True, False, False, 0, ""
        yield Emit("lifecycle.node_active", f"{node.name} is active", values={"node": node.name})

    @staticmethod
    def _enter(node: _Watched, state: NodeState, now: Now) -> None:
        if node.state is not state:
            if NodeState.ACTIVE in (node.state, state):
                node.since_s = now.steady_s
            node.state = state

    # --- what to do next

    def _advance(self, now: Now) -> Iterator[Effect]:
        for index, node in enumerate(self._nodes):
            yield from self._next(node, self._nodes[:index], now)
        yield from self._report(now)

    def _next(self, node: _Watched, earlier: list[_Watched], now: Now) -> Iterator[Effect]:
        if node.asking:
            return
        seen = node.asked_s > float("-inf")
        if not node.change and seen and node.not_before_s <= now.steady_s and self._may_change(node, earlier):
            verb, transition, node.change_to = _TRANSITIONS[node.state]
            self._changes += 1
            node.change, node.asked_s = f"{verb} {self._changes}", now.steady_s
            request = ChangeState.Request(transition=Transition(id=transition, label=verb))
            yield CallService(change_state_service(node.name), node.change, request, self._p.transition_timeout_s)
            return
        period_s = self._p.watch_period_s if node.change or node.state is NodeState.ACTIVE else _SEARCH_PERIOD_S
        if now.steady_s - node.asked_s >= period_s:
            node.asking, node.asked_s = True, now.steady_s
            yield CallService(get_state_service(node.name), "get_state", GetState.Request(), self._p.answer_timeout_s)

    @staticmethod
    def _may_change(node: _Watched, earlier: list[_Watched]) -> bool:
        """The order holds for the first bring-up; a node that comes back later does not wait for others."""
        if node.held or node.state not in _TRANSITIONS:
            return False
        if node.state is NodeState.UNCONFIGURED:
            return node.ever_active or all(other.ever_active or other.state in _UP for other in earlier)
        return node.ever_active or all(other.ever_active or other.state is NodeState.ACTIVE for other in earlier)

    def _report(self, now: Now) -> Iterator[Effect]:
        for node in self._nodes:
            down_s = now.steady_s - node.since_s
            if node.state is not NodeState.ACTIVE and not node.late and down_s >= self._p.late_s:
                node.late = True
                text = f"{node.name} is not active for {down_s:.0f} s: {node.fault or node.state.value}"
                yield Emit("lifecycle.node_late", text, Severity.ERROR, values={"node": node.name})
            level = 0 if node.state is NodeState.ACTIVE else 1
            if node.late or node.fault or node.state in (NodeState.LOST, NodeState.FINALIZED):
                level = 2
            if node.shown != (level, text := node.fault or node.state.value):
                node.shown = (level, text)
                yield Diagnose(node.name, level, text, {"state": node.state.value, "failures": node.failures})
        waiting = [node.name for node in self._nodes if node.state is not NodeState.ACTIVE]
        if waiting and self._down_since_s is None:
            self._down_since_s = now.steady_s
            yield Diagnose("system", 1, f"not active: {', '.join(waiting)}")
        elif not waiting and self._down_since_s is not None:
            took_s, self._down_since_s = now.steady_s - self._down_since_s, None
            yield Diagnose("system", 0, "all nodes are active")
            yield Emit(
                "lifecycle.all_active",
                f"all nodes are active after {took_s:.1f} s",
                values={"seconds": round(took_s, 2)},
            )
