"""Importance weights: from the law that a sampler draws to the law that a semivalue asks for."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import DvlWarning, UnsupportedSemivalueError

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["importance_weights", "refuse_uncovered", "warn_if_ruinous"]

RUINOUS_SHARE = 0.1
"""Below this effective share of the samples a design warns."""


def refuse_uncovered(wanted: FloatArray, drawn: BoolArray, sampler: str, semivalue: str) -> None:
    """Raise if `wanted` [k] gives weight to a coalition size that is never `drawn` [k]."""
    missing = np.flatnonzero((wanted > 0) & ~drawn)
    if len(missing):
        sizes = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise UnsupportedSemivalueError(
            f"sampler {sampler} does not cover semivalue {semivalue}: it never draws coalitions of "
            f"size {sizes}, to which the semivalue gives weight"
        )


def importance_weights(
    wanted: FloatArray, drawn: FloatArray, sampler: str, semivalue: str
) -> FloatArray:
    """Return w [n] with w(k) = wanted(k) / drawn(k), for marginals drawn by size.

    Parameters
    ----------
    wanted, drawn : float array [n]
        Size laws of the semivalue and of the sampler.
    sampler, semivalue : str
        Names for messages.

    Raises
    ------
    UnsupportedSemivalueError
        If the semivalue gives weight to a size that the sampler never draws.

    Warns
    -----
    DvlWarning
        If the weights are so uneven that few of the samples count.

    Examples
    --------
    >>> import numpy as np
    >>> importance_weights(np.array([0.5, 0.5]), np.array([0.25, 0.75]), "mine", "shapley")
    array([2.        , 0.66666667])
    """
    refuse_uncovered(wanted, drawn > 0, sampler, semivalue)
    weights = np.divide(wanted, drawn, out=np.zeros_like(wanted), where=drawn > 0)
    warn_if_ruinous(weights, drawn, sampler, semivalue)
    return weights


def warn_if_ruinous(
    weights: FloatArray, probabilities: FloatArray, sampler: str, semivalue: str
) -> None:
    """Warn if samples of these `probabilities` [k] and `weights` [k] waste most of the work.

    The measure is Kish's effective share (E w)^2 / E w^2 of the samples.
    """
    mean_square = float(probabilities @ np.square(weights))
    share = float(probabilities @ weights) ** 2 / mean_square if mean_square > 0 else 1.0
    if share < RUINOUS_SHARE:
        warnings.warn(
            f"sampler {sampler} suits semivalue {semivalue} badly: the effective sample size is "
            f"{share:.2g} of what is evaluated, because the importance weights are very uneven",
            DvlWarning,
            stacklevel=4,
        )
