"""kill -9 of the motion broker at random moments of running jobs: physics, DDS, respawn. Writes build/bench/kills.json.

`python test/benchmarks/bench_kills.py [--kills 200] [--seed 1]`: as many jobs of 60 mixed cartons as the kills need. What was done
twice, and what has no outcome, is read from the broker's own journal.
"""

import argparse
import itertools
import os
import random
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import results
from bench_live import CARTONS, Faults, Listener, job
from launched import state_folder
from lumper_msgs.action import ExecuteMotion
from lumper_msgs.msg import OutcomeCode

from lumper_motion.journal_main import default_file
from lumper_ros.store import read_records

BROKER = "motion_broker"
ONCE = (ExecuteMotion.Goal.PICK, ExecuteMotion.Goal.PLACE)


class Journal:
    """The newest state of a job's journal, kept after the job is over."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.answers = 0
        self._read_s = 0.0
        self._found = False

    def look(self, pid: int, listener: Listener) -> None:
        if not self._found:
            with suppress(psutil.Error, KeyError):
                os.environ["LUMPER_STATE_DIR"] = str(state_folder(pid))
                self._found = True
            return
        # After four motions in a row that came to nothing the robot asks a person; here each of them was killed.
        self.answers = listener.attend(pid).answers
        if time.monotonic() - self._read_s >= 0.5:
            self._read_s = time.monotonic()
            with suppress(OSError):
                self.records.update(read_records(default_file("")).get("request", {}))

    def doubled(self) -> int:
        """Cartons that were picked, or laid down, more than once, each time with success."""
        done = Counter(
            (record["kind"], carton)
            for record in self.records.values()
            if record["kind"] in ONCE and record["outcome"] == OutcomeCode.NONE
            for carton in record["carton_ids"]
        )
        return sum(count - 1 for count in done.values())

    def lost(self) -> int:
        """Requests that were begun and have no outcome."""
        return sum(record["outcome"] is None for record in self.records.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("LUMPER_BENCH_KILLS", "200")))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    faults = Faults(draw, ((number, BROKER) for number in itertools.count(1)), options.kills, None, (0.5, 4.0))
    reports, doubled, lost, requests, interrupted, answers = [], 0, 0, 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="lumper_bench_") as folder:
        while faults.count < options.kills:
            journal = Journal()
            report, twice = job(options.seed + len(reports), Path(folder), faults, journal.look)
            doubled += twice + journal.doubled()
            lost += journal.lost()
            answers += journal.answers
            requests += len(journal.records)
            interrupted += sum(
                record["outcome"] == OutcomeCode.UNKNOWN_AFTER_RESTART for record in journal.records.values()
            )
            reports.append(report)
            print(f"  job: {report['faults'] or 'success'}, {report['physics']}", flush=True)
    times = [*faults.recoveries[BROKER], *faults.with_person[BROKER]]
    finished = sum(report["success"] for report in reports)
    note = (
        f"{faults.count} kills of the running node with SIGKILL in {len(reports)} jobs of {CARTONS} cartons, {finished} of them finished; "
        f"{requests} requests, {interrupted} of them interrupted; {answers} times a person was asked, because four motions in a row "
        f"came to nothing, and said 'look again'; to motion again {np.median(times):.1f} s (median), "
        f"{np.percentile(times, 95):.1f} s (p95), a person's reset included where the arm had moved; seed {options.seed}"
    )
    results.write(
        "kills",
        {
            "motion.kills_stages_doubled": {"value": doubled, "unit": "1", "note": note},
            "motion.kills_requests_lost": {
                "value": lost,
                "unit": "1",
                "note": "begun, without an outcome in the journal",
            },
            "motion.kills_jobs_unfinished": {"value": len(reports) - finished, "unit": "1", "note": "see above"},
        },
    )


if __name__ == "__main__":
    main()
