"""Penalised least squares along a chain: predictions by increments, a few solves a stretch.

With ``A`` the matrix of the normal equations of the first coalition of a stretch, ``A = L L'``, and
rows Z that join one after the other, the predictions after j of them are

``x'w + sum_(i <= j) u_i v_i``,  ``[u v] = M^-1 [Z A^-1 x, y - Z w]``,  ``M M' = I + Z A^-1 Z'``:

the same as updating ``A^-1`` row by row, but with triangular solves of whole stretches. Each
stretch starts afresh from the sums, so that rounding does not pile up along the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg.lapack import dpocon, dpotrf, dtrtrs

if TYPE_CHECKING:
    from dvl_batched.members import ChainedMembers
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = ["Innovations"]

LEAST_EIGENVALUE = 1e-7
"""Share of the trace that no eigenvalue may be below, for the predictions to be good to 1e-8."""
STRETCH = 96
"""Rows that join before a fresh start: at most."""
TRIED_AGAIN = 8
"""Rows after which a fresh start is tried again if it was not safe."""


@dataclass(frozen=True, eq=False)
class Innovations:
    """Predictions of least squares for the coalitions of chains.

    Parameters
    ----------
    z : float array [m, p]
        Features of the training rows; with a column of ones if there is an intercept.
    y : float array [m]
        Targets.
    z_test : float array [t, p]
        Features of the test points.
    penalty : float array [p]
        Added to the diagonal of the normal equations.
    least : float
        Share of the trace that no eigenvalue may be below, if it is to be more than usual.

    Examples
    --------
    >>> from dvl_batched.members import members_of
    >>> rng = np.random.default_rng(0)
    >>> z, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    >>> members = members_of(np.tri(60, dtype=bool), None, 1)
    >>> values, sure = Innovations(z, y, z[:1], np.ones(2))(members)
    >>> w = np.linalg.solve(z[:50].T @ z[:50] + np.eye(2), z[:50].T @ y[:50])
    >>> bool(sure.all()), bool(np.isclose(values[49, 0], z[0] @ w))
    (True, True)
    """

    z: FloatArray
    y: FloatArray
    z_test: FloatArray
    penalty: FloatArray
    least: float = 0.0

    def __call__(self, members: ChainedMembers) -> tuple[FloatArray, BoolArray]:
        """Return predictions [b, t], and which of them are good."""
        values = np.zeros((len(members), len(self.z_test)))
        sure = np.zeros(len(members), dtype=bool)
        for part, order, joined in members.chains():
            p = len(self.penalty)
            gram, right, before, start = np.diag(self.penalty), np.zeros(p), 0, 0
            while start < len(joined):
                end = int(np.searchsorted(joined, joined[start] + STRETCH, side="right"))
                base = order[before : joined[start]]
                gram = gram + self.z[base].T @ self.z[base]
                right = right + self.y[base] @ self.z[base]
                rows = order[joined[start] : joined[end - 1]]
                found = self._stretch(gram, right, rows)
                if found is None:
                    # These are left out, no more than need be.
                    until = joined[start] + TRIED_AGAIN
                    end = int(np.searchsorted(joined, until, side="right"))
                else:
                    values[part][start:end] = found[joined[start:end] - joined[start]]
                    sure[part][start:end] = True
                before, start = joined[start], end
        return values, sure

    def _stretch(self, gram: FloatArray, right: FloatArray, rows: IntArray) -> FloatArray | None:
        """Return predictions [r + 1, t] before `rows` [r] join and after each; None if unsafe."""
        z, t = self.z[rows], len(self.z_test)
        factor, failed = dpotrf(gram, lower=1)
        if failed:
            return None
        # Rows that join only make the least eigenvalue larger.
        norm = np.abs(gram).sum(axis=0).max()
        least = dpocon(factor, norm, uplo="L")[0] * norm
        share = max(self.least, LEAST_EIGENVALUE)
        if least < share * (np.trace(gram) + np.einsum("rp,rp->", z, z)):
            return None
        half = dtrtrs(factor, np.column_stack([self.z_test.T, z.T, right]), lower=1)[0]
        test, new, w = half[:, :t], half[:, t:-1], half[:, -1]
        result = np.empty((len(rows) + 1, t))
        result[0] = w @ test
        if len(rows):
            both = np.column_stack([new.T @ test, self.y[rows] - w @ new])
            growth = new.T @ new
            growth[np.diag_indices(len(rows))] += 1.0
            both = dtrtrs(dpotrf(growth, lower=1)[0], both, lower=1)[0]
            result[1:] = both[:, :t] * both[:, t:]
            np.cumsum(result, axis=0, out=result)
        return result
