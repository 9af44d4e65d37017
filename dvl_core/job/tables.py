"""Reading tables: CSV and parquet, rows chosen by an expression, columns dropped."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dvl_core.errors import DataError, InvalidOptionError, MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["checked_column", "file_digest", "read_table", "selected"]


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
            _refuse_ragged(path, frame)
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


def _refuse_ragged(path: Path, frame: pd.DataFrame) -> None:
    """Raise if a line has fewer or more fields than the header, which pandas fills or cuts."""
    import csv

    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream)
        expected = len(next(reader))
        for fields in reader:
            if fields and len(fields) != expected:
                raise DataError(
                    f"{str(path)!r} is ragged: line {reader.line_num} has {len(fields)} fields, "
                    f"the header has {expected}"
                )


def selected(frame: pd.DataFrame, where: str | None, drop: Iterable[str]) -> pd.DataFrame:
    """Return the rows for which the expression `where` holds, without the columns `drop`.

    Raises
    ------
    DataError
        If no row is left, or a column does not exist.
    InvalidOptionError
        If the expression cannot be evaluated.
    """
    if where:
        try:
            frame = frame.query(where, engine="python")
        except Exception as error:
            raise InvalidOptionError(
                f"--where {where!r} cannot be evaluated: {type(error).__name__}: {error}"
            ) from error
        if len(frame) == 0:
            raise DataError(f"--where {where!r} leaves no rows")
    return frame.drop(columns=[checked_column(frame, name, "--drop") for name in drop])


def checked_column(frame: pd.DataFrame, name: str, option: str) -> str:
    """Return `name` if the table has such a column, else raise with the closest one."""
    if name in frame.columns:
        return name
    close = difflib.get_close_matches(name, list(frame.columns), n=1)
    guess = f"; did you mean {close[0]!r}?" if close else f" in {', '.join(frame.columns[:20])}"
    raise DataError(f"{option}: there is no column {name!r}{guess}")


def file_digest(path: Path) -> str:
    """Return the SHA-256 digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
