"""A process that stands where the robot's other nodes would: publishes their topics, serves their services over DDS.

Commands are verified with the robot's key as the real servers do. It answers on stdin commands of the test and prints one
JSON line for each service call.

usage: view_peer.py CONFIG_FOLDER KEY_FILE CARTONS
"""

import json
import math
import sys
import threading
import time
from pathlib import Path
from typing import Any

import rclpy
import view_scenario as scenario
from lumper_msgs.msg import Event, JobState, SafetyState
from lumper_msgs.srv import JobCommand

from lumper_ros.auth import CommandVerifier, load_key, permit_mac
from lumper_ros.convert import to_time
from lumper_ros.interfaces import SERVICES, TOPICS, resolve_type
from lumper_ros.qos import qos
from lumper_ros.robot import load_robot


class Peer:
    """Publishes at its rates; state changes by service and by stdin."""

    def __init__(self, folder: Path, key_file: str, cartons: int) -> None:
        self.node = rclpy.create_node("robot_peer")
        self.robot = load_robot(folder / "robot")
        self.key = load_key(bool(key_file), key_file)
        self.verifier = CommandVerifier(self.key, 5.0)
        self.publishers: dict[str, Any] = {}
        self.load = scenario.wall(cartons)
        self.job = scenario.job()
        self.mode = SafetyState.RUN
        self.separation_m = math.inf
        self.stopped = False
        self.limit = 1.0
        self.question: Any = None
        self.ticks = 0
        for name in (
            *("wall", "plan", "job/state", "safety/state", "conveyor/state", "motion/state", "joint_states", "/tf"),
            *("scan/front", "/diagnostics", "events", "assist/request"),
        ):
            topic = TOPICS[name]
            self.publishers[name] = self.node.create_publisher(resolve_type(topic.type), name, qos(topic.profile))
        for name in ("safety/stop", "safety/reset", "safety/speed_limit", "job/command", "assist/answer"):
            handler = getattr(self, name.replace("/", "_"))
            self.node.create_service(resolve_type(SERVICES[name].type), name, self._logged(name, handler))
        self.publish("wall", self.load)
        self.publish("plan", scenario.plan(self.load))
        self.node.create_timer(0.02, self.fast)
        self.node.create_timer(0.2, self.slow)

    def publish(self, name: str, message: Any) -> None:
        self.publishers[name].publish(message)

    def now_s(self) -> float:
        return self.node.get_clock().now().nanoseconds * 1e-9

    def _logged(self, name: str, handler: Any) -> Any:
        def serve(request: Any, response: Any) -> Any:
            received_s = time.time()
            fault = handler(request, response)
            if hasattr(response, "accepted"):
                response.accepted, response.text = not fault, fault or response.text
            line = {"service": name, "at": received_s, "fault": fault}
            if hasattr(request, "auth"):
                line["operator"] = request.auth.operator_name
            for field in ("reason", "speed_scale", "command", "question_id", "option_key"):
                if hasattr(request, field):
                    line[field] = getattr(request, field)
            if hasattr(request, "carton_ids"):
                line["carton_ids"] = list(request.carton_ids)
            print(json.dumps(line), flush=True)
            return response

        return serve

    def safety_stop(self, request: Any, response: Any) -> str:
        self.stopped = True
        response.success, response.message = True, "stopped"
        return ""

    def safety_reset(self, request: Any, response: Any) -> str:
        fault = self.verifier.check("safety/reset", {"reason": request.reason}, request.auth, time.time())
        if not fault:
            self.stopped = False
        return fault

    def safety_speed_limit(self, request: Any, response: Any) -> str:
        arguments = {"speed_scale": float(request.speed_scale)}
        fault = self.verifier.check("safety/speed_limit", arguments, request.auth, time.time())
        if not fault:
            self.limit = request.speed_scale
        return fault

    def job_command(self, request: Any, response: Any) -> str:
        fault = self.verifier.check("job/command", {"command": request.command}, request.auth, time.time())
        if not fault:
            phases = {
                JobCommand.Request.PAUSE: JobState.PAUSED,
                JobCommand.Request.RESUME: JobState.PICKING,
                JobCommand.Request.START: JobState.SENSING,
                JobCommand.Request.CANCEL: JobState.IDLE,
            }
            self.job.phase, self.job.text = phases[request.command], ""
            self.publish("job/state", self.job)
        return fault

    def assist_answer(self, request: Any, response: Any) -> str:
        arguments = {
            "question_id": request.question_id,
            "option_key": request.option_key,
            "carton_ids": list(request.carton_ids),
        }
        fault = self.verifier.check("assist/answer", arguments, request.auth, time.time())
        if fault:
            return fault
        if self.question is None or not self.question.open or self.question.question_id != request.question_id:
            return "this question is closed"
        self.question.open = False
        self.question.answered_by, self.question.answer_key = request.auth.operator_name, request.option_key
        self.publish("assist/request", self.question)
        self.job.phase, self.job.text = JobState.PICKING, "going on after the answer"
        self.job.assists += 1
        self.publish("job/state", self.job)
        return ""

    def fast(self) -> None:
        self.ticks += 1
        if self.stopped:
            state = scenario.safety(SafetyState.PROTECTIVE_STOP, 0.0, self.separation_m, self.ticks)
        elif math.isfinite(self.separation_m):
            state = scenario.safety(SafetyState.REDUCED, 0.4, self.separation_m, self.ticks)
        else:
            state = scenario.safety(SafetyState.RUN, self.limit, self.separation_m, self.ticks)
        state.mac = permit_mac(self.key, state)
        self.publish("safety/state", state)
        joints = scenario.joints(self.robot)
        if not self.stopped:
            t = self.ticks * 0.02
            joints.position = [
                p + a for p, a in zip(joints.position, (0.5 * math.sin(t), 0.2 * math.sin(t), 0, 0, 0, 0), strict=True)
            ]
        self.publish("joint_states", joints)
        if self.ticks % 2 == 0:
            tf = scenario.base_tf()
            tf.transforms[0].header.stamp = to_time(self.now_s())
            self.publish("/tf", tf)
            if math.isfinite(self.separation_m):
                self.publish("scan/front", scenario.scan_with_person(-1.2, self.separation_m, self.now_s()))

    def slow(self) -> None:
        self.publish("conveyor/state", scenario.conveyor())
        self.publish("motion/state", scenario.broker())
        if self.ticks % 50 < 10:
            self.publish("job/state", self.job)
            levels = dict.fromkeys(("safety_monitor", "unload_planner", "perception_intake", "motion_broker"), 0)
            self.publish("/diagnostics", scenario.diagnostics(levels | {"perception_intake": 1}))
            self.load.header.stamp = to_time(self.now_s())
            self.publish("wall", self.load)

    def command(self, line: str) -> None:
        """One line of the test: person D | nobody | ask ID | deliver | event TEXT | hostile."""
        word, _, rest = line.strip().partition(" ")
        if word == "person":
            self.separation_m = float(rest)
        elif word == "nobody":
            self.separation_m = math.inf
        elif word == "ask":
            self.question = scenario.question(rest, expires_s=self.now_s() + 90.0)
            self.publish("assist/request", self.question)
            self.job.phase, self.job.text = JobState.ASKING, self.question.text
            self.publish("job/state", self.job)
        elif word == "deliver":
            self.job.done += 1
            self.publish("job/state", self.job)
        elif word == "event":
            self.publish("events", scenario.event(rest, Event.WARN, at_s=self.now_s()))


def main() -> None:
    """Run until stdin closes."""
    rclpy.init()
    peer = Peer(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(peer.node)
    threading.Thread(target=executor.spin, daemon=True).start()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        executor.create_task(lambda text=line: peer.command(text))
    executor.shutdown()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
