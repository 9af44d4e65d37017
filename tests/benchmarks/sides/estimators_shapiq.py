"""Shapley estimators of shapiq 1.4, run in an environment of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapiq.approximator import (
    SVARM,
    KernelSHAP,
    OwenSamplingSV,
    PermutationSamplingSV,
    StratifiedSamplingSV,
    UnbiasedKernelSHAP,
    kADDSHAP,
)

from sides.estimators import Counted, Estimate, compare


def _estimate(approximator: Callable[..., Any], **options: Any) -> Estimate:
    def estimate(game: Counted, n: int, budget: int, seed: int) -> NDArray[Any]:
        chosen = approximator(n=n, random_state=seed, **options)
        found = chosen.approximate(budget, lambda coalitions: game(np.atleast_2d(coalitions)))
        return np.array([found[(player,)] for player in range(n)])

    return estimate


ESTIMATORS = {
    "permutation": _estimate(PermutationSamplingSV),
    "stratified": _estimate(StratifiedSamplingSV),
    "Owen": _estimate(OwenSamplingSV),
    "SVARM": _estimate(SVARM),
    "SVARM, paired": _estimate(SVARM, pairing_trick=True),
    "KernelSHAP": _estimate(KernelSHAP),
    "KernelSHAP, paired": _estimate(KernelSHAP, pairing_trick=True),
    "unbiased KernelSHAP": _estimate(UnbiasedKernelSHAP),
    "unbiased KernelSHAP, paired": _estimate(UnbiasedKernelSHAP, pairing_trick=True),
    "kADD-SHAP": _estimate(kADDSHAP, max_order=2, pairing_trick=True),
}

if __name__ == "__main__":
    compare(ESTIMATORS, ["shapiq", "numpy", "scipy"])
