"""Reset, stop and speed limit: who may, when it is refused, what survives a restart."""

from __future__ import annotations

import pytest
from lumper_msgs.msg import CommandAuth, SafetyCause, SafetyState
from lumper_msgs.srv import ResetSafety, SetSpeedLimit
from robot_bench import FILES, KEY, ROBOT, SYSTEM_S, TRAILER, Bench, table

from lumper_ros.auth import permit_genuine, sign_command
from lumper_ros.convert import seconds
from lumper_ros.core import Persist, Publish
from lumper_ros.parameters import from_mapping
from lumper_safety.core import SafetyMonitor
from lumper_safety.parameters import Parameters

C = SafetyCause


def stopped(**more: object) -> Bench:
    bench = Bench(**more)  # type: ignore[arg-type]
    bench.run(0.14)
    assert bench.permitted
    answer = bench.stop()
    assert answer.success and not bench.permitted
    return bench


def test_reset_by_a_named_person_with_a_reason() -> None:
    bench = stopped()
    bench.run(0.1)
    answer = bench.reset("Grace", "the box is back")
    assert answer.accepted and bench.permitted and bench.state.last_reset_by == "Grace"
    event = next(e for e in bench.events if e.code == "safety.reset")
    assert event.values == {"operator": "Grace", "reason": "the box is back"}


@pytest.mark.parametrize(
    ("auth", "reason", "named"),
    [
        (CommandAuth(), "all clear", "operator_name"),
        (CommandAuth(operator_name="Eve"), "all clear", "mac"),
        (sign_command(KEY, "safety/reset", {"reason": ""}, "Ada", SYSTEM_S + 0.2, 1), "", "reason"),
        (sign_command(bytes(32), "safety/reset", {"reason": "x"}, "Ada", SYSTEM_S + 0.2, 2), "x", "mac"),
        (sign_command(KEY, "safety/reset", {"reason": "x"}, "Ada", SYSTEM_S + 0.2, 3), "y", "mac"),
        (sign_command(KEY, "job/command", {"reason": "x"}, "Ada", SYSTEM_S + 0.2, 4), "x", "mac"),
        (sign_command(KEY, "safety/reset", {"reason": "x"}, "Ada", SYSTEM_S - 60.0, 5), "x", "stamp"),
        (sign_command(KEY, "safety/reset", {"reason": "x"}, "Ada", SYSTEM_S + 60.0, 6), "x", "stamp"),
        (sign_command(KEY, "safety/reset", {"reason": "x"}, "Ada", SYSTEM_S - 1.0, 7), "x", "start"),
    ],
)
def test_reset_is_refused_by_name(auth: CommandAuth, reason: str, named: str) -> None:
    bench = stopped()
    bench.run(0.1)
    answer = bench.call("safety/reset", ResetSafety.Request(reason=reason, auth=auth))
    assert not answer.accepted and named in answer.text
    bench.run(0.1)
    assert not bench.permitted and C.STOP_CALLED in bench.codes()
    assert bench.events[-1].code == "safety.reset_refused"


def test_reset_cannot_be_replayed() -> None:
    bench = stopped()
    auth = sign_command(KEY, "safety/reset", {"reason": "x"}, "Ada", bench.now.system_s, 1)
    request = ResetSafety.Request(reason="x", auth=auth)
    assert bench.call("safety/reset", request).accepted
    bench.stop()
    assert "replayed" in bench.call("safety/reset", request).text
    assert not bench.permitted


def test_limit_needs_authentication_and_a_fraction() -> None:
    bench = Bench()
    bench.run(0.14)
    assert not bench.call("safety/speed_limit", SetSpeedLimit.Request(speed_scale=0.1)).accepted
    assert "speed_scale" in bench.limit(1.5).text
    assert "speed_scale" in bench.limit(float("nan")).text
    bench.run(0.02)
    assert bench.state.speed_scale == 1.0


def test_without_authentication_a_name_is_enough_and_permits_are_unsigned() -> None:
    bench = stopped(authentication=False)
    assert len(bench.state.mac) == 0
    assert not bench.call("safety/reset", ResetSafety.Request(reason="x")).accepted
    assert bench.reset().accepted


def test_every_permit_is_genuine_rising_and_short() -> None:
    bench = Bench()
    bench.run(2.0)
    bench.stop()
    bench.run(0.2)
    sequences = [state.sequence for state in bench.states]
    assert sequences == sorted(set(sequences)) and len({state.monitor_id for state in bench.states}) == 1
    for state in bench.states:
        assert permit_genuine(KEY, state)
        lease = seconds(state.permit_until) - seconds(state.stamp)
        if state.mode in (SafetyState.RUN, SafetyState.REDUCED):
            assert lease == pytest.approx(0.1, abs=1e-6) and state.speed_scale > 0
        else:
            assert lease < 0 and state.speed_scale == 0


def test_reset_answer_names_what_is_still_present() -> None:
    bench = Bench()
    bench.run(0.14)
    bench.estop_closed = False
    bench.run(0.2)
    answer = bench.reset()
    assert [c.code for c in answer.causes] == [C.ESTOP_OPEN] and "emergency-stop" in answer.text


def test_every_change_of_mode_is_an_event_with_cause_value_limit_and_latency() -> None:
    bench = Bench()
    bench.run(0.14)
    bench.silent.add("scan/front")
    bench.run(0.5)
    event = bench.events[-1]
    assert event.code == "safety.mode_changed" and event.values["to"] == "PROTECTIVE_STOP"
    assert event.values["cause_0"] == "SCAN_STALE" and event.values["cause_0_limit"] == 0.25
    assert 0.25 < event.values["cause_0_value"] < 0.29  # type: ignore[operator]
    assert 0.0 <= event.values["cause_0_latency_s"] <= 0.021  # type: ignore[operator]


def test_event_carries_job_plan_and_request() -> None:
    bench = Bench()
    bench.job.job_id, bench.job.plan_id, bench.broker.active_request_id = "j1", "p1", "r1"
    bench.run(0.14)
    bench.stop()
    assert (bench.events[-1].job_id, bench.events[-1].plan_id, bench.events[-1].request_id) == ("j1", "p1", "r1")


def a_core() -> SafetyMonitor:
    return SafetyMonitor(from_mapping(Parameters, FILES), ROBOT, TRAILER, table(), KEY, 99)


def test_latches_and_limit_survive_the_death_of_the_monitor() -> None:
    bench = stopped()
    bench.limit(0.5)
    bench.run(0.2)
    stored: dict[str, dict[str, object]] = {}
    for effect in bench.effects:
        if isinstance(effect, Persist):
            stored.setdefault(effect.kind, {})[effect.key] = effect.record
    assert stored == {
        "latch": {"STOP_CALLED safety/stop": stored["latch"]["STOP_CALLED safety/stop"]},
        "limit": {"operator": {"speed_scale": 0.5}},
    }
    bench.core = a_core()
    bench._take(bench.core.restore(stored, bench.now))  # type: ignore[arg-type]
    bench._take(bench.core.activate(bench.now))
    bench.run(3.0)
    assert not bench.permitted and C.STOP_CALLED in bench.codes()
    assert bench.reset().accepted
    bench.run(0.1)
    assert bench.state.speed_scale == pytest.approx(0.5)
    cleared = [e for e in bench.effects if isinstance(e, Persist) and e.kind == "latch"][-1]
    assert cleared.record is None


def test_full_disk_is_reported_and_tried_again() -> None:
    bench = stopped()
    bench.run(0.02)
    before = sum(isinstance(e, Persist) for e in bench.effects)
    bench._take(bench.core.persist_failed("latch", "STOP_CALLED safety/stop", "no space left", bench.now))
    assert "no space left" in bench.events[-1].text
    bench.run(0.9)
    assert sum(isinstance(e, Persist) for e in bench.effects) == before
    bench.run(0.3)
    again = [e for e in bench.effects if isinstance(e, Persist)][before:]
    assert [(e.kind, e.key, e.record is None) for e in again] == [
        ("latch", "STOP_CALLED safety/stop", False),
        ("limit", "operator", True),
    ]
    assert not bench.permitted


def test_reset_that_the_disk_did_not_take_is_written_later() -> None:
    bench = stopped()
    bench.run(0.1)
    bench.reset()
    bench._take(bench.core.persist_failed("latch", "STOP_CALLED safety/stop", "no space left", bench.now))
    bench.run(1.5)
    bench.stop()
    before = len(bench.effects)
    bench.run(0.1)
    bench.reset()
    gone = [e for e in bench.effects[before:] if isinstance(e, Persist) and e.kind == "latch"]
    assert [e.record is None for e in gone] == [False, True]


def test_disk_is_never_waited_for_while_something_is_permitted() -> None:
    """Withdrawal comes before the record of its latch; the record of a reset comes before the permit it gives."""
    bench = Bench()
    bench.run(0.14)
    bench.limit(0.5)
    bench.run(0.1)
    bench.stop()
    bench.run(0.1)
    bench.reset()
    bench.run(0.1)
    permitted = False
    written = 0
    for effect in bench.effects:
        if isinstance(effect, Publish):
            permitted = effect.message.mode in (SafetyState.RUN, SafetyState.REDUCED)
        elif isinstance(effect, Persist):
            assert not permitted
            written += 1
    assert written == 3, "latch, limit, latch gone"


def test_clean_end_withdraws_the_permit() -> None:
    bench = Bench()
    bench.run(0.14)
    bench._take(bench.core.deactivate(bench.now))
    assert not bench.permitted and permit_genuine(KEY, bench.state)


def test_graph_that_shows_two_publishers_stops() -> None:
    bench = Bench()
    bench.run(0.14)
    bench._take(bench.core.permit_publishers(1, bench.now))
    assert bench.permitted
    bench._take(bench.core.permit_publishers(2, bench.now))
    assert not bench.permitted and "2 publishers" in bench.cause(C.SECOND_MONITOR).text
