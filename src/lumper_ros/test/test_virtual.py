"""The virtual graph keeps what DDS and the live host promise, and no more."""

from collections.abc import Sequence
from typing import Any

import pytest
from lumper_msgs.action import AdvanceBase
from lumper_msgs.msg import GripperState, SafetyState
from lumper_msgs.srv import SetGripper
from sensor_msgs.msg import JointState

from lumper_ros import core as c
from lumper_ros.interfaces import BROKER, PLANNER, SAFETY, SIM
from lumper_ros.virtual import CoreError, PlainTransport, VirtualGraph


class Listener(c.Core):
    """Notes what comes."""

    def __init__(self, plan: Sequence[c.Effect] = ()) -> None:
        self.plan = list(plan)
        self.heard: list[tuple[str, Any]] = []
        self.ends: list[tuple[str, c.GoalStatus]] = []
        self.answers: list[Any] = []
        self.goals: list[str] = []
        self.failed: list[str] = []

    def activate(self, now: c.Now) -> c.Effects:
        return self.plan

    def message(self, name: str, message: Any, now: c.Now) -> c.Effects:
        self.heard.append((name, message))
        return c.NOTHING

    def goal(self, name: str, goal_id: str, goal: Any, now: c.Now) -> c.Effects:
        self.goals.append(goal_id)
        return c.NOTHING

    def goal_result(self, name: str, goal_id: str, status: c.GoalStatus, result: Any, now: c.Now) -> c.Effects:
        self.ends.append((goal_id, status))
        return c.NOTHING

    def service_result(self, name: str, tag: str, response: Any, now: c.Now) -> c.Effects:
        self.answers.append(response)
        return c.NOTHING

    def persist_failed(self, kind: str, key: str, error: str, now: c.Now) -> c.Effects:
        self.failed.append(error)
        return c.NOTHING


def graph(**cores: c.Core) -> VirtualGraph:
    made = VirtualGraph()
    for name, core in cores.items():
        made.add(name, lambda core=core: core, 10.0, uses_sim_time=False)
        made.start(name)
    return made


def test_a_frozen_reader_finds_as_much_as_its_history_is_deep() -> None:
    broker = Listener()
    made = graph(motion_broker=broker)
    made.freeze(BROKER)
    for number in range(10):
        made.publish("joint_states", SIM, JointState(name=[str(number)]))
        made.publish("gripper/state", SIM, GripperState(zones_on=number))
    made.run(0.05)
    made.thaw(BROKER)
    assert [(name, getattr(m, "zones_on", None)) for name, m in broker.heard] == [
        ("joint_states", None),
        ("gripper/state", 9),
    ]
    assert broker.heard[0][1].name == ["9"]


def test_a_permit_older_than_its_lifespan_is_not_delivered() -> None:
    broker = Listener()
    made = graph(motion_broker=broker)
    made.freeze(BROKER)
    made.publish("safety/state", SAFETY, SafetyState())
    made.run(0.3)
    made.thaw(BROKER)
    assert not broker.heard


def test_a_goal_that_nobody_accepts_is_unavailable_and_still_arrives() -> None:
    planner, sim = Listener([c.SendGoal("base/advance", "a" * 32, AdvanceBase.Goal())]), Listener()
    made = graph(trailer_sim=sim)
    made.freeze(SIM)
    made.add(PLANNER, lambda: planner, 10.0)
    made.start(PLANNER)
    made.run(4.0)
    assert planner.ends == [("a" * 32, c.GoalStatus.UNAVAILABLE)]
    made.thaw(SIM)
    assert sim.goals == ["a" * 32], "what was sent arrives though its client gave up"


@pytest.mark.parametrize("back_s", [1.0, 30.0])
def test_a_goal_of_a_dead_server_is_lost_once(back_s: float) -> None:
    planner, sim = Listener([c.SendGoal("base/advance", "b" * 32, AdvanceBase.Goal())]), Listener()
    made = graph(trailer_sim=sim, unload_planner=planner)
    made.run(0.5)
    made.kill(SIM)
    made.at(back_s, made.start, SIM)
    made.run(40.0)
    assert planner.ends == [("b" * 32, c.GoalStatus.LOST)]


def test_a_call_ends_once_also_without_a_server() -> None:
    broker = Listener([c.CallService("gripper/set", "t", SetGripper.Request(), 1.0)])
    made = graph(motion_broker=broker)
    made.run(5.0)
    assert broker.answers == [None]


def test_what_follows_a_record_that_cannot_be_written_is_dropped() -> None:
    class Full(PlainTransport):
        def persist_fails(self, node: str, kind: str, key: str) -> str:
            return "full"

    sent: list[str] = []
    broker = Listener([c.Persist("k", "a", {}), c.Publish("motion/state", object())])
    made = VirtualGraph(Full(), lambda now_s, node, effect: sent.append(type(effect).__name__))
    made.add(BROKER, lambda: broker, 10.0)
    made.start(BROKER)
    assert sent == ["Persist"] and broker.failed == ["full"] and not made.store(BROKER)


def test_a_node_killed_before_an_effect_does_not_carry_it_out() -> None:
    made = VirtualGraph(tap=lambda now_s, node, effect: made.kill(BROKER) if isinstance(effect, c.Emit) else None)
    made.add(BROKER, lambda: Listener([c.Persist("k", "a", {}), c.Emit("x", "y"), c.Persist("k", "b", {})]), 10.0)
    made.start(BROKER)
    assert set(made.store(BROKER)["k"]) == {"a"} and not made.alive(BROKER)


def test_an_exception_in_a_core_names_the_node() -> None:
    class Broken(Listener):
        def message(self, name: str, message: Any, now: c.Now) -> c.Effects:
            raise KeyError("no such thing")

    made = graph(motion_broker=Broken())
    made.publish("joint_states", SIM, JointState())
    with pytest.raises(CoreError, match=r"motion_broker at 0\.002 s: KeyError"):
        made.run(1.0)
