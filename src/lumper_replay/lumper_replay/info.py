"""What a recording holds, in words."""

import json
from datetime import UTC, datetime
from pathlib import Path

from lumper_replay.names import Names
from lumper_replay.reader import installed, open_bag
from lumper_ros import journal


def text(path: Path, count: bool = False) -> str:
    """Description of a recording.

    Args:
        count: count the messages; otherwise metadata.yaml is believed where it is there.

    Raises:
        BagError: there is nothing readable.
    """
    bag = open_bag(path)
    told = None if count or bag.meta is None else bag.meta.topics
    counts = dict(bag.counts()) if told is None else {entry.name: entry.count for entry in told}
    first_ns, last_ns = bag.span_ns()
    names = Names(bag)
    lines = [
        f"{path}: {(last_ns - first_ns) * 1e-9:.3f} s from {datetime.fromtimestamp(first_ns * 1e-9, UTC):%Y-%m-%d %H:%M:%S} UTC, "
        f"{sum(counts.values())} messages in {len(bag.files)} file(s)"
    ]
    for name, info in sorted(bag.topics.items()):
        note = "" if installed(info.type) is not None else "  (type not installed: skipped)"
        note += f"  = {names.known[name]}" if name in names.known and names.known[name] != name.lstrip("/") else ""
        lines.append(f"  {counts.get(name, 0):8d}  {name}  {info.type}{note}")
    decides = any(known == journal.TOPIC for known in names.known.values()) and counts.get(
        next(topic for topic, known in names.known.items() if known == journal.TOPIC), 0
    )
    lines.append(
        "can be decided again exactly" if decides else "holds no journal: only what topics tell can be decided again"
    )
    for key, value in bag.custom.items():
        shown = ", ".join(json.loads(value)) if key == "lumper.parameters" and value else value.partition("\n")[0][:100]
        lines.append(f"  {key}: {shown}")
    lines += [f"! {fault}" for fault in [*bag.faults_now(), *names.faults]]
    return "\n".join(lines)
