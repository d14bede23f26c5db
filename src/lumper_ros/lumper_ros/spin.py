"""The one way to spin a node: the cheapest executor of rclpy with its defects worked round, clean exit on signals."""

import gc
import signal
import socket
import threading
from collections.abc import Callable

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
        main = threading.current_thread() is threading.main_thread()
        woken, wake = socket.socketpair()
        wake.setblocking(False)

        def wait_for_signal() -> None:
            # A node without timers leaves the executor waiting in C++, where Python's handlers are never run.
            # Nothing to read: the socket was closed at the end.
            if woken.recv(1):
                self.stop()

        watcher = threading.Thread(target=wait_for_signal, name="signals", daemon=True)
        if main:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: None)
            signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
            watcher.start()
        gc.collect()
        gc.freeze()
        self.spinning = True
        try:
            while not self._stop.done():
                self.executor.spin_until_future_complete(self._stop, 1e5)
        finally:
            self.spinning = False
            if main:
                signal.set_wakeup_fd(-1)
            wake.close()
            if main:
                watcher.join()
            woken.close()
