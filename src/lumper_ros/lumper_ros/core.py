"""What a node's logic looks like: a plain object that is given inputs and the time and returns effects.

No rclpy, clock, thread, file or socket here or in any `Core`. Three hosts drive the same objects: the live ROS node
(`lumper_ros.host`), the replayer and the fault simulator. Names are keys of the interface table (`lumper_ros.interfaces`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


@dataclass(frozen=True, slots=True)
class Now:
    """The three clocks at one instant, in seconds.

    ros_s:    ROS time: stamps of messages, job times, deadlines. May be simulated, paused, or jump.
    steady_s: monotonic clock of this process: watchdogs, time-outs, rates.
    system_s: wall clock (CLOCK_REALTIME): only the permit and operators' commands use it.
    """

    ros_s: float
    steady_s: float
    system_s: float


class Severity(Enum):
    """Severity of an event; values as in lumper_msgs/Event."""

    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


class GoalStatus(Enum):
    """How a goal ended, seen by server or client."""

    SUCCEEDED = "succeeded"
    ABORTED = "aborted"
    CANCELED = "canceled"
    REJECTED = "rejected"  # client side: the server did not accept it
    UNAVAILABLE = "unavailable"  # client side: no server, or no answer to the goal request in time
    LOST = "lost"  # client side: the server disappeared before it gave a result


@dataclass(frozen=True, slots=True)
class Publish:
    name: str
    message: Any


@dataclass(frozen=True, slots=True)
class SendGoal:
    """Send a goal as a client. `goal_id` is the UUID in hex (32 digits), chosen by the core."""

    name: str
    goal_id: str
    goal: Any


@dataclass(frozen=True, slots=True)
class CancelGoal:
    name: str
    goal_id: str


@dataclass(frozen=True, slots=True)
class FinishGoal:
    """End a goal as a server. Only SUCCEEDED, ABORTED and CANCELED are possible."""

    name: str
    goal_id: str
    status: GoalStatus
    result: Any


@dataclass(frozen=True, slots=True)
class Feedback:
    name: str
    goal_id: str
    feedback: Any


@dataclass(frozen=True, slots=True)
class CallService:
    """Call a service as a client; the answer comes to `Core.service_result` with the same tag."""

    name: str
    tag: str
    request: Any
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Respond:
    """The answer to the service request being handled: exactly one in the effects of `Core.service`."""

    response: Any


class GaveUpError(Exception):
    """A computation ended because of the time that it took, not of what it found."""


@dataclass(frozen=True, slots=True)
class Compute:
    """Run `function` off the event loop (one worker per core object, in order); its value comes to `Core.computed`, unless the core
    was deactivated meanwhile.

    The function must not touch the core. An exception it raises is delivered as the result; `GaveUpError` where a clock ended it,
    which is recorded: a replayer hands on the same instead of computing again.
    """

    tag: str
    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Persist:
    """Write to the node's store before any later effect is carried out.

    When the write fails the later effects of the same list are dropped and `Core.persist_failed` is called.
    """

    kind: str
    key: str
    record: Mapping[str, Any] | None  # JSON-able; None deletes the key


@dataclass(frozen=True, slots=True)
class Emit:
    """An event: published on `events` and written to the log."""

    code: str
    text: str
    severity: Severity = Severity.INFO
    job_id: str = ""
    plan_id: str = ""
    request_id: str = ""
    values: Mapping[str, str | float | int | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Diagnose:
    """Set this node's diagnostic status `name` (published at 1 Hz and on a change of level)."""

    name: str
    level: int  # diagnostic_msgs/DiagnosticStatus: 0 OK, 1 WARN, 2 ERROR, 3 STALE
    text: str
    values: Mapping[str, str | float | int | bool] = field(default_factory=dict)


Effect = (
    Publish
    | SendGoal
    | CancelGoal
    | FinishGoal
    | Feedback
    | CallService
    | Respond
    | Compute
    | Persist
    | Emit
    | Diagnose
)
Effects = Sequence[Effect]
NOTHING: Effects = ()


class Core:
    """Base of every node's logic. Each method returns effects, carried out in order; the default is none.

    Methods are never called concurrently. `restore` is called once before any other, with what was persisted.
    """

    def origin(self) -> Mapping[str, Any]:
        """What this object was built with besides parameters and files (drawn ids), JSON-able: a replayer builds it alike."""
        return {}

    def restore(self, records: Mapping[str, Mapping[str, Any]], now: Now) -> Effects:
        """Take what `Persist` wrote in earlier lives: kind -> key -> record."""
        return NOTHING

    def activate(self, now: Now) -> Effects:
        """The node became active (lifecycle), or started (nodes without lifecycle)."""
        return NOTHING

    def deactivate(self, now: Now) -> Effects:
        """The node is about to become inactive; nothing but `activate` is called afterwards."""
        return NOTHING

    def message(self, name: str, message: Any, now: Now) -> Effects:
        """A message arrived on topic `name`."""
        return NOTHING

    def tick(self, now: Now) -> Effects:
        """The node's period on the steady clock has passed."""
        return NOTHING

    def goal(self, name: str, goal_id: str, goal: Any, now: Now) -> Effects:
        """A client's goal arrived (already accepted; refuse with FinishGoal(ABORTED) and a code)."""
        return NOTHING

    def cancel(self, name: str, goal_id: str, now: Now) -> Effects:
        """A client asks to cancel its goal (the request was accepted; finish when it is true)."""
        return NOTHING

    def service(self, name: str, request: Any, now: Now) -> Effects:
        """A service was called. Exactly one `Respond` must be among the effects."""
        raise NotImplementedError(f"{type(self).__name__} serves {name} but has no `service`")

    def goal_accepted(self, name: str, goal_id: str, now: Now) -> Effects:
        return NOTHING

    def goal_feedback(self, name: str, goal_id: str, feedback: Any, now: Now) -> Effects:
        return NOTHING

    def goal_result(self, name: str, goal_id: str, status: GoalStatus, result: Any | None, now: Now) -> Effects:
        """A goal sent by `SendGoal` ended; called exactly once for each. `result` is None unless a server gave one."""
        return NOTHING

    def service_result(self, name: str, tag: str, response: Any | None, now: Now) -> Effects:
        """Answer to `CallService`; None = no server or no answer in time."""
        return NOTHING

    def computed(self, tag: str, result: Any, now: Now) -> Effects:
        """`Compute` finished; `result` is its value, or the exception it raised."""
        return NOTHING

    def persist_failed(self, kind: str, key: str, error: str, now: Now) -> Effects:
        """A `Persist` could not be written; the effects after it were dropped."""
        return NOTHING

    def observed(self, name: str, value: Any, now: Now) -> Effects:
        """The node's own shell found out something that no topic tells; `value` is JSON-able."""
        return NOTHING
