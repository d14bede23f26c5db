"""Parameters to core: the one place where the planner's parts are put together."""

from pathlib import Path

from lumper_planner.choose import Chooser
from lumper_planner.core import UnloadPlanner
from lumper_planner.parameters import PlannerParameters
from lumper_planner.reach import ArmReach
from lumper_ros import auth
from lumper_ros.parameters import ParameterError
from lumper_ros.robot import load_robot, load_trailer


def build(parameters: PlannerParameters) -> UnloadPlanner:
    """The node's core.

    Raises:
        RobotError, ParameterError: a file that the parameters name is missing or wrong.
    """
    robot = load_robot(Path(parameters.robot_folder))
    trailer = load_trailer(Path(parameters.trailer_file))
    try:
        key = auth.load_key(parameters.authentication, parameters.key_file)
    except auth.KeyFileError as error:
        raise ParameterError(str(error)) from error
    return UnloadPlanner(parameters, Chooser(parameters, robot, trailer, ArmReach(robot)), key)
