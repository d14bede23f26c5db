"""The whole robot in one process: every deciding core of the launch file on a virtual graph, with the physics or a light world.

python test/faultsim/robot_graph.py --cartons 20 --seed 1      one job against the physics, its events and its result
"""

import argparse
import functools
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from lumper_msgs.action import Unload
from lumper_msgs.msg import AssistRequest, JobState, OutcomeCode, SafetyState
from lumper_msgs.srv import AnswerAssist, JobCommand, ResetSafety
from tf2_msgs.msg import TFMessage

from lumper_bringup.demo_report import stops_of
from lumper_bringup.urdf import FIXED, Joint, parse, positions_of, transform
from lumper_ros import core as c
from lumper_ros.auth import sign_command
from lumper_ros.convert import to_time
from lumper_ros.interfaces import BROKER, DEMO, PERCEPTION, PLANNER, SAFETY, SIM, STATE
from lumper_ros.parameters import from_mapping
from lumper_ros.robot import Robot, Trailer, load_robot, load_trailer
from lumper_ros.virtual import Heard, Tap, Transport, VirtualGraph

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
FILES = {"robot_folder": str(CONFIG / "robot"), "trailer_file": str(CONFIG / "trailer.yaml")}
CAUSES = {"causes_file": str(CONFIG / "safety_causes.yaml")}
TICK_HZ = {SAFETY: 50.0, PERCEPTION: 5.0, BROKER: 100.0, PLANNER: 5.0, SIM: 125.0}
DECIDING = (SAFETY, PERCEPTION, BROKER, PLANNER)
JOB = "virtual-job"


@functools.cache
def robot_files() -> tuple[Robot, Trailer]:
    """The robot and trailer of config/, read once."""
    return load_robot(CONFIG / "robot"), load_trailer(CONFIG / "trailer.yaml")


@functools.cache
def cause_table() -> Any:
    import yaml

    from lumper_safety.causes import parse_table

    return parse_table(yaml.safe_load((CONFIG / "safety_causes.yaml").read_text()))


def camera_of(detector: str) -> dict[str, Any]:
    """Parameters of the simulated camera for a detector, as in the launch file."""
    import yaml

    given = yaml.safe_load((CONFIG / "camera" / f"{detector}.yaml").read_text())
    return dict(given["/**"]["ros__parameters"])


class Client(c.Core):
    """Asks for one job, and asks again when the planner was lost; resets latched stops as a person beside it would."""

    def __init__(self) -> None:
        self.result: Any = None
        self.status: c.GoalStatus | None = None
        self.state: Any = None
        self.asked = 0
        self.resets = 0
        self._open = False
        self._job_id = JOB

    def want(self, job_id: str) -> None:
        """Ask for another job, now that the one before has its result."""
        self.result, self.status, self._job_id = None, None, job_id

    def tick(self, now: c.Now) -> c.Effects:
        if self._open or self.result is not None:
            return c.NOTHING
        self._open = True
        self.asked += 1
        goal_id = f"{self.asked:032x}"
        return [c.SendGoal("unload", goal_id, Unload.Goal(job_id=self._job_id, stop_when=Unload.Goal.UNTIL_EMPTY))]

    def goal_result(self, name: str, goal_id: str, status: c.GoalStatus, result: Any | None, now: c.Now) -> c.Effects:
        self._open = False
        if result is not None:
            self.result, self.status = result, status
        return c.NOTHING


class StateCore(c.Core):
    """What robot_state_publisher does: URDF and joint_states to tf."""

    def __init__(self, urdf: str) -> None:
        self._joints = parse(urdf)
        self._newest: Any = None

    def activate(self, now: c.Now) -> c.Effects:
        fixed = [_transform(joint, 0.0, to_time(0.0)) for joint in self._joints if joint.kind == FIXED]
        return [c.Publish("/tf_static", TFMessage(transforms=fixed))]

    def message(self, name: str, message: Any, now: c.Now) -> c.Effects:
        self._newest = message
        return c.NOTHING

    def tick(self, now: c.Now) -> c.Effects:
        state, self._newest = self._newest, None
        if state is None or not all(math.isfinite(value) for value in state.position):
            return c.NOTHING
        at = positions_of(self._joints, dict(zip(state.name, state.position, strict=False)))
        moved = [_transform(joint, at[joint.name], state.header.stamp) for joint in self._joints if joint.name in at]
        return [c.Publish("/tf", TFMessage(transforms=moved))]


def _transform(joint: Joint, position: float, stamp: Any) -> TransformStamped:
    (x, y, z), (qx, qy, qz, qw) = transform(joint, position)
    message = TransformStamped(child_frame_id=joint.child)
    message.header.stamp, message.header.frame_id = stamp, joint.parent
    message.transform = Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))
    return message


class RobotGraph:
    """The graph, a client of the job and a stand-in for the operator."""

    def __init__(
        self,
        build_sim: Callable[[], c.Core],
        transport: Transport | None = None,
        tap: Tap | None = None,
        key: bytes | None = None,
        heard: Heard | None = None,
        tick_hz: Mapping[str, float] | None = None,
        builders: Mapping[str, Callable[[], c.Core]] | None = None,
        simulated_time: bool = True,
        **parameters: dict[str, Any],
    ) -> None:
        """
        Args:
            tick_hz: by node name, where it differs from the live node's.
            builders: what makes a node's core, where that is not the robot's own.
            simulated_time: nodes take their ROS time from /clock; else from the system clock.
            parameters: by node name: what differs from the defaults.
        """
        self.key = key
        rates = TICK_HZ | dict(tick_hz or {})
        own = builders or {}
        self.graph = VirtualGraph(transport, tap, heard)
        self.graph.add(SIM, build_sim, rates[SIM], uses_sim_time=False)
        for name in DECIDING:
            build = own.get(name) or self._builder(name, parameters.get(name, {}))
            self.graph.add(name, build, rates[name], uses_sim_time=simulated_time)
        self._with_state = own.get(PERCEPTION) is None
        if self._with_state:
            urdf = (CONFIG / "robot" / "lumper_arm.urdf").read_text()
            self.graph.add(STATE, lambda: StateCore(urdf), 50.0, uses_sim_time=simulated_time)
        self.graph.add(DEMO, own.get(DEMO, Client), 2.0, uses_sim_time=simulated_time)
        self.nonce = 0

    def _builder(self, name: str, given: dict[str, Any]) -> Callable[[], c.Core]:
        from lumper_motion.core import MotionBroker
        from lumper_motion.parameters import MotionParameters
        from lumper_planner.choose import Chooser
        from lumper_planner.core import UnloadPlanner
        from lumper_planner.parameters import PlannerParameters
        from lumper_planner.reach import ArmReach
        from lumper_safety.core import SafetyMonitor
        from lumper_safety.parameters import Parameters as SafetyParameters

        robot, trailer = robot_files()
        signed = {"authentication": self.key is not None}
        if name == SAFETY:
            made_safety = from_mapping(SafetyParameters, FILES | CAUSES | signed | given)
            table = cause_table()
            boots = iter(range(1, 1 << 30))
            return lambda: SafetyMonitor(made_safety, robot, trailer, table, self.key, next(boots))
        if name == PERCEPTION:
            # Only where it is at work: what a run loads is what its outcome may depend on (ledger.py).
            from lumper_perception.node import build as build_perception
            from lumper_perception.parameters import PerceptionParameters

            made_perception = from_mapping(PerceptionParameters, FILES | given)
            return lambda: build_perception(made_perception)
        if name == BROKER:
            made_broker = from_mapping(MotionParameters, FILES | signed | given)
            return lambda: MotionBroker(made_broker, robot, trailer, self.key)
        made_planner = from_mapping(PlannerParameters, FILES | signed | given)
        reach = ArmReach(robot)
        return lambda: UnloadPlanner(made_planner, Chooser(made_planner, robot, trailer, reach), self.key)

    def start(self) -> None:
        for name in (SAFETY, SIM, STATE, PERCEPTION, BROKER, PLANNER, DEMO):
            if name != STATE or self._with_state:
                self.graph.start(name)

    @property
    def client(self) -> Client:
        found: Client = self.graph.core(DEMO)
        return found

    def reset(self, who: str = "virtual person") -> Any:
        """Reset latched stops, as a named person."""
        self.nonce += 1
        values = {"reason": "looked into it"}
        now_s = self.graph.now_of(SIM).system_s
        auth = sign_command(self.key or b"", "safety/reset", values, who, now_s, self.nonce)
        return self.graph.call_service("safety/reset", ResetSafety.Request(auth=auth, **values))

    def command(self, command: int, who: str = "virtual person") -> Any:
        """job/command."""
        self.nonce += 1
        now_s = self.graph.now_of(SIM).system_s
        auth = sign_command(self.key or b"", "job/command", {"command": command}, who, now_s, self.nonce)
        return self.graph.call_service("job/command", JobCommand.Request(command=command, auth=auth))

    def answer(self, question: Any, key: str, carton_ids: Sequence[int] = (), who: str = "virtual person") -> Any:
        """assist/answer."""
        self.nonce += 1
        arguments = {"question_id": question.question_id, "option_key": key, "carton_ids": list(carton_ids)}
        now_s = self.graph.now_of(PLANNER).system_s
        auth = sign_command(self.key or b"", "assist/answer", arguments, who, now_s, self.nonce)
        return self.graph.call_service("assist/answer", AnswerAssist.Request(auth=auth, **arguments))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cartons", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", default="mixed")
    parser.add_argument("--limit", type=float, default=1800.0, help="virtual seconds")
    parser.add_argument(
        "--detector", default="detections", help="cloud, both: the simulated camera is the robot's own, with colour"
    )
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    from lumper_sim.core import SimCore
    from lumper_sim.node import build as build_sim
    from lumper_sim.parameters import SimParameters

    made = from_mapping(
        SimParameters,
        FILES | {"cartons": options.cartons, "seed": options.seed, "load": options.load} | camera_of(options.detector),
    )
    sims: list[SimCore] = []

    def sim() -> SimCore:
        sims.append(build_sim(made))
        return sims[-1]

    events: Counter[str] = Counter()
    stops: list[tuple[float, str]] = []
    shifts: list[float] = []
    robot: RobotGraph
    safety: list[SafetyState] = []
    job: list[JobState] = []
    question: list[AssistRequest] = []
    shown = [""]

    def tap(now_s: float, node: str, effect: c.Effect) -> None:
        if isinstance(effect, c.Emit):
            events[effect.code] += 1
            if effect.code in ("sim.shifted", "sim.carton_lost"):
                shifts.append(now_s)
            elif (
                effect.code == "safety.mode_changed"
                and effect.severity.value >= c.Severity.WARN.value
                and events["motion.started"]
            ):
                stops.append((now_s, effect.text))
            if not options.quiet or effect.severity.value >= c.Severity.WARN.value:
                values = " ".join(f"{k}={v}" for k, v in effect.values.items())
                print(
                    f"{now_s:8.2f} {node:18s} {effect.severity.name:5s} {effect.code}: {effect.text[:300]} {values[:200]}"
                )
        elif isinstance(effect, c.Publish) and effect.name == "safety/state":
            safety[:] = [effect.message]
        elif isinstance(effect, c.Publish) and effect.name == "assist/request":
            question[:] = [effect.message]
        elif isinstance(effect, c.Publish) and effect.name == "job/state":
            job[:] = [effect.message]
            text = f"phase {effect.message.phase} {effect.message.text}"
            if text != shown[0] and not options.quiet:
                shown[0] = text
                print(f"{now_s:8.2f} {'':18s} ----- {text[:200]}")

    robot = RobotGraph(sim, None, tap, perception_intake={"detector": options.detector})
    begun = time.process_time()
    robot.start()
    graph = robot.graph
    print(f"started after {time.process_time() - begun:.1f} s CPU", flush=True)
    while graph.now_s < options.limit and robot.client.result is None:
        graph.run(graph.now_s + 1.0, lambda: robot.client.result is not None)
        if safety and any(cause.latched for cause in safety[0].causes):
            answer = robot.reset()
            if answer is not None and answer.accepted:
                robot.client.resets += 1
        if (
            job
            and job[0].phase == JobState.PAUSED
            and safety
            and safety[0].mode in (SafetyState.RUN, SafetyState.REDUCED)
        ):
            robot.command(JobCommand.Request.RESUME)
        if question and question[0].open and question[0].code.code == OutcomeCode.STOPPED_BY_SAFETY:
            # Asked what keeps the arm from moving, a person goes and carries off what fell.
            for carton in np.flatnonzero(sims[-1].world.accounting.on_floor):
                sims[-1].world.take_away(int(carton))
            robot.answer(question[0], "look_again")
    spent = time.process_time() - begun
    result = robot.client.result
    print(f"{graph.now_s:.1f} virtual s in {spent:.1f} s CPU ({graph.now_s / spent:.2f} x), {graph.steps} events")
    print(sims[-1].world.counts(), "resets", robot.client.resets)
    for stop in stops_of(stops, shifts):
        print(f"stop: {stop}")
    if result is not None:
        name = next(k for k in dir(OutcomeCode) if k.isupper() and getattr(OutcomeCode, k) == result.outcome.code)
        print(
            f"{name}: {result.text}; delivered {result.delivered} dropped {result.dropped} stops {result.protective_stops} "
            f"assists {result.assists} {result.cases_per_hour:.0f}/h {result.duration_s:.0f} s"
        )
        print({stage.stage: round(stage.duration_s / max(1, result.delivered), 2) for stage in result.stages})
    else:
        print("no result", job[0].text if job else "")
    print(dict(events))
    return 0 if result is not None and result.outcome.code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
