"""How much is added to the eigenvalues of the curvature before it is inverted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from dvl_core.errors import InvalidOptionError
from dvl_core.protocols import LinearOperator
from dvl_influence.curvature import CurvatureKind
from dvl_influence.errors import IndefiniteCurvatureError
from dvl_influence.spectrum import extreme_eigenvalues, mean_eigenvalue

__all__ = ["Damping", "Regularization", "choose_damping", "per_block"]

Regularization = float | Literal["auto"] | Mapping[str, float | Literal["auto"]]
"""lambda for all blocks, ``"auto"``, or one of them for each block by name."""

SHARE_OF_MEAN = 0.3
"""Of the mean eigenvalue: more than the tenth that is usual for factored curvature, since it agreed
better with retraining on digits."""

TIMES_MOST_NEGATIVE = 4.0
"""Times the size of the most negative eigenvalue: between 2 and 4 times it, scores agree best with
retraining; below it they mean nothing."""


@dataclass(frozen=True)
class Damping:
    """The regularization of a block, and where it comes from."""

    value: float
    reason: str


def per_block(regularization: Regularization, blocks: Iterable[str]) -> dict[str, float | str]:
    """Return what was asked for each block.

    Raises
    ------
    InvalidOptionError
        If it is neither a number of at least 0 nor "auto", a block has none, or a name is no block.

    Examples
    --------
    >>> per_block(0.1, ["first", "second"])
    {'first': 0.1, 'second': 0.1}
    """
    names = list(blocks)
    if not isinstance(regularization, Mapping):
        return {name: _checked(regularization, "regularization") for name in names}
    unknown = [name for name in regularization if name not in names]
    missing = [name for name in names if name not in regularization]
    if unknown or missing:
        wrong = f"{unknown[0]!r} is no block" if unknown else f"block {missing[0]!r} has none"
        raise InvalidOptionError(
            f"regularization must name every block once: {wrong}; the blocks are {', '.join(names)}"
        )
    return {name: _checked(regularization[name], f"regularization of {name!r}") for name in names}


def choose_damping(
    asked: float | str, kind: CurvatureKind, curvature: LinearOperator, approximator: Any
) -> Damping:
    """Return the regularization of a block; "auto" is decided by the curvature.

    An approximator with a rule of its own (``auto_damping(curvature)``) decides itself. Else a
    Hessian gets four times the size of its most negative eigenvalue, and at least what other
    curvatures get: three tenths of the mean eigenvalue.

    Raises
    ------
    IndefiniteCurvatureError
        If the curvature is zero, so that nothing can be derived from it.
    """
    if not isinstance(asked, str):
        return Damping(asked, "given")
    own = getattr(approximator, "auto_damping", None)
    if own is not None:
        value = float(own(curvature))
        reason = f"auto: the rule of {type(approximator).__name__}"
    else:
        value, reason = _from_spectrum(kind, curvature)
    if not 0.0 < value < math.inf:
        raise IndefiniteCurvatureError(
            f"regularization='auto' finds {value:g} for a curvature without positive eigenvalues: "
            "the loss may be flat; give a number"
        )
    return Damping(value, reason)


def _from_spectrum(kind: CurvatureKind, curvature: LinearOperator) -> tuple[float, str]:
    value = SHARE_OF_MEAN * mean_eigenvalue(curvature)
    reason = f"auto: {SHARE_OF_MEAN:g} of the mean eigenvalue"
    if kind == "hessian":
        smallest, _ = extreme_eigenvalues(curvature)
        if -TIMES_MOST_NEGATIVE * smallest > value:
            value = -TIMES_MOST_NEGATIVE * smallest
            reason = f"auto: {TIMES_MOST_NEGATIVE:g} x the smallest eigenvalue, {smallest:.3g}"
    return value, reason


def _checked(value: Any, what: str) -> float | str:
    if value == "auto":
        return "auto"
    if isinstance(value, Real) and not isinstance(value, bool) and 0.0 <= float(value) < math.inf:
        return float(value)
    raise InvalidOptionError(f"{what} is {value!r}: it must be a number of at least 0, or 'auto'")
