"""Influences of training points that do not owe them to influencing everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, Self

import torch
from array_api_compat import array_namespace

from dvl_core.errors import DataError, InvalidOptionError
from dvl_influence.attribution import AttributionModel
from dvl_influence.data import Batch
from dvl_influence.errors import IndefiniteCurvatureError
from dvl_influence.objective import Objective

__all__ = ["RelativeInfluence", "relative_influences"]


class RelativeInfluence(AttributionModel):
    """RelatIF: influences divided by what the training point can do at most.

    ``relative_to="loss"``: ``s[q, i] / sqrt(s[i, i])``, relative to the change that point i makes
    to the losses of all training points; ``"parameters"``: ``s[q, i] / |solved(v_i)|``, relative to
    the length of the change that it makes to the parameters. Points with large losses of their own,
    often outliers and wrong labels, are no longer first for every test point. A point without any
    influence has relative influence 0.

    Every score needs a solve for its training point: with `relative_influences` these are done
    once, whatever the number of test points.

    Parameters
    ----------
    influence : AttributionModel
        An `InfluenceModel`, or any other; fitted or not.
    relative_to : str
        ``"loss"`` or ``"parameters"``.

    Raises
    ------
    InvalidOptionError
        If `relative_to` is neither.

    References
    ----------
    Barshan et al., RelatIF: Identifying explanatory training examples via relative influence,
    AISTATS 2020, section 4: l-RelatIF and theta-RelatIF.

    Examples
    --------
    >>> from dvl_influence.similarity import GradientDotInfluence
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> dot = GradientDotInfluence(model, torch.nn.functional.mse_loss)
    >>> RelativeInfluence(dot).fit([(x, x)]).influences(x, x)
    tensor([[2., 2.],
            [8., 8.]])
    """

    def __init__(
        self, influence: AttributionModel, *, relative_to: Literal["loss", "parameters"] = "loss"
    ) -> None:
        if relative_to not in ("loss", "parameters"):
            raise InvalidOptionError(
                f"relative_to is {relative_to!r}: it must be 'loss' or 'parameters'"
            )
        self.influence = influence
        self.relative_to = relative_to
        self.adapter = influence.adapter

    def fit(self, train_loader: Iterable[Any]) -> Self:
        """Fit the influences that are to be divided."""
        self.influence.fit(train_loader)
        return self

    @property
    def objective(self) -> Objective:
        """Model and loss as a function of the parameters, after `fit`."""
        return self.influence.objective

    @property
    def report(self) -> dict[str, Any]:
        """What was done, ready for JSON: that of the influences, and what they are relative to."""
        return {**self.influence.report, "relative_to": self.relative_to}

    @property
    def approximator(self) -> Any:
        """What inverts the curvature, None for influences without one."""
        return getattr(self.influence, "approximator", None)

    def train_vectors(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield the vectors [., k] of training points, divided."""
        return (relative for relative, _ in self.vector_pairs(batch))

    def test_vectors(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield the vectors [., k] of test points, as they are."""
        return self.influence.test_vectors(batch)

    def vector_pairs(self, batch: Batch) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the vectors of points as training points, divided, and as test points."""
        for train, test in self.influence.vector_pairs(batch):
            if self.relative_to == "loss":
                scale = _root((train * self.influence.solved(test)).sum(dim=1))
            else:
                scale = torch.linalg.vector_norm(self.influence.solved(train), dim=1)
            yield train / torch.where(scale > 0, scale, torch.inf)[:, None], test

    def solved(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the factors [m, k] of the vectors of test points."""
        return self.influence.solved(vectors)


def relative_influences(scores: Any, self_influences: Any) -> Any:
    """Return scores divided by the roots of the training points' influences on themselves.

    The same as `RelativeInfluence`, for scores that are there already, from a calculator or a file.

    Parameters
    ----------
    scores : float array [n_test, n_train]
        Of numpy, torch, or another library of the array API.
    self_influences : float array [n_train]
        Influence of each training point on itself.

    Returns
    -------
    float array [n_test, n_train]
        0 for training points without influence on themselves.

    Raises
    ------
    DataError
        If lengths differ.
    IndefiniteCurvatureError
        If an influence of a point on itself is negative.

    Examples
    --------
    >>> import numpy as np
    >>> relative_influences(np.array([[6.0, 2.0]]), np.array([9.0, 4.0]))
    array([[2., 1.]])
    """
    if self_influences.ndim != 1 or scores.shape[-1] != self_influences.shape[0]:
        raise DataError(
            f"scores {tuple(scores.shape)} must have one column for each of the influences of "
            f"training points on themselves {tuple(self_influences.shape)}"
        )
    xp = array_namespace(scores)
    scale = _root(self_influences)
    return scores / xp.where(scale > 0, scale, xp.full_like(scale, xp.inf))


def _root(self_influences: Any) -> Any:
    """Return square roots, where there are any."""
    xp = array_namespace(self_influences)
    negative = int(xp.sum(xp.astype(self_influences < 0, xp.int64)))
    if negative:
        raise IndefiniteCurvatureError(
            f"{negative} of {self_influences.shape[0]} training points have a negative influence "
            "on themselves, so that nothing can be relative to it: the curvature is not positive "
            "definite, or its inverse a bad approximation; use a larger regularization, or "
            "curvature='ggn'"
        )
    return xp.sqrt(self_influences)
