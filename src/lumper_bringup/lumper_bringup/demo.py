"""The demonstration: starts the whole system against the simulation, has one trailer unloaded, reports, stops everything.

Run as `make demo`, `ros2 run lumper_bringup demo` or `python -m lumper_bringup.demo`. Exit code 0 only if the job's result
says that the trailer is empty and the physics agrees; 1 otherwise; 2 if it could not start; 130 when interrupted.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lumper_bringup.demo_report import Job, Physics, Run, render
from lumper_bringup.demo_setup import (
    Options,
    SetupError,
    choose_port,
    environment_for,
    launch_command,
    parse,
    share_folder,
    start_launcher,
)
from lumper_ros.auth import load_key

# Signals to the launcher: it stops the nodes within twice 5 s, see the supervisor's ladder.
_STOP_LIMIT_S = 20.0
_FAULT = re.compile(r"\[(ERROR|FATAL)\](?!.*process has died)|^lumper_launch:")
_DEATH = re.compile(rb"\[ERROR\] \[([^\]]+)\]: process has died \[pid \d+, exit code (-?\d+)")


def _outcome_name(code: int) -> str:
    from lumper_msgs.msg import OutcomeCode

    return next(
        (name for name in dir(OutcomeCode) if name.isupper() and getattr(OutcomeCode, name) == code), "unknown code"
    )


def _job_of(result: Any) -> Job | None:
    if result is None:
        return None
    return Job(
        outcome=result.outcome.code,
        outcome_name=_outcome_name(result.outcome.code),
        text=result.text,
        empty_confirmed=result.empty_confirmed,
        delivered=result.delivered,
        dropped=result.dropped,
        skipped=result.skipped,
        left=result.left,
        duration_s=result.duration_s,
        cases_per_hour=result.cases_per_hour,
        protective_stops=result.protective_stops,
        assists=result.assists,
        waiting_for_person_s=result.waiting_for_person_s,
        stages_s={stage.stage: stage.duration_s for stage in result.stages},
    )


def _physics_of(report: Any) -> Physics | None:
    if report is None:
        return None
    return Physics(*(getattr(report, name) for name in Physics.__slots__))


def _stop(launcher: "subprocess.Popen[bytes]") -> None:
    """Have the launcher stop everything; force it if it does not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if launcher.poll() is not None:
            return
        os.kill(launcher.pid, number)
        try:
            launcher.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            continue


def _deaths(output: Path, until: int) -> tuple[str, ...]:
    return tuple(
        f"{match.group(1).decode()} (exit code {match.group(2).decode()})"
        for match in _DEATH.finditer(output.read_bytes()[:until])
    )


def _run(options: Options, scratch: Path) -> int:
    started_s = time.monotonic()
    share = share_folder()
    port = None if options.headless else choose_port(options.page_port)
    environment = environment_for(scratch, os.environ, share)
    os.environ.update(environment)
    output = scratch / "output"
    launcher = start_launcher(launch_command(options, share, scratch, port), environment, output, options.verbose)
    try:
        print(
            f"Simulated trailer: {options.cartons} cartons, load {options.load}, seed {options.seed}; ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}"
        )
        if port is not None:
            print(f"3-D page: http://127.0.0.1:{port}/", flush=True)
        key = load_key(True, str(scratch / "key"))
        assert key is not None
        # After the launcher has its start: rclpy takes half a second to import.
        from lumper_bringup.demo_client import Client

        client = Client(options, launcher, started_s, key)
        client.run()
        written = output.stat().st_size
    finally:
        _stop(launcher)
    run = Run(
        options.cartons,
        options.seed,
        options.load,
        _job_of(client.result),
        _physics_of(client.sim_report),
        client.ended_by,
        client.realtime_factor,
        client.ready_s,
        client.first_motion_s,
        time.monotonic() - started_s,
        *client.dispatches.total(),
        client.resets,
        client.stops,
        _deaths(output, written),
        dict(client.events),
    )
    print(render(run))
    if options.report is not None:
        options.report.write_text(json.dumps(run.as_json(), indent=2) + "\n")
    if run.faults():
        text = output.read_text(errors="replace").splitlines()
        bad = [line for line in text if _FAULT.search(line)]
        print(
            "\n".join(["  Last errors:", *(f"    {line[:300]}" for line in bad[-8:])]) if bad else "", file=sys.stderr
        )
    logs = next(
        (line.split()[-1] for line in output.read_text(errors="replace").splitlines() if "All log files" in line), ""
    )
    print(f"  Logs: {logs}" if logs else "")
    if client.ended_by == "interrupted":
        return 130
    return 1 if run.faults() else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="lumper_demo_") as scratch:
        try:
            return _run(options, Path(scratch))
        except SetupError as error:
            print(f"lumper: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
