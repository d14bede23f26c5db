"""Tests of lumper_motion run without ROS processes; the trajectory server is the simulation's own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
