"""A process of its own for long computations, so that they never keep the event loop from its messages (one interpreter
runs one thread of Python at a time).
"""

import contextlib
import os
import pickle
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

from lumper_ros.core import GaveUpError

_GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class WorkerLostError(Exception):
    """The process ended without an answer: it crashed or was killed."""


class WorkerError(Exception):
    """What the function raised, as text, its traceback as a note: an exception itself need not survive the way between
    processes.
    """


class Worker:
    """Runs picklable functions in a forked process, one at a time. Make it before the process has threads.

    It ends when its parent closes it, and by itself when its parent dies.
    """

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        # Terminals and launchers signal the whole group; when to end is the parent's to say, from the first moment on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
        self._pid = os.fork()
        if self._pid == 0:
            self._pipe.close()
            try:
                for number in _GROUP_SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                _serve(theirs)
            finally:
                os._exit(0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    @property
    def pid(self) -> int:
        return self._pid

    def run(self, function: Callable[[], Any]) -> Any:
        """The function's value. Blocks without holding the interpreter; not to be called by two threads at once.

        Raises:
            GaveUpError: the function did.
            WorkerError: the function raised another exception; the text holds its type and text.
            WorkerLostError: the process is no more.
        """
        try:
            self._pipe.send_bytes(pickle.dumps(function, pickle.HIGHEST_PROTOCOL))
            value, raised = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError) as error:
            raise WorkerLostError(f"the computing process {self._pid} ended without an answer") from error
        if raised is not None:
            raise raised
        return value

    def close(self) -> None:
        """End the process, whatever it does. A thread that waits in `run` learns it before the pipe is closed under it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            asked = pipe.recv_bytes()
            try:
                answer = pickle.dumps((pickle.loads(asked)(), None), pickle.HIGHEST_PROTOCOL)
            except GaveUpError as late:
                answer = pickle.dumps((None, GaveUpError(str(late))))
            except Exception as error:
                raised = WorkerError(f"{type(error).__name__}: {error}")
                raised.add_note(traceback.format_exc())
                answer = pickle.dumps((None, raised))
            pipe.send_bytes(answer)
