"""`ros2 run lumper_motion journal` on a store that a broker wrote."""

from pathlib import Path

import pytest
from harness import World, pick_of, wall_of
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import BrokerState, OutcomeCode

from lumper_motion import journal_main
from lumper_ros.store import Store

G, B, C = ExecuteMotion.Goal, BrokerState, OutcomeCode
TARGET = 3 * 6 + 3


def written(world: World, file: Path) -> None:
    store = Store(file)
    store.write([(kind, key, record) for kind, records in world.store.items() for key, record in records.items()])
    store.close()


def test_it_prints_what_was_begun_and_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.cartons = wall_of()
    world.boot()
    scan = world.send(world.goal(G.SCAN))
    assert world.finish(scan) == C.NONE
    pick = world.send(world.goal(G.PICK, pick_of(world.cartons[TARGET])))
    world.until(lambda: world.state.stage == B.STAGE_EXTRACT)
    file = tmp_path / "motion_broker.sqlite"
    written(world, file)
    assert journal_main.main([str(file)]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["no", "begun_s", "kind"]
    assert "SCAN" in first and "0 NONE" in first and scan in first
    assert "PICK" in second and f" {world.cartons[TARGET].id} " in second and "extract" in second
    assert "in flight" in second and pick in second
    assert journal_main.main([str(file), "-n", "1"]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()[1:]] == ["PICK"]


def test_no_journal_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert journal_main.main([str(tmp_path / "nowhere.sqlite")]) == 2
    assert "LUMPER_STATE_DIR" in capsys.readouterr().err


def test_it_looks_where_the_node_keeps_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMPER_STATE_DIR", "/var/lib/lumper")
    assert journal_main.default_file("") == Path("/var/lib/lumper/motion_broker.sqlite")
    assert journal_main.default_file("/truck/one") == Path("/var/lib/lumper/truck__one/motion_broker.sqlite")
