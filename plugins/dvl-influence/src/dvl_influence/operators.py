"""Linear operators on blocks of vectors, of numpy, torch and whatever follows the array API.

Nothing here, and nothing that builds on it alone, imports torch.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace, device

from dvl_core.errors import InvalidOptionError
from dvl_core.protocols import LinearOperator

__all__ = ["DampedOperator", "split_damping"]


class DampedOperator:
    """A curvature plus a multiple of the identity, H + lambda I.

    Parameters
    ----------
    undamped : LinearOperator
        The curvature H [p, p].
    damping : float
        lambda, at least 0, in the units of the curvature.

    Raises
    ------
    InvalidOptionError
        If `damping` is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> operator = DampedOperator(MatrixOperator(np.diag([1.0, 2.0])), 0.5)
    >>> operator.matvec(np.ones((1, 2)))
    array([[1.5, 2.5]])
    """

    def __init__(self, undamped: LinearOperator, damping: float) -> None:
        if not 0.0 <= damping < float("inf"):
            raise InvalidOptionError(
                f"regularization is {damping}: it must be a number, at least 0, so that it can be "
                "added to all eigenvalues of the curvature"
            )
        self.undamped = undamped
        self.damping = float(damping)

    @property
    def size(self) -> int:
        """The dimension p."""
        return self.undamped.size

    @property
    def like(self) -> Any:
        """A vector [p] of the type of the products; None if the curvature names none."""
        return getattr(self.undamped, "like", None)

    def matvec(self, vectors: Any) -> Any:
        """Return the products [m, p] with the rows of `vectors` [m, p]."""
        return self.undamped.matvec(vectors) + self.damping * vectors

    def dense(self) -> Any:
        """Return the matrix [p, p]."""
        matrix = self.undamped.dense()
        xp = array_namespace(matrix)
        identity = xp.eye(self.size, dtype=matrix.dtype, device=device(matrix))
        return matrix + self.damping * identity


def split_damping(curvature: LinearOperator) -> tuple[LinearOperator, float]:
    """Return the curvature without its damping, and the damping; 0 for an operator that has none.

    Methods that approximate the curvature itself (sketches, eigenvectors) do so before lambda is
    added, and then invert exactly what they have plus lambda.
    """
    if isinstance(curvature, DampedOperator):
        return curvature.undamped, curvature.damping
    return curvature, 0.0
