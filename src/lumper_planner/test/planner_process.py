"""A real unload_planner process for the tests over DDS; only the planning core is replaced by the test's rule."""

import sys

from fake_world import KEY, top_first

from lumper_planner.core import UnloadPlanner
from lumper_planner.main import TICK_HZ
from lumper_planner.parameters import PlannerParameters
from lumper_ros.host import run_core

if __name__ == "__main__":
    sys.exit(
        run_core(
            "unload_planner",
            PlannerParameters,
            lambda parameters: UnloadPlanner(parameters, top_first, KEY),
            tick_hz=TICK_HZ,
            lifecycle=True,
        )
    )
