"""Randomness by number: every block of a run has a generator of its own.

What a block draws depends on the seed of the run and on the number of the block, never on the
worker that draws it: the ground of bit-equal results on every backend.
"""

from __future__ import annotations

import secrets

import numpy as np

from dvl_core.errors import InvalidOptionError

__all__ = ["block_generator", "derived_seed", "resolve_seed"]

BLOCKS, DERIVED = 0, 1


def resolve_seed(seed: int | None) -> int:
    """Return `seed`, or a fresh one from the operating system if it is None.

    Raises
    ------
    InvalidOptionError
        If `seed` is not a non-negative integer.
    """
    if seed is None:
        return secrets.randbits(63)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidOptionError(f"seed must be a non-negative integer or None, got {seed!r}")
    return int(seed)


def block_generator(seed: int, block: int) -> np.random.Generator:
    """Return the generator of block number `block` of the run with this `seed`.

    Examples
    --------
    >>> block_generator(7, 3).random() == block_generator(7, 3).random()
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(BLOCKS, block)))


def derived_seed(seed: int, purpose: int = 0) -> int:
    """Return a 32-bit seed for something that takes plain integers, such as ``random_state``."""
    sequence = np.random.SeedSequence(seed, spawn_key=(DERIVED, purpose))
    return int(sequence.generate_state(1, np.uint32)[0])
