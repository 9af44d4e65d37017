"""Small problems with known answers, for the tests of approximators and calculators."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from dvl_core.errors import DvlError
from dvl_core.protocols import LinearOperator
from dvl_influence.identity import IdentityApproximator
from dvl_influence.solutions import LinearSolution

__all__ = [
    "Counting",
    "DenseInverse",
    "RidgeProblem",
    "batches",
    "classes",
    "half_squares",
    "mlp",
    "ridge",
]


class DenseInverse:
    """The inverse by dense algebra, the reference for all approximations."""

    def init(self, curvature: LinearOperator) -> LinearOperator:
        """Return the curvature: each solve forms its matrix anew."""
        return curvature

    def solve(self, state: LinearOperator, rhs: torch.Tensor) -> LinearSolution:
        """Solve for the rows of `rhs` [m, p]."""
        value = torch.linalg.solve(state.dense(), rhs.T).T
        return LinearSolution(state, rhs, value, converged=True)


class Counting(IdentityApproximator):
    """Halves vectors, counts those that it solved for, and breaks off where it is told to.

    Parameters
    ----------
    most : int
        How many it solves for before it fails.
    """

    def __init__(self, most: int = 10**9) -> None:
        self._most = most
        self.solved = 0

    def solve(self, state: Any, rhs: Any) -> LinearSolution:
        """Return half the right-hand sides [m, p]."""
        if self.solved + len(rhs) > self._most:
            raise DvlError("broken off")
        self.solved += len(rhs)
        return LinearSolution(state.operator, rhs, rhs / 2, converged=True)


class RidgeProblem(NamedTuple):
    """A linear model at the minimum of ``mean (x w - y)^2 / 2 + decay |w|^2 / 2``."""

    model: nn.Module
    x: torch.Tensor
    """Inputs [n, d]."""
    y: torch.Tensor
    """Targets [n, 1]."""
    hessian: torch.Tensor
    """Second derivatives, penalty included [d, d]."""

    @property
    def gradients(self) -> torch.Tensor:
        """Gradients of the points' losses [n, d]."""
        return (self.model(self.x) - self.y).detach() * self.x

    @property
    def scores(self) -> torch.Tensor:
        """Influences of all points on all points [n, n]."""
        return self.gradients @ torch.linalg.solve(self.hessian, self.gradients.T)


def ridge(n: int = 30, d: int = 3, decay: float = 0.1, seed: int = 0) -> RidgeProblem:
    """Return a trained ridge regression in double precision; its loss is `half_squares`.

    Examples
    --------
    >>> problem = ridge(n=5, d=2)
    >>> problem.scores.shape
    torch.Size([5, 5])
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = x @ torch.randn(d, 1, generator=generator, dtype=torch.float64)
    y = y + torch.randn(n, 1, generator=generator, dtype=torch.float64)
    model = nn.Linear(d, 1, bias=False).double()
    hessian = x.T @ x / n + decay * torch.eye(d, dtype=torch.float64)
    with torch.no_grad():
        model.weight[:] = torch.linalg.solve(hessian, x.T @ y / n).T
    return RidgeProblem(model, x, y, hessian)


def half_squares(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return half the squared error, summed over outputs, its mean over the points."""
    return ((output - target) ** 2).sum(dim=-1).mean() / 2


def mlp(seed: int = 0, d: int = 3, hidden: int = 4, classes: int = 3) -> nn.Sequential:
    """Return an untrained net in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Linear(d, hidden), nn.Tanh(), nn.Linear(hidden, classes)
        return nn.Sequential(*layers).double()


def classes(n: int = 20, d: int = 3, k: int = 3, seed: int = 1) -> tuple[Any, Any]:
    """Return random inputs [n, d] and classes [n]."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, k, (n,), generator=generator)


def batches(x: torch.Tensor, y: torch.Tensor, size: int) -> list[tuple[Any, Any]]:
    """Return the points in batches of `size`, the last one smaller if need be."""
    return list(zip(x.split(size), y.split(size), strict=True))
