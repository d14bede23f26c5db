"""Composition of the safety monitor: parameters and files -> core; no pauses for garbage; the graph's word on rivals."""

import gc
import secrets
from pathlib import Path

import yaml
from rclpy.clock import Clock, ClockType

from lumper_ros.auth import load_key
from lumper_ros.host import Host
from lumper_ros.parameters import ParameterError
from lumper_ros.robot import load_robot, load_trailer
from lumper_safety.causes import Table, parse_table
from lumper_safety.core import PERMIT_PUBLISHERS, SafetyMonitor
from lumper_safety.parameters import Parameters


def build(parameters: Parameters, monitor_id: int | None = None) -> SafetyMonitor:
    """The core from its parameters.

    Args:
        monitor_id: of a recorded monitor that is built again; None = draw one.

    Raises:
        OSError, ValueError: a file is missing or wrong; the text names it and the remedy.
    """
    key = load_key(parameters.authentication, parameters.key_file)
    robot = load_robot(Path(parameters.robot_folder))
    trailer = load_trailer(Path(parameters.trailer_file))
    causes = Path(parameters.causes_file or Path(parameters.trailer_file).parent / "safety_causes.yaml")
    return SafetyMonitor(
        parameters, robot, trailer, load_table(causes), key, secrets.randbits(64) if monitor_id is None else monitor_id
    )


def load_table(path: Path) -> Table:
    """The cause table of a YAML file.

    Raises:
        ParameterError: the file is missing or no YAML, or as `parse_table`.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(
            f"causes_file: {path} cannot be read ({error}); give the path of safety_causes.yaml"
        ) from None
    if not isinstance(raw, dict):
        raise ParameterError(f"causes_file: {path} is no mapping")
    return parse_table(raw)


def on_host(host: Host, parameters: Parameters) -> None:
    """Keep the period on a loaded machine, and ask the graph for rivals twice a second."""
    node = host._node  # the shell of this package asks the graph, which no core may
    steady = Clock(clock_type=ClockType.STEADY_TIME)

    def rivals() -> None:
        count = node.count_publishers("safety/state")
        if count > 1:
            host.observe(PERMIT_PUBLISHERS, count)

    def collect() -> None:
        # What lives since start is frozen: this looks only at what came since, in the gap after a tick.
        gc.collect(1)

    node.create_timer(0.5, rivals, clock=steady)
    node.create_timer(1.0, collect, clock=steady)
    gc.disable()
