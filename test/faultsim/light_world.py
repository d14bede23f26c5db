"""trailer_sim without physics: a kinematic trailer behind the same interfaces, fast enough for many thousand jobs.

The arm follows the trajectory it was given exactly (the controller is the simulation's own trajectory server); cartons move as
`light_load` says. Sensors speak at rates just above what the max ages ask for. Faults of the world are methods.
"""

import math
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from geometry_msgs.msg import Quaternion, TransformStamped
from light_load import Load, Place
from light_scan import Scanners, scan_message
from lumper_msgs.action import AdvanceBase
from lumper_msgs.msg import CartonDetection, CartonDetections, ConveyorState, GripperState, OutcomeCode
from lumper_msgs.srv import SetGripper
from numpy.typing import NDArray
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from tf2_msgs.msg import TFMessage

from lumper_ros import core as c
from lumper_ros.convert import seconds, to_point, to_quaternion, to_time
from lumper_ros.robot import Robot, Trailer
from lumper_sim import trajectory as server
from lumper_sim.drive import Drive, DriveEnd, DriveError, DriveSpec
from lumper_sim.people import People, Person

Array = NDArray[np.float64]
ARM, BASE = "arm_controller/follow_joint_trajectory", "base/advance"
TICK_HZ = 20.0
# Every so many ticks.
EVERY = {"tf": 8, "scan": 3, "gripper": 3, "estop": 3, "conveyor": 8, "detections": 10, "feedback": 4}
_ENDINGS = {
    server.Ending.SUCCEEDED: c.GoalStatus.SUCCEEDED,
    server.Ending.ABORTED: c.GoalStatus.ABORTED,
    server.Ending.CANCELED: c.GoalStatus.CANCELED,
}
_FACE = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class LightWorld(c.Core):
    """
    Args:
        simulated_time: publishes /clock, from 10 s on; else ROS time is the system clock.
    """

    def __init__(
        self,
        robot: Robot,
        trailer: Trailer,
        load: Load,
        base_x_m: float,
        simulated_time: bool,
    ) -> None:
        self.robot, self.load = robot, load
        self._scanners = Scanners(robot, trailer)
        self._simulated = simulated_time
        home = robot.poses["home"].copy()
        limits = server.Limits(
            robot.joint_names, robot.lower_rad, robot.upper_rad, robot.max_speed_radps, robot.max_accel_radps2
        )
        self.arm = server.TrajectoryServer(limits, home)
        base = robot.raw["base"]
        self.drive = Drive(
            DriveSpec(
                base["max_speed_mps"], base["max_accel_mps2"], 0.5 - trailer.dock_length_m, trailer.length_m - 1.0
            ),
            base_x_m,
        )
        self.position, self.velocity = home, np.zeros(len(home))
        self.people = People()
        self.persons: list[Person] = []
        self.estop_closed = True
        self.conveyor_runs = True
        self.silent: set[str] = set()
        self.spoil: dict[str, Callable[[Any], Any]] = {}
        self.gripper_lie: bool | None = None
        self.leaks = False
        self.clock_shift_s = 0.0
        self.zones = 0
        self._zones_since_s = -math.inf
        self._let_go_s = math.inf
        self._torn = False
        self._ticks = 0
        self.time_s = self._ticked_s = 0.0  # steady clock
        self._names = list(robot.joint_names)
        self._bits = [zone.bit for zone in robot.gripper.zones]
        self._camera = robot.mounts["camera_optical_frame"].matrix()
        turn = Rotation.from_matrix(self._camera[:3, :3].T @ _FACE).as_quat()
        self._face_turn = to_quaternion(turn)
        self._last_estop = self._last_ready = True

    # --- what the judge looks at ---

    def tool(self) -> Array:
        """4x4 of tool0 in trailer."""
        pose: Array = self.robot.link_transforms(self.position)["tool0"].copy()
        pose[0, 3] += self.drive.x_m
        return pose

    def conveyor_ready(self) -> bool:
        return self.conveyor_runs and self.estop_closed and self.time_s >= self.load.belt_clear_s

    # --- faults ---

    def set_estop(self, closed: bool) -> None:
        self.estop_closed = closed
        self.set_controller(closed, "the emergency stop circuit is open")

    def set_controller(self, connected: bool, text: str = "the drives are not connected") -> None:
        self.arm.fault = "" if connected else text
        if not connected:
            self.arm.abort(server.Code.INVALID_GOAL, text, self.time_s)

    def drop_carton(self) -> None:
        """What hangs on the gripper falls off."""
        self.load.carry(self.tool())
        self.load.release(self.drive.x_m, self.time_s)

    def enter(self, x_m: float, y_m: float, vx_mps: float, vy_mps: float, walk_s: float, stay_s: float) -> None:
        """A person walks for `walk_s`, stands, and is gone `stay_s` after entering."""
        person = Person(x_m, y_m, vx_mps, vy_mps, self.time_s, walk_s, self.time_s + stay_s)
        self.persons.append(person)

    def people_at(self) -> list[tuple[float, float]]:
        self.persons = [person for person in self.persons if self.time_s < person.leave_s]
        places = [person.position(self.time_s) for person in self.persons]
        return [(float(place[0]), float(place[1])) for place in places]

    # --- time ---

    def _ros_s(self, now: c.Now) -> float:
        return (10.0 + now.steady_s if self._simulated else now.system_s) + self.clock_shift_s

    def tick(self, now: c.Now) -> c.Effects:
        passed_s, self._ticked_s = now.steady_s - self._ticked_s, now.steady_s
        self._ticks += 1
        self._move_arm(now)
        self.drive.step(max(passed_s, 1e-6), self.drive.x_m, self.estop_closed)
        self._suck()
        stamp = to_time(self._ros_s(now))
        effects: list[c.Effect] = []
        if self._simulated:
            effects.append(c.Publish("/clock", Clock(clock=stamp)))
        self._say(effects, "joint_states", self._joints(stamp))
        if self._due("tf") or (self.drive.goal_id and self._due("scan")):
            self._say(effects, "/tf", self._transform(stamp))
        if self._due("scan"):
            self._scan(effects, stamp)
        if self._due("gripper"):
            self._say(effects, "gripper/state", self._gripper(stamp))
        if self._due("estop") or self.estop_closed != self._last_estop:
            self._last_estop = self.estop_closed
            self._say(effects, "estop", Bool(data=self.estop_closed))
        if self._due("conveyor") or self.conveyor_ready() != self._last_ready:
            self._last_ready = self.conveyor_ready()
            belt = ConveyorState(stamp=stamp, ready=self._last_ready, jammed=not self.conveyor_runs)
            belt.delivered = len(self.load.where(Place.CONVEYOR))
            self._say(effects, "conveyor/state", belt)
        if self._due("detections"):
            self._say(effects, "detections", self._detections(stamp))
        self._ended(effects, now)
        return effects

    def _move_arm(self, now: c.Now) -> None:
        """Bring the arm to now, so that a goal or a cancel between two ticks finds it where it is."""
        self.time_s = now.steady_s
        reference = self.arm.step(self.time_s, self.position, self.velocity)
        self.position, self.velocity = reference.position, reference.velocity

    def _due(self, what: str) -> bool:
        return self._ticks % EVERY[what] == 0

    def _say(self, effects: list[c.Effect], name: str, message: Any) -> None:
        if name not in self.silent:
            spoil = self.spoil.get(name)
            effects.append(c.Publish(name, message if spoil is None else spoil(message)))

    def _suck(self) -> None:
        load, gripper = self.load, self.robot.gripper
        if self.time_s >= self._let_go_s:
            self._let_go_s = math.inf
            load.carry(self.tool())
            load.release(self.drive.x_m, self.time_s)
        sucks = self.zones and load.held is None and not self.leaks and np.abs(self.velocity).max() < 0.02
        # A pad seals only once: what fell off has torn away.
        if sucks and not self._torn and self.time_s - self._zones_since_s >= gripper.build_up_s:
            self._torn = load.seal(self.tool())
        if load.held is not None:
            load.carry(self.tool())

    # --- sensors ---

    def _joints(self, stamp: Any) -> JointState:
        message = JointState(name=self._names)
        message.header.stamp = stamp
        message.position = array("d", self.position.tobytes())
        message.velocity = array("d", self.velocity.tobytes())
        return message

    def _transform(self, stamp: Any) -> TFMessage:
        item = TransformStamped(child_frame_id="base_link")
        item.header.stamp, item.header.frame_id = stamp, "trailer"
        item.transform.translation.x = float(self.drive.x_m)
        item.transform.rotation = Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
        return TFMessage(transforms=[item])

    def _scan(self, effects: list[c.Effect], stamp: Any) -> None:
        load = self.load
        boxes = [(load.boxes[n].centre, load.boxes[n].size) for n in load.standing()]
        people = self.people_at()
        for topic in ("scan/front", "scan/rear"):
            ranges = self._scanners.ranges(topic, self.drive.x_m, load.moves, boxes, people)
            self._say(effects, topic, scan_message(topic, ranges, stamp, TICK_HZ / EVERY["scan"]))

    def _gripper(self, stamp: Any) -> GripperState:
        held = self.load.held is not None
        shown = held if self.gripper_lie is None else self.gripper_lie
        kpa = self.robot.gripper.vacuum_kpa if shown and self.zones else 0.0
        return GripperState(
            stamp=stamp,
            vacuum_kpa=kpa,
            zone_kpa=[kpa] * len(self._bits),
            zones_on=self.zones,
            zones_sealed=self.zones if shown else 0,
            part_held=shown,
            load_fraction=0.2 if shown else 0.0,
        )

    def _detections(self, stamp: Any) -> CartonDetections:
        """The front face of whatever looks like one carton, exactly, in the camera's frame."""
        eye = self._camera[:3, 3] + np.array([self.drive.x_m, 0.0, 0.0])
        message = CartonDetections(source="light trailer", view_coverage=1.0)
        message.header.stamp, message.header.frame_id = stamp, "camera_optical_frame"
        for centre, size in self.load.faces():
            face = CartonDetection(
                width_m=float(size[1]),
                height_m=float(size[2]),
                depth_m=float(size[0]),
                position_sigma_m=0.003,
                rotation_sigma_rad=0.005,
                size_sigma_m=0.003,
                confidence=0.95,
                mass_kg=8.0,
            )
            front = centre - np.array([size[0] / 2, 0.0, 0.0])
            face.face_pose.position = to_point(self._camera[:3, :3].T @ (front - eye))
            face.face_pose.orientation = self._face_turn
            message.detections.append(face)
        return message

    # --- commands ---

    def goal(self, name: str, goal_id: str, goal: Any, now: c.Now) -> c.Effects:
        effects: list[c.Effect] = []
        if name == ARM:
            self._move_arm(now)
            start_s = seconds(goal.trajectory.header.stamp)
            if start_s > 0.0:
                start_s += self.time_s - self._ros_s(now)
            self.arm.submit(arm_goal(goal_id, goal, start_s), self.time_s)
        elif not self.estop_closed:
            return [self._base_end(goal_id, DriveEnd.BLOCKED, 0.0)]
        else:
            try:
                self.drive.start(goal_id, goal.distance_m, goal.max_speed_mps)
            except DriveError as error:
                result = AdvanceBase.Result(outcome=OutcomeCode(code=OutcomeCode.MALFORMED), text=str(error))
                return [c.FinishGoal(BASE, goal_id, c.GoalStatus.ABORTED, result)]
        self._ended(effects, now)
        return effects

    def cancel(self, name: str, goal_id: str, now: c.Now) -> c.Effects:
        if name == ARM:
            self._move_arm(now)
            self.arm.cancel(goal_id, self.time_s)
        else:
            self.drive.cancel(goal_id)
        return c.NOTHING

    def service(self, name: str, request: Any, now: c.Now) -> c.Effects:
        if request.zones_on != self.zones:
            self._zones_since_s, self._torn = self.time_s, False
            if not request.zones_on:
                self._let_go_s = self.time_s + self.robot.gripper.release_s
            else:
                self._let_go_s = math.inf
        self.zones = request.zones_on
        return [c.Respond(SetGripper.Response(ok=True))]

    def _ended(self, effects: list[c.Effect], now: c.Now) -> None:
        for done in self.arm.take_finished():
            result = FollowJointTrajectory.Result(error_code=int(done.code), error_string=done.text)
            effects.append(c.FinishGoal(ARM, done.goal_id, _ENDINGS[done.ending], result))
        for goal_id, end, moved_m in self.drive.take_ended():
            effects.append(self._base_end(goal_id, end, moved_m))
        if self._due("feedback") and self.arm.active_id:
            message = FollowJointTrajectory.Feedback(joint_names=self._names)
            message.header.stamp = to_time(self._ros_s(now))
            message.desired.positions = array("d", self.arm.reference.position.tobytes())
            effects.append(c.Feedback(ARM, self.arm.active_id, message))

    def _base_end(self, goal_id: str, end: DriveEnd, moved_m: float) -> c.FinishGoal:
        status, code = {
            DriveEnd.REACHED: (c.GoalStatus.SUCCEEDED, OutcomeCode.NONE),
            DriveEnd.CANCELED: (c.GoalStatus.CANCELED, OutcomeCode.CANCELLED),
            DriveEnd.BLOCKED: (c.GoalStatus.ABORTED, OutcomeCode.BASE_FAILED),
        }[end]
        result = AdvanceBase.Result(outcome=OutcomeCode(code=code), text=end.name, moved_m=moved_m)
        return c.FinishGoal(BASE, goal_id, status, result)


def arm_goal(goal_id: str, goal: Any, start_s: float) -> server.Goal:
    """The plain form of a FollowJointTrajectory goal, its start on the world's own clock."""
    trajectory = goal.trajectory
    return server.Goal(
        goal_id,
        tuple(trajectory.joint_names),
        tuple(
            server.Point(seconds(p.time_from_start), p.positions, p.velocities, p.accelerations)
            for p in trajectory.points
        ),
        start_s,
        tuple(server.Tolerance(item.name, item.position) for item in goal.path_tolerance),
        tuple(server.Tolerance(item.name, item.position) for item in goal.goal_tolerance),
        seconds(goal.goal_time_tolerance),
    )
