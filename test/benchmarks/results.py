"""Where the benchmarks beside this file leave their figures."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "build" / "bench"


def write(name: str, figures: dict[str, dict[str, Any]]) -> None:
    """build/bench/<name>.json: {"<id>": {"value": …, "unit": …, "note": … (optional)}}."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
