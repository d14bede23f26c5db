"""The launcher as people run it: output, logs, respawn, the ladder, and nothing left behind. Real processes throughout."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Write = Callable[..., Path]
Until = Callable[..., None]


class Launched:
    """A running `lumper_launch`, its output in files."""

    def __init__(
        self, until: Until, folder: Path, file: Path, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        self.until = until
        self.folder = folder
        self.output = folder / "screen.txt"
        with self.output.open("w") as screen:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lumper_bringup.launch", str(file), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ROS_LOG_DIR": str(folder / "log"), **(environment or {})},
            )

    def text(self) -> str:
        return self.output.read_text()

    def shows(self, text: str, times: int = 1) -> None:
        self.until(lambda: self.text().count(text) >= times, what=f"{text!r} in {self.text()}")

    def ends(self, code: int, number: int | None = None, limit_s: float = 20.0) -> str:
        if number is not None:
            self.process.send_signal(number)
        assert self.process.wait(limit_s) == code, self.text()
        return self.text()

    def logs(self) -> Path:
        (folder,) = (self.folder / "log").iterdir()
        return folder


@pytest.fixture
def launch(until: Until, tmp_path: Path, launch_file: Write) -> Iterator[Callable[..., Launched]]:
    """Starts the launcher on a body; kills it at the end if it still runs."""
    running: list[Launched] = []

    def start(body: str, *arguments: str, environment: dict[str, str] | None = None) -> Launched:
        running.append(Launched(until, tmp_path, launch_file(body), *arguments, environment=environment))
        return running[-1]

    yield start
    for launched in running:
        launched.process.kill()
        launched.process.wait()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a shell script, returns its path."""

    def write(name: str, text: str) -> str:
        file = tmp_path / name
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)
        return str(file)

    return write


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_in(until: Until, file: Path) -> int:
    until(lambda: file.is_file() and file.read_text().endswith("\n"), what=f"a number in {file}")
    return int(file.read_text())


def test_output_is_prefixed_and_logged(launch: Callable[..., Launched], script: Callable[[str, str], str]) -> None:
    talk = script("talk", "echo out; echo err >&2; printf 'no end'")
    launched = launch(f'<executable cmd="{talk}" name="a" output="screen"/><executable cmd="{talk}" name="b"/>')
    text = launched.ends(0)
    for line in ("[a-1] out", "[a-1] err", "[a-1] no end", "[b-2] err", "[INFO] [a-1]: process has finished cleanly"):
        assert line in text
    # output="log" (the default) shows stderr only.
    assert "[b-2] out" not in text
    logs = launched.logs()
    assert sorted((logs / "a-1.log").read_text().splitlines()) == ["err", "no end", "out"]
    assert sorted((logs / "b-2.log").read_text().splitlines()) == ["err", "no end", "out"]
    assert "[b-2] out" in (logs / "launch.log").read_text()
    assert f"All log files can be found below {logs}" in text


def test_colour_only_where_wanted(launch: Callable[..., Launched], script: Callable[[str, str], str]) -> None:
    body = f'<executable cmd="{script("talk", "echo [WARN] careful")}" name="a" output="screen"/>'
    assert "\033[" not in launch(body).ends(0)
    text = launch(body, environment={"RCUTILS_COLORIZED_OUTPUT": "1"}).ends(0)
    assert "\033[36m[a-1]\033[0m \033[33m[WARN] careful\033[0m" in text


def test_a_very_long_line_is_not_kept_in_memory_for_ever(launch: Callable[..., Launched]) -> None:
    body = '<executable cmd="bash -c \'head -c 300000 /dev/zero | tr &quot;\\\\0&quot; x\'" name="a" output="own_log"/>'
    launched = launch(body)
    launched.ends(0)
    assert (launched.logs() / "a-1.log").read_text().count("x") == 300000


def test_a_process_that_dies_makes_the_launch_fail(launch: Callable[..., Launched]) -> None:
    text = launch('<executable cmd="bash -c \'exit 3\'" name="a"/>').ends(1)
    assert "[ERROR] [a-1]: process has died [pid " in text
    assert "exit code 3" in text


def test_what_cannot_be_started_stops_the_launch(launch: Callable[..., Launched]) -> None:
    launched = launch('<executable cmd="sleep 60" name="a"/><executable cmd="/absent/program" name="b"/>')
    text = launched.ends(1)
    assert "[ERROR] [b-2]: cannot be started" in text
    assert "/absent/program" in text


def test_respawn_after_death_and_after_a_clean_end(
    launch: Callable[..., Launched], script: Callable[[str, str], str]
) -> None:
    work = script("work", "echo alive; sleep 0.05; exit $1")
    body = f'<executable cmd="{work} 0" name="a" respawn="true" output="screen"/>'
    body += f'<executable cmd="{work} 1" name="b" respawn="true" output="screen"/>'
    launched = launch(body)
    launched.shows("[a-1] alive", 3)
    launched.shows("[b-2] alive", 3)
    launched.ends(0, signal.SIGINT)


def test_a_killed_process_comes_back_after_its_delay(launch: Callable[..., Launched]) -> None:
    launched = launch('<executable cmd="sleep 60" name="a" respawn="true" respawn_delay="0.5"/>')
    launched.shows("process started with pid")
    first = int(launched.text().rpartition("pid [")[2].partition("]")[0])
    os.kill(first, signal.SIGKILL)
    begun_s = time.monotonic()
    launched.shows("process started with pid", 2)
    assert time.monotonic() - begun_s >= 0.4
    launched.ends(0, signal.SIGINT)


def test_respawn_ends_after_the_allowed_retries(launch: Callable[..., Launched]) -> None:
    body = '<executable cmd="bash -c \'exit 1\'" name="a" respawn="true" respawn_max_retries="2"/>'
    assert launch(body).ends(1).count("process started with pid") == 3


def test_no_respawn_while_shutting_down(launch: Callable[..., Launched]) -> None:
    launched = launch('<executable cmd="bash -c \'exit 1\'" name="a" respawn="true" respawn_delay="30"/>')
    launched.shows("process has died")
    begun_s = time.monotonic()
    assert launched.ends(0, signal.SIGINT).count("process started with pid") == 1
    assert time.monotonic() - begun_s < 5.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_stops_everything_in_order(
    launch: Callable[..., Launched], script: Callable[[str, str], str], number: int
) -> None:
    work = script(
        "work",
        "trap 'echo got INT; exit 0' INT; trap 'echo got TERM; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
    )
    launched = launch(f'<executable cmd="{work}" output="screen"/>')
    launched.shows("ready")
    text = launched.ends(0, number)
    assert "got INT" in text
    assert "got TERM" not in text


def test_the_ladder_goes_from_sigint_over_sigterm_to_sigkill(
    launch: Callable[..., Launched], script: Callable[[str, str], str]
) -> None:
    deaf = script("deaf", "trap '' INT; trap 'echo got TERM; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    stubborn = script("stubborn", "trap '' INT TERM; echo ready; while :; do sleep 0.05; done")
    limits = 'output="screen" sigterm_timeout="0.3" sigkill_timeout="0.4"'
    launched = launch(f'<executable cmd="{deaf}" name="a" {limits}/><executable cmd="{stubborn}" name="b" {limits}/>')
    launched.shows("ready", 2)
    begun_s = time.monotonic()
    text = launched.ends(1, signal.SIGINT)
    assert 0.6 < time.monotonic() - begun_s < 5.0
    assert "[a-1] got TERM" in text
    assert "[ERROR] [a-1]: failed to terminate 0.3 s after SIGINT, escalating to 'SIGTERM'" in text
    assert "[ERROR] [b-2]: failed to terminate 0.4 s after SIGTERM, escalating to 'SIGKILL'" in text
    assert "[b-2]: process has died" in text


def test_asking_again_goes_faster(launch: Callable[..., Launched], script: Callable[[str, str], str]) -> None:
    stubborn = script("stubborn", "trap '' INT TERM; echo ready; while :; do sleep 0.05; done")
    launched = launch(f'<executable cmd="{stubborn}" output="screen" sigterm_timeout="60"/>')
    launched.shows("ready")
    for count, word in enumerate(("stopping all processes", "sending SIGTERM", "sending SIGKILL")):
        if count:
            time.sleep(0.35)  # shorter repeats count as the same wish
        launched.process.send_signal(signal.SIGINT)
        launched.shows(word)
    launched.ends(1)


def test_children_of_a_process_go_with_it(
    until: Until, launch: Callable[..., Launched], script: Callable[[str, str], str], tmp_path: Path
) -> None:
    parent = script(
        "parent", f"sleep 300 & echo $! > {tmp_path}/child; trap 'exit 0' INT; echo ready; while :; do sleep 0.05; done"
    )
    launched = launch(f'<executable cmd="{parent}" output="screen"/>')
    launched.shows("ready")
    child = pid_in(until, tmp_path / "child")
    assert alive(child)
    launched.ends(0, signal.SIGINT)
    assert not alive(child)


def test_children_of_a_process_that_died_are_ended_before_it_comes_back(
    until: Until, launch: Callable[..., Launched], script: Callable[[str, str], str], tmp_path: Path
) -> None:
    parent = script("parent", f"sleep 300 & echo $! > {tmp_path}/child; exit 1")
    launched = launch(f'<executable cmd="{parent}" respawn="true" respawn_delay="60"/>')
    launched.shows("process has died")
    child = pid_in(until, tmp_path / "child")
    until(lambda: not alive(child), what="the child of the dead process to end")
    launched.ends(0, signal.SIGINT)


def test_daemons_that_left_group_and_session_are_ended_too(
    until: Until, launch: Callable[..., Launched], script: Callable[[str, str], str], tmp_path: Path
) -> None:
    stubborn = script("stubborn", f"trap '' INT TERM HUP; echo $$ > {tmp_path}/daemon; while :; do sleep 0.05; done")
    parent = script("parent", f"setsid {stubborn} < /dev/null > /dev/null 2>&1 & disown; sleep 60")
    launched = launch(f'<executable cmd="{parent}"/>')
    daemon = pid_in(until, tmp_path / "daemon")
    assert os.getpgid(daemon) == daemon
    text = launched.ends(0, signal.SIGINT)
    assert f"process {daemon} was left behind, sending 'SIGKILL'" in text
    assert not alive(daemon)


def test_a_killed_launcher_takes_its_processes_along(
    until: Until, launch: Callable[..., Launched], script: Callable[[str, str], str], tmp_path: Path
) -> None:
    stubborn = script("stubborn", f"trap '' INT TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.05; done")
    launched = launch(f'<executable cmd="{stubborn}"/>')
    pid = pid_in(until, tmp_path / "pid")
    launched.process.kill()
    until(lambda: not alive(pid), what="the process to follow its launcher")


def test_processes_take_sigint_though_the_launcher_was_started_ignoring_it(
    until: Until, tmp_path: Path, launch_file: Write, script: Callable[[str, str], str]
) -> None:
    """As when a shell script starts it with `&`."""
    work = script("work", "trap 'echo got INT; exit 0' INT; echo ready; while :; do sleep 0.05; done")
    file = launch_file(f'<executable cmd="{work}" output="screen"/>')
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        launched = Launched(until, tmp_path, file)
    finally:
        signal.signal(signal.SIGINT, before)
    launched.shows("ready")
    assert "got INT" in launched.ends(0, signal.SIGINT)


def test_on_exit_shutdown_ends_the_others(launch: Callable[..., Launched]) -> None:
    body = '<executable cmd="bash -c \'exit {}\'" name="a" on_exit="shutdown" respawn="true"/><executable cmd="sleep 60" name="b"/>'
    assert launch(body.format(0)).ends(0).count("[a-1]: process started") == 1
    assert launch(body.format(2)).ends(1).count("[a-1]: process started") == 1


def test_a_closed_screen_does_not_disturb_the_processes(
    tmp_path: Path, launch_file: Write, script: Callable[[str, str], str]
) -> None:
    work = script("work", f"for i in 1 2 3 4 5; do echo line $i; sleep 0.05; done; echo done > {tmp_path}/done")
    file = launch_file(f'<executable cmd="{work}" output="screen"/>')
    read, write = os.pipe()
    os.close(read)
    code = subprocess.run(
        [sys.executable, "-m", "lumper_bringup.launch", str(file)],
        stdout=write,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "ROS_LOG_DIR": str(tmp_path / "log")},
        timeout=20,
    ).returncode
    os.close(write)
    assert code == 0
    assert (tmp_path / "done").is_file()


def test_parameter_files_are_there_when_the_node_starts(launch: Callable[..., Launched], packages: Path) -> None:
    show = packages / "lib" / "demo_pkg" / "show"
    show.write_text('#!/bin/bash\nfor w in "$@"; do case $w in *.yaml) cat $w;; esac; done\n')
    body = '<node pkg="demo_pkg" exec="show" name="n" namespace="x" output="screen"><param name="speed_mps" value="1.5"/></node>'
    text = launch(body).ends(0)
    assert "[show-1] /x/n:" in text
    assert "[show-1]     speed_mps: 1.5" in text


# --- the command line


def run(*words: str, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lumper_bringup.launch", *words],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, **(environment or {})},
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("/absent.launch.xml",), "/absent.launch.xml: no such file"),
        (("nowhere", "x.launch.xml"), "nowhere: neither a file nor an installed package"),
        (("demo_pkg", "absent.launch.xml"), "package demo_pkg at .* has no file 'absent.launch.xml'"),
        (("demo_pkg", "two.launch.xml"), "has several files"),
        (("demo_pkg", "one.launch.xml", "speed=3"), "malformed launch argument 'speed=3', expected name:=value"),
        (("demo_pkg", "one.launch.xml", "speed:="), "malformed launch argument 'speed:='"),
        (("demo_pkg", "one.launch.xml", "sped:=3"), "unknown launch argument sped; known are speed"),
        (("demo_pkg", "one.launch.xml"), "one.launch.xml:1: <arg>: launch argument 'speed' is required"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(packages: Path, words: tuple[str, ...], message: str) -> None:
    share = packages / "share" / "demo_pkg"
    (share / "launch" / "one.launch.xml").write_text('<launch><arg name="speed"/></launch>')
    for folder in ("launch", "other"):
        (share / folder).mkdir(exist_ok=True)
        (share / folder / "two.launch.xml").write_text("<launch/>")
    done = run(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("lumper_launch: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert re.search(message, done.stderr), done.stderr


def test_arguments_are_shown_with_defaults_and_choices(launch_file: Write) -> None:
    file = launch_file(
        '<arg name="load" default="mixed" description="how it is loaded"><choice value="mixed"/><choice value="leaning"/></arg>'
        '<arg name="robot"/>'
    )
    text = run("-s", str(file)).stdout
    assert "'load':\n        how it is loaded\n        one of: mixed, leaning\n        (default: 'mixed')" in text
    assert "'robot':\n        no description given\n        (required)" in text


def test_a_log_folder_that_cannot_be_made_is_named(launch_file: Write) -> None:
    done = run(str(launch_file('<executable cmd="true"/>')), environment={"ROS_LOG_DIR": "/proc/nowhere"})
    assert done.returncode == 2
    assert "the log folder /proc/nowhere/" in done.stderr
    assert "set ROS_LOG_DIR" in done.stderr
