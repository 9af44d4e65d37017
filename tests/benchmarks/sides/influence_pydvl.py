"""Influence by pyDVL 0.10, run in an environment of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydvl.influence.torch import (
    ArnoldiInfluence,
    CgInfluence,
    DirectInfluence,
    EkfacInfluence,
    InverseHarmonicMeanInfluence,
    NystroemSketchInfluence,
)
from pydvl.influence.torch.functional import create_per_sample_gradient_function

from sides.common import Arrays, Prepared, run_side
from sides.influence_problem import Problem, cross_entropy, problem_of, scores_by


def _scores(
    make: Callable[[Problem], Any], precision: torch.dtype | None = None
) -> Callable[[Arrays], Prepared]:
    """Return how to compute all scores; in another precision where a method has only that."""

    def method(problem: Problem) -> Callable[[], Any]:
        problem = problem if precision is None else problem.in_precision(precision)

        def work() -> torch.Tensor:
            fitted = make(problem).fit(problem.loader)
            return fitted.influences(problem.x_test, problem.y_test, problem.x, problem.y)

        return work

    return scores_by(method)


def gradients(arrays: Arrays) -> Prepared:
    """Return the gradients of single points."""
    problem = problem_of(arrays)
    function = create_per_sample_gradient_function(problem.model, cross_entropy)
    parameters = {name: p.detach() for name, p in problem.model.named_parameters()}

    def work() -> torch.Tensor:
        parts = function(parameters, problem.x, problem.y)
        return torch.cat([part.flatten(1) for part in parts.values()], dim=1)

    return Prepared(work, lambda found: {"scores": found.detach().numpy()})


PREPARE = {
    "arnoldi": _scores(
        lambda p: ArnoldiInfluence(p.model, cross_entropy, regularization=p.regularization, rank=50)
    ),
    "cg": _scores(lambda p: CgInfluence(p.model, cross_entropy, regularization=p.regularization)),
    "cg-block": _scores(
        lambda p: CgInfluence(
            p.model, cross_entropy, regularization=p.regularization, solve_simultaneously=True
        )
    ),
    "datainf": _scores(
        lambda p: InverseHarmonicMeanInfluence(
            p.model, cross_entropy, regularization=p.regularization
        )
    ),
    "direct": _scores(
        lambda p: DirectInfluence(p.model, cross_entropy, regularization=p.regularization)
    ),
    "ekfac": _scores(
        lambda p: EkfacInfluence(
            p.model, update_diagonal=True, hessian_regularization=p.regularization
        ),
        precision=torch.float32,
    ),
    "gradients": gradients,
    "kfac": _scores(
        lambda p: EkfacInfluence(p.model, hessian_regularization=p.regularization),
        precision=torch.float32,
    ),
    "nystroem": _scores(
        lambda p: NystroemSketchInfluence(
            p.model, cross_entropy, regularization=p.regularization, rank=50
        )
    ),
}

if __name__ == "__main__":
    run_side(PREPARE, ["pydvl", "torch", "numpy"])
