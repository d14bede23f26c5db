"""From the withdrawn permit to the broker's stop and the cancelled trajectory, in the running robot over DDS. Writes
build/bench/stops.json.

`python test/benchmarks/bench_stops.py [--stops 100] [--seed 1]`: safety/stop is called at random moments of running jobs of 60 mixed
cartons while a trajectory is executed. One client hears the monitor's state without a permit, the broker's word that it stops,
which leaves with the cancel request, and the arm controller's status that the trajectory is being cancelled. Times are those at
which the messages were handed to the middleware by their writers, who share this machine's clock.
"""

import argparse
import math
import os
import random
import tempfile
import threading
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import results
from action_msgs.msg import GoalStatus, GoalStatusArray
from bench_live import CARTONS, Listener, job
from launched import Observer
from lumper_msgs.msg import Event, SafetyState
from rclpy.qos import qos_profile_action_status_default

from lumper_ros.interfaces import TOPICS
from lumper_ros.qos import qos

STATUS = "arm_controller/follow_joint_trajectory/_action/status"
MOVING = (SafetyState.RUN, SafetyState.REDUCED)
CANCELLED = (GoalStatus.STATUS_CANCELING, GoalStatus.STATUS_CANCELED)
WITHIN_S, RESUMED_WITHIN_S = 2.0, 60.0


class Watch:
    """When the permit was withdrawn, the broker stopped and the running trajectory was cancelled, wall-clock s."""

    def __init__(self, observer: Observer) -> None:
        self._lock = threading.Lock()
        self._running: set[bytes] = set()
        self._stopped: set[bytes] = set()
        self._cancelled: set[bytes] = set()
        self._cancelled_before: set[bytes] = set()
        self.reached_goal = False
        self.withdrawn_s = self.ordered_s = self.cancelled_s = math.nan
        # The first state without a permit counts, also where this client is late and the next has come.
        node, profile = observer.node, qos(TOPICS["safety/state"].profile)
        profile.depth = 50
        node.create_subscription(SafetyState, "safety/state", self._permit, profile)
        node.create_subscription(Event, "events", self._event, qos(TOPICS["events"].profile))
        node.create_subscription(GoalStatusArray, STATUS, self._status, qos_profile_action_status_default)

    def begin(self) -> bool:
        """Look out for a stop; False where no trajectory runs."""
        with self._lock:
            self._stopped, self._cancelled_before = set(self._running), set(self._cancelled)
            self.reached_goal = False
            self.withdrawn_s = self.ordered_s = self.cancelled_s = math.nan
            return bool(self._stopped)

    @property
    def complete(self) -> bool:
        """Whether all three have happened."""
        return not math.isnan(self.withdrawn_s + self.ordered_s + self.cancelled_s)

    def _event(self, event: Event, info: dict[str, Any]) -> None:
        with self._lock:
            if event.code == "motion.stopping" and math.isnan(self.ordered_s):
                self.ordered_s = _written_s(info)

    def _permit(self, state: SafetyState, info: dict[str, Any]) -> None:
        with self._lock:
            if state.mode not in MOVING and math.isnan(self.withdrawn_s):
                self.withdrawn_s = _written_s(info)

    def _status(self, message: GoalStatusArray, info: dict[str, Any]) -> None:
        by_status = {bytes(each.goal_info.goal_id.uuid): each.status for each in message.status_list}
        with self._lock:
            self._running = {goal for goal, status in by_status.items() if status == GoalStatus.STATUS_EXECUTING}
            self._cancelled = {goal for goal, status in by_status.items() if status in CANCELLED}
            self.reached_goal |= any(by_status.get(goal) == GoalStatus.STATUS_SUCCEEDED for goal in self._stopped)
            if self._cancelled - self._cancelled_before and math.isnan(self.cancelled_s):
                self.cancelled_s = _written_s(info)


def _written_s(info: dict[str, Any]) -> float:
    return float(info["source_timestamp"]) * 1e-9


class Stops:
    """Calls for a stop at random moments of a job, as long as it runs."""

    def __init__(self, draw: random.Random, most: int) -> None:
        self._draw, self._most = draw, most
        self.told_ms: list[float] = []  # call to the state without a permit
        self.order_ms: list[float] = []  # that state to the broker's stop
        self.cancel_ms: list[float] = []  # that state to the cancelled trajectory
        self.stand_ms: list[float] = []  # that state to the arm at rest
        self.missed = 0

    @property
    def count(self) -> int:
        return len(self.cancel_ms) + self.missed

    def run(self, demo: "Popen[str]", listener: Listener, look: Any) -> None:
        """One job's share of them."""
        observer = Observer(listener.domain_id)
        try:
            watch = Watch(observer)
            while demo.poll() is None and self.count < self._most:
                time.sleep(self._draw.uniform(1.0, 4.0))
                while demo.poll() is None and not (listener.moves(time.monotonic()) and watch.begin()):
                    time.sleep(0.002)
                if demo.poll() is None:
                    self._stop(observer, watch, listener, demo)
        finally:
            observer.close()

    def _stop(self, observer: Observer, watch: Watch, listener: Listener, demo: "Popen[str]") -> None:
        called_s, called_wall_s = time.monotonic(), time.time()
        try:
            observer.call("safety/stop", timeout_s=5.0)
        except AssertionError:
            return  # the job has just ended
        while not watch.complete and time.monotonic() < called_s + WITHIN_S:
            time.sleep(0.002)
        if not watch.complete:
            if not watch.reached_goal:
                self.missed += 1
                print(
                    f"  not stopped: withdrawn {watch.withdrawn_s}, ordered {watch.ordered_s}, cancelled {watch.cancelled_s}"
                )
            return  # else the trajectory had just reached its end, and there was nothing to stop
        self.told_ms.append(1e3 * (watch.withdrawn_s - called_wall_s))
        self.order_ms.append(1e3 * (watch.ordered_s - watch.withdrawn_s))
        self.cancel_ms.append(1e3 * (watch.cancelled_s - watch.withdrawn_s))
        while (now_s := time.monotonic()) < called_s + WITHIN_S and listener.moves(now_s):
            time.sleep(0.002)
        self.stand_ms.append(1e3 * (listener.moved_s - called_s) - self.told_ms[-1])
        print(
            f"  stop {self.count}: told {self.told_ms[-1]:.1f}, ordered after {self.order_ms[-1]:.1f}, cancelled after {self.cancel_ms[-1]:.1f} ms",
            flush=True,
        )
        # The demonstration's stand-in for a person resets the stop and resumes the job.
        while demo.poll() is None and time.monotonic() < called_s + RESUMED_WITHIN_S:
            if listener.moves(time.monotonic()):
                return
            time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=int(os.environ.get("LUMPER_BENCH_STOPS", "100")))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stops, jobs = Stops(random.Random(options.seed), options.stops), 0
    with tempfile.TemporaryDirectory(prefix="lumper_bench_") as folder:
        while stops.count < options.stops:
            report, _ = job(options.seed + jobs, Path(folder), stops)
            jobs += 1
            print(f"  job: {report['faults'] or 'success'}, {report['physics']}", flush=True)
    note = (
        f"{len(stops.cancel_ms)} calls for a stop while a trajectory ran, in {jobs} jobs of {CARTONS} cartons; "
        f"median {np.median(stops.order_ms):.1f} ms; {stops.missed} not stopped within {WITHIN_S:g} s"
    )
    results.write(
        "stops",
        {
            "safety.withdrawn_to_stop_p99_ms": {
                "value": float(np.percentile(stops.order_ms, 99)),
                "unit": "ms",
                "note": f"from writing the state without a permit to writing the broker's word that it stops, which leaves with the cancel request, over DDS; {note}",
            },
            "safety.withdrawn_to_cancelled_p99_ms": {
                "value": float(np.percentile(stops.cancel_ms, 99)),
                "unit": "ms",
                "note": "to the simulated controller's word that the trajectory is being cancelled; its cycle and both ways of the "
                f"request are in it; median {np.median(stops.cancel_ms):.1f} ms",
            },
            "safety.stop_call_to_withdrawn_p99_ms": {
                "value": float(np.percentile(stops.told_ms, 99)),
                "unit": "ms",
                "note": f"the call's own way over DDS in it; median {np.median(stops.told_ms):.1f} ms",
            },
            "safety.withdrawn_to_rest_max_ms": {
                "value": float(np.max(stops.stand_ms)),
                "unit": "ms",
                "note": f"to the last joint_states that shows motion; median {np.median(stops.stand_ms):.0f} ms",
            },
        },
    )


if __name__ == "__main__":
    main()
