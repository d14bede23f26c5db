"""The one way to spin a node: the cheapest executor of rclpy with its defects worked round, clean exit on signals."""

import gc
import signal
import threading
from collections.abc import Callable
from types import FrameType

from rclpy.context import Context
from rclpy.executors import Executor
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.task import Future


class Spinner:
    """Owns the executor of a process. `EventsExecutor.spin()` busy-loops in rclpy 9.1 and ignores signals; spinning until
    a future completes does neither."""

    def __init__(self, context: Context) -> None:
        self.executor: Executor = EventsExecutor(context=context)
        self._stop: Future[None] = Future(executor=self.executor)
        self.spinning = False

    def add(self, node: Node) -> None:
        self.executor.add_node(node)

    def close(self, *nodes: Node) -> None:
        """Take the nodes off the executor and destroy both, in the order that leaves no callback dangling."""
        for node in nodes:
            self.executor.remove_node(node)
        self.executor.shutdown()
        for node in nodes:
            node.destroy_node()

    def stop(self) -> None:
        """End `spin`; callable from any thread and from signal handlers."""
        if not self._stop.done():
            self._stop.set_result(None)
            self.executor.wake()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Run `function` on the executor's thread; callable from any thread."""
        self.executor.create_task(function)

    def spin(self) -> None:
        """Run callbacks until `stop` or SIGINT or SIGTERM."""

        def handle(signum: int, frame: FrameType | None) -> None:
            self.stop()

        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, handle)
        gc.collect()
        gc.freeze()
        self.spinning = True
        try:
            while not self._stop.done():
                self.executor.spin_until_future_complete(self._stop, 1e5)
        finally:
            self.spinning = False
