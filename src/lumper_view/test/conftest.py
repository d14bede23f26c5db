import sys
from pathlib import Path

import pytest

from lumper_ros.robot import Robot, Trailer, load_robot, load_trailer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
# The test modules share helpers that lie beside them.
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def robot() -> Robot:
    return load_robot(ROOT / "config" / "robot")


@pytest.fixture(scope="session")
def trailer() -> Trailer:
    return load_trailer(ROOT / "config" / "trailer.yaml")
