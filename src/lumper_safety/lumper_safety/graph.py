"""The supervision graph as documentation, generated from the cause table: `python -m lumper_safety.graph` rewrites it."""

import dataclasses
import sys
from pathlib import Path

import yaml

from lumper_ros.parameters import spec_of
from lumper_safety.causes import MEANINGS, OPTIONAL, REQUIRED, Code, Latch, Limits, Table, parse_table

_BEGIN, _END = "<!-- generated from the cause table: begin -->", "<!-- generated from the cause table: end -->"
_LATCH = {
    Latch.NEVER: "by itself",
    Latch.MOVING: "by itself; reset by a named person when it came while the arm moved",
    Latch.ALWAYS: "reset by a named person",
}


def _clears(code: Code, table: Table) -> str:
    rule = table.causes[code]
    waiting = f", once it has been away for {rule.clear_s:g} s" if rule.clear_s else ""
    return f"{_LATCH[rule.latch]}{waiting}"


def supervision_graph(table: Table) -> str:
    """Markdown: cause -> effect -> clear -> test, and the ages and limits behind it."""
    lines = ["| cause | seen by | when | effect | clears | remedy | proved by |", "|---|---|---|---|---|---|---|"]
    for code, meaning in MEANINGS.items():
        lines.append(
            f"| {code.name} ({int(code)}) | {meaning.seen_by} | {meaning.when} | {meaning.effect.name} "
            f"| {_clears(code, table)} | {meaning.remedy} | `{meaning.test}` |"
        )
    lines += ["", "| input | max age, s | older is | needed |", "|---|---|---|---|"]
    for name in (*REQUIRED, *OPTIONAL):
        rule = table.inputs[name]
        needed = "always" if name in REQUIRED else "while cartons are picked or placed"
        lines.append(f"| {name} | {rule.max_age_s:g} | {rule.stale.name} | {needed} |")
    lines += ["", "| limit | value | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(Limits):
        lines.append(f"| {field.name} | {getattr(table.limits, field.name):g} | {spec_of(field).doc} |")
    return "\n".join(lines)


def rewritten(page: str, table: Table) -> str:
    """The page with its generated part renewed.

    Raises:
        ValueError: the page lacks the two marks.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page lacks {_BEGIN!r} and {_END!r}")
    return f"{before}{_BEGIN}\n\n{supervision_graph(table)}\n\n{_END}{after}"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m lumper_safety.graph docs/safety.md config/safety_causes.yaml")
    target = Path(sys.argv[1])
    target.write_text(rewritten(target.read_text(), parse_table(yaml.safe_load(Path(sys.argv[2]).read_text()))))
