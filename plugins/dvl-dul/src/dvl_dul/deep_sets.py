"""Deep sets: what a coalition is worth from what its members are (Zaheer et al. 2017)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, get_args

import numpy as np

from dvl_core.errors import DataError, InvalidOptionError, MissingDependencyError
from dvl_core.games.base import checked_n_players
from dvl_core.options import Described
from dvl_core.utilities.fingerprint import fingerprint_object, fingerprint_of
from dvl_dul.networks import (
    Precision,
    Schedule,
    SetNetwork,
    SetPredictor,
    initial_layers,
    player_sums,
    train_network,
)
from dvl_dul.rows import described_rows

if TYPE_CHECKING:
    from dvl_core.data import Dataset
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["DeepSetUtilityModel"]


class DeepSetUtilityModel(Described):
    """A network over the members of a coalition: rho of the sum of phi(features, target).

    phi is computed for every training row, and a coalition's sum is the product of its mask with
    these rows: absent rows contribute nothing, and nothing is padded. It is trained with torch
    (``pip install 'dvl-dul[torch]'``), in mini-batches by Adam; predictions are matrix products in
    double precision, for which workers need no torch.

    Features must be numbers, or columns of a frame. The target is a feature too: a class as one
    column for each class, a number standardised.

    Parameters
    ----------
    phi_hidden : int
        Width of the hidden layer of phi.
    phi_output : int
        Width of its output: how much is summed up.
    rho_hidden : int
        Width of the hidden layer of rho.
    learning_rate : float
        Of Adam at the start; it falls to zero along a cosine.
    batch_size : int
        Coalitions a step.
    n_epochs : int
        How often each training coalition is seen.
    device : str
        Where torch trains: "cpu", "cuda", ... Only on the CPU is the same seed sure to give the
        same network.
    precision : {"float32", "float64"}
        Of the training.

    Raises
    ------
    InvalidOptionError
        If an option has no sensible value.

    References
    ----------
    Zaheer, M. et al. (2017). Deep Sets. NeurIPS, theorem 2.

    Examples
    --------
    >>> from dvl_core import Dataset
    >>> train = Dataset([[0.0], [1.0], [2.0]], [0, 1, 1])
    >>> coalitions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1]], dtype=bool)
    >>> model = DeepSetUtilityModel(n_epochs=300)
    >>> predict = model.learn(coalitions, np.array([0.0, 1.0, 1.0, 2.0]), train=train, seed=0)
    >>> predict(coalitions).round(1)
    array([0., 1., 1., 2.])
    """

    def __init__(
        self,
        *,
        phi_hidden: int = 32,
        phi_output: int = 16,
        rho_hidden: int = 32,
        learning_rate: float = 0.01,
        batch_size: int = 32,
        n_epochs: int = 200,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        for name, width in (
            ("phi_hidden", phi_hidden),
            ("phi_output", phi_output),
            ("rho_hidden", rho_hidden),
            ("batch_size", batch_size),
            ("n_epochs", n_epochs),
        ):
            checked_n_players(width, name)
        if not 0.0 < learning_rate < np.inf:
            raise InvalidOptionError(f"learning_rate must be positive, got {learning_rate!r}")
        if precision not in get_args(Precision):
            raise InvalidOptionError(
                f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}"
            )
        self.phi_hidden = phi_hidden
        self.phi_output = phi_output
        self.rho_hidden = rho_hidden
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.device = device
        self.precision: Precision = precision

    @property
    def fingerprint(self) -> str | None:
        """Digest of the options and of the version of torch."""
        from importlib.metadata import version

        _require_torch()
        return fingerprint_of(fingerprint_object(self), version("torch"))

    def learn(
        self,
        coalitions: BoolArray,
        utilities: FloatArray,
        *,
        train: Dataset | None,
        seed: int,
    ) -> SetPredictor:
        """Train a network and return its predictions.

        Raises
        ------
        DataError
            If there are no players' data, or it holds no numbers.
        MissingDependencyError
            If torch is not installed.
        """
        _require_torch()
        if train is None:
            raise DataError(
                "DeepSetUtilityModel learns from the rows of the players, and there are none: bind "
                "the utility with with_data(train)"
            )
        rows = described_rows(train)
        rng = np.random.default_rng(seed)
        start = SetNetwork(
            phi=initial_layers([rows.shape[1], self.phi_hidden, self.phi_output], rng),
            rho=initial_layers([self.phi_output, self.rho_hidden, 1], rng),
            scale=1.0 / len(train),
            centre=float(utilities.mean()),
            spread=float(utilities.std()) or 1.0,
        )
        schedule = Schedule(
            self.learning_rate,
            self.batch_size,
            self.n_epochs,
            self.device,
            self.precision,
        )
        network = train_network(start, rows, train.groups, coalitions, utilities, schedule, rng)
        return SetPredictor(network, player_sums(network.embed(rows), train.groups, len(train)))


def _require_torch() -> None:
    """Raise unless torch can be imported."""
    if find_spec("torch") is None:
        raise MissingDependencyError(
            "DeepSetUtilityModel needs torch: pip install 'dvl-dul[torch]'"
        )
