"""Parameters to core: the one place where the simulation's parts are put together."""

from pathlib import Path

from lumper_ros.robot import load_robot, load_trailer
from lumper_sim.core import SimCore
from lumper_sim.parameters import SimParameters
from lumper_sim.trajectory import Defaults
from lumper_sim.world import World, WorldSpec


def build(parameters: SimParameters) -> SimCore:
    """The node's core, with its load settled.

    Raises:
        RobotError, LoadError, SettleError: a file is missing or wrong, or the load asked for cannot be made.
    """
    spec = WorldSpec(
        robot=load_robot(Path(parameters.robot_folder)),
        trailer=load_trailer(Path(parameters.trailer_file)),
        load=parameters.load,
        cartons=parameters.cartons,
        seed=parameters.seed,
        load_height_m=parameters.load_height_m,
        stand_off_m=parameters.stand_off_m,
        scan_noise_m=parameters.scan_noise_m,
        tolerances=Defaults(
            path_rad=parameters.path_tolerance_rad,
            goal_rad=parameters.goal_tolerance_rad,
            stopped_radps=parameters.stopped_velocity_radps,
            goal_time_s=parameters.goal_time_s,
        ),
    )
    return SimCore(parameters, World(spec))
