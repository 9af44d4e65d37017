"""L-BFGS on many problems at once, step by step as scikit-learn's solver takes them.

Where a solver stops short of the minimum, two solvers differ by far more than rounding. To give
the answer of the one that scikit-learn uses, each problem follows its path: the same start, memory,
line search and stopping rules as L-BFGS-B without bounds (Zhu, Byrd, Lu & Nocedal 1997, algorithm
778).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dvl_batched.line_search import search

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = ["Objective", "minimise"]

MEMORY = 10
EPSILON = float(np.finfo(float).eps)
LEAST_REDUCTION = 64 * EPSILON
"""Relative reduction of the function at which scikit-learn stops."""
SHARE_STILL_GOING = 0.9


class Objective(Protocol):
    """A stack of smooth functions of p parameters each."""

    def __call__(self, parameters: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return values [a] and gradients [a, p] of functions `which` [a] at points [a, p]."""


@dataclass(eq=False)
class _Paths:
    """Where the problems that still go on are; all have taken the same number of steps."""

    which: IntArray
    x: FloatArray
    f: FloatArray
    g: FloatArray
    steps: FloatArray
    changes: FloatArray
    curvatures: FloatArray
    scale: FloatArray

    def kept(self, going: BoolArray) -> _Paths:
        """Return those of the problems that go on."""
        return _Paths(
            self.which[going],
            self.x[going],
            self.f[going],
            self.g[going],
            self.steps[:, going],
            self.changes[:, going],
            self.curvatures[:, going],
            self.scale[going],
        )

    def directions(self, taken: int) -> FloatArray:
        """Return minus the inverse Hessian approximation times the gradient [a, p]."""
        q = self.g.copy()
        slots = [i % MEMORY for i in range(max(0, taken - MEMORY), taken)]
        shares = {}
        for slot in reversed(slots):
            share = np.einsum("ap,ap->a", self.steps[slot], q) / self.curvatures[slot]
            q -= share[:, None] * self.changes[slot]
            shares[slot] = share
        q /= self.scale[:, None]
        for slot in slots:
            back = np.einsum("ap,ap->a", self.changes[slot], q) / self.curvatures[slot]
            q += (shares[slot] - back)[:, None] * self.steps[slot]
        return -q


def minimise(
    objective: Objective, start: FloatArray, *, tolerance: float, most_steps: int
) -> tuple[FloatArray, IntArray]:
    """Return where L-BFGS stops, for a stack of functions.

    Parameters
    ----------
    objective : Objective
        The functions.
    start : float array [b, p]
        Where each of them starts.
    tolerance : float
        Largest entry of a gradient at which to stop.
    most_steps : int
        Steps after which to give up.

    Returns
    -------
    parameters : float array [b, p]
    taken : int array [b]
        Steps after which it stopped by itself; -1 if it did not, or if something was unusual.
    """
    b, p = start.shape
    found, taken = start.copy(), np.full(b, -1)
    which = np.arange(b)
    f, g = objective(start, which)
    memory = np.zeros((MEMORY, b, p))
    paths = _Paths(
        which, start.copy(), f, g, memory, memory.copy(), np.ones((MEMORY, b)), np.ones(b)
    )
    going = np.abs(g).max(axis=1) > tolerance
    taken[~going] = 0
    for number in range(most_steps):
        if going.mean() <= SHARE_STILL_GOING:
            paths, going = paths.kept(going), np.ones(int(going.sum()), dtype=bool)
        if len(paths.which) == 0:
            break
        before, gradient = paths.f, paths.g
        direction = paths.directions(number)
        direction[~going] = 0.0
        slope = np.einsum("ap,ap->a", direction, gradient)
        first = np.ones(len(slope))
        if number == 0:
            first[going] /= np.linalg.norm(direction[going], axis=1)
        length, slope_after, fine = search(objective, paths, direction, slope, first, going)
        step = length[:, None] * direction
        curvature = length * (slope_after - slope)
        reduction = before - paths.f
        scale = np.maximum(np.maximum(np.abs(before), np.abs(paths.f)), 1.0)
        arrived = np.abs(paths.g).max(axis=1) <= tolerance
        arrived |= reduction <= LEAST_REDUCTION * scale
        ended = going & fine & arrived
        found[paths.which[ended]] = paths.x[ended]
        taken[paths.which[ended]] = number + 1
        # The solver would forget or skip: such paths are left to it.
        going &= fine & ~arrived & (curvature > EPSILON * -slope * length)
        change = paths.g - gradient
        slot = number % MEMORY
        paths.steps[slot], paths.changes[slot] = step, change
        paths.curvatures[slot] = np.where(going, curvature, 1.0)
        paths.scale = np.einsum("ap,ap->a", change, change) / paths.curvatures[slot]
        paths.scale[~going] = 1.0
    return found, taken
