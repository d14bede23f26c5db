"""A small world in virtual time around one MotionBroker: the real trajectory server, an ideal arm that follows it with a
small lag, a gripper that seals when it is told to, a conveyor, and a monitor that grants permits. No ROS, no clock.
"""

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from geometry_msgs.msg import TransformStamped
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import Carton, ConveyorState, GripperState, PlannedPick, SafetyState, Wall
from lumper_msgs.srv import SetGripper
from sensor_msgs.msg import JointState
from tf2_msgs.msg import TFMessage

from lumper_motion.core import MotionBroker
from lumper_motion.parameters import MotionParameters
from lumper_ros import core as c
from lumper_ros.auth import permit_mac
from lumper_ros.convert import seconds, to_pose, to_quaternion, to_time, to_vector3
from lumper_ros.robot import Robot, load_robot, load_trailer
from lumper_sim import trajectory as server

CONFIG = Path(__file__).resolve().parents[3] / "config"
G = ExecuteMotion.Goal
SYSTEM_ZERO_S = 1.7e9
STEP_S = 0.002
# tool0 pointing into the trailer, its y up.
FACING = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def parameters(**changes: Any) -> MotionParameters:
    values: dict[str, Any] = {
        "robot_folder": str(CONFIG / "robot"),
        "trailer_file": str(CONFIG / "trailer.yaml"),
        "authentication": False,
        "planning_deadline_s": 30.0,
    }
    return MotionParameters(**{**values, **changes})


class World:
    """Everything but the broker, and the wires between. Times in s since the world began; ROS time starts at 100."""

    def __init__(
        self, changes: dict[str, Any] | None = None, robot: Robot | None = None, key: bytes | None = None
    ) -> None:
        self.robot = robot or load_robot(CONFIG / "robot")
        self.trailer = load_trailer(CONFIG / "trailer.yaml")
        self.parameters = parameters(**(changes or {}))
        self.key = key
        self.broker = MotionBroker(self.parameters, self.robot, self.trailer, key)
        limits = server.Limits(
            self.robot.joint_names,
            self.robot.lower_rad,
            self.robot.upper_rad,
            self.robot.max_speed_radps,
            self.robot.max_accel_radps2,
        )
        self.position = self.robot.poses["home"].copy()
        self.velocity = np.zeros(6)
        self.arm = server.TrajectoryServer(limits, self.position.copy())
        self.time_s = 0.0
        self.sequence = 0
        self.monitor_id = 7
        self.permit = True
        self.scale = 1.0
        self.monitor_alive = True
        self.joints_alive = True
        self.shaking_radps = 0.0
        self.gripper_alive = True
        self.seals = True
        self.zones = 0
        self.zones_since_s = -10.0
        self.attached = False
        self.conveyor_ready = True
        self.base = np.eye(4)
        self.base[0, 3] = 2.0
        self.cartons: list[Carton] = []
        self.wall_version = 1
        self.store: dict[str, dict[str, Any]] = {}
        self.results: dict[str, tuple[c.GoalStatus, Any]] = {}
        self.result_speed: dict[str, float] = {}
        self.sent: list[tuple[float, str]] = []
        self.canceled_at_s: list[float] = []
        self.feedback: dict[str, list[Any]] = {}
        self.events: list[c.Emit] = []
        self.diagnoses: list[c.Diagnose] = []
        self.states: list[Any] = []
        self.peak_speed = 0.0
        self.peak_accel = 0.0
        self.max_speed_seen = 0.0
        self.pending: list[tuple[float, Callable[[], None]]] = []
        self.alive = True
        self.after_effect: Callable[[c.Effect], bool] = lambda effect: True
        self.compute_delay_s = 0.005
        self._ids = itertools.count(1)
        self._steps = 0
        self._reference = np.zeros(6)
        self.broke = False
        self.compute: Callable[[Callable[[], Any]], Any] = lambda function: function()

    # --- clocks ---

    def now(self) -> c.Now:
        # /clock steps in 20 ms.
        return c.Now(100.0 + np.floor(self.time_s / 0.02) * 0.02, 1000.0 + self.time_s, SYSTEM_ZERO_S + self.time_s)

    def ros_s(self) -> float:
        return 100.0 + self.time_s

    # --- the broker's effects ---

    def do(self, effects: c.Effects) -> None:
        for effect in effects:
            if not self.alive:
                return
            match effect:
                case c.Persist(kind, key, record):
                    if record is None:
                        self.store.get(kind, {}).pop(key, None)
                    else:
                        self.store.setdefault(kind, {})[key] = copy.deepcopy(dict(record))
                case c.SendGoal(_, goal_id, goal):
                    self.sent.append((self.time_s, goal_id))
                    self._submit(goal_id, goal)
                case c.CancelGoal(_, goal_id):
                    self.canceled_at_s.append(self.time_s)
                    self.arm.cancel(goal_id, self.ros_s())
                case c.FinishGoal(_, goal_id, status, result):
                    self.results[goal_id] = (status, result)
                    self.result_speed[goal_id] = float(np.abs(self.velocity).max())
                case c.Feedback(_, goal_id, feedback):
                    self.feedback.setdefault(goal_id, []).append(feedback)
                case c.CallService(_, tag, request, _):
                    self._grip(tag, request)
                case c.Compute(tag, function):
                    value = self.compute(function)
                    self.later(self.compute_delay_s, lambda tag=tag, value=value: self._computed(tag, value))
                case c.Emit():
                    self.events.append(effect)
                case c.Diagnose():
                    self.diagnoses.append(effect)
                case c.Publish("motion/state", message):
                    self.states.append(message)
            if not self.after_effect(effect):
                return

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        self.pending.append((self.time_s + delay_s, action))

    def _computed(self, tag: str, value: Any) -> None:
        self.do(self.broker.computed(tag, value, self.now()))

    def _submit(self, goal_id: str, goal: Any) -> None:
        points = [
            server.Point(seconds(p.time_from_start), list(p.positions), list(p.velocities), list(p.accelerations))
            for p in goal.trajectory.points
        ]
        tolerance = [server.Tolerance(t.name, t.position) for t in goal.path_tolerance]
        end = [server.Tolerance(t.name, t.position) for t in goal.goal_tolerance]
        self.arm.submit(
            server.Goal(
                goal_id,
                list(goal.trajectory.joint_names),
                points,
                seconds(goal.trajectory.header.stamp),
                tolerance,
                end,
                seconds(goal.goal_time_tolerance),
            ),
            self.ros_s(),
        )

    def _grip(self, tag: str, request: Any) -> None:
        self.zones = request.zones_on
        self.zones_since_s = self.time_s
        if not self.zones:
            self.attached = False
        answer = SetGripper.Response(ok=True)
        self.later(0.004, lambda: self.do(self.broker.service_result("gripper/set", tag, answer, self.now())))

    # --- messages ---

    def safety_state(self) -> SafetyState:
        self.sequence += 1
        now_s = SYSTEM_ZERO_S + self.time_s
        state = SafetyState(
            stamp=to_time(now_s),
            permit_until=to_time(now_s + (0.1 if self.permit else -1.0)),
            monitor_id=self.monitor_id,
            sequence=self.sequence,
            mode=(SafetyState.RUN if self.scale == 1.0 else SafetyState.REDUCED)
            if self.permit
            else SafetyState.PROTECTIVE_STOP,
            speed_scale=self.scale,
        )
        state.mac = list(permit_mac(self.key, state))
        return state

    def tell(self, name: str, message: Any) -> None:
        if self.alive:
            self.do(self.broker.message(name, message, self.now()))

    def joint_state(self) -> JointState:
        message = JointState(name=list(reversed(self.robot.joint_names)))
        message.header.stamp = to_time(self.ros_s())
        message.position = self.position[::-1].tolist()
        message.velocity = (self.velocity + self.shaking_radps)[::-1].tolist()
        return message

    def gripper_state(self) -> GripperState:
        held = self.attached
        return GripperState(
            stamp=to_time(self.ros_s()),
            vacuum_kpa=55.0 if held else 0.0,
            zones_on=self.zones,
            zones_sealed=self.zones if held else 0,
            part_held=held,
        )

    def wall(self) -> Wall:
        message = Wall(version=self.wall_version, status=Wall.STATUS_OK, cartons=self.cartons)
        message.header.frame_id = "trailer"
        message.header.stamp = to_time(self.ros_s())
        return message

    def tf(self) -> TFMessage:
        item = TransformStamped()
        item.header.frame_id, item.child_frame_id = "trailer", "base_link"
        item.header.stamp = to_time(self.ros_s())
        item.transform.translation = to_vector3(self.base[:3, 3])
        item.transform.rotation = to_quaternion([0.0, 0.0, 0.0, 1.0])
        return TFMessage(transforms=[item])

    # --- time ---

    def boot(self, with_records: bool = True) -> "World":
        """Start (or start again) the broker, and let it see the world."""
        self.alive = True
        self.do(self.broker.restore(copy.deepcopy(self.store) if with_records else {}, self.now()))
        self.do(self.broker.activate(self.now()))
        self.tell("/tf", self.tf())
        self.tell("wall", self.wall())
        self.run(0.2)
        return self

    def kill(self) -> None:
        """SIGKILL: whatever the broker knew is gone; the controller goes on."""
        self.alive = False
        self.pending.clear()
        self.broker = MotionBroker(self.parameters, self.robot, self.trailer, self.key)

    def step(self) -> None:
        self._steps += 1
        self.time_s = self._steps * STEP_S
        reference = self.arm.step(self.ros_s(), self.position, self.velocity)
        accel = (reference.velocity - self._reference) / STEP_S
        self._reference = reference.velocity.copy()
        if self._steps > 2:
            self.peak_accel = max(self.peak_accel, float((np.abs(accel) / self.robot.max_accel_radps2).max()))
        self.peak_speed = max(self.peak_speed, float((np.abs(reference.velocity) / self.robot.max_speed_radps).max()))
        if not self.broke:
            self.position, self.velocity = reference.position.copy(), reference.velocity.copy()
        self.max_speed_seen = float(np.abs(self.velocity).max())
        if self.zones and self.seals and self.time_s - self.zones_since_s > 0.1 and self.max_speed_seen < 0.01:
            self.attached = True
        for done in self.arm.take_finished():
            status = {
                server.Ending.SUCCEEDED: c.GoalStatus.SUCCEEDED,
                server.Ending.ABORTED: c.GoalStatus.ABORTED,
                server.Ending.CANCELED: c.GoalStatus.CANCELED,
            }[done.ending]
            result = FollowJointTrajectory.Result(error_code=int(done.code), error_string=done.text)
            self.later(0.002, lambda d=done, s=status, r=result: self._controller_ended(d.goal_id, s, r))
        for due in [item for item in self.pending if item[0] <= self.time_s]:
            self.pending.remove(due)
            if self.alive:
                due[1]()
        n = self._steps
        if not self.alive:
            return
        if n % 4 == 0 and self.joints_alive:
            self.tell("joint_states", self.joint_state())
        if n % 5 == 0:
            self.do(self.broker.tick(self.now()))
        if n % 10 == 0:
            if self.monitor_alive:
                self.tell("safety/state", self.safety_state())
            if self.gripper_alive:
                self.tell("gripper/state", self.gripper_state())
            self._controller_feedback()
        if n % 100 == 0:
            self.tell("conveyor/state", ConveyorState(ready=self.conveyor_ready))
            self.tell("/tf", self.tf())

    def _controller_feedback(self) -> None:
        if self.arm.active_id:
            message = FollowJointTrajectory.Feedback(joint_names=list(self.robot.joint_names))
            message.header.stamp = to_time(self.ros_s())
            message.desired.positions = self.arm.reference.position.tolist()
            goal_id = self.arm.active_id
            self.do(self.broker.goal_feedback("arm_controller/follow_joint_trajectory", goal_id, message, self.now()))

    def _controller_ended(self, goal_id: str, status: c.GoalStatus, result: Any) -> None:
        self.do(self.broker.goal_result("arm_controller/follow_joint_trajectory", goal_id, status, result, self.now()))

    def run(self, seconds_s: float) -> None:
        for _ in range(round(seconds_s / STEP_S)):
            self.step()

    def until(self, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
        """Run until a condition holds; fails when it does not within `limit_s` of virtual time."""
        end_s = self.time_s + limit_s
        while not condition():
            assert self.time_s < end_s, f"not within {limit_s} s; events: {[e.text for e in self.events[-5:]]}"
            self.step()

    # --- requests ---

    def new_id(self) -> str:
        return f"{next(self._ids):032x}"

    def goal(self, kind: int, pick: PlannedPick | None = None, **changes: Any) -> Any:
        goal = G(kind=kind, priority=G.TASK, job_id="job", plan_id="plan", wall_version=self.wall_version)
        goal.deadline = to_time(self.ros_s() + 120.0)
        goal.jog_tool_delta.orientation.w = 1.0
        if pick is not None:
            goal.pick = pick
        for name, value in changes.items():
            setattr(goal, name, value)
        return goal

    def send(self, goal: Any, goal_id: str = "") -> str:
        goal_id = goal_id or self.new_id()
        self.do(self.broker.goal("motion/execute", goal_id, goal, self.now()))
        return goal_id

    def code(self, goal_id: str) -> int:
        return int(self.results[goal_id][1].outcome.code)

    def finish(self, goal_id: str, limit_s: float = 30.0) -> int:
        """Run until the request has ended; its outcome code."""
        self.until(lambda: goal_id in self.results, limit_s)
        return self.code(goal_id)

    def ask(self, goal: Any, limit_s: float = 30.0) -> int:
        return self.finish(self.send(goal), limit_s)

    @property
    def state(self) -> Any:
        return self.states[-1]


def carton(carton_id: int, x: float, y: float, z: float, size: tuple[float, float, float] = (0.4, 0.4, 0.4)) -> Carton:
    """A carton standing square; position of its centre in trailer, m."""
    pose = np.eye(4)
    pose[:3, 3] = (x, y, z)
    return Carton(id=carton_id, pose=to_pose(pose), size_m=to_vector3(size), mass_kg=8.0)


def pick_of(item: Carton, mass_kg: float = 8.0, zones: int = 0b111111, stroke_m: float = 0.55) -> PlannedPick:
    """Taken by the middle of its front face, lifted a little, pulled straight out."""
    depth, width, height = item.size_m.x, item.size_m.y, item.size_m.z
    grasp = np.eye(4)
    grasp[:3, :3] = FACING
    grasp[:3, 3] = (item.pose.position.x - depth / 2, item.pose.position.y, item.pose.position.z)
    load = np.eye(4)
    load[:3, :3] = FACING.T
    load[2, 3] = depth / 2
    place = np.eye(4)
    place[2, 3] = height / 2
    return PlannedPick(
        carton_ids=[item.id],
        stroke=PlannedPick.STROKE_LIFT_PULL,
        grasp_pose=to_pose(grasp),
        zones=zones,
        extract_m=to_vector3((-stroke_m, 0.0, 0.0)),
        lift_m=0.02,
        speed_limit_mps=0.6,
        place_pose=to_pose(place),
        size_m=to_vector3((width, height, depth)),
        load_in_tool=to_pose(load),
        mass_kg=mass_kg,
    )


def wall_of(rows: int = 5, columns: int = 6, layers: int = 2, face_x: float = 3.9, gap: float = 0.02) -> list[Carton]:
    """Columns of cubes; ids from 1, bottom right first, front layer first."""
    return [
        carton(
            1 + (ix * rows + iz) * columns + iy,
            face_x + 0.2 + ix * (0.4 + gap),
            -0.5 * (columns - 1) * (0.4 + gap / 4) + iy * (0.4 + gap / 4),
            0.2 + iz * 0.4,
            (0.39, 0.39, 0.39),
        )
        for ix in range(layers)
        for iz in range(rows)
        for iy in range(columns)
    ]
