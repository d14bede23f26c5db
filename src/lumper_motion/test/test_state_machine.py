"""The transition table, whole; and the machine under random events."""

from pathlib import Path

import pytest
from harness import World, pick_of, wall_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode

from lumper_motion.requests import (
    TRANSITIONS,
    Happening,
    Queue,
    Request,
    State,
    TransitionError,
    after,
    transition_table,
)

G, B, C = ExecuteMotion.Goal, BrokerState, OutcomeCode
DOC = Path(__file__).resolve().parents[3] / "docs" / "motion.md"


def test_document_has_the_table() -> None:
    assert transition_table() in DOC.read_text()


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("happening", Happening)
def test_every_pair(state: State, happening: Happening) -> None:
    if (state, happening) in TRANSITIONS:
        assert after(state, happening) is TRANSITIONS[state, happening]
    else:
        with pytest.raises(TransitionError, match=state.name):
            after(state, happening)


def test_every_state_is_reached_and_can_end() -> None:
    reached = {State.QUEUED}
    while True:
        more = {b for (a, _), b in TRANSITIONS.items() if a in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(State)
    ends = {State.ENDED}
    while True:
        more = {a for (a, _), b in TRANSITIONS.items() if b in ends} - ends
        if not more:
            break
        ends |= more
    assert ends == set(State)
    assert not any(a is State.ENDED for a, _ in TRANSITIONS)


def test_every_state_that_moves_can_be_stopped() -> None:
    for state in (State.PLANNING, State.MOVING, State.PAUSED, State.GRIPPING, State.RELEASING):
        assert after(state, Happening.STOP) is State.STOPPING


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(1, 100)), max_size=30))
def test_queue_order_and_bound(items: list[tuple[int, float]]) -> None:
    queue = Queue(8)
    for number, (priority, deadline_s) in enumerate(items):
        request = Request(f"{number}", number, "", "", G.HOME, priority, deadline_s, 0)
        if queue.has_room():
            queue.push(request)
        else:
            with pytest.raises(OverflowError):
                queue.push(request)
    taken = [queue.pop() for _ in range(len(queue))]
    assert taken == sorted(taken, key=lambda item: (-item.priority, item.number))
    assert len(taken) == min(len(items), 8)


EVENTS = ("pick", "place", "home", "scan", "cancel", "permit", "scale", "conveyor", "seal", "drop", "wall", "wait")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 3), st.floats(0.0, 0.8)), min_size=3, max_size=14))
def test_random_life_keeps_the_promises(events: list[tuple[str, int, float]]) -> None:
    world = World()
    world.cartons = wall_of(layers=1)
    world.boot()
    message = pick_of(world.cartons[3 * 6 + 3])
    asked: list[str] = []
    for name, number, wait_s in events:
        if name in ("pick", "place", "home", "scan"):
            kind = {"pick": G.PICK, "place": G.PLACE, "home": G.HOME, "scan": G.SCAN}[name]
            asked.append(world.send(world.goal(kind, message if kind <= G.PLACE else None, priority=number)))
        elif name == "cancel" and asked:
            world.do(world.broker.cancel("motion/execute", asked[number % len(asked)], world.now()))
        elif name == "permit":
            world.permit = not world.permit
        elif name == "scale":
            world.scale = (0.0, 0.2, 0.6, 1.0)[number]
        elif name == "conveyor":
            world.conveyor_ready = not world.conveyor_ready
        elif name == "seal":
            world.seals = not world.seals
        elif name == "drop":
            world.attached = False
        elif name == "wall":
            world.wall_version += 1
            world.tell("wall", world.wall())
        world.run(wait_s)
    world.permit, world.scale, world.conveyor_ready, world.seals = True, 1.0, True, True
    world.until(lambda: all(request in world.results for request in asked), 90.0)
    for request in asked:
        status, result = world.results[request]
        # A stop is told at standstill; a refusal may be told while something else moves.
        if result.last_stage and result.outcome.code >= 300:
            assert world.result_speed[request] < 0.01
        assert (status.value == "succeeded") == (result.outcome.code == C.NONE)
        assert result.text or result.outcome.code == C.NONE
    assert world.broker._door.without_permit == 0
    assert world.peak_speed <= 1.0 + 1e-6
    assert world.peak_accel <= 1.15
