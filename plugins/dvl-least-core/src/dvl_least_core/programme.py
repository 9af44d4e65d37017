"""The two problems of the least core: the least subsidy, then the values of least norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import null_space
from scipy.optimize import linprog, nnls

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LeastCore", "solve_least_core"]

SLACK = 1e-8
"""How far, relative to the largest worth, a constraint may be missed: the solver rounds too."""


@dataclass(frozen=True)
class LeastCore:
    """A solution.

    Parameters
    ----------
    values : float array [n]
        NaN if there is none.
    subsidy : float
        The least e; NaN if there is none.
    status : str
        What the solver said.
    """

    values: NDArray[np.float64]
    subsidy: float
    status: str


def solve_least_core(
    coalitions: NDArray[np.bool_],
    worth: NDArray[np.float64],
    total: float,
    non_negative_subsidy: bool = False,
) -> LeastCore:
    """Return the point of least norm of the least core.

    Minimise e subject to sum(x) = total and x(S) + e >= worth(S) for all given S; then, with that
    e, minimise the norm of x.

    Parameters
    ----------
    coalitions : bool array [m, n]
        Neither empty nor full.
    worth : float array [m]
        Of each coalition, that of the empty one being 0.
    total : float
        Worth of all players.
    non_negative_subsidy : bool
        Require e >= 0.

    References
    ----------
    Yan, T. and Procaccia, A. D. (2021). If You Like Shapley Then You'll Love the Core. AAAI, eq. 1.

    Examples
    --------
    >>> pair = np.array([[True, False], [False, True]])
    >>> found = solve_least_core(pair, np.array([0.0, 0.5]), total=1.0)
    >>> found.values.round(6), round(found.subsidy, 6)
    (array([0.25, 0.75]), -0.25)
    """
    n = coalitions.shape[1]
    scale = max(float(np.abs(worth).max(initial=0.0)), abs(total)) or 1.0
    worth, total = worth / scale, total / scale
    if len(coalitions) == 0:
        return LeastCore(np.full(n, total * scale / n), 0.0, "no constraints")
    members = coalitions.astype(float)
    constraints = np.hstack([members, np.ones((len(members), 1))])
    solution = linprog(
        c=np.append(np.zeros(n), 1.0),
        A_ub=-constraints,
        b_ub=-worth,
        A_eq=np.append(np.ones(n), 0.0)[None, :],
        b_eq=[total],
        bounds=[(None, None)] * n + [(0.0 if non_negative_subsidy else None, None)],
        method="highs",
    )
    if not solution.success:
        return LeastCore(np.full(n, np.nan), float("nan"), solution.message)
    subsidy = float(solution.x[-1])
    values = _least_norm(members, worth - subsidy - SLACK, total)
    if values is None:
        values = solution.x[:-1]
    return LeastCore(scale * values, scale * subsidy, "optimal")


def _least_norm(
    members: NDArray[np.float64], least: NDArray[np.float64], total: float
) -> NDArray[np.float64] | None:
    """Return x of least norm with sum(x) = total and members @ x >= least; None if it fails.

    Least-distance programming by non-negative least squares (Lawson & Hanson 1974, chapter 23),
    in the coordinates of the plane sum(x) = total about its point of least norm.
    """
    n = members.shape[1]
    centre = np.full(n, total / n)
    if n == 1:
        return centre
    plane = null_space(np.ones((1, n)))
    normals, offsets = members @ plane, least - members @ centre
    if (offsets <= 0).all():
        return centre
    try:
        weights, _ = nnls(np.vstack([normals.T, offsets]), np.append(np.zeros(n - 1), 1.0))
    except RuntimeError:  # too many iterations
        return None
    residual = np.append(normals.T @ weights, offsets @ weights - 1.0)
    if -residual[-1] <= 1e-14:
        return None
    point = centre + plane @ (residual[:-1] / -residual[-1])
    missed = float((least - members @ point).max())
    return point if missed <= 100 * SLACK else None
