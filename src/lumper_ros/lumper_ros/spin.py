"""The one way to spin a node: the cheapest executor of rclpy with its defects worked round, clean exit on signals."""

import faulthandler
import gc
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable

from rclpy.context import Context
from rclpy.executors import Executor
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.task import Future

from lumper_ros import reachable

# A node has so long to end, s.
END_LIMIT_S = 8.0


def leave_in_time() -> None:
    """For a node's main thread, once it has stopped spinning: a process that hangs on its way out, in the middleware or a core, leaves
    with the stacks of its threads on stderr. One that stayed would be neither there nor started again."""
    if threading.current_thread() is threading.main_thread():
        faulthandler.dump_traceback_later(END_LIMIT_S, exit=True)


class Spinner:
    """Owns the executor of a process. `EventsExecutor.spin()` busy-loops in rclpy 9.1 and ignores signals; spinning until
    a future completes does neither."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.executor: Executor = EventsExecutor(context=context)
        self._turn: Future[None] = Future(executor=self.executor)
        self._soon: deque[Callable[[], None]] = deque()
        self._apart: deque[Callable[[], None]] = deque()
        self._stopped = False
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
        self._stopped = True
        self._end_turn()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Run `function` on the executor's thread; callable from any thread."""
        self._soon.append(function)
        self.executor.create_task(self._run_soon)

    def call_apart(self, function: Callable[[], None]) -> None:
        """Run `function` on the spinning thread while no callback is registered: for what destroys endpoints.

        An event of an action client or server that is still queued when its entity goes is dropped by `EventsExecutor`
        without the interpreter's lock, and the process dies. So the queue goes with the entity: the nodes move to a new
        executor, which is told by the middleware of all that is unread. Coroutines that wait for something stay behind.
        """
        self._apart.append(function)
        self._end_turn()

    def _end_turn(self) -> None:
        turn = self._turn
        if not turn.done():
            turn.set_result(None)
            self.executor.wake()

    def _run_soon(self) -> None:
        if self._soon:
            self._soon.popleft()()

    def _change_executor(self) -> None:
        # What was taken from the middleware waits in the queue as a task: without a deadline to wait for, it is run empty.
        self.executor.spin_until_future_complete(Future(executor=self.executor), 0.0)
        nodes = self.executor.get_nodes()
        self.executor.shutdown()
        while self._apart:
            self._apart.popleft()()
        self.executor = EventsExecutor(context=self._context)
        for node in nodes:
            self.executor.add_node(node)
        # Posted to the old executor, or about to be: an empty turn does no harm.
        for _ in range(len(self._soon)):
            self.executor.create_task(self._run_soon)

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

        ended = threading.Event()
        watcher = threading.Thread(target=wait_for_signal, name="signals", daemon=True)
        if main:
            # In this order: a signal between the two would be lost the other way round.
            signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: None)
            watcher.start()
            looked_at = (ended, reachable.ReceivingPorts(), reachable.EventThreads())
            threading.Thread(target=reachable.watch, args=looked_at, name="reachable", daemon=True).start()
        gc.collect()
        gc.freeze()
        self.spinning = True
        try:
            while not self._stopped:
                self._turn = turn = Future(executor=self.executor)
                if not self._stopped and not self._apart:
                    self.executor.spin_until_future_complete(turn, 1e5)
                if self._apart:
                    self._change_executor()
        finally:
            self.spinning = False
            ended.set()
            if main:
                signal.set_wakeup_fd(-1)
            wake.close()
            if main:
                watcher.join()
            woken.close()
