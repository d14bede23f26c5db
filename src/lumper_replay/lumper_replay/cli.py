"""lumper_replay: record, play, check, view and info on rosbag2 recordings of jobs."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lumper_replay.writer import BagError
from lumper_ros.parameters import ParameterError


def _record(options: argparse.Namespace) -> int:
    from lumper_replay.recorder import main as run

    words = [
        f"-p {name}:={value}"
        for name, value in (("folder", options.output), ("compression", options.compression))
        if value
    ]
    words.append(f"-p use_sim_time:={str(options.sim_time).lower()}")
    words.append(f"-p other_topics:={str(options.all).lower()}")
    given = [word for pair in words for word in pair.split(" ", 1)]
    return run(
        [sys.argv[0], "--ros-args", *given, *(["-r", f"__ns:={options.namespace}"] if options.namespace else [])]
    )


def _play(options: argparse.Namespace) -> int:
    from lumper_replay.player import PlayOptions, play
    from lumper_replay.reader import open_bag

    bag = open_bag(options.bag)
    remap = {}
    for pair in options.remap:
        old, arrow, new = pair.partition(":=")
        if not arrow or not old or not new:
            raise BagError(f"--remap {pair}: must be old:=new")
        remap[old] = new
    chosen = frozenset(options.topics)
    unknown = sorted((chosen | frozenset(options.without) | frozenset(remap)) - set(bag.topics))
    if unknown:
        raise BagError(f"{options.bag.name} has no topic {', '.join(unknown)}; it has {', '.join(sorted(bag.topics))}")
    if not 0.0 < options.rate < 1e4:
        raise BagError(f"--rate {options.rate:g}: must be above 0 and below 10000")
    player = play(
        bag,
        PlayOptions(
            options.rate,
            options.start_offset,
            options.loop,
            options.clock,
            chosen,
            frozenset(options.without),
            remap,
            options.start_paused,
        ),
        delay_s=options.delay,
    )
    for name, kind in player.skipped.items():
        print(f"! {name}: {kind} is not installed; skipped")
    for fault in bag.faults_now():
        print(f"! {fault}")
    print(f"played {player.played.total()} messages")
    return 0


def _check(options: argparse.Namespace) -> int:
    from lumper_replay import report
    from lumper_replay.check import check
    from lumper_replay.cores import parse_change

    changes = {}
    for text in options.set:
        node, name, value = parse_change(text)
        changes[node, name] = value
    result = check(options.bag, changes, options.key, options.processes)
    print(report.text(result, options.all))
    if options.html:
        from lumper_replay.html_report import page

        options.html.write_text(page(result), "utf-8")
        print(f"report: {options.html}")
    return report.exit_code(result)


def _view(options: argparse.Namespace) -> int:
    from lumper_replay.view import run

    return run(options.bag, options.stills, options.save, options.serve)


def _info(options: argparse.Namespace) -> int:
    from lumper_replay.info import text

    print(text(options.bag, options.count))
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lumper_replay", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(run=run)
        return made

    record = command("record", _record, "record every topic of the interface table until Ctrl-C")
    record.add_argument("-o", "--output", default="", help="bag folder; default: $ROS_HOME/lumper/bags/<date and time>")
    record.add_argument("--compression", default="", choices=("none", "lz4"))
    record.add_argument("--sim-time", action="store_true", help="stamps from /clock")
    record.add_argument("--all", action="store_true", help="also topics that are not in the interface table")
    record.add_argument("--namespace", default="", help="the robot's namespace")

    play = command("play", _play, "play a recording onto the live graph; services ~/pause, ~/resume, ~/step")
    play.add_argument("bag", type=Path)
    play.add_argument("-r", "--rate", type=float, default=1.0, help="recorded seconds per second")
    play.add_argument("--start-offset", type=float, default=0.0, metavar="S", help="seconds into the recording")
    play.add_argument("-l", "--loop", action="store_true")
    play.add_argument(
        "--clock", type=float, default=0.0, metavar="HZ", help="publish bag time on /clock instead of the recorded one"
    )
    play.add_argument("--topics", nargs="+", default=[], help="only these")
    play.add_argument("--without", nargs="+", default=[], help="not these")
    play.add_argument("--remap", nargs="+", default=[], metavar="OLD:=NEW")
    play.add_argument("--start-paused", action="store_true")
    play.add_argument("--delay", type=float, default=1.0, metavar="S", help="time for subscribers to be found")

    check = command(
        "check", _check, "decide again with today's code and compare; exit code 0 same, 1 different, 3 incomplete"
    )
    check.add_argument("bag", type=Path)
    check.add_argument(
        "--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE", help="what if: planner.picks_per_plan=1"
    )
    check.add_argument("--html", type=Path, help="also write a self-contained report")
    check.add_argument("--all", action="store_true", help="show every difference")
    check.add_argument("--key", default="", metavar="FILE", help="the robot's key, for recordings with authentication")
    check.add_argument("--processes", type=int, default=0, help="at once; 0 = as many as there are cores")

    view = command("view", _view, "see a recording in rerun, or as still pictures")
    view.add_argument("bag", type=Path)
    view.add_argument("--stills", type=Path, metavar="FOLDER", help="one PNG for each plan, no rerun needed")
    view.add_argument(
        "--save", type=Path, metavar="FILE.rrd", help="write a rerun recording instead of opening the viewer"
    )
    view.add_argument("--serve", action="store_true", help="serve the viewer as a web page on 127.0.0.1")

    info = command("info", _info, "what a recording holds, and what is wrong with it")
    info.add_argument("bag", type=Path)
    info.add_argument("--count", action="store_true", help="count messages instead of believing metadata.yaml")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 2 = the arguments or the recording cannot be used, and the text says why."""
    options = _arguments().parse_args(argv)
    try:
        code: int = options.run(options)
        return code
    except (BagError, ParameterError, OSError) as error:
        print(f"lumper_replay: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
