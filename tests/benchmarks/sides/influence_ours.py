"""Influence by dvl, as a user would write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dvl_arnoldi import ArnoldiInfluence
from dvl_cg import CgInfluence
from dvl_datainf import DataInfInfluence
from dvl_direct import DirectInfluence
from dvl_ekfac import EkfacInfluence
from dvl_influence import InfluenceModel
from dvl_influence.data import Batch
from dvl_influence.gradient_rows import gradient_pieces
from dvl_influence.objective import Objective
from dvl_nystroem import NystroemSketchInfluence
from sides.common import Arrays, Prepared, run_side
from sides.influence_problem import Problem, cross_entropy, problem_of, scores_by, scores_only


def _scores(kind: Callable[..., InfluenceModel], **options: Any) -> Callable[[Arrays], Prepared]:
    """Return how to compute all scores; the regularization is the problem's unless told."""

    def method(problem: Problem) -> Callable[[], torch.Tensor]:
        told = {"regularization": problem.regularization, **options}

        def work() -> torch.Tensor:
            influence = kind(problem.model, cross_entropy, **told).fit(problem.loader)
            return influence.influences(problem.x_test, problem.y_test, problem.x, problem.y)

        return work

    return scores_by(method)


def gradient_dot(*parts: Any, **options: Any) -> InfluenceModel:
    """Return the baseline without curvature."""
    return InfluenceModel(*parts, "identity", **options)


def gradients(arrays: Arrays) -> Prepared:
    """Return the gradients of single points."""
    problem = problem_of(arrays)
    objective, batch = Objective(problem.model, cross_entropy), Batch(problem.x, problem.y)
    return Prepared(
        lambda: list(gradient_pieces(objective, batch)),
        lambda pieces: scores_only(torch.cat(pieces)),
    )


def gradients_one_by_one(arrays: Arrays) -> Prepared:
    """Return the same by a plain loop of backward passes."""
    problem = problem_of(arrays)
    parameters = list(problem.model.parameters())

    def work() -> torch.Tensor:
        rows = []
        for x, y in zip(problem.x.split(1), problem.y.split(1), strict=True):
            parts = torch.autograd.grad(cross_entropy(problem.model(x), y), parameters)
            rows.append(torch.cat([part.flatten() for part in parts]))
        return torch.stack(rows)

    return Prepared(work, scores_only)


def losses(problem: Problem) -> Callable[[], torch.Tensor]:
    """Return the plain baseline: points of large loss harm all others."""

    def work() -> torch.Tensor:
        with torch.no_grad():
            loss = cross_entropy(problem.model(problem.x), problem.y, reduction="none")
        return -loss.expand(len(problem.x_test), -1)

    return work


PREPARE = {
    "arnoldi": _scores(ArnoldiInfluence, rank=50),
    "cg": _scores(CgInfluence),
    "datainf": _scores(DataInfInfluence),
    "datainf-auto": _scores(DataInfInfluence, regularization="auto"),
    "direct": _scores(DirectInfluence),
    "direct-clip": _scores(DirectInfluence, indefinite="clip"),
    "direct-absolute": _scores(DirectInfluence, indefinite="absolute"),
    "direct-auto": _scores(DirectInfluence, regularization="auto"),
    "direct-fisher": _scores(DirectInfluence, curvature="empirical-fisher"),
    "direct-ggn": _scores(DirectInfluence, curvature="ggn"),
    "direct-ggn-auto": _scores(DirectInfluence, curvature="ggn", regularization="auto"),
    "direct-ggn-layers": _scores(DirectInfluence, curvature="ggn", blocks="layer"),
    "ekfac": _scores(EkfacInfluence),
    "ekfac-auto": _scores(EkfacInfluence, regularization="auto"),
    "gradient-dot": _scores(gradient_dot),
    "gradients": gradients,
    "gradients-one-by-one": gradients_one_by_one,
    "losses": scores_by(losses),
    "nystroem": _scores(NystroemSketchInfluence, rank=50),
}

if __name__ == "__main__":
    run_side(PREPARE, ["dvl-influence", "torch", "numpy"])
