"""Between the world's plain numbers and ROS messages."""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from control_msgs.action import FollowJointTrajectory
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from lumper_msgs.msg import CartonDetection, CartonDetections, ConveyorState, GripperState, SimReport
from numpy.typing import NDArray
from sensor_msgs.msg import JointState, LaserScan
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectoryPoint

from lumper_ros.convert import seconds, to_duration, to_pose, to_time
from lumper_sim.detector import Detections, DetectorSpec
from lumper_sim.trajectory import Goal, Point, Reference, Tolerance
from lumper_sim.world import World

CAMERA_FRAME = "camera_optical_frame"
DETECTOR_NAME = "trailer_sim face detector model"


def _doubles(values: NDArray[np.float64]) -> "array[float]":
    # A message's own field type: assigning it skips an element-by-element check.
    return array("d", np.asarray(values, dtype=np.float64).tobytes())


def joint_state(world: World, stamp: Time) -> JointState:
    position, velocity, effort = world.joint_state()
    message = JointState(header=Header(stamp=stamp), name=list(world.robot.joint_names))
    message.position, message.velocity, message.effort = _doubles(position), _doubles(velocity), _doubles(effort)
    return message


def base_transform(world: World, stamp: Time) -> TFMessage:
    """trailer -> base_link: the drive's odometry."""
    transform = Transform(
        translation=Vector3(x=world.base_x_m, y=0.0, z=0.0), rotation=Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
    )
    return TFMessage(
        transforms=[
            TransformStamped(
                header=Header(stamp=stamp, frame_id="trailer"), child_frame_id="base_link", transform=transform
            )
        ]
    )


def laser_scan(world: World, frame: str, ranges: NDArray[np.float32], rate_hz: float, stamp: Time) -> LaserScan:
    spec = world.scanner
    message = LaserScan(
        header=Header(stamp=stamp, frame_id=frame),
        angle_min=-spec.fov_rad / 2,
        angle_max=spec.fov_rad / 2,
        angle_increment=spec.step_rad,
        time_increment=0.0,
        scan_time=1.0 / rate_hz,
        range_min=spec.range_min_m,
        range_max=spec.range_max_m,
    )
    message.ranges = array("f", ranges.tobytes())
    return message


def gripper_state(world: World, stamp: Time) -> GripperState:
    suction = world.suction
    bits = [zone.bit for zone in world.robot.gripper.zones]
    on, sealed = suction.on, suction.sealed
    return GripperState(
        stamp=stamp,
        vacuum_kpa=float(suction.kpa[on].mean()) if on.any() else 0.0,
        zone_kpa=[float(v) for v in suction.kpa],
        zones_on=sum(1 << bit for bit, flag in zip(bits, on, strict=True) if flag),
        # What the pressure switches show, not what the world knows.
        zones_sealed=sum(
            1 << bit
            for bit, flag, kpa in zip(bits, sealed, suction.kpa, strict=True)
            if flag and kpa >= world.robot.gripper.part_present_kpa
        ),
        part_held=bool(suction.holding),
        load_fraction=float(suction.load),
    )


def conveyor_state(world: World, stamp: Time) -> ConveyorState:
    return ConveyorState(
        stamp=stamp,
        ready=world.conveyor_ready,
        jammed=not world.conveyor_runs,
        speed_mps=world.belt_speed_mps,
        delivered=world.counts().delivered,
    )


def report(world: World, stamp: Time, realtime_factor: float) -> SimReport:
    counts = world.counts()
    return SimReport(
        stamp=stamp,
        total=counts.total,
        delivered=counts.delivered,
        on_conveyor=counts.on_conveyor,
        on_floor=counts.on_floor,
        in_trailer=counts.in_trailer,
        held=counts.held,
        with_person=counts.with_person,
        falls=counts.falls,
        settled=True,
        realtime_factor=realtime_factor,
        peak_joint_speed_fraction=world.peak_speed_fraction,
    )


def detections(found: Detections, spec: DetectorSpec, stamp: Time) -> CartonDetections:
    """Faces in the camera's frame; depth and mass are not known to the detector."""
    return CartonDetections(
        header=Header(stamp=stamp, frame_id=CAMERA_FRAME),
        source=DETECTOR_NAME,
        view_coverage=found.coverage,
        detections=[
            CartonDetection(
                face_pose=to_pose(face.pose),
                width_m=face.width_m,
                height_m=face.height_m,
                depth_m=float("nan"),
                position_sigma_m=spec.position_sigma_m,
                rotation_sigma_rad=spec.rotation_sigma_rad,
                size_sigma_m=spec.size_sigma_m,
                confidence=face.confidence,
                mass_kg=float("nan"),
                occluded=bool(face.hidden_sides),
                hidden_sides=face.hidden_sides,
            )
            for face in found.faces
        ],
    )


def _tolerances(items: Sequence[Any]) -> tuple[Tolerance, ...]:
    return tuple(Tolerance(item.name, item.position, item.velocity, item.acceleration) for item in items)


def trajectory_goal(goal_id: str, request: Any) -> Goal:
    """The plain form of a FollowJointTrajectory goal."""
    trajectory = request.trajectory
    return Goal(
        goal_id=goal_id,
        joint_names=tuple(trajectory.joint_names),
        points=tuple(
            Point(
                seconds(point.time_from_start),
                tuple(point.positions),
                tuple(point.velocities),
                tuple(point.accelerations),
                tuple(point.effort),
            )
            for point in trajectory.points
        ),
        start_s=seconds(trajectory.header.stamp),
        path_tolerance=_tolerances(request.path_tolerance),
        goal_tolerance=_tolerances(request.goal_tolerance),
        goal_time_tolerance_s=seconds(request.goal_time_tolerance),
        multi_dof=bool(
            request.multi_dof_trajectory.points or request.component_path_tolerance or request.component_goal_tolerance
        ),
    )


def trajectory_feedback(world: World, reference: Reference, elapsed_s: float, index: int) -> Any:
    """FollowJointTrajectory feedback: desired, actual and their difference now."""
    position, velocity, _ = world.joint_state()
    when = to_duration(max(elapsed_s, 0.0))
    return FollowJointTrajectory.Feedback(
        header=Header(stamp=to_time(world.time_s)),
        joint_names=list(world.robot.joint_names),
        desired=JointTrajectoryPoint(
            positions=_doubles(reference.position),
            velocities=_doubles(reference.velocity),
            accelerations=_doubles(reference.acceleration),
            time_from_start=when,
        ),
        actual=JointTrajectoryPoint(positions=_doubles(position), velocities=_doubles(velocity), time_from_start=when),
        error=JointTrajectoryPoint(
            positions=_doubles(reference.position - position),
            velocities=_doubles(reference.velocity - velocity),
            time_from_start=when,
        ),
        index=index,
    )
