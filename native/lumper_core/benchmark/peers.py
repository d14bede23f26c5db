"""What others do with the same question: is this pile, without these boxes, in balance?"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csc_matrix

import lumper_core

GRAVITY_MPS2 = 9.81
FORCE_BOUND_N = lumper_core.StaticsParameters().force_bound_n


@dataclass(frozen=True)
class Problem:
    """Find generator weights >= 0 with matrix @ weights + wrench = 0, six rows per box."""

    matrix: csc_matrix
    wrench: NDArray[np.float64]
    bodies: NDArray[np.int32]  # (columns, 2): rows of the boxes each column acts on; negative = environment


def problem(pile: lumper_core.Pile) -> Problem:
    """The same contacts, cones and relief as the core's, as a linear program."""
    boxes = pile.boxes()
    contacts = pile.contacts()
    rows: list[NDArray[np.float64]] = []
    row_index: list[NDArray[np.int64]] = []
    column_index: list[NDArray[np.int64]] = []
    bodies: list[tuple[int, int]] = []
    column = 0
    for contact in contacts:
        normal = contact["normal"]
        tangent = contact["tangent"]
        other = np.cross(normal, tangent)
        mu = contact["friction"]
        directions = [normal] if mu == 0 else [normal + s * mu * t for t in (tangent, other) for s in (1, -1)]
        for direction in directions:
            for body, sign in ((contact["a"], -1.0), (contact["b"], 1.0)):
                if body < 0:
                    continue
                arm = contact["position"] - boxes["position"][body]
                rows.append(sign * np.concatenate([direction, np.cross(arm, direction)]))
                row_index.append(6 * body + np.arange(6))
                column_index.append(np.full(6, column))
            bodies.append((contact["a"], contact["b"]))
            column += 1
    matrix = csc_matrix(
        (np.concatenate(rows), (np.concatenate(row_index), np.concatenate(column_index))),
        shape=(6 * len(boxes), column),
    )
    wrench = pile.relief().copy()
    wrench[:, 2] -= boxes["mass"] * GRAVITY_MPS2
    return Problem(matrix, wrench.ravel(), np.array(bodies, np.int32))


def without(full: Problem, gone: int) -> Problem:
    """The same pile without the box of row `gone`."""
    keep = ~(full.bodies == gone).any(axis=1)
    rows = np.ones(full.matrix.shape[0], bool)
    rows[6 * gone : 6 * gone + 6] = False
    return Problem(full.matrix[rows][:, keep], full.wrench[rows], full.bodies[keep])


def balanced_scipy(task: Problem, limit_s: float | None = None) -> tuple[bool | None, float]:
    """(feasible, None when the solver gave up; CPU seconds) by scipy's HiGHS."""
    start = time.process_time()
    result = linprog(
        np.zeros(task.matrix.shape[1]),
        A_eq=task.matrix,
        b_eq=-task.wrench,
        bounds=(0, FORCE_BOUND_N),
        method="highs",
        options={} if limit_s is None else {"time_limit": limit_s},
    )
    seconds = time.process_time() - start
    return {0: True, 2: False}.get(result.status), seconds


def least_slack(task: Problem) -> float:
    """Smallest sum of absolute forces and moments (N, Nm) that must be added to balance the pile; settles close calls."""
    rows, columns = task.matrix.shape
    from scipy.sparse import hstack, identity

    matrix = hstack([task.matrix, identity(rows), -identity(rows)]).tocsc()
    cost = np.concatenate([np.zeros(columns), np.ones(2 * rows)])
    result = linprog(
        cost,
        A_eq=matrix,
        b_eq=-task.wrench,
        bounds=[(0, FORCE_BOUND_N)] * columns + [(0, None)] * (2 * rows),
        method="highs",
    )
    return float(result.fun) if result.status == 0 else float("nan")


def highspy_warm_s(pile: lumper_core.Pile) -> float | None:
    """CPU seconds of one removal by highspy, bounds of one model switched and the basis kept; None = not installed."""
    try:
        import highspy
    except ImportError:
        return None
    full = problem(pile)
    rows, columns = full.matrix.shape
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = columns, rows
    program.col_cost_ = np.zeros(columns)
    program.col_lower_, program.col_upper_ = np.zeros(columns), np.full(columns, FORCE_BOUND_N)
    program.row_lower_ = program.row_upper_ = -full.wrench
    program.a_matrix_.start_, program.a_matrix_.index_ = full.matrix.indptr, full.matrix.indices
    program.a_matrix_.value_ = full.matrix.data
    solver.passModel(program)
    solver.run()
    seconds = []
    for gone in range(min(12, len(pile))):
        touched = np.flatnonzero((full.bodies == gone).any(axis=1)).astype(np.int32)
        own = np.arange(6 * gone, 6 * gone + 6, dtype=np.int32)
        start = time.process_time()
        solver.changeColsBounds(len(touched), touched, np.zeros(len(touched)), np.zeros(len(touched)))
        for row in own:
            solver.changeRowBounds(int(row), -highspy.kHighsInf, highspy.kHighsInf)
        solver.run()
        seconds.append(time.process_time() - start)
        solver.changeColsBounds(len(touched), touched, np.zeros(len(touched)), np.full(len(touched), FORCE_BOUND_N))
        for row in own:
            solver.changeRowBounds(int(row), -full.wrench[row], -full.wrench[row])
    return float(np.mean(seconds))


def compas_rbe_s(boxes: NDArray[np.void]) -> float | None:
    """CPU seconds of compas_cra for one standing pile, contact detection and RBE; None = absent or without its solver."""
    try:
        from compas.datastructures import Mesh
        from compas.geometry import Box, Frame
        from compas_assembly.datastructures import Block
        from compas_cra.algorithms import assembly_interfaces_numpy
        from compas_cra.datastructures import CRA_Assembly
        from compas_cra.equilibrium import rbe_solve
    except ImportError:
        return None
    assembly = CRA_Assembly()
    frame = Frame.worldXY()
    shapes = [Box(3.0, 4.0, 0.1, frame=Frame([5.5, 0.0, -0.05], frame.xaxis, frame.yaxis))]
    for box in boxes:
        x, y, z = (float(v) for v in box["position"])
        sx, sy, sz = (float(v) for v in box["size"])
        shapes.append(Box(sx, sy, sz, frame=Frame([x, y, z], frame.xaxis, frame.yaxis)))
    for node, shape in enumerate(shapes):
        assembly.add_block(Mesh.from_shape(shape).copy(cls=Block), node=node)
    assembly.set_boundary_conditions([0])
    start = time.process_time()
    try:
        assembly_interfaces_numpy(assembly, nmax=len(shapes) + 1, amin=1e-4, tmax=0.012)
        rbe_solve(assembly, mu=0.3)
    except Exception as error:  # its solver (ipopt) is a separate program that may be missing
        print(f"compas_cra: {type(error).__name__}: {error}")
        return None
    return time.process_time() - start
