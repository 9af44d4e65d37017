"""Errors of influence functions: when the numbers that were asked for do not exist."""

from __future__ import annotations

from dvl_core.errors import DvlError

__all__ = ["ConvergenceError", "IndefiniteCurvatureError", "InfluenceError", "ModelError"]


class InfluenceError(DvlError, RuntimeError):
    """Influences cannot be computed as asked."""


class IndefiniteCurvatureError(InfluenceError):
    """The curvature has eigenvalues that are not positive; the message names what would do."""


class ConvergenceError(InfluenceError):
    """An iteration grows without bound instead of converging."""


class ModelError(InfluenceError):
    """The model or the loss cannot be differentiated as influence functions need it."""
