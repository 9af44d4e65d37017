"""Trees of tensors: a tensor, or tuples, lists and dictionaries of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from dvl_core.errors import DataError

__all__ = ["Tree", "concatenate", "leaves", "length", "map_tree", "rows"]

Tree = Any
"""A tensor, or a tuple, list or dictionary of trees; points lie along the first axis of each."""


def map_tree(function: Callable[[torch.Tensor], torch.Tensor], tree: Tree) -> Tree:
    """Return the tree with `function` applied to every tensor.

    Raises
    ------
    DataError
        If something in it is not a tensor.

    Examples
    --------
    >>> map_tree(torch.neg, {"a": torch.ones(1)})
    {'a': tensor([-1.])}
    """
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tree(function, part) for key, part in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return tuple(map_tree(function, part) for part in tree)
    raise DataError(
        f"a batch holds a {type(tree).__name__} where a tensor, or a tuple or dictionary of "
        "tensors, must be: turn it into tensors in the loader's collate_fn or in the adapter"
    )


def leaves(tree: Tree) -> Iterator[torch.Tensor]:
    """Yield the tensors of a tree."""
    if isinstance(tree, torch.Tensor):
        yield tree
    else:
        for part in tree.values() if isinstance(tree, Mapping) else tree:
            yield from leaves(part)


def rows(tree: Tree, where: slice | torch.Tensor) -> Tree:
    """Return the points `where` of a tree."""
    return map_tree(lambda tensor: tensor[where], tree)


def concatenate(trees: Sequence[Tree]) -> Tree:
    """Return the points of trees of one shape in one tree."""
    first = trees[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(trees))
    if isinstance(first, Mapping):
        return {key: concatenate([tree[key] for tree in trees]) for key in first}
    return tuple(concatenate(parts) for parts in zip(*trees, strict=True))


def length(tree: Tree, what: str) -> int:
    """Return the number of points.

    Raises
    ------
    DataError
        If there is no tensor, a tensor has no axis of points, or tensors differ in length.
    """
    found = list(leaves(tree))
    if not found:
        raise DataError(f"{what} holds no tensor")
    if any(tensor.ndim == 0 for tensor in found):
        raise DataError(
            f"{what} holds a single number where the points must lie along the first axis: "
            "use unsqueeze(0) for a batch of one point"
        )
    lengths = {len(tensor) for tensor in found}
    if len(lengths) > 1:
        raise DataError(
            f"the tensors of {what} differ in their number of points: {sorted(lengths)}"
        )
    return lengths.pop()
