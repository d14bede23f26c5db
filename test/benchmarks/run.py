"""Run the benchmarks and write docs/benchmarks.md from their results.

    python test/benchmarks/run.py [NAME …]     names: core, motion, safety, perception, view, replay, faults, first, sim …

Each benchmark is a script `benchmark/bench_<name>.py` of a package, or `bench_<name>.py` beside this file, and writes
build/bench/<name>.json: {"<id>": {"value": …, "unit": …, "peer": … (optional), "note": … (optional)}}.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "bench"
PAGE = ROOT / "docs" / "benchmarks.md"
TIMEOUT_S = 3600.0


def scripts() -> dict[str, Path]:
    """Benchmarks by name."""
    found = [*ROOT.glob("src/*/benchmark/bench_*.py"), *ROOT.glob("native/*/benchmark/bench_*.py")]
    found += ROOT.glob("test/benchmarks/bench_*.py")
    return {path.stem.removeprefix("bench_"): path for path in sorted(found)}


def load_results() -> dict[str, dict[str, Any]]:
    """All figures measured so far: id -> figure, with the name of the benchmark and its day."""
    figures: dict[str, dict[str, Any]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        day = datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()
        for name, figure in json.loads(path.read_text()).items():
            figures[name] = {"day": day, **figure, "from": path.stem}
    return figures


def number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.3g}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def page(goals: dict[str, dict[str, Any]], figures: dict[str, dict[str, Any]]) -> str:
    """The text of docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; do not edit. Each figure was measured by the benchmark named, beside its peer in the same run",
        "where there is one. A goal that was not reached stays here with what was reached; one without a figure was not",
        "measured yet.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}, CPython {platform.python_version()}.",
        "",
    ]
    areas: dict[str, list[str]] = {}
    for name in [*goals, *(name for name in figures if name not in goals)]:
        areas.setdefault(name.split(".")[0], []).append(name)
    for area, names in areas.items():
        lines += [f"## {area}", "", "| figure | goal | reached | | peer | measured |", "|---|---|---|---|---|---|"]
        notes = []
        for name in names:
            goal, figure = goals.get(name), figures.get(name)
            wanted = ""
            if goal is not None:
                wanted = f"{'≤' if goal['cmp'] == 'le' else '≥'} {number(goal['goal'])} {goal['unit']}"
            if figure is None:
                lines.append(f"| {name} | {wanted} | — | not measured | | |")
                continue
            value = figure["value"]
            verdict = ""
            if goal is not None and isinstance(value, int | float):
                reached = value <= goal["goal"] if goal["cmp"] == "le" else value >= goal["goal"]
                verdict = "yes" if reached else "**no**"
            peer = number(figure["peer"]) if figure.get("peer") is not None else ""
            lines.append(
                f"| {name} | {wanted} | {number(value)} {figure.get('unit', '')} | {verdict} | {peer} "
                f"| {figure['from']}, {figure['day']} |"
            )
            if figure.get("note"):
                notes.append(f"- {name}: {figure['note']}")
        lines += ["", *notes, *([""] if notes else [])]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    known = scripts()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--page-only", action="store_true", help="write the page from the results that are there")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; known are {', '.join(known)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in [] if options.page_only else options.names or list(known):
        print(f"lumper: benchmark {name} …", flush=True)
        try:
            done = subprocess.run([sys.executable, str(known[name])], cwd=ROOT, timeout=TIMEOUT_S)
            if done.returncode:
                failed.append(name)
        except subprocess.TimeoutExpired:
            failed.append(name)
    goals = yaml.safe_load((ROOT / "test" / "benchmarks" / "goals.yaml").read_text())
    PAGE.write_text(page(goals, load_results()))
    print(f"lumper: wrote {PAGE.relative_to(ROOT)}")
    if failed:
        print(f"lumper: these benchmarks failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
