"""Which topic of a recording is which row of the interface table, whatever namespace the robot had."""

from dataclasses import dataclass, field

from lumper_replay.reader import Bag
from lumper_ros import interfaces

NAMESPACE = "lumper.namespace"


@dataclass(slots=True)
class Names:
    """known: absolute topic name -> name in the interface table. faults: what does not fit, in sentences."""

    bag: Bag
    known: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    namespace: str = ""

    def __post_init__(self) -> None:
        self.namespace = self.bag.custom.get(NAMESPACE) or self._guess()
        for name, row in interfaces.TOPICS.items():
            absolute = name if name.startswith("/") else f"{self.namespace}/{name}"
            info = self.bag.topics.get(absolute)
            if info is None:
                continue
            if info.type != row.type:
                self.faults.append(f"{absolute} is {info.type} in the recording and {row.type} here: left out")
                continue
            self.known[absolute] = name

    def _guess(self) -> str:
        """The namespace that gives most topics a row."""
        best, most = "", 0
        prefixes = {""}
        for topic in self.bag.topics:
            for name in interfaces.TOPICS:
                if not name.startswith("/") and topic.endswith(f"/{name}"):
                    prefixes.add(topic.removesuffix(f"/{name}"))
        for prefix in sorted(prefixes):
            fit = sum(f"{prefix}/{name}" in self.bag.topics for name in interfaces.TOPICS)
            if fit > most:
                best, most = prefix, fit
        return best
