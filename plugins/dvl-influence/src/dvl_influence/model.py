"""Influence of training points on predictions, by whatever inverse of the curvature."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import torch

from dvl_core import create
from dvl_core.errors import NotFittedError
from dvl_core.protocols import InverseHessianApproximator, Solution
from dvl_influence.attribution import AttributionModel, Mode
from dvl_influence.blocks import BlockStructure, block_names
from dvl_influence.curvature import Curvature, CurvatureKind, chosen_kind
from dvl_influence.data import Adapter, Batch, Points
from dvl_influence.fitting import FittedBlock, TrainingPoints, fit_blocks, refit_blocks
from dvl_influence.gradient_rows import gradient_pieces
from dvl_influence.gradients import mixed_derivatives
from dvl_influence.loss_check import check_loss
from dvl_influence.memory import DEFAULT_BUDGET
from dvl_influence.objective import Loss, Objective
from dvl_influence.regularization import Regularization
from dvl_influence.trees import Tree

__all__ = ["InfluenceModel", "Mode"]


class InfluenceModel(AttributionModel):
    """Influence functions of a trained model.

    ``s[q, i] = grad L_q . (H + lambda I)^-1 . grad L_i``, with H the mean curvature over the
    training points. Positive: training point i helps test point q. Removing i changes L_q by about
    ``+ s[q, i] / n``.

    Parameters
    ----------
    model : torch.nn.Module
        Trained; in eval mode if it has dropout or batch normalisation. It is left as it is.
    loss : callable
        ``loss(output, target)``, a scalar, the mean over the batch.
    inverse_hessian : str, dict or InverseHessianApproximator
        How the curvature is inverted: the name of a component of kind ``inverse-hessian``, a
        dictionary with its name and options, or the object.
    regularization : float, dict or "auto"
        lambda: the weight decay that the model was trained with is the natural choice. One number,
        one per block by name, or ``"auto"``: derived from the curvature, and told by `report`.
    curvature : str, optional
        ``"hessian"``, ``"ggn"`` or ``"empirical-fisher"``, see `Curvature`; None: the first that
        the approximator takes.
    blocks : str or dict
        Diagonal blocks that are inverted on their own: ``"full"``, ``"layer"``, ``"parameter"``, or
        names of blocks with the names of their parameters.
    adapter : callable, optional
        Turns what loaders yield into (x, y), for batches that are no pairs. The model is called
        with ``model(x)``, ``model(*x)`` for a tuple, ``model(**x)`` for a dictionary.
    dtype : torch.dtype, optional
        Precision of all computations, ``torch.float32`` or ``torch.float64``; None: the model's.
    memory_budget : int
        Bytes that intermediate results may take, beside model, data and results.

    Raises
    ------
    InvalidOptionError
        If an option is not one of those above, or the approximator cannot take the curvature.

    References
    ----------
    Koh and Liang, Understanding black-box predictions via influence functions, ICML 2017, equations
    2 and 5 (the sign here is the opposite of theirs).

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    >>> model = torch.nn.Linear(1, 1).double()
    >>> influence = InfluenceModel(model, torch.nn.functional.mse_loss, "identity")
    >>> influence.fit([(x, x)]).influences(x[:3], x[:3], x, x).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        inverse_hessian: str | Mapping[str, Any] | InverseHessianApproximator = "cg",
        *,
        regularization: Regularization = "auto",
        curvature: CurvatureKind | None = None,
        blocks: BlockStructure = "full",
        adapter: Adapter | None = None,
        dtype: torch.dtype | None = None,
        memory_budget: int = DEFAULT_BUDGET,
    ) -> None:
        approximator = create("inverse-hessian", inverse_hessian)
        self.model = model
        self.loss = loss
        self.approximator = approximator
        self.regularization = regularization
        self.curvature = chosen_kind(curvature, approximator)
        self.blocks = blocks
        self.adapter = adapter
        self.dtype = dtype
        self.memory_budget = memory_budget
        self._objective: Objective | None = None
        self._fitted: dict[str, FittedBlock] = {}
        self._trained = TrainingPoints(0, "")

    def fit(self, train_loader: Iterable[Any]) -> Self:
        """Take the curvature of the mean loss over the training points.

        Parameters
        ----------
        train_loader : iterable
            Yields batches, the same points every time it is gone through. Kept: most methods read
            it again for every solve.

        Raises
        ------
        DataError
            If the data are empty, not finite, on another device than the model, or of different
            lengths.
        InfluenceError
            If model or loss cannot be differentiated, the loss is no mean, or the curvature cannot
            be inverted.
        """
        objective = self._view()
        points = Points(train_loader, objective.device, objective.dtype, adapter=self.adapter)
        check_loss(objective, next(iter(points)))
        curvature = Curvature(objective, points, self.curvature, memory_budget=self.memory_budget)
        names = block_names(objective, self.blocks)
        fitted = fit_blocks(curvature, names, self.regularization, self.approximator)
        self._objective, self._fitted = objective, fitted
        self._trained = TrainingPoints(points.n_points, points.digest)
        return self

    def with_regularization(self, regularization: Regularization) -> Self:
        """Return a fitted copy with another lambda; fitted anew only where the method has to."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.regularization = regularization
        copy._fitted = refit_blocks(self.fitted, regularization, self.approximator)
        return copy

    @property
    def fitted(self) -> dict[str, FittedBlock]:
        """The blocks by name, after `fit`."""
        if not self._fitted:
            raise NotFittedError(
                f"{type(self).__name__} has no curvature yet: call fit(train_loader)"
            )
        return self._fitted

    @property
    def objective(self) -> Objective:
        """Model and loss as a function of the parameters, after `fit`."""
        if self._objective is None:
            raise NotFittedError(
                f"{type(self).__name__} has no curvature yet: call fit(train_loader)"
            )
        return self._objective

    @property
    def n_train(self) -> int:
        """The number n of training points, after `fit`."""
        return self._trained.number

    @property
    def report(self) -> dict[str, Any]:
        """What was done, ready for JSON: method, curvature, regularization and details by block."""
        return {
            "method": type(self.approximator).__name__,
            "curvature": self.curvature,
            "n_train": self.n_train,
            "train_digest": self._trained.digest,
            "n_parameters": self.objective.size,
            "precision": str(self.objective.dtype),
            "blocks": {name: block.report for name, block in self.fitted.items()},
        }

    def solve(self, vectors: torch.Tensor) -> dict[str, Solution]:
        """Return the solutions by block, with residuals, for the rows of `vectors` [m, p]."""
        return {
            name: self.approximator.solve(block.state, vectors[:, block.columns])
            for name, block in self.fitted.items()
        }

    def train_vectors(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield the gradients [., p] of the points of a batch, as many as fit the budget."""
        return gradient_pieces(self.objective, batch, memory_budget=self.memory_budget)

    def influences_by_block(
        self, x_test: Tree, y_test: Tree, x: Tree | None = None, y: Tree | None = None
    ) -> dict[str, torch.Tensor]:
        """Return each block's part of the influences [n_test, n_train]; they add up to them."""
        factors = self.influence_factors(x_test, y_test)
        batch = self.batch(*((x_test, y_test) if x is None else (x, y)), "the training points")
        parts = list(self.train_vectors(batch))
        columns = {name: block.columns for name, block in self.fitted.items()}
        return {
            name: torch.cat([factors[:, where] @ part[:, where].T for part in parts], dim=1)
            for name, where in columns.items()
        }

    def save(self, path: str | Path) -> None:
        """Write the fitted state into the folder `path`: safetensors and JSON, no pickle."""
        from dvl_influence.state_files import save_state

        save_state(self, Path(path))

    def load(self, path: str | Path, train_loader: Iterable[Any] | None = None) -> Self:
        """Take up the state that `save` wrote for the same model, loss and options.

        Parameters
        ----------
        path : str or Path
            The folder.
        train_loader : iterable, optional
            The training data, for methods that read them at every solve, such as conjugate
            gradients.

        Raises
        ------
        DataError
            If the folder holds the state of another model or method, or is damaged.
        NotFittedError
            If the method needs the training data and they are not given.
        """
        from dvl_influence.state_files import load_state

        self._objective, self._fitted, self._trained = load_state(self, Path(path), train_loader)
        return self

    def _view(self) -> Objective:
        """Return the loss as a function of the parameters that are in a block."""
        objective = Objective(self.model, self.loss, dtype=self.dtype)
        covered = {name for names in block_names(objective, self.blocks).values() for name in names}
        if len(covered) == len(objective.names):
            return objective
        return objective.restricted([name for name in objective.names if name in covered])

    def _perturbation(self, factors: torch.Tensor, batch: Batch) -> torch.Tensor:
        return mixed_derivatives(self.objective, factors, batch, memory_budget=self.memory_budget)

    def solved(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the solutions [m, p] of all blocks together."""
        value = torch.zeros_like(vectors)
        for name, solution in self.solve(vectors).items():
            value[:, self.fitted[name].columns] = solution.value
        return value
