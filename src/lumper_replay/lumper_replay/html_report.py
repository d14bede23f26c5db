"""The result of a check as one HTML file with its plots inside."""

import html
import io
from typing import Any

from lumper_replay.check import Checked
from lumper_replay.differ import Verdict
from lumper_replay.redo import Divergence
from lumper_replay.report import exit_code, verdict_line

_MODES = ("STARTING", "RUN", "REDUCED", "PROTECTIVE STOP", "EMERGENCY STOP")
_SHOWN = 200
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.verdict { padding: .6rem 1rem; border-radius: .3rem; font-weight: 600; }
.ok { background: #dff3e4; } .bad { background: #fbe0de; } .part { background: #fdf1d0; }
table { border-collapse: collapse; } td, th { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; } code { background: #f4f4f4; }
details { margin: .4rem 0; } svg { max-width: 100%; height: auto; } .then { color: #777; } .now { color: #b3261e; }
"""


def page(result: Checked) -> str:
    """The report."""
    state = {0: "ok", 1: "bad", 3: "part"}[exit_code(result)]
    parts = [
        "<!doctype html><meta charset='utf-8'><title>decided again</title>",
        f"<style>{_STYLE}</style>",
        f"<h1>{_e(result.bag)}, decided again</h1>",
        f"<p class='verdict {state}'>{_e(verdict_line(result))}</p>",
        f"<p>{result.span_s:.1f} s recorded, decided again in {result.spent_s:.1f} s ({result.speed:.1f} ×). "
        f"Hash <code>{result.hash}</code>.</p>",
    ]
    if result.changes:
        parts.append(
            "<p>With " + ", ".join(f"<code>{_e(k)}={_e(v)}</code>" for k, v in result.changes.items()) + ".</p>"
        )
    notes = [*result.faults, *(fault for tally in result.tallies for fault in tally.faults)]
    notes += [f"{topic}: {kind} is not installed; skipped" for topic, (kind, _) in result.unknown.items()]
    if result.changed_software:
        notes.append(f"another build than recorded: {', '.join(result.changed_software)}")
    if notes:
        parts.append("<h2>Remarks</h2><ul>" + "".join(f"<li>{_e(note)}</li>" for note in notes) + "</ul>")
    parts += [_table(result), _plots(result), _differences(result)]
    return "\n".join(parts)


def _e(value: Any) -> str:
    return html.escape(str(value))


def _table(result: Checked) -> str:
    rows = []
    for tally in result.tallies:
        for kind, row in sorted(tally.decisions.items()):
            cells = "".join(f"<td class='n'>{row[verdict] or ''}</td>" for verdict in Verdict)
            rows.append(f"<tr><td>{_e(tally.node)}</td><td>{_e(kind)}</td>{cells}</tr>")
    head = "<tr><th>node</th><th>decisions</th><th>identical</th><th>equivalent</th><th>different</th></tr>"
    return f"<h2>Decisions</h2><table>{head}{''.join(rows)}</table>"


def _differences(result: Checked) -> str:
    found: list[Divergence] = [entry for tally in result.tallies for entry in tally.divergences]
    if not found:
        return ""
    found.sort(key=lambda entry: (-entry.verdict, entry.ros_s))
    parts = ["<h2>Differences</h2>"]
    for number, entry in enumerate(found[:_SHOWN]):
        fields = "".join(
            f"<tr><td>{_e(field.path)}</td><td class='then'>{_e(field.then)}</td><td class='now'>{_e(field.now)}</td></tr>"
            for field in entry.fields
        )
        parts.append(
            f"<details{' open' if number == 0 else ''}><summary>{entry.ros_s:.3f} s: {_e(entry.decision)} of "
            f"{_e(entry.node)}, {entry.verdict.name.lower()} (life {entry.life}, step {entry.step}, on {_e(entry.trigger)})"
            f"</summary><p class='then'>then: {_e(entry.then)}</p><p class='now'>now: {_e(entry.now)}</p>"
            f"<table>{fields}</table></details>"
        )
    if len(found) > _SHOWN:
        parts.append(f"<p>… and {len(found) - _SHOWN} more.</p>")
    return "\n".join(parts)


def _plots(result: Checked) -> str:
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    modes = [row for tally in result.tallies for row in tally.modes]
    plans = [row for tally in result.tallies for row in tally.plans]
    figure, axes = plt.subplots(3, 1, figsize=(11, 7), sharex=True, constrained_layout=True)
    if modes:
        times = [row[0] for row in modes]
        axes[0].step(times, [row[1] for row in modes], where="post", color="#999999", linewidth=3, label="then")
        axes[0].step(times, [row[2] for row in modes], where="post", color="#b3261e", linewidth=1, label="now")
        axes[0].set_yticks(range(len(_MODES)), _MODES)
        axes[0].legend(loc="upper right")
    axes[0].set_title("safety mode", loc="left")
    if plans:
        axes[1].plot([row[0] for row in plans], [row[2] for row in plans], "o", color="#999999", label="then")
        axes[1].plot([row[0] for row in plans], [row[3] for row in plans], "x", color="#b3261e", label="now")
        axes[1].legend(loc="upper right")
    axes[1].set_title("time that a plan expects for its picks, s", loc="left")
    for row, tally in enumerate(result.tallies):
        for verdict, colour in ((Verdict.EQUIVALENT, "#e0a800"), (Verdict.DIFFERENT, "#b3261e")):
            at = [entry.ros_s for entry in tally.divergences if entry.verdict is verdict]
            axes[2].plot(at, [row] * len(at), "|", color=colour, markersize=14)
    axes[2].set_yticks(range(len(result.tallies)), [tally.node for tally in result.tallies])
    axes[2].set_ylim(-0.5, len(result.tallies) - 0.5)
    axes[2].set_title("where decisions differ", loc="left")
    axes[2].set_xlabel("ROS time, s")
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    plt.close(figure)
    drawn = out.getvalue()
    return "<h2>Over time</h2>" + drawn[drawn.index("<svg") :]
