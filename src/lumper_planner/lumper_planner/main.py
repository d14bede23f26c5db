"""Entry point of unload_planner."""

import sys

from lumper_planner.node import build
from lumper_planner.parameters import PlannerParameters
from lumper_ros.host import run_core

# Time-outs are whole seconds; everything quicker is driven by inputs.
TICK_HZ = 5.0


def main() -> None:
    sys.exit(run_core("unload_planner", PlannerParameters, build, tick_hz=TICK_HZ, lifecycle=True))


if __name__ == "__main__":
    main()
