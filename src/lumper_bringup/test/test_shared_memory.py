"""What a killed participant leaves in shared memory is given back; what a living one holds stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

from lumper_bringup.shared_memory import FOLDER, release_abandoned

NODE = "import rclpy, time; rclpy.init(); node = rclpy.create_node('shm'); print('up', flush=True); time.sleep(60)"


def node() -> "subprocess.Popen[str]":
    environment = {**os.environ, "ROS_DOMAIN_ID": "99", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    # The profile of this project moves large messages through shared memory; the test wants that transport for certain.
    environment.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
    process = subprocess.Popen([sys.executable, "-c", NODE], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    return process


def segments() -> set[str]:
    return {path.name.removesuffix("_el") for path in FOLDER.glob("fastdds_*_el")}


def test_a_killed_participants_memory_is_given_back_and_a_living_ones_is_not() -> None:
    before = segments()
    dead, living = node(), None
    try:
        of_dead = segments() - before
        assert of_dead, "Fast DDS made no shared memory here"
        living = node()
        of_living = segments() - before - of_dead
        dead.kill()
        dead.wait()
        assert not of_dead - segments(), "a killed process cannot have cleaned up"
        assert not (set(release_abandoned()) & of_dead), "what is young may be about to be locked"
        released = set(release_abandoned(now_s=time.time() + 60.0))
        # Ports are shared: the living one uses those of the dead one too.
        assert {name for name in of_dead if "port" not in name} <= released
        assert not released & of_living
        assert of_living <= segments()
    finally:
        for process in (dead, living):
            if process is not None:
                process.kill()
                process.wait()
        release_abandoned(now_s=time.time() + 60.0)


def test_other_files_stay(tmp_path: Path) -> None:
    for name in ("fastdds_1", "fastdds_1_el", "fastdds_2", "sem.fastdds_1_mutex", "psm_1", "psm_1_el"):
        (tmp_path / name).touch()
    assert release_abandoned(tmp_path, time.time() + 60.0) == ["fastdds_1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fastdds_2", "psm_1", "psm_1_el"]
