"""Entry points of the two nodes."""

import os
import sys

from lumper_ros.host import run_core
from lumper_ros.interfaces import MARKERS, PANEL
from lumper_view.parameters import MarkersParameters, PanelParameters


def scene_markers() -> int:
    """Run scene_markers until a signal."""
    # A picture may be late; what moves, watches and starts meanwhile may not. (The page's STOP may not either.)
    os.nice(5)
    from lumper_view.markers_node import build_markers

    return run_core(MARKERS, MarkersParameters, build_markers, tick_hz=4.0, lifecycle=False)


def operator_panel() -> int:
    """Run operator_panel until a signal."""
    from lumper_view.node import attach_panel, build_panel

    return run_core(PANEL, PanelParameters, build_panel, tick_hz=10.0, lifecycle=False, on_host=attach_panel)


if __name__ == "__main__":
    sys.exit({"scene_markers": scene_markers, "operator_panel": operator_panel}[sys.argv.pop(1)]())
