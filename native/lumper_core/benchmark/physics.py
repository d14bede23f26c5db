"""Truth by rigid-body simulation (MuJoCo): does a wall stand, what moves when a carton is gone, what does a real stroke do.

Results are cached by the content of the question under build/cache, so that a benchmark run costs little the second time.
The pulled carton is driven along its path by a stiff weld to a moving frame: the arm is simulated only as its motion.
"""

import hashlib
import json
import os
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

import walls

MOVED_M = 0.03
TIME_STEP_S = 0.004
WATCH_S = 1.5
QUIET_MPS = 2e-3
PULL_ACCELERATION_MPS2 = 2.0
CACHE = Path(os.environ.get("LUMPER_CORE_CACHE", Path(__file__).resolve().parents[3] / "build" / "cache" / "lumper_core"))
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
    <body name="tool" mocap="true" pos="0 0 -5"/>
{bodies}
  </worldbody>
  <equality><weld name="hold" body1="tool" body2="b0" active="false" solref="0.008 1"/></equality>
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
                f'<geom type="box" size="{hx!r} {hy!r} {hz!r}" mass="{box["mass"]!r}"/></body>'.replace("np.float64(", "").replace(")", "")
            )
        text = _MODEL.format(
            dt=TIME_STEP_S, mu=friction, half=walls.WIDTH_M / 2, back=walls.BACK_M, bodies="\n".join(bodies)
        )
        self.model = mujoco.MjModel.from_xml_string(text)
        self.data = mujoco.MjData(self.model)
        self.count = len(boxes)
        self.start = self.data.qpos.copy()

    def reset(self) -> None:
        mujoco.mj_resetData(self.model, self.data)
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

    def stroke(self, index: int, lift_m: float, extract_m: NDArray[np.float64], speed_mps: float, tilt_rad: float = 0.0) -> float:
        """Displacement of the worst other carton when this one is lifted, tilted and drawn out as a stroke says."""
        self.reset()
        self.grab(index)
        self.follow(index, lift_m, extract_m, speed_mps, tilt_rad, stop=True)
        return self.moved([index]) if self.moved([index]) > MOVED_M else self.watch([index], 0.8)

    def grab(self, index: int) -> None:
        model, data = self.model, self.data
        mujoco.mj_forward(model, data)
        body = model.body(f"b{index}").id
        model.eq_obj2id[0] = body
        model.eq_data[0] = 0.0
        model.eq_data[0, 6] = 1.0
        model.eq_data[0, 10] = 1.0
        data.mocap_pos[0] = data.xpos[body]
        data.mocap_quat[0] = data.xquat[body]
        data.eq_active[0] = 1

    def follow(
        self, index: int, lift_m: float, extract_m: NDArray[np.float64], speed_mps: float, tilt_rad: float, stop: bool
    ) -> None:
        data = self.data
        start = data.mocap_pos[0].copy()
        quat = data.mocap_quat[0].copy()
        if tilt_rad != 0.0:
            steps = 60
            for k in range(steps):
                angle = -tilt_rad * (k + 1) / steps
                turn = np.array([np.cos(angle / 2), 0.0, np.sin(angle / 2), 0.0])
                mujoco.mju_mulQuat(data.mocap_quat[0], turn, quat)
                data.mocap_pos[0] = start + [0.0, 0.0, 0.01 * (k + 1) / steps]
                mujoco.mj_step(self.model, data)
            start = data.mocap_pos[0].copy()
        for direction, length, speed in (
            (np.array([0.0, 0.0, 1.0]), lift_m, min(0.3, max(0.1, speed_mps))),
            (extract_m / np.linalg.norm(extract_m), float(np.linalg.norm(extract_m)), speed_mps),
        ):
            if length <= 0.0:
                continue
            done = 0.0
            now = 0.0
            while done < length:
                now = min(speed, now + PULL_ACCELERATION_MPS2 * TIME_STEP_S, np.sqrt(max(0.0, 2 * PULL_ACCELERATION_MPS2 * (length - done))) + 0.01)
                done = min(length, done + now * TIME_STEP_S)
                data.mocap_pos[0] = start + direction * done
                mujoco.mj_step(self.model, data)
                if stop and self.moved([index]) > MOVED_M:
                    return
            start = data.mocap_pos[0].copy()


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
        [row[int(g["ids"][0])], round(float(g["lift"]), 6), *np.round(g["extract"], 6).tolist(), float(g["speed_limit"]), float(g["tilt"])]
        for g in grasps
    ]
    results = []
    world = None
    for index, lift, ex, ey, ez, speed, tilt in asked:
        key = {"index": index, "lift": lift, "extract": [ex, ey, ez], "speed": speed, "tilt": tilt}

        def work(index: int = index, lift: float = lift, extract: tuple[float, float, float] = (ex, ey, ez), speed: float = speed, tilt: float = tilt) -> NDArray[np.float64]:
            nonlocal world
            world = world or World(boxes)
            return np.array([world.stroke(index, lift, np.array(extract), speed, tilt)])

        results.append(cached("stroke", boxes, key, work)[0])
    return np.array(results)


def cached(name, boxes, question, work):  # type: ignore[no-untyped-def]
    """`work()` or what it returned for the same boxes and question before."""
    digest = hashlib.sha256()
    digest.update(json.dumps([REVISION, name, question, mujoco.__version__, TIME_STEP_S, MOVED_M], sort_keys=True).encode())
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
