"""The two kinds of tasks that influences are made of: factors of test points, blocks of scores."""

from __future__ import annotations

import copy
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from dvl_core.errors import DataError
from dvl_core.protocols import Backend
from dvl_core.threads import one_torch_thread
from dvl_core.travel import Portable
from dvl_influence.attribution import AttributionModel, Mode
from dvl_influence.data import Batch
from dvl_influence.model import InfluenceModel

__all__ = [
    "FactorContext",
    "ScoreContext",
    "process_to_limit",
    "score_block",
    "solve_points",
    "threads_for",
    "without_state",
]


@dataclass(frozen=True)
class FactorContext:
    """What all tasks share that solve for test points."""

    model: AttributionModel
    process: int | None
    """Process number of the parent, if workers are to use one thread each."""


@dataclass(frozen=True)
class ScoreContext(Portable):
    """What all tasks share that score training points for a group of test points."""

    tables: ClassVar[tuple[str, ...]] = ("factors",)

    model: AttributionModel
    mode: Mode
    factors: torch.Tensor
    """Of the test points [q, p]; several processes map them into memory once."""
    process: int | None


def process_to_limit(backend: Backend) -> int | None:
    """Return the number of this process if workers should use one thread each, else None.

    Several workers would take the processor from each other, and threads the order of summation. A
    single one has it for itself.
    """
    return os.getpid() if backend.n_workers > 1 else None


def threads_for(backend: Backend) -> AbstractContextManager[None]:
    """Return a context in which workers that are threads of this process are limited, too.

    Torch only: it does all the work here. Limiting every library asks the system which are loaded,
    and that and a cluster's thread that is just loading one can wait for each other for ever.
    """
    return nullcontext() if process_to_limit(backend) is None else one_torch_thread()


def without_state(model: AttributionModel) -> AttributionModel:
    """Return an influence model without its inverse curvature, which scores have no use for.

    It may be large, and travels with tasks. Subclasses that score in a way of their own keep it.
    """
    scoring = ("influences_from_factors", "train_vectors", "_perturbation")
    if not isinstance(model, InfluenceModel) or any(
        getattr(type(model), name) is not getattr(InfluenceModel, name) for name in scoring
    ):
        return model
    light = copy.copy(model)
    light._fitted = {}
    return light


def solve_points(context: FactorContext, batch: Batch) -> np.ndarray[Any, Any]:
    """Return the factors of test points [b, p]; runs in a worker."""
    _limit_process(context.process)
    factors = context.model.influence_factors(batch.x, batch.y)
    return _finite(factors, "factors")


def score_block(context: ScoreContext, batch: Batch) -> np.ndarray[Any, Any]:
    """Return the influences of training points [q, b, ...]; runs in a worker."""
    _limit_process(context.process)
    factors = context.factors.to(context.model.objective.device)
    scores = context.model.influences_from_factors(factors, batch.x, batch.y, context.mode)
    return _finite(scores, "scores")


def _limit_process(parent: int | None) -> None:
    """Let torch use one thread for good in a worker process; the parent limits itself."""
    if parent not in (None, os.getpid()):
        torch.set_num_threads(1)


def _finite(numbers: torch.Tensor, what: str) -> np.ndarray[Any, Any]:
    """Return numbers as an array; refuse NaN and infinity, which also mark what is not done."""
    if not torch.isfinite(numbers).all():
        raise DataError(
            f"some {what} are NaN or infinite, though the gradients are not: they overflow "
            f"{numbers.dtype}; use the option dtype=torch.float64, or a larger regularization"
        )
    array: np.ndarray[Any, Any] = numbers.detach().cpu().numpy()
    return array
