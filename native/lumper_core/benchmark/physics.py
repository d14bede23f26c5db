"""Truth by rigid-body simulation (MuJoCo): does a wall stand, what moves when a carton is gone, what does a real stroke do.

Results are cached by the content of the question under build/cache, so that a benchmark run costs little the second time.
The pulled carton is driven along its path by a hold that is as compliant and as strong as suction cups: the arm is simulated only as its motion.
"""

import hashlib
import json
import os
from pathlib import Path

import mujoco
import numpy as np
import walls
from numpy.typing import NDArray

MOVED_M = 0.03
TIME_STEP_S = 0.004
WATCH_S = 1.5
QUIET_MPS = 2e-3
PULL_ACCELERATION_MPS2 = 2.0
CACHE = Path(
    os.environ.get("LUMPER_CORE_CACHE", Path(__file__).resolve().parents[3] / "build" / "cache" / "lumper_core")
)
# The hold, by unit of mass: suction cups and arm give way (25 kN/m at 10 kg), and let go at what six zones hold. A rigid hold
# would press a tilting neighbour against the load with kilonewtons and carry it along.
HOLD_STIFFNESS = 2500.0
HOLD_DAMPING = 90.0
HOLD_N = 900.0
SHEAR_N = 540.0
HOLD_NM = 80.0
TILT_RISE_M = 0.01
# Part of every key: raise it when the simulation's meaning changes.
REVISION = 1

_MODEL = """
<mujoco>
  <option timestep="{dt}" integrator="implicitfast" solver="Newton" iterations="50" tolerance="1e-6" cone="pyramidal"/>
  <size memory="256M"/>
  <default><geom solref="0.008 1" solimp="0.95 0.99 0.001 0.5 2" friction="{mu} 0.005 0.0001" condim="3"/></default>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 1"/>
    <geom type="plane" pos="0 {half} 0" euler="90 0 0" size="0 0 1"/>
    <geom type="plane" pos="0 -{half} 0" euler="-90 0 0" size="0 0 1"/>
    <geom type="plane" pos="{back} 0 0" euler="0 -90 0" size="0 0 1"/>
{bodies}
  </worldbody>
</mujoco>
"""


class World:
    """A wall in MuJoCo; `boxes` is BOX_DTYPE and gives the initial state."""

    def __init__(self, boxes: NDArray[np.void], friction: float = walls.FRICTION) -> None:
        bodies = []
        for i, box in enumerate(boxes):
            x, y, z, w = box["orientation"]
            hx, hy, hz = box["size"] / 2
            px, py, pz = box["position"]
            bodies.append(
                f'<body name="b{i}" pos="{px!r} {py!r} {pz!r}" quat="{w!r} {x!r} {y!r} {z!r}"><freejoint/>'
                f'<geom type="box" size="{hx!r} {hy!r} {hz!r}" mass="{box["mass"]!r}"/></body>'.replace(
                    "np.float64(", ""
                ).replace(")", "")
            )
        text = _MODEL.format(
            dt=TIME_STEP_S, mu=friction, half=walls.WIDTH_M / 2, back=walls.BACK_M, bodies="\n".join(bodies)
        )
        self.model = mujoco.MjModel.from_xml_string(text)
        self.data = mujoco.MjData(self.model)
        self.count = len(boxes)
        self.start = self.data.qpos.copy()
        self.held = 0
        self.followers: list[tuple[int, NDArray[np.float64]]] = []

    def reset(self) -> None:
        mujoco.mj_resetData(self.model, self.data)
        self.held = 0
        self.followers = []
        self.model.geom_contype[:] = 1
        self.model.geom_conaffinity[:] = 1

    def hide(self, index: int) -> None:
        """The carton touches nothing any more (it falls through the floor, unseen)."""
        geom = self.model.body_geomadr[self.model.body(f"b{index}").id]
        self.model.geom_contype[geom] = 0
        self.model.geom_conaffinity[geom] = 0

    def positions(self) -> NDArray[np.float64]:
        return self.data.qpos.reshape(self.count, 7)[:, :3]

    def moved(self, besides: list[int]) -> float:
        """Largest displacement of any other carton since the start, m."""
        distance = np.linalg.norm(self.positions() - self.start.reshape(self.count, 7)[:, :3], axis=1)
        distance[besides] = 0.0
        return float(distance.max())

    def watch(self, besides: list[int], seconds: float) -> float:
        """Run until something else moved, everything is quiet, or the time is over; the largest displacement."""
        steps = int(seconds / TIME_STEP_S)
        for step in range(steps):
            if self.held:
                self.step()
            else:
                mujoco.mj_step(self.model, self.data)
            if step % 10 == 9:
                if self.moved(besides) > MOVED_M:
                    break
                speed = np.abs(self.data.qvel.reshape(self.count, 6)[:, :3]).max(axis=1)
                speed[besides] = 0.0
                if step > 100 and speed.max() < QUIET_MPS:
                    break
        return self.moved(besides)

    def removal(self, index: int) -> float:
        """Displacement of the worst other carton when this one vanishes."""
        self.reset()
        self.hide(index)
        return self.watch([index], WATCH_S)

    def stroke(
        self, index: int, lift_m: float, extract_m: NDArray[np.float64], speed_mps: float, tilt_rad: float = 0.0
    ) -> float:
        """Displacement of the worst other carton when this one is lifted, tilted and drawn out as a stroke says."""
        self.reset()
        self.grab(index)
        self.follow(index, lift_m, extract_m, speed_mps, tilt_rad, stop=True)
        return self.moved([index]) if self.moved([index]) > MOVED_M else self.watch([index], 0.8)

    def take(
        self, load: list[int], lift_m: float, extract_m: NDArray[np.float64], speed_mps: float, tilt_rad: float
    ) -> None:
        """Draw out cartons held together, let them vanish, and wait until the rest is quiet."""
        # The rest of a group is made to follow its first carton by being drawn with the same motion.
        self.grab(load[0])
        self.followers = [
            (self.model.body(f"b{i}").id, self.data.xpos[self.model.body(f"b{i}").id] - self.target) for i in load[1:]
        ]
        self.follow(load[0], lift_m, extract_m, speed_mps, tilt_rad, stop=False)
        for index in load:
            self.hide(index)
            self.data.xfrc_applied[self.model.body(f"b{index}").id] = 0.0
        self.held = 0
        self.followers = []
        for _ in range(int(0.6 / TIME_STEP_S)):
            mujoco.mj_step(self.model, self.data)

    def grab(self, index: int) -> None:
        model, data = self.model, self.data
        mujoco.mj_forward(model, data)
        self.held = model.body(f"b{index}").id
        self.target = data.xpos[self.held].copy()
        self.target_quat = data.xquat[self.held].copy()

    def step(self) -> None:
        """One time step with the cups pulling the held carton to its target: elastic, and no stronger than they hold."""
        model, data, body = self.model, self.data, self.held
        dof = model.body_dofadr[body]
        mass = model.body_mass[body]
        force = mass * (HOLD_STIFFNESS * (self.target - data.xpos[body]) - HOLD_DAMPING * data.qvel[dof : dof + 3])
        sideways = np.hypot(force[1], force[2])
        force[0] = np.clip(force[0], -HOLD_N, HOLD_N)
        force[1:] *= min(1.0, SHEAR_N / max(sideways, 1e-9))
        error = np.zeros(3)
        inverse = np.zeros(4)
        difference = np.zeros(4)
        mujoco.mju_negQuat(inverse, data.xquat[body])
        mujoco.mju_mulQuat(difference, self.target_quat, inverse)
        mujoco.mju_quat2Vel(error, difference, 1.0)
        spin = data.xmat[body].reshape(3, 3) @ data.qvel[dof + 3 : dof + 6]
        torque = model.body_inertia[body].mean() * (HOLD_STIFFNESS * error - HOLD_DAMPING * spin)
        torque *= min(1.0, HOLD_NM / max(float(np.linalg.norm(torque)), 1e-9))
        data.xfrc_applied[body, :3] = force
        data.xfrc_applied[body, 3:] = torque
        for other, offset in self.followers:
            at = model.body_dofadr[other]
            pull = HOLD_STIFFNESS * (self.target + offset - data.xpos[other]) - HOLD_DAMPING * data.qvel[at : at + 3]
            data.xfrc_applied[other, :3] = model.body_mass[other] * pull
            data.xfrc_applied[other, 3:] = -HOLD_DAMPING * model.body_inertia[other].mean() * data.qvel[at + 3 : at + 6]
        mujoco.mj_step(model, data)

    def follow(
        self, index: int, lift_m: float, extract_m: NDArray[np.float64], speed_mps: float, tilt_rad: float, stop: bool
    ) -> None:
        start = self.target.copy()
        quat = self.target_quat.copy()
        if tilt_rad != 0.0:
            steps = 60
            for k in range(steps):
                angle = -tilt_rad * (k + 1) / steps
                turn = np.array([np.cos(angle / 2), 0.0, np.sin(angle / 2), 0.0])
                mujoco.mju_mulQuat(self.target_quat, turn, quat)
                self.target = start + np.array([0.0, 0.0, TILT_RISE_M * (k + 1) / steps])
                self.step()
            start = self.target.copy()
        for direction, length, speed in (
            (np.array([0.0, 0.0, 1.0]), lift_m, min(0.3, max(0.1, speed_mps))),
            (extract_m / np.linalg.norm(extract_m), float(np.linalg.norm(extract_m)), speed_mps),
        ):
            if length <= 0.0:
                continue
            done = 0.0
            now = 0.0
            while done < length:
                slowing = np.sqrt(max(0.0, 2 * PULL_ACCELERATION_MPS2 * (length - done))) + 0.01
                now = min(speed, now + PULL_ACCELERATION_MPS2 * TIME_STEP_S, slowing)
                done = min(length, done + now * TIME_STEP_S)
                self.target = start + direction * done
                self.step()
                if stop and self.moved([index]) > MOVED_M:
                    return
            start = self.target.copy()


def settle(boxes: NDArray[np.void], seconds: float = 3.0) -> NDArray[np.void]:
    """The same boxes after they came to rest."""
    return cached("settle", boxes, {"seconds": seconds}, lambda: _settle(boxes, seconds))


def _settle(boxes: NDArray[np.void], seconds: float) -> NDArray[np.void]:
    world = World(boxes)
    for _ in range(int(seconds / TIME_STEP_S)):
        mujoco.mj_step(world.model, world.data)
    rest = boxes.copy()
    pose = world.data.qpos.reshape(world.count, 7)
    rest["position"] = pose[:, :3]
    rest["orientation"] = pose[:, [4, 5, 6, 3]] / np.linalg.norm(pose[:, 3:], axis=1)[:, None]
    return rest


def removals(boxes: NDArray[np.void]) -> NDArray[np.float64]:
    """(N,) displacement of the worst other carton for each removal alone."""

    def work() -> NDArray[np.float64]:
        world = World(boxes)
        return np.array([world.removal(i) for i in range(len(boxes))])

    return cached("removals", boxes, {}, work)


def strokes(boxes: NDArray[np.void], grasps: NDArray[np.void]) -> NDArray[np.float64]:
    """(K,) displacement of the worst other carton for each stroke (GRASP_DTYPE, single cartons)."""
    row = {int(box_id): i for i, box_id in enumerate(boxes["id"])}
    asked = [
        [
            row[int(g["ids"][0])],
            round(float(g["lift"]), 6),
            *np.round(g["extract"], 6).tolist(),
            float(g["speed_limit"]),
            float(g["tilt"]),
        ]
        for g in grasps
    ]
    results = []
    world = None
    for index, lift, ex, ey, ez, speed, tilt in asked:
        key = {
            "index": index,
            "lift": lift,
            "extract": [ex, ey, ez],
            "speed": speed,
            "tilt": tilt,
            "hold": [HOLD_STIFFNESS, HOLD_DAMPING, HOLD_N, SHEAR_N, HOLD_NM, TILT_RISE_M],
        }

        def work(
            index: int = index,
            lift: float = lift,
            extract: tuple[float, float, float] = (ex, ey, ez),
            speed: float = speed,
            tilt: float = tilt,
        ) -> NDArray[np.float64]:
            nonlocal world
            world = world or World(boxes)
            return np.array([world.stroke(index, lift, np.array(extract), speed, tilt)])

        results.append(cached("stroke", boxes, key, work)[0])
    return np.array(results)


def cached(name, boxes, question, work):  # type: ignore[no-untyped-def]
    """`work()` or what it returned for the same boxes and question before."""
    digest = hashlib.sha256()
    digest.update(
        json.dumps([REVISION, name, question, mujoco.__version__, TIME_STEP_S, MOVED_M], sort_keys=True).encode()
    )
    for field in ("position", "orientation", "size", "mass", "friction"):
        digest.update(np.ascontiguousarray(boxes[field]).tobytes())
    path = CACHE / f"{name}-{digest.hexdigest()[:24]}.npy"
    if path.exists():
        return np.load(path)
    result = work()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}.tmp.npy")
    np.save(scratch, result)
    scratch.replace(path)
    return result
