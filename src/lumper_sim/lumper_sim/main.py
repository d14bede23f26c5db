"""Entry point of trailer_sim."""

import contextlib
import os
import sys

from lumper_ros.host import run_core
from lumper_sim.node import build
from lumper_sim.parameters import SimParameters

# How often the world is brought up to the wall clock; its own periods are slices of simulated time.
TICK_HZ = 125.0


def main() -> None:
    # It stands in for hardware, which keeps its period whatever else the computer does. Not everybody may.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -5)
    sys.exit(run_core("trailer_sim", SimParameters, build, tick_hz=TICK_HZ, lifecycle=False))


if __name__ == "__main__":
    main()
