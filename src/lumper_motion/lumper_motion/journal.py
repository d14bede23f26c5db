"""The memory of requests: what was begun, what came of it. Bounded; on disk through Persist, so that a death loses nothing.

A record is written before anything moves because of it. Only requests that were begun are on disk; refusals, which
moved nothing, are remembered in memory.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lumper_ros.core import Effect, Persist

KIND = "request"


@dataclass(slots=True)
class Record:
    """One request, as on disk. `outcome` None = begun, not ended. Times in ROS s."""

    number: int
    kind: int
    job_id: str
    plan_id: str
    carton_ids: list[int]
    stage: int
    begun_s: float
    outcome: int | None = None
    text: str = ""
    stages: list[tuple[str, float]] = field(default_factory=list)
    holding: bool = False
    ended_s: float = 0.0
    load: dict[str, Any] | None = None


class Journal:
    """Outcomes by request id."""

    def __init__(self, size: int, refusals_size: int) -> None:
        self._size = size
        self._refusals_size = refusals_size
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._refusals: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self._unwritten: set[str] = set()  # outcomes told that the disk did not take
        self.last_number = 0

    def restore(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Take what was on disk, oldest first."""
        for key, value in sorted(records.items(), key=lambda item: int(item[1]["number"])):
            data = dict(value)
            data["stages"] = [(str(name), float(duration)) for name, duration in data["stages"]]
            self._records[key] = Record(**data)
            self.last_number = max(self.last_number, self._records[key].number)

    def open_records(self) -> dict[str, Record]:
        """Begun and not ended."""
        return {key: record for key, record in self._records.items() if record.outcome is None}

    def newest(self) -> Record | None:
        """The record written last for a request that was begun last."""
        return max(self._records.values(), key=lambda record: record.number, default=None)

    def find(self, request_id: str) -> Record | None:
        return self._records.get(request_id)

    def refusal(self, request_id: str) -> tuple[int, str] | None:
        return self._refusals.get(request_id)

    def refuse(self, request_id: str, code: int, text: str) -> None:
        self._refusals[request_id] = (code, text)
        while len(self._refusals) > self._refusals_size:
            self._refusals.popitem(last=False)

    def write(self, request_id: str, record: Record) -> list[Effect]:
        """Effects that put the record on disk; the oldest ended ones leave it when there are too many."""
        self._records[request_id] = record
        effects: list[Effect] = [Persist(KIND, request_id, asdict(record))]
        while len(self._records) > self._size:
            oldest = next((key for key, old in self._records.items() if old.outcome is not None), None)
            if oldest is None:
                break
            del self._records[oldest]
            effects.append(Persist(KIND, oldest, None))
        return effects

    def failed(self, request_id: str) -> Record | None:
        """A record could not be written. Returns it when it is an outcome whose telling was dropped with it."""
        record = self._records.get(request_id)
        if record is None or record.outcome is None:
            return None
        first = request_id not in self._unwritten
        self._unwritten.add(request_id)
        return record if first else None

    def again(self) -> list[Effect]:
        """Effects that write the outcomes once more that the disk did not take. They belong last: a failure drops nothing."""
        return [
            Persist(KIND, key, asdict(self._records[key])) for key in sorted(self._unwritten) if key in self._records
        ]

    def written(self) -> None:
        """The effects of `again` went through."""
        self._unwritten.clear()

    def latest(self, count: int) -> list[tuple[str, int]]:
        """Newest ended requests first: id and outcome code."""
        ended = [(key, record.outcome) for key, record in reversed(self._records.items()) if record.outcome is not None]
        return ended[:count]

    def __len__(self) -> int:
        return len(self._records)
