"""The lifecycle manager's decisions, against modelled nodes that die, refuse, hang and lose answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

from lumper_bringup.core import LifecycleCore, NodeState, change_state_service, get_state_service
from lumper_bringup.parameters import ManagerParameters
from lumper_ros.core import CallService, Diagnose, Effects, Emit, Now
from lumper_ros.parameters import ParameterError, from_mapping

NODES = ("first", "second", "third")
TICK_S = 0.5
_STATES = {
    "unconfigured": State.PRIMARY_STATE_UNCONFIGURED,
    "inactive": State.PRIMARY_STATE_INACTIVE,
    "active": State.PRIMARY_STATE_ACTIVE,
    "finalized": State.PRIMARY_STATE_FINALIZED,
    "configuring": State.TRANSITION_STATE_CONFIGURING,
}


@dataclass
class Node:
    """A lifecycle node as the manager can see it."""

    state: str = "unconfigured"
    alive: bool = True
    refuse: int = 0
    lose_answer: bool = False

    def change(self, transition: int) -> bool:
        wanted = {
            Transition.TRANSITION_CONFIGURE: ("unconfigured", "inactive"),
            Transition.TRANSITION_ACTIVATE: ("inactive", "active"),
        }
        before, after = wanted[transition]
        if self.state != before:
            return False
        if self.refuse:
            self.refuse -= 1
            return False
        self.state = after
        return True


@dataclass
class World:
    """Nodes, time, and the services between them and the manager."""

    core: LifecycleCore
    nodes: dict[str, Node] = field(default_factory=lambda: {name: Node() for name in NODES})
    time_s: float = 0.0
    events: list[tuple[str, str]] = field(default_factory=list)
    diagnostics: dict[str, Diagnose] = field(default_factory=dict)
    changes: list[tuple[str, str]] = field(default_factory=list)
    calls: int = 0
    _due: list[tuple[float, CallService]] = field(default_factory=list)
    _answers: list[tuple[CallService, Any]] = field(default_factory=list)
    before_change: Callable[[str, str], None] = lambda node, verb: None

    def now(self) -> Now:
        return Now(self.time_s, self.time_s, self.time_s)

    def take(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case Emit(code, _, _, _, _, _, values):
                    self.events.append((code, str(values.get("node", ""))))
                case Diagnose(name):
                    self.diagnostics[name] = effect
                case CallService():
                    self.calls += 1
                    self.call(effect)

    def call(self, call: CallService) -> None:
        name = call.name.partition("/")[0]
        open_calls = [*(due for _, due in self._due), *(call for call, _ in self._answers)]
        assert (call.name, call.tag) not in [(other.name, other.tag) for other in open_calls]
        node = self.nodes[name]
        response: Any = None
        if node.alive and call.name == get_state_service(name):
            response = GetState.Response(current_state=State(id=_STATES[node.state], label=node.state))
        elif node.alive and call.name == change_state_service(name):
            assert isinstance(call.request, ChangeState.Request)
            verb = call.request.transition.label
            self.before_change(name, verb)
            self.changes.append((name, verb))
            response = ChangeState.Response(success=node.change(call.request.transition.id))
        if response is None or node.lose_answer:
            self._due.append((self.time_s + call.timeout_s, call))
        else:
            self._answers.append((call, response))

    def drain(self) -> None:
        """Hand over the answers, each after the effects before it were carried out, as a host does."""
        while self._answers:
            call, response = self._answers.pop(0)
            self.take(self.core.service_result(call.name, call.tag, response, self.now()))

    def start(self) -> "World":
        self.take(self.core.activate(self.now()))
        self.drain()
        return self

    def run(self, seconds: float) -> None:
        end_s = self.time_s + seconds
        while self.time_s < end_s:
            self.time_s += TICK_S
            for due in [item for item in self._due if item[0] <= self.time_s]:
                self._due.remove(due)
                self.take(self.core.service_result(due[1].name, due[1].tag, None, self.now()))
            self.drain()
            self.take(self.core.tick(self.now()))
            self.drain()

    def codes(self, node: str) -> list[str]:
        return [code for code, of in self.events if of == node]

    def all_active(self) -> bool:
        return all(node.state == "active" and node.alive for node in self.nodes.values())


@pytest.fixture
def world() -> World:
    return World(LifecycleCore(from_mapping(ManagerParameters, {"nodes": list(NODES)})))


def test_nodes_come_up_in_order_and_at_once(world: World) -> None:
    world.start()
    assert world.all_active()
    assert world.changes == [(name, verb) for name in NODES for verb in ("configure", "activate")]
    assert ("lifecycle.all_active", "") in world.events
    assert {name: (item.level, item.text) for name, item in world.diagnostics.items()} == {
        **dict.fromkeys(NODES, (0, "active")),
        "system": (0, "all nodes are active"),
    }


def test_a_late_first_node_holds_back_the_others(world: World) -> None:
    world.nodes["first"].alive = False
    world.start()
    world.run(20.0)
    assert world.changes == []
    world.nodes["first"].alive = True
    world.run(2.0)
    assert world.all_active()
    assert [name for name, verb in world.changes if verb == "activate"] == list(NODES)


def test_a_restarted_manager_leaves_active_nodes_alone(world: World) -> None:
    for node in world.nodes.values():
        node.state = "active"
    world.start()
    world.run(10.0)
    assert world.changes == []
    assert ("lifecycle.all_active", "") in world.events


@pytest.mark.parametrize("name", NODES)
def test_a_respawned_node_is_brought_back_within_two_seconds(world: World, name: str) -> None:
    world.start()
    world.changes.clear()
    world.nodes[name] = Node()
    world.run(2.0)
    assert world.all_active()
    assert world.changes == [(name, "configure"), (name, "activate")]
    assert world.codes(name)[-2:] == ["lifecycle.node_restarted", "lifecycle.node_active"]


def test_a_dead_node_is_reported_and_does_not_hold_back_another(world: World) -> None:
    world.start()
    world.nodes["first"].alive = False
    world.run(5.0)
    assert world.codes("first")[-1] == "lifecycle.node_lost"
    assert world.diagnostics["first"].level == 2
    assert world.diagnostics["system"] == Diagnose("system", 1, "not active: first")
    world.nodes["third"] = Node()
    world.run(3.0)
    assert world.nodes["third"].state == "active"
    world.nodes["first"] = Node()
    world.run(3.0)
    assert world.all_active()
    assert world.diagnostics["system"].level == 0


def test_one_lost_answer_is_no_death(world: World) -> None:
    world.start()
    world.nodes["second"].lose_answer = True
    world.run(1.5)
    world.nodes["second"].lose_answer = False
    world.run(5.0)
    assert "lifecycle.node_lost" not in world.codes("second")


def test_a_refused_configure_is_tried_again_ever_less_often_and_reported(world: World) -> None:
    world.nodes["first"].refuse = 1000
    world.start()
    world.run(60.0)
    tries = world.codes("first").count("lifecycle.transition_refused")
    # 0.5 + 1 + 2 + 4 + 8 s, then every 10 s.
    assert 8 <= tries <= 12
    assert "refused (the node's own log says why)" in world.diagnostics["first"].text
    assert world.diagnostics["first"].level == 2
    assert "lifecycle.node_late" in world.codes("first")
    assert all(name == "first" for name, _ in world.changes)
    world.nodes["first"].refuse = 0
    world.run(11.0)
    assert world.all_active()
    assert world.diagnostics["first"].level == 0


def test_a_restart_after_refusals_is_tried_at_once(world: World) -> None:
    world.start()
    world.nodes["second"] = Node(refuse=1000)
    world.run(60.0)
    world.nodes["second"].alive = False
    world.run(5.0)
    world.nodes["second"] = Node()
    world.run(2.0)
    assert world.all_active()


def test_a_transition_that_was_not_answered_but_made_is_seen_by_the_state(world: World) -> None:
    def lose(node: str, verb: str) -> None:
        world.nodes[node].lose_answer = (node, verb) == ("second", "activate")

    world.before_change = lose
    world.start()
    assert world.nodes["second"].state == "active"
    world.nodes["second"].lose_answer = False
    world.run(2.0)
    assert world.all_active()
    world.run(60.0)
    assert world.codes("second") == ["lifecycle.node_active"]


def test_a_transition_that_hangs_ends_after_its_time_limit(world: World) -> None:
    def hang(node: str, verb: str) -> None:
        if node == "second":
            world.nodes[node].lose_answer, world.nodes[node].refuse = True, 1

    world.before_change = hang
    world.start()
    world.run(29.0)
    assert world.codes("second") == []
    world.run(5.0)
    assert world.codes("second")[0] == "lifecycle.transition_timeout"
    assert "was not answered in time" in world.diagnostics["second"].text


def test_a_node_that_died_in_a_transition_does_not_wait_for_its_time_limit(world: World) -> None:
    def die(node: str, verb: str) -> None:
        if node == "second":
            world.nodes[node].lose_answer, world.nodes[node].refuse = True, 1

    world.before_change = die
    world.start()
    world.run(3.0)
    world.before_change = lambda node, verb: None
    world.nodes["second"] = Node()
    world.run(3.0)
    assert world.all_active()


def test_a_node_that_somebody_deactivated_is_left_so_until_it_restarts(world: World) -> None:
    world.start()
    world.nodes["second"].state = "inactive"
    world.run(10.0)
    assert world.nodes["second"].state == "inactive"
    assert "lifecycle.node_deactivated" in world.codes("second")
    assert world.diagnostics["second"].level == 1
    world.nodes["second"].state = "active"
    world.run(2.0)
    assert world.diagnostics["second"].level == 0
    world.nodes["second"].state = "inactive"
    world.run(2.0)
    world.nodes["second"] = Node()
    world.run(2.0)
    assert world.all_active()


def test_a_node_that_was_shut_down_is_reported_and_left_alone(world: World) -> None:
    world.start()
    world.changes.clear()
    world.nodes["third"].state = "finalized"
    world.run(10.0)
    assert world.changes == []
    assert "lifecycle.node_finalized" in world.codes("third")
    assert world.diagnostics["third"].level == 2


def test_a_node_in_transition_is_waited_for(world: World) -> None:
    world.nodes["first"].state = "configuring"
    world.start()
    world.run(5.0)
    assert world.changes == []
    world.nodes["first"].state = "inactive"
    world.run(2.0)
    assert world.all_active()
    assert ("first", "configure") not in world.changes


def test_watching_costs_at_most_one_question_a_second_for_each_node(world: World) -> None:
    world.start()
    world.calls = 0
    world.run(100.0)
    assert world.calls <= 3 * 101


_FAULTS = st.lists(
    st.tuples(
        st.sampled_from(NODES),
        st.sampled_from(["respawn", "die", "refuse", "mute", "speak", "deactivate", "activate", "nothing"]),
        st.floats(0.0, 20.0),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(_FAULTS)
def test_whatever_happened_all_nodes_are_active_soon_after_it_ends(faults: list[tuple[str, str, float]]) -> None:
    world = World(LifecycleCore(from_mapping(ManagerParameters, {"nodes": list(NODES)})))
    ever_active: set[str] = set()

    def in_order(node: str, verb: str) -> None:
        for earlier in NODES[: NODES.index(node)]:
            assert node in ever_active or earlier in ever_active or world.nodes[earlier].state in ("inactive", "active")
        if verb == "activate":
            ever_active.add(node)

    world.before_change = in_order
    world.start()
    for name, fault, pause_s in faults:
        node = world.nodes[name]
        match fault:
            case "respawn":
                world.nodes[name] = Node()
            case "die":
                node.alive = False
            case "refuse":
                node.refuse = 3
            case "mute" | "speak":
                node.lose_answer = fault == "mute"
            case "deactivate" if node.state == "active":
                node.state = "inactive"
            case "activate" if node.state == "inactive":
                node.state = "active"
        world.run(pause_s)
    for name in NODES:
        world.nodes[name] = Node()
    # At worst the longest pause between two tries has just begun.
    world.run(10.0 + 5.0)
    assert world.all_active(), (world.nodes, world.core.states())
    assert set(world.core.states().values()) == {NodeState.ACTIVE}
    assert world.diagnostics["system"].level == 0


@pytest.mark.parametrize(
    ("given_values", "message"),
    [
        ({"nodes": []}, "nodes is empty"),
        ({"nodes": ["a", "a"]}, "names one twice"),
        ({"retry_first_s": 5.0, "retry_max_s": 1.0}, "retry_max_s=1.0 is less"),
        ({"watch_period_s": 0.0}, "watch_period_s=0.0: must be at least 0.5"),
        ({"watch": 1.0}, "watch: no such parameter"),
    ],
)
def test_bad_parameters_are_named(given_values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        from_mapping(ManagerParameters, given_values)
