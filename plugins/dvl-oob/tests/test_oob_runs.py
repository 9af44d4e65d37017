"""Data-OOB as a run: workers, pickles and checkpoints."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from dvl_core.backends import JoblibBackend, SerialBackend
from dvl_core.data import Dataset
from dvl_core.errors import CheckpointError, InvalidOptionError
from dvl_oob import DataOOBValuation


def flowers(**options: Any) -> Dataset:
    return Dataset(*load_iris(return_X_y=True), **options)


def test_backends_and_checkpoints_change_no_bit(tmp_path: Path) -> None:
    data = flowers()
    values = [
        DataOOBValuation(RandomForestClassifier(50), seed=1, backend=backend, checkpoint=path)
        .fit(data)
        .result.values.tobytes()
        for backend, path in [
            (SerialBackend(), None),
            (JoblibBackend(2, "threading"), None),
            (None, tmp_path / "c.npz"),
            (None, tmp_path / "c.npz"),
        ]
    ]
    assert len(set(values)) == 1


def test_the_design_travels() -> None:
    data = flowers(groups=np.arange(150) // 3)
    design = DataOOBValuation(RandomForestClassifier(9), score="log-likelihood").design(data, 3)
    travelled = pickle.loads(pickle.dumps(design))  # noqa: S301
    for block in range(design.n_blocks):
        here, there = (d.evaluate(block, None, None, None) for d in (design, travelled))
        assert all(here[key].tobytes() == there[key].tobytes() for key in here)


def test_a_checkpoint_belongs_to_its_options(tmp_path: Path) -> None:
    data, path = flowers(groups=np.arange(150) // 2), tmp_path / "c.npz"
    DataOOBValuation(RandomForestClassifier(30), seed=1, checkpoint=path).fit(data)
    for options in ({"score": "log-likelihood"}, {"whole_groups": True}):
        with pytest.raises(CheckpointError):
            DataOOBValuation(RandomForestClassifier(30), seed=1, checkpoint=path, **options).fit(
                data
            )


def test_a_checkpoint_needs_a_score_that_can_be_recognised(tmp_path: Path) -> None:
    handle = (tmp_path / "log").open("w")

    def logged(y_true: np.ndarray, y_predicted: np.ndarray) -> np.ndarray:
        handle.write("asked")
        return np.zeros(len(y_true))

    valuation = DataOOBValuation(
        RandomForestClassifier(9), score=logged, checkpoint=tmp_path / "c.npz"
    )
    with handle, pytest.raises(InvalidOptionError, match="can be recognised"):
        valuation.fit(flowers())
