"""Gradients of single points by the parameters of one layer, as products that are not formed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dvl_core.errors import DataError

__all__ = ["DenseFactors", "IndexFactors", "LayerFactors", "gram"]

GRADIENTS_AT_ONCE = 2**24
"""Numbers of gradients that are formed at a time."""


@dataclass(frozen=True)
class DenseFactors:
    """The gradient of point i by a layer's matrix is ``sum_t delta[i, t] a[i, t]^T``.

    Parameters
    ----------
    a : float tensor [b, t, d_in]
        Inputs of the layer at t positions, a 1 appended if a bias belongs to the matrix.
    delta : float tensor [b, t, d_out]
        Gradients of the losses of the points by the outputs of the layer.

    Examples
    --------
    >>> factors = DenseFactors(torch.ones(1, 2, 3), torch.ones(1, 2, 1))
    >>> factors.gradients()
    tensor([[[2., 2., 2.]]])
    """

    a: torch.Tensor
    delta: torch.Tensor

    @property
    def n_points(self) -> int:
        """The number of points b."""
        return len(self.delta)

    @property
    def positions(self) -> int:
        """The number of positions t."""
        return self.delta.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """d_out and d_in."""
        return self.delta.shape[2], self.a.shape[2]

    def rows(self, part: slice) -> DenseFactors:
        """Return the factors of some of the points."""
        return DenseFactors(self.a[part], self.delta[part])

    def gradients(self) -> torch.Tensor:
        """Return the gradients [b, d_out, d_in]."""
        return self.delta.transpose(1, 2) @ self.a

    def inner_inputs(self, other: DenseFactors) -> torch.Tensor:
        """Return the inner products of all inputs with all of `other` [b t, b' t']."""
        return self.a.flatten(0, 1) @ other.a.flatten(0, 1).T


@dataclass(frozen=True)
class IndexFactors:
    """The same for an embedding: ``a[i, t]`` is zero but for a 1 at ``index[i, t]``.

    Parameters
    ----------
    index : int tensor [b, t]
        Which of the d_in rows of the table is looked up.
    delta : float tensor [b, t, d_out]
        Gradients of the losses of the points by what was looked up.
    d_in : int
        The number of rows of the table.
    """

    index: torch.Tensor
    delta: torch.Tensor
    d_in: int

    @property
    def n_points(self) -> int:
        """The number of points b."""
        return len(self.delta)

    @property
    def positions(self) -> int:
        """The number of positions t."""
        return self.delta.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """d_out and d_in."""
        return self.delta.shape[2], self.d_in

    def rows(self, part: slice) -> IndexFactors:
        """Return the factors of some of the points."""
        return IndexFactors(self.index[part], self.delta[part], self.d_in)

    def gradients(self) -> torch.Tensor:
        """Return the gradients [b, d_out, d_in]."""
        b, _, d_out = self.delta.shape
        table = self.delta.new_zeros(b, self.d_in, d_out)
        table.scatter_add_(1, self.index[:, :, None].expand_as(self.delta), self.delta)
        return table.transpose(1, 2)

    def inner_inputs(self, other: IndexFactors) -> torch.Tensor:
        """Return which inputs are equal, of all and all of `other` [b t, b' t'], as 0 and 1."""
        equal = self.index.reshape(-1, 1) == other.index.reshape(1, -1)
        return equal.to(self.delta.dtype)


LayerFactors = DenseFactors | IndexFactors


def gram(first: Mapping[str, LayerFactors], second: Mapping[str, LayerFactors]) -> torch.Tensor:
    """Return the inner products [n, m] of the gradients of n and m points, over all layers.

    Where a layer is used at few positions, ``2 t t' < d_in d_out``, its gradients are not formed:
    their inner product is the sum over pairs of positions of ``(delta . delta') (a . a')``.

    Parameters
    ----------
    first, second : mapping of str to LayerFactors
        By layer, of the same layers.

    Raises
    ------
    DataError
        If the layers differ.

    Examples
    --------
    >>> one = {"": DenseFactors(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0]]]))}
    >>> gram(one, one)
    tensor([[45.]])
    """
    if first.keys() != second.keys() or not first:
        raise DataError(
            f"inner products need the same layers on both sides, not {', '.join(first) or 'none'} "
            f"and {', '.join(second) or 'none'}"
        )
    total: torch.Tensor | None = None
    for name, left in first.items():
        part = _layer_gram(left, second[name])
        total = part if total is None else total + part
    assert total is not None
    return total


def _layer_gram(left: LayerFactors, right: LayerFactors) -> torch.Tensor:
    """Return the inner products [n, m] of one layer, some points at a time."""
    d_out, d_in = left.shape
    ghost = 2 * left.positions * right.positions < d_in * d_out
    each = left.positions * right.positions if ghost else d_out * d_in
    if ghost:
        rows = max(1, GRADIENTS_AT_ONCE // max(1, each * right.n_points))
        parts = [_ghost(left.rows(s), right) for s in _slices(left.n_points, rows)]
        return torch.cat(parts) if parts else left.delta.new_zeros(0, right.n_points)
    rows = max(1, GRADIENTS_AT_ONCE // each)
    result = left.delta.new_zeros(left.n_points, right.n_points)
    for one in _slices(left.n_points, rows):
        gradients = left.rows(one).gradients().flatten(1)
        for two in _slices(right.n_points, rows):
            result[one, two] = gradients @ right.rows(two).gradients().flatten(1).T
    return result


def _ghost(left: LayerFactors, right: LayerFactors) -> torch.Tensor:
    """Return inner products [n, m] without forming gradients."""
    outputs = left.delta.flatten(0, 1) @ right.delta.flatten(0, 1).T
    pairs = outputs * left.inner_inputs(right)  # type: ignore[arg-type]
    shape = left.n_points, left.positions, right.n_points, right.positions
    return pairs.view(shape).sum(dim=(1, 3))


def _slices(n: int, step: int) -> list[slice]:
    """Return the slices of `step` that cover n rows."""
    return [slice(start, start + step) for start in range(0, n, step)]
