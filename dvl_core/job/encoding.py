"""From columns to features: imputing, scaling and one-hot encoding, chosen by column type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dvl_core.errors import DataError
from dvl_core.job.tables import is_hashable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Encoder", "fit_encoder"]

MOST_CATEGORIES = 20
SHARE_OF_DISTINCT_TEXTS = 0.5
"""A text column with more distinct values than this share of the rows is a name, not a category."""
LEAST_DISTINCT_TEXTS = 20


@dataclass
class Encoder:
    """A fitted preprocessing pipeline, and what it does in words.

    Parameters
    ----------
    transformer : ColumnTransformer
        Fitted on the training rows.
    columns : dict
        Column names by what is done with them: "numeric", "categorical", "left out".
    notes : list of str
        What the user should know.
    """

    transformer: Any
    columns: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)

    def features(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the features [n, d] of the rows of `frame`."""
        import numpy as np

        used = self.columns["numeric"] + self.columns["categorical"]
        return np.ascontiguousarray(self.transformer.transform(_plain(frame[used])), dtype=float)

    def describe(self) -> dict[str, Any]:
        """Return a JSON-able description."""
        return {
            **self.columns,
            "numeric steps": "impute the median, scale to unit variance",
            "categorical steps": (
                f"impute the most frequent value, one-hot encode the {MOST_CATEGORIES} most "
                "frequent categories"
            ),
            "fitted on": "the training rows, once",
        }


def fit_encoder(frame: pd.DataFrame) -> Encoder:
    """Return the encoder for the feature columns of the training rows.

    Raises
    ------
    DataError
        If no column can serve as a feature.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns, notes = _sorted_columns(frame)
    used = columns["numeric"] + columns["categorical"]
    if not used:
        raise DataError("no column is left that can serve as a feature")
    numeric = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categorical = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=MOST_CATEGORIES,
            sparse_output=False,
        ),
    )
    transformer = ColumnTransformer(
        [
            ("numeric", numeric, columns["numeric"]),
            ("categorical", categorical, columns["categorical"]),
        ]
    )
    transformer.fit(_plain(frame[used]))
    return Encoder(transformer, columns, notes)


def _sorted_columns(frame: pd.DataFrame) -> tuple[dict[str, list[str]], list[str]]:
    """Return which columns are numeric, categorical or of no use, and notes on the last."""
    from pandas.api import types

    columns: dict[str, list[str]] = {"numeric": [], "categorical": [], "left out": []}
    notes = []
    for name in frame.columns:
        column = frame[name]
        hashable = is_hashable(column)
        distinct = column.nunique() if hashable else 0
        kind, reason = "categorical", ""
        if column.isna().all():
            reason = "all its values are missing"
        elif not hashable:
            reason = "it holds lists or other objects"
        elif types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
            reason = "it holds dates or durations"
        elif types.is_numeric_dtype(column) and not types.is_bool_dtype(column):
            kind = "numeric"
        elif distinct > max(LEAST_DISTINCT_TEXTS, SHARE_OF_DISTINCT_TEXTS * column.count()):
            reason = f"its {distinct:,} distinct texts are names rather than categories"
        if reason:
            kind = "left out"
            notes.append(f"column {name!r} is left out: {reason}")
        columns[kind].append(name)
    return columns, notes


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with numbers as floats and everything else as objects with NaN for missing.

    Nullable and Arrow-backed columns have a missing value of their own, which imputers refuse.
    """
    import numpy as np
    from pandas.api import types

    plain = frame.copy()
    for name in frame.columns:
        column = frame[name]
        if types.is_numeric_dtype(column) and not types.is_bool_dtype(column):
            plain[name] = column.astype("float64").replace([np.inf, -np.inf], np.nan)
        else:
            texts = column.astype(object)
            plain[name] = texts.where(texts.notna(), np.nan).map(
                lambda value: value if value is np.nan else str(value)
            )
            plain[name] = plain[name].astype(object)
    return plain
