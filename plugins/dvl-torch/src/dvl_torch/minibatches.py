"""Mini-batches that do not depend on who else is in the coalition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_torch.nets import seed_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["minibatch_numbers"]

WORD_BYTES = 4


def minibatch_numbers(x: NDArray[Any], n_batches: int, random_state: Any) -> NDArray[np.int64]:
    """Return the mini-batch of each row [m], which follows from its content and `random_state`.

    A net that is fitted on a part of the data sees only that part, and yet must put each row where
    it would be among all of them. So a row's place is a hash of the row: sizes of mini-batches are
    those of balls thrown into bins, and equal rows are together.

    Parameters
    ----------
    x : float array [m, ...]
        Rows as the net gets them.
    n_batches : int
        How many mini-batches there are.
    random_state : int or RandomState
        What the hash follows from; not asked if there is one mini-batch.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(1_000, 3))
    >>> numbers = minibatch_numbers(x, 4, 0)
    >>> np.bincount(numbers).tolist()
    [256, 243, 255, 246]
    >>> bool((minibatch_numbers(x[200:300], 4, 0) == numbers[200:300]).all())
    True
    """
    if n_batches == 1:
        return np.zeros(len(x), dtype=np.int64)
    # Adding zero makes one zero of the two.
    flat = np.ascontiguousarray(x.reshape(len(x), -1) + 0.0)
    words = flat.view(f"u{WORD_BYTES}").astype(np.uint64)
    rng = np.random.default_rng(seed_of(random_state))
    factors = rng.integers(0, 2**64, size=words.shape[1], dtype=np.uint64)
    # A linear form over 2**64 with random coefficients, of which the upper half is kept: two
    # different rows collide with probability 2**-32.
    sums = (words * factors).sum(axis=1, dtype=np.uint64)
    upper = (sums + rng.integers(0, 2**64, dtype=np.uint64)) >> np.uint64(32)
    return np.asarray((upper * np.uint64(n_batches)) >> np.uint64(32), dtype=np.int64)
