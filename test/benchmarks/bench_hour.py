"""One hour of normal work of the whole robot against the physics, in virtual time: how often it stops for nothing.

Jobs of 60 mixed cartons, seed after seed, until an hour is full. Writes build/bench/hour.json.
"""

import results
import virtual_job

CARTONS, HOUR_S, LIMIT_S = 60, 3600.0, 900.0
FALSE = "the physics knows no reason"


def main() -> None:
    jobs: list[virtual_job.Job] = []
    while sum(job.virtual_s for job in jobs) < HOUR_S:
        seed = len(jobs) + 1
        jobs.append(virtual_job.run(LIMIT_S, "--cartons", str(CARTONS), "--seed", str(seed)))
        job = jobs[-1]
        print(f"  seed {seed}: {job.arrived} of {job.total}, {job.virtual_s:.0f} s, stops {job.stops}", flush=True)
    stops = [f"seed {seed} {stop}" for seed, job in enumerate(jobs, 1) for stop in job.stops]
    hours = sum(job.virtual_s for job in jobs) / 3600.0
    arrived, total = sum(job.arrived for job in jobs), sum(job.total for job in jobs)
    note = (
        f"{hours:.2f} h in {len(jobs)} jobs of {CARTONS} cartons with the physics, virtual time: {arrived} of {total} on the conveyor, "
        f"{sum(job.falls for job in jobs)} falls; nobody walks about; stops: {'; '.join(stops) or 'none'}"
    )
    value = sum(FALSE in stop for stop in stops) / hours
    results.write("hour", {"safety.false_stops_per_hour": {"value": value, "unit": "1/h", "note": note}})


if __name__ == "__main__":
    main()
