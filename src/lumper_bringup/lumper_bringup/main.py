"""Entry points of the nodes."""

import sys


def lifecycle_manager() -> None:
    """Node lifecycle_manager."""
    from lumper_bringup.node import run

    sys.exit(run())


def robot_state_publisher() -> None:
    """Node robot_state_publisher: the standard one where it is installed, else ours."""
    from lumper_bringup.state_node import run

    sys.exit(run(sys.argv))
