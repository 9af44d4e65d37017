"""Preconditioners: rough inverses that leave conjugate gradients less to do (array API)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from array_api_compat import array_namespace

from dvl_core import create
from dvl_core.errors import InvalidOptionError
from dvl_core.options import Described, check_options
from dvl_core.protocols import InverseHessianApproximator, LinearOperator
from dvl_influence.operators import split_damping
from dvl_influence.spectrum import gaussian, signs

__all__ = [
    "ApproximatorPreconditioner",
    "JacobiPreconditioner",
    "NystroemPreconditioner",
    "Preconditioner",
    "as_preconditioner",
]


@runtime_checkable
class Preconditioner(Protocol):
    """A symmetric positive definite approximation of an inverse matrix."""

    def init(self, curvature: LinearOperator) -> Any:
        """Return the state that all applications share."""

    def apply(self, state: Any, vectors: Any) -> Any:
        """Return P^-1 v [m, p] for the rows of `vectors` [m, p]."""


class JacobiPreconditioner(Described):
    """The inverse of the diagonal: for curvature that differs much between parameters.

    Parameters
    ----------
    probes : int
        Products with vectors of random signs that the diagonal is estimated from.
    exact : bool
        Take the diagonal of the matrix instead, which costs p products.
    seed : int
        Of the random signs.

    References
    ----------
    Bekas, Kokiopoulou and Saad, An estimator for the diagonal of a matrix, Applied Numerical
    Mathematics 57, 2007.

    Examples
    --------
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> jacobi = JacobiPreconditioner()
    >>> jacobi.apply(jacobi.init(MatrixOperator(np.diag([2.0, 4.0]))), np.ones((1, 2)))
    array([[0.5 , 0.25]])
    """

    def __init__(self, *, probes: int = 32, exact: bool = False, seed: int = 0) -> None:
        if probes < 1:
            raise InvalidOptionError(f"probes is {probes}: it must be at least 1")
        self.probes = probes
        self.exact = exact
        self.seed = seed

    def init(self, curvature: LinearOperator) -> Any:
        """Return the diagonal [p], kept positive."""
        undamped, damping = split_damping(curvature)
        if self.exact:
            diagonal = array_namespace(matrix := undamped.dense()).linalg.diagonal(matrix)
        else:
            vectors = signs(undamped, np.random.default_rng(self.seed), self.probes)
            products = undamped.matvec(vectors)
            diagonal = array_namespace(products).mean(vectors * products, axis=0)
        xp = array_namespace(diagonal)
        # An estimate may be negative, and so may the diagonal of a Hessian.
        size = float(xp.mean(xp.abs(diagonal)))
        floor = max(damping, 1e-3 * (size + damping)) or 1.0
        return xp.maximum(diagonal + damping, floor * xp.ones_like(diagonal))

    def apply(self, state: Any, vectors: Any) -> Any:
        """Return the rows of `vectors` [m, p] over the diagonal."""
        return vectors / state


@dataclass(frozen=True)
class _LowRank:
    basis: Any
    """Orthonormal [rank, p]."""
    factors: Any
    """What components along the basis are multiplied with, less 1 [rank]."""


class NystroemPreconditioner(Described):
    """Flatten the largest eigenvalues, found by a randomised Nystroem sketch.

    Parameters
    ----------
    rank : int
        Products with random vectors, in one pass; at least as many as there are large eigenvalues.
    seed : int
        Of the random vectors.

    References
    ----------
    Frangella, Tropp and Udell, Randomized Nystroem preconditioning, SIAM Journal on Matrix Analysis
    and Applications 44, 2023, algorithm 2.1 and equation 5.3.

    Examples
    --------
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> sketch = NystroemPreconditioner(rank=2)
    >>> sketch.apply(sketch.init(MatrixOperator(np.diag([2.0, 4.0]))), np.ones((1, 2))).round(6)
    array([[1. , 0.5]])
    """

    def __init__(self, *, rank: int = 50, seed: int = 0) -> None:
        if rank < 1:
            raise InvalidOptionError(f"rank is {rank}: it must be at least 1")
        self.rank = rank
        self.seed = seed

    def init(self, curvature: LinearOperator) -> _LowRank:
        """Return the eigenvectors of the sketch and what to multiply them with."""
        undamped, damping = split_damping(curvature)
        rank = min(self.rank, undamped.size)
        draws = gaussian(undamped, np.random.default_rng(self.seed), rank)
        xp = array_namespace(draws)
        probes = xp.linalg.qr(draws.T)[0].T
        products = undamped.matvec(probes)
        core = probes @ products.T
        eigen = xp.linalg.eigh((core + core.T) / 2)
        lowest, eps = float(eigen[0][0]), float(xp.finfo(core.dtype).eps)
        shift = undamped.size**0.5 * eps * float(xp.linalg.vector_norm(products))
        shift = max(shift, -2.0 * lowest) or 1.0
        # The sketch of the matrix plus the shift, which makes it positive definite.
        root = (eigen[1] / xp.sqrt(eigen[0] + shift)).T @ (products + shift * probes)
        _, singular, basis = xp.linalg.svd(root, full_matrices=False)
        values = singular**2 - shift
        large = xp.nonzero(values > 10 * max(eps * float(values[0]), shift * eps))[0]
        basis, values = xp.take(basis, large, axis=0), xp.take(values, large)
        last = float(values[-1]) if len(large) else 0.0
        return _LowRank(basis, (last + damping) / (values + damping) - 1.0)

    def apply(self, state: _LowRank, vectors: Any) -> Any:
        """Return P^-1 v [m, p] for the rows of `vectors` [m, p]."""
        return vectors + ((vectors @ state.basis.T) * state.factors) @ state.basis


class ApproximatorPreconditioner(Described):
    """The solutions of another inverse-Hessian approximator, EK-FAC for instance.

    Parameters
    ----------
    approximator : InverseHessianApproximator
        Its solve must be a fixed linear map, symmetric and positive definite.
    """

    def __init__(self, approximator: InverseHessianApproximator) -> None:
        self.approximator = approximator

    def init(self, curvature: LinearOperator) -> Any:
        """Return the state of the approximator."""
        return self.approximator.init(curvature)

    def apply(self, state: Any, vectors: Any) -> Any:
        """Return its solutions [m, p] for the rows of `vectors` [m, p]."""
        return self.approximator.solve(state, vectors).value


_OWN: dict[str, type] = {"jacobi": JacobiPreconditioner, "nystroem": NystroemPreconditioner}


def as_preconditioner(given: Any) -> Preconditioner | None:
    """Return what the option `preconditioner` stands for.

    Raises
    ------
    InvalidOptionError
        If it is neither None, a name, a mapping with a name and options, a preconditioner nor an
        inverse-Hessian approximator.

    Examples
    --------
    >>> as_preconditioner({"name": "jacobi", "probes": 100})
    JacobiPreconditioner(probes=100)
    """
    if given is None:
        return None
    if isinstance(given, Preconditioner) and not isinstance(given, type):
        return given
    options = dict(given) if isinstance(given, Mapping) else {"name": given}
    if isinstance(name := options.get("name"), str) and name in _OWN:
        own = _OWN[name]
        del options["name"]
        check_options(own, options, label=f"preconditioner {name!r}")
        made: Preconditioner = own(**options)
        return made
    if isinstance(given, str | Mapping | InverseHessianApproximator):
        return ApproximatorPreconditioner(create("inverse-hessian", given))
    raise InvalidOptionError(
        f"preconditioner is {given!r}: it must be None, {', '.join(map(repr, _OWN))}, the name of "
        "an inverse-hessian such as 'ekfac', or an object with init(curvature) and "
        "apply(state, vectors)"
    )
