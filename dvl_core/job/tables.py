"""Reading tables: CSV and parquet, rows chosen by an expression, columns dropped."""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvl_core.errors import DataError, InvalidOptionError, MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd

    from dvl_core.protocols import BoolArray

__all__ = ["checked_column", "file_digest", "is_hashable", "read_table", "selected"]


def read_table(path: Path) -> pd.DataFrame:
    """Return the table in a CSV or parquet file; its index is the row number in the file.

    Raises
    ------
    DataError
        If the file is missing, empty, ragged, or not what its name says.
    MissingDependencyError
        For parquet without pyarrow.
    """
    import pandas as pd

    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = _read_parquet(path)
        else:
            # A row with more fields than the header must not turn its first fields into an index.
            frame = pd.read_csv(path, index_col=False, on_bad_lines="error")
            _refuse_ragged(path)
    except pd.errors.EmptyDataError:
        raise DataError(f"{str(path)!r} is empty") from None
    except pd.errors.ParserError as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise DataError(f"{str(path)!r} is not a well-formed CSV file: {reason}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} is not text in UTF-8: {error.reason}") from error
    if len(frame) == 0:
        raise DataError(f"{str(path)!r} has a header but no rows")
    frame.columns = [str(name) for name in frame.columns]
    return frame.reset_index(drop=True)


def _read_parquet(path: Path) -> pd.DataFrame:
    """Return the table in a parquet file."""
    import pandas as pd

    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependencyError(
            "parquet files need pyarrow: pip install 'dvl-core[parquet]'"
        ) from error
    try:
        return pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} is not a readable parquet file: {error}") from error


def _refuse_ragged(path: Path) -> None:
    """Raise if a line has fewer or more fields than the header, which pandas fills or cuts.

    Columns of the same name, which pandas renames, are refused too: a copy of the target would
    become a feature.
    """
    import csv

    limit = csv.field_size_limit(sys.maxsize)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header: list[str] = []
            for fields in reader:
                if not fields:
                    continue
                header = header or fields
                if len(fields) != len(header):
                    raise DataError(
                        f"{str(path)!r} is ragged: line {reader.line_num} has {len(fields)} "
                        f"fields, the header has {len(header)}"
                    )
    except csv.Error as error:
        raise DataError(f"{str(path)!r} is not a well-formed CSV file: {error}") from error
    finally:
        csv.field_size_limit(limit)
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise DataError(f"{str(path)!r} has more than one column {twice[0]!r}: rename all but one")


def selected(
    frame: pd.DataFrame, where: str | None, drop: Iterable[str], path: Path
) -> pd.DataFrame:
    """Return the rows for which the expression `where` holds, without the columns `drop`.

    Parameters
    ----------
    frame : DataFrame
        The table in the file `path`, which messages name.
    where : str, optional
        A pandas query.
    drop : iterable of str
        Names of columns.
    path : path
        Where the table comes from.

    Raises
    ------
    DataError
        If no row is left, or a column does not exist.
    InvalidOptionError
        If the expression cannot be evaluated.
    """
    if where:
        frame = frame[_holds(frame, where, path)]
        if len(frame) == 0:
            raise DataError(f"--where {where!r} leaves no rows of {str(path)!r}")
    return frame.drop(columns=[checked_column(frame, name, "--drop") for name in drop])


def _holds(frame: pd.DataFrame, where: str, path: Path) -> BoolArray:
    """Return for which rows [n] the expression `where` is true."""
    import pandas as pd
    from pandas.api import types

    try:
        answer = frame.eval(where, engine="python")
    except Exception as error:
        found = re.search(r"name '(.+)' is not defined", str(error))
        close = difflib.get_close_matches(found[1], list(frame.columns), n=1) if found else []
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise InvalidOptionError(
            f"--where {where!r} cannot be evaluated on {str(path)!r}: "
            f"{type(error).__name__}: {error}{guess}"
        ) from error
    if isinstance(answer, pd.Series):
        answer = answer.convert_dtypes()  # true, false and missing: a nullable type
    if not (isinstance(answer, pd.Series) and types.is_bool_dtype(answer)):
        raise InvalidOptionError(
            f"--where {where!r} is no condition: it must be true or false for each row, "
            "as in 'year > 2014'"
        )
    return answer.fillna(False).to_numpy(dtype=bool)


def checked_column(frame: pd.DataFrame, name: str, option: str) -> str:
    """Return `name` if the table has such a column, else raise with the closest one."""
    if name in frame.columns:
        return name
    close = difflib.get_close_matches(name, list(frame.columns), n=1)
    guess = f"; did you mean {close[0]!r}?" if close else f" in {', '.join(frame.columns[:20])}"
    raise DataError(f"{option}: there is no column {name!r}{guess}")


def is_hashable(column: pd.Series[Any]) -> bool:
    """Whether values can be told apart: lists and mappings, as parquet may hold, cannot."""
    return all(isinstance(value, Hashable) for value in column) if column.dtype == object else True


def file_digest(path: Path) -> str:
    """Return the SHA-256 digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
