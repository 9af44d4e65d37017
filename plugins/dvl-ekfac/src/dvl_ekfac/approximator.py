"""Inverse curvature times vectors by Kronecker factors of each layer."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch

from dvl_core.errors import DvlWarning, InvalidOptionError
from dvl_core.options import Described
from dvl_core.protocols import LinearOperator
from dvl_ekfac.cotangents import Cotangents, Fisher, Sampler
from dvl_ekfac.kronecker import factorised
from dvl_ekfac.state import EkfacState, Fitted, arrays_of, restored
from dvl_influence.curvature import Curvature
from dvl_influence.data import Batch
from dvl_influence.errors import IndefiniteCurvatureError, ModelError
from dvl_influence.layers import find_layers
from dvl_influence.memory import share
from dvl_influence.objective import Objective
from dvl_influence.operators import DampedOperator, split_damping
from dvl_influence.solutions import LinearSolution, check_rows

__all__ = ["EkfacApproximator"]

SHARE_OF_MEAN = 0.1
"""Of the mean eigenvalue, as in Grosse et al. 2023."""


class EkfacApproximator(Described):
    """Approximate the curvature of each layer by a Kronecker product, its eigenvalues corrected.

    For a layer with inputs a and gradients delta by its outputs, the eigenvectors of
    ``E[a a^T]`` and ``E[delta delta^T]`` give a basis in which the curvature is taken to be
    diagonal; curvature between layers is left out. Exact for one training point, and for linear
    nets with squared errors. Linear, Conv1d, Conv2d, Embedding, LayerNorm and batch normalisation
    in eval mode, see `dvl_influence.layers`; positions of one point are taken as independent in the
    covariances (the "expand" setting), the eigenvalues take them together.

    Parameters
    ----------
    factors : str
        ``"ekfac"``: eigenvalues are the mean squares of gradients in the basis; ``"kfac"``:
        products of the eigenvalues of the covariances, which saves the second pass.
    fisher : str, optional
        Which curvature: ``"exact"``, the generalised Gauss-Newton matrix, which is the Fisher
        matrix for cross-entropy, with one backward pass per output; ``"sampled"``, an unbiased
        estimate of it from targets drawn from the prediction; ``"empirical"``, from the true
        targets. None: empirical if the curvature is ``"empirical-fisher"``, else exact.
    n_samples : int
        Targets drawn for each point, for ``"sampled"``.
    seed : int
        Of the draws.
    sampler : callable, optional
        ``sampler(output, generator) -> targets``, for losses other than cross-entropy, squared
        error and binary cross-entropy with logits, as whose log-likelihood the loss is taken.
        Without it, such losses get random combinations of the root of their second derivative.
    unsupported : str
        Parameters in other layers: ``"refuse"``, or ``"leave-out"``: their part of solutions is
        zero, as if they were fixed.
    damping : str
        ``"global"``: regularization is added to all eigenvalues; ``"per-layer"``: to those of each
        layer in proportion to their mean, so that regularization is the mean over parameters of
        what is added.

    Raises
    ------
    InvalidOptionError
        If an option is out of range.

    References
    ----------
    Martens and Grosse, Optimizing neural networks with Kronecker-factored approximate curvature,
    ICML 2015, section 3; George et al., Fast approximate natural gradient descent in a
    Kronecker-factored eigenbasis, NeurIPS 2018, section 4; Grosse et al., Studying large language
    model generalization with influence functions, 2023, section 3.2; Eschenhagen et al.,
    Kronecker-factored approximate curvature for modern neural network architectures, NeurIPS 2023.

    Examples
    --------
    >>> ekfac = EkfacApproximator()
    >>> state = ekfac.init(EkfacApproximator.example_curvature())
    >>> ekfac.solve(state, torch.ones(2, 20, dtype=torch.float64)).value.shape
    torch.Size([2, 20])
    >>> {name: tuple(own.values.shape) for name, own in state.eigen.items()}
    {'0': (3, 4), '2': (2, 4)}
    """

    approximate: ClassVar[bool] = True

    def __init__(
        self,
        *,
        factors: Literal["ekfac", "kfac"] = "ekfac",
        fisher: Fisher | None = None,
        n_samples: int = 1,
        seed: int = 0,
        sampler: Sampler | None = None,
        unsupported: Literal["refuse", "leave-out"] = "refuse",
        damping: Literal["global", "per-layer"] = "global",
    ) -> None:
        for name, value, allowed in (
            ("factors", factors, ("ekfac", "kfac")),
            ("fisher", fisher, (None, "exact", "sampled", "empirical")),
            ("unsupported", unsupported, ("refuse", "leave-out")),
            ("damping", damping, ("global", "per-layer")),
        ):
            if value not in allowed:
                choices = " or ".join(map(repr, allowed))
                raise InvalidOptionError(f"{name} is {value!r}: it must be {choices}")
        if n_samples < 1:
            raise InvalidOptionError(f"n_samples is {n_samples}: it must be at least 1")
        if sampler is not None and fisher != "sampled":
            raise InvalidOptionError("sampler draws targets for fisher='sampled' only")
        self.factors = factors
        self.fisher = fisher
        self.n_samples = n_samples
        self.seed = seed
        self.sampler = sampler
        self.unsupported = unsupported
        self.damping = damping
        self._latest: tuple[weakref.ref[Curvature], Fitted] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_latest": None}

    @property
    def curvature_kinds(self) -> tuple[str, ...]:
        """What it can take; the Hessian only as what residuals and preconditioning refer to."""
        if self.fisher is None:
            return ("ggn", "hessian", "empirical-fisher")
        return ("empirical-fisher",) if self.fisher == "empirical" else ("ggn", "hessian")

    def init(self, curvature: LinearOperator) -> EkfacState:
        """Factorise the curvature of the training points: two passes over them.

        Parameters
        ----------
        curvature : LinearOperator
            A `dvl_influence.Curvature`, or a `DampedOperator` of one.

        Raises
        ------
        InvalidOptionError
            If the curvature is another one.
        ModelError
            If a parameter is in a layer that cannot be factorised, and `unsupported` is "refuse".
        IndefiniteCurvatureError
            If the loss is not convex in the output, or the curvature is singular and not damped.

        Warns
        -----
        DvlWarning
            If parameters are left out.
        """
        undamped, _ = split_damping(curvature)
        fitted = self._fit(_checked(undamped, self.curvature_kinds))
        if fitted.left_out:
            share_left = 1.0 - sum(layer.size for layer in fitted.layers) / curvature.size
            name, reason = next(iter(fitted.left_out.items()))
            warnings.warn(
                f"{100 * share_left:.3g} % of the parameters are left out, as if they were fixed: "
                f"{len(fitted.left_out)} tensors, the first {name!r}, because {reason}",
                DvlWarning,
                stacklevel=2,
            )
        return self._state(curvature, fitted)

    def solve(self, state: EkfacState, rhs: Any) -> LinearSolution:
        """Solve for the rows of `rhs` [m, p]; the residual is against the true curvature.

        Raises
        ------
        DataError
            If `rhs` has another shape, or is not finite.
        """
        check_rows(rhs, state.operator.size)
        value = torch.zeros_like(rhs)
        for layer in state.fitted.layers:
            own, where = state.eigen[layer.name], state.fitted.positions[layer.name]
            step = share(2**26, 4 * rhs.element_size() * layer.size)
            for start in range(0, len(rhs), step):
                part = slice(start, start + step)
                matrices = layer.to_matrices(rhs[part][:, where])
                solved = own.divided(matrices, state.damping[layer.name])
                value[part, where] = layer.to_vectors(solved)
        return LinearSolution(state.operator, rhs, value, converged=False)

    def auto_damping(self, curvature: LinearOperator) -> float:
        """Return a tenth of the mean eigenvalue, over the parameters of all layers."""
        return SHARE_OF_MEAN * self._fit(_checked(curvature, self.curvature_kinds)).mean

    def with_damping(self, state: EkfacState, damping: float) -> EkfacState:
        """Return the state for another regularization, without a pass over the points."""
        undamped, _ = split_damping(state.operator)
        return self._state(DampedOperator(undamped, damping), state.fitted)

    def blocks(self, state: EkfacState) -> dict[str, torch.Tensor]:
        """Return, by layer, where its parameters lie in the vector."""
        return dict(state.fitted.positions)

    def dense(self, state: EkfacState) -> torch.Tensor:
        """Return the approximated curvature [p, p], without damping."""
        matrix = torch.zeros(state.operator.size, state.operator.size, dtype=torch.float64)
        for layer in state.fitted.layers:
            own, where = state.eigen[layer.name], state.fitted.positions[layer.name]
            unit = layer.to_matrices(torch.eye(layer.size, dtype=torch.float64))
            product = own.back(own.rotated(unit) * own.values.double())
            matrix[where[:, None], where] = layer.to_vectors(product)
        return matrix

    def to_arrays(self, state: EkfacState) -> dict[str, torch.Tensor]:
        """Return eigenvectors and eigenvalues by layer, to be saved."""
        return arrays_of(state.fitted)

    def from_arrays(self, arrays: Mapping[str, torch.Tensor], curvature: Any) -> EkfacState:
        """Return the state that `to_arrays` gave; the curvature tells model and regularization.

        Raises
        ------
        DataError
            If the arrays belong to another model.
        """
        undamped, _ = split_damping(curvature)
        objective = _checked(undamped, self.curvature_kinds).objective
        return self._state(curvature, restored(objective, arrays))

    @staticmethod
    def example_curvature() -> DampedOperator:
        """Return a small curvature that the method can take, for conformance tests."""
        rng = torch.Generator().manual_seed(0)
        sizes = torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)
        model = torch.nn.Sequential(*sizes).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
        x = torch.randn(12, 3, generator=rng, dtype=torch.float64)
        y = torch.randint(0, 2, (12,), generator=rng)
        objective = Objective(model, torch.nn.functional.cross_entropy)
        return DampedOperator(Curvature(objective, [Batch(x, y)], "ggn"), 0.1)

    def _fit(self, curvature: Curvature) -> Fitted:
        """Return the factors of a curvature; those found last are kept for the next call."""
        if self._latest is not None and self._latest[0]() is curvature:
            return self._latest[1]
        objective, points = curvature.objective, curvature.points
        layers = find_layers(objective, next(iter(points)))
        if layers.unsupported and self.unsupported == "refuse":
            listed = "; ".join(f"{name!r}: {why}" for name, why in layers.unsupported.items())
            raise ModelError(
                f"EK-FAC cannot take these parameters: {listed}. Freeze them with "
                "requires_grad_(False), or use unsupported='leave-out'"
            )
        fisher = self.fisher or ("empirical" if curvature.kind == "empirical-fisher" else "exact")
        eigen = {}
        if layers.layers:
            cotangents = Cotangents(objective, fisher, self.n_samples, self.seed, self.sampler)
            budget = curvature.memory_budget
            eigen = factorised(layers, points, cotangents, self.factors, memory_budget=budget)
        positions = {layer.name: layers.positions(layer) for layer in layers.layers}
        fitted = Fitted(layers.layers, positions, eigen, dict(layers.unsupported), fisher)
        self._latest = (weakref.ref(curvature), fitted)
        return fitted

    def _state(self, curvature: LinearOperator, fitted: Fitted) -> EkfacState:
        """Return the state for the damping of a curvature."""
        _, damping = split_damping(curvature)
        added, layers = {}, {}
        for layer in fitted.layers:
            own = fitted.eigen[layer.name].values
            mean, largest = float(own.double().mean()), float(own.max())
            each = damping
            if self.damping == "per-layer" and mean > 0:
                each = damping * mean / fitted.mean
            if each == 0 and float(own.min()) <= torch.finfo(own.dtype).eps * largest:
                raise IndefiniteCurvatureError(
                    f"the curvature of layer {layer.name!r} is singular without regularization: "
                    "give a positive one, or 'auto'"
                )
            added[layer.name] = each
            layers[layer.name] = {
                "n_parameters": layer.size,
                "mean_eigenvalue": mean,
                "largest_eigenvalue": largest,
                "regularization": each,
            }
        covered = sum(layer.size for layer in fitted.layers)
        details = {
            "factors": self.factors,
            "fisher": fitted.fisher,
            "layers": layers,
            "left_out": dict(fitted.left_out),
            "left_out_share": 1.0 - covered / curvature.size,
        }
        return EkfacState(curvature, fitted, added, details)


def _checked(curvature: Any, kinds: tuple[str, ...]) -> Curvature:
    """Refuse what has no model and no points."""
    if not isinstance(curvature, Curvature):
        raise InvalidOptionError(
            "EK-FAC needs a model and its training points, a dvl_influence.Curvature, not a "
            f"{type(curvature).__name__}: for a bare linear operator use 'direct', 'cg' or "
            "'nystroem'"
        )
    if curvature.kind not in kinds:
        raise InvalidOptionError(
            f"EK-FAC with this option fisher takes {' or '.join(map(repr, kinds))}, not a "
            f"curvature of kind {curvature.kind!r}"
        )
    return curvature
