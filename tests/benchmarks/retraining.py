"""Nets of digits, trained on all points and on random halves: what scores have to predict."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from measure import Arrays
from numpy.typing import NDArray
from sides.influence_problem import cross_entropy, net
from sklearn.datasets import load_digits
from torch import nn

from dvl_core.threads import single_threaded

N_TRAIN, N_TEST = 800, 150


@dataclass(frozen=True)
class DigitsNet:
    """A net, trained to the minimum of its loss and a penalty by full-batch L-BFGS.

    Parameters
    ----------
    name, title : str
        For files and for the page.
    sizes : tuple of int
        Widths of the layers, from the inputs to the classes.
    decay : float
        Of the penalty ``decay / 2 |theta|^2``.
    flipped : float
        Share of the training labels that are changed to another class.
    spread : float
        Standard deviation of the weights at the start.
    halves, starts : int
        Random halves of the training points, and from how many starts each is trained.
    """

    name: str
    title: str
    sizes: tuple[int, ...]
    decay: float
    flipped: float
    spread: float
    halves: int
    starts: int

    def arrays(self) -> Arrays:
        """Return the data, and the weights trained on all of them."""
        x, y = load_digits(return_X_y=True)
        rng = np.random.RandomState(0)
        order = rng.permutation(len(x))[: N_TRAIN + N_TEST]
        x, y = x[order] / 16, y[order]
        flips = np.arange(N_TRAIN) < round(self.flipped * N_TRAIN)
        flips = rng.permutation(flips)
        y[:N_TRAIN][flips] = (y[:N_TRAIN][flips] + rng.randint(1, 10, flips.sum())) % 10
        data = {"x": x[:N_TRAIN], "y": y[:N_TRAIN], "x_test": x[N_TRAIN:], "y_test": y[N_TRAIN:]}
        model = self.trained(data["x"], data["y"], 0, steps=400)
        weights = nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
        return {
            **data,
            "sizes": np.array(self.sizes),
            "weights": weights,
            "regularization": np.array(self.decay),
        }

    def trained(
        self, x: NDArray[np.float64], y: NDArray[np.int64], seed: int, steps: int
    ) -> nn.Module:
        """Return the net trained on some points, by one thread: the same bits everywhere."""
        with single_threaded():
            return self._minimum(x, y, seed, steps)

    def _minimum(
        self, x: NDArray[np.float64], y: NDArray[np.int64], seed: int, steps: int
    ) -> nn.Module:
        inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
        generator = torch.Generator().manual_seed(seed)
        model = net(list(self.sizes)).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, 0.0, self.spread, generator=generator)
        optimizer = torch.optim.LBFGS(
            model.parameters(), max_iter=steps, history_size=30, line_search_fn="strong_wolfe"
        )

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            penalty = sum((p**2).sum() for p in model.parameters())
            loss = cross_entropy(model(inputs), labels) + self.decay / 2 * penalty
            loss.backward()
            return loss

        optimizer.step(closure)
        return model

    def retrained(
        self, arrays: Arrays, folder: Path
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return random halves [m, n] and the test losses of nets trained on them [m, n_test].

        Kept in `folder` from one run of the benchmarks to the next.
        """
        digest = hashlib.sha256(str(asdict(self)).encode())
        for key in ("x", "y", "x_test", "y_test"):
            digest.update(key.encode() + np.ascontiguousarray(arrays[key]).tobytes())
        file = folder / f"{self.name}-{digest.hexdigest()[:16]}.npz"
        if not file.exists():
            halves, losses = self._retrain(arrays)
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(file, halves=halves, losses=losses)
        with np.load(file, allow_pickle=False) as kept:
            return kept["halves"], kept["losses"]

    def _retrain(self, arrays: Arrays) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        rng = np.random.default_rng(0)
        halves = np.array(
            [rng.permutation(N_TRAIN) < N_TRAIN // 2 for _ in range(self.halves)], dtype=bool
        )
        test = torch.from_numpy(arrays["x_test"]), torch.from_numpy(arrays["y_test"])
        losses = np.zeros((self.halves, len(test[0])))
        for row, half in zip(losses, halves, strict=True):
            for start in range(self.starts):
                seed = start + 1 if self.starts > 1 else 0
                model = self.trained(arrays["x"][half], arrays["y"][half], seed, steps=200)
                with torch.no_grad():
                    row += cross_entropy(model(test[0]), test[1], reduction="none").numpy()
        return halves, losses / self.starts
