"""The result of a check in words, for a terminal."""

from lumper_replay.check import Checked
from lumper_replay.differ import Verdict
from lumper_replay.redo import Divergence

_SHOWN = 5


def exit_code(result: Checked) -> int:
    """0 = all identical, or equivalent within the tolerances; 1 = something differs; 3 = a part could not be decided again."""
    if result.count(Verdict.DIFFERENT):
        return 1
    return 3 if result.undecided or not result.total() else 0


def verdict_line(result: Checked) -> str:
    """The result in one line."""
    total, identical = result.total(), result.count(Verdict.IDENTICAL)
    equivalent, different = result.count(Verdict.EQUIVALENT), result.count(Verdict.DIFFERENT)
    word = {0: "identical" if not equivalent else "equivalent", 1: "DIFFERENT", 3: "INCOMPLETE"}[exit_code(result)]
    return (
        f"{word}: {total} decisions, {identical} identical, {equivalent} equivalent, {different} different; "
        f"{result.undecided} steps could not be decided again"
    )


def divergence_lines(entry: Divergence) -> list[str]:
    """A difference with both sides' reasons."""
    lines = [
        f"{entry.decision} of {entry.node} at {entry.ros_s:.3f} s (life {entry.life}, step {entry.step}, on {entry.trigger})",
        f"  then: {entry.then or '-'}",
        f"  now:  {entry.now or '-'}",
    ]
    lines += [f"    {field.path}: {field.then} -> {field.now}" for field in entry.fields]
    return lines


def text(result: Checked, every: bool = False) -> str:
    """The whole report.

    Args:
        every: show every difference, not only the first ones of each node.
    """
    lines = [
        f"{result.bag}: {result.span_s:.1f} s recorded, decided again in {result.spent_s:.1f} s ({result.speed:.1f} x)"
    ]
    if result.changes:
        lines.append("with " + ", ".join(f"{name}={value}" for name, value in result.changes.items()))
    lines += [f"! {fault}" for fault in result.faults]
    lines += [
        f"! {topic}: {kind} is not installed; {'its' if count < 0 else count} messages skipped"
        for topic, (kind, count) in result.unknown.items()
    ]
    if result.changed_software:
        lines.append(f"other build than recorded: {', '.join(result.changed_software)}")
    for tally in result.tallies:
        lines.append(f"{tally.node}: {tally.lives} lives, {tally.steps} steps")
        for kind, row in sorted(tally.decisions.items()):
            counts = ", ".join(f"{row[verdict]} {verdict.name.lower()}" for verdict in Verdict if row[verdict])
            lines.append(f"  {kind}: {counts}")
        lines += [f"  ! {fault}" for fault in tally.faults]
    first = result.first()
    if first is not None:
        lines += ["first divergence:", *("  " + line for line in divergence_lines(first))]
        for tally in result.tallies:
            rest = [entry for entry in tally.divergences if entry is not first and entry.verdict is Verdict.DIFFERENT]
            for entry in rest if every else rest[:_SHOWN]:
                lines += ["  " + line for line in divergence_lines(entry)]
            if not every and len(rest) > _SHOWN:
                lines.append(f"  … {len(rest) - _SHOWN} more of {tally.node} (--all shows them)")
    lines += _what_if(result)
    lines.append(verdict_line(result))
    lines.append(f"hash {result.hash}")
    return "\n".join(lines)


def _what_if(result: Checked) -> list[str]:
    """Predicted time of the plans, then and now."""
    plans = [plan for tally in result.tallies for plan in tally.plans if plan[2] == plan[2]]
    if not result.changes or not plans:
        return []
    then_s, now_s = sum(plan[2] for plan in plans), sum(plan[3] for plan in plans)
    changed = sum(abs(plan[2] - plan[3]) > 1e-3 for plan in plans)
    return [
        f"predicted time of {len(plans)} plans: {then_s:.1f} s then, {now_s:.1f} s now; {changed} of them predict another time"
    ]
