"""Threads that keep their time on a loaded machine: real-time priority, or the nearest that is allowed."""

import contextlib
import os
from collections.abc import Iterable

_NICE = -15


def raise_priority(level: int, threads: Iterable[int] | None = None) -> str:
    """SCHED_FIFO (sched(7)) for threads of this process; returns what was done, in words.

    Args:
        level: 1 … 99; higher goes before lower, and all before what is not real-time.
        threads: native ids; None = all that there are now.
    """
    chosen = [int(thread) for thread in os.listdir("/proc/self/task")] if threads is None else list(threads)
    try:
        for thread in chosen:
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(level))
        return f"SCHED_FIFO {level}"
    except OSError:
        with contextlib.suppress(OSError):
            for thread in chosen:
                os.setpriority(os.PRIO_PROCESS, thread, _NICE)
            return f"nice {_NICE} (SCHED_FIFO is not allowed here)"
    return "normal (neither SCHED_FIFO nor nice is allowed here)"
