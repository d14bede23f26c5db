"""A broker that is killed anywhere: nothing is done twice, nothing is forgotten, the first outcome stays the outcome."""

import random
from typing import Any

import pytest
from harness import World, carton, pick_of, wall_of
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode

from lumper_motion.journal import REFUSALS_WRITTEN_PER_S
from lumper_ros import core as c
from lumper_ros.convert import matrix

G, B, C = ExecuteMotion.Goal, BrokerState, OutcomeCode
TARGET = 3 * 6 + 3


def built() -> World:
    world = World()
    world.cartons = wall_of()
    return world.boot()


def test_same_id_again_gives_the_first_outcome_and_moves_nothing() -> None:
    world = built()
    goal = world.goal(G.SCAN)
    request = world.send(goal)
    assert world.finish(request) == C.NONE
    first, sent = world.results.pop(request), len(world.sent)
    world.send(goal, request)
    assert world.results[request][1] == first[1]
    assert len(world.sent) == sent


def test_same_id_after_a_restart_gives_the_first_outcome() -> None:
    world = built()
    goal = world.goal(G.SCAN)
    request = world.send(goal)
    assert world.finish(request) == C.NONE
    world.results.clear()
    world.kill()
    world.boot()
    sent = len(world.sent)
    world.send(goal, request)
    assert world.code(request) == C.NONE
    assert len(world.sent) == sent


def test_killed_during_a_motion_is_unknown_until_seen_then_told() -> None:
    world = built()
    goal = world.goal(G.SCAN)
    request = world.send(goal)
    world.run(0.4)
    world.kill()
    sent = len(world.sent)
    world.alive = True
    world.do(world.broker.restore(world.store, world.now()))
    world.do(world.broker.activate(world.now()))
    world.send(goal, request)
    assert request not in world.results, "nothing was seen yet"
    assert world.finish(request) == C.UNKNOWN_AFTER_RESTART
    assert "during move" in world.results[request][1].text
    assert world.result_speed[request] < 0.01
    assert len(world.sent) == sent
    assert world.store["request"][request]["outcome"] == C.UNKNOWN_AFTER_RESTART


def test_killed_in_a_grasp_it_waits_for_what_the_cups_come_to() -> None:
    world = built()
    message = pick_of(world.cartons[TARGET])
    request = world.send(world.goal(G.PICK, message))
    world.until(lambda: bool(world.zones))
    world.kill()
    world.zones_since_s = world.time_s + 0.4
    world.boot()
    world.until(lambda: world.state.state == B.IDLE)
    assert world.state.held_carton_ids.tolist() == [world.cartons[TARGET].id]
    assert world.store["request"][request]["holding"]


def test_load_is_known_after_a_restart() -> None:
    world = built()
    message = pick_of(world.cartons[TARGET])
    assert world.ask(world.goal(G.PICK, message)) == C.NONE
    place = world.send(world.goal(G.PLACE, message))
    world.until(lambda: world.state.stage == B.STAGE_CARRY and world.max_speed_seen > 0.3)
    world.kill()
    world.boot()
    world.until(lambda: world.state.state == B.IDLE)
    assert world.state.held_carton_ids.tolist() == [world.cartons[TARGET].id]
    world.send(world.goal(G.PLACE, message), place)
    assert world.code(place) == C.UNKNOWN_AFTER_RESTART
    assert world.ask(world.goal(G.PLACE, message)) == C.NONE


def test_the_held_load_does_not_stand_in_its_own_way() -> None:
    """An intake that was restarted in between may show what hangs on the gripper as a carton of its own."""
    world = built()
    message = pick_of(world.cartons[TARGET])
    assert world.ask(world.goal(G.PICK, message)) == C.NONE
    planner = world.broker._planner
    hung = world.base @ planner.kinematics.tool(world.position)[0] @ matrix(message.load_in_tool)
    taken = world.cartons.pop(TARGET)
    twin = carton(3025, *(float(x) for x in hung[:3, 3] + [0.01, -0.02, 0.01]))
    twin.size_m = taken.size_m
    world.cartons.append(twin)
    world.wall_version += 1
    world.tell("wall", world.wall())
    assert world.ask(world.goal(G.PLACE, message)) == C.NONE


def job(world: World, kill_at: int | None) -> int:
    """One carton, by a client that re-sends ids after a loss and goes on by outcome; returns effects seen.

    Kills the broker before its `kill_at`-th effect; asserts that no stage was sent twice under one id.
    """
    seen = 0
    killed = False

    def count(effect: c.Effect) -> bool:
        nonlocal seen, killed
        seen += 1
        if kill_at is not None and seen == kill_at and not killed:
            killed = True
            world.kill()
            return False
        return True

    world.after_effect = count
    message: Any = pick_of(world.cartons[TARGET])
    delivered = False
    for _ in range(12):
        kind = G.PLACE if world.attached else G.PICK
        goal = world.goal(kind, message)
        request = world.send(goal) if world.alive else world.new_id()
        limit_s = world.time_s + 30.0
        while request not in world.results and world.time_s < limit_s:
            if not world.alive:
                world.run(0.5)
                world.boot()
                world.until(lambda: world.state.state == B.IDLE, 10.0)
                world.send(goal, request)
                continue
            world.step()
        assert request in world.results, "a request was lost"
        if kind == G.PLACE and not world.attached and world.zones == 0:
            delivered = True
            if world.code(request) == C.NONE:
                break
            retreat = world.send(world.goal(G.HOME))
            world.finish(retreat)
            break
    assert delivered, "the job did not finish"
    sent = [goal_id for _, goal_id in world.sent]
    assert len(set(sent)) == len(sent), "a trajectory was sent twice"
    ended = [key for key, record in world.store["request"].items() if record["outcome"] is not None]
    assert len(ended) == len(world.store["request"])
    return seen


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_random_moments_the_job_finishes(seed: int) -> None:
    total = 900
    random_source = random.Random(seed)
    kill_at = random_source.randrange(1, total)
    print("kill before effect", kill_at)
    world = built()
    begun = len(world.sent)
    job(world, kill_at)
    assert begun == 0


def failing(world: World, when: Any) -> None:
    """Let the writes for which `when(effect)` holds fail, as the hosts do: what follows is dropped, the broker is told."""

    def after(effect: c.Effect) -> bool:
        if isinstance(effect, c.Persist) and when(effect):
            if effect.record is not None:
                world.store.get(effect.kind, {}).pop(effect.key, None)
            world.do(world.broker.persist_failed(effect.kind, effect.key, "disk full", world.now()))
            return False
        return True

    world.after_effect = after


def test_outcome_that_cannot_be_written_is_told_and_written_later() -> None:
    world = built()
    failing(world, lambda effect: effect.record["outcome"] is not None)
    request = world.send(world.goal(G.SCAN))
    assert world.finish(request) == C.NONE
    world.run(2.5)
    assert request not in world.store["request"]
    world.after_effect = lambda effect: True
    world.results.clear()
    world.run(2.5)
    assert world.store["request"][request]["outcome"] == C.NONE
    assert request not in world.results, "the outcome was told twice"


def refused_for_now(world: World) -> tuple[Any, str]:
    """A goal, and its id, that are refused only because there is no permit."""
    world.permit = False
    world.run(0.3)
    goal = world.goal(G.SCAN)
    request = world.send(goal)
    assert world.code(request) == C.NOT_PERMITTED
    return goal, request


def test_a_refused_request_is_not_begun_by_the_next_life() -> None:
    world = built()
    goal, request = refused_for_now(world)
    told, sent = world.results.pop(request), len(world.sent)
    world.kill()
    world.permit = True
    world.boot()
    world.send(goal, request)
    assert world.results[request][1] == told[1], "its client was told that it had ended"
    world.run(1.0)
    assert len(world.sent) == sent
    assert world.ask(world.goal(G.SCAN)) == C.NONE, "another one is"


def test_a_request_dropped_from_the_queue_is_not_begun_by_the_next_life() -> None:
    world = built()
    goals = [world.goal(G.SCAN), world.goal(G.HOME)]
    first, second = (world.send(goal) for goal in goals)
    world.run(0.3)
    world.permit = False
    world.run(1.0)
    assert [world.code(first), world.code(second)] == [C.STOPPED_BY_SAFETY, C.NOT_PERMITTED]
    world.kill()
    world.permit = True
    world.boot()
    sent = len(world.sent)
    for goal, request in zip(goals, (first, second), strict=True):
        world.send(goal, request)
    assert [world.code(first), world.code(second)] == [C.STOPPED_BY_SAFETY, C.NOT_PERMITTED]
    assert len(world.sent) == sent


def test_what_can_never_be_taken_costs_no_write() -> None:
    world = built()
    assert world.ask(world.goal(77)) == C.MALFORMED
    assert not world.store.get("refusal")


def test_a_flood_of_refused_requests_is_answered_from_memory() -> None:
    world = World({"refusals_size": 10}).boot()
    world.permit = False
    world.run(0.3)
    writes = 0

    def count(effect: c.Effect) -> bool:
        nonlocal writes
        writes += isinstance(effect, c.Persist)
        return True

    world.after_effect = count
    for second in range(1, 6):
        ids = [world.send(world.goal(G.SCAN)) for _ in range(100)]
        assert all(world.code(request) == C.NOT_PERMITTED for request in ids)
        assert writes <= 2 * REFUSALS_WRITTEN_PER_S * second, "one comes, at most one goes"
        assert len(world.store["refusal"]) <= 10
        world.run(1.0)


def test_a_refusal_that_cannot_be_written_is_told_and_written_later() -> None:
    world = built()
    failing(world, lambda effect: effect.kind == "refusal")
    _, request = refused_for_now(world)
    assert not world.store.get("refusal")
    told = dict(world.results)
    world.after_effect = lambda effect: True
    world.results.clear()
    world.run(2.5)
    assert world.store["refusal"][request]["code"] == told[request][1].outcome.code
    assert request not in world.results, "it was told twice"


@pytest.mark.parametrize("place", range(3))
def test_whichever_refusal_the_disk_does_not_take_each_is_told_once(place: int) -> None:
    """What follows a failed record is dropped by the host: other refusals of the same moment may be among it."""
    world = built()
    requests = [world.send(world.goal(G.SCAN)) for _ in range(4)]
    world.run(0.3)
    written: list[str] = []

    def third(effect: c.Persist) -> bool:
        written.append(effect.key)
        return effect.kind == "refusal" and len({key for key in written if key in requests[1:]}) == place + 1

    failing(world, third)
    told: list[str] = []
    after = world.after_effect

    def count(effect: c.Effect) -> bool:
        told.extend([effect.goal_id] if isinstance(effect, c.FinishGoal) else [])
        return after(effect)

    world.after_effect = count
    world.permit = False
    world.run(1.5)
    assert sorted(told) == sorted(requests)
    world.after_effect = lambda effect: True
    world.run(2.5)
    assert sorted(world.store["refusal"]) == sorted(requests[1:]), "those dropped behind it are written later too"


def test_stage_that_cannot_be_noted_stops_the_motion_under_way() -> None:
    world = built()
    moving = lambda effect: world.max_speed_seen > 0.1 and effect.record["outcome"] is None  # noqa: E731
    failing(world, moving)
    request = world.send(world.goal(G.PICK, pick_of(world.cartons[TARGET])))
    assert world.finish(request) == C.INTERNAL
    assert "disk full" in world.results[request][1].text
    assert world.result_speed[request] < 0.01
    assert world.state.stage == B.STAGE_NONE and not world.zones


def test_permit_lost_after_a_failed_note_still_cancels_the_trajectory() -> None:
    world = built()
    failing(world, lambda effect: world.max_speed_seen > 0.1 and effect.record["outcome"] is None)
    world.send(world.goal(G.PICK, pick_of(world.cartons[TARGET])))
    world.until(lambda: world.state.state == B.STOPPING)
    world.permit = False
    world.run(0.03)
    assert world.canceled_at_s, "the trajectory under way was left alone"


def test_journal_stays_bounded() -> None:
    world = World({"journal_size": 10}).boot()
    for i in range(30):
        delta = 0.01 if i % 2 else -0.01
        goal = world.goal(G.JOG, jog_joint_names=["joint_6"], jog_joint_delta_rad=[delta])
        assert world.ask(goal) == C.NONE
    assert len(world.store["request"]) == 10
    assert len(world.broker._journal) == 10
