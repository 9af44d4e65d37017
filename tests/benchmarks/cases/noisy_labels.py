"""Do low values tell which labels are wrong? Under the settings in which others published."""

from __future__ import annotations

from collections.abc import Mapping

from detection import METRICS
from scored import Entry, Published, ScoreCase

TWO_MEANS, KNOWN_RATE, AUROC = METRICS
DATA = ("2dplanes", "electricity", "fried", "pol")
LOSSVAL = "the results in LossVal's repository, by opendataval, means of"
NETWORK = "a network of 5 layers, 5 epochs"


def two_means(*figures: float) -> Mapping[str, Mapping[str, float]]:
    """Return published F1 scores by two means, one for each data set."""
    return {name: {TWO_MEANS: figure} for name, figure in zip(DATA, figures, strict=True)}


def pydvl(**figures: tuple[float, float]) -> Published:
    """Return what one run of pyDVL reached: F1 at the known rate, and AUROC."""
    return Published(
        "one run of pyDVL 0.10",
        1,
        {
            name.removeprefix("on_"): {KNOWN_RATE: f1, AUROC: auroc}
            for name, (f1, auroc) in figures.items()
        },
    )


KNN = (
    Published(f"{LOSSVAL} 25 runs, K = 100", 25, two_means(0.467, 0.406, 0.451, 0.450)),
    Published("opendataval's tutorial, one run, K = 100", 1, {"pol": {TWO_MEANS: 0.447}}),
)
ENTRIES = (
    Entry("random", "chance", "random values"),
    Entry("knn-100", "KNN-Shapley", "K = 100, noisy validation rows", KNN),
    Entry("knn-10", "KNN-Shapley", "K = 10, noisy validation rows", KNN),
    Entry(
        "knn-5-clean",
        "KNN-Shapley",
        "K = 5, 500 clean validation rows",
        [pydvl(on_2dplanes=(0.75, 0.939), on_electricity=(0.52, 0.807), on_pol=(0.725, 0.910))],
    ),
    Entry(
        "oob-logistic",
        "Data-OOB",
        "1,000 logistic regressions",
        [
            Published(
                f"{LOSSVAL} 5 runs, 1,000 logistic regressions, one epoch each",
                5,
                two_means(0.587, 0.427, 0.524, 0.614),
            )
        ],
    ),
    Entry(
        "oob-forest",
        "Data-OOB",
        "forest of 500 trees",
        [pydvl(on_2dplanes=(0.75, 0.930), on_electricity=(0.47, 0.793), on_pol=(0.825, 0.963))],
    ),
    Entry("oob-leaves", "Data-OOB", "forest of 500 trees, at least 5 rows a leaf"),
    Entry(
        "oob-boosted",
        "Data-OOB",
        "60 boosted ensembles of 200 trees, rate .05",
        [
            Published(
                "opendataval's tutorial, one run, 1,000 such ensembles",
                1,
                {"pol": {TWO_MEANS: 0.845}},
            )
        ],
    ),
    Entry(
        "banzhaf",
        "Banzhaf",
        "logistic regression, 1,024 coalitions",
        [
            Published(
                f"{LOSSVAL} 25 runs, {NETWORK}, 1,000 coalitions",
                25,
                two_means(0.285, 0.285, 0.283, 0.256),
            )
        ],
    ),
    Entry("banzhaf-small", "Banzhaf, p = .03", "logistic regression, 2,048 coalitions"),
    Entry(
        "shapley",
        "Shapley, least squares",
        "logistic regression, 5,000 coalitions",
        [
            Published(
                f"{LOSSVAL} 15 runs or more, {NETWORK}, truncated permutations",
                15,
                two_means(0.275, 0.276, 0.281, 0.357),
            )
        ],
    ),
)

CASE = ScoreCase(
    name="noisy-labels",
    title="Wrong labels",
    what=(
        "A fifth of 1,000 training labels is wrong; do those rows get the lowest values? Data: "
        "5,000 rows each of 2dplanes, electricity (without date and day), fried and pol, binary, "
        "features standardised over all rows; training and validation rows are drawn anew for "
        "every seed. Noise as in opendataval's `mix_labels`: 20 % of the training labels, drawn "
        "without replacement, become another class, and so do 20 % of the labels of the 100 "
        "validation rows; clean validation rows keep theirs. Data-OOB needs none. Banzhaf and "
        "Shapley: of the accuracy on the noisy validation rows. F1, two means: the lower of two "
        "clusters of values is taken for wrong, the metric that was published; F1, "
        "known rate: the 200 lowest values are; AUROC: of minus the value. Cells are means over "
        "seeds ± standard deviation, and how they stand to the published mean: level if within "
        "two standard errors of the difference, taking published runs to vary as ours do."
    ),
    module="noisy_labels",
    metrics=METRICS,
    data=DATA,
    entries=ENTRIES,
)
