"""Entry point of the motion broker: a lifecycle node."""

from collections.abc import Sequence

from lumper_motion.node import build
from lumper_motion.parameters import MotionParameters
from lumper_ros.host import run_core

TICK_HZ = 100.0
# Below the monitor's: a permit has to be withdrawn before the arm is stopped for want of it.
PRIORITY = 15


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal; returns the exit code."""
    return run_core(
        "motion_broker",
        MotionParameters,
        build,
        tick_hz=TICK_HZ,
        lifecycle=True,
        own_process=True,
        priority=PRIORITY,
        argv=argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
