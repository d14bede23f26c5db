"""How much of one core the simulated trailer takes: physics alone, and everything on, with 60 and 200 cartons.

CPU time of one thread-bound process, not wall time. The arm swings through its work space all the while. The peer is
MuJoCo stepping the same model with sleeping disabled.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from lumper_ros.core import Compute, Now
from lumper_ros.parameters import from_mapping
from lumper_sim.core import SLICE_S, SimCore
from lumper_sim.node import build
from lumper_sim.parameters import SimParameters
from lumper_sim.trajectory import Goal, Point
from lumper_sim.world import STEP_S, World

ROOT = Path(__file__).parents[3]
SECONDS = 6.0
NOW = Now(0.0, 0.0, 0.0)


def make(cartons: int) -> SimCore:
    files = {"robot_folder": str(ROOT / "config/robot"), "trailer_file": str(ROOT / "config/trailer.yaml")}
    return build(from_mapping(SimParameters, {**files, "cartons": cartons, "seed": 1}))


def swing(world: World, number: int) -> None:
    """Keep the arm moving between two poses, clear of the load."""
    if world.trajectory.active_id:
        return
    target = world.robot.poses["home"] + np.array([0.5 if number % 2 else -0.5, 0.0, 0.1, 0.3, 0.0, 0.3])
    point = Point(1.0, tuple(target), tuple(np.zeros(6)))
    world.trajectory.submit(Goal(f"swing-{number}", world.robot.joint_names, (point,)), world.time_s)


def everything(core: SimCore) -> None:
    for number in range(round(SECONDS / SLICE_S)):
        swing(core.world, number)
        for effect in core.advance():
            if isinstance(effect, Compute):
                core.computed(effect.tag, effect.function(), NOW)


def physics(world: World) -> None:
    for number in range(round(SECONDS / SLICE_S)):
        swing(world, number)
        world.step(SLICE_S)
        world.trajectory.take_finished()


def cpu_s(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def awake_peer_s(core: SimCore) -> float:
    """CPU for the same span of plain steps with every carton awake."""
    model, data = core.world.model, core.world.data
    model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
    dofs = np.r_[core.world.index.base_dof, core.world.index.arm_dof]
    steps = round(1.0 / STEP_S)

    def work() -> None:
        for _ in range(steps):
            data.qfrc_applied[dofs] = data.qfrc_bias[dofs] - 500.0 * data.qvel[dofs]
            mujoco.mj_step(model, data)

    return cpu_s(work)


def main() -> None:
    figures: dict[str, Any] = {}
    for cartons in (60, 200):
        core = make(cartons)
        everything_s = cpu_s(lambda core=core: everything(core))  # type: ignore[misc]
        physics_s = cpu_s(lambda world=core.world: physics(world))  # type: ignore[misc]
        peer = awake_peer_s(core)
        figures[f"sim.realtime_factor_physics_{cartons}"] = {
            "value": SECONDS / physics_s,
            "unit": "1",
            "peer": 1.0 / peer,
            "note": "simulated over CPU seconds, arm moving; peer: plain MuJoCo steps, nothing asleep",
        }
        figures[f"sim.cpu_share_{cartons}"] = {
            "value": everything_s / SECONDS,
            "unit": "1",
            "note": "of one core at rate 1: physics, 320x240 camera and detector at 5 Hz, scans at 25 Hz; without transport",
        }
    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sim.json").write_text(json.dumps(figures, indent=1) + "\n")
    for name, figure in figures.items():
        print(f"{name}: {figure['value']:.3g}" + (f" (peer {figure['peer']:.3g})" if "peer" in figure else ""))


if __name__ == "__main__":
    main()
