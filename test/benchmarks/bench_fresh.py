"""From a fresh clone in an empty folder to the demonstration's first motion, and to `make test` passed, in minutes.

Writes build/bench/fresh.json. The clone is of what is committed; packages come from wherever pip gets them.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import results

ROOT = Path(__file__).resolve().parents[2]
CARTONS = 12
FIRST_MOTION = re.compile(r"start to first motion\s+([0-9.]+)")
SOURCED = ("AMENT_", "CMAKE_PREFIX", "COLCON_", "ROS_", "PYTHONPATH", "LD_LIBRARY", "VIRTUAL_ENV", "MAKE", "FASTDDS_")


def clean_environment() -> dict[str, str]:
    """This process's environment without what this project's own set-up put there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SOURCED)}
    kept["PATH"] = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not p.startswith(str(ROOT)))
    return kept


def minutes(words: list[str], folder: Path) -> tuple[float, str]:
    """Time that a command took, and what it printed.

    Raises:
        SystemExit: it failed; its last output is shown.
    """
    begun = time.monotonic()
    done = subprocess.run(
        words, cwd=folder, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
        raise SystemExit(f"{' '.join(words)} failed with {done.returncode}")
    return (time.monotonic() - begun) / 60.0, done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lumper_fresh_") as parent:
        clone = Path(parent) / "lumper"
        cloned, _ = minutes(["git", "clone", "--quiet", str(ROOT), str(clone)], Path(parent))
        built, _ = minutes(["make", "build"], clone)
        print(f"  clone to built: {cloned + built:.1f} min", flush=True)
        _, report = minutes(["make", "demo", f"CARTONS={CARTONS}", "HEADLESS=1"], clone)
        found = FIRST_MOTION.search(report)
        if found is None:
            raise SystemExit(f"the demonstration's report says nothing of its first motion:\n{report[-2000:]}")
        started = float(found[1]) / 60.0
        tested, _ = minutes(["make", "test"], clone)
        print(f"  demonstration: {started * 60:.1f} s to first motion; tests: {tested:.1f} min", flush=True)
    figures: dict[str, dict[str, Any]] = {
        "first.clone_to_first_motion_min": {
            "value": cloned + built + started,
            "unit": "min",
            "note": f"clone, set-up and build {cloned + built:.1f} min, then {started * 60:.0f} s until the arm moves",
        },
        "first.clone_to_tests_passed_min": {
            "value": cloned + built + tested,
            "unit": "min",
            "note": f"of which the tests {tested:.1f} min",
        },
    }
    results.write("fresh", figures)


if __name__ == "__main__":
    main()
