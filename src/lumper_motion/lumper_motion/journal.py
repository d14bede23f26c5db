"""The memory of requests: what was begun, what came of it. Bounded; on disk through Persist, so that a death loses nothing.

A record is written before anything moves because of it. A refusal moved nothing; it is on disk only where the same request might
be taken at another time, so that an ended request is never begun by the next life.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from typing import Any, NamedTuple

from lumper_ros.core import Effect, Persist

KIND, REFUSAL_KIND = "request", "refusal"
# Each costs the event loop a synchronous write: a flood of refused requests is answered from memory alone.
REFUSALS_WRITTEN_PER_S = 8


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


_NAMES = tuple(item.name for item in fields(Record) if item.name != "load")


class Packed(NamedTuple):
    """An ended request that nobody is likely to ask for again: two thousand of them as objects are megabytes."""

    outcome: int
    values: str  # of its record, without the load, as JSON


def _pack(record: Record) -> Packed:
    assert record.outcome is not None
    return Packed(record.outcome, json.dumps([getattr(record, name) for name in _NAMES], separators=(",", ":")))


def _record_of(kept: Record | Packed) -> Record:
    return kept if isinstance(kept, Record) else _read(dict(zip(_NAMES, json.loads(kept.values), strict=True)))


def _read(values: Mapping[str, Any]) -> Record:
    record = Record(**values)
    record.stages = [(str(name), float(duration)) for name, duration in record.stages]
    return record


@dataclass(frozen=True, slots=True)
class Refused:
    """What a request was told that was never begun. `number`: in the order of those on disk."""

    number: int
    code: int
    text: str


class Journal:
    """Outcomes by request id."""

    def __init__(self, size: int, refusals_size: int) -> None:
        self._size = size
        self._refusals_size = refusals_size
        self._records: dict[str, Record | Packed] = {}  # in the order of their beginning
        self._newest = ""  # id of the request begun last
        self._refusals: OrderedDict[str, Refused] = OrderedDict()  # in memory only
        self._kept: OrderedDict[str, Refused] = OrderedDict()  # refusals on disk
        self._second_s, self._in_second = -math.inf, 0
        self._unwritten: set[str] = set()  # outcomes and refusals told that the disk did not take
        self.last_number = 0

    def restore(self, records: Mapping[str, Mapping[str, Any]], refusals: Mapping[str, Mapping[str, Any]]) -> None:
        """Take what was on disk, oldest first."""
        for key, value in sorted(refusals.items(), key=lambda item: int(item[1]["number"])):
            self._kept[key] = Refused(**value)
        for key, value in sorted(records.items(), key=lambda item: int(item[1]["number"])):
            record = _read(value)
            self._begin(key, record)
            self.last_number = max(self.last_number, record.number)

    def open_records(self) -> dict[str, Record]:
        """Begun and not ended."""
        return {key: kept for key, kept in self._records.items() if isinstance(kept, Record) and kept.outcome is None}

    def newest(self) -> Record | None:
        """The record of the request that was begun last."""
        return self.find(self._newest)

    def find(self, request_id: str) -> Record | None:
        kept = self._records.get(request_id)
        return None if kept is None else _record_of(kept)

    def refusal(self, request_id: str) -> Refused | None:
        return self._kept.get(request_id) or self._refusals.get(request_id)

    def refuse(self, request_id: str, code: int, text: str, passing: bool, now_s: float) -> list[Effect]:
        """Remember a refusal.

        Args:
            passing: at another time the same request might be taken.
            now_s: steady time.

        Returns:
            Effects that put it on disk, to be carried out before it is told. Each write takes at most one old one away.
        """
        newest = next(reversed(self._kept.values()), None)
        refused = Refused(1 if newest is None else newest.number + 1, code, text)
        if not (passing and self._may_write(now_s)):
            self._refusals[request_id] = refused
            while len(self._refusals) > self._refusals_size:
                self._refusals.popitem(last=False)
            return []
        self._kept[request_id] = refused
        effects: list[Effect] = [Persist(REFUSAL_KIND, request_id, asdict(refused))]
        if len(self._kept) > self._refusals_size:
            effects.append(Persist(REFUSAL_KIND, self._kept.popitem(last=False)[0], None))
        return effects

    def _may_write(self, now_s: float) -> bool:
        if now_s - self._second_s >= 1.0:
            self._second_s, self._in_second = now_s, 0
        self._in_second += 1
        return self._in_second <= REFUSALS_WRITTEN_PER_S

    def write(self, request_id: str, record: Record) -> list[Effect]:
        """Effects that put the record on disk; the oldest ended ones leave it when there are too many."""
        if request_id in self._records:
            self._records[request_id] = record
            self._put_by(request_id)
        else:
            self._begin(request_id, record)
        effects: list[Effect] = [Persist(KIND, request_id, asdict(record))]
        while len(self._records) > self._size:
            oldest = next((key for key, old in self._records.items() if old.outcome is not None), None)
            if oldest is None:
                break
            del self._records[oldest]
            effects.append(Persist(KIND, oldest, None))
        return effects

    def _begin(self, request_id: str, record: Record) -> None:
        before, self._newest = self._newest, request_id
        self._records[request_id] = record
        self._put_by(before)

    def _put_by(self, request_id: str) -> None:
        """Pack a record that is done with. What the gripper holds is asked of the newest only; a load is ten times the rest."""
        kept = self._records.get(request_id)
        done = request_id != self._newest and request_id not in self._unwritten
        if done and isinstance(kept, Record) and kept.outcome is not None:
            self._records[request_id] = _pack(kept)

    def failed(self, request_id: str) -> Record | None:
        """A record could not be written. Returns it when it is an outcome whose telling was dropped with it."""
        record = self.find(request_id)
        if record is None or record.outcome is None:
            return None
        first = request_id not in self._unwritten
        self._unwritten.add(request_id)
        self._records[request_id] = record
        return record if first else None

    def not_kept(self, request_id: str) -> None:
        """A refusal did not reach the disk."""
        self._unwritten.add(request_id)

    def again(self) -> list[Effect]:
        """Effects that write once more what the disk did not take. They belong last: a failure drops nothing."""
        effects: list[Effect] = []
        for key in sorted(self._unwritten):
            if (record := self.find(key)) is not None:
                effects.append(Persist(KIND, key, asdict(record)))
            elif key in self._kept:
                effects.append(Persist(REFUSAL_KIND, key, asdict(self._kept[key])))
        return effects

    def written(self) -> None:
        """The effects of `again` went through."""
        taken = sorted(self._unwritten)
        self._unwritten.clear()
        for key in taken:
            self._put_by(key)

    def latest(self, count: int) -> list[tuple[str, int]]:
        """Newest ended requests first: id and outcome code."""
        ended = ((key, kept.outcome) for key, kept in reversed(self._records.items()) if kept.outcome is not None)
        return list(islice(ended, count))

    def __len__(self) -> int:
        return len(self._records)
