"""What may be seen without being a person: trailer walls, pile, cartons, robot, held carton. All in the scanners' plane."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumper_ros.convert import matrix
from lumper_ros.robot import Trailer

Array = NDArray[np.float64]
_BIN_M = 0.05


@dataclass(frozen=True, slots=True)
class Margins:
    """How far beyond its model a thing explains a point, m, and how long a receding pile is remembered, s."""

    wall_m: float
    carton_m: float
    robot_m: float
    pile_memory_s: float


class Pile:
    """The front of the load: for each strip of the trailer's width, the x beyond which only cartons can be.

    Strips recede only after `pile_memory_s`: behind a carton just taken stands the next one, which no picture may have
    shown yet. They come forward at once.
    """

    def __init__(self, trailer: Trailer, margins: Margins) -> None:
        self._half_m = trailer.width_m / 2.0
        self._margins = margins
        count = int(np.ceil(trailer.width_m / _BIN_M))
        self._centres = -self._half_m + _BIN_M * (np.arange(count) + 0.5)
        self._front = np.full(count, np.inf)
        self._pending = np.full(count, np.inf)
        self._since_s = np.zeros(count)
        self._lying: tuple[Array, Array, Array] = (np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros((0, 2)))

    def update(self, cartons: Iterable[Any], height_m: float, steady_s: float) -> None:
        """Take the cartons of a wall (valid, frame trailer). `height_m`: of the scanners' plane."""
        front = np.full(len(self._front), np.inf)
        centres, axes, halves = [], [], []
        for carton in cartons:
            if carton.state == carton.STATE_HELD:
                continue
            transform = matrix(carton.pose)
            half = 0.5 * np.array([carton.size_m.x, carton.size_m.y, carton.size_m.z])
            reach = np.abs(transform[:3, :3]) @ half
            centre = transform[:3, 3]
            sigma = float(max(carton.pose_sigma[0], carton.pose_sigma[1]))
            grow = self._margins.carton_m + (sigma if np.isfinite(sigma) else 0.0)
            if carton.state != carton.STATE_ON_FLOOR:
                strips = np.abs(self._centres - centre[1]) <= reach[1] + grow
                front[strips] = np.minimum(front[strips], centre[0] - reach[0] - grow)
            elif abs(centre[2] - height_m) <= reach[2] + grow:
                # A fallen carton explains its own footprint, whatever way it lies.
                flat = transform[:2, :2]
                order = np.argsort(np.linalg.norm(flat, axis=0))[::-1][:2]
                unit = flat[:, order] / np.maximum(np.linalg.norm(flat[:, order], axis=0), 1e-9)
                if abs(np.linalg.det(unit)) < 0.5:
                    unit, extent = np.eye(2), reach[:2]
                else:
                    extent = np.abs(unit.T @ transform[:2, :3]) @ half
                centres.append(centre[:2])
                axes.append(unit.T)
                halves.append(extent + grow)
        if centres:
            self._lying = (np.array(centres), np.array(axes), np.array(halves))
        else:
            self._lying = (np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros((0, 2)))
        nearer = front <= self._front
        changed = front != self._pending
        self._since_s[changed & ~nearer] = steady_s
        self._pending = front
        self._front[nearer] = front[nearer]
        self.step(steady_s)

    def step(self, steady_s: float) -> None:
        """Let strips recede whose memory is over."""
        over = (self._pending > self._front) & (steady_s - self._since_s >= self._margins.pile_memory_s)
        self._front[over] = self._pending[over]

    def explains(self, points: Array) -> NDArray[np.bool_]:
        """(n,) for (n, 2) points in the trailer frame."""
        strip = np.clip(((points[:, 1] + self._half_m) / _BIN_M).astype(int), 0, len(self._front) - 1)
        result = points[:, 0] >= self._front[strip]
        centres, axes, halves = self._lying
        if len(centres):
            local = np.einsum("kij,nkj->nki", axes, points[:, None, :] - centres[None, :, :])
            result |= (np.abs(local) <= halves).all(axis=2).any(axis=1)
        return result


def trailer_explains(points: Array, trailer: Trailer, margin_m: float) -> NDArray[np.bool_]:
    """Points on or beyond the trailer's side and back walls; (n, 2) in the trailer frame. Its open end explains nothing."""
    beside = np.abs(points[:, 1]) >= trailer.width_m / 2.0 - margin_m
    result: NDArray[np.bool_] = (points[:, 0] > 0.0) & (beside | (points[:, 0] >= trailer.length_m - margin_m))
    return result


def capsule_distances(points: Array, a: Array, b: Array, radii: Array) -> Array:
    """(n, k) distances of points from the surfaces of capsules, in the dimension of the points (2 or 3), >= -radius."""
    along = b - a
    relative = points[:, None, :] - a
    share = _dot(relative, along)
    share /= np.maximum(_dot(along, along), 1e-12)
    share = np.minimum(np.maximum(share, 0.0), 1.0)
    relative -= share[:, :, None] * along
    return np.sqrt(_dot(relative, relative)) - radii


def _dot(u: Array, v: Array) -> Array:
    """Over the last axis of 2 or 3, where this is several times faster than a reduction."""
    product = u * v
    total: Array = product[..., 0] + product[..., 1]
    return total if product.shape[-1] == 2 else total + product[..., 2]


def robot_explains(
    points: Array, height_m: float, a: Array, b: Array, radii: Array, margin_m: float
) -> NDArray[np.bool_]:
    """Points of the scanners' plane on the robot; (n, 2) and capsules (k, 3) in base_link."""
    grown = radii + margin_m
    touches = (np.minimum(a[:, 2], b[:, 2]) - grown <= height_m) & (np.maximum(a[:, 2], b[:, 2]) + grown >= height_m)
    result = np.zeros(len(points), dtype=bool)
    if not touches.any() or not len(points):
        return result
    a, b, radii, reach = a[touches], b[touches], radii[touches], grown[touches, None]
    low = (np.minimum(a[:, :2], b[:, :2]) - reach).min(axis=0)
    high = (np.maximum(a[:, :2], b[:, :2]) + reach).max(axis=0)
    close = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    if len(close):
        spatial = np.column_stack([points[close], np.full(len(close), height_m)])
        result[close] = (capsule_distances(spatial, a, b, radii) <= margin_m).any(axis=1)
    return result


def load_explains(
    points: Array, height_m: float, tool: Array, half_width_m: float, depth_m: float
) -> NDArray[np.bool_]:
    """Points on what the gripper holds: a box before the suction face. `tool`: 4x4 of tool0 in base_link."""
    spatial = np.column_stack([points, np.full(len(points), height_m)])
    local = (spatial - tool[:3, 3]) @ tool[:3, :3]
    beside = np.abs(local[:, :2]).max(axis=1) > half_width_m
    result: NDArray[np.bool_] = ~beside & (local[:, 2] >= -0.1) & (local[:, 2] <= depth_m)
    return result
