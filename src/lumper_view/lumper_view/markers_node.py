"""From parameters to scene_markers. Apart from the page's parts, which take seconds to import."""

from pathlib import Path

from lumper_ros.robot import load_robot, load_trailer
from lumper_view.core import MarkersCore
from lumper_view.parameters import MarkersParameters


def build_markers(parameters: MarkersParameters) -> MarkersCore:
    """Core of scene_markers."""
    return MarkersCore(
        parameters, load_robot(Path(parameters.robot_folder)), load_trailer(Path(parameters.trailer_file))
    )
