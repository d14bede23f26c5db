"""Entry point of perception_intake."""

import sys

from lumper_perception.node import build
from lumper_perception.parameters import PerceptionParameters
from lumper_ros.host import run_core

# Only ages and silences are watched by the tick; pictures are handled as they come.
TICK_HZ = 5.0


def main() -> None:
    sys.exit(run_core("perception_intake", PerceptionParameters, build, tick_hz=TICK_HZ, lifecycle=True))


if __name__ == "__main__":
    main()
