"""Supervision of single inputs: their age, the gripper's load, the wall's cartons."""

from dataclasses import dataclass
from typing import Any

from lumper_safety.causes import InputRule


@dataclass(slots=True)
class InputState:
    """What is known of one input. Times of the steady clock; NaN-free."""

    rule: InputRule
    seen_s: float | None = None  # last good message
    bad_s: float | None = None  # last malformed one
    stamp_s: float = float("-inf")
    good: int = 0
    malformed: int = 0
    late: int = 0  # older than the max age on arrival
    out_of_order: int = 0
    invalid_beams: int = 0  # of all scans

    def age_s(self, steady_s: float) -> float | None:
        """Seconds since the last good message; None = never seen."""
        return None if self.seen_s is None else steady_s - self.seen_s

    def is_stale(self, steady_s: float) -> bool:
        age_s = self.age_s(steady_s)
        return age_s is not None and age_s > self.rule.max_age_s


class LoadWatch:
    """Notices a carton that leaves the gripper while the vacuum is on. Off valves are a commanded release."""

    def __init__(self, settle_s: float = 0.1) -> None:
        self._settle_s = settle_s
        self._held_since_s: float | None = None

    @property
    def holding(self) -> bool:
        return self._held_since_s is not None

    def step(self, gripper: Any, extracting: bool, stamp_s: float) -> bool:
        """Take a gripper state; True = lost now.

        Args:
            extracting: the broker carries the carton (extract, carry, place): before that, a grasp may still fail.
        """
        if gripper.part_held:
            if self._held_since_s is None:
                self._held_since_s = stamp_s
            return False
        held_since_s, self._held_since_s = self._held_since_s, None
        return (
            held_since_s is not None
            and extracting
            and gripper.zones_on != 0
            and stamp_s - held_since_s >= self._settle_s
        )


class WallWatch:
    """Notices cartons that moved without being touched: once for each version of the wall."""

    def __init__(self) -> None:
        self._version = -1

    def step(self, wall: Any) -> tuple[int, ...]:
        """Take a valid wall; the ids that moved in a version not judged before."""
        if wall.version == self._version:
            return ()
        self._version = wall.version
        return tuple(int(carton_id) for carton_id in wall.moved_ids)
