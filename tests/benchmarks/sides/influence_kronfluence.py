"""Influence by kronfluence, run in an environment of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch.utils.data import TensorDataset

from sides.common import run_side
from sides.influence_problem import BATCH_SIZE, Problem, cross_entropy, scores_by


class Classification(Task):
    """Cross-entropy as loss and as measurement."""

    def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> torch.Tensor:
        """Return the summed loss of labels, or of labels that the model draws."""
        inputs, labels = batch
        logits = model(inputs)
        if sample:
            with torch.no_grad():
                labels = torch.multinomial(logits.softmax(dim=-1), 1).flatten()
        return cross_entropy(logits, labels, reduction="sum")

    def compute_measurement(self, batch: Any, model: Any) -> torch.Tensor:
        """Return the summed loss."""
        return self.compute_train_loss(batch, model)


def ekfac(problem: Problem) -> Callable[[], torch.Tensor]:
    """Return the work: factors and all scores."""
    model = prepare_model(problem.model, Classification())
    train = TensorDataset(problem.x, problem.y)
    test = TensorDataset(problem.x_test, problem.y_test)
    precision = {"float64": torch.float64, "float32": torch.float32}[str(problem.x.dtype)[6:]]
    factors = FactorArguments(
        strategy="ekfac",
        activation_covariance_dtype=precision,
        gradient_covariance_dtype=precision,
        per_sample_gradient_dtype=precision,
        lambda_dtype=precision,
    )
    scores = ScoreArguments(
        damping_factor=problem.regularization,
        per_sample_gradient_dtype=precision,
        precondition_dtype=precision,
        score_dtype=precision,
    )

    def work() -> torch.Tensor:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            analyzer = Analyzer(
                "digits", model, Classification(), cpu=True, output_dir=folder, disable_tqdm=True
            )
            analyzer.fit_all_factors(
                "ekfac", train, per_device_batch_size=BATCH_SIZE, factor_args=factors
            )
            analyzer.compute_pairwise_scores(
                "scores",
                "ekfac",
                query_dataset=test,
                train_dataset=train,
                per_device_query_batch_size=len(test),
                per_device_train_batch_size=BATCH_SIZE,
                score_args=scores,
            )
            return analyzer.load_pairwise_scores("scores")["all_modules"]

    return work


PREPARE = {"ekfac": scores_by(ekfac)}

if __name__ == "__main__":
    run_side(PREPARE, ["kronfluence", "torch", "numpy"])
