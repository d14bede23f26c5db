"""Make a small recording of a large one: some nodes' journals up to a time, with what their check needs."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from lumper_replay import peek
from lumper_replay.names import Names
from lumper_replay.reader import open_bag
from lumper_replay.writer import BagError, BagWriter
from lumper_ros import interfaces, journal

# Large inputs that are kept only for those who take them.
_LARGE = ("points",)
_ALWAYS = (
    "job/state",
    "motion/state",
    "safety/state",
    "plan",
    "wall",
    "events",
    "joint_states",
    "/tf",
    "/tf_static",
    "/clock",
)


def cut(
    source: Path, target: Path, until_s: float | None, nodes: Collection[str], compression: str = "lz4"
) -> Counter[str]:
    """Copy what the nodes need to be decided again; returns messages by topic.

    Args:
        until_s: seconds from the start of the recording; None = all. A life begins where it began: nothing is cut in front.
        nodes: whose decisions; the other nodes' journals are left out.

    Raises:
        BagError: there is nothing readable, an unknown node, or nothing would be left.
    """
    unknown = set(nodes) - set(interfaces.TOPICS[journal.TOPIC].publishers)
    if unknown:
        raise BagError(f"--nodes {', '.join(sorted(unknown))}: no deciding node")
    bag = open_bag(source)
    known = Names(bag).known
    kept = {absolute for absolute, name in known.items() if _needed(name, nodes)}
    first_ns, last_ns = bag.span_ns()
    end_ns = last_ns if until_s is None else first_ns + int(until_s * 1e9)
    if not any(known[topic] == journal.TOPIC for topic in kept):
        raise BagError(f"{source} holds no journal: there is nothing to decide again")
    writer = BagWriter(target, compression=compression, custom=bag.custom | {"lumper.cut_from": source.name})
    count: Counter[str] = Counter()
    for info in bag.topics.values():
        if info.name in kept:
            writer.add_topic(info.name, info.type, info.qos, info.text, info.type_hash)
    for message in bag.messages(kept):
        foreign = known[message.topic] == journal.TOPIC and peek.head(message.data).node not in nodes
        if message.stamp_ns <= end_ns and not foreign:
            writer.write(message.topic, message.stamp_ns, message.data, message.publish_ns)
            count[message.topic] += 1
    writer.close()
    return count


def _needed(name: str, nodes: Collection[str]) -> bool:
    if name in _LARGE:
        return any(node in interfaces.TOPICS[name].subscribers for node in nodes)
    row = interfaces.TOPICS[name]
    published = any(node in row.publishers for node in nodes)
    return published or name in _ALWAYS or name == journal.TOPIC
