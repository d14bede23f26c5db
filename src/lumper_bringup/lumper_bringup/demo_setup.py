"""Before a demonstration starts: options, a port, a domain, a key, and the launcher's process."""

import argparse
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lumper_bringup.launch_model import PackageError, Packages
from lumper_ros.auth import create_key

LOADS = ("mixed", "uniform", "interlocked", "leaning", "jammed")
_DEFAULT_PORT = 8080
_PORTS_TRIED = 20
# Domains whose ports lie below Linux' ephemeral range, away from the low numbers that people choose by hand.
_DOMAINS = range(40, 100)


class SetupError(Exception):
    """The demonstration cannot start; the text is the one line that people see."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. `page_port` None = any free one; `rate` = simulated seconds per real second."""

    cartons: int
    seed: int
    load: str
    headless: bool
    rate: float
    page_port: int | None
    time_limit_s: float
    report: Path | None
    verbose: bool
    extra: tuple[str, ...]


def parse(arguments: Sequence[str] | None) -> Options:
    """Options of the command line; ends the process with a message on a wrong one."""
    parser = argparse.ArgumentParser(prog="demo", description="Unload a simulated trailer and report how it went.")
    parser.add_argument("--cartons", type=int, default=60, help="20 to 400 (fewer for tests)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", default="mixed", choices=LOADS)
    parser.add_argument("--headless", action="store_true", help="no page")
    parser.add_argument("--rate", type=float, default=1.0, help="simulated seconds per real second")
    parser.add_argument("--page-port", type=int, help="TCP port of the page; default: the first free one from 8080 on")
    parser.add_argument("--time-limit-s", type=float, help="real time after which the job is cancelled")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON too")
    parser.add_argument("--verbose", action="store_true", help="show what the nodes write")
    parser.add_argument("extra", nargs="*", metavar="name:=value", help="more arguments for unload.launch.xml")
    given = parser.parse_args(arguments)
    if not 1 <= given.cartons <= 400:
        parser.error(f"--cartons {given.cartons}: must be between 1 and 400")
    if not 0.1 <= given.rate <= 20.0:
        parser.error(f"--rate {given.rate}: must be between 0.1 and 20")
    if not 0 <= given.seed < 2**31:
        parser.error(f"--seed {given.seed}: must be between 0 and {2**31 - 1}")
    limit_s = given.time_limit_s
    if limit_s is None:
        limit_s = 120.0 + 45.0 * given.cartons / min(given.rate, 1.0)
    elif not limit_s > 0.0:
        parser.error(f"--time-limit-s {limit_s}: must be more than 0")
    return Options(
        given.cartons,
        given.seed,
        given.load,
        given.headless,
        given.rate,
        given.page_port,
        limit_s,
        given.report,
        given.verbose,
        tuple(given.extra),
    )


def _port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(wanted: int | None) -> int:
    """A free TCP port for the page: `wanted`, or the first free one from 8080 on.

    Raises:
        SetupError: `wanted` is not possible or in use, or none is free.
    """
    if wanted is not None:
        if not 1 <= wanted <= 65535:
            raise SetupError(f"page port {wanted} is not possible: choose one between 1 and 65535")
        if not _port_is_free(wanted):
            raise SetupError(f"port {wanted} for the page is in use: choose another one, or HEADLESS=1 for no page")
        return wanted
    for port in range(_DEFAULT_PORT, _DEFAULT_PORT + _PORTS_TRIED):
        if _port_is_free(port):
            return port
    last = _DEFAULT_PORT + _PORTS_TRIED - 1
    raise SetupError(
        f"ports {_DEFAULT_PORT} to {last} for the page are all in use: choose another one, or HEADLESS=1 for no page"
    )


def choose_domain(environment: Mapping[str, str], udp_tables: Sequence[str]) -> str:
    """ROS_DOMAIN_ID: the one that is set, else one in which no participant of this machine is.

    Args:
        udp_tables: texts of /proc/net/udp and udp6.
    """
    if environment.get("ROS_DOMAIN_ID"):
        return environment["ROS_DOMAIN_ID"]
    used = {int(line.split()[1].rpartition(":")[2], 16) for text in udp_tables for line in text.splitlines()[1:]}
    start = os.getpid() % len(_DOMAINS)
    for step in range(len(_DOMAINS)):
        domain = _DOMAINS[(start + step) % len(_DOMAINS)]
        # RTPS 2.5, 9.6.2.3: the ports of a domain are 7400 + 250 * domain and up.
        if not used & set(range(7400 + 250 * domain, 7400 + 250 * (domain + 1))):
            return str(domain)
    return str(_DOMAINS[start])


def environment_for(scratch: Path, environment: Mapping[str, str], share: Path) -> dict[str, str]:
    """Environment of the demonstration: this machine only, own domain, large messages, own state."""
    tables = [file.read_text() for file in (Path("/proc/net/udp"), Path("/proc/net/udp6")) if file.is_file()]
    return {
        **environment,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": choose_domain(environment, tables),
        "FASTDDS_DEFAULT_PROFILES_FILE": environment.get("FASTDDS_DEFAULT_PROFILES_FILE")
        or str(share / "config" / "fastdds.xml"),
        "LUMPER_STATE_DIR": str(scratch / "state"),
    }


def share_folder() -> Path:
    """share/lumper_bringup of the workspace.

    Raises:
        SetupError: it is not built or not sourced.
    """
    try:
        return Packages().share("lumper_bringup")
    except PackageError as error:
        raise SetupError(f"{error} (make build; . install/local_setup.bash)") from error


def launch_command(options: Options, share: Path, scratch: Path, port: int | None) -> list[str]:
    """Command of the launcher for this run; makes the run's key."""
    key = scratch / "key"
    create_key(key)
    words = {
        "sim": "true",
        "cartons": str(options.cartons),
        "seed": str(options.seed),
        "load": options.load,
        "rate": str(options.rate),
        "page": "false" if port is None else "true",
        "authentication": "true",
        "key_file": str(key),
        **({} if port is None else {"page_port": str(port)}),
    }
    file = share / "launch" / "unload.launch.xml"
    return [
        sys.executable,
        "-m",
        "lumper_bringup.launch",
        str(file),
        *(f"{name}:={value}" for name, value in words.items()),
        *options.extra,
    ]


def start_launcher(
    command: Sequence[str], environment: Mapping[str, str], output: Path, verbose: bool
) -> "subprocess.Popen[bytes]":
    """Start the launcher in its own process group. Should this process be killed, it still ends everything in order."""
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def in_child() -> None:
        libc.prctl(1, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    with output.open("wb") as file:
        return subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=None if verbose else file,
            stderr=None if verbose else subprocess.STDOUT,
            process_group=0,
            preexec_fn=in_child,  # noqa: PLW1509 (there are no other threads yet)
        )
