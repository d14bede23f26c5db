"""Decide again: identical on the same code, different where something differs, and the reasons of both sides."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from lumper_msgs.msg import CoreStep, CoreSteps
from rclpy.serialization import deserialize_message, serialize_message
from virtual_jobs import record_job

from lumper_motion.stages import StagePlanner
from lumper_replay.check import check
from lumper_replay.cli import main
from lumper_replay.differ import Verdict
from lumper_replay.names import Names
from lumper_replay.reader import open_bag
from lumper_replay.writer import BagWriter
from lumper_ros import core as c
from lumper_ros import journal
from lumper_ros.interfaces import BROKER, PERCEPTION, PLANNER, SAFETY


def rewritten(source: Path, target: Path, change: object = None, without: tuple[str, ...] = ()) -> Path:
    """A copy of a bag; `change(topic, data)` gives the new data, or None to leave the message out."""
    bag = open_bag(source)
    writer = BagWriter(target, custom=bag.custom)
    for info in bag.topics.values():
        writer.add_topic(info.name, info.type, info.qos)
    for message in bag.messages():
        data = change(message.topic, message.data) if callable(change) else message.data
        if data is not None and message.topic not in without:
            writer.write(message.topic, message.stamp_ns, data)
    writer.close()
    return target


def test_same_code_same_decisions_and_the_same_hash_twice(job: Path) -> None:
    first, again = check(job, processes=1), check(job, processes=2)
    for result in (first, again):
        assert [(e.node, e.then, e.now) for e in (result.first(),) if e] == []
        assert result.count(Verdict.IDENTICAL) == result.total() > 1000
        assert result.undecided == 0 and result.faults == []
    kinds = {kind for tally in first.tallies for kind in tally.decisions}
    assert {"walls", "plans", "verdicts", "safety modes", "requests (motion/execute)"} <= kinds
    assert {tally.node: tally.lives for tally in first.tallies} == {SAFETY: 1, PERCEPTION: 1, BROKER: 1, PLANNER: 1}
    assert first.hash == again.hash


def test_a_computation_that_a_clock_ended_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The robot's planning process gives up by its clock; the recording says so, and replaying on another machine agrees."""
    place, given_up = StagePlanner.place, []

    def late(planner: StagePlanner, *asked: Any) -> Any:
        if len(given_up) < 3:
            given_up.append(asked)
            raise c.GaveUpError("no path in time")
        return place(planner, *asked)

    with monkeypatch.context() as then:
        then.setattr(StagePlanner, "place", late)
        record_job(tmp_path / "bag", limit_s=40.0, deliver=1)
    assert len(given_up) == 3
    result = check(tmp_path / "bag", processes=1)
    assert result.count(Verdict.IDENTICAL) == result.total() > 300
    assert result.undecided == 0 and result.faults == []


def test_what_if_shows_changed_plans_with_both_reasons(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    assert main(["check", str(job), "--set", "planner.picks_per_plan=1", "--html", str(page), "--processes", "1"]) == 1
    told = capsys.readouterr().out
    assert "plans of unload_planner" in told and "then: outcome 0" in told and "now:  outcome 0" in told
    assert "predicted time of" in told
    html = page.read_text()
    assert (
        "<svg" in html
        and "picks[]" in html
        and "http"
        not in html.replace("http://www.w3.org", "")
        .replace("http://purl.org", "")
        .replace("http://creativecommons.org", "")
        .replace("https://matplotlib.org", "")
    )


def test_a_changed_parameter_of_the_monitor_is_seen_in_its_modes(job: Path) -> None:
    result = check(job, {(SAFETY, "arm_speed_max_mps"): 0.3}, processes=1)
    first = result.first()
    assert result.count(Verdict.DIFFERENT) > 0 and first.node == SAFETY and first.fields


def test_unknown_parameter_is_named(job: Path) -> None:
    result = check(job, {(PLANNER, "lookahead_typo"): 3}, processes=1)
    assert any("lookahead_typo" in fault for tally in result.tallies for fault in tally.faults)
    assert result.undecided > 0


def test_lost_journal_messages_are_named_and_the_rest_is_used(job: Path, tmp_path: Path) -> None:
    seen = [0]

    def lose(topic: str, data: bytes) -> bytes | None:
        if topic == "/decisions" and deserialize_message(data, CoreSteps).node == BROKER:
            seen[0] += 1
            return None if seen[0] == 40 else data
        return data

    result = check(rewritten(job, tmp_path / "lossy", lose), processes=1)
    broker = next(tally for tally in result.tallies if tally.node == BROKER)
    assert any("is not in the recording" in fault for fault in broker.faults) and broker.undecided_steps > 0
    assert broker.steps > 0
    assert all(tally.undecided_steps == 0 for tally in result.tallies if tally.node != BROKER)
    assert main(["check", str(tmp_path / "lossy"), "--processes", "1"]) == 3


def test_a_recording_that_begins_late_says_so(job: Path, tmp_path: Path) -> None:
    def late(topic: str, data: bytes) -> bytes | None:
        return None if topic == "/decisions" and deserialize_message(data, CoreSteps).first_sequence < 500 else data

    result = check(rewritten(job, tmp_path / "late", late), processes=1)
    assert any("its beginning is not in the recording" in fault for tally in result.tallies for fault in tally.faults)


def test_lost_clouds_are_named(job: Path, tmp_path: Path) -> None:
    result = check(rewritten(job, tmp_path / "blind", without=("/points",)), processes=1)
    intake = next(tally for tally in result.tallies if tally.node == PERCEPTION)
    assert any("points is not in the recording" in fault for fault in intake.faults)


def test_another_decision_then_is_shown_with_its_fields(job: Path, tmp_path: Path) -> None:
    """Somebody's other build said otherwise."""
    names = Names(open_bag(job))
    assert names.known["/wall"] == "wall"
    changed: list[int] = []

    def other(topic: str, data: bytes) -> bytes | None:
        if topic != "/decisions":
            return data
        batch = deserialize_message(data, CoreSteps)
        for step in batch.steps:
            for effect in step.effects:
                if batch.node == PLANNER and effect.name == "plan.made" and not changed:
                    changed.append(1)
                    effect.data = effect.data.tobytes().replace(b'"text": "', b'"text": "then ')
                    effect.digest = journal.digest(bytes(effect.data))
        return serialize_message(batch)

    result = check(rewritten(job, tmp_path / "other", other), processes=1)
    assert changed and result.count(Verdict.DIFFERENT) == 1
    first = result.first()
    assert first.decision == "events" and [f.path for f in first.fields] == ["text"]
    assert first.then == f"then {first.now}"


def test_recordings_with_authentication_want_the_key(job: Path, tmp_path: Path) -> None:
    def signed(topic: str, data: bytes) -> bytes | None:
        if topic != "/decisions":
            return data
        batch = deserialize_message(data, CoreSteps)
        for step in batch.steps:
            if step.kind == CoreStep.BUILD:
                step.data = step.data.tobytes().replace(b'"authentication": false', b'"authentication": true')
        return serialize_message(batch)

    result = check(rewritten(job, tmp_path / "signed", signed), processes=1)
    faults = [fault for tally in result.tallies for fault in tally.faults]
    assert sum("--key FILE" in fault for fault in faults) == 3
    intake = next(tally for tally in result.tallies if tally.node == PERCEPTION)
    assert intake.count(Verdict.IDENTICAL) == intake.total() > 0


def test_a_namespace_makes_no_difference(job: Path, tmp_path: Path) -> None:
    bag = open_bag(job)
    writer = BagWriter(tmp_path / "dock7")
    for info in bag.topics.values():
        prefix = "" if info.name in ("/tf", "/tf_static", "/clock") else "/dock7"
        writer.add_topic(prefix + info.name, info.type, info.qos)
    for message in bag.messages():
        prefix = "" if message.topic in ("/tf", "/tf_static", "/clock") else "/dock7"
        writer.write(prefix + message.topic, message.stamp_ns, message.data)
    writer.close()
    assert check(tmp_path / "dock7", processes=1).hash == check(job, processes=1).hash


def test_killed_in_the_middle(job: Path, tmp_path: Path) -> None:
    shutil.copytree(job, tmp_path / "killed")
    file = next((tmp_path / "killed").glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result = check(tmp_path / "killed", processes=1)
    assert result.count(Verdict.DIFFERENT) == 0 and result.count(Verdict.IDENTICAL) > 100
    assert any("cut or damaged" in fault for fault in result.faults)


def test_damaged_messages_are_counted_and_the_rest_is_decided_again(job: Path, tmp_path: Path) -> None:
    """What is too large for the journal is looked up on its topic."""
    large = 0

    def damage(topic: str, data: bytes) -> bytes:
        nonlocal large
        large += len(data) > 2 * journal.EMBEDDED_BYTES
        return data[: len(data) * 2 // 3] if len(data) > 2 * journal.EMBEDDED_BYTES and large % 40 == 0 else data

    result = check(rewritten(job, tmp_path / "bag", damage), processes=1)
    assert any("messages on" in fault and "damaged" in fault for fault in result.faults), result.faults
    assert result.count(Verdict.IDENTICAL) > 10
