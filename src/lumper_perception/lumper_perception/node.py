"""Parameters to core: the one place where the intake's parts are put together."""

from pathlib import Path

from lumper_perception.core import PerceptionIntake
from lumper_perception.parameters import PerceptionParameters
from lumper_ros.robot import load_robot, load_trailer


def build(parameters: PerceptionParameters) -> PerceptionIntake:
    """The node's core.

    Raises:
        RobotError: a file that the parameters name is missing or wrong.
    """
    robot = load_robot(Path(parameters.robot_folder))
    trailer = load_trailer(Path(parameters.trailer_file))
    if parameters.detector == "detections":
        return PerceptionIntake(parameters, robot, trailer)
    # The native library is needed only where faces are found here.
    from lumper_perception.cloudfaces import segment

    return PerceptionIntake(parameters, robot, trailer, segment)
