"""Recordings become pictures: a still for each plan, and a rerun recording where rerun is installed."""

import importlib.util
from pathlib import Path

import pytest

from lumper_replay.cli import main
from lumper_replay.reader import open_bag
from lumper_replay.scene import robot_of


def test_one_still_for_each_plan(job: Path, tmp_path: Path) -> None:
    assert main(["view", str(job), "--stills", str(tmp_path / "stills")]) == 0
    plans = open_bag(job).counts()["/plan"]
    made = sorted((tmp_path / "stills").glob("*.png"))
    assert len(made) == plans > 0
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000 for path in made)


def test_the_robot_comes_from_the_recording(job: Path) -> None:
    robot = robot_of(open_bag(job))
    assert robot is not None and len(robot.joint_names) == 6


@pytest.mark.skipif(importlib.util.find_spec("rerun") is None, reason="rerun-sdk is not installed (make bench does)")
def test_rerun_recording(job: Path, tmp_path: Path) -> None:
    assert main(["view", str(job), "--save", str(tmp_path / "job.rrd")]) == 0
    assert (tmp_path / "job.rrd").stat().st_size > 100_000


def test_without_rerun_the_remedy_is_named(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    assert main(["view", str(job), "--save", str(tmp_path / "job.rrd")]) == 2
    assert "--stills FOLDER" in capsys.readouterr().err
