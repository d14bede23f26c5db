"""The demonstration from clouds alone: faces found in what the robot's camera sees, no detector. Writes build/bench/clouds.json.

The whole robot against the physics in virtual time, several loads. A load that the robot gives up on is counted, not hidden.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

import results
import virtual_job

CARTONS = 30
LIMIT_S = 500.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cartons", type=int, default=CARTONS)
    parser.add_argument("--jobs", type=int, default=1, help="jobs at once, each in a process of its own")
    options = parser.parse_args()

    def one(seed: int) -> virtual_job.Job:
        words = ("--detector", "cloud", "--seed", str(seed), "--cartons", str(options.cartons))
        job = virtual_job.run(LIMIT_S, *words)
        carried = f", {job.with_person} carried off" * bool(job.with_person)
        print(f"  seed {seed}: {job.arrived} of {job.total}, {job.falls} fell{carried}, {job.outcome}", flush=True)
        return job

    # Virtual time: nothing hangs on how fast each runs.
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = list(pool.map(one, options.seeds))
    told = "; ".join(
        f"seed {seed}: {job.arrived} of {job.total}" for seed, job in zip(options.seeds, jobs, strict=True)
    )
    collapses = sum(job.output.count("perception.moved_untouched: ") for job in jobs)
    results.write(
        "clouds",
        {
            "perception.delivered_fraction_cloud": {
                "value": sum(job.arrived for job in jobs) / sum(job.total for job in jobs),
                "unit": "1",
                "note": f"mixed loads, clouds of 640x480 with colour, no detector, virtual time; {told}; "
                f"{sum(job.falls for job in jobs)} fell, {sum(job.with_person for job in jobs)} of them carried off by the person whom the "
                f"robot asked (not counted as delivered), {collapses} movements reported that nothing of the robot explains",
            }
        },
    )


if __name__ == "__main__":
    main()
