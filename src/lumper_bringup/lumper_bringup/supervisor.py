"""Runs processes: output, respawn, orderly end. When `run` returns, nothing that it started is left.

Each process gets a process group of its own, so that what it starts goes with it; orphans of orphans come to this
process (it is their sub-reaper); and the kernel kills the direct children should this process itself be killed.
"""

import contextlib
import ctypes
import heapq
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from lumper_bringup.launch_model import Process
from lumper_bringup.launch_output import Log
from lumper_bringup.shared_memory import release_abandoned

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None, use_errno=True)
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LONGEST_LINE = 1 << 16
# Left-overs without a ladder of their own (orphans) get this long between SIGTERM and SIGKILL.
_ORPHAN_GRACE_S = 1.0
# Signals this close together are one wish: some tools signal the process and its group.
_SAME_REQUEST_S = 0.3


@dataclass(slots=True, eq=False)
class _Stream:
    """One output pipe of a process."""

    pipe: IO[bytes]
    label: str
    to_screen: bool
    rest: bytes = b""


@dataclass(slots=True, eq=False)
class _Child:
    """One process of the plan through all its lives."""

    process: Process
    popen: "subprocess.Popen[bytes] | None" = None
    retries: int = 0
    waiting: bool = False
    stopping: bool = False
    streams: list[_Stream] = field(default_factory=list)


def _on_screen(output: str, stderr: bool) -> bool:
    return output in ("screen", "both", "full") or (output == "log" and stderr)


class Supervisor:
    """Starts the processes of a plan and stays until all have ended or a signal asks it to stop them."""

    def __init__(self, processes: Sequence[Process], log: Log) -> None:
        self._children = [_Child(process) for process in processes]
        self._log = log
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._shutting_down = False
        self._stop_requests = 0
        self._last_request_s = float("-inf")
        self._failed = False

    def run(self) -> int:
        """Run to the end; 0 = everything ended as asked, 1 = something died for good, did not start or had to be killed."""
        if _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ, woken)
        previous = {number: signal.signal(number, lambda *_: None) for number in (*_STOP_SIGNALS, signal.SIGCHLD)}
        previous_fd = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        try:
            for child in self._children:
                self._start(child)
            while self._busy():
                self._step()
            self._sweep()
            release_abandoned()
        finally:
            for child in self._children:
                if child.popen is not None:
                    self._signal_group(child.popen.pid, signal.SIGKILL)
                    child.popen.wait()
            signal.set_wakeup_fd(previous_fd)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._selector.close()
            wake.close()
            woken.close()
        return 1 if self._failed else 0

    def _busy(self) -> bool:
        return any(child.popen is not None or child.waiting for child in self._children)

    def _step(self) -> None:
        timeout = None if not self._timers else max(0.0, self._timers[0][0] - time.monotonic())
        for key, _ in self._selector.select(timeout):
            if isinstance(key.data, _Stream):
                self._read(key.data)
            else:
                self._take_signals(key.data)
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (time.monotonic() + delay_s, self._timer_count, action))

    def _take_signals(self, woken: socket.socket) -> None:
        for number in woken.recv(4096):
            if number == signal.SIGCHLD:
                self._reap()
            else:
                self._stop_requested(signal.Signals(number))

    # --- start and end of one process

    def _start(self, child: _Child) -> None:
        process = child.process
        child.waiting = False
        if self._shutting_down:
            return
        parent = os.getpid()

        def in_child() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        try:
            for file, text in process.files.items():
                file.write_text(text)
            child.popen = subprocess.Popen(
                " ".join(process.command) if process.shell else process.command,
                shell=process.shell,
                env=dict(process.environment),
                cwd=process.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                preexec_fn=in_child,  # noqa: PLW1509 (there are no other threads here)
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._log.launcher(
                "ERROR", process.label, f"cannot be started: {error} (command: {' '.join(process.command)})"
            )
            self._failed = True
            self._shut_down()
            return
        self._log.launcher("INFO", process.label, f"process started with pid [{child.popen.pid}]")
        for pipe, is_stderr in ((child.popen.stdout, False), (child.popen.stderr, True)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            stream = _Stream(pipe, process.label, _on_screen(process.output, is_stderr))
            child.streams.append(stream)
            self._selector.register(pipe, selectors.EVENT_READ, stream)

    def _reap(self) -> None:
        """Take the ended processes: the plan's, and orphans that came to us."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            child = next((c for c in self._children if c.popen is not None and c.popen.pid == ended.si_pid), None)
            if child is None:
                os.waitpid(ended.si_pid, 0)
            else:
                # Its number is not free until it is waited for, so the group is still the one that it led.
                self._signal_group(ended.si_pid, signal.SIGTERM)
                self._ended(child)

    def _ended(self, child: _Child) -> None:
        popen, process = child.popen, child.process
        assert popen is not None
        code = popen.wait()
        child.popen = None
        for stream in child.streams:
            self._read(stream)
        child.streams.clear()
        if code == 0:
            self._log.launcher("INFO", process.label, f"process has finished cleanly [pid {popen.pid}]")
        else:
            text = f"process has died [pid {popen.pid}, exit code {code}, cmd '{' '.join(process.command)}']."
            self._log.launcher("ERROR", process.label, text)
            release_abandoned()
        if process.shutdown_on_exit:
            self._failed |= code != 0 and not child.stopping
            self._shut_down()
        if self._shutting_down:
            self._failed |= code == -signal.SIGKILL and child.stopping
            return
        if process.respawn and not 0 <= process.respawn_max_retries <= child.retries:
            child.retries += 1
            child.waiting = True
            self._after(process.respawn_delay_s, lambda: self._start(child))
        elif code != 0:
            self._failed = True

    # --- shutting down

    def _stop_requested(self, number: signal.Signals) -> None:
        since_last_s = time.monotonic() - self._last_request_s
        if self._stop_requests and since_last_s < _SAME_REQUEST_S:
            return
        self._stop_requests += 1
        self._last_request_s = time.monotonic()
        if self._stop_requests == 1:
            self._log.launcher("WARN", "launch", f"{number.name} received: stopping all processes")
            self._shut_down()
            return
        harder = signal.SIGTERM if self._stop_requests == 2 else signal.SIGKILL
        self._log.launcher(
            "WARN", "launch", f"{number.name} received again: sending {harder.name} to what is still running"
        )
        for child in self._children:
            if child.popen is not None:
                self._signal_group(child.popen.pid, harder)

    def _shut_down(self) -> None:
        if self._shutting_down:
            return
        self._shutting_down = True
        for child in self._children:
            child.waiting = False
            if child.popen is not None:
                child.stopping = True
                self._descend(child, child.popen.pid)

    def _descend(self, child: _Child, pid: int) -> None:
        """The ladder: SIGINT, then SIGTERM, then SIGKILL to the process and its group."""
        process = child.process
        self._log.launcher("INFO", process.label, "sending signal 'SIGINT'")
        self._signal_group(pid, signal.SIGINT)

        def escalate(previous: str, number: signal.Signals, waited_s: float) -> None:
            if child.popen is not None and child.popen.pid == pid:
                text = f"failed to terminate {waited_s:g} s after {previous}, escalating to '{number.name}'"
                self._log.launcher("ERROR", process.label, text)
                self._signal_group(pid, number)

        term_s, kill_s = process.sigterm_timeout_s, process.sigkill_timeout_s
        self._after(term_s, lambda: escalate("SIGINT", signal.SIGTERM, term_s))
        self._after(term_s + kill_s, lambda: escalate("SIGTERM", signal.SIGKILL, kill_s))

    @staticmethod
    def _signal_group(pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)

    def _sweep(self) -> None:
        """End what the plan's processes left behind: members of their groups, and daemons that came to us as orphans."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            until = time.monotonic() + _ORPHAN_GRACE_S
            told: set[int] = set()
            while orphans := self._orphans():
                for pid in orphans - told:
                    self._log.launcher("WARN", "launch", f"process {pid} was left behind, sending '{number.name}'")
                    os.kill(pid, number)
                told |= orphans
                if time.monotonic() > until and number is signal.SIGTERM:
                    break
                # An orphan's end arrives as SIGCHLD, which wakes the selector.
                for key, _ in self._selector.select(0.05):
                    if isinstance(key.data, _Stream):
                        self._read(key.data)
                    else:
                        self._take_signals(key.data)

    @staticmethod
    def _orphans() -> set[int]:
        """Live children of this process. Called when every process of the plan has ended, so these were left behind."""
        found: set[int] = set()
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                return found
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as file:
                found |= {int(pid) for pid in file.read().split()}
        return found

    # --- output

    def _read(self, stream: _Stream) -> None:
        """Take what is in the pipe; write out whole lines."""
        while not stream.pipe.closed:
            try:
                data = os.read(stream.pipe.fileno(), 1 << 16)
            except BlockingIOError:
                return
            lines = (stream.rest + data).split(b"\n")
            stream.rest = lines.pop()
            if len(stream.rest) > _LONGEST_LINE or not data:
                lines += [stream.rest] if stream.rest else []
                stream.rest = b""
            for line in lines:
                self._log.process(stream.label, line.decode(errors="replace").rstrip("\r"), stream.to_screen)
            if not data:
                self._selector.unregister(stream.pipe)
                stream.pipe.close()
