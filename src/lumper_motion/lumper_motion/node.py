"""Composition of the motion broker: parameters and files -> core."""

from pathlib import Path

from lumper_motion.core import MotionBroker
from lumper_motion.parameters import MotionParameters
from lumper_ros.auth import load_key
from lumper_ros.robot import load_robot, load_trailer


def build(parameters: MotionParameters) -> MotionBroker:
    """The core from its parameters.

    Raises:
        OSError, ValueError: a file is missing or wrong; the text names it and the remedy.
    """
    key = load_key(parameters.authentication, parameters.key_file)
    robot = load_robot(Path(parameters.robot_folder))
    trailer = load_trailer(Path(parameters.trailer_file))
    return MotionBroker(parameters, robot, trailer, key)
