"""A load in front of a rig, seen by detector and camera, and what may happen to it."""

import numpy as np
from lumper_msgs.action import ExecuteMotion
from perception_scenes import Load, Renderer, camera_pose, detect, wall
from std_msgs.msg import Header

from lumper_ros import cloud as clouds
from lumper_ros.convert import to_time

RENDERER = Renderer()


PICK, PLACE = ExecuteMotion.Goal.PICK, ExecuteMotion.Goal.PLACE


class World:
    """A load in front of a rig, seen by detector and camera."""

    def __init__(self, rig, load: Load, seed: int = 1) -> None:
        self.rig, self.load, self.rng = rig, load, np.random.default_rng(seed)
        self._drawn: tuple | None = None

    def picture(self):
        key = (self.load.centre.tobytes(), self.rig.base_x)
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = (key, RENDERER.render(self.load, camera_pose(self.rig.base_x), self.rng))
        return self._drawn[1]

    def see(self, times: int = 1, hide=(), elapsed_s: float = 0.1) -> None:
        for _ in range(times):
            self.rig.step(elapsed_s)
            picture = self.picture()
            message = detect(self.load, picture, self.rig.time_s, self.rng)
            if hide:
                shown = self.load.without(*hide)
                message = detect(
                    shown, RENDERER.render(shown, camera_pose(self.rig.base_x), self.rng), self.rig.time_s, self.rng
                )
            self.rig.send("detections", message)

    def cloud(self):
        header = Header(frame_id="camera_optical_frame", stamp=to_time(self.rig.time_s))
        return clouds.from_xyz(self.picture().cloud, header)

    def index_of(self, carton) -> int:
        at = np.array([carton.pose.position.x, carton.pose.position.y, carton.pose.position.z])
        return int(
            np.argmin(
                np.linalg.norm((self.load.centre - at)[:, 1:], axis=1) + 0.3 * np.abs(self.load.centre - at)[:, 0]
            )
        )

    def id_of(self, key: int) -> int:
        index = int(np.flatnonzero(self.load.key == key)[0])
        return next(c.id for c in self.rig.wall.cartons if self.index_of(c) == index)


def one_row(seed: int = 3, front_x_m: float = 4.0) -> Load:
    return wall(np.random.default_rng(seed), front_x_m=front_x_m, rows=1)


def fall(world, key: int) -> None:
    """The carton lies turned in front of the wall, on the floor."""
    i = int(np.flatnonzero(world.load.key == key)[0])
    size = world.load.size[i]
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    world.load.centre[i] = [3.5, 0.0, size[2] / 2]
    world.load.rotation[i] = turn


def shift(world: World, key: int, by_m: list[float]) -> None:
    world.load.centre[world.load.key == key] += by_m


def put_tool(rig, position, axis):
    """The arm where tool0 is at `position`, looking along `axis`, both in base_link."""
    from scipy.optimize import least_squares

    def off(joints):
        tool = rig.robot.link_transforms(joints)["tool0"]
        return np.concatenate([tool[:3, 3] - position, tool[:3, 2] - axis])

    found = least_squares(off, [-0.5, 0.2, 1.3, 0.0, 0.5, 0.0])
    assert np.abs(found.fun).max() < 0.02
    rig.joints = found.x
