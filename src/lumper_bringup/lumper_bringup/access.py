"""Who may do what on the graph, node by node, from the interface table: DDS topics of ROS 2's topics, services and actions.

Least privilege: what the table does not name is denied. The names are those on the wire (REP-2004 naming: rt, rq, rr).
"""

from dataclasses import dataclass

from lumper_ros import interfaces
from lumper_ros.interfaces import DEMO, LIFECYCLE_NODES, MANAGER, NODES, RECORDER, SIM

# Nodes that have an enclave. The recorder hears everything and says nothing.
ENCLAVES = (*NODES, DEMO, RECORDER)
_PARAMETER_SERVICES = (
    "describe_parameters",
    "get_parameter_types",
    "get_parameters",
    "get_type_description",
    "list_parameters",
    "set_parameters",
    "set_parameters_atomically",
)
_LIFECYCLE_SERVICES = (
    "change_state",
    "get_available_states",
    "get_available_transitions",
    "get_state",
    "get_transition_graph",
)
_ACTION_SERVICES = ("send_goal", "cancel_goal", "get_result")
_ACTION_TOPICS = ("feedback", "status")


@dataclass(frozen=True, slots=True)
class Access:
    """DDS topic names that a node may write and read, sorted."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def may_publish(self, topic: str) -> bool:
        return topic in self.publish

    def may_subscribe(self, topic: str) -> bool:
        return topic in self.subscribe


def _name(namespace: str, name: str) -> str:
    """Fully qualified, without the leading slash."""
    if name.startswith("/"):
        return name.strip("/")
    return f"{namespace.strip('/')}/{name}".strip("/")


def _serve(publish: set[str], subscribe: set[str], service: str) -> None:
    publish.add(f"rr/{service}Reply")
    subscribe.add(f"rq/{service}Request")


def _call(publish: set[str], subscribe: set[str], service: str) -> None:
    publish.add(f"rq/{service}Request")
    subscribe.add(f"rr/{service}Reply")


def access_of(node: str, namespace: str = "") -> Access:
    """What a node of the table may do.

    Raises:
        KeyError: the table has no such node.
    """
    if node not in ENCLAVES:
        raise KeyError(node)
    publish = {"ros_discovery_info", "rt/rosout", "rt/parameter_events"}
    subscribe = {"ros_discovery_info", "rt/parameter_events"}
    for topic in interfaces.TOPICS.values():
        wire = f"rt/{_name(namespace, topic.name)}"
        if node in topic.publishers:
            publish.add(wire)
        if node in topic.subscribers or node == RECORDER:
            subscribe.add(wire)
    if node not in (SIM, DEMO):
        # Every node may take its time from the simulation.
        subscribe.add("rt/clock")
    for service in interfaces.SERVICES.values():
        if service.server == node:
            _serve(publish, subscribe, _name(namespace, service.name))
        if node in service.clients:
            _call(publish, subscribe, _name(namespace, service.name))
    for action in interfaces.ACTIONS.values():
        base = f"{_name(namespace, action.name)}/_action"
        for part in _ACTION_SERVICES:
            if action.server == node:
                _serve(publish, subscribe, f"{base}/{part}")
            if node in action.clients:
                _call(publish, subscribe, f"{base}/{part}")
        for part in _ACTION_TOPICS:
            if action.server == node:
                publish.add(f"rt/{base}/{part}")
            if node in action.clients or node == RECORDER:
                subscribe.add(f"rt/{base}/{part}")
    for name in _PARAMETER_SERVICES:
        _serve(publish, subscribe, _name(namespace, f"{node}/{name}"))
    _lifecycle(publish, subscribe, node, namespace)
    return Access(tuple(sorted(publish)), tuple(sorted(subscribe)))


def _lifecycle(publish: set[str], subscribe: set[str], node: str, namespace: str) -> None:
    if node in LIFECYCLE_NODES:
        publish.add(f"rt/{_name(namespace, f'{node}/transition_event')}")
        for name in _LIFECYCLE_SERVICES:
            _serve(publish, subscribe, _name(namespace, f"{node}/{name}"))
    if node == MANAGER:
        for managed in LIFECYCLE_NODES:
            subscribe.add(f"rt/{_name(namespace, f'{managed}/transition_event')}")
            for name in _LIFECYCLE_SERVICES:
                _call(publish, subscribe, _name(namespace, f"{managed}/{name}"))


def wire_topics(namespace: str = "") -> tuple[str, ...]:
    """Every DDS topic that any node may use."""
    topics: set[str] = set()
    for node in ENCLAVES:
        access = access_of(node, namespace)
        topics |= {*access.publish, *access.subscribe}
    return tuple(sorted(topics))
