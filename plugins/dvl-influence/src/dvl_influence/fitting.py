"""Diagonal blocks of the curvature, each regularized and ready to be inverted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from dvl_core.protocols import InverseHessianApproximator
from dvl_influence.columns import as_slice
from dvl_influence.curvature import Curvature
from dvl_influence.operators import DampedOperator
from dvl_influence.regularization import Damping, Regularization, choose_damping, per_block

__all__ = ["FittedBlock", "TrainingPoints", "fit_blocks", "refit_blocks"]


class TrainingPoints(NamedTuple):
    """What is known of the points that a curvature was taken of."""

    number: int
    digest: str


@dataclass(frozen=True)
class FittedBlock:
    """A diagonal block of the curvature, ready to be inverted."""

    positions: torch.Tensor
    """Which parameters of the flat vector are its own [p_block]."""
    operator: DampedOperator
    damping: Damping
    state: Any

    @property
    def columns(self) -> torch.Tensor | slice:
        """The same as a slice where they lie side by side: nothing is copied then."""
        return as_slice(self.positions)

    @property
    def report(self) -> dict[str, Any]:
        """What is known of it, ready for JSON."""
        return {
            "n_parameters": len(self.positions),
            "regularization": self.damping.value,
            "regularization_reason": self.damping.reason,
            **dict(getattr(self.state, "details", {})),
        }


def fit_blocks(
    curvature: Curvature,
    names: Mapping[str, tuple[str, ...]],
    regularization: Regularization,
    approximator: InverseHessianApproximator,
) -> dict[str, FittedBlock]:
    """Return the blocks of a curvature, each prepared by the approximator.

    Parameters
    ----------
    curvature : Curvature
        Of all parameters.
    names : mapping of str to tuple of str
        The parameters of each block.
    regularization : float, dict or "auto"
        What is added to the eigenvalues of each block.
    approximator : InverseHessianApproximator
        Inverts each block.
    """
    asked = per_block(regularization, names)
    objective = curvature.objective
    blocks = {}
    for name, parameters in names.items():
        part = curvature if parameters == objective.names else curvature.restricted(parameters)
        damping = choose_damping(asked[name], curvature.kind, part, approximator)
        operator = DampedOperator(part, damping.value)
        state = approximator.init(operator)
        blocks[name] = FittedBlock(objective.positions(parameters), operator, damping, state)
    return blocks


def refit_blocks(
    blocks: Mapping[str, FittedBlock],
    regularization: Regularization,
    approximator: InverseHessianApproximator,
) -> dict[str, FittedBlock]:
    """Return the blocks with another regularization; anew only where the method has to."""
    asked = per_block(regularization, blocks)
    again = getattr(approximator, "with_damping", None)
    refitted = {}
    for name, block in blocks.items():
        curvature = block.operator.undamped
        damping = choose_damping(asked[name], curvature.kind, curvature, approximator)
        operator = DampedOperator(curvature, damping.value)
        state = again(block.state, damping.value) if again else approximator.init(operator)
        refitted[name] = replace(block, operator=operator, damping=damping, state=state)
    return refitted
