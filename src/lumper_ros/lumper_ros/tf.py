"""Transform buffer without a node: fed with TFMessages, asked for a transform at a time. Interpolates, bounded extrapolation."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

import numpy as np
from transforms3d.quaternions import axangle2quat, qconjugate, qmult, quat2axangle

from lumper_ros.convert import Array, inverse, matrix_of, quaternion, seconds, vector


def _between(start_xyzw: Array, end_xyzw: Array, share: float) -> Array:
    """Spherical linear interpolation, the short way round (Shoemake 1985)."""
    start, end = start_xyzw[[3, 0, 1, 2]], end_xyzw[[3, 0, 1, 2]]
    axis, angle_rad = quat2axangle(qmult(qconjugate(start), end if start @ end >= 0.0 else -end))
    at: Array = qmult(start, axangle2quat(axis, share * angle_rad))
    return at[[1, 2, 3, 0]]


class TransformError(LookupError):
    """No transform: a frame is unknown, not connected, or the time lies outside what is stored."""


class _Edge:
    """History of one child frame relative to its parent."""

    __slots__ = ("parent", "stamps", "static", "transforms")

    def __init__(self, parent: str, static: bool) -> None:
        self.parent = parent
        self.static = static
        self.stamps: list[float] = []
        self.transforms: list[tuple[Array, Array]] = []


class TransformBuffer:
    """Frames as a tree. Not thread-safe.

    Args:
        history_s: how far back transforms are kept.
        extrapolation_s: how far beyond the newest sample the newest one still serves.
    """

    def __init__(self, history_s: float = 10.0, extrapolation_s: float = 0.1) -> None:
        self._history_s = history_s
        self._extrapolation_s = extrapolation_s
        self._edges: dict[str, _Edge] = {}

    def add(self, transforms: Iterable[Any], static: bool = False) -> list[str]:
        """Take geometry_msgs/TransformStamped items; returns what is wrong with those refused."""
        faults = []
        for item in transforms:
            child, parent = item.child_frame_id.lstrip("/"), item.header.frame_id.lstrip("/")
            xyz, xyzw = vector(item.transform.translation), quaternion(item.transform.rotation)
            norm = float(np.linalg.norm(xyzw))
            if not child or not parent or child == parent:
                faults.append(f"transform {parent!r} -> {child!r}: frames must be two different, non-empty names")
            elif not (np.all(np.isfinite(xyz)) and abs(norm - 1.0) < 1e-2):
                faults.append(f"transform {parent} -> {child}: not finite, or rotation of norm {norm:.4f}")
            else:
                self._insert(child, parent, static, seconds(item.header.stamp), xyz, xyzw / norm)
        return faults

    def _insert(self, child: str, parent: str, static: bool, stamp_s: float, xyz: Array, xyzw: Array) -> None:
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.static != static:
            edge = self._edges[child] = _Edge(parent, static)
        if static:
            edge.stamps, edge.transforms = [stamp_s], [(xyz, xyzw)]
            return
        if edge.stamps and stamp_s < edge.stamps[-1] - self._history_s:
            # Time was set back: what is stored belongs to another run.
            edge.stamps.clear()
            edge.transforms.clear()
        at = bisect_right(edge.stamps, stamp_s)
        if at and edge.stamps[at - 1] == stamp_s:
            edge.transforms[at - 1] = (xyz, xyzw)
            return
        edge.stamps.insert(at, stamp_s)
        edge.transforms.insert(at, (xyz, xyzw))
        while edge.stamps[0] < edge.stamps[-1] - self._history_s:
            del edge.stamps[0], edge.transforms[0]

    def _edge_at(self, child: str, edge: _Edge, stamp_s: float | None) -> Array:
        if edge.static or stamp_s is None:
            return matrix_of(*edge.transforms[-1])
        at = bisect_right(edge.stamps, stamp_s)
        if at == len(edge.stamps):
            if stamp_s - edge.stamps[-1] > self._extrapolation_s:
                raise TransformError(
                    f"{edge.parent} -> {child}: asked for {stamp_s:.3f} s, newest is {edge.stamps[-1]:.3f} s, "
                    f"{self._extrapolation_s} s of extrapolation are allowed"
                )
            return matrix_of(*edge.transforms[-1])
        if at == 0:
            raise TransformError(f"{edge.parent} -> {child}: {stamp_s:.3f} s is older than the history")
        (xyz0, q0), (xyz1, q1) = edge.transforms[at - 1], edge.transforms[at]
        share = (stamp_s - edge.stamps[at - 1]) / (edge.stamps[at] - edge.stamps[at - 1])
        return matrix_of(xyz0 + share * (xyz1 - xyz0), _between(q0, q1, share))

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._edges:
            chain.append(self._edges[chain[-1]].parent)
            if len(chain) > 1000:
                raise TransformError(f"frames form a loop at {frame}")
        return chain

    def _to_ancestor(self, chain: list[str], stamp_s: float | None) -> Array:
        result = np.eye(4)
        for child in reversed(chain[:-1]):
            result = result @ self._edge_at(child, self._edges[child], stamp_s)
        return result

    def lookup(self, target: str, source: str, stamp_s: float | None = None) -> Array:
        """4x4 that takes coordinates in `source` to `target` at `stamp_s` (None = newest).

        Raises:
            TransformError: unknown frame, no connection, or outside the stored times.
        """
        up, down = self._chain(source), self._chain(target)
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            known = ", ".join(sorted(self._edges)) or "none"
            raise TransformError(f"no connection from {source} to {target}; frames known: {known}")
        to_common = self._to_ancestor(up[: up.index(common) + 1], stamp_s)
        from_common = self._to_ancestor(down[: down.index(common) + 1], stamp_s)
        return inverse(from_common) @ to_common
