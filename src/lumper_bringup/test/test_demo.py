"""The demonstration's set-up, verdict and report. The whole of it runs in test/system."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lumper_bringup.demo_client import Dispatches
from lumper_bringup.demo_report import Job, Physics, Run, clock, progress, render, stops_of
from lumper_bringup.demo_setup import (
    SetupError,
    choose_domain,
    choose_port,
    environment_for,
    launch_command,
    parse,
    start_launcher,
)
from lumper_ros.auth import load_key

JOB = Job(0, "NONE", "done", True, 58, 1, 0, 0, 360.0, 580.0, 2, 1, 4.0, {"grasp": 116.0, "carry": 58.0, "wait": 0.0})
PHYSICS = Physics(total=60, delivered=57, on_conveyor=1, on_floor=2, in_trailer=0, held=0, with_person=0, falls=3)
STOPS = stops_of(
    [(12.0, "RUN -> PROTECTIVE_STOP: joint_states 61 ms old"), (40.0, "RUN -> PROTECTIVE_STOP: wall: cartons 7 moved")],
    shifts=[19.0, 37.5],
)
RUN = Run(60, 1, "mixed", JOB, PHYSICS, "result succeeded", 1.02, 8.0, 9.5, 370.0, 240, 0, stops=STOPS)


def test_a_run_that_emptied_the_trailer_is_a_success() -> None:
    assert RUN.faults() == []
    text = render(RUN)
    for line in (
        "on the conveyor           58 of 60",
        "dropped                   2 on a floor by the physics, 1 by the job",
        "left                      0 in the trailer, 0 skipped",
        "falls per 1,000 cases     50.0",
        "cases per hour            580 (simulated time, 6:00)",
        "seconds per carton        grasp 2.0, carry 1.0",
        "protective stops          2; after 12.0 s RUN -> PROTECTIVE_STOP: joint_states 61 ms old (the physics knows no reason); ",
        "after 40.0 s RUN -> PROTECTIVE_STOP: wall: cartons 7 moved (a carton was shifted then)",
        "questions to a person     1, 4 s waited",
        "start to first motion     9.5 s",
        "real-time factor          1.02",
        "trajectories sent         240, 0 of them without a permit",
        "The trailer is empty.",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("run", "fault"),
    [
        (replace(RUN, job=None, ended_by="the launcher has ended"), "the launcher has ended"),
        (replace(RUN, job=replace(JOB, outcome=400, outcome_name="NO_REMOVABLE_CARTON", text="jammed")), r"NO_REMOVABLE_CARTON \(400\): jammed"),
        (replace(RUN, job=replace(JOB, empty_confirmed=False)), "did not see the empty trailer"),
        (replace(RUN, physics=None), "the simulation gave no report"),
        (replace(RUN, physics=replace(PHYSICS, in_trailer=2)), "2 carton.s. are still in the trailer"),
        (replace(RUN, physics=replace(PHYSICS, held=1)), "1 carton.s. hang on the gripper"),
        (replace(RUN, dispatched_without_permit=1), "1 trajectories were sent without a permit"),
    ],
)  # fmt: skip
def test_everything_else_is_not(run: Run, fault: str) -> None:
    import re

    assert len(run.faults()) == 1
    assert re.search(fault, run.faults()[0])
    assert "NOT DONE: " in render(run)
    assert run.as_json()["success"] is False


def test_the_report_file_has_the_jobs_counts_at_the_top() -> None:
    report = json.loads(json.dumps(RUN.as_json()))
    assert (report["delivered"], report["empty_confirmed"], report["dispatched_without_permit"]) == (58, True, 0)
    assert (report["physics"]["delivered"], report["falls_per_1000"], report["success"]) == (57, 50.0, True)
    assert (len(report["stops"]), report["false_stops"]) == (2, 1)
    without_job = replace(RUN, job=None).as_json()
    assert without_job["success"] is False
    assert "delivered" not in without_job


def test_deaths_are_counted() -> None:
    text = render(replace(RUN, deaths=("a (exit code 1)", "a (exit code 1)", "b (exit code -9)")))
    assert "a (exit code 1) 2 times, b (exit code -9)" in text


def test_progress_is_one_line() -> None:
    assert progress(12, 60, 512.4, 3, "picking 7", 83.0, 1.0) == "unloading 12 of 60, 512/h, 1:23 at 1.0x, picking"
    assert progress(0, 60, 0.0, 6, "no permit", 3700.0, 0.5) == "unloading 0 of 60, 0/h, 1:01:40 at 0.5x, no permit"
    assert progress(0, 60, 0.0, 99, "", -1.0, 1.0).endswith("99")
    assert clock(59.9) == "0:59"


def test_dispatches_are_counted_through_restarts_of_the_broker() -> None:
    count = Dispatches()
    for dispatched, without in ((0, 0), (5, 0), (7, 1), (0, 0), (3, 0), (3, 0), (1, 1)):
        count.take(dispatched, without)
    assert count.total() == (7 + 3 + 1, 1 + 0 + 1)


# --- set-up


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_busy_port_is_one_clear_line(busy_port: int) -> None:
    with pytest.raises(SetupError, match=f"port {busy_port} for the page is in use: choose another one, or HEADLESS=1"):
        choose_port(busy_port)
    with pytest.raises(SetupError, match="page port 70000 is not possible"):
        choose_port(70000)


def test_a_free_port_is_found() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", choose_port(None)))


def test_the_demo_ends_with_one_line_when_it_cannot_start(busy_port: int) -> None:
    command = [sys.executable, "-m", "lumper_bringup.demo", "--page-port", str(busy_port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"lumper: port {busy_port} for the page is in use: choose another one, or HEADLESS=1 for no page"
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cartons", "0"], "--cartons 0: must be between"),
        (["--cartons", "many"], "invalid int value"),
        (["--load", "heap"], "invalid choice: 'heap'"),
        (["--rate", "0"], "--rate 0.0: must be between"),
        (["--rate", "nan"], "--rate nan: must be between"),
        (["--seed", "-1"], "--seed -1: must be between"),
        (["--time-limit-s", "0"], "must be more than 0"),
        (["--speed", "2"], "unrecognized arguments"),
    ],
)
def test_wrong_options_are_named(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_time_limit_is_bounded_by_the_number_of_cartons() -> None:
    assert parse(["--cartons", "100"]).time_limit_s == pytest.approx(4620.0)
    assert parse(["--cartons", "100", "--rate", "0.5"]).time_limit_s == pytest.approx(9120.0)
    assert parse(["--time-limit-s", "7"]).time_limit_s == pytest.approx(7.0)


def udp_table(*ports: int) -> str:
    head = "  sl  local_address rem_address   st\n"
    return head + "".join(f"  {index}: 0100007F:{port:04X} 00000000:0000 07\n" for index, port in enumerate(ports))


def test_a_domain_without_participants_is_chosen() -> None:
    free = 77
    used = [7400 + 250 * domain + 10 for domain in range(40, 100) if domain != free]
    assert choose_domain({}, [udp_table(*used[:20]), udp_table(*used[20:])]) == str(free)
    assert choose_domain({"ROS_DOMAIN_ID": "5"}, [udp_table(*used)]) == "5"
    assert 40 <= int(choose_domain({}, [udp_table(*(7400 + 250 * domain for domain in range(40, 100)))])) < 100


def test_the_environment_keeps_everything_on_this_machine(tmp_path: Path) -> None:
    made = environment_for(tmp_path, {"PATH": "/bin"}, Path("/share"))
    assert made["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert made["FASTDDS_DEFAULT_PROFILES_FILE"] == "/share/config/fastdds.xml"
    assert made["LUMPER_STATE_DIR"] == str(tmp_path / "state")
    assert made["PATH"] == "/bin"


def test_the_launch_arguments_carry_the_options_and_a_fresh_key(tmp_path: Path) -> None:
    options = parse(["--cartons", "30", "--seed", "4", "--load", "leaning", "--rate", "2", "detector:=both"])
    words = launch_command(options, Path("/share"), tmp_path, 8123)
    assert words[2:4] == ["lumper_bringup.launch", "/share/launch/unload.launch.xml"]
    expected = {"sim:=true", "cartons:=30", "seed:=4", "load:=leaning", "rate:=2.0", "page:=true", "page_port:=8123"}
    assert expected | {"authentication:=true", f"key_file:={tmp_path}/key", "detector:=both"} == set(words[4:])
    assert load_key(True, str(tmp_path / "key")) is not None


def test_every_launch_argument_of_the_demo_exists(tmp_path: Path) -> None:
    from lumper_bringup.launch_model import declared
    from lumper_bringup.launch_plan import load

    launch_file = Path(__file__).resolve().parents[3] / "launch" / "unload.launch.xml"
    known = {argument.name for argument in declared(load(launch_file))}
    words = launch_command(parse([]), Path("/share"), tmp_path, 8080)
    assert {word.partition(":=")[0] for word in words[4:]} <= known


def test_a_killed_demo_takes_the_launcher_along(tmp_path: Path, until: Callable[..., None]) -> None:
    """The launcher gets SIGTERM from the kernel, and so ends its processes in order."""
    program = f"""
import os, sys, time
from pathlib import Path
from lumper_bringup.demo_setup import start_launcher
child = start_launcher(["/bin/sh", "-c", "trap 'echo told > {tmp_path}/told; exit' TERM; echo on > {tmp_path}/on; while :; do sleep 0.05; done"], os.environ, Path("{tmp_path}/out"), False)
time.sleep(60)
"""
    demo = subprocess.Popen([sys.executable, "-c", program])
    until((tmp_path / "on").is_file)
    demo.kill()
    demo.wait()
    until((tmp_path / "told").is_file)


def test_the_launchers_output_goes_to_a_file(tmp_path: Path) -> None:
    process: Any = start_launcher(
        ["/bin/sh", "-c", "echo one; echo two >&2"], {"PATH": "/bin:/usr/bin"}, tmp_path / "out", False
    )
    assert process.wait(10) == 0
    assert (tmp_path / "out").read_text() == "one\ntwo\n"
