"""What has been looked into: floor, back wall and cross-section of the trailer, as seen by clouds.

An empty trailer is asserted from this: every part of the floor in front of the robot seen as floor, the back wall seen,
and nothing standing on it.
"""

from dataclasses import dataclass

import numpy as np

from lumper_perception.boxes import Array, Bools

CELL_M = 0.10
WALL_CELL_M = 0.25
EDGE_M = 0.10


@dataclass(frozen=True, slots=True)
class Emptiness:
    """floor_share, back_wall_share: parts of what should be seen that were seen free; occupied_cells: load on the floor."""

    floor_share: float
    back_wall_share: float
    occupied_cells: int
    back_wall_x_m: float

    def empty(self) -> bool:
        return self.floor_share > 0.97 and self.back_wall_share > 0.9 and self.occupied_cells <= 1

    def text(self) -> str:
        return (
            f"{self.floor_share:.0%} of the floor ahead and {self.back_wall_share:.0%} of the back wall seen free, "
            f"{self.occupied_cells} floor cells occupied"
        )


class SpaceMap:
    """Grids over the trailer. `length_m`, `width_m`, `height_m`: its inside."""

    def __init__(self, length_m: float, width_m: float, height_m: float, memory_s: float = 10.0) -> None:
        self.length_m, self.width_m, self.height_m = length_m, width_m, height_m
        self._memory_s = memory_s
        self._shape = (int(np.ceil(length_m / CELL_M)), int(np.ceil(width_m / CELL_M)))
        self._floor_s = np.full(self._shape, -np.inf)
        self._occupied = np.zeros(self._shape, dtype=bool)
        self._section = (int(np.ceil(width_m / WALL_CELL_M)), int(np.ceil(height_m / WALL_CELL_M)))
        self._wall_s = np.full(self._section, -np.inf)
        self._looked_s = np.full(self._section, -np.inf)
        self._front_x = np.full(self._section, np.nan)
        self._back_wall_x = np.nan
        self.updates = 0

    def update(self, points: Array, range_m: Array, stamp_s: float) -> None:
        """Take a subsampled cloud: points (P, 3) in trailer, m, without robot and held load; range (P,) to the camera, m."""
        self.updates += 1
        half = self.width_m / 2.0
        # Depth noise grows with the square of the range; at grazing angles all of it shows as height.
        slack = 0.025 + 0.004 * range_m**2
        inside = (np.abs(points[:, 1]) < half + 0.05) & (points[:, 0] > 0.0) & (points[:, 0] < self.length_m + 0.3)
        points, slack = points[inside], slack[inside]
        back = np.abs(points[:, 0] - self.length_m) < 0.04 + slack
        floor = ~back & (np.abs(points[:, 2]) < slack)
        load = ~back & ~floor & (points[:, 2] > slack) & (points[:, 2] < self.height_m - 0.10)
        load &= np.abs(points[:, 1]) < half - 0.06
        self._count(points[floor], points[load & (points[:, 0] < self.length_m - 0.08)], stamp_s)
        self._sections(points, back, stamp_s)

    def _count(self, floor: Array, load: Array, stamp_s: float) -> None:
        free = self._cells(floor)
        full = self._cells(load)
        occupied = (full >= 2) & (full > 0.5 * free)
        clear = (free >= 1) & ~occupied
        self._floor_s[clear] = stamp_s
        self._occupied[clear] = False
        self._occupied[occupied] = True

    def _cells(self, points: Array) -> Array:
        x = (points[:, 0] / CELL_M).astype(int)
        y = ((points[:, 1] + self.width_m / 2.0) / CELL_M).astype(int)
        good = (x >= 0) & (x < self._shape[0]) & (y >= 0) & (y < self._shape[1])
        counts = np.bincount(x[good] * self._shape[1] + y[good], minlength=self._shape[0] * self._shape[1])
        return counts.reshape(self._shape).astype(float)

    def _sections(self, points: Array, back: Bools, stamp_s: float) -> None:
        y = ((points[:, 1] + self.width_m / 2.0) / WALL_CELL_M).astype(int)
        z = (points[:, 2] / WALL_CELL_M).astype(int)
        good = (y >= 0) & (y < self._section[0]) & (points[:, 2] > 0.0) & (z < self._section[1])
        cell = y[good] * self._section[1] + z[good]
        self._looked_s.reshape(-1)[cell] = stamp_s
        self._wall_s.reshape(-1)[y[good & back] * self._section[1] + z[good & back]] = stamp_s
        front = np.full(self._section[0] * self._section[1], np.inf)
        np.minimum.at(front, cell, points[good, 0])
        seen = np.isfinite(front)
        self._front_x.reshape(-1)[seen] = front[seen]
        if int(back.sum()) >= 30:
            self._back_wall_x = float(np.median(points[back, 0]))

    def emptiness(self, from_x_m: float, now_s: float) -> Emptiness:
        """Evidence for an empty trailer beyond `from_x_m` (trailer x where the camera's view of the floor begins)."""
        first = max(0, int(np.ceil((from_x_m + EDGE_M) / CELL_M)))
        last = self._shape[0] - int(np.ceil(EDGE_M / CELL_M))
        rim = int(np.ceil(EDGE_M / CELL_M))
        # Nearer cells lie under the robot or out of view; a carton left there is still known as a carton.
        floor = self._floor_s[first:last, rim : self._shape[1] - rim] > now_s - self._memory_s
        wall = self._wall_s[:, : self._section[1] - 1] > now_s - self._memory_s
        share = float(floor.mean()) if floor.size else 1.0
        return Emptiness(
            share, float(wall.mean()), int(self._occupied[first:].sum()), self._back_wall_x if wall.any() else np.nan
        )

    def coverage(self, now_s: float) -> float:
        """Part of the cross-section that something has looked into lately."""
        return float((self._looked_s > now_s - self._memory_s).mean())

    def mark_looked(self, low: Array, high: Array, now_s: float) -> None:
        """Cartons seen by a detector: their cross-section cells count as looked into; low, high (N, 3) m."""
        for index in range(len(low)):
            y0, y1 = (int((v + self.width_m / 2.0) / WALL_CELL_M) for v in (low[index, 1], high[index, 1]))
            z0, z1 = (int(v / WALL_CELL_M) for v in (low[index, 2], high[index, 2]))
            self._looked_s[max(0, y0) : y1 + 1, max(0, z0) : z1 + 1] = now_s

    def unknown(self, low: Array, high: Array, now_s: float, step_m: float = 0.5) -> list[tuple[Array, Array]]:
        """Regions that nothing has looked into, as a few (min, max) boxes: behind the cartons, and where no ray went.

        Args:
            low, high: (N, 3) extents of the cartons known, m.
        """
        start = np.where(self._looked_s > now_s - self._memory_s, self.length_m, 0.0)
        free = self._wall_s > now_s - self._memory_s
        y = (np.arange(self._section[0]) + 0.5) * WALL_CELL_M - self.width_m / 2.0
        z = (np.arange(self._section[1]) + 0.5) * WALL_CELL_M
        behind = np.full(self._section, np.inf)
        for index in range(len(low)):
            rows = (y > low[index, 1]) & (y < high[index, 1])
            columns = (z > low[index, 2]) & (z < high[index, 2])
            cells = np.ix_(rows, columns)
            behind[cells] = np.minimum(behind[cells], high[index, 0])
        covered = np.isfinite(behind)
        looked_load = ~free & ~covered & np.isfinite(self._front_x)
        start = np.where(covered, behind, np.where(looked_load, np.nan_to_num(self._front_x), start))
        start = np.ceil(start / step_m - 1e-9) * step_m
        return self._merged(np.where(free & ~covered, self.length_m, start))

    def _merged(self, start: Array) -> list[tuple[Array, Array]]:
        regions = []
        done = start >= self.length_m - 1e-6
        for i in range(self._section[0]):
            for j in range(self._section[1]):
                if done[i, j]:
                    continue
                x = start[i, j]
                top = j
                while top + 1 < self._section[1] and not done[i, top + 1] and start[i, top + 1] == x:
                    top += 1
                right = i
                while right + 1 < self._section[0] and bool(
                    (~done[right + 1, j : top + 1] & (start[right + 1, j : top + 1] == x)).all()
                ):
                    right += 1
                done[i : right + 1, j : top + 1] = True
                regions.append(
                    (
                        np.array([x, i * WALL_CELL_M - self.width_m / 2.0, j * WALL_CELL_M]),
                        np.array(
                            [
                                self.length_m,
                                min((right + 1) * WALL_CELL_M - self.width_m / 2.0, self.width_m / 2.0),
                                min((top + 1) * WALL_CELL_M, self.height_m),
                            ]
                        ),
                    )
                )
        return regions
