"""Data on disk: what the processes of a run hold beyond what they held before, in all."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.naive_bayes import GaussianNB

from dvl_banzhaf import DataBanzhafValuation, MSRSampler
from dvl_core import Dataset, JoblibBackend, MaxEvaluations, ModelUtility, SupervisedScorer
from dvl_core.errors import DvlWarning
from dvl_core.tabular import take_rows
from sides.quantities import serve

N_GROUPS = 1000
SHARE = 0.07
"""With so many groups a coalition has more than a tenth of the rows once in ten thousand times."""
N_TEST = 200
ROWS_A_TIME = 10_000
SECONDS_BETWEEN_SAMPLES = 0.05
MB = 1e6


def processes() -> Iterator[int]:
    """Yield the numbers of this process and of all that it has started."""
    found = [os.getpid()]
    while found:
        number = found.pop()
        yield number
        for children in Path(f"/proc/{number}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except FileNotFoundError:  # the thread has just ended
                continue


def held(entries: tuple[str, ...]) -> float:
    """Return the sum of some entries of the proportional memory of all processes, in MB."""
    total = 0
    for number in processes():
        try:
            lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.split(":")[0] in entries)
    return total * 1024 / MB


@dataclass
class Growth:
    """How much more MB than at the start there were, at the most."""

    all: float = 0.0
    copies: float = 0.0
    _done: threading.Event = field(default_factory=threading.Event)

    def watch(self, before: tuple[float, float]) -> None:
        """Look again and again, until told to end."""
        over = False
        while not over:
            over = self._done.wait(SECONDS_BETWEEN_SAMPLES)
            self.all = max(self.all, held(("Pss",)) - before[0])
            self.copies = max(self.copies, held(("Pss_Anon", "Pss_Shmem")) - before[1])


@contextmanager
def watched() -> Iterator[Growth]:
    """Yield what will say by how much memory grew: all of it, and what is no page of a file."""
    growth = Growth()
    before = held(("Pss",)), held(("Pss_Anon", "Pss_Shmem"))
    thread = threading.Thread(target=growth.watch, args=(before,))
    thread.start()
    try:
        yield growth
    finally:
        growth._done.set()
        thread.join()


def labels(n_rows: int) -> np.ndarray[Any, Any]:
    """Return two classes, by turns."""
    return np.arange(n_rows, dtype=np.int8) % 2


def filled(x: Any, n_rows: int, n_features: int) -> Any:
    """Write rows into an array on disk, a part at a time, and return it."""
    rng = np.random.default_rng(0)
    y = labels(n_rows)
    for start in range(0, n_rows, ROWS_A_TIME):
        part = slice(start, min(start + ROWS_A_TIME, n_rows))
        noise = rng.standard_normal((part.stop - part.start, n_features), dtype=np.float32)
        x[part] = noise + 0.1 * y[part, None]
    return x


def mapped(folder: Path, n_rows: int, n_features: int) -> np.ndarray[Any, Any]:
    """Write a file of float32 and return it mapped into memory."""
    path = folder / f"{n_rows}.npy"
    shape = (n_rows, n_features)
    filled(np.lib.format.open_memmap(path, "w+", np.float32, shape), n_rows, n_features)
    array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r")
    return array


def value(x: Any, n_evaluations: int, n_groups: int = N_GROUPS) -> Any:
    """Return Banzhaf values of groups of rows, by coalitions of about 7 % of the rows."""
    n_rows, n_features = x.shape
    groups = np.arange(n_rows) * n_groups // n_rows
    train = Dataset(x, labels(n_rows), groups=groups)
    rng = np.random.default_rng(1)
    x_test = rng.standard_normal((N_TEST, n_features), dtype=np.float32)
    test = Dataset(x_test + 0.1 * labels(N_TEST)[:, None].astype(np.float32), labels(N_TEST))
    valuation = DataBanzhafValuation(
        ModelUtility(GaussianNB(), SupervisedScorer("neg_log_loss", test)),
        MSRSampler(),
        MaxEvaluations(n_evaluations),
        p=SHARE,
        seed=0,
        backend=JoblibBackend(2, "loky"),
    )
    with warnings.catch_warnings():
        # So few coalitions leave groups without a value.
        warnings.simplefilter("ignore", DvlWarning)
        return valuation.fit(train).result


def warm_up(x: Any, n_evaluations: int, n_groups: int = N_GROUPS) -> None:
    """Let both workers load all that they will need, on a small array."""
    backend = JoblibBackend(2, "loky")
    while len(set(backend.map(_fitted, x, range(4)))) < 2:
        continue
    value(x, n_evaluations, n_groups)


def _fitted(x: Any, _: int) -> int:
    """Fit a model and return in which process; long enough for another task to go elsewhere."""
    rows = np.arange(x.shape[0])
    GaussianNB().fit(take_rows(x, rows), labels(x.shape[0])).predict_proba(take_rows(x, rows[:9]))
    time.sleep(0.1)
    return os.getpid()


def measure(size: Mapping[str, float], folder: Path) -> dict[str, float]:
    """Return the MB by which the memory of all processes grows, and those of the data."""
    n_rows, n_features, n_evaluations = map(int, (size["rows"], size["features"], size["n"]))
    warm_up(mapped(folder, N_GROUPS, n_features), n_evaluations)
    x = mapped(folder, n_rows, n_features)
    with watched() as growth:
        value(x, n_evaluations)
    return {"data": x.nbytes / MB, "growth": growth.all, "copies": growth.copies}


if __name__ == "__main__":
    serve(measure, ["dvl-core", "numpy", "scikit-learn", "joblib"])
