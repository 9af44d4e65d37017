"""All pairs of influences in four ways, each written to a zarr array: the panels of the tutorial.

    python docs/examples/influence.py FOLDER

Trains softmax regression on scikit-learn's digits and asks which training images helped, and which
harmed, the prediction of each test image: by the exact Hessian, a Krylov space (Arnoldi), a random
sketch (Nystroem), and the latter on a Dask cluster of two processes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from dvl_arnoldi import ArnoldiInfluence
from dvl_dask import DaskInfluenceCalculator, local_client
from dvl_direct import DirectInfluence
from dvl_influence import SequentialInfluenceCalculator
from dvl_nystroem import NystroemSketchInfluence

WEIGHT_DECAY = 1e-3
loss = nn.functional.cross_entropy


def trained(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """Return softmax regression at the minimum of its penalised loss."""
    model = nn.Linear(64, 10)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        penalty = WEIGHT_DECAY / 2 * sum((p**2).sum() for p in model.parameters())
        total = loss(model(x), y) + penalty
        total.backward()
        return total

    optimizer.step(closure)
    return model


def main(folder: Path) -> dict[str, np.ndarray]:
    """Return the scores [n_test, n_train] of each way."""
    torch.manual_seed(0)
    x, y = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(x / 16).float(), torch.tensor(y))
    train_set, test_set = random_split(digits, [1000, len(digits) - 1000])
    torch_model = trained(*train_set[:])
    train, test = DataLoader(train_set, batch_size=250), DataLoader(test_set, batch_size=250)

    models = {
        "direct": DirectInfluence(torch_model, loss, regularization=WEIGHT_DECAY),
        "arnoldi": ArnoldiInfluence(torch_model, loss, rank=200, regularization=WEIGHT_DECAY),
        "nystroem": NystroemSketchInfluence(
            torch_model, loss, rank=200, regularization=WEIGHT_DECAY
        ),
    }
    found = {}
    for name, if_model in models.items():
        if_model.fit(train)
        if_calc = SequentialInfluenceCalculator(if_model)
        lazy_values = if_calc.influences(test, train)
        values = lazy_values.to_zarr(folder / f"{name}.zarr", overwrite=True)
        found[name] = values[:]

    with local_client(2) as client:
        if_calc = DaskInfluenceCalculator(models["nystroem"], client)
        lazy_values = if_calc.influences(test, train)
        found["nystroem, dask"] = lazy_values.to_zarr(folder / "dask.zarr", overwrite=True)[:]

    for name, values in found.items():
        agreement = spearmanr(values.ravel(), found["direct"].ravel()).statistic
        print(f"{name:16} {values.shape}, rank correlation with direct {agreement:.3f}")
    best = SequentialInfluenceCalculator(models["direct"]).influences(test, train).top_k(3)
    print("training images that help the first test image most:", np.asarray(best[0][0]).tolist())
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "influences"))
