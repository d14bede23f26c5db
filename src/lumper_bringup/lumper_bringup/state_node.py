"""Node robot_state_publisher: URDF and joint_states in, tf, tf_static and robot_description out.

Hands over to the standard node of that name where it is installed, so that one launch file serves both. Ours exists for
machines without it: same parameters, topics and timing; joint types fixed, revolute, continuous and prismatic.
"""

import math
import os
from collections.abc import Sequence
from typing import Any

import rclpy
from geometry_msgs.msg import Quaternion as QuaternionMessage
from geometry_msgs.msg import Transform, TransformStamped, Vector3
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from lumper_bringup.launch_model import PackageError, Packages
from lumper_bringup.parameters import StatePublisherParameters
from lumper_bringup.urdf import FIXED, Joint, UrdfError, parse, positions_of, transform
from lumper_ros.host import load_parameters
from lumper_ros.interfaces import STATE, TOPICS, resolve_type
from lumper_ros.parameters import ParameterError
from lumper_ros.qos import qos
from lumper_ros.spin import Spinner, leave_in_time


def standard_executable() -> str | None:
    """Path of ROS 2's own robot_state_publisher, None where it is not installed."""
    try:
        return str(Packages().executable(STATE, STATE))
    except PackageError:
        return None


class StatePublisher:
    """Keeps the newest joint_states as bytes and turns them into tf at the rate asked for."""

    def __init__(self, node: Node, parameters: StatePublisherParameters) -> None:
        self._node = node
        self._parameters = parameters
        self._joints = parse(parameters.robot_description)
        self._newest: bytes | None = None
        self._stamp_ns = -1
        self._refused = 0
        self._tf = self._publisher("/tf")
        static = self._publisher("/tf_static")
        description = self._publisher("robot_description")
        description.publish(String(data=parameters.robot_description))
        stamp = node.get_clock().now().to_msg()
        static.publish(
            TFMessage(transforms=[self._message(joint, 0.0, stamp) for joint in self._joints if joint.kind == FIXED])
        )
        states = TOPICS["joint_states"]
        # As bytes: only those that are published are worth decoding.
        node.create_subscription(JointState, states.name, self._receive, qos(states.profile), raw=True)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(1.0 / parameters.publish_frequency, self._publish, clock=steady)

    def _publisher(self, name: str) -> Any:
        topic = TOPICS[name]
        return self._node.create_publisher(resolve_type(topic.type), topic.name, qos(topic.profile))

    def _receive(self, data: bytes) -> None:
        self._newest = data

    def _publish(self) -> None:
        if self._newest is None:
            return
        data, self._newest = self._newest, None
        state = deserialize_message(data, JointState)
        if len(state.name) != len(state.position) or not all(math.isfinite(value) for value in state.position):
            self._refuse(f"{len(state.name)} names, {len(state.position)} positions {list(state.position)}")
            return
        stamp_ns = state.header.stamp.sec * 1_000_000_000 + state.header.stamp.nanosec
        if stamp_ns == self._stamp_ns and not self._parameters.ignore_timestamp:
            return
        self._stamp_ns = stamp_ns
        positions = positions_of(self._joints, dict(zip(state.name, state.position, strict=True)))
        self._tf.publish(
            TFMessage(
                transforms=[
                    self._message(joint, positions[joint.name], state.header.stamp)
                    for joint in self._joints
                    if joint.name in positions
                ]
            )
        )

    def _refuse(self, what: str) -> None:
        self._refused += 1
        text = (
            f"joint_states refused, {self._refused} so far: names and positions must be equal in number, finite: {what}"
        )
        self._node.get_logger().warning(text, throttle_duration_sec=5.0)

    def _message(self, joint: Joint, position: float, stamp: Any) -> TransformStamped:
        (x, y, z), (qx, qy, qz, qw) = transform(joint, position)
        prefix = self._parameters.frame_prefix
        message = TransformStamped(child_frame_id=prefix + joint.child)
        message.header.stamp = stamp
        message.header.frame_id = prefix + joint.parent
        message.transform = Transform(
            translation=Vector3(x=x, y=y, z=z), rotation=QuaternionMessage(x=qx, y=qy, z=qz, w=qw)
        )
        return message


def run(argv: Sequence[str]) -> int:
    """Run until a signal; returns the exit code. Does not return where the standard node takes over."""
    standard = standard_executable()
    if standard is not None:
        os.execv(standard, [standard, *argv[1:]])
    rclpy.init(args=list(argv), signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(STATE, automatically_declare_parameters_from_overrides=True)
    try:
        spinner = Spinner(rclpy.get_default_context())
        spinner.add(node)
        try:
            StatePublisher(node, load_parameters(node, StatePublisherParameters))
        except (ParameterError, UrdfError) as error:
            node.get_logger().fatal(f"refused to start: {error}")
            return 2
        spinner.spin()
        leave_in_time()
        return 0
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
