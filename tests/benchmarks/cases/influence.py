"""How long influences of all training points on all test points take."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from measure import Arrays, Case, Script
from results import Target
from sides.influence_problem import cross_entropy, net
from sklearn.datasets import load_digits

from cases.common import SEED

SIZES = (64, 32, 10)
METHODS = {
    "CG": "cg",
    "Direct": "direct",
    "Arnoldi, rank 50": "arnoldi",
    "Nystroem, rank 50": "nystroem",
    "DataInf": "datainf",
    "EK-FAC": "ekfac",
}
AT_LEAST = {"CG": 50.0, "EK-FAC": 5.0}
LONG = {"CG"}


def make(n: int, n_test: int) -> Arrays:
    """Return digits, and a net trained on some of them, in single precision."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(x))
    x, y = (x[order] / 16).astype("float32"), y[order]
    torch.manual_seed(SEED)
    model = net(list(SIZES))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    inputs, labels = torch.from_numpy(x[:n]), torch.from_numpy(y[:n])
    for _ in range(200):
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    weights = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
    return {
        "x": x[:n],
        "y": y[:n],
        "x_test": x[n : n + n_test],
        "y_test": y[n : n + n_test],
        "sizes": np.array(SIZES),
        "weights": weights,
        "regularization": np.array(0.01),
    }


def distance(arrays: Arrays, outputs: Mapping[str, Arrays]) -> dict[str, float]:
    """Return how far the scores of each side are from those of the dense Hessian, relatively."""
    exact = outputs["dvl Direct"]["scores"].astype(float)
    return {
        label: float(np.linalg.norm(side["scores"] - exact) / np.linalg.norm(exact))
        for label, side in outputs.items()
        if label in ("dvl CG", "pyDVL Direct", "pyDVL CG")
    }


def distance_from_loop(arrays: Arrays, outputs: Mapping[str, Arrays]) -> dict[str, float]:
    """Return the largest difference between a gradient of each side and that of the loop."""
    loop = outputs["floor"]["scores"]
    return {
        label: float(np.abs(side["scores"] - loop).max())
        for label, side in outputs.items()
        if label != "floor"
    }


SIDES = [
    *(Script(f"dvl {label}", "influence_ours", work, 5) for label, work in METHODS.items()),
    *(
        Script(f"pyDVL {label}", "influence_pydvl", work, 1 if label in LONG else 5)
        for label, work in METHODS.items()
    ),
    Script("kronfluence EK-FAC", "influence_kronfluence", "ekfac", 5),
]

CASE = Case(
    name="influence",
    title="Influence functions",
    what=(
        "Scores of all {n:,} training points on all {n_test} test points, with all that they need: "
        f"a net {'-'.join(map(str, SIZES))} (tanh) of scikit-learn's digits, regularization .01, "
        "batches of 256, single precision, one thread. Every library with its own defaults. "
        f"Seed {SEED}."
    ),
    sides=SIDES,
    targets=[
        *(
            Target(f"pyDVL {label}", f"dvl {label}", at_least=AT_LEAST.get(label, 1.0))
            for label in METHODS
        ),
        Target("kronfluence EK-FAC", "dvl EK-FAC", at_least=5.0),
    ],
    size={"n": 1_500, "n_test": 200},
    tiny={"n": 40, "n_test": 4},
    make=make,
    check=distance,
    reference="dvl's Direct with the Hessian, relative in the Frobenius norm",
    tolerance=1e-2,
)

GRADIENTS = Case(
    name="gradients",
    title="Gradients of single points",
    what=(f"The gradients of {{n}} points, all at once: the net of the case before. Seed {SEED}."),
    sides=[
        Script("floor", "influence_ours", "gradients-one-by-one", 5),
        Script("dvl", "influence_ours", "gradients", 5),
        Script("pyDVL", "influence_pydvl", "gradients", 5),
    ],
    targets=[Target("pyDVL", "dvl", at_least=20.0)],
    size={"n": 512, "n_test": 1},
    tiny={"n": 40, "n_test": 4},
    make=make,
    check=distance_from_loop,
    reference="those of the loop",
    tolerance=1e-5,
)
