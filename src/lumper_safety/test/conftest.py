"""The monitor's core under a clock of its own, with inputs as the robot gives them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
