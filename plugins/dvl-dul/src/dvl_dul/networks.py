"""Networks over sets: trained in torch, applied with plain matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = [
    "Precision",
    "Schedule",
    "SetNetwork",
    "SetPredictor",
    "initial_layers",
    "player_sums",
    "train_network",
]

Layer: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]]"
"""Weights [inputs, outputs] and biases [outputs]."""

Precision = Literal["float32", "float64"]


@dataclass(frozen=True, eq=False)
class SetNetwork:
    """rho(scale * sum of phi(row) over the rows of a set).

    The sum runs over the rows that are there: no place is ever filled with zeros, to which phi
    would add its biases.

    Parameters
    ----------
    phi : sequence of layers
        Applied to each row.
    rho : sequence of layers
        Applied to the sum; the last one has one output.
    scale : float
        Keeps sums at the size that rho was trained with.
    centre, spread : float
        Mean and standard deviation of what was learned from, to undo its standardisation.
    """

    phi: Sequence[Layer]
    rho: Sequence[Layer]
    scale: float
    centre: float
    spread: float

    def embed(self, rows: FloatArray) -> FloatArray:
        """Return phi [n_rows, k] of `rows` [n_rows, d]."""
        return _apply(self.phi, rows)

    def read(self, sums: FloatArray) -> FloatArray:
        """Return the worth [b] of sets whose embedded rows add up to `sums` [b, k]."""
        return self.centre + self.spread * _apply(self.rho, self.scale * sums)[:, 0]


@dataclass(frozen=True, eq=False)
class SetPredictor:
    """Worth of coalitions by a network.

    Parameters
    ----------
    network : SetNetwork
        What was learned.
    players : float array [n, k]
        Sum of phi over the rows of each player.
    """

    network: SetNetwork
    players: FloatArray

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        """Return the predicted worth [b] of `coalitions` [b, n]."""
        return self.network.read(coalitions.astype(np.float64) @ self.players)


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: Adam on mini-batches, with a rate that falls along a cosine.

    Parameters are those of `DeepSetUtilityModel`.
    """

    learning_rate: float
    batch_size: int
    n_epochs: int
    device: str
    precision: Precision


def player_sums(embedded: FloatArray, groups: IntArray | None, n_players: int) -> FloatArray:
    """Return the sum [n, k] of `embedded` [n_rows, k] over the rows of each player."""
    if groups is None:
        return embedded
    sums = np.zeros((n_players, embedded.shape[1]))
    np.add.at(sums, groups, embedded)
    return sums


def initial_layers(widths: Sequence[int], rng: np.random.Generator) -> list[Layer]:
    """Return layers of the given widths, weights drawn as He et al. (2015) do, biases zero."""
    return [
        (rng.normal(size=(n_in, n_out)) * np.sqrt(2.0 / n_in), np.zeros(n_out))
        for n_in, n_out in pairwise(widths)
    ]


def train_network(
    network: SetNetwork,
    rows: FloatArray,
    groups: IntArray | None,
    coalitions: BoolArray,
    utilities: FloatArray,
    schedule: Schedule,
    rng: np.random.Generator,
) -> SetNetwork:
    """Return the network after it has seen all coalitions `schedule.n_epochs` times.

    The state of torch's generators is neither used nor changed.

    Parameters
    ----------
    network : SetNetwork
        Where to start.
    rows : float array [n_rows, d]
        What is known of each row.
    groups : int array [n_rows], optional
        Player of each row; None: each row is one.
    coalitions : bool array [m, n]
        What to learn from.
    utilities : float array [m]
        What each is worth.
    schedule : Schedule
        How to train.
    rng : Generator
        Orders the coalitions.
    """
    import torch

    threads = torch.get_num_threads()
    # Also where the number is 1 already: that may be a limit on OpenMP from outside, under which a
    # torch that was ever told of more threads takes ten times as long for small steps.
    torch.set_num_threads(1)
    try:
        return _train(torch, network, rows, groups, coalitions, utilities, schedule, rng)
    finally:
        torch.set_num_threads(threads)


def _train(
    torch: Any,
    network: SetNetwork,
    rows: FloatArray,
    groups: IntArray | None,
    coalitions: BoolArray,
    utilities: FloatArray,
    schedule: Schedule,
    rng: np.random.Generator,
) -> SetNetwork:
    def tensor(array: Any) -> Any:
        return torch.tensor(array, dtype=getattr(torch, schedule.precision), device=schedule.device)

    phi, rho = (
        [tuple(tensor(part).requires_grad_() for part in layer) for layer in layers]
        for layers in (network.phi, network.rho)
    )
    x, y = tensor(rows), tensor((utilities - network.centre) / network.spread)
    owners = None if groups is None else torch.tensor(groups, device=schedule.device)
    parameters = [part for layer in (*phi, *rho) for part in layer]
    steps = schedule.n_epochs * -(-len(coalitions) // schedule.batch_size)
    optimiser = torch.optim.Adam(parameters, lr=schedule.learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(schedule.n_epochs):
        order = rng.permutation(len(coalitions))
        for start in range(0, len(order), schedule.batch_size):
            batch = order[start : start + schedule.batch_size]
            players = _forward(torch, phi, x)
            if owners is not None:
                empty = torch.zeros((coalitions.shape[1], players.shape[1])).to(players)
                players = empty.index_add(0, owners, players)
            sums = tensor(coalitions[batch]) @ players
            predicted = _forward(torch, rho, network.scale * sums)[:, 0]
            loss = torch.mean((predicted - y[torch.from_numpy(batch).to(y.device)]) ** 2)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            decay.step()
    return replace(network, phi=_arrays(phi), rho=_arrays(rho))


def _arrays(layers: Sequence[Any]) -> list[Layer]:
    """Return layers of tensors as layers of arrays."""
    return [
        (weights.detach().cpu().numpy().astype(float), biases.detach().cpu().numpy().astype(float))
        for weights, biases in layers
    ]


def _forward(torch: Any, layers: Sequence[Any], inputs: Any) -> Any:
    """Return what layers make of tensors, as `_apply` does of arrays."""
    for number, (weights, biases) in enumerate(layers):
        inputs = torch.addmm(biases, torch.relu(inputs) if number else inputs, weights)
    return inputs


def _apply(layers: Sequence[Layer], inputs: FloatArray) -> FloatArray:
    """Return what layers make of inputs, with a rectifier between one and the next."""
    for number, (weights, biases) in enumerate(layers):
        inputs = (np.maximum(inputs, 0.0) if number else inputs) @ weights + biases
    return inputs
