"""`lumper_launch`: runs ROS 2 launch XML where `ros2 launch` is not installed.

lumper_launch FILE [name:=value ...]
lumper_launch PACKAGE FILE [name:=value ...]
lumper_launch [-s] ...            show the arguments of the launch file
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lumper_bringup.launch_model import PackageError, Packages, declared
from lumper_bringup.launch_output import Log, log_folder, wants_colour
from lumper_bringup.launch_plan import Plan, load
from lumper_bringup.launch_source import LaunchError
from lumper_bringup.supervisor import Supervisor


def find_file(words: Sequence[str], packages: Packages) -> tuple[Path, list[str]]:
    """The launch file that the command line names, and the words after it.

    Raises:
        LaunchError: no such file or package, or the name stands for several files.
    """
    if Path(words[0]).is_file():
        return Path(words[0]), list(words[1:])
    if len(words) < 2 or ":=" in words[1]:
        raise LaunchError(f"{words[0]}: no such file (for a file of a package: PACKAGE FILE)")
    try:
        share = packages.share(words[0])
    except PackageError as error:
        raise LaunchError(f"{words[0]}: neither a file nor an installed package; is the workspace sourced?") from error
    found = sorted(path for path in share.rglob(words[1]) if path.is_file())
    if len(found) != 1:
        what = "has no file" if not found else f"has several files ({', '.join(map(str, found))}) named"
        raise LaunchError(f"package {words[0]} at {share} {what} {words[1]!r}")
    return found[0], list(words[2:])


def parse_arguments(words: Sequence[str]) -> dict[str, str]:
    """name:=value words as a mapping; of duplicates the last counts.

    Raises:
        LaunchError: a word is not of that form.
    """
    given: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition(":=")
        if not (name and separator and value):
            raise LaunchError(f"malformed launch argument {word!r}, expected name:=value")
        given[name] = value
    return given


def show_arguments(file: Path) -> str:
    """The arguments that `file` declares, in words."""
    lines = ["Arguments (pass arguments as '<name>:=<value>'):"]
    for argument in declared(load(file)):
        lines += ["", f"    '{argument.name}':", f"        {argument.description or 'no description given'}"]
        if argument.choices:
            lines.append(f"        one of: {', '.join(argument.choices)}")
        lines.append("        (required)" if argument.default is None else f"        (default: {argument.default!r})")
    return "\n".join(lines if len(lines) > 1 else [*lines, "", "  No arguments."])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 ended as asked, 1 a process failed, 2 not started."""
    parser = argparse.ArgumentParser(
        prog="lumper_launch", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "-s", "--show-args", "--show-arguments", action="store_true", help="show the arguments of the file"
    )
    parser.add_argument("words", nargs="+", metavar="FILE | PACKAGE FILE, name:=value")
    options = parser.parse_args(arguments)
    packages = Packages()
    try:
        file, rest = find_file(options.words, packages)
        if options.show_args:
            print(show_arguments(file))
            return 0
        folder = log_folder(os.environ)
        processes = Plan(os.environ, folder, packages).build(file, parse_arguments(rest))
        try:
            log = Log(folder, sys.stdout, wants_colour(sys.stdout, os.environ))
        except OSError as error:
            raise LaunchError(f"the log folder {folder} cannot be made: {error.strerror}; set ROS_LOG_DIR") from error
    except LaunchError as error:
        print(f"lumper_launch: {error}", file=sys.stderr)
        return 2
    log.launcher("INFO", "launch", f"All log files can be found below {folder}")
    try:
        return Supervisor(processes, log).run()
    finally:
        log.close()


if __name__ == "__main__":
    sys.exit(main())
