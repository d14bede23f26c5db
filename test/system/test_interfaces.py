"""Every name on the running graph against the interface table: who is there, with which type and quality of service."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from lumper_ros import interfaces
from lumper_ros.qos import qos

# Names that ROS 2 itself gives every node.
ROS_TOPICS = ("/rosout", "/parameter_events")
ROS_SERVICES = (
    "describe_parameters",
    "get_parameter_types",
    "get_parameters",
    "list_parameters",
    "set_parameters",
    "set_parameters_atomically",
    "get_type_description",
    "get_available_states",
    "get_available_transitions",
    "get_state",
    "get_transition_graph",
    "change_state",
)


def absolute(name: str) -> str:
    return name if name.startswith("/") else f"/{name}"


def faults_of(see: Any, running: set[str]) -> list[str]:
    """Where the running graph differs from the table."""
    faults: list[str] = []
    for topic in interfaces.TOPICS.values():
        wanted = qos(topic.profile)
        for what, ends, rows in (
            ("publisher", see.node.get_publishers_info_by_topic(absolute(topic.name)), topic.publishers),
            ("subscriber", see.node.get_subscriptions_info_by_topic(absolute(topic.name)), topic.subscribers),
        ):
            nodes = {end.node_name for end in ends} - {"observer"}
            expected = {row for row in rows if row in running}
            # Every node listens to /clock when it uses simulated time.
            if (nodes != expected) and not (topic.name == "/clock" and what == "subscriber"):
                faults.append(f"{topic.name}: {what}s are {sorted(nodes)}, the table says {sorted(expected)}")
            for end in ends:
                if end.node_name == "observer":
                    continue
                if end.topic_type != topic.type:
                    faults.append(f"{topic.name}: {end.node_name} uses {end.topic_type}, the table says {topic.type}")
                real = end.qos_profile
                if topic.name != "/clock" and (real.reliability, real.durability) != (
                    wanted.reliability,
                    wanted.durability,
                ):
                    faults.append(f"{topic.name}: {what} {end.node_name} has {real.reliability}, {real.durability}")
                if topic.profile is interfaces.Profile.PERMIT and real.deadline != wanted.deadline:
                    faults.append(f"{topic.name}: {what} {end.node_name} has deadline {real.deadline}")
    known = {absolute(name) for name in interfaces.TOPICS}
    for name, types in see.node.get_topic_names_and_types():
        hidden = "/_action/" in name or "transition_event" in name
        if name not in known and not name.startswith(ROS_TOPICS) and not hidden:
            faults.append(f"{name} {types} is on the graph and not in the table")

    services = {absolute(row.name): row for row in interfaces.SERVICES.values()}
    for node in running:
        for name, types in see.node.get_service_names_and_types_by_node(node, "/"):
            if "/_action/" in name or name.rsplit("/", 1)[-1] in ROS_SERVICES:
                continue
            row = services.get(name)
            if row is None or row.server != node or types != [row.type]:
                faults.append(f"service {name} {types} of {node} is not what the table says: {row}")
    found = {name for name, _ in see.node.get_service_names_and_types()}
    faults += [f"service {name} has no server" for name in services if name not in found]
    for action in interfaces.ACTIONS.values():
        servers = {end.node_name for end in see.node.get_publishers_info_by_topic(f"/{action.name}/_action/status")}
        if servers != {action.server}:
            faults.append(f"action {action.name}: servers are {servers}, the table says {action.server}")
    return faults


def running_nodes(see: Any) -> set[str]:
    """The nodes of the table that are on the graph."""
    return {name for name, _ in see.node.get_node_names_and_namespaces()} & set(interfaces.NODES)


@pytest.mark.timeout(180)
def test_the_graph_is_the_table(launch: Callable[..., Any]) -> None:
    system = launch(cartons="20", page="true", page_port="18473")
    see = system.observer
    see.watch("safety/state", "job/state", "motion/state", "wall", "markers")
    for name in ("safety/state", "job/state", "motion/state", "wall", "markers"):
        see.wait(lambda name=name: see.newest.get(name), 90.0, f"a message on {name}")
    see.wait(lambda: see.node.get_publishers_info_by_topic("/diagnostics"), 30.0, "diagnostics")
    # Discovery is not at one instant, neither of nodes nor of what they offer: what is missing must come.
    with suppress(AssertionError):
        see.wait(lambda: running_nodes(see) == set(interfaces.NODES), 30.0, "every node")
    running = running_nodes(see)
    assert running == set(interfaces.NODES)
    with suppress(AssertionError):
        see.wait(lambda: not faults_of(see, running), 30.0, "the graph to be the table")
    faults = faults_of(see, running)
    assert not faults, "\n".join(faults)
