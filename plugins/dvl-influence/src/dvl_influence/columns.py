"""Columns of a matrix, without a copy where they lie side by side."""

from __future__ import annotations

import torch

__all__ = ["as_slice"]


def as_slice(positions: torch.Tensor) -> torch.Tensor | slice:
    """Return positions [k] as a slice if they follow one another, else as they are.

    Examples
    --------
    >>> as_slice(torch.tensor([2, 3, 4])), as_slice(torch.tensor([2, 4]))
    (slice(2, 5, None), tensor([2, 4]))
    """
    number = len(positions)
    first = int(positions[0]) if number else 0
    if torch.equal(positions.cpu(), torch.arange(first, first + number)):
        return slice(first, first + number)
    return positions
