"""The main job, whole: physics, DDS, every node, from the command a user types."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
def test_twelve_cartons_are_unloaded(tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    command = [sys.executable, "-m", "lumper_bringup.demo", "--cartons", "12", "--seed", "1", "--load", "mixed"]
    command += ["--headless", "--report", str(report_file)]
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": "59",
        "LUMPER_STATE_DIR": str(tmp_path / "state"),
        "ROS_LOG_DIR": str(tmp_path / "log"),
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, env=environment, cwd=ROOT)
    print(done.stdout[-8000:], done.stderr[-8000:])
    assert done.returncode == 0
    report = json.loads(report_file.read_text())
    print(report)
    assert report["delivered"] >= 11
    assert report["empty_confirmed"]
    assert report["dispatched_without_permit"] == 0
