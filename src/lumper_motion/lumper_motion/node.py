"""Composition of the motion broker: parameters and files -> core, and what plans for it in another process."""

import copyreg
import hashlib
import pickle
import time
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from lumper_motion.core import MotionBroker
from lumper_motion.parameters import MotionParameters
from lumper_motion.stages import StagePlanner
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


_sent: WeakKeyDictionary[StagePlanner, tuple[str, bytes]] = WeakKeyDictionary()
_there: dict[str, StagePlanner] = {}


def send_planner(planner: StagePlanner) -> tuple[Any, ...]:
    """A stage planner is made once in the process that computes, and kept there with its scene."""
    if planner not in _sent:
        made_of = pickle.dumps(planner.made_of)
        _sent[planner] = (hashlib.sha256(made_of).hexdigest(), made_of)
    return _receive_planner, _sent[planner]


def _receive_planner(name: str, made_of: bytes) -> StagePlanner:
    if name not in _there:
        _there.clear()
        robot, trailer, parameters = pickle.loads(made_of)
        _there[name] = StagePlanner(robot, trailer, parameters, time.monotonic)
    return _there[name]


copyreg.pickle(StagePlanner, send_planner)
