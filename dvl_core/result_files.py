"""Results on disk: one ``.npz`` (arrays and a JSON header) or one parquet file; never a pickle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from dvl_core.errors import MissingDependencyError, ResultError
from dvl_core.files import atomic_write
from dvl_core.result import ARRAYS, ValuationResult

__all__ = ["load_result", "save_result"]

FORMAT = "dvl-result-1"
EXTRA = "extra."


def save_result(result: ValuationResult, path: str | os.PathLike[str]) -> None:
    """Write `result` to `path`; the suffix decides the format.

    Raises
    ------
    ResultError
        If the suffix is unknown, an extra cannot be written, or the file cannot be written.
    MissingDependencyError
        For parquet without pyarrow.
    """
    arrays, header = _split(result)
    suffix = Path(path).suffix
    try:
        if suffix == ".npz":
            content: dict[str, Any] = {
                **arrays,
                "header": np.frombuffer(header.encode(), dtype=np.uint8),
            }
            with atomic_write(path) as stream:
                np.savez(stream, **content)
        elif suffix == ".parquet":
            _save_parquet(arrays, header, path)
        else:
            raise ResultError(f"cannot save to {os.fspath(path)!r}: end it in .npz or .parquet")
    except OSError as error:
        if isinstance(error, ResultError):
            raise
        raise ResultError(f"cannot write {os.fspath(path)!r}: {error.strerror or error}") from error


def load_result(path: str | os.PathLike[str]) -> ValuationResult:
    """Return the result saved at `path`.

    Raises
    ------
    ResultError
        If the file is missing, damaged or not a saved result.
    """
    if not Path(path).is_file():
        raise ResultError(f"there is no saved result at {os.fspath(path)!r}")
    try:
        arrays = _load_parquet(path) if Path(path).suffix == ".parquet" else _load_npz(path)
        header = json.loads(bytes(arrays.pop("header")))
        if header.pop("format") != FORMAT:
            raise ValueError("another format")
        extras = header.pop("extras")
        extras |= {k.removeprefix(EXTRA): a for k, a in arrays.items() if k.startswith(EXTRA)}
        return ValuationResult(**{f: arrays[f] for f in ARRAYS}, extras=extras, **header)
    except MissingDependencyError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise ResultError(
            f"{os.fspath(path)!r} is damaged or not a saved result ({error})"
        ) from error


def _split(result: ValuationResult) -> tuple[dict[str, Any], str]:
    """Return the arrays, those among the extras included, and the JSON header."""
    arguments = result.arguments()
    extras = arguments.pop("extras")
    arrays = {field: arguments.pop(field) for field in ARRAYS}
    plain = {}
    for name, extra in extras.items():
        key = str(name)
        if isinstance(extra, np.ndarray):
            if extra.dtype.kind not in "iufbU":
                raise ResultError(f"extra {key!r} has the type {extra.dtype}, which is not saved")
            arrays[EXTRA + key] = extra
        else:
            plain[key] = extra.item() if isinstance(extra, np.generic) else extra
    try:
        return arrays, json.dumps({"format": FORMAT, "extras": plain, **arguments})
    except TypeError as error:
        raise ResultError(f"an extra cannot be written as JSON: {error}") from error


def _load_npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return all arrays of the archive."""
    with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _parquet() -> tuple[Any, Any]:
    """Return pyarrow and its parquet module."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            "parquet files need pyarrow: pip install 'dvl-core[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet


def _save_parquet(arrays: dict[str, Any], header: str, path: str | os.PathLike[str]) -> None:
    """Write one row per player; everything else goes into the metadata of the file."""
    pyarrow, parquet = _parquet()
    others = {
        key: [array.ravel().tolist(), str(array.dtype), array.shape]
        for key, array in arrays.items()
        if key.startswith(EXTRA)
    }
    metadata = {
        "dvl": header,
        "dvl-extras": json.dumps(others),
        "dvl-names": str(arrays["names"].dtype),
    }
    table = pyarrow.table({field: arrays[field] for field in ARRAYS}).replace_schema_metadata(
        metadata
    )
    with atomic_write(path) as stream:
        parquet.write_table(table, stream, write_page_checksum=True)


def _load_parquet(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the arrays and the header."""
    pyarrow, parquet = _parquet()
    try:
        table = parquet.read_table(os.fspath(path), page_checksum_verification=True)
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    metadata = table.schema.metadata or {}
    arrays = {field: np.asarray(table[field].to_pylist()) for field in ARRAYS}
    arrays["names"] = arrays["names"].astype(metadata[b"dvl-names"].decode())
    arrays["header"] = np.frombuffer(metadata[b"dvl"], dtype=np.uint8)
    for key, (content, dtype, shape) in json.loads(metadata[b"dvl-extras"]).items():
        arrays[key] = np.array(content, dtype=dtype).reshape(shape)
    return arrays
