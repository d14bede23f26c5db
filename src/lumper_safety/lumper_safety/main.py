"""Entry point of the safety monitor. Not lifecycle-managed: always on, and its silence is a stop."""

from collections.abc import Sequence

from lumper_ros.host import run_core
from lumper_safety.node import build, on_host
from lumper_safety.parameters import Parameters

PRIORITY = 20


def main(argv: Sequence[str] | None = None) -> int:
    return run_core(
        "safety_monitor",
        Parameters,
        build,
        tick_hz=50.0,
        lifecycle=False,
        on_host=on_host,
        priority=PRIORITY,
        argv=argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
