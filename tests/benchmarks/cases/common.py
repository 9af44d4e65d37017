"""Shared by the cases: the seed, and how far values lie apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from measure import Arrays

SEED = 20260801


def distance_from_floor(arrays: Arrays, outputs: Mapping[str, Arrays]) -> dict[str, float]:
    """Return the largest difference between a value of each side and that of the floor."""
    floor = outputs["floor"]["values"]
    return {
        label: float(np.abs(side["values"] - floor).max())
        for label, side in outputs.items()
        if label != "floor"
    }
