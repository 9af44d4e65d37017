"""The trace of a run: standard errors, and values if asked for, at ever wider intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, FloatArray

__all__ = ["Trace", "ValueHistory"]

GROWTH = 1.1


@dataclass
class Trace:
    """Largest and mean standard error whenever the evaluations have grown by a tenth.

    Examples
    --------
    >>> import numpy as np
    >>> trace = Trace()
    >>> trace.record(10, np.array([0.5, 0.1]))
    >>> trace.record(10, np.array([0.5, 0.1]))
    >>> trace.rows
    [(10, 0.5, 0.3)]
    """

    rows: list[tuple[int, float, float]] = field(default_factory=list)
    latest: float = float("nan")
    """Largest standard error at the last block boundary; NaN while a player has none."""

    def record(self, n_evaluations: int, stderr: FloatArray, last: bool = False) -> None:
        """Note the standard errors [n], if it is time to or if they are the `last`."""
        self.latest = float(stderr.max()) if np.isfinite(stderr).all() else float("nan")
        previous = self.rows[-1][0] if self.rows else 0
        due = n_evaluations > previous if last else n_evaluations >= previous * GROWTH
        if np.isfinite(self.latest) and due and n_evaluations > previous:
            self.rows.append((n_evaluations, self.latest, float(stderr.mean())))

    def arrays(self) -> dict[str, AnyArray]:
        """Return the columns."""
        columns = np.array(self.rows, dtype=float).reshape(-1, 3).T
        return {
            "n_evaluations": columns[0].astype(np.int64),
            "max_stderr": columns[1],
            "mean_stderr": columns[2],
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray]) -> Trace:
        """Return the trace with these columns."""
        columns = (arrays["n_evaluations"], arrays["max_stderr"], arrays["mean_stderr"])
        rows = [(int(e), float(m), float(a)) for e, m, a in zip(*columns, strict=True)]
        return cls(rows)


@dataclass
class ValueHistory:
    """The values whenever the evaluations have grown by a tenth.

    Examples
    --------
    >>> import numpy as np
    >>> history = ValueHistory()
    >>> history.record(10, np.array([0.5, 0.1]))
    >>> history.record(10, np.array([0.5, 0.1]))
    >>> history.arrays()["values"]
    array([[0.5, 0.1]])
    """

    moments: list[int] = field(default_factory=list)
    values: list[FloatArray] = field(default_factory=list)

    def record(self, n_evaluations: int, values: FloatArray, last: bool = False) -> None:
        """Note the values [n], if it is time to or if they are the `last`."""
        previous = self.moments[-1] if self.moments else 0
        due = n_evaluations >= previous * GROWTH or last
        if due and n_evaluations > previous:
            self.moments.append(n_evaluations)
            self.values.append(values.copy())

    def arrays(self) -> dict[str, AnyArray]:
        """Return ``n_evaluations`` [h] and ``values`` [h, n]."""
        return {
            "n_evaluations": np.array(self.moments, dtype=np.int64),
            "values": np.array(self.values, dtype=float),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray]) -> ValueHistory:
        """Return the history with these columns."""
        return cls(arrays["n_evaluations"].tolist(), list(arrays["values"]))
