"""Figures of the motion broker; writes build/bench/motion.json.

Virtual world of the tests (the simulation's trajectory server, no ROS transport). From request to dispatch by the wall clock, planned
in another process as on the robot; all else in CPU time of this process. Peers, measured in the same run: TOPPRA's own time-optimal
profile, and Coal without a broadphase.
"""

import contextlib
import gc
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "src" / "lumper_motion" / "test")]

import coal  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
from harness import World, carton, pick_of, wall_of  # noqa: E402
from lumper_msgs.action import ExecuteMotion  # noqa: E402
from lumper_msgs.msg import OutcomeCode  # noqa: E402

from lumper_motion import free_motion, node  # noqa: E402, F401  (node: how a stage planner goes to another process)
from lumper_motion.collision import Closeness, CollisionChecker  # noqa: E402
from lumper_motion.free_motion import Failure, FreeMotion  # noqa: E402
from lumper_motion.intake import read_goal  # noqa: E402
from lumper_motion.parameters import MotionParameters  # noqa: E402
from lumper_motion.requests import Pick  # noqa: E402
from lumper_motion.stages import Snapshot, StagePlanner  # noqa: E402
from lumper_motion.timing import Limits, optimal_profile, profile_times  # noqa: E402
from lumper_ros import core as c  # noqa: E402
from lumper_ros.store import Store  # noqa: E402
from lumper_ros.worker import Worker  # noqa: E402

G, C = ExecuteMotion.Goal, OutcomeCode
DEADLINE_S: float = MotionParameters.__dataclass_fields__["planning_deadline_s"].default
FIGURES: dict[str, dict[str, Any]] = {}


def figure(name: str, value: float, unit: str, note: str, peer: float | None = None) -> None:
    FIGURES[f"motion.{name}"] = {"value": round(value, 4), "unit": unit, "note": note}
    if peer is not None:
        FIGURES[f"motion.{name}"]["peer"] = round(peer, 4)
    print(f"motion.{name:32} {value:10.4f} {unit:4} {note}" + (f"  peer {peer:.4f}" if peer is not None else ""))


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share)) if values else math.nan


def resident_mib() -> float:
    """Memory of this process now, after collecting what is garbage."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def world_of_200() -> World:
    world = World({"planning_deadline_s": 30.0})
    world.cartons = wall_of(rows=5, columns=6, layers=7)[:200]
    return world.boot()


def dispatch_ms(world: World, goal: Any, worker: Worker) -> tuple[float | None, int]:
    """Wall ms from the goal's arrival to the first trajectory leaving, and the outcome code if it was refused.

    What was planned in the other process is planned here once more afterwards, where the way it took can be seen.
    """
    planned: list[Callable[[], Any]] = []
    try:
        return _dispatch_ms(world, goal, worker, planned)
    finally:
        for function in planned:
            function()


def _dispatch_ms(world: World, goal: Any, worker: Worker, planned: list[Callable[[], Any]]) -> tuple[float | None, int]:
    broker, now = world.broker, world.now()
    request = world.new_id()
    begun = time.perf_counter()
    effects = list(broker.goal("motion/execute", request, goal, now))
    while effects:
        effect = effects.pop(0)
        if isinstance(effect, c.SendGoal):
            return 1e3 * (time.perf_counter() - begun), 0
        if isinstance(effect, c.FinishGoal):
            return None, int(effect.result.outcome.code)
        if isinstance(effect, c.Compute):
            planned.append(effect.function)
            effects += broker.computed(effect.tag, worker.run(effect.function), now)
    return None, -1


def forget(world: World) -> None:
    """The broker as if it had just stood still: the next request starts afresh, the scene is kept."""
    planner = world.broker._planner
    runner = world.broker._runner
    runner.active = None
    runner.memory.ahead.clear()
    runner.out.clear()
    world.broker._planner = planner


def stand_in_the_way(world: World, load: list[Any], rng: np.random.Generator) -> None:
    """A picture in which three things stand free between arm and load."""
    posts = [
        carton(
            900 + i,
            3.0 + float(rng.uniform(0, 0.5)),
            float(rng.uniform(-0.9, 1.0)),
            float(rng.uniform(0.6, 2.2)),
            (0.15, 0.2, 0.5),
        )
        for i in range(3)
    ]
    world.cartons = [*load[:197], *posts]
    world.wall_version += 1
    world.tell("wall", world.wall())


def starts_of(world: World) -> list[Any]:
    """Where motions begin: home, scan, and over the belt, where a PLACE leaves the arm."""
    over_belt = world.broker._planner.kinematics.solutions(
        np.array([[1.0, 0, 0, 0.45], [0, 0, -1.0, -0.3], [0, 1.0, 0, 0.95], [0, 0, 0, 1.0]]), world.position
    )
    return [world.robot.poses["home"], world.robot.poses["scan"], *over_belt[:1]]


@contextlib.contextmanager
def way_taken() -> Iterator[list[bool]]:
    """One item: whether the planning of this process still went straight; to be set True before each."""
    straight, detours = [True], FreeMotion._detours

    def noticed(self: Any, start: Any, goal: Any) -> Any:
        straight[0] = False
        return detours(self, start, goal)

    FreeMotion._detours = noticed  # type: ignore[method-assign]
    try:
        yield straight
    finally:
        FreeMotion._detours = detours  # type: ignore[method-assign]


def bench_dispatch(worker: Worker) -> None:
    taken: dict[bool, list[float]] = {True: [], False: []}
    failed_blocked = 0
    rng = np.random.default_rng(1)
    world = world_of_200()
    front = [item for item in world.cartons if item.id <= 30]
    with way_taken() as went_straight:

        def ask(message: Any) -> None:
            nonlocal failed_blocked
            went_straight[0] = True
            ms, code = dispatch_ms(world, world.goal(G.PICK, message), worker)
            forget(world)
            if ms is not None:
                taken[went_straight[0]].append(ms)
            elif not went_straight[0]:
                failed_blocked += code == C.PLANNING_TIMEOUT

        for start in starts_of(world):
            world.position[:] = start
            world.arm.hold[:] = start
            world.arm._rest(np.array(start))
            world.run(0.06)
            for item in front:
                for jitter in range(3):
                    message = pick_of(item)
                    message.grasp_pose.position.y += float(rng.normal(0, 0.01)) if jitter else 0.0
                    ask(message)
        kept = world.cartons
        for _ in range(50):
            stand_in_the_way(world, kept, rng)
            for item in rng.choice(len(front), 6, replace=False):
                ask(pick_of(front[item]))
    straight, blocked = taken[True], taken[False]
    note = f"{len(straight)} picks against 200 cartons, planned in another process, straight path"
    figure("request_to_dispatch_p50_ms", percentile(straight, 50), "ms", note)
    figure("request_to_dispatch_p99_ms", percentile(straight, 99), "ms", note)
    figure(
        "blocked_path_p99_ms",
        percentile(blocked, 99),
        "ms",
        f"{len(blocked)} blocked picks found a way (p50 {percentile(blocked, 50):.1f} ms); "
        f"{failed_blocked} searches ended without one",
    )


def bench_success() -> None:
    """Picks that are blocked straight: how many of those that a minute's planning solves are solved within the deadline."""
    world = world_of_200()
    kept, starts = world.cartons, starts_of(world)
    front = [item for item in kept if item.id <= 30]
    quick = replace(world.parameters, planning_deadline_s=DEADLINE_S)
    minute = replace(world.parameters, planning_deadline_s=60.0, search_checks=40 * quick.search_checks)
    # The processor's time: on a machine that does other things as well, a deadline by the wall clock judges those.
    ours = StagePlanner(world.robot, world.trailer, quick, time.process_time)
    theirs = StagePlanner(world.robot, world.trailer, minute, time.process_time)
    rng = np.random.default_rng(4)
    solved = solvable = 0
    with way_taken() as straight:
        for number in range(60):
            stand_in_the_way(world, kept, rng)
            snapshot = world.broker._runner.planning.snapshot(starts[number % len(starts)], None)
            for item in rng.choice(len(front), 8, replace=False):
                pick = pick_read(world, front[item])
                straight[0] = True
                found = solves(ours, snapshot, pick)
                if straight[0]:
                    continue
                solved += found
                solvable += found or solves(theirs, snapshot, pick, goals=32)
    assert solvable, "no pick was blocked straight: the figure would be void"
    figure(
        "planning_success",
        solved / solvable,
        "1",
        f"of {solvable} picks, blocked straight, that are solved in a minute (with every way to grasp); ours in "
        f"{free_motion.SEARCH_SHARE * DEADLINE_S:.2f} s",
    )


def solves(planner: StagePlanner, snapshot: Snapshot, pick: Pick, goals: int = free_motion.MAX_STRAIGHT) -> bool:
    before, free_motion.MAX_STRAIGHT = free_motion.MAX_STRAIGHT, goals
    try:
        return not isinstance(planner.approach(snapshot, pick), Failure)
    except c.GaveUpError:
        return False
    finally:
        free_motion.MAX_STRAIGHT = before


def pick_read(world: World, item: Any) -> Pick:
    """The domain's pick, read as the broker reads it."""
    request: Any = read_goal(
        world.goal(G.PICK, pick_of(item)), "x", 1, world.ros_s(), world.robot, world.trailer, world.parameters
    )
    assert isinstance(request.pick, Pick)
    return request.pick


def bench_collision() -> None:
    world = world_of_200()
    planner = world.broker._planner
    checker = planner._checker(world.broker._runner.planning.snapshot(world.position, None), ())
    rng = np.random.default_rng(2)
    span = world.robot.upper_rad - world.robot.lower_rad
    free = [q for q in world.robot.poses["home"] + rng.uniform(-0.2, 0.2, (4000, 6)) * span if checker.free(q)]
    sample = np.array(free[:1000])

    def taken_ms(at_once: int) -> float:
        begun = time.process_time()
        for first in range(0, len(sample), at_once):
            assert checker.first_hit(sample[first : first + at_once], Closeness.CLEAR) < 0
        return 1e3 * (time.process_time() - begun) / len(sample)

    figure(
        "collision_check_ms",
        taken_ms(40),
        "ms",
        f"{len(sample)} free configurations, whole arm, 200 cartons, 40 at once as on a path (one alone: {taken_ms(1):.4f} ms); "
        "peer: Coal's AABB tree through its Python binding, without the forward kinematics",
        tree_ms(checker, planner.kinematics.link_frames(sample)),
    )


def tree_ms(checker: CollisionChecker, frames: Any) -> float:
    """CPU ms that Coal's own broadphase takes for one configuration of the same shapes among the same obstacles."""
    body, world = checker._body[Closeness.CLEAR], checker._worlds[Closeness.CLEAR]
    obstacles, arm = coal.DynamicAABBTreeCollisionManager(), coal.DynamicAABBTreeCollisionManager()
    for i in range(len(checker._obstacles)):
        solid = coal.CollisionObject(*world.solid(i))
        solid.computeAABB()
        obstacles.registerObject(solid)
    parts = [coal.CollisionObject(body.geometries[i]) for i in body.outer]
    for part in parts:
        arm.registerObject(part)
    obstacles.setup()
    arm.setup()
    callback = coal.CollisionCallBackDefault()
    poses = body.placed(frames)[0][:, body.outer]
    begun = time.process_time()
    for at in poses:
        for part, pose in zip(parts, at, strict=True):
            part.setTransform(coal.Transform3s(pose[:3, :3], pose[:3, 3]))
            part.computeAABB()
        arm.update()
        callback.init()
        obstacles.collide(arm, callback)
        assert not callback.data.result.isCollision()
    return 1e3 * (time.process_time() - begun) / len(poses)


def bench_time() -> None:
    world = world_of_200()
    planner = world.broker._planner
    full = Limits(world.robot.max_speed_radps, world.robot.max_accel_radps2)
    ratios, ours_s, peer_s = [], 0.0, 0.0
    start = world.robot.poses["home"]
    for item in world.cartons[:30]:
        world.position[:] = start
        snapshot = world.broker._runner.planning.snapshot(start, None)
        motion = planner.approach(snapshot, pick_read(world, item))
        motions = [motion]
        if not isinstance(motion, Failure):
            motions.append(
                planner.to_pose(
                    world.broker._runner.planning.snapshot(motion.position[0], None), world.robot.poses["scan"]
                )
            )
        for each in motions:
            if isinstance(each, Failure):
                continue
            grid, rate = optimal_profile(each.path, planner.kinematics, full)
            best = float(profile_times(grid, rate)[-1])
            ratios.append(each.duration_s / best)
            ours_s, peer_s = ours_s + each.duration_s, peer_s + best
    note = (
        f"{len(ratios)} trajectories, with smoothed acceleration and {world.parameters.limit_fraction} of the limits: "
    )
    note += f"median {percentile(ratios, 50):.3f}, worst {max(ratios):.3f}; peer: TOPPRA at full limits, s in all"
    figure("time_vs_optimal", ours_s / peer_s, "1", note, peer_s)


def bench_requests() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "journal.sqlite")
        world = World({"queue_size": 16}).boot()
        done = world.send(world.goal(G.JOG, jog_joint_names=["joint_6"], jog_joint_delta_rad=[0.05]))
        world.finish(done)
        late = world.goal(G.HOME)
        late.deadline.sec = 1
        good = world.goal(G.PICK, pick_of(carton(1, 3.9, 0.0, 1.0)))
        answered: list[float] = []
        count = 100_000
        resource_before = 0.0
        begun = time.process_time()
        wall = time.monotonic()
        for i in range(count):
            if i == 20_000:
                resource_before = resident_mib()
            at = time.process_time()
            case = i % 4
            goal_id, goal = (
                (done, world.goal(G.HOME))
                if case == 0
                else (f"{i:032x}", late if case == 1 else good if case == 2 else world.goal(0))
            )
            effects = world.broker.goal("motion/execute", goal_id, goal, world.now())
            for effect in effects:
                if isinstance(effect, c.Persist):
                    store.write([(effect.kind, effect.key, effect.record)])
            if not any(isinstance(effect, c.FinishGoal) for effect in effects):
                world.broker.cancel("motion/execute", goal_id, world.now())
            answered.append(1e3 * (time.process_time() - at))
        cpu = time.process_time() - begun
        grown = resident_mib() - resource_before
        store.close()
    figure(
        "requests_per_s",
        count / cpu,
        "1/s",
        f"{count} requests: answered from the journal, overdue, refused by state, malformed; p99 {percentile(answered, 99):.2f} ms; "
        f"memory {grown:+.1f} MiB over the last 80,000; {count / (time.monotonic() - wall):.0f}/s by the wall clock",
    )


def bench_stop() -> None:
    taken: list[float] = []
    virtual: list[float] = []
    peak = 0.0
    above = 0.0
    for seed in range(40):
        world = World().boot()
        world.run(0.002 * (seed % 5))
        scan = world.send(world.goal(G.SCAN))
        world.run(0.1 + 0.02 * seed)
        if scan in world.results:
            continue
        world.permit = False
        state = world.safety_state()
        begun = time.process_time()
        effects = world.broker.message("safety/state", state, world.now())
        assert any(isinstance(effect, c.CancelGoal) for effect in effects)
        taken.append(1e3 * (time.process_time() - begun))
        withdrawn = world.time_s
        world.do(effects)
        virtual.append(world.canceled_at_s[0] - withdrawn)
        world.finish(scan)
        above = max(above, world.result_speed[scan])
        peak = max(peak, world.peak_accel)
    figure(
        "stop_p99_ms",
        percentile(taken, 99),
        "ms",
        f"broker's CPU from the withdrawn permit's message to the cancel, {len(taken)} stops; transport not included; "
        f"peak acceleration {peak:.2f} of the limit; fastest arm when told {above:.4f} rad/s",
    )


def bench_kills(limit_s: float) -> None:
    from test_exactly_once import built, job

    total = job(built(), None)
    source = random.Random(11)
    doubled = lost = unfinished = runs = 0
    begun = time.process_time()
    while runs < 200 and time.process_time() - begun < limit_s:
        runs += 1
        try:
            job(built(), source.randrange(1, total))
        except AssertionError as error:
            doubled += "twice" in str(error)
            lost += "lost" in str(error)
            unfinished += "twice" not in str(error) and "lost" not in str(error)
    figure(
        "virtual_kills_rules_broken",
        doubled + lost + unfinished,
        "1",
        f"{runs} kills at random effects of a job of {total} effects, in virtual time: {doubled} stages doubled, {lost} requests "
        f"lost, {unfinished} jobs not finished",
    )


def main() -> None:
    worker = Worker()
    parts: list[Callable[[], None]] = [
        lambda: bench_dispatch(worker), bench_success, bench_collision, bench_time, bench_requests, bench_stop, lambda: bench_kills(120.0),
    ]  # fmt: skip
    for part in parts:
        part()
    worker.close()
    out = ROOT / "build" / "bench" / "motion.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(FIGURES, indent=2) + "\n")


if __name__ == "__main__":
    main()
