"""What the planner costs: CPU time of a plan and of the job's logic, with the real core and arm, in a kinematic world.

Its peer is the time that the arm takes for a carton in that world: what share of it is thinking.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent / "test"))

from fake_world import FakeWorld, parameters, pile  # noqa: E402

from lumper_planner.choose import Chooser  # noqa: E402
from lumper_planner.reach import ArmReach  # noqa: E402
from lumper_planner.unloading import Choice, ChoiceRequest  # noqa: E402
from lumper_ros.robot import load_robot, load_trailer  # noqa: E402


def main() -> None:
    robot = load_robot(ROOT / "config" / "robot")
    chooser = Chooser(parameters(), robot, load_trailer(ROOT / "config" / "trailer.yaml"), ArmReach(robot))
    plans_ms: list[float] = []

    def timed(request: ChoiceRequest) -> Choice:
        begun_s = time.process_time()
        choice = chooser(request)
        plans_ms.append((time.process_time() - begun_s) * 1e3)
        return choice

    cartons = pile(rows=3, columns=5, layers=6)
    world = FakeWorld(cartons, choose=timed)
    count = len(cartons)
    begun_s = time.process_time()
    goal = world.unload()
    ended = world.run(lambda: goal in world.finished, 4000.0)
    whole_ms = (time.process_time() - begun_s) * 1e3
    result = world.finished[goal][1] if ended else world.state()
    done = result.delivered if ended else result.done
    logic_ms = (whole_ms - sum(plans_ms)) / max(done, 1)
    figures = {
        "planner.plan_p50_ms": {
            "value": float(np.percentile(plans_ms, 50)),
            "unit": "ms",
            "note": f"up to {count} cartons",
        },
        "planner.plan_p99_ms": {"value": float(np.percentile(plans_ms, 99)), "unit": "ms"},
        "planner.logic_per_carton_ms": {
            "value": logic_ms,
            "unit": "ms",
            "note": "CPU of core and test world together, without plans, per carton delivered",
        },
        "planner.plans_per_carton": {"value": len(plans_ms) / max(done, 1), "unit": "1"},
        "planner.delivered": {"value": done, "unit": "1", "peer": count, "note": "kinematic world, no physics"},
    }
    path = ROOT / "build" / "bench" / "planner.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2))
    for name, figure in figures.items():
        print(f"{name}: {figure['value']:.3g} {figure['unit']}")


if __name__ == "__main__":
    main()
