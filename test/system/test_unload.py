"""The main job, whole: physics, DDS, every node, from the command a user types."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from launched import Observer, node_processes

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, domain_id: int, seed: int) -> "subprocess.Popen[str]":
    """The demonstration with twelve cartons; its report is `report.json` in the folder."""
    command = [sys.executable, "-m", "lumper_bringup.demo", "--cartons", "12", "--seed", str(seed), "--load", "mixed"]
    command += ["--headless", "--report", str(folder / "report.json")]
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(domain_id),
        "LUMPER_STATE_DIR": str(folder / "state"),
        "ROS_LOG_DIR": str(folder / "log"),
    }
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
    )


@pytest.mark.timeout(600)
def test_twelve_cartons_are_unloaded(tmp_path: Path) -> None:
    demo = start(tmp_path, 59, 1)
    print(demo.communicate(timeout=580)[0][-8000:])
    assert demo.returncode == 0
    report = json.loads((tmp_path / "report.json").read_text())
    print(report)
    assert report["delivered"] >= 11
    assert report["empty_confirmed"]
    assert report["dispatched_without_permit"] == 0


@pytest.mark.timeout(600)
def test_the_job_goes_on_whichever_node_is_killed(tmp_path: Path) -> None:
    """One kill after another, each once the arm moves again: nothing is lost, nothing is asked, the trailer is emptied."""
    victims = ["unload_planner", "motion_broker", "perception_intake", "safety_monitor", "lifecycle_manager"]
    demo = start(tmp_path, 58, 2)
    assert demo.stdout is not None
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(demo.stdout or []))
    reader.start()
    see = Observer(58)
    try:
        see.watch("job/state", "motion/state")

        def delivered() -> int:
            return int(see.newest["job/state"].done) if "job/state" in see.newest else 0

        for number, name in enumerate(victims):
            see.wait(lambda number=number: delivered() > number, 120.0, f"carton {number + 1} before {name} is killed")
            sent = see.newest["motion/state"].dispatched
            # In the middle of a motion, not between two jobs of it.
            see.wait(lambda sent=sent: see.newest["motion/state"].dispatched != sent, 30.0, "the next motion")
            node_processes(demo.pid)[name].kill()
        reader.join(400.0)
        assert demo.wait(30.0) == 0
    finally:
        demo.kill()
        reader.join(30.0)
        see.close()
        print("".join(said)[-8000:])
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["deaths"]) == len(victims), report["deaths"]
    assert report["empty_confirmed"]
    assert report["assists"] == 0
    assert report["physics"]["delivered"] + report["physics"]["on_conveyor"] == 12
    assert report["dispatched_without_permit"] == 0
