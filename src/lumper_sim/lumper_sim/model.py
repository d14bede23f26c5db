"""The MuJoCo model of the scene: trailer, cartons, drive base with conveyor, arm. Settings: see `_options`."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lumper_ros.robot import Robot, Trailer
from lumper_sim.loads import CartonSpec

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

STEP_S = 0.004
WELDS = 6

# Who touches whom: (contype, conaffinity). The arm does not collide with itself: the broker's checks are the guard there,
# and a real arm's own limit switches are not part of this world.
_STATIC, _CARTON, _ARM, _BASE = (1, 3), (1, 7), (2, 0), (4, 2)
_PEDESTAL = (4, 0)
_INERTIA_MIN = 1e-3


@dataclass(frozen=True, slots=True)
class Index:
    """Where things are in the model's arrays."""

    carton_body: Ints
    carton_qpos: Ints
    carton_dof: Ints
    carton_geom: Ints
    arm_qpos: Ints
    arm_dof: Ints
    base_qpos: int
    base_dof: int
    base_body: int
    tool_body: int
    belt_geom: int
    weld: tuple[int, ...]


def _options(spec: "mujoco.MjSpec", sleep: bool) -> None:
    """Measured settings: fewer Newton iterations give NaN, CG and PGS do not converge, default contacts drift."""
    option = spec.option
    option.timestep = STEP_S
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    option.iterations = 50
    option.tolerance = 1e-6
    option.sleep_tolerance = 0.01
    if sleep:
        option.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    contact = spec.default.geom
    contact.solref[:] = [0.008, 1.0]
    contact.solimp[:] = [0.95, 0.99, 0.001, 0.5, 2.0]
    spec.memory = 256 * 1024 * 1024


def _box(
    body: "mujoco.MjsBody", name: str, centre: Sequence[float], size: Sequence[float], bits: tuple[int, int]
) -> "mujoco.MjsGeom":
    return body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=list(centre),
        size=[s / 2 for s in size],
        contype=bits[0],
        conaffinity=bits[1],
        friction=[0.5, 0.005, 0.0001],
    )


def _trailer(world: "mujoco.MjsBody", trailer: Trailer) -> None:
    long, wide, high, dock = trailer.length_m, trailer.width_m, trailer.height_m, trailer.dock_length_m
    thick = 0.2
    # Where delivered cartons are put out of the way.
    _box(world, "shelf", [-70, 30, -thick / 2], [24, 24, thick], _STATIC)
    _box(world, "floor", [(long - dock) / 2, 0, -thick / 2], [long + dock, 8.0, thick], _STATIC)
    _box(world, "back_wall", [long + thick / 2, 0, high / 2], [thick, wide, high], _STATIC)
    for name, side in (("left_wall", 1), ("right_wall", -1)):
        _box(world, name, [long / 2, side * (wide + thick) / 2, high / 2], [long, thick, high], _STATIC)
    _box(world, "roof", [long / 2, 0, high + thick / 2], [long, wide, thick], _STATIC)


def _capsules(body: "mujoco.MjsBody", robot: Robot, link: str, bits: tuple[int, int]) -> None:
    for number, capsule in enumerate(c for c in robot.capsules if c.link == link):
        body.add_geom(
            name=f"{link}_{number}",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            fromto=[*capsule.a, *capsule.b],
            size=[capsule.radius_m, 0, 0],
            contype=bits[0],
            conaffinity=bits[1],
            mass=0.0,
        )


def _base(spec: "mujoco.MjSpec", robot: Robot, base_x_m: float) -> "mujoco.MjsBody":
    base = spec.worldbody.add_body(name="base_link", pos=[base_x_m, 0, 0])
    base.sleep = mujoco.mjtSleepPolicy.mjSLEEP_NEVER
    base.add_joint(name="base_x", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[1, 0, 0])
    base.explicitinertial = True
    base.mass, base.ipos[:], base.inertia[:] = 1200.0, [0, 0, 0.3], [300.0, 300.0, 500.0]
    deck = robot.raw["base"]["deck"]
    _box(base, "deck", deck["xyz"], deck["size"], _BASE)
    belt = robot.conveyor
    centre = [(belt.front_x_m + belt.end_x_m) / 2, belt.center_y_m, belt.surface_z_m - belt.thickness_m / 2]
    geom = _box(base, "belt", centre, [belt.front_x_m - belt.end_x_m, belt.width_m, belt.thickness_m], _BASE)
    geom.friction[:] = [0.8, 0.005, 0.0001]
    geom.priority = 1
    # Not zero, or the compiled model has no moving surfaces at all.
    geom.surfacevel[0] = -belt.speed_mps
    # Side rails behind the place where cartons are laid down.
    rail_front = robot.mounts["infeed"].xyz[0] - 0.6
    for name, side in (("rail_left", 1), ("rail_right", -1)):
        y = belt.center_y_m + side * (belt.width_m / 2 + 0.01)
        x = (rail_front + belt.end_x_m) / 2
        rail = _box(base, name, [x, y, belt.surface_z_m + 0.03], [rail_front - belt.end_x_m, 0.02, 0.06], _BASE)
        rail.friction[:] = [0.05, 0.005, 0.0001]
        rail.priority = 2
    _capsules(base, robot, "base_link", _BASE)
    return base


# How far a face may stand inside tool0 before the cups' bellows are pressed flat.
CUP_PRESS_M = 0.012


def _arm(base: "mujoco.MjsBody", robot: Robot, inertials: dict[str, tuple[float, Array, Array]]) -> None:
    bodies = {"base_link": base}
    tool_names = {"tool0"}
    for joint in robot.joints:
        if joint.parent not in bodies:
            continue
        moving = joint.name in robot.joint_names
        if not moving and joint.child not in inertials and joint.child != "flange":
            continue
        quat = Rotation.from_matrix(joint.origin[:3, :3]).as_quat(scalar_first=True)
        body = bodies[joint.parent].add_body(name=joint.child, pos=list(joint.origin[:3, 3]), quat=list(quat))
        bodies[joint.child] = body
        if moving:
            number = robot.joint_names.index(joint.name)
            body.add_joint(
                name=joint.name,
                type=mujoco.mjtJoint.mjJNT_HINGE,
                axis=list(joint.axis),
                range=[float(robot.lower_rad[number]) - 0.02, float(robot.upper_rad[number]) + 0.02],
                limited=mujoco.mjtLimited.mjLIMITED_TRUE,
                armature=5.0,
            )
        mass, centre, inertia = inertials.get(joint.child, (_INERTIA_MIN, np.zeros(3), np.full(3, _INERTIA_MIN)))
        body.explicitinertial = True
        body.mass, body.ipos[:], body.inertia[:] = mass, centre, inertia
        if joint.child in tool_names:
            gripper = robot.gripper
            # The pad ends short of tool0: the last centimetre are the cups' bellows, which give way.
            depth = gripper.pad_depth_m - CUP_PRESS_M
            _box(
                body, "pad", [0, 0, -CUP_PRESS_M - depth / 2], [gripper.pad_width_m, gripper.pad_height_m, depth], _ARM
            ).mass = 0.0
        else:
            # The pedestal is overlapped by the joint that it carries.
            bits = _PEDESTAL if joint.parent == "base_link" else _ARM
            _capsules(body, robot, joint.child, bits)


def read_inertials(urdf: str) -> dict[str, tuple[float, Array, Array]]:
    """Mass (kg), centre (3,) m and inertia (3,) kg m^2 about the link's axes of each link that a URDF states them for."""
    result = {}
    for link in ElementTree.fromstring(urdf).findall("link"):
        inertial = link.find("inertial")
        if inertial is None:
            continue
        mass, inertia, origin = inertial.find("mass"), inertial.find("inertia"), inertial.find("origin")
        assert mass is not None and inertia is not None
        centre = np.array([float(v) for v in (origin.get("xyz", "0 0 0") if origin is not None else "0 0 0").split()])
        principal = np.array([float(inertia.get(key, "0")) for key in ("ixx", "iyy", "izz")])
        result[link.get("name", "")] = (float(mass.get("value", "0")), centre, principal)
    return result


def read_efforts(urdf: str, joint_names: Sequence[str]) -> Array:
    """(n,) largest torque of each joint, Nm, from the URDF's limits."""
    limits = {j.get("name"): j.find("limit") for j in ElementTree.fromstring(urdf).findall("joint")}
    efforts = [limit.get("effort") if (limit := limits[name]) is not None else None for name in joint_names]
    return np.array([float(effort) if effort else np.inf for effort in efforts])


def _cartons(spec: "mujoco.MjSpec", cartons: Sequence[CartonSpec]) -> None:
    for number, carton in enumerate(cartons):
        body = spec.worldbody.add_body(
            name=f"carton_{number}", pos=list(carton.position_m), quat=list(carton.quat_wxyz)
        )
        body.add_freejoint(name=f"carton_{number}")
        geom = _box(body, f"carton_{number}", [0, 0, 0], carton.size_m, _CARTON)
        geom.mass = carton.mass_kg
        geom.friction[:] = [carton.friction, 0.005, 0.0001]
        geom.group = 1


def build(
    robot: Robot, trailer: Trailer, cartons: Sequence[CartonSpec], base_x_m: float, sleep: bool = True
) -> "tuple[mujoco.MjModel, Index]":
    """Compile the scene. The arm stands at joint zero until its qpos are set."""
    spec = mujoco.MjSpec()
    spec.modelname = "lumper"
    spec.compiler.degree = False
    _options(spec, sleep)
    _trailer(spec.worldbody, trailer)
    base = _base(spec, robot, base_x_m)
    _arm(base, robot, read_inertials(robot.urdf))
    _cartons(spec, cartons)
    for number in range(WELDS if cartons else 0):
        spec.add_equality(
            name=f"suction_{number}",
            type=mujoco.mjtEq.mjEQ_WELD,
            objtype=mujoco.mjtObj.mjOBJ_BODY,
            name1="tool0",
            name2=f"carton_{number % len(cartons)}",
            active=False,
            solref=[0.008, 1.0],
            solimp=[0.95, 0.99, 0.001, 0.5, 2.0],
        )
    model = spec.compile()
    return model, _index(model, robot, len(cartons))


def _index(model: "mujoco.MjModel", robot: Robot, cartons: int) -> Index:
    body = np.array([model.body(f"carton_{i}").id for i in range(cartons)], dtype=np.int64)
    joint = model.body_jntadr[body] if cartons else body
    arm = [model.joint(name).id for name in robot.joint_names]
    base = model.joint("base_x").id
    return Index(
        carton_body=body,
        carton_qpos=model.jnt_qposadr[joint].astype(np.int64),
        carton_dof=model.jnt_dofadr[joint].astype(np.int64),
        carton_geom=model.body_geomadr[body].astype(np.int64),
        arm_qpos=model.jnt_qposadr[arm].astype(np.int64),
        arm_dof=model.jnt_dofadr[arm].astype(np.int64),
        base_qpos=int(model.jnt_qposadr[base]),
        base_dof=int(model.jnt_dofadr[base]),
        base_body=model.body("base_link").id,
        tool_body=model.body("tool0").id,
        belt_geom=model.geom("belt").id,
        weld=tuple(model.equality(f"suction_{i}").id for i in range(WELDS)) if cartons else (),
    )


def tilt_rad(before: Array, after: Array) -> Array:
    """(n,) angle between the z axes of two sets of rotation matrices (n, 3, 3)."""
    cosine = np.einsum("ni,ni->n", before[:, :, 2], after[:, :, 2])
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)))
