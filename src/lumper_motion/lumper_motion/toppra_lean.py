"""TOPPRA without its plots and its set-up: it imports pyplot together with itself, 40 % of the time that the broker takes to start,
and spends more on describing a problem than on solving it.

Its linear programs (Seidel's algorithm) are used as they are; the two passes over them are those of TOPPRA (Pham & Pham 2018, doi
10.1109/TRO.2018.2819195) for limits that are the same in both directions, from standstill to standstill.
"""

import sys
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PLOTTING = {name: ModuleType(name) for name in ("matplotlib", "matplotlib.pyplot") if name not in sys.modules}
if "matplotlib" in _PLOTTING:
    _PLOTTING["matplotlib"].__dict__["pyplot"] = _PLOTTING["matplotlib.pyplot"]
sys.modules.update(_PLOTTING)
try:
    import toppra
    from toppra.constraint.linear_constraint import LinearConstraint, canlinear_colloc_to_interpolate
    from toppra.solverwrapper.cy_seidel_solverwrapper import seidelWrapper
finally:
    # Whoever plots gets the real ones.
    for _name in _PLOTTING:
        del sys.modules[_name]

Array = NDArray[np.float64]

toppra.setup_logging("ERROR")

# A step that rounding would make infeasible is made by so much slower (in the square of ds/dt), and tried again so often.
TINY, TRIES = 1e-8, 10


class _Problem(LinearConstraint):
    """|q' u + q'' x| <= limit and x <= x_max at every grid point, and at the next one where the step leads (interpolation)."""

    def __init__(self, grid: Array, first: Array, second: Array, limit: Array, x_max: Array) -> None:
        super().__init__()
        self.identical = True
        eye = np.eye(len(limit))
        self._params = canlinear_colloc_to_interpolate(
            first,
            second,
            np.zeros_like(first),
            np.vstack([eye, -eye]),
            np.concatenate([limit, limit]),
            None,
            None,
            grid,
            identical=True,
        )[:5]
        self._x_bound = np.column_stack([np.zeros(len(grid)), x_max])

    def compute_constraint_params(self, path: Any, gridpoints: Array, *_: Any, **__: Any) -> tuple[Any, ...]:
        return (*self._params, None, self._x_bound)


def fastest(grid: Array, first: Array, second: Array, limit: Array, rate_max: Array) -> Array | None:
    """(n,) the fastest ds/dt on a grid of s, from and to standstill; None where there is none.

    Args:
        grid: (n,) rising.
        first, second: (n, m) dq/ds and d2q/ds2 there.
        limit: (m,) largest |d2q/dt2|.
        rate_max: (n,) largest ds/dt.
    """
    solver = seidelWrapper([_Problem(grid, first, second, limit, rate_max**2)], None, grid)
    step = 2.0 * np.diff(grid)
    n = len(step)
    # Squares of ds/dt from which the end can still be reached; with such limits, from 0 on.
    most = np.zeros(n + 1)
    slowly = np.array([1e-9, -1.0])
    solver.setup_solver()
    for i in range(n - 1, -1, -1):
        most[i] = solver.solve_stagewise_optim(i, None, slowly, np.nan, np.nan, 0.0, most[i + 1])[1]
    if not np.isfinite(most).all():
        return None
    x = np.zeros(n + 1)
    for i in range(n):
        goal = np.array([-step[i], -1.0])
        for _ in range(TRIES):
            u = solver.solve_stagewise_optim(i, None, goal, x[i], x[i], 0.0, most[i + 1])[0]
            if np.isfinite(u):
                break
            x[i] = max(0.0, x[i] - TINY)
        else:
            return None
        x[i + 1] = min(most[i + 1], max(0.0, x[i] + step[i] * u - TINY))
    solver.close_solver()
    return np.sqrt(x)


__all__ = ["fastest"]
