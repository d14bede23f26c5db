"""Separation against Sp in random meetings of a walking person and a moving arm; see test/encounters.py for what is simulated.

`python src/lumper_safety/benchmark/bench_encounters.py [--count N] [--seed N]` writes build/bench/safety_encounters.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "src" / "lumper_safety" / "test"))

from encounters import run_encounters  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=3)
    arguments = parser.parse_args()
    met = run_encounters(arguments.count, arguments.seed)
    note = (
        f"{met.count} encounters, seed {arguments.seed}, arm moving {met.moving_share:.0%} of the time; worst margin "
        f"{met.worst_margin_m * 1e3:+.0f} mm over Sp, nearest approach while moving {met.nearest_m:.2f} m"
    )
    result = {"safety.encounters_below_sp": {"value": met.below, "unit": "1", "note": note}}
    target = ROOT / "build" / "bench" / "safety_encounters.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(f"safety.encounters_below_sp {met.below}  {note}")


if __name__ == "__main__":
    main()
