"""The other loads of the demonstration, 20 cartons each, the whole robot against the physics in virtual time.

Writes build/bench/loads.json. A load that the robot gives up on ends with a question to a person: that is counted, not hidden.
"""

from typing import Any

import results
import virtual_job

LOADS = ("uniform", "interlocked", "leaning")
CARTONS = 20
LIMIT_S = 500.0


def main() -> None:
    figures: dict[str, dict[str, Any]] = {}
    for load in LOADS:
        job = virtual_job.run(LIMIT_S, "--load", load, "--cartons", str(CARTONS))
        print(f"  {load}: {job.arrived} of {job.total}, {job.outcome}", flush=True)
        figures[f"first.delivered_fraction_{load}{CARTONS}"] = {
            "value": job.arrived / job.total,
            "unit": "1",
            "note": f"seed 1, virtual time; {job.falls} fell; {job.outcome}",
        }
    results.write("loads", figures)


if __name__ == "__main__":
    main()
