"""lumper_replay: record, play, check, view, cut, behaviour and info on rosbag2 recordings of jobs."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lumper_replay.reader import Bag
from lumper_replay.writer import BagError
from lumper_ros.parameters import ParameterError


def _record(options: argparse.Namespace) -> int:
    from lumper_replay.recorder import main as run

    parameters = {"use_sim_time": options.sim_time, "other_topics": options.all}
    parameters |= {
        name: value for name, value in (("folder", options.output), ("compression", options.compression)) if value
    }
    # As JSON, which is YAML: a folder called 2026 stays a text.
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}:={json.dumps(value)}")]
    namespace = ["-r", f"__ns:={options.namespace}"] if options.namespace else []
    return run([sys.argv[0], "--ros-args", *given, *namespace])


def _play(options: argparse.Namespace) -> int:
    from lumper_replay.player import PlayOptions, play
    from lumper_replay.reader import open_bag

    bag = open_bag(options.bag)
    remap = _pairs("--remap", options.remap)
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
    from lumper_replay.check import check, has_journal
    from lumper_replay.cores import parse_change
    from lumper_replay.reader import open_bag

    changes = {}
    for text in options.set:
        node, name, value = parse_change(text)
        changes[node, name] = value
    bag = open_bag(options.bag)
    if not has_journal(bag):
        return _drive(bag, options, changes)
    result = check(options.bag, changes, options.key, options.processes)
    print(report.text(result, options.all))
    if options.html:
        from lumper_replay.html_report import page

        options.html.write_text(page(result), "utf-8")
        print(f"report: {options.html}")
    return report.exit_code(result)


def _drive(bag: Bag, options: argparse.Namespace, changes: dict[tuple[str, str], object]) -> int:
    """A recording without a journal."""
    from lumper_replay import drive
    from lumper_replay.check import unknown_types

    print(f"{options.bag}: no journal in it: what its topics tell is decided again, compared by time")
    remap = _pairs("--map", options.map)
    for topic in remap:
        if topic not in bag.topics:
            raise BagError(f"--map {topic}: {options.bag.name} has {', '.join(sorted(bag.topics))}")
    for topic, (kind, _) in unknown_types(bag).items():
        print(f"! {topic}: {kind} is not installed; skipped")
    for node in drive.NODES:
        chosen = {name: value for (owner, name), value in changes.items() if owner == node}
        print(drive.text(drive.drive(bag, node, options.config or _installed_config(), chosen, remap)))
    for fault in bag.faults_now():
        print(f"! {fault}")
    return 0


def _installed_config() -> Path:
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        return Path(get_package_share_directory("lumper_bringup")) / "config"
    except PackageNotFoundError as error:
        raise BagError(
            "lumper_bringup is not installed: give the robot's configuration with --config FOLDER"
        ) from error


def _pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    """OLD:=NEW as a mapping."""
    found = {}
    for pair in words:
        old, arrow, new = pair.partition(":=")
        if not arrow or not old or not new:
            raise BagError(f"{option} {pair}: must be old:=new")
        found[old] = new
    return found


def _view(options: argparse.Namespace) -> int:
    from lumper_replay.view import run

    return run(options.bag, options.stills, options.save, options.serve)


def _cut(options: argparse.Namespace) -> int:
    from lumper_replay.cores import NODES, SHORT
    from lumper_replay.cut import cut

    nodes = [SHORT.get(name, name) for name in options.nodes] or list(NODES)
    count = cut(options.bag, options.output, options.until, nodes)
    print(f"{count.total()} messages in {options.output}")
    return 0


def _behaviour(options: argparse.Namespace) -> int:
    from lumper_replay.behaviour import behaviour

    made = behaviour(options.bag)
    print(f"{made.span_s:.1f} s: {made.delivered} cartons delivered, {made.dropped} dropped, {made.plans} plans")
    print(
        f"{made.dispatched} trajectories, {made.dispatched_without_permit} of them without permit; {len(made.stops)} stops"
    )
    for stop in made.stops:
        spent = "-" if stop.to_standstill_s is None else f"{stop.to_standstill_s:.3f} s to standstill"
        print(
            f"  {stop.at_s:8.3f} s  {'moving' if stop.moving else 'standing'}, {spent}: {'; '.join(stop.causes)[:200]}"
        )
    return 0


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
    check.add_argument(
        "--config", type=Path, metavar="FOLDER", help="for recordings without a journal: parameters and robot"
    )
    check.add_argument(
        "--map", nargs="+", default=[], metavar="TOPIC:=NAME", help="for foreign recordings: /scan:=scan/front"
    )
    check.add_argument("--processes", type=int, default=0, help="at once; 0 = as many as there are cores")

    view = command("view", _view, "see a recording in rerun, or as still pictures")
    view.add_argument("bag", type=Path)
    view.add_argument("--stills", type=Path, metavar="FOLDER", help="one PNG for each plan, no rerun needed")
    view.add_argument(
        "--save", type=Path, metavar="FILE.rrd", help="write a rerun recording instead of opening the viewer"
    )
    view.add_argument("--serve", action="store_true", help="serve the viewer as a web page on 127.0.0.1")

    cut = command("cut", _cut, "make a small recording of a large one: some nodes' journals up to a time")
    cut.add_argument("bag", type=Path)
    cut.add_argument("output", type=Path)
    cut.add_argument("--until", type=float, metavar="S", help="seconds from the start")
    cut.add_argument("--nodes", nargs="+", default=[], help="safety, perception, motion, planner; default: all")

    behaviour = command(
        "behaviour", _behaviour, "cartons, stops, time to standstill, permits: what regression tests assert"
    )
    behaviour.add_argument("bag", type=Path)

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
