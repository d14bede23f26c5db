"""Every way in which a permit is void, and that the door counts on its own."""

from typing import Any

import pytest
from harness import World, pick_of, wall_of
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode, SafetyState

from lumper_motion.permit import Door, Permit, PermitRules
from lumper_ros.auth import permit_mac
from lumper_ros.convert import to_time
from lumper_ros.core import Now

G, B, C = ExecuteMotion.Goal, BrokerState, OutcomeCode
TARGET = 3 * 6 + 3
KEY = bytes(range(32))
RULES = PermitRules(max_age_s=0.1, clock_tolerance_s=0.02, distrust_s=1.0)
ZERO = 1.7e9


def at(t: float) -> Now:
    return Now(t, 50.0 + t, ZERO + t)


def state(t: float, sequence: int, lease_s: float = 0.1, key: bytes | None = KEY, **fields: Any) -> SafetyState:
    values: dict[str, Any] = {"monitor_id": 1, "mode": SafetyState.RUN, "speed_scale": 1.0, **fields}
    made = SafetyState(stamp=to_time(ZERO + t), permit_until=to_time(ZERO + t + lease_s), sequence=sequence, **values)
    made.mac = list(permit_mac(key, made))
    return made


def fresh() -> Permit:
    permit = Permit(RULES, KEY)
    assert not permit.now(at(0.0)).valid
    assert permit.receive(state(0.0, 1), at(0.001)) == ""
    assert permit.now(at(0.001)).valid
    return permit


def test_runs_out_by_itself() -> None:
    permit = fresh()
    assert permit.now(at(0.0999)).valid
    assert not permit.now(at(0.101)).valid


def test_a_long_lease_is_not_believed() -> None:
    permit = Permit(RULES, KEY)
    permit.receive(state(0.0, 1, lease_s=10.0), at(0.0))
    assert not permit.now(at(0.11)).valid


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (state(0.02, 1), "sequence"),
        (state(0.02, 0), "sequence"),
        (state(0.10, 2), "future"),
        (state(-0.05, 2), "went back"),
        (state(0.02, 2, speed_scale=float("nan")), "speed_scale"),
        (state(0.02, 2, speed_scale=1.5), "speed_scale"),
        (state(0.02, 2, speed_scale=-0.1), "speed_scale"),
        (state(0.02, 2, monitor_id=2), "two monitors"),
        (state(0.02, 2, key=bytes(32)), "code"),
        (state(0.02, 2, key=None), "code"),
    ],
)
def test_what_voids_it(message: SafetyState, word: str) -> None:
    permit = fresh()
    fault = permit.receive(message, at(0.03))
    assert word in fault
    assert not permit.now(at(0.03)).valid
    assert permit.rejected == 1


@pytest.mark.parametrize("mode", [SafetyState.STARTING, SafetyState.PROTECTIVE_STOP, SafetyState.EMERGENCY_STOP, 17])
def test_modes_without_motion(mode: int) -> None:
    permit = fresh()
    permit.receive(state(0.02, 2, mode=mode), at(0.02))
    assert not permit.now(at(0.02)).valid
    permit.receive(state(0.04, 3), at(0.04))
    assert permit.now(at(0.04)).valid


def test_lease_in_the_past() -> None:
    permit = fresh()
    permit.receive(state(0.02, 2, lease_s=-1.0), at(0.02))
    assert not permit.now(at(0.02)).valid


def test_stale_on_arrival() -> None:
    permit = fresh()
    assert "old" in permit.receive(state(0.02, 2), at(0.2))
    assert not permit.now(at(0.2)).valid


def test_second_monitor_is_distrusted_for_a_while_then_the_first_counts_again() -> None:
    permit = fresh()
    permit.receive(state(0.02, 2, monitor_id=9), at(0.02))
    permit.receive(state(0.04, 2), at(0.04))
    assert not permit.now(at(0.04)).valid
    permit.receive(state(1.05, 3), at(1.05))
    assert permit.now(at(1.05)).valid


def test_a_monitor_that_was_restarted_is_followed() -> None:
    permit = fresh()
    permit.receive(state(0.5, 1, monitor_id=9), at(0.5))
    assert permit.now(at(0.5)).valid


def test_clock_that_jumps() -> None:
    permit = fresh()
    assert not permit.now(Now(0.0, 50.01, ZERO - 5.0)).valid, "system clock set back"
    assert not permit.now(Now(0.0, 50.2, ZERO + 0.01)).valid, "system clock stopped, steady goes on"


@pytest.mark.parametrize("back_s", [0.3, 5.0, 3600.0])
def test_a_clock_set_back_voids_the_lease_and_this_monitor_is_believed_again(back_s: float) -> None:
    permit = fresh()

    def then(t: float) -> Now:
        return Now(t, 50.0 + t, ZERO + t - back_s)

    assert "set back" in permit.now(then(0.01)).text
    assert permit.receive(state(0.0, 1), then(0.015)), "said before"
    assert permit.receive(state(0.02 - back_s, 2), then(0.021)) == ""
    assert permit.now(then(0.022)).valid
    assert not permit.now(then(0.13)).valid
    assert "sequence" in permit.receive(state(0.131 - back_s, 2), then(0.131))


def test_what_another_monitor_said_before_a_clock_was_set_back_is_not_believed() -> None:
    """The same time of the day comes again, and with it permits of an earlier life, if somebody kept them."""
    permit = fresh()
    kept = state(0.5 - 3600.0, 7, monitor_id=9)
    then = Now(0.5, 50.5, ZERO + 0.5 - 3600.0)
    assert "restart the broker" in permit.receive(kept, then)
    assert not permit.now(then).valid
    later = Now(3600.6, 3650.6, ZERO + 0.6)
    assert permit.receive(state(0.6, 8, monitor_id=9), later) == ""
    assert permit.now(later).valid, "the clock has caught up"


def test_door_counts_without_asking_the_permit() -> None:
    door = Door(0.1)
    door.pass_through(at(0.0))
    assert door.without_permit == 1
    door.hear(state(0.0, 1), at(0.0))
    door.pass_through(at(0.05))
    door.pass_through(at(0.2))
    assert (door.dispatched, door.without_permit) == (3, 2)


def test_forged_permit_does_not_start_the_arm_and_stops_it() -> None:
    world = World({"authentication": True}, key=KEY)
    world.boot()
    scan = world.send(world.goal(G.SCAN))
    world.run(0.4)
    forged = world.safety_state()
    forged.speed_scale = 0.5
    world.tell("safety/state", forged)
    assert world.finish(scan) == C.STOPPED_BY_SAFETY
    assert "code" in world.results[scan][1].text
    assert world.state.dispatched_without_permit == 0


def test_first_input_after_the_process_was_stopped_dispatches_nothing() -> None:
    world = World()
    world.cartons = wall_of()
    world.boot()
    world.send(world.goal(G.PICK, pick_of(world.cartons[TARGET])))
    world.until(lambda: world.state.stage == B.STAGE_GRASP and world.zones > 0)
    world.run(0.05)
    sent = len(world.sent)
    world._steps += 500
    world.time_s += 1.0
    world.attached = True
    world.tell("gripper/state", world.gripper_state())
    assert len(world.sent) == sent, "a trajectory left on a permit of a second ago"
