"""Curvature of the mean training loss as a linear operator on blocks of vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
import torch
from torch.func import grad, vjp, vmap

from dvl_core.errors import InvalidOptionError, NotFittedError
from dvl_influence.data import Batch, Points
from dvl_influence.errors import ModelError
from dvl_influence.finite import all_finite
from dvl_influence.gradient_rows import PointGradients
from dvl_influence.jacobians import output_derivatives, outputs_per_point
from dvl_influence.memory import DEFAULT_BUDGET, activations_per_point, share
from dvl_influence.objective import Objective, explained
from dvl_influence.trees import map_tree, rows

__all__ = ["CURVATURE_KINDS", "Curvature", "CurvatureKind", "chosen_kind"]

CurvatureKind = Literal["hessian", "ggn", "empirical-fisher"]
PASSES_AN_OUTPUT = 50
"""Passes over the points, with one vector each, that cost about what an output's derivatives do."""

CURVATURE_KINDS: tuple[CurvatureKind, ...] = ("hessian", "ggn", "empirical-fisher")


def chosen_kind(asked: CurvatureKind | None, approximator: object) -> CurvatureKind:
    """Return the kind asked for, or the first that an approximator takes.

    Raises
    ------
    InvalidOptionError
        If the approximator cannot take it.
    """
    takes: tuple[CurvatureKind, ...] = getattr(approximator, "curvature_kinds", CURVATURE_KINDS)
    if asked is not None and asked not in takes:
        raise InvalidOptionError(
            f"{type(approximator).__name__} cannot take curvature={asked!r}: it takes "
            f"{' or '.join(map(repr, takes))}"
        )
    return asked or takes[0]


Product = Callable[[torch.Tensor], torch.Tensor]


class Curvature:
    """Mean over the training points of the curvature of their losses; a `LinearOperator`.

    - ``"hessian"``: second derivatives of the loss; may have negative eigenvalues.
    - ``"ggn"``: generalised Gauss-Newton matrix J^T S J, with J the derivative of the output by the
      parameters and S the second derivative of the loss by the output; of any differentiable loss.
      Positive semi-definite for losses convex in the output, and for cross-entropy the Fisher
      matrix. Equal to the Hessian where the model is linear in its parameters.
    - ``"empirical-fisher"``: the mean of g g^T over the gradients of single points. Neither of the
      two above: it vanishes where the model fits every point.

    Every point has the same weight, whatever the batches.

    Parameters
    ----------
    objective : Objective
        Model and loss.
    points : iterable of Batch
        The training points; `Points` or a list.
    kind : str
        One of the three above.
    memory_budget : int
        Bytes that intermediate results may take.

    Raises
    ------
    InvalidOptionError
        If there is no such kind.

    References
    ----------
    Martens, New insights and perspectives on the natural gradient method, JMLR 2020, equations 5, 6
    and section 11; Kunstner et al., Limitations of the empirical Fisher approximation, NeurIPS
    2019.

    Examples
    --------
    >>> model = torch.nn.Linear(1, 1, bias=False).double()
    >>> objective = Objective(model, torch.nn.functional.mse_loss)
    >>> x = torch.tensor([[1.0], [2.0], [3.0]]).double()
    >>> Curvature(objective, [Batch(x[:2], x[:2]), Batch(x[2:], x[2:])], "hessian").dense()
    tensor([[9.3333]], dtype=torch.float64)
    """

    def __init__(
        self,
        objective: Objective,
        points: Points | list[Batch],
        kind: CurvatureKind = "hessian",
        *,
        memory_budget: int = DEFAULT_BUDGET,
    ) -> None:
        if kind not in CURVATURE_KINDS:
            raise InvalidOptionError(
                f"curvature is {kind!r}: it must be one of {', '.join(map(repr, CURVATURE_KINDS))}"
            )
        self.objective = objective
        self.points = points
        self.kind = kind
        self.memory_budget = memory_budget
        self.gradients = PointGradients(objective, points, memory_budget=memory_budget)

    @property
    def size(self) -> int:
        """The number of parameters p."""
        return self.objective.size

    @property
    def like(self) -> torch.Tensor:
        """A vector [p] of the type and on the device of the products."""
        return self.objective.vector

    @property
    def n_points(self) -> int:
        """The number of training points."""
        return self.gradients.n_points

    def restricted(self, names: Iterable[str]) -> Curvature:
        """Return the diagonal block of the parameters `names`."""
        gradients = self.gradients.restricted(names)
        part = Curvature(
            gradients.objective, self.points, self.kind, memory_budget=self.memory_budget
        )
        part.gradients = gradients
        return part

    def sampled(self, rng: np.random.Generator, n_points: int) -> Curvature:
        """Return the curvature of random training points, an unbiased estimate of this one."""
        if isinstance(self.points, Points):
            batch = self.points.sample(rng, n_points)
        else:
            every = self.points
            batch = every[rng.integers(len(every))]
            where = torch.from_numpy(rng.permutation(batch.n_points)[:n_points])
            batch = Batch(rows(batch.x, where), rows(batch.y, where))
        return Curvature(self.objective, [batch], self.kind, memory_budget=self.memory_budget)

    def matvec(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the products [m, p] with the rows of `vectors` [m, p].

        Raises
        ------
        InfluenceError
            If the model cannot be differentiated twice, or a product is not finite.
        """
        total = torch.zeros_like(vectors)
        if not len(vectors):
            return total
        if not self.n_points:
            raise NotFittedError(
                "products with the curvature need the training data: give load(path, train_loader)"
            )
        if self.kind == "empirical-fisher":
            for part in self.gradients:
                total += (vectors @ part.T) @ part
            return self._finite(total / self.n_points)
        count = 0
        for batch in self._pieces():
            with explained(f"the product of the curvature ({self.kind}) with vectors"):
                total += self._summed(batch, vectors)
            count += batch.n_points
        return self._finite(total / count)

    def dense(self) -> torch.Tensor:
        """Return the matrix [p, p], symmetric to the last bit."""
        matrix = self._from_jacobians() if self._few_outputs else self.matvec(self._identity)
        return (matrix + matrix.T) / 2

    @property
    def _identity(self) -> torch.Tensor:
        return torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)

    @property
    def _few_outputs(self) -> bool:
        """Whether it takes fewer passes to differentiate outputs than to multiply the identity."""
        if self.kind != "ggn":
            return False
        outputs = outputs_per_point(self.objective, next(iter(self.points)))
        return outputs is not None and PASSES_AN_OUTPUT * outputs <= self.size

    def _from_jacobians(self) -> torch.Tensor:
        """Return the mean of J^T S J over the points."""
        total = torch.zeros_like(self._identity)
        for batch in self.points:
            for part in output_derivatives(self.objective, batch, memory_budget=self.memory_budget):
                curved = part.inner @ part.jacobian
                total += part.jacobian.flatten(0, 1).T @ curved.flatten(0, 1)
        return self._finite(total / self.n_points)

    def _summed(self, batch: Batch, vectors: torch.Tensor) -> torch.Tensor:
        """Return the products of the sum over the points of a batch."""
        if self.kind == "hessian":
            product = _hessian_product(self.objective, batch)
        else:
            product = _gauss_newton_product(self.objective, batch)
        each = 6 * self.like.element_size() * (self._activations * batch.n_points + self.size)
        at_once = share(self.memory_budget, each)
        parts = [product(part).detach() for part in vectors.split(at_once)]
        return batch.n_points * torch.cat(parts)

    def _pieces(self) -> Iterator[Batch]:
        """Yield the points in batches for which at least one vector fits the budget."""
        for batch in self.gradients.batches():
            if not hasattr(self, "_activations"):
                self._activations = activations_per_point(self.objective, batch.x)
            each = 6 * self.like.element_size() * (self._activations + self.size)
            step = share(self.memory_budget, each)
            for start in range(0, batch.n_points, step):
                part = slice(start, start + step)
                yield Batch(rows(batch.x, part), rows(batch.y, part))

    def _finite(self, products: torch.Tensor) -> torch.Tensor:
        """Refuse NaN and infinity."""
        if not all_finite(products):
            raise ModelError(
                f"the curvature ({self.kind}) of the training loss is NaN or infinite: look for "
                "losses or activations without second derivatives, such as a square root at 0"
            )
        return products


def _hessian_product(objective: Objective, batch: Batch) -> Product:
    """Return vectors [m, p] -> their products with H of the mean loss of a batch.

    As the transposed derivative of the gradient, of which H is the symmetric derivative: a graph
    that is built once serves all vectors, and nothing needs derivatives in forward mode.
    """

    def loss(vector: torch.Tensor) -> torch.Tensor:
        return objective.mean_loss(vector, batch.x, batch.y)

    _, back = vjp(grad(loss), objective.vector)
    return vmap(lambda vector: back(vector)[0])


def _gauss_newton_product(objective: Objective, batch: Batch) -> Product:
    """Return vectors [m, p] -> their products with J^T S J of the mean loss of a batch.

    J v is computed as the transposed of u -> J^T u.
    """

    def output(vector: torch.Tensor) -> torch.Tensor:
        return objective.output(vector, batch.x)

    def loss(out: torch.Tensor) -> torch.Tensor:
        return objective.loss(out, batch.y)

    out, back = vjp(output, objective.vector)
    _, forth = vjp(lambda cotangent: back(cotangent)[0], map_tree(torch.zeros_like, out))
    _, inner = vjp(grad(loss), out)
    curved = vmap(lambda change: inner(change)[0])

    def product(vectors: torch.Tensor) -> torch.Tensor:
        changes = vmap(lambda vector: forth(vector)[0])(vectors)
        outputs = outputs_per_point(objective, batch)
        if outputs is not None and outputs < len(vectors):
            # S has a block for each point: that is had from fewer products than vectors.
            one_hot = torch.eye(outputs, dtype=out.dtype, device=out.device)
            one_hot = one_hot.view(outputs, 1, *out.shape[1:]).expand(outputs, *out.shape)
            blocks = curved(one_hot).flatten(2)
            products = torch.einsum("mbk,kbc->mbc", changes.flatten(2), blocks).view_as(changes)
        else:
            products = curved(changes)
        return vmap(lambda cotangent: back(cotangent)[0])(products)

    return product
