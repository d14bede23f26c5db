"""The simulated world: physics, arm, suction, conveyor, base, people. No ROS, no clock: `World.step` moves time.

The same seed, load and sequence of calls gives the same state bit for bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lumper_ros.robot import Robot, Trailer
from lumper_sim.accounting import Accounting, Counts, reach
from lumper_sim.camera import View
from lumper_sim.drive import Drive, DriveSpec
from lumper_sim.loads import CartonSpec, Space, generate
from lumper_sim.model import CUP_PRESS_M, STEP_S, build, read_efforts, tilt_rad
from lumper_sim.people import People
from lumper_sim.scanner import Obstacles, ScannerSpec, scan
from lumper_sim.suction import Boxes, Suction, load_fraction, seal_fractions
from lumper_sim.trajectory import Code, Defaults, Limits, TrajectoryServer

Array = NDArray[np.float64]

# A stamp of zero means "not set" in ROS, so the job begins later than that.
START_S = 10.0
_ATTEMPTS = 25
_SETTLE_S = 5.0
_EVERY_SUCTION, _EVERY_ACCOUNT = 2, 5
# While anything off the belt moves faster, nothing falls asleep: a slow topple must not freeze.
_CALM_MPS = 0.03
# Position loop of the drives: natural frequency and damping of the error, and how far beyond the rated acceleration they go.
_OMEGA, _OVERDRIVE = 40.0, 1.5


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """What world to make.

    `stand_off_m`: distance of the load's front from the arm's axis at the start. `own_cartons`: used instead of a
    generated load.
    """

    robot: Robot
    trailer: Trailer
    load: str = "mixed"
    cartons: int = 60
    seed: int = 1
    load_height_m: float = 2.30
    stand_off_m: float = 1.9
    scan_noise_m: float = 0.008
    sleep: bool = True
    own_cartons: tuple[CartonSpec, ...] = ()
    tolerances: Defaults = field(default_factory=Defaults)


class SettleError(ValueError):
    """No load of this kind and seed came to stand; the text says what to change."""


def space_of(spec: WorldSpec) -> Space:
    """Where the load may stand: the trailer less a little air, in front of it room for nothing else."""
    return Space(
        spec.trailer.width_m / 2 - 0.005,
        min(spec.load_height_m, spec.trailer.height_m - 0.1),
        0.3,
        spec.trailer.length_m - 0.005,
    )


def settled_load(spec: WorldSpec) -> tuple[list[CartonSpec], Array]:
    """A load that stands: generated, let settle in physics alone, tried again with another draw when it collapses.

    Returns:
        cartons, and their settled state (n, 7): position, quaternion w x y z.

    Raises:
        SettleError, LoadError
    """
    if spec.own_cartons:
        state = _settle(spec, spec.own_cartons)
        if state is None:
            raise SettleError("own_cartons do not stand where they are put")
        return list(spec.own_cartons), state
    for attempt in range(_ATTEMPTS):
        cartons = generate(spec.load, spec.cartons, spec.seed + 10_000 * attempt, space_of(spec))
        state = _settle(spec, cartons)
        if state is not None:
            return cartons, state
    raise SettleError(
        f"load={spec.load} cartons={spec.cartons} seed={spec.seed}: no draw of {_ATTEMPTS} stands; take another seed"
    )


def _settle(spec: WorldSpec, cartons: Sequence[CartonSpec]) -> Array | None:
    """State (n, 7) after the cartons came to rest; None where one moved far or they do not come to rest."""
    model, index = build(spec.robot, spec.trailer, cartons, -2.0, spec.sleep)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    before = data.xpos[index.carton_body].copy()
    turned = data.xmat[index.carton_body].reshape(-1, 3, 3).copy()
    moving = np.r_[index.base_dof, index.arm_dof]
    # Those that lean find their rest only after a while.
    leaning = np.array([c.quat_wxyz[0] < 1.0 for c in cartons])
    for step in range(1, int(_SETTLE_S / STEP_S)):
        data.qfrc_applied[moving] = data.qfrc_bias[moving] - 500.0 * data.qvel[moving]
        mujoco.mj_step(model, data)
        if step % 25:
            continue
        drift = np.linalg.norm(data.xpos[index.carton_body] - before, axis=1)
        if (drift[~leaning] > 0.05).any():
            return None
        if step > 50 and max(np.abs(data.qvel[a : a + 6]).max() for a in index.carton_dof) < 0.02:
            turn = tilt_rad(turned, data.xmat[index.carton_body].reshape(-1, 3, 3))
            if (drift[leaning] > 0.3).any() or (turn[leaning] > math.radians(30)).any():
                return None
            return np.stack([data.qpos[a : a + 7] for a in index.carton_qpos])
    return None


class World:
    """One simulated trailer. Public state is read between steps; nothing here is thread-safe."""

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec
        robot = spec.robot
        self.robot = robot
        self.cartons, state = settled_load(spec)
        self.half = np.array([c.size_m for c in self.cartons]) / 2
        extent = reach(Rotation.from_quat(state[:, 3:], scalar_first=True).as_matrix(), self.half)
        self._start_x = float((state[:, 0] - extent[:, 0]).min()) - spec.stand_off_m
        self.model, self.index = build(robot, spec.trailer, self.cartons, 0.0, spec.sleep)
        self.data = mujoco.MjData(self.model)
        index = self.index
        for address, pose in zip(index.carton_qpos, state, strict=True):
            self.data.qpos[address : address + 7] = pose
        home = robot.poses["home"]
        self.data.qpos[index.arm_qpos] = home
        self.data.qpos[index.base_qpos] = self._start_x
        self.data.time = START_S
        mujoco.mj_forward(self.model, self.data)
        self._dofs = np.r_[index.base_dof, index.arm_dof]
        self._carton_lin = index.carton_dof[:, None] + np.arange(3)
        limits = Limits(
            robot.joint_names, robot.lower_rad, robot.upper_rad, robot.max_speed_radps, robot.max_accel_radps2
        )
        self.trajectory = TrajectoryServer(limits, home.copy(), spec.tolerances)
        base = robot.raw["base"]
        self.drive = Drive(
            DriveSpec(
                base["max_speed_mps"],
                base["max_accel_mps2"],
                0.5 - spec.trailer.dock_length_m,
                spec.trailer.length_m - 1.0,
            ),
            self._start_x,
        )
        self._rng = np.random.default_rng([spec.seed, 7])
        self.suction = Suction(robot.gripper, self._rng.random)
        self.people = People()
        self.accounting = Accounting(self.half, self.carton_position, self.carton_rotation, robot.conveyor)
        laser = robot.raw["scanner"]
        self.scanner = ScannerSpec(
            laser["fov_rad"], laser["step_rad"], laser["range_min_m"], laser["range_max_m"], spec.scan_noise_m
        )
        self._max_effort = read_efforts(robot.urdf, robot.joint_names)
        self._steps = 0
        self._welds: dict[int, int] = {}
        self._pushes: list[tuple[float, int, Array]] = []
        self._mass_column = np.zeros(self.model.nv)
        self._product = np.zeros(self.model.nv)
        self._jac_position, self._jac_rotation = np.zeros((3, self.model.nv)), np.zeros((3, self.model.nv))
        self._effort = np.zeros(len(home))
        self.peak_speed_fraction = 0.0
        self.conveyor_runs = True
        self.estop_closed = True
        self.lost: list[int] = []
        self._index_scene()

    def _index_scene(self) -> None:
        model = self.model
        names = {model.geom(i).name: i for i in range(model.ngeom)}
        self._structure = np.array([names[n] for n in ("floor", "back_wall", "left_wall", "right_wall", "roof")])
        self._base_boxes = np.array([names[n] for n in ("deck", "belt", "rail_left", "rail_right")])
        self._pad = np.array([names["pad"]])
        kinds = model.geom_type
        self._capsules = np.flatnonzero(kinds == int(mujoco.mjtGeom.mjGEOM_CAPSULE))
        self._mounts = {name: mount.matrix() for name, mount in self.robot.mounts.items()}

    def follow(self, before: "World") -> None:
        """Take the place of another trailer under the same robot: time, arm, people and switches go on; the base stands at
        its start.

        Raises:
            ValueError: the arm moves, or the gripper is on.
        """
        if before.trajectory.active_id or before.suction.on.any() or before.suction.holding:
            raise ValueError("the arm moves, or the gripper is on: a trailer is changed while the robot rests")
        self.data.time = before.time_s
        self.data.qpos[self.index.arm_qpos] = before.data.qpos[before.index.arm_qpos]
        mujoco.mj_forward(self.model, self.data)
        self.trajectory, self.people = before.trajectory, before.people
        self.estop_closed, self.conveyor_runs = before.estop_closed, before.conveyor_runs
        self.peak_speed_fraction = before.peak_speed_fraction

    # --- state ---

    @property
    def time_s(self) -> float:
        return float(self.data.time)

    @property
    def base_x_m(self) -> float:
        return float(self.data.qpos[self.index.base_qpos])

    @property
    def base_speed_mps(self) -> float:
        return float(self.data.qvel[self.index.base_dof])

    @property
    def carton_position(self) -> Array:
        return np.asarray(self.data.xpos[self.index.carton_body])

    @property
    def carton_rotation(self) -> Array:
        return np.asarray(self.data.xmat[self.index.carton_body].reshape(-1, 3, 3))

    def joint_state(self) -> tuple[Array, Array, Array]:
        """Measured position rad, velocity rad/s, effort Nm, each (n,), in the order of `robot.joint_names`."""
        return (
            self.data.qpos[self.index.arm_qpos].copy(),
            self.data.qvel[self.index.arm_dof].copy(),
            self._effort.copy(),
        )

    def tool_pose(self) -> Array:
        """(4, 4) of tool0 in the trailer frame."""
        pose = np.eye(4)
        pose[:3, :3] = self.data.xmat[self.index.tool_body].reshape(3, 3)
        pose[:3, 3] = self.data.xpos[self.index.tool_body]
        return pose

    def base_pose(self) -> Array:
        """(4, 4) of base_link in the trailer frame."""
        pose = np.eye(4)
        pose[0, 3] = self.base_x_m
        return pose

    @property
    def belt_speed_mps(self) -> float:
        """Measured speed of the belt, m/s."""
        return self.robot.conveyor.speed_mps if self.conveyor_runs and self.estop_closed else 0.0

    @property
    def conveyor_ready(self) -> bool:
        """Whether the belt runs and its first 0.6 m behind the infeed are free."""
        from_x = self.robot.mounts["infeed"].xyz[0] - 0.6
        free = self.accounting.infeed_free(self.carton_position, self.carton_rotation, self.base_x_m, from_x)
        return self.belt_speed_mps > 0.0 and free

    def counts(self) -> Counts:
        return self.accounting.counts()

    # --- commands and faults ---

    def set_estop(self, closed: bool) -> None:
        """Open or close the E-stop circuit. Open: the drives brake, refuse goals, and belt and base stop."""
        self.estop_closed = closed
        self.set_controller(closed, "the emergency stop circuit is open")

    def set_controller(self, connected: bool, text: str = "the drives are not connected") -> None:
        """Connected, or refusing and aborting everything."""
        self.trajectory.fault = "" if connected else text
        if not connected:
            self.trajectory.abort(Code.INVALID_GOAL, text, self.time_s)

    def push_carton(self, carton: int, force_n: Array, until_s: float) -> None:
        """Push a carton at its centre until a time."""
        self._pushes.append((until_s, carton, force_n))
        # A sleeping carton feels nothing.
        self.data.qvel[self.index.carton_dof[carton]] += 1e-6

    # --- sensors ---

    def obstacles(self) -> Obstacles:
        """Everything a laser beam can hit; people included. The belt and deck lie outside the scanners' plane."""
        data, model = self.data, self.model
        a, b, radius = self._capsule_ends()
        pa, pb, pr = self.people.capsules(self.time_s)
        boxes = np.r_[self._structure, self._base_boxes, self._pad]
        return Obstacles(
            np.concatenate([self.carton_position, data.geom_xpos[boxes]]),
            np.concatenate([self.carton_rotation, data.geom_xmat[boxes].reshape(-1, 3, 3)]),
            np.concatenate([self.half, model.geom_size[boxes]]),
            np.concatenate([a, pa]),
            np.concatenate([b, pb]),
            np.concatenate([radius, pr]),
        )

    def _capsule_ends(self) -> tuple[Array, Array, Array]:
        data, size = self.data, self.model.geom_size[self._capsules]
        axis = data.geom_xmat[self._capsules].reshape(-1, 3, 3)[:, :, 2] * size[:, 1:2]
        centre = data.geom_xpos[self._capsules]
        return centre - axis, centre + axis, size[:, 0].copy()

    def scan(self, name: str, obstacles: Obstacles) -> NDArray[np.float32]:
        """Ranges of scanner_front or scanner_rear, m."""
        return scan(self.scanner, self.base_pose() @ self._mounts[name], obstacles, self._rng)

    def view(self) -> View:
        """A copy of what the camera needs, to be rendered elsewhere."""
        data, model = self.data, self.model
        a, b, radius = self._capsule_ends()
        pa, pb, pr = self.people.capsules(self.time_s)
        here = ~self.accounting.gone
        structure, pad = np.r_[self._structure, self._base_boxes], self._pad
        position = self.carton_position.copy()
        # Cartons that left the belt are out of the scene.
        position[~here] = [0.0, 0.0, -100.0]
        return View(
            time_s=self.time_s,
            camera=self.base_pose() @ self._mounts["camera_optical_frame"],
            carton_position=position,
            carton_rotation=self.carton_rotation.copy(),
            carton_half=self.half,
            structure_centre=data.geom_xpos[structure].copy(),
            structure_rotation=data.geom_xmat[structure].reshape(-1, 3, 3).copy(),
            structure_half=model.geom_size[structure].copy(),
            robot_a=a,
            robot_b=b,
            robot_radius=radius,
            robot_box_centre=data.geom_xpos[pad].copy(),
            robot_box_rotation=data.geom_xmat[pad].reshape(-1, 3, 3).copy(),
            robot_box_half=model.geom_size[pad].copy(),
            person_a=pa,
            person_b=pb,
            person_radius=pr,
        )

    # --- physics ---

    def step(self, duration_s: float) -> None:
        """Move time on by a whole number of 4 ms steps (at least one)."""
        for _ in range(max(1, round(duration_s / STEP_S))):
            self._step()

    def _step(self) -> None:
        data = self.data
        self._drive_arm()
        belt = self.model.geom_surfacevel[self.index.belt_geom]
        if belt[0] != -self.belt_speed_mps:
            belt[0] = -self.belt_speed_mps
        if self._pushes:
            self._push()
        mujoco.mj_step(self.model, data)
        self._steps += 1
        if self._steps % _EVERY_SUCTION == 0:
            self._suck(_EVERY_SUCTION * STEP_S)
        elif self._welds:
            self._weigh(STEP_S)
        if self._steps % _EVERY_ACCOUNT == 0:
            self._account()

    def _drive_arm(self) -> None:
        """Computed torque: the drives follow the reference within their speed and (over-rated) acceleration."""
        data, index, robot = self.data, self.index, self.robot
        position, velocity = data.qpos[index.arm_qpos], data.qvel[index.arm_dof]
        reference = self.trajectory.step(self.time_s, position, velocity)
        wanted = (
            reference.acceleration
            + 2 * _OMEGA * (reference.velocity - velocity)
            + _OMEGA**2 * (reference.position - position)
        )
        limit = robot.max_accel_radps2 * _OVERDRIVE
        # No drive pushes beyond its rated speed.
        high = np.minimum(limit, (1.02 * robot.max_speed_radps - velocity) / (4 * STEP_S))
        low = np.maximum(-limit, (-1.02 * robot.max_speed_radps - velocity) / (4 * STEP_S))
        wanted = np.minimum(np.maximum(wanted, low), high)
        x, v, a = self.drive.step(STEP_S, self.base_x_m, self.estop_closed)
        base = a + 2 * _OMEGA * (v - self.base_speed_mps) + _OMEGA**2 * (x - self.base_x_m)
        self._mass_column[index.arm_dof] = wanted
        self._mass_column[index.base_dof] = min(max(base, -2.0), 2.0)
        mujoco.mj_mulM(self.model, data, self._product, self._mass_column)
        torque = self._product[self._dofs] + data.qfrc_bias[self._dofs]
        for carton in self._welds:
            torque += self._payload_torque(carton)
        torque[1:] = np.minimum(np.maximum(torque[1:], -self._max_effort), self._max_effort)
        data.qfrc_applied[self._dofs] = torque
        self._effort = torque[1:]
        fraction = float(np.abs(velocity / robot.max_speed_radps).max())
        self.peak_speed_fraction = max(self.peak_speed_fraction, fraction)

    def _payload_torque(self, carton: int) -> Array:
        """(1 + n,) what the drives add for a held carton, N and Nm: they know their payload, as controllers that identify it do.

        Inertia of a rigid body at its distance from every joint. Its weight and gyroscopic terms are left to the feedback: a
        weight fed forward would be pulled at by the cups while the carton still stands.
        """
        model, data, body = self.model, self.data, int(self.index.carton_body[carton])
        mujoco.mj_jac(model, data, self._jac_position, self._jac_rotation, data.xpos[body], self.index.tool_body)
        shift, turn = self._jac_position[:, self._dofs], self._jac_rotation[:, self._dofs]
        wanted, mass = self._mass_column[self._dofs], float(model.body_mass[body])
        axes = data.ximat[body].reshape(3, 3)
        force = mass * (shift @ wanted)
        torque = axes @ (model.body_inertia[body] * (axes.T @ (turn @ wanted)))
        return np.asarray(shift.T @ force + turn.T @ torque)

    def _push(self) -> None:
        body = self.index.carton_body
        kept = []
        for until_s, carton, force in self._pushes:
            active = self.time_s < until_s
            self.data.xfrc_applied[body[carton], :3] = force if active else 0.0
            if active:
                kept.append((until_s, carton, force))
        self._pushes = kept

    def _near(self, tool: Array) -> Boxes:
        offset = self.carton_position - tool[:3, 3]
        near = np.flatnonzero((np.abs(offset).max(axis=1) < 0.9) & ~self.accounting.gone)
        return Boxes(near, self.carton_position[near], self.carton_rotation[near], self.half[near])

    def _suck(self, dt_s: float) -> None:
        suction = self.suction
        if not suction.on.any() and suction.kpa.max() < 0.1:
            suction.kpa[:] = 0.0
            if not self._welds:
                return
        tool = self.tool_pose()
        if suction.on.any() and (suction.kpa[suction.on] < self.robot.gripper.part_present_kpa).any():
            fraction, owner = seal_fractions(self.robot.gripper, tool, self._near(tool), CUP_PRESS_M)
        else:
            fraction, owner = suction.fraction, suction.owner
        suction.step(dt_s, fraction, owner)
        if self._welds:
            self._weigh(STEP_S)
        holding = suction.holding
        for carton in [c for c in self._welds if c not in holding]:
            self._release(carton)
            suction.load = 0.0
        for carton in holding:
            if carton not in self._welds:
                self._weld(carton, tool)

    def _weld(self, carton: int, tool: Array) -> None:
        free = [weld for weld in self.index.weld if weld not in self._welds.values()]
        if not free:
            return
        model, data, weld, body = self.model, self.data, free[0], self.index.carton_body[carton]
        rotation = tool[:3, :3].T
        model.eq_obj1id[weld], model.eq_obj2id[weld] = self.index.tool_body, body
        model.eq_data[weld, :3] = 0.0
        model.eq_data[weld, 3:6] = rotation @ (data.xpos[body] - tool[:3, 3])
        relative = rotation @ data.xmat[body].reshape(3, 3)
        model.eq_data[weld, 6:10] = Rotation.from_matrix(relative).as_quat(scalar_first=True)
        data.eq_active[weld] = 1
        data.qvel[self.index.carton_dof[carton]] += 1e-9
        self._welds[carton] = weld

    def _release(self, carton: int) -> None:
        self.data.eq_active[self._welds.pop(carton)] = 0
        self._stay_awake()

    def _stay_awake(self) -> None:
        """Start every waking tree's wait for sleep anew.

        A tree's wait runs on while something else holds it still; it would then sleep in mid-air the moment that it is let go.
        """
        waiting = self.data.tree_asleep
        waiting[waiting < 0] = -(1 + mujoco.mjMINAWAKE)

    def cup_wrench(self, carton: int) -> tuple[Array, Array]:
        """Force N and torque Nm that a held carton puts on the cups, about tool0's origin, in tool0 axes."""
        data, weld = self.data, self._welds[carton]
        dof = int(self.index.carton_dof[carton])
        total = np.zeros(6)
        rows = np.flatnonzero(data.efc_id[: data.ne] == weld)
        jacobian, nnz, start, column = data.efc_J.reshape(-1), data.efc_J_rownnz, data.efc_J_rowadr, data.efc_J_colind
        sparse = mujoco.mj_isSparse(self.model)
        for row in rows:
            force = data.efc_force[row]
            if sparse:
                span = slice(int(start[row]), int(start[row]) + int(nnz[row]))
                columns = column[span]
                mine = (columns >= dof) & (columns < dof + 6)
                total[columns[mine] - dof] += jacobian[span][mine] * force
            else:
                total += jacobian[row * self.model.nv + dof : row * self.model.nv + dof + 6] * force
        tool, body = self.tool_pose(), self.index.carton_body[carton]
        rotation = data.xmat[body].reshape(3, 3)
        # Generalised forces of a free joint: force in world axes at the centre, torque in the body's axes.
        force, torque = -total[:3], -(rotation @ total[3:])
        arm = data.xpos[body] - tool[:3, 3]
        return tool[:3, :3].T @ force, tool[:3, :3].T @ (torque + np.cross(arm, force))

    def _weigh(self, dt_s: float) -> None:
        holding = self.suction.holding
        worst, which = 0.0, -1
        for carton in self._welds:
            zones = holding.get(carton)
            if zones is None:
                continue
            load = load_fraction(self.robot.gripper, zones, self.suction.kpa, *self.cup_wrench(carton))
            if load > worst:
                worst, which = load, carton
        if which >= 0 and self.suction.measure(dt_s, worst):
            self.suction.let_go(which)
            self._release(which)
            self.lost.append(which)

    def _account(self) -> None:
        speed = np.linalg.norm(self.data.qvel[self._carton_lin], axis=1)
        arrived = self.accounting.update(
            self.carton_position, self.carton_rotation, speed, self.base_x_m, list(self._welds)
        )
        if self._welds or bool((speed[~self.accounting.on_belt] > _CALM_MPS).any()):
            self._stay_awake()
        for carton in arrived:
            self._park(int(carton))

    def take_away(self, carton: int) -> None:
        """A person carries a carton off by hand.

        Raises:
            ValueError: it hangs on the gripper, or is gone already.
        """
        if carton in self._welds or self.accounting.gone[carton]:
            raise ValueError(f"carton {carton} hangs on the gripper, or is gone already")
        self.accounting.with_person[carton] = True
        self._park(carton)
        self._stay_awake()

    def _park(self, carton: int) -> None:
        """Take a carton that is gone out of the scene: onto a shelf far away, where it sleeps."""
        address, dof = int(self.index.carton_qpos[carton]), int(self.index.carton_dof[carton])
        self.data.qpos[address : address + 7] = [
            -60.0 - carton % 20,
            20.0 + carton // 20,
            self.half[carton, 2] + 0.001,
            1,
            0,
            0,
            0,
        ]
        self.data.qvel[dof : dof + 6] = 0.0
