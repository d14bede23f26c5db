"""What a demonstration run says at its end, and whether it was a success. Plain data; no ROS, no clock."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

PHASES = (
    "idle",
    "looking",
    "planning",
    "picking",
    "placing",
    "advancing",
    "waiting",
    "asking",
    "paused",
    "done",
    "failed",
)


@dataclass(frozen=True, slots=True)
class Physics:
    """Counts of cartons by the simulation's physics."""

    total: int
    delivered: int
    on_conveyor: int
    on_floor: int
    in_trailer: int
    held: int
    with_person: int
    falls: int


@dataclass(frozen=True, slots=True)
class Job:
    """The job's own result. Durations in s of simulated time; `stages_s` is summed over the job."""

    outcome: int
    outcome_name: str
    text: str
    empty_confirmed: bool
    delivered: int
    dropped: int
    skipped: int
    left: int
    duration_s: float
    cases_per_hour: float
    protective_stops: int
    assists: int
    waiting_for_person_s: float
    stages_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop by safety: when (simulated s since the job began), why, and whether the physics knows of a reason."""

    at_s: float
    text: str
    grounded: bool

    def __str__(self) -> str:
        ground = "a carton was shifted then" if self.grounded else "the physics knows no reason"
        return f"after {self.at_s:.1f} s {self.text} ({ground})"


def stops_of(stops: Iterable[tuple[float, str]], shifts: Sequence[float]) -> tuple[Stop, ...]:
    """Stops, each against the times at which a carton was shifted without being held or let go by the cups, all in s.

    Nobody walks about in a demonstration and no part of it breaks: what else stops the robot is a false stop.
    """
    return tuple(Stop(at_s, text, any(-1.0 <= at_s - shift_s <= 5.0 for shift_s in shifts)) for at_s, text in stops)


@dataclass(frozen=True, slots=True)
class Run:
    """One demonstration: how it was asked for, what the job and the physics say. Wall-clock durations in s."""

    cartons: int
    seed: int
    load: str
    job: Job | None
    physics: Physics | None
    ended_by: str
    realtime_factor: float | None = None
    start_to_ready_s: float | None = None
    start_to_first_motion_s: float | None = None
    wall_s: float = 0.0
    dispatched: int = 0
    dispatched_without_permit: int = 0
    resets: int = 0
    stops: tuple[Stop, ...] = ()
    deaths: tuple[str, ...] = ()
    events: Mapping[str, int] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """Why this run is no success; empty = the job says empty and the physics agrees."""
        if self.job is None:
            return [self.ended_by]
        faults = []
        if self.job.outcome != 0:
            faults.append(f"the job ended with {self.job.outcome_name} ({self.job.outcome}): {self.job.text}")
        elif not self.job.empty_confirmed:
            faults.append("the job did not see the empty trailer")
        if self.dispatched_without_permit:
            faults.append(f"{self.dispatched_without_permit} trajectories were sent without a permit")
        if self.physics is None:
            faults.append("the simulation gave no report")
            return faults
        if self.physics.in_trailer:
            faults.append(f"by the physics {self.physics.in_trailer} carton(s) are still in the trailer")
        if self.physics.held:
            faults.append(f"by the physics {self.physics.held} carton(s) hang on the gripper")
        return faults

    def as_json(self) -> dict[str, Any]:
        """Everything, with the derived figures, for a report file; the job's counts at the top, the physics' apart."""
        faults, everything = self.faults(), asdict(self)
        job = everything.pop("job") or {}
        derived = {"falls_per_1000": self.falls_per_1000(), "faults": faults, "success": not faults}
        return {**everything, **job, **derived, "stops": list(map(str, self.stops)), "false_stops": self.false_stops()}

    def false_stops(self) -> int:
        """Stops for which the physics knows no reason."""
        return sum(not stop.grounded for stop in self.stops)

    def falls_per_1000(self) -> float | None:
        """Cartons that dropped or tipped, of a thousand; None without physics."""
        if self.physics is None or not self.physics.total:
            return None
        return 1000.0 * self.physics.falls / self.physics.total


def clock(seconds: float) -> str:
    """m:ss, or h:mm:ss from an hour on."""
    whole = max(0, int(seconds))
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def progress(done: int, total: int, rate_per_h: float, phase: int, text: str, elapsed_s: float, factor: float) -> str:
    """One line while the job runs."""
    word = PHASES[phase] if phase < len(PHASES) else str(phase)
    shown = text if text and word in ("waiting", "asking", "paused", "failed") else word
    return f"unloading {done} of {total}, {rate_per_h:.0f}/h, {clock(elapsed_s)} at {factor:.1f}x, {shown}"


def render(run: Run) -> str:
    """The report for people."""
    lines = ["", f"Report: {run.cartons} cartons, load {run.load}, seed {run.seed} (a simulation)"]

    def row(name: str, value: str) -> None:
        lines.append(f"  {name:<26}{value}")

    if run.physics is not None:
        physics = run.physics
        row("on the conveyor", f"{physics.delivered + physics.on_conveyor} of {physics.total}")
        row(
            "dropped",
            f"{physics.on_floor} on a floor by the physics" + (f", {run.job.dropped} by the job" if run.job else ""),
        )
        row(
            "left",
            f"{physics.in_trailer} in the trailer"
            + (f", {run.job.skipped} skipped on a person's word" if run.job else ""),
        )
        row("falls per 1,000 cases", f"{run.falls_per_1000():.1f}")
    if run.job is not None:
        job = run.job
        row("cases per hour", f"{job.cases_per_hour:.0f} (simulated time, {clock(job.duration_s)})")
        if job.stages_s and job.delivered:
            shares = (
                f"{name} {total_s / job.delivered:.1f}" for name, total_s in job.stages_s.items() if total_s > 0.0
            )
            row("seconds per carton", ", ".join(shares))
        row("protective stops", "; ".join([str(job.protective_stops), *map(str, run.stops)]))
        row("questions to a person", f"{job.assists}, {job.waiting_for_person_s:.0f} s waited")
    for name, value in (
        ("start to ready", run.start_to_ready_s),
        ("start to first motion", run.start_to_first_motion_s),
    ):
        if value is not None:
            row(name, f"{value:.1f} s")
    row("stops reset", f"{run.resets} by the demonstration's stand-in for the operator")
    row("trajectories sent", f"{run.dispatched}, {run.dispatched_without_permit} of them without a permit")
    if run.realtime_factor is not None:
        row("real-time factor", f"{run.realtime_factor:.2f}")
    if run.deaths:
        times = Counter(run.deaths)
        row(
            "processes that died",
            ", ".join(f"{name} {count} times" if count > 1 else name for name, count in times.items()),
        )
    faults = run.faults()
    lines.append("  The trailer is empty." if not faults else f"  NOT DONE: {'; '.join(faults)}")
    return "\n".join(lines)
