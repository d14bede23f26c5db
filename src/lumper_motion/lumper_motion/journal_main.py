"""`ros2 run lumper_motion journal`: print what the broker began and what came of it, oldest first."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lumper_msgs.msg import OutcomeCode

from lumper_motion.active import STAGE_NAMES
from lumper_motion.intake import KINDS
from lumper_ros.store import read_records

CODE_NAMES = {
    value: name
    for name, value in vars(type(OutcomeCode)).items()
    if not name.startswith("_") and isinstance(value, int)
} or {getattr(OutcomeCode, name): name for name in dir(OutcomeCode) if name.isupper() and name != "SLOT_TYPES"}


def default_file(namespace: str) -> Path:
    """Where the host keeps the broker's store."""
    home = os.environ.get("LUMPER_STATE_DIR") or str(
        Path(os.environ.get("ROS_HOME") or Path.home() / ".ros") / "lumper"
    )
    return Path(home) / namespace.strip("/").replace("/", "__") / "motion_broker.sqlite"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 2 when there is no journal."""
    parser = argparse.ArgumentParser(prog="journal", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="the broker's store; default: where the node keeps it")
    parser.add_argument("--namespace", default="", help="the robot's namespace")
    parser.add_argument("-n", "--newest", type=int, default=0, help="print only the newest N requests")
    given = parser.parse_args(argv)
    path = given.file or default_file(given.namespace)
    try:
        records = read_records(path).get("request", {})
    except FileNotFoundError as error:
        print(f"{error}: give the file, or set LUMPER_STATE_DIR as the broker has it", file=sys.stderr)
        return 2
    rows = sorted(records.items(), key=lambda item: int(item[1]["number"]))
    print(f"{'no':>6} {'begun_s':>14} {'kind':8} {'cartons':12} {'stage':9} {'outcome':24} request id, text")
    for key, record in rows[-given.newest :] if given.newest > 0 else rows:
        code = record["outcome"]
        outcome = "in flight" if code is None else f"{code} {CODE_NAMES.get(code, '?')}"
        cartons = ",".join(str(carton_id) for carton_id in record["carton_ids"]) or "-"
        stage = STAGE_NAMES.get(record["stage"], "-")
        kind = KINDS.get(record["kind"], str(record["kind"]))
        line = f"{record['number']:>6} {record['begun_s']:14.3f} {kind:8} {cartons:12} {stage:9} {outcome:24} {key}"
        print(f"{line} {record['text']}".rstrip())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
