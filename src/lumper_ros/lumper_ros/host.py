"""The live host of a Core: wires it to the ROS graph from the interface table and carries out its effects."""

import contextlib
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import rclpy
from action_msgs.msg import GoalStatus as RosStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lumper_msgs.msg import Event
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from lumper_ros import core as c
from lumper_ros import interfaces, journal
from lumper_ros.clients import CHECK_PERIOD_S, GoalSender, ServiceCaller
from lumper_ros.parameters import ParameterError, from_mapping, spec_of
from lumper_ros.priority import raise_priority
from lumper_ros.qos import qos
from lumper_ros.respawn import ActiveMark
from lumper_ros.spin import Spinner, leave_in_time
from lumper_ros.store import Store
from lumper_ros.worker import Worker, WorkerLostError

P = TypeVar("P")
# Two clocks read within this count as read at once, s; so many tries at it.
CLOCKS_APART_S, CLOCK_TRIES = 0.001, 4
# Parameters that rclpy itself declares on every node.
_ROS_PARAMETERS = ("use_sim_time", "start_type_description_service", "qos_overrides.")


def load_parameters(node: Node, cls: type[P]) -> P:
    """Read the node's parameters into `cls` and declare them with description and bounds.

    Raises:
        ParameterError: names every bad parameter.
    """
    given = {
        name: value.value
        for name, value in node.get_parameters_by_prefix("").items()
        if not name.startswith(_ROS_PARAMETERS)
    }
    made = from_mapping(cls, given)
    for field in cls.__dataclass_fields__.values():  # type: ignore[attr-defined]
        spec = spec_of(field)
        value = getattr(made, field.name)
        descriptor = ParameterDescriptor(description=spec.doc, read_only=True)
        if isinstance(value, float):
            low, high = spec.low, spec.high
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=-1e308 if low is None else low, to_value=1e308 if high is None else high)
            ] * (low is not None or high is not None)
        elif isinstance(value, int) and not isinstance(value, bool):
            low, high = spec.low, spec.high
            descriptor.integer_range = [
                IntegerRange(
                    from_value=-(2**62) if low is None else int(low),
                    to_value=2**62 if high is None else int(high),
                    step=1,
                )
            ] * (low is not None or high is not None)
        if node.has_parameter(field.name):
            node.undeclare_parameter(field.name)
        node.declare_parameter(
            field.name, list(value) if isinstance(value, tuple) else value, descriptor, ignore_override=True
        )
    return made


def state_path(node: Node) -> Path:
    """File of a node's store: $LUMPER_STATE_DIR, else $ROS_HOME/lumper, else ~/.ros/lumper; one folder per namespace."""
    home = os.environ.get("LUMPER_STATE_DIR") or str(
        Path(os.environ.get("ROS_HOME") or Path.home() / ".ros") / "lumper"
    )
    return Path(home) / node.get_namespace().strip("/").replace("/", "__") / f"{node.get_name()}.sqlite"


class Host:
    """Runs one Core on one node. All methods but `inject` belong to the executor's thread."""

    def __init__(
        self,
        node: Node,
        spinner: Spinner,
        core: c.Core,
        tick_hz: float,
        name: str,
        parameters: Any = None,
        worker: Worker | None = None,
        priority: int | None = None,
    ) -> None:
        """
        Args:
            parameters: what `core` was built from; None = this node keeps no journal.
            worker: where `Compute` runs; None = a thread of this process.
            priority: real-time priority of this process's threads; None = the usual one.
        """
        self._node = node
        self._spinner = spinner
        kept = parameters is not None and journal.wanted() and name in interfaces.TOPICS[journal.TOPIC].publishers
        self._journal = journal.Journalled(core, name, parameters) if kept else None
        self._core: c.Core = self._journal or core
        self._tick_hz = tick_hz
        self._name = name
        self._log = node.get_logger()
        self._clock = node.get_clock()
        self._store: Store | None = None
        self._active = False
        self._event_sequence = 0
        self._diagnostics: dict[str, DiagnosticStatus] = {}
        self._publishers: dict[str, Any] = {}
        self._senders: dict[str, GoalSender] = {}
        self._callers: dict[str, ServiceCaller] = {}
        self._goals: dict[tuple[str, str], tuple[ServerGoalHandle[Any, Any, Any], Future[Any]]] = {}
        self._cleanup: list[Callable[[], object]] = []
        self._computing: ThreadPoolExecutor | None = None
        self._worker = worker
        self._priority = priority
        self._response: Any = None

    @property
    def core(self) -> c.Core:
        return self._core if self._journal is None else self._journal.inner

    def now(self) -> c.Now:
        """The clocks. Steady and system clock belong together: a process that was held up between the two would see a step."""
        for _ in range(CLOCK_TRIES):
            steady_s, system_s = time.monotonic(), time.time()
            if time.monotonic() - steady_s < CLOCKS_APART_S:
                break
        return c.Now(self._clock.now().nanoseconds * 1e-9, steady_s, system_s)

    def inject(self, function: Callable[[c.Core, c.Now], c.Effects]) -> None:
        """Run `function(core, now)` on the executor's thread and carry out what it returns. Callable from any thread."""
        self._spinner.call_soon(lambda: self._call(lambda now: function(self.core, now)))

    def observe(self, name: str, value: Any) -> None:
        """Tell the core what this node's shell found out (`Core.observed`). Callable from any thread."""
        self._spinner.call_soon(lambda: self._call(lambda now: self._core.observed(name, value, now)))

    def start(self) -> None:
        """Open all endpoints of the table's row for this node, restore and activate the core."""
        node = self._node
        self._active = True
        self._computing = ThreadPoolExecutor(1, thread_name_prefix=f"{self._name}-compute")
        for topic in interfaces.published_by(self._name):
            publisher = node.create_publisher(interfaces.resolve_type(topic.type), topic.name, qos(topic.profile))
            self._publishers[topic.name] = publisher
            self._later(node.destroy_publisher, publisher)
        if self._priority is not None:
            # Before all else: what is started from here on has it too, and nothing that was promised is late already.
            done = raise_priority(self._priority)
            self._emit(c.Emit("node.priority", f"priority: {done}", values={"priority": done}))
        if self._journal is not None:
            self._journal.open(self._publishers[journal.TOPIC].publish)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, callback in (
            (1.0 / self._tick_hz, lambda: self._call(self._core.tick)),
            (CHECK_PERIOD_S, self._check),
            (1.0, self._publish_diagnostics),
        ):
            self._later(node.destroy_timer, node.create_timer(period_s, callback, clock=steady))
        for service in interfaces.SERVICES.values():
            kind = interfaces.resolve_type(service.type)
            if service.server == self._name:
                self._later(node.destroy_service, node.create_service(kind, service.name, self._serve(service.name)))
            if self._name in service.clients:
                caller = ServiceCaller(node, kind, service.name, self._on_response(service.name))
                self._callers[service.name] = caller
                self._later(caller.close)
        for action in interfaces.ACTIONS.values():
            kind = interfaces.resolve_type(action.type)
            if action.server == self._name:
                self._later(self._open_action(kind, action.name).destroy)
            if self._name in action.clients:
                self._senders[action.name] = sender = self._open_sender(kind, action.name)
                self._later(sender.close)
        path = state_path(node)
        self._store = Store(path)
        self._later(self._store.close)
        records = self._store.read()
        self._call(lambda now: self._core.restore(records, now))
        self._call(self._core.activate)
        # Last, so that a latched message already finds everything in place.
        for topic in interfaces.subscribed_by(self._name):
            kind = interfaces.resolve_type(topic.type)
            subscription = node.create_subscription(kind, topic.name, self._receive(topic.name), qos(topic.profile))
            self._later(node.destroy_subscription, subscription)

    def stop(self) -> None:
        """Deactivate the core and close all endpoints. Goals that the core left open end as lost for their clients."""
        if not self._active:
            return
        self._call(self._core.deactivate)
        self._active = False
        undo, computing = list(reversed(self._cleanup)), self._computing
        self._goals.clear()
        for endpoints in (self._cleanup, self._publishers, self._senders, self._callers):
            endpoints.clear()
        self._store = None

        def later(turns: int) -> None:
            # Results that the core just gave leave in the next turns of the loop; their server must live so long.
            if turns:
                self._spinner.call_soon(lambda: later(turns - 1))
            else:
                self._spinner.call_apart(close)

        def close() -> None:
            for step in undo:
                with contextlib.suppress(Exception):
                    step()
            if computing is not None:
                computing.shutdown(wait=False, cancel_futures=True)

        if self._spinner.spinning:
            later(5)
        else:
            close()

    def _later(self, undo: Callable[..., object], *args: Any) -> None:
        self._cleanup.append(lambda: undo(*args))

    # --- inputs ---

    def _call(self, step: Callable[[c.Now], c.Effects]) -> None:
        """One step of the core. An exception in it is a defect: reported, and the process ends so that it is restarted."""
        if not self._active:
            return
        try:
            self._carry_out(step(self.now()))
        except Exception as error:
            self._break_down(error)

    def _break_down(self, error: BaseException) -> None:
        self._log.fatal(f"{self._name}: {type(error).__name__}: {error}\n{''.join(traceback.format_exception(error))}")
        with contextlib.suppress(Exception):
            self._emit(c.Emit("node.exception", f"{type(error).__name__}: {error}", c.Severity.FATAL))
        self._spinner.stop()
        self._node.lumper_failed = True

    def _receive(self, name: str) -> Callable[[Any], None]:
        return lambda message: self._call(lambda now: self._core.message(name, message, now))

    def _serve(self, name: str) -> Callable[[Any, Any], Any]:
        def handle(request: Any, response: Any) -> Any:
            self._response = None
            self._call(lambda now: self._core.service(name, request, now))
            return response if self._response is None else self._response

        return handle

    def _on_response(self, name: str) -> Callable[[str, Any | None], None]:
        return lambda tag, response: self._call(lambda now: self._core.service_result(name, tag, response, now))

    def _open_sender(self, kind: Any, name: str) -> GoalSender:
        return GoalSender(
            self._node,
            kind,
            name,
            lambda goal_id: self._call(lambda now: self._core.goal_accepted(name, goal_id, now)),
            lambda goal_id, feedback: self._call(lambda now: self._core.goal_feedback(name, goal_id, feedback, now)),
            lambda goal_id, status, result: self._call(
                lambda now: self._core.goal_result(name, goal_id, status, result, now)
            ),
        )

    def _open_action(self, kind: Any, name: str) -> "ActionServer[Any, Any, Any]":
        outcomes: dict[str, Future[Any]] = {}

        def accepted(handle: ServerGoalHandle[Any, Any, Any]) -> None:
            goal_id = uuid.UUID(bytes=bytes(handle.goal_id.uuid)).hex
            outcomes[goal_id] = Future(executor=self._spinner.executor)
            self._goals[name, goal_id] = (handle, outcomes[goal_id])
            handle.execute()
            self._call(lambda now: self._core.goal(name, goal_id, handle.request, now))

        def cancel(handle: ServerGoalHandle[Any, Any, Any]) -> CancelResponse:
            goal_id = uuid.UUID(bytes=bytes(handle.goal_id.uuid)).hex
            # The answer to the cancel request must leave first: the core may finish the goal at once.
            self._spinner.call_soon(lambda: self._call(lambda now: self._core.cancel(name, goal_id, now)))
            return CancelResponse.ACCEPT

        async def execute(handle: ServerGoalHandle[Any, Any, Any]) -> Any:
            return await outcomes.pop(uuid.UUID(bytes=bytes(handle.goal_id.uuid)).hex)

        return ActionServer(
            self._node,
            kind,
            name,
            execute,
            goal_callback=lambda goal: GoalResponse.ACCEPT,
            handle_accepted_callback=accepted,
            cancel_callback=cancel,
        )

    def _check(self) -> None:
        for sender in self._senders.values():
            sender.check()
        for caller in self._callers.values():
            caller.check()

    # --- effects ---

    def _carry_out(self, effects: c.Effects) -> None:
        for position, effect in enumerate(effects):
            match effect:
                case c.Publish(name, message):
                    self._publishers[name].publish(message)
                case c.Persist():
                    if not self._persist(effects[position:]):
                        return
                case c.SendGoal(name, goal_id, goal):
                    self._senders[name].send(goal_id, goal)
                case c.CancelGoal(name, goal_id):
                    self._senders[name].cancel(goal_id)
                case c.FinishGoal():
                    self._finish(effect)
                case c.Feedback(name, goal_id, feedback):
                    if (name, goal_id) in self._goals:
                        self._goals[name, goal_id][0].publish_feedback(feedback)
                case c.CallService(name, tag, request, timeout_s):
                    self._callers[name].call(tag, request, timeout_s)
                case c.Respond(response):
                    self._response = response
                case c.Compute(tag, function):
                    self._compute(tag, function)
                case c.Emit():
                    self._emit(effect)
                case c.Diagnose():
                    self._diagnose(effect)

    def _persist(self, rest: Sequence[c.Effect]) -> bool:
        """Write the record at the head of `rest`."""
        head = rest[0]
        assert isinstance(head, c.Persist) and self._store is not None
        try:
            self._store.write([(head.kind, head.key, head.record)])
        except (sqlite3.Error, OSError) as error:
            self._log.error(f"cannot write {head.kind}/{head.key} to {state_path(self._node)}: {error}")
            text = str(error)
            self._call(lambda now: self._core.persist_failed(head.kind, head.key, text, now))
            return False
        return True

    def _finish(self, effect: c.FinishGoal) -> None:
        entry = self._goals.pop((effect.name, effect.goal_id), None)
        if entry is None:
            return
        handle, done = entry
        if effect.status is c.GoalStatus.SUCCEEDED:
            handle.succeed()
        elif effect.status is c.GoalStatus.CANCELED and handle.status == RosStatus.STATUS_CANCELING:
            handle.canceled()
        else:
            handle.abort()
        done.set_result(effect.result)

    def _compute(self, tag: str, function: Callable[[], Any]) -> None:
        computing = self._computing
        assert computing is not None

        def told(result: Any) -> None:
            # What was begun before the core was deactivated means nothing to it when it is active again.
            if self._computing is computing:
                self._call(lambda now: self._core.computed(tag, result, now))

        def work() -> None:
            try:
                result = function() if self._worker is None else self._worker.run(function)
            except WorkerLostError as error:
                lost = error
                if self._active:
                    self._spinner.call_soon(lambda: self._break_down(lost))
                return
            except c.GaveUpError as error:
                result = error
            except Exception as error:
                self._log.error(f"{tag}: {type(error).__name__}: {error}\n{traceback.format_exc()}")
                result = error
            self._spinner.call_soon(lambda: told(result))

        computing.submit(work)

    def _emit(self, effect: c.Emit) -> None:
        self._event_sequence += 1
        ids = " ".join(
            f"{key}={value}"
            for key, value in (("job", effect.job_id), ("plan", effect.plan_id), ("request", effect.request_id))
            if value
        )
        line = f"[{effect.code}] {effect.text}{' ' + ids if ids else ''}"
        # rclpy allows one severity for each place in the code that logs.
        match effect.severity:
            case c.Severity.DEBUG:
                self._log.debug(line)
            case c.Severity.INFO:
                self._log.info(line)
            case c.Severity.WARN:
                self._log.warning(line)
            case c.Severity.ERROR:
                self._log.error(line)
            case c.Severity.FATAL:
                self._log.fatal(line)
        if "events" in self._publishers:
            self._publishers["events"].publish(
                Event(
                    stamp=self._clock.now().to_msg(),
                    node=self._name,
                    sequence=self._event_sequence,
                    job_id=effect.job_id,
                    plan_id=effect.plan_id,
                    request_id=effect.request_id,
                    code=effect.code,
                    severity=effect.severity.value,
                    text=effect.text,
                    values=[KeyValue(key=key, value=str(value)) for key, value in effect.values.items()],
                )
            )

    def _diagnose(self, effect: c.Diagnose) -> None:
        name = f"{self._name}: {effect.name}"
        before = self._diagnostics.get(name)
        self._diagnostics[name] = DiagnosticStatus(
            level=bytes([effect.level]),
            name=name,
            message=effect.text,
            hardware_id=self._node.get_namespace().strip("/") or "lumper",
            values=[KeyValue(key=key, value=str(value)) for key, value in effect.values.items()],
        )
        if before is not None and before.level != bytes([effect.level]):
            self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        if not self._active or "/diagnostics" not in self._publishers:
            return
        if not self._diagnostics:
            self._diagnose(c.Diagnose("state", 0, "running"))
        self._publishers["/diagnostics"].publish(
            DiagnosticArray(
                header=interfaces.resolve_type("std_msgs/msg/Header")(stamp=self._clock.now().to_msg()),
                status=list(self._diagnostics.values()),
            )
        )


class _ManagedNode(LifecycleNode):
    """Lifecycle node whose transitions say why they failed (rclpy swallows exceptions in them)."""

    def __init__(self, name: str, configure: Callable[[Node], Host]) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True)
        self.lumper_failed = False
        self._configure = configure
        self._host: Host | None = None
        self._mark = ActiveMark(state_path(self).with_suffix(".active"))

    def resume(self) -> None:
        """Take up the service again, if the node was killed in it."""
        if not self._mark.left_behind():
            return
        self._mark.clear()  # what kills it on the way there is left to the lifecycle manager
        done = TransitionCallbackReturn.SUCCESS
        if self.trigger_configure() is done and self.trigger_activate() is done and self._host is not None:
            name = self.get_name()
            text = f"{name} was killed while it was active; it has configured and activated itself again"
            emit = c.Emit("lifecycle.node_restarted", text, c.Severity.WARN, values={"node": name})
            self._host.inject(lambda core, now: (emit,))

    def _guarded(self, what: str, step: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            step()
        except (ParameterError, OSError, ValueError) as error:
            self.get_logger().error(f"{what} refused: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.get_logger().fatal(f"{what}: {type(error).__name__}: {error}\n{traceback.format_exc()}")
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        def step() -> None:
            self._host = self._configure(self)

        return self._guarded("configure", step)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._host is not None
        result = self._guarded("activate", self._host.start)
        if result is TransitionCallbackReturn.SUCCESS:
            self._mark.set()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("deactivate", self.close)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._host = None
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("shutdown", self.close)

    def close(self) -> None:
        self._mark.clear()
        if self._host is not None:
            self._host.stop()


def run_core(
    node_name: str,
    parameters: type[P],
    build: Callable[[P], c.Core],
    *,
    tick_hz: float,
    lifecycle: bool,
    on_host: Callable[[Host, P], None] | None = None,
    own_process: bool = False,
    priority: int | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """A node's whole main(): run until a signal; returns the exit code.

    Args:
        build: makes the core from the parameters; may read the files they name.
        tick_hz: rate of `Core.tick` on the steady clock.
        lifecycle: a managed node (unconfigured until told), or one that runs from its start.
        on_host: called once the host exists, for shells that own a thread or socket of their own.
        own_process: `Compute` runs in another process, for functions that hold the interpreter for long; they must be
            picklable.
        priority: real-time priority of the threads of a node that must be on time on a loaded machine (where it is
            allowed; an event says what was done). Its `own_process` keeps the usual one.
    """
    worker = Worker() if own_process else None
    rclpy.init(args=None if argv is None else list(argv), signal_handler_options=SignalHandlerOptions.NO)
    spinner = Spinner(rclpy.get_default_context())

    def configure(node: Node) -> Host:
        made = load_parameters(node, parameters)
        host = Host(node, spinner, build(made), tick_hz, node_name, made, worker, priority)
        if on_host is not None:
            on_host(host, made)
        return host

    node: Any = None
    host: Host | None = None
    try:
        if lifecycle:
            node = _ManagedNode(node_name, configure)
            spinner.add(node)
            node.resume()
        else:
            node = rclpy.create_node(node_name, automatically_declare_parameters_from_overrides=True)
            node.lumper_failed = False
            spinner.add(node)
            try:
                host = configure(node)
            except (ParameterError, OSError, ValueError) as error:
                node.get_logger().fatal(f"refused to start: {error}")
                return 2
            host.start()
        spinner.spin()
        leave_in_time()
        if lifecycle:
            node.close()
        elif host is not None:
            host.stop()
        return 1 if node.lumper_failed else 0
    finally:
        sys.stdout.flush()
        spinner.close(*([] if node is None else [node]))
        # There is no handler of its to take out, and doing so opens a moment in which a signal kills.
        rclpy.try_shutdown(uninstall_handlers=False)
        if worker is not None:
            worker.close()
        if threading.current_thread() is threading.main_thread():
            # The interpreter gives signals back their first meaning while it ends: one more Ctrl-C would be a death by signal.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
