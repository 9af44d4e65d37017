"""Random projections of long vectors that keep their inner products on average."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from dvl_influence.memory import DEFAULT_BUDGET

__all__ = ["RandomProjection"]

ROWS = 4096
"""Rows of the matrix that are drawn together; part of what a seed stands for."""


class RandomProjection:
    """Multiply vectors with a matrix [p, k] of random signs, divided by sqrt(k).

    The matrix depends on p, k and the seed only: on neither device, precision nor memory. It is
    kept if it fits `memory_budget`, else drawn anew, some rows at a time, for every use.

    Parameters
    ----------
    like : float tensor [p]
        Of the type and on the device of the vectors.
    dim : int
        k.
    seed : sequence of int
        Seed of the signs.
    memory_budget : int
        Bytes.

    References
    ----------
    Achlioptas, Database-friendly random projections, JCSS 2003, theorem 1.1.

    Examples
    --------
    >>> projection = RandomProjection(torch.zeros(3), 2, (0,))
    >>> projection(torch.ones(4, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        like: torch.Tensor,
        dim: int,
        seed: tuple[int, ...],
        *,
        memory_budget: int = DEFAULT_BUDGET,
    ) -> None:
        self.dim = dim
        self._like = like[:0]
        self._size = len(like)
        self._seed = seed
        fits = self._size * dim * like.element_size() <= memory_budget
        self._kept = list(self._drawn()) if fits else None

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the projections [m, k] of vectors [m, p]."""
        total = vectors.new_zeros(len(vectors), self.dim)
        blocks = self._drawn() if self._kept is None else self._kept
        for part, block in zip(torch.split(vectors, ROWS, dim=1), blocks, strict=True):
            total += part @ block
        return total

    def _drawn(self) -> Iterator[torch.Tensor]:
        """Yield the rows of the matrix, `ROWS` at a time."""
        for number, start in enumerate(range(0, self._size, ROWS)):
            count = min(ROWS, self._size - start) * self.dim
            bits = np.random.default_rng([*self._seed, number]).bytes(-(-count // 8))
            signs = np.unpackbits(np.frombuffer(bits, np.uint8), count=count).reshape(-1, self.dim)
            block = torch.from_numpy(signs).to(self._like.device, self._like.dtype)
            yield block.mul_(2).sub_(1).div_(self.dim**0.5)
