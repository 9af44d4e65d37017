"""How often coalitions of each size are drawn: laws to choose from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dvl_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SIZES", "UNIT_CONSTANTS", "SGDConstants", "SizeLaw", "size_frequencies"]

SizeLaw = Literal[
    "constant", "linear", "harmonic", "power-law", "group-testing", "delta-shapley", "neyman"
]
SIZES = (
    "constant",
    "linear",
    "harmonic",
    "power-law",
    "group-testing",
    "delta-shapley",
    "neyman",
)


@dataclass(frozen=True)
class SGDConstants:
    """What bounds the change of a loss trained by stochastic gradient descent on one more point.

    Parameters
    ----------
    max_loss : float
        Largest loss C.
    lipschitz_loss : float
        Lipschitz constant L of the loss.
    lipschitz_gradient : float
        Lipschitz constant b of its gradient.
    step_factor : float
        c where step t has the length c / t.
    n_steps : int
        Steps T of the training.
    tolerance : float
        Error that is wanted.

    References
    ----------
    Watson, L. et al. (2023). Accelerated Shapley Value Approximation for Data Evaluation.
    arXiv:2311.05346, theorem 7.

    Examples
    --------
    >>> SGDConstants().frequencies(np.array([0, 10, 100])).round(2)
    array([177.9 ,   3.98,   0.21])
    """

    max_loss: float = 1.0
    lipschitz_loss: float = 1.0
    lipschitz_gradient: float = 1.0
    step_factor: float = 1.0
    n_steps: int = 10
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise InvalidOptionError(f"{name} must be positive, got {value}")

    def frequencies(self, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return 2 H^2 + 2 C H + 4 C tolerance / 3 [k], H the stability at each of `sizes` [k].

        With q = b c,  H = C^(q/(q+1)) (2 c L^2)^(1/(q+1)) T^(q/(q+1)) (1 + 1/q) / (k - 1).
        """
        q = self.lipschitz_gradient * self.step_factor
        power = q / (q + 1)
        stability = (self.max_loss * self.n_steps) ** power * (1 + 1 / q)
        stability *= (2 * self.step_factor * self.lipschitz_loss**2) ** (1 - power)
        h = stability / np.maximum(sizes - 1, 1)
        return 2 * h**2 + 2 * self.max_loss * h + 4 * self.max_loss * self.tolerance / 3


UNIT_CONSTANTS = SGDConstants()
"""Used when nothing is known."""


def size_frequencies(
    sizes: SizeLaw, n_players: int, exponent: float, sgd: SGDConstants
) -> NDArray[np.float64]:
    """Return how often the sizes k = 0 .. n-1 are drawn, up to a factor [n].

    Examples
    --------
    >>> size_frequencies("linear", 3, 0.0, SGDConstants())
    array([3., 2., 1.])
    """
    k = np.arange(n_players)
    match sizes:
        case "linear":
            return (n_players - k).astype(float)
        case "harmonic":
            return 1.0 / (k + 1)
        case "power-law":
            return np.asarray((k + 1.0) ** exponent)
        case "group-testing":
            return 1.0 / (k + 1) + 1.0 / (n_players - k)
        case "delta-shapley":
            return sgd.frequencies(k)
        case _:
            return np.ones(n_players)
