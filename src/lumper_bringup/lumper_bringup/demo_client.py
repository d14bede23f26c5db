"""The demonstration's client: waits until the system is ready, has one trailer unloaded, watches."""

import subprocess
import sys
import time
import uuid
from collections import Counter
from typing import Any

import rclpy
from lumper_msgs.action import Unload
from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions

from lumper_bringup.demo_permit import PermitWatch
from lumper_bringup.demo_report import Stop, progress, stops_of
from lumper_bringup.demo_setup import Options
from lumper_ros.clients import CHECK_PERIOD_S, GoalSender
from lumper_ros.interfaces import ACTIONS, DEMO, TOPICS, resolve_type
from lumper_ros.qos import qos
from lumper_ros.spin import Spinner

_READY_LIMIT_S = 180.0
_CANCEL_LIMIT_S = 60.0
_SETTLE_LIMIT_S = 20.0
# A planner that died is started again; so long the job waits for it.
_RETURN_LIMIT_S = 60.0


class Dispatches:
    """Trajectories that the broker sent, by its own count, through restarts of the broker."""

    def __init__(self) -> None:
        self._before = (0, 0)
        self._now = (0, 0)

    def take(self, dispatched: int, without_permit: int) -> None:
        """Counts since the broker's start; they fall back to nothing when it is started again."""
        if dispatched < self._now[0]:
            self._before = self.total()
        self._now = (dispatched, without_permit)

    def total(self) -> tuple[int, int]:
        """(sent, sent without a permit)."""
        return self._before[0] + self._now[0], self._before[1] + self._now[1]


class Client:
    """The demonstration's eyes and hands on the graph. All callbacks run on the spinner's thread."""

    def __init__(self, options: Options, launcher: "subprocess.Popen[bytes]", started_s: float, key: bytes) -> None:

        # The words of the command line are the demonstration's own: name:=value is an argument of the launch file.
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(DEMO)
        self._spinner = Spinner(rclpy.get_default_context())
        self._spinner.add(self.node)
        self._options = options
        self._launcher = launcher
        self._started_s = started_s
        self._tty = sys.stdout.isatty() and not options.verbose
        self._shown = ""
        self._shown_s = 0.0
        self._phase = "starting"
        self._deadline_s = started_s + _READY_LIMIT_S
        self._job_started: tuple[float, float] | None = None
        self._states: bytes | None = None
        self._states_type = resolve_type(TOPICS["joint_states"].type)
        self.job_state: Any = None
        self.sim_report: Any = None
        self.result: Any = None
        self.ended_by = ""
        self.ready_s: float | None = None
        self.first_motion_s: float | None = None
        self.realtime_factor: float | None = None
        self.events: Counter[str] = Counter()
        self._stops: list[tuple[float, str]] = []
        self._shifts: list[float] = []
        self.dispatches = Dispatches()
        self._goal_id = ""
        self._job_id = f"demo-{uuid.uuid4().hex[:12]}"
        self._lost_s: float | None = None
        self._permit = PermitWatch(self.node, key)
        self._resets_before = 0
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for name, take in (
            ("job/state", self._on_job),
            ("sim/report", self._on_report),
            ("events", self._on_event),
            ("motion/state", self._on_motion),
        ):
            topic = TOPICS[name]
            self.node.create_subscription(resolve_type(topic.type), topic.name, take, qos(topic.profile))
        states = TOPICS["joint_states"]
        self._motion = self.node.create_subscription(
            self._states_type, states.name, self._on_states, qos(states.profile), raw=True
        )
        self._goals = GoalSender(
            self.node,
            resolve_type(ACTIONS["unload"].type),
            "unload",
            self._on_accepted,
            lambda goal_id, feedback: None,
            self._on_result,
        )
        self.node.create_timer(CHECK_PERIOD_S, self._goals.check, clock=steady)
        self._watch = self.node.create_timer(0.05, self._watch_motion, clock=steady)
        self.node.create_timer(0.5, self._tick, clock=steady)

    def run(self) -> None:
        """Until the job has ended, a limit is over, the launcher has gone, or a signal came."""
        try:
            self._spinner.spin()
            if not self.ended_by:
                self.ended_by = "interrupted"
        finally:
            self._line("", last=True)
            self.node.destroy_node()
            rclpy.try_shutdown()

    @property
    def resets(self) -> int:
        """Latched stops during the job that the stand-in for the operator reset."""
        return self._permit.resets - self._resets_before

    @property
    def stops(self) -> tuple[Stop, ...]:
        """Stops by safety during the job."""
        return stops_of(self._stops, self._shifts)

    # --- what comes in

    def _on_job(self, message: Any) -> None:
        self.job_state = message

    def _on_report(self, message: Any) -> None:
        self.sim_report = message

    def _on_event(self, message: Any) -> None:
        self.events[message.code] += 1
        if self._phase != "unloading" or self._job_started is None:
            return
        at_s = self._simulated_s() - self._job_started[1]
        if message.code == "safety.mode_changed" and message.severity >= message.WARN:
            self._stops.append((at_s, message.text))
        elif message.code in ("sim.shifted", "sim.carton_lost"):
            self._shifts.append(at_s)

    def _on_motion(self, message: Any) -> None:
        self.dispatches.take(message.dispatched, message.dispatched_without_permit)

    def _on_states(self, data: bytes) -> None:
        self._states = data

    def _watch_motion(self) -> None:
        """First motion: the first joint that turns faster than half a degree per second after the goal was accepted."""
        if self._states is None or self._phase != "unloading":
            return
        state = deserialize_message(self._states, self._states_type)
        if any(abs(speed) > 0.01 for speed in state.velocity):
            self.first_motion_s = time.monotonic() - self._started_s
            self.node.destroy_timer(self._watch)
            self.node.destroy_subscription(self._motion)

    def _on_accepted(self, goal_id: str) -> None:
        self._lost_s = None
        if self._phase != "starting":
            # The job goes on after the planner was lost.
            return
        now_s = time.monotonic()
        self.ready_s = now_s - self._started_s
        self._phase = "unloading"
        self._resets_before = self._permit.resets
        self._deadline_s = now_s + self._options.time_limit_s
        self._job_started = (now_s, self._simulated_s())

    def _on_result(self, goal_id: str, status: Any, result: Any) -> None:
        if self._phase == "starting":
            # No server yet: the planner is not active. Asked again at the next tick.
            self._goal_id = ""
            return
        now_s = time.monotonic()
        if result is None and self._phase == "unloading":
            self._lost_s = self._lost_s or now_s
            if now_s - self._lost_s < _RETURN_LIMIT_S:
                self._goal_id = ""
                return
        if self._job_started is not None:
            wall_s, simulated_s = self._job_started
            self.realtime_factor = (self._simulated_s() - simulated_s) / max(now_s - wall_s, 1e-3)
        if result is None:
            self._end(f"the job's result was lost ({status.value}): the planner died or does not answer")
            return
        self.result = result
        self.ended_by = self.ended_by or f"result {status.value}"
        self._phase = "settling"
        self._deadline_s = time.monotonic() + _SETTLE_LIMIT_S
        self._settled_at_s = self._simulated_s() + 2.0

    def _simulated_s(self) -> float:
        stamp = self.sim_report.stamp if self.sim_report is not None else None
        return 0.0 if stamp is None else stamp.sec + stamp.nanosec * 1e-9

    # --- twice a second

    def _tick(self) -> None:
        if self._launcher.poll() is not None:
            self._end(f"the launcher has ended (exit code {self._launcher.returncode})")
            return
        overdue = time.monotonic() > self._deadline_s
        match self._phase:
            case "starting":
                self._start(overdue)
            case "unloading":
                self._show_progress()
                if not self._goal_id:
                    self._ask()
                permitted, _ = self._permit.check()
                if permitted and self.job_state is not None and self.job_state.phase == self.job_state.PAUSED:
                    self._permit.resume()
                if overdue:
                    self.ended_by = (
                        f"the time limit of {self._options.time_limit_s:.0f} s is over; the job was cancelled"
                    )
                    self._goals.cancel(self._goal_id)
                    self._phase = "cancelling"
                    self._deadline_s = time.monotonic() + _CANCEL_LIMIT_S
            case "cancelling":
                self._show_progress()
                if overdue:
                    self._end(f"{self.ended_by}, but did not end within {_CANCEL_LIMIT_S:.0f} s")
            case "settling":
                # The last carton is still on the belt when the job ends; the physics is asked a little later.
                if overdue or (self._simulated_s() >= self._settled_at_s and not self.sim_report.on_conveyor):
                    self._end(self.ended_by)

    def _start(self, overdue: bool) -> None:
        settled = self.sim_report is not None and self.sim_report.settled
        permitted, why = self._permit.check()
        if overdue:
            missing = "the planner accepts no job" if permitted else why
            missing = missing if settled else "the simulated load does not come to rest"
            missing = "the simulation says nothing" if self.sim_report is None else missing
            self._end(f"not ready within {_READY_LIMIT_S:.0f} s: {missing}")
            return
        waiting = "the planner" if permitted else "the permit"
        if not settled:
            waiting = "the simulation" if self.sim_report is None else "the load to settle"
        self._line(f"starting, waiting for {waiting}")
        if settled and permitted and not self._goal_id:
            self._ask()

    def _ask(self) -> None:
        """Send the goal; the planner goes on with a job that it knows."""
        self._goal_id = uuid.uuid4().hex
        self._goals.send(self._goal_id, Unload.Goal(job_id=self._job_id, stop_when=Unload.Goal.UNTIL_EMPTY))

    def _show_progress(self) -> None:
        job, report = self.job_state, self.sim_report
        if job is None or report is None or self._job_started is None:
            return
        wall_s, simulated_s = self._job_started
        factor = (self._simulated_s() - simulated_s) / max(time.monotonic() - wall_s, 1e-3)
        self._line(progress(job.done, report.total, job.rate_per_h, job.phase, job.text, job.elapsed_s, factor))

    def _line(self, text: str, last: bool = False) -> None:
        """One live line on a terminal; elsewhere a new line now and then."""
        now_s = time.monotonic()
        if self._tty:
            sys.stdout.write(f"\r\033[K{text}")
        elif text and text.partition(",")[0] != self._shown and (now_s - self._shown_s >= 5.0 or not self._shown):
            self._shown, self._shown_s = text.partition(",")[0], now_s
            sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def _end(self, why: str) -> None:
        self.ended_by = why
        self._spinner.stop()
