"""trailer_sim as effects: each tick moves the world on and publishes what its sensors saw; goals and services command it.

It speaks only the interfaces of real hardware, but for sim/fault and sim/report. The camera's picture is computed off the
event loop, from a copy of the scene.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from lumper_msgs.action import AdvanceBase
from lumper_msgs.msg import OutcomeCode
from lumper_msgs.srv import InjectFault, SetGripper
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, Header

from lumper_ros.cloud import from_xyz
from lumper_ros.convert import seconds, to_time
from lumper_ros.core import (
    NOTHING,
    Compute,
    Core,
    Effect,
    Effects,
    Emit,
    Feedback,
    FinishGoal,
    GoalStatus,
    Now,
    Publish,
    Respond,
    Severity,
)
from lumper_sim import messages
from lumper_sim.accounting import SHIFT_M
from lumper_sim.camera import CameraSpec, DepthCamera, View, colours
from lumper_sim.detector import Detections, Detector, DetectorSpec
from lumper_sim.drive import DriveEnd, DriveError
from lumper_sim.faults import FaultError, Faults
from lumper_sim.parameters import SimParameters
from lumper_sim.trajectory import Ending
from lumper_sim.world import World

ARM = "arm_controller/follow_joint_trajectory"
BASE = "base/advance"

# One slice of simulated time: the period of joint_states (125 Hz); every other rate is a whole number of slices.
SLICE_S = 0.008
_SLICES = {"clock": 3, "tf": 3, "scan": 5, "gripper": 5, "feedback": 6, "estop": 10, "conveyor": 12, "report": 125}
# Further behind than this the world's time slips instead of catching up in a burst.
_BEHIND_S = 0.2
_FACTOR_WINDOW_S = 5.0

_ENDINGS = {
    Ending.SUCCEEDED: GoalStatus.SUCCEEDED,
    Ending.ABORTED: GoalStatus.ABORTED,
    Ending.CANCELED: GoalStatus.CANCELED,
}


class SimCore(Core):
    """The world behind ROS messages.

    Args:
        world: settled and at rest.
        parameters: rates and noises.
    """

    def __init__(self, parameters: SimParameters, world: World) -> None:
        self._parameters = parameters
        raw = world.robot.raw["camera"]
        self._camera = DepthCamera(
            CameraSpec(
                parameters.camera_width_px,
                parameters.camera_height_px,
                raw["hfov_rad"],
                raw["range_min_m"],
                raw["range_max_m"],
                parameters.camera_noise_per_m2,
            )
        )
        self._detector_spec = DetectorSpec(
            position_sigma_m=parameters.detector_position_sigma_m,
            rotation_sigma_rad=parameters.detector_rotation_sigma_rad,
            size_sigma_m=parameters.detector_size_sigma_m,
            miss_probability=parameters.detector_miss_probability,
            false_per_picture=parameters.detector_false_per_picture,
            min_area_px=80.0 * parameters.camera_width_px / 320,
            min_side_m=parameters.detector_min_side_m,
        )
        spec = self._camera.spec
        self._detector = Detector(self._detector_spec, spec.rays(), spec.focal_px)
        self._scan_hz = 1.0 / (_SLICES["scan"] * SLICE_S)
        self._slice = 0
        self._picture_due_s = world.time_s
        self._picture_busy = False
        self._pictures = 0
        self._origin: tuple[float, float] | None = None
        self._window: deque[tuple[float, float]] = deque()
        self._docking = False
        self._enter(world)

    def _enter(self, world: World) -> None:
        self.world = world
        self.faults = Faults(world)
        colour = np.random.default_rng([world.spec.seed, 3]).integers(
            [120, 90, 50], [215, 165, 110], (len(world.cartons), 3)
        )
        self._colours = colour.astype(np.uint8)
        self._entered_s = world.time_s
        self._delivered = 0
        self._falls = 0

    # --- time ---

    def tick(self, now: Now) -> Effects:
        """Bring the world up to now, slice by slice."""
        rate = self._parameters.rate
        if self._origin is None:
            self._origin = (now.steady_s, self.world.time_s)
            return NOTHING
        target = self._origin[1] + (now.steady_s - self._origin[0]) * rate
        if target - self.world.time_s > _BEHIND_S * max(rate, 1.0):
            target = self.world.time_s + _BEHIND_S * max(rate, 1.0)
            self._origin = (now.steady_s, target)
        effects: list[Effect] = []
        while self.world.time_s + SLICE_S <= target + 1e-9:
            effects += self.advance()
        self._window.append((now.steady_s, self.world.time_s))
        while self._window[0][0] < now.steady_s - _FACTOR_WINDOW_S:
            self._window.popleft()
        return effects

    def _realtime_factor(self) -> float:
        if len(self._window) < 2 or self._window[-1][0] <= self._window[0][0]:
            return 0.0
        (w0, s0), (w1, s1) = self._window[0], self._window[-1]
        return (s1 - s0) / (w1 - w0)

    def advance(self) -> list[Effect]:
        """One slice of simulated time, and what the world says in it."""
        world = self.world
        world.step(SLICE_S)
        self.faults.step()
        stamp = to_time(world.time_s)
        effects: list[Effect] = []
        self._slice += 1
        if self._due("clock"):
            effects.append(Publish("/clock", Clock(clock=stamp)))
        if self._due("tf"):
            effects.append(Publish("/tf", messages.base_transform(world, stamp)))
        if self._speaks("joint_states"):
            effects.append(Publish("joint_states", messages.joint_state(world, stamp)))
        if self._due("scan"):
            effects += self._scans(stamp)
        if self._due("gripper") and self._speaks("gripper/state"):
            effects.append(Publish("gripper/state", messages.gripper_state(world, stamp)))
        if self._due("estop") and self._speaks("estop"):
            effects.append(Publish("estop", Bool(data=world.estop_closed)))
        if self._due("conveyor"):
            effects.append(Publish("conveyor/state", messages.conveyor_state(world, stamp)))
        if self._due("report"):
            effects.append(Publish("sim/report", messages.report(world, stamp, self._realtime_factor())))
        if world.time_s >= self._picture_due_s - 1e-9:
            effects += self._take_picture()
        effects += self._goals()
        effects += self._story()
        return effects

    def _due(self, what: str) -> bool:
        return self._slice % _SLICES[what] == 0

    def _speaks(self, sensor: str) -> bool:
        return sensor not in self.faults.silent

    def _scans(self, stamp: Any) -> list[Effect]:
        obstacles = self.world.obstacles()
        result: list[Effect] = []
        for topic, frame in (("scan/front", "scanner_front"), ("scan/rear", "scanner_rear")):
            if self._speaks(topic):
                ranges = self.world.scan(frame, obstacles)
                result.append(Publish(topic, messages.laser_scan(self.world, frame, ranges, self._scan_hz, stamp)))
        return result

    # --- camera ---

    def _take_picture(self) -> list[Effect]:
        period = 1.0 / self._parameters.camera_rate_hz
        self._picture_due_s = max(self._picture_due_s + period, self.world.time_s)
        # A picture takes longer than the camera's period: the next one is left out, as a slow camera would.
        if self._picture_busy or not self._speaks("camera"):
            return []
        self._picture_busy = True
        self._pictures += 1
        return [Compute("picture", self._develop(self.world.view(), self._pictures))]

    def _develop(self, view: View, number: int) -> Callable[[], tuple[Any, Any]]:
        parameters, painted = self._parameters, self._colours

        def work() -> tuple[Any, Any]:
            picture = self._camera.take(view)
            points = self._camera.points(picture, np.random.default_rng([parameters.seed, 1, number]))
            found: Detections = self._detector.detect(
                picture, view, np.random.default_rng([parameters.seed, 2, number])
            )
            stamp = to_time(view.time_s)
            rgb = colours(picture, painted) if parameters.camera_rgb else None
            cloud = from_xyz(points, Header(stamp=stamp, frame_id=messages.CAMERA_FRAME), rgb)
            return cloud, messages.detections(found, self._detector_spec, stamp)

        return work

    def computed(self, tag: str, result: Any, now: Now) -> Effects:
        if tag == "trailer":
            return self._docked(result)
        self._picture_busy = False
        if isinstance(result, Exception):
            return [Emit("sim.camera_failed", f"{type(result).__name__}: {result}", Severity.ERROR)]
        cloud, faces = result
        effects: list[Effect] = []
        # A picture of the trailer before shows nothing that is there.
        if self._speaks("camera") and seconds(cloud.header.stamp) >= self._entered_s:
            effects.append(Publish("points", cloud))
            if self._speaks("detections"):
                effects.append(Publish("detections", faces))
        return effects

    # --- commands ---

    def goal(self, name: str, goal_id: str, goal: Any, now: Now) -> Effects:
        if name == ARM:
            self.world.trajectory.submit(messages.trajectory_goal(goal_id, goal), self.world.time_s)
            return self._arm_results()
        if not self.world.estop_closed:
            return [
                self._base_result(
                    goal_id, GoalStatus.ABORTED, OutcomeCode.BASE_FAILED, "the E-stop circuit is open", 0.0
                )
            ]
        busy = bool(self.world.drive.goal_id)
        try:
            self.world.drive.start(goal_id, goal.distance_m, goal.max_speed_mps)
        except DriveError as error:
            code = OutcomeCode.BUSY if busy else OutcomeCode.MALFORMED
            return [self._base_result(goal_id, GoalStatus.ABORTED, code, str(error), 0.0)]
        return NOTHING

    def cancel(self, name: str, goal_id: str, now: Now) -> Effects:
        if name == ARM:
            self.world.trajectory.cancel(goal_id, self.world.time_s)
        else:
            self.world.drive.cancel(goal_id)
        return NOTHING

    def service(self, name: str, request: Any, now: Now) -> Effects:
        if name == "gripper/set":
            try:
                self.world.suction.command(request.zones_on)
            except ValueError as error:
                return [Respond(SetGripper.Response(ok=False, text=str(error)))]
            return [Respond(SetGripper.Response(ok=True, text="valves commanded"))]
        try:
            if request.name == "next_trailer":
                return self._dock(list(request.args), request.duration_s)
            text = self.faults.inject(request.name, request.args, request.duration_s)
        except FaultError as error:
            return [Respond(InjectFault.Response(ok=False, text=str(error)))]
        return [Respond(InjectFault.Response(ok=True, text=text)), Emit("sim.fault", text, Severity.WARN)]

    # --- trailers ---

    def _dock(self, args: list[float], duration_s: float) -> Effects:
        """The next trailer with a load of the same kind; it is there when its cartons have come to rest.

        Raises:
            FaultError: bad arguments, or something is under way.
        """
        # Not a number and infinity are no seeds either.
        if len(args) != 1 or not 0.0 <= args[0] < 2.0**31 or args[0] % 1.0 or not math.isnan(duration_s):
            raise FaultError(f"next_trailer wants [seed 0 .. 2^31 - 1] and duration_s NaN, got {args} and {duration_s}")
        if self._docking or self.faults.under_way or self.world.trajectory.active_id or self.world.drive.goal_id:
            raise FaultError(
                "next_trailer: another one docks, a fault is under way, or the robot moves; ask again later"
            )
        self._docking = True
        spec = replace(self.world.spec, seed=int(args[0]), own_cartons=())
        text = f"the next trailer docks, seed {spec.seed}"
        return [Respond(InjectFault.Response(ok=True, text=text)), Compute("trailer", partial(World, spec))]

    def _docked(self, world: Any) -> Effects:
        self._docking = False
        try:
            if isinstance(world, Exception):
                raise world
            world.follow(self.world)
        except Exception as error:  # of a load that does not stand, or of a robot that has begun to move
            return [Emit("sim.trailer_failed", f"{type(error).__name__}: {error}", Severity.ERROR)]
        self._enter(world)
        return [Emit("sim.trailer_docked", f"a trailer with {len(world.cartons)} cartons, seed {world.spec.seed}")]

    def _goals(self) -> list[Effect]:
        world = self.world
        effects = self._arm_results()
        for goal_id, end, moved_m in world.drive.take_ended():
            status, code, text = {
                DriveEnd.REACHED: (GoalStatus.SUCCEEDED, OutcomeCode.NONE, "moved"),
                DriveEnd.CANCELED: (GoalStatus.CANCELED, OutcomeCode.CANCELLED, "cancelled; the base stands still"),
                DriveEnd.BLOCKED: (
                    GoalStatus.ABORTED,
                    OutcomeCode.BASE_FAILED,
                    "something holds the base, or the E-stop opened",
                ),
            }[end]
            effects.append(self._base_result(goal_id, status, code, text, moved_m))
        if self._due("feedback"):
            progress = world.trajectory.progress(world.time_s)
            if progress:
                message = messages.trajectory_feedback(
                    world, world.trajectory.reference, progress["elapsed_s"], int(progress["index"])
                )
                effects.append(Feedback(ARM, world.trajectory.active_id, message))
            if world.drive.goal_id:
                effects.append(Feedback(BASE, world.drive.goal_id, AdvanceBase.Feedback(moved_m=world.drive.moved_m)))
        return effects

    def _arm_results(self) -> list[Effect]:
        return [
            FinishGoal(
                ARM,
                done.goal_id,
                _ENDINGS[done.ending],
                FollowJointTrajectory.Result(error_code=int(done.code), error_string=done.text),
            )
            for done in self.world.trajectory.take_finished()
        ]

    def _base_result(self, goal_id: str, status: GoalStatus, code: int, text: str, moved_m: float) -> FinishGoal:
        result = AdvanceBase.Result(outcome=OutcomeCode(code=code), text=text, moved_m=moved_m)
        return FinishGoal(BASE, goal_id, status, result)

    def _story(self) -> list[Effect]:
        """Events of the physics: for reports; no node of the robot decides on them."""
        world = self.world
        effects: list[Effect] = [
            Emit("sim.carton_lost", f"the cups let go of carton {carton}: overloaded", Severity.WARN)
            for carton in world.lost
        ]
        world.lost.clear()
        effects += [
            Emit("sim.shifted", f"carton {carton} moved {SHIFT_M:.2f} m or more without being held", Severity.DEBUG)
            for carton in world.accounting.shifted
        ]
        world.accounting.shifted.clear()
        counts = world.counts()
        if counts.delivered != self._delivered:
            effects.append(Emit("sim.delivered", f"{counts.delivered} of {counts.total} cartons delivered"))
        if counts.falls != self._falls:
            effects.append(Emit("sim.fall", f"{counts.falls} falls so far", Severity.WARN))
        self._delivered, self._falls = counts.delivered, counts.falls
        return effects
