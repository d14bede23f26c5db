"""TOPPRA (Pham & Pham 2018, doi 10.1109/TRO.2018.2819195) without its plots and its set-up: it imports pyplot together with itself,
40 % of the time that the broker takes to start, and spends more on describing a problem than on solving it.
"""

import functools
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PLOTTING = {name: ModuleType(name) for name in ("matplotlib", "matplotlib.pyplot") if name not in sys.modules}
if "matplotlib" in _PLOTTING:
    _PLOTTING["matplotlib"].__dict__["pyplot"] = _PLOTTING["matplotlib.pyplot"]
sys.modules.update(_PLOTTING)
try:
    import toppra
    from toppra.algorithm import TOPPRA
    from toppra.constraint.linear_constraint import LinearConstraint, canlinear_colloc_to_interpolate
finally:
    # Whoever plots gets the real ones.
    for _name in _PLOTTING:
        del sys.modules[_name]

Array = NDArray[np.float64]

toppra.setup_logging("ERROR")
# It searches the disk for solvers that it is not asked to use, for every path anew.
toppra.solverwrapper.available_solvers = functools.cache(toppra.solverwrapper.available_solvers)


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


class _FromRest(TOPPRA):
    """With limits that are alike in both directions one may stand anywhere: each controllable set begins at 0, so that its upper
    end alone is computed."""

    _SLOWLY = np.array([1e-9, -1.0])

    def _one_step(self, i: int, K_next: Array) -> tuple[float, float]:
        solve = self.solver_wrapper.solve_stagewise_optim
        return 0.0, solve(i, None, self._SLOWLY, np.nan, np.nan, K_next[0], K_next[1])[1]


def fastest(grid: Array, first: Array, second: Array, limit: Array, rate_max: Array) -> Array | None:
    """(n,) the fastest ds/dt on a grid of s, from and to standstill; None where there is none.

    Args:
        grid: (n,) rising.
        first, second: (n, m) dq/ds and d2q/ds2 there.
        limit: (m,) largest |d2q/dt2|.
        rate_max: (n,) largest ds/dt.
    """
    # Of the path itself the algorithm only wants to know from where to where it goes.
    path = SimpleNamespace(path_interval=(grid[0], grid[-1]))
    problem = _Problem(grid, first, second, limit, rate_max**2)
    timing = _FromRest([problem], path, gridpoints=grid, solver_wrapper="seidel")
    _, rates, _ = timing.compute_parameterization(0.0, 0.0)
    return None if rates is None or np.isnan(rates).any() else np.asarray(rates)
