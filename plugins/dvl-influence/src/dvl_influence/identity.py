"""No curvature at all: scores become inner products of gradients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from dvl_core.protocols import LinearOperator
from dvl_influence.solutions import LinearSolution

__all__ = ["IdentityApproximator"]


@dataclass
class _Identity:
    operator: LinearOperator
    details: dict[str, Any] = field(default_factory=dict)


class IdentityApproximator:
    """Take the identity for the inverse curvature: ``s[q, i] = grad L_q . grad L_i``.

    The baseline that every approximation has to beat, and the limit of lambda times the influence
    for large lambda. Regularization plays no part in it.

    Examples
    --------
    >>> import numpy as np
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> identity = IdentityApproximator()
    >>> state = identity.init(MatrixOperator(np.diag([1.0, 2.0])))
    >>> identity.solve(state, np.ones((1, 2))).value
    array([[1., 1.]])
    """

    approximate: ClassVar[bool] = True

    def init(self, curvature: LinearOperator) -> _Identity:
        """Return a state that remembers the curvature, for residuals only."""
        return _Identity(curvature)

    def solve(self, state: _Identity, rhs: Any) -> LinearSolution:
        """Return the right-hand sides [m, p] themselves."""
        return LinearSolution(state.operator, rhs, rhs, converged=False)

    def auto_damping(self, curvature: LinearOperator) -> float:
        """Return 1: whatever is added to a curvature that is not used changes nothing."""
        return 1.0

    def to_arrays(self, state: _Identity) -> dict[str, Any]:
        """Return nothing: there is no state to save."""
        return {}

    def from_arrays(self, arrays: dict[str, Any], curvature: LinearOperator) -> _Identity:
        """Return the state."""
        return _Identity(curvature)
