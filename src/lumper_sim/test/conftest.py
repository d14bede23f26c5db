"""Robot, trailer and worlds for the tests of the simulation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import py_opw_kinematics as opw
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import RigidTransform

from lumper_ros.robot import Robot, Trailer, load_robot, load_trailer
from lumper_sim.loads import CartonSpec
from lumper_sim.trajectory import Finished, Goal, Point
from lumper_sim.world import World, WorldSpec

Array = NDArray[np.float64]

# Columns: tool0 x left, y up, z into the trailer.
FORWARD = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def pose(rotation: Array, xyz: Array) -> Array:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rotation, xyz
    return result


CONFIG = Path(__file__).parents[3] / "config"


@pytest.fixture(scope="session")
def robot() -> Robot:
    return load_robot(CONFIG / "robot")


@pytest.fixture(scope="session")
def trailer() -> Trailer:
    return load_trailer(CONFIG / "trailer.yaml")


@pytest.fixture
def make_world(robot: Robot, trailer: Trailer) -> Callable[..., World]:
    """Makes a world from the keywords of WorldSpec."""
    return lambda **keywords: World(WorldSpec(robot, trailer, **keywords))


@pytest.fixture
def one_carton(make_world: Callable[..., World]) -> Callable[..., World]:
    """A world with a single carton on a stack of heavy blocks, its front face square to the arm."""

    def make(mass_kg: float = 5.0, size: tuple[float, float, float] = (0.4, 0.5, 0.35)) -> World:
        block = (0.6, 0.6, 0.5)
        x, y = 6.6, 0.3
        stack = [CartonSpec(block, 27.0, 0.6, (x, y, 0.25 + 0.501 * k)) for k in range(2)]
        top = CartonSpec(size, mass_kg, 0.5, (x - 0.3 + size[0] / 2, y, 1.002 + size[2] / 2))
        return make_world(own_cartons=(*stack, top))

    return make


class Driver:
    """Moves the arm through the trajectory server, as a client would."""

    def __init__(self, world: World) -> None:
        self.world = world
        o = world.robot.opw
        self._solver = opw.Robot(opw.KinematicModel(o.a1, o.a2, o.b, o.c1, o.c2, o.c3, o.c4), degrees=False)
        self._goals = 0

    def joints(self, tool: Array, near: Array) -> Array:
        """Joint position for a pose of tool0 in the trailer frame, nearest to `near`."""
        robot = self.world.robot
        base = self.world.base_pose() @ robot.mounts["arm_base"].matrix()
        flange = np.linalg.inv(base) @ tool @ np.linalg.inv(robot.flange_to_tool)
        found = [
            np.array(s) for s in self._solver.inverse(RigidTransform.from_matrix(flange), current_joints=tuple(near))
        ]
        inside = [s for s in found if (s >= robot.lower_rad).all() and (s <= robot.upper_rad).all()]
        assert inside, f"no joint solution for {tool[:3, 3]}"
        return min(inside, key=lambda s: float(np.abs(s - near).sum()))

    def submit(self, positions: list[Array], duration_s: float) -> str:
        """Points evenly spaced in time, at rest at the end only."""
        self._goals += 1
        count = len(positions)
        times = [duration_s * (i + 1) / count for i in range(count)]
        points = []
        for i, (time_s, position) in enumerate(zip(times, positions, strict=True)):
            after = positions[i + 1] if i + 1 < count else position
            before = positions[i - 1] if i else self.world.joint_state()[0]
            velocity = (after - before) / (2 * duration_s / count) if i + 1 < count else np.zeros_like(position)
            points.append(Point(time_s, tuple(position), tuple(velocity)))
        goal = Goal(f"goal-{self._goals}", self.world.robot.joint_names, tuple(points))
        assert self.world.trajectory.submit(goal, self.world.time_s)
        return goal.goal_id

    def finish(self, limit_s: float = 20.0) -> Finished:
        """Let time pass until a goal ends."""
        end = self.world.time_s + limit_s
        while self.world.time_s < end:
            self.world.step(0.02)
            for done in self.world.trajectory.take_finished():
                return done
        raise AssertionError("the goal did not end")

    def move(self, tool: Array, duration_s: float, steps: int = 1) -> Finished:
        """Straight line of tool0 from where it is, or one joint motion with steps=1."""
        world = self.world
        start, near = world.tool_pose(), world.joint_state()[0]
        positions = []
        for i in range(1, steps + 1):
            xyz = start[:3, 3] + (tool[:3, 3] - start[:3, 3]) * i / steps
            near = self.joints(pose(tool[:3, :3], xyz), near)
            positions.append(near)
        self.submit(positions, duration_s)
        return self.finish()

    def grasp(self, carton: int, mask: int, pad_shift: Array | None = None) -> None:
        """Bring the cups to the middle of a carton's front face, and switch zones on."""
        world = self.world
        face = world.carton_position[carton] - np.array([world.half[carton, 0], 0.0, 0.0])
        if pad_shift is not None:
            face = face + pad_shift
        self.move(pose(FORWARD, face - np.array([0.25, 0.0, 0.0])), 2.5)
        self.move(pose(FORWARD, face), 1.0, steps=4)
        world.suction.command(mask)
        world.step(0.3)


@pytest.fixture(scope="session")
def driver() -> type[Driver]:
    """The class Driver; `driver(world)` drives that world's arm."""
    return Driver
