"""The fault simulator's modules are plain files beside its tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
