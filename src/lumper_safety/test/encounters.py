"""Random meetings of a walking person and a moving arm, with the monitor's guard in between.

What is simulated: the arm goes along a random joint path, its speed the path's speed times a scale that follows the
monitor's with the arm's own deceleration and acceleration (stopping table of arm.yaml); the person walks at up to vh with
random turns, now and then straight at the arm; the scanners see them every 40 ms with noise; a decision takes effect after a
random delay, of which the guard knows the largest measured, as it does on the robot. The guard, the separation and Sp
are the monitor's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from robot_bench import FILES, ROBOT, TRAILER

from lumper_ros.core import Now
from lumper_ros.parameters import from_mapping
from lumper_safety.guard import PersonGuard
from lumper_safety.parameters import Parameters
from lumper_safety.space import Space
from lumper_safety.surroundings import capsule_distances

STEP_S = 0.02
HUMAN_MPS = 1.6
_ARM = np.array([capsule.link != "base_link" for capsule in ROBOT.capsules])


@dataclass
class Met:
    """Outcome of all encounters. `below`: instants' encounters in which separation fell below Sp while the arm moved."""

    count: int = 0
    below: int = 0
    worst_margin_m: float = float("inf")
    nearest_m: float = float("inf")
    moving_steps: int = 0
    steps: int = 0

    @property
    def moving_share(self) -> float:
        return self.moving_steps / max(self.steps, 1)


class _Path:
    """A closed joint path through random poses, sampled evenly; `full` = its largest speed keeps the joint limits and 4 m/s."""

    def __init__(self, rng: np.random.Generator) -> None:
        knots = ROBOT.poses["home"] + rng.uniform(-1, 1, (4, 6)) * [1.4, 0.3, 0.5, 0.5, 0.4, 0.5]
        phase = np.linspace(0, 2 * np.pi, 240, endpoint=False)
        weights = [np.clip(np.cos((phase - k * np.pi / 2) / 1.0), 0, 1) ** 2 for k in range(4)]
        total = np.sum(weights, axis=0)
        self.q = np.clip(
            sum(w[:, None] * knots[k] for k, w in enumerate(weights)) / total[:, None], ROBOT.lower_rad, ROBOT.upper_rad
        )
        dq = (np.roll(self.q, -1, axis=0) - np.roll(self.q, 1, axis=0)) / (2 * (phase[1] - phase[0]))
        capsules = [ROBOT.capsules_at(q) for q in self.q]
        self.a = np.array([c[0] for c in capsules])
        self.b = np.array([c[1] for c in capsules])
        self.radii = capsules[0][2]
        ends = np.concatenate([self.a, self.b], axis=1)
        step = np.linalg.norm(np.roll(ends, -1, axis=0) - np.roll(ends, 1, axis=0), axis=2).max(axis=1)
        metres = step / (2 * (phase[1] - phase[0]))
        joint_rate = float((np.abs(dq) / ROBOT.max_speed_radps).max())
        self.rate = min(1.0 / joint_rate, 4.0 / float(metres.max()))  # phase per second at full speed
        self.metres, self.fraction, self.dq = metres, np.abs(dq / ROBOT.max_speed_radps).max(axis=1), dq

    def at(self, phase: float) -> int:
        return int(phase / (2 * np.pi) * len(self.q)) % len(self.q)


def encounter(
    rng: np.random.Generator, path: _Path, guard: PersonGuard, space: _Seen, met: Met, begin_s: float
) -> float:
    """One meeting of up to 5 s; returns when it ended. Sp is judged at every step with the arm's true speed and the
    person's true place."""
    axis = np.array([0.0, 0.55])
    angle = rng.uniform(-np.pi, np.pi)
    person = axis + rng.uniform(4.5, 5.5) * np.array([np.cos(angle), np.sin(angle)])
    heading = axis + rng.normal(0, 0.6, 2) - person
    heading /= np.hypot(*heading)
    speed = rng.uniform(0.8, 1.0) * HUMAN_MPS
    phase, scale_now, target = rng.uniform(0, 2 * np.pi), 1.0, 1.0
    pending: list[tuple[float, float]] = []
    noise, events, delays = rng.normal(0, 0.01, (250, 2)), rng.uniform(size=250), rng.uniform(0.01, 0.08, 250)
    seen, seen_s, below, joints = person, begin_s, False, _Joints()
    change = STEP_S / float(ROBOT.stopping_time(1.0, 0.0))
    t = begin_s
    for step in range(250):
        t += STEP_S
        if events[step] < 0.02:
            turn = rng.normal(0, 0.7)
            heading = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ heading
            speed = rng.uniform(0.0, 1.0) * HUMAN_MPS
        elif events[step] < 0.04:
            heading = axis + np.array([0.8, 0.0]) - person
            heading /= max(float(np.hypot(*heading)), 1e-6)
            speed = HUMAN_MPS
        person = person + heading * speed * STEP_S
        if step % 2 == 0:
            seen, seen_s = person + noise[step], t
        i = path.at(phase)
        true_m = space.look(seen, person, path.a[i], path.b[i], path.radii)
        fraction = path.fraction[i] * path.rate * scale_now
        true_mps = path.metres[i] * path.rate * scale_now
        space.speed_mps = true_mps
        joints.speed_fraction, joints.moving = fraction, scale_now > 0.0
        finding = guard.assess(Now(t, t, t), joints, seen_s, 0.0)  # type: ignore[arg-type]
        pending.append((t + delays[step], 0.0 if finding is not None and finding.stop else guard.scale))
        met.steps += 1
        if scale_now > 0.0:
            met.moving_steps += 1
            margin = true_m - guard.required_for(true_mps, fraction)
            met.worst_margin_m = min(met.worst_margin_m, float(margin))
            met.nearest_m = min(met.nearest_m, true_m)
            below |= margin < 0.0
        while pending and pending[0][0] <= t:
            target = pending.pop(0)[1]
        scale_now = max(target, scale_now - change) if target < scale_now else min(target, scale_now + change)
        phase += path.rate * scale_now * STEP_S
        if true_m > 6.0:
            break
    met.count += 1
    met.below += int(below)
    return t


class _Joints:
    """What the guard asks of the joint watch; the capsules come from the path, so no position is given."""

    position_rad = None
    speed_fraction = 0.0
    moving = False


class _Seen(Space):
    """Space in which the person's place and the arm's capsules are given instead of found in scans and joint states."""

    _separation_m = float("inf")

    def look(self, seen: np.ndarray, person: np.ndarray, a: np.ndarray, b: np.ndarray, radii: np.ndarray) -> float:
        """Keep the distance of where the person was seen; return that of where they are, m."""
        points = np.array([seen, person])
        seen_m, true_m = capsule_distances(points, a[_ARM, :2], b[_ARM, :2], radii[_ARM]).min(axis=1)
        self._separation_m = max(0.0, float(seen_m))
        return max(0.0, float(true_m))

    def nearest(self) -> tuple[float, bool]:
        return self._separation_m, True

    def fastest_person_mps(self) -> float:
        return 0.0


def run_encounters(count: int, seed: int) -> Met:
    """So many encounters over 40 random paths."""
    rng = np.random.default_rng(seed)
    parameters = from_mapping(Parameters, FILES)
    paths = [_Path(rng) for _ in range(40)]
    met = Met()
    space = _Seen(parameters, ROBOT, TRAILER)
    guard = PersonGuard(parameters, ROBOT, space)
    t = 0.0
    for number in range(count):
        # Tr as the real monitor measures it: the largest delay of the scan and of the way to the controller.
        guard.measured(t, 0.08 + 0.04)
        t = encounter(rng, paths[number % len(paths)], guard, space, met, t + 2.0)
    return met
