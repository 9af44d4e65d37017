"""The benchmarks, in the order of the page."""

from __future__ import annotations

from results import AnyCase

from cases import (
    bookkeeping,
    datamodeling,
    engine,
    estimators,
    influence,
    knn,
    knn_large,
    large_data,
    ledger,
    list_plugins,
    many_players,
    msr,
    noisy_labels,
    oob,
    oob_large,
    price,
    scaling,
    seconds_to_error,
)

CASES: list[AnyCase] = [
    price.CASE,
    bookkeeping.CASE,
    many_players.CASE,
    msr.CASE,
    knn.CASE,
    engine.CASE,
    list_plugins.CASE,
    influence.CASE,
    influence.GRADIENTS,
    scaling.CASE,
    ledger.CASE,
    # What follows takes long, and leans less on an undisturbed machine: errors and large ratios.
    estimators.CASE,
    seconds_to_error.CASE,
    knn_large.CASE,
    oob.CASE,
    oob_large.CASE,
    large_data.CASE,
    noisy_labels.CASE,
    datamodeling.CASE,
]
