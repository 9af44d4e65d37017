"""Whether all numbers of an array are finite."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

__all__ = ["all_finite"]


def all_finite(array: Any) -> bool:
    """Return whether an array holds neither NaN nor infinity.

    Parameters
    ----------
    array : float array or tensor
        Of any shape.

    Examples
    --------
    >>> import numpy as np
    >>> all_finite(np.ones(3)), all_finite(np.array([1.0, np.nan]))
    (True, False)
    """
    xp = array_namespace(array)
    # The sum is not finite if one of them is not, and several times cheaper to look at.
    return bool(xp.isfinite(xp.sum(array))) or bool(xp.all(xp.isfinite(array)))
