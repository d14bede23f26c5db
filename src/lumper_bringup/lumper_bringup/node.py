"""The lifecycle manager on the graph: the common host, and clients of the standard services of the nodes it manages."""

from collections.abc import Sequence

import rclpy
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from lumper_bringup.core import LifecycleCore, change_state_service, get_state_service
from lumper_bringup.parameters import ManagerParameters
from lumper_ros.clients import ServiceCaller
from lumper_ros.host import Host, load_parameters
from lumper_ros.interfaces import MANAGER
from lumper_ros.parameters import ParameterError
from lumper_ros.spin import Spinner, leave_in_time

_TICK_HZ = 2.0


class ManagerHost(Host):
    """The interface table lists no lifecycle services (every lifecycle node has them); their clients are opened here."""

    def __init__(self, node: Node, spinner: Spinner, parameters: ManagerParameters) -> None:
        super().__init__(node, spinner, LifecycleCore(parameters), _TICK_HZ, MANAGER)
        self._managed = parameters.nodes

    def start(self) -> None:
        for managed in self._managed:
            for kind, name in ((GetState, get_state_service(managed)), (ChangeState, change_state_service(managed))):
                caller = ServiceCaller(self._node, kind, name, self._on_response(name))
                self._callers[name] = caller
                self._later(caller.close)
        super().start()


def run(argv: Sequence[str] | None = None) -> int:
    """Run until a signal; returns the exit code."""
    rclpy.init(args=None if argv is None else list(argv), signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(MANAGER, automatically_declare_parameters_from_overrides=True)
    try:
        spinner = Spinner(rclpy.get_default_context())
        spinner.add(node)
        node.lumper_failed = False
        try:
            host = ManagerHost(node, spinner, load_parameters(node, ManagerParameters))
        except ParameterError as error:
            node.get_logger().fatal(f"refused to start: {error}")
            return 2
        host.start()
        spinner.spin()
        leave_in_time()
        host.stop()
        return 1 if node.lumper_failed else 0
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
