"""Do scores predict what training on half of the points does to the losses of test points?"""

from __future__ import annotations

from attribution import AttributionCase, Bound
from measure import Script
from peers import ENVIRONMENTS
from retraining import DigitsNet

LOGISTIC = DigitsNet(
    name="digits-logistic",
    title="softmax regression",
    sizes=(64, 10),
    decay=1e-3,
    flipped=0.0,
    spread=0.0,
    halves=60,
    starts=1,
)
NET = DigitsNet(
    name="digits-net",
    title="net, a tenth of the labels flipped",
    sizes=(64, 24, 10),
    decay=2e-3,
    flipped=0.1,
    spread=0.2,
    halves=40,
    starts=3,
)
OURS = {
    "direct-clip": "Hessian, negative eigenvalues set to zero",
    "direct-auto": "Hessian, regularization found",
    "direct-absolute": "Hessian, absolute eigenvalues",
    "direct-ggn": "Gauss-Newton",
    "direct-ggn-auto": "Gauss-Newton, regularization found",
    "direct-ggn-layers": "Gauss-Newton by layer",
    "ekfac": "EK-FAC",
    "ekfac-auto": "EK-FAC, regularization found",
    "direct-fisher": "empirical Fisher",
    "nystroem": "Nystroem, rank 50",
    "arnoldi": "Arnoldi, rank 50",
    "datainf-auto": "DataInf, regularization found",
    "gradient-dot": "inner product of gradients",
    "losses": "minus the loss of the training point",
}
PEERS = ("pyDVL EK-FAC", "pyDVL K-FAC", "kronfluence EK-FAC")
BEST = tuple(f"dvl {label}" for key, label in OURS.items() if key.startswith("direct-"))

CASE = AttributionCase(
    name="datamodeling",
    title="Linear datamodeling scores",
    what=(
        "800 training and 150 test points of scikit-learn's digits; softmax regression (penalty "
        ".0005 of the squared weights, 60 random halves) and a net 64-24-10 (tanh, penalty .001, "
        "40 halves from 3 starts each), trained by full-batch L-BFGS in double precision. Of each "
        "test point Spearman's correlation, over the halves, of the sum of the scores of the half "
        "with minus the test loss of the net trained on it; the mean over test points. "
        "Regularization is that of the training unless found by dvl. pyDVL's factors are in single "
        "precision, for they take no other."
    ),
    nets=(LOGISTIC, NET),
    sides=[
        *(Script(f"dvl {label}", "influence_ours", work, 1) for work, label in OURS.items()),
        Script("pyDVL EK-FAC", "influence_pydvl", "ekfac", 1),
        Script("pyDVL K-FAC", "influence_pydvl", "kfac", 1),
        Script("kronfluence EK-FAC", "influence_kronfluence", "ekfac", 1),
    ],
    bounds=[
        # Convex: there are no negative eigenvalues.
        Bound(LOGISTIC.title, ("dvl Hessian, negative eigenvalues set to zero",), 0.93),
        Bound(LOGISTIC.title, ("dvl EK-FAC",), 0.82),
        Bound(NET.title, BEST, 0.72),
        Bound(NET.title, ("dvl EK-FAC",), dict.fromkeys(PEERS, 0.01)),
    ],
    references=ENVIRONMENTS / "references",
)
