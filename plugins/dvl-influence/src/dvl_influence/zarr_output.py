"""Influences on disk: an array of zarr that says what it holds, and is continued if cut off.

Chunks are written whole. What a chunk lacks is NaN, which no score is: a chunk counts as done if it
can be read, checksum included, and holds no NaN. Nothing else records the progress, so nothing can
contradict it, and another batch size or memory budget may go on where the first one stopped.
"""

from __future__ import annotations

import inspect
import math
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from dvl_core.errors import CheckpointError, InvalidOptionError
from dvl_influence.state_files import parameter_digest

if TYPE_CHECKING:
    from dvl_influence.lazy_influences import Group, LazyInfluences

__all__ = ["write_zarr"]

FORMAT = 1
DESCRIPTION = (
    "s[q, i] = grad L_q . (H + lambda I)^-1 . grad L_i: influence of training point i (second "
    "axis) on test point q (first axis), H the mean curvature over the training points"
)
SIGN = (
    "positive: training point i helps test point q; removing it changes the loss L_q by about "
    "+ s[q, i] / n, with n = n_train of the fit"
)
UNITS = {
    "up": "units of the loss, times the number of training points of the fit",
    "perturbation": "units of the loss, times the number of training points of the fit, per unit "
    "of x: the gradient of s[q, i] with respect to x_i",
}
DIGESTS = ("model parameters", "test data", "training data")
"""Parts of the identity whose values mean nothing to a reader."""

CLOSE = 1e-3
"""Relative difference up to which two derived regularizations count as the same: what is derived
from a curvature carries the rounding errors of the machine that did it."""


def write_zarr(
    lazy: LazyInfluences,
    path: str | Path,
    *,
    overwrite: bool = False,
    chunks: tuple[int, int] | None = None,
) -> zarr.Array[Any]:
    """Write influences into an array of zarr, or finish what an earlier call began.

    Parameters
    ----------
    lazy : LazyInfluences
        The influences.
    path : str or Path
        The folder for the array.
    overwrite : bool
        Replace an array that is there.
    chunks : tuple of two int, optional
        Test and training points in a chunk; None: those of the longest batches.

    Raises
    ------
    CheckpointError
        If something else is there, or influences of another origin.
    InvalidOptionError
        If it is no folder of this machine, or chunks are not two positive numbers.
    """
    folder = _folder(path)
    identity = _identity(lazy)
    if overwrite:
        _remove(folder)
    array = _existing(folder)
    new = array is None
    if array is None:
        array = _created(lazy, folder, identity, chunks)
    _check_identity(array, identity, folder)
    if not array.attrs["complete"]:
        _fill(lazy, array, new)
        array.attrs["complete"] = True
        # What zarr had begun to write when it was killed.
        for leftover in folder.rglob("*.partial"):
            leftover.unlink()
    return zarr.open_array(folder, mode="r")


def _folder(path: Any) -> Path:
    """Return the path as one of this machine."""
    if not isinstance(path, str | Path) or "://" in str(path):
        raise InvalidOptionError(
            f"path is {path!r}: it must be a folder of this machine, where a chunk is there whole "
            "or not at all; copy the finished array to other stores"
        )
    return Path(path)


def _identity(lazy: LazyInfluences) -> dict[str, Any]:
    """Return what decides the numbers, ready for JSON."""
    report = dict(lazy.model.report)
    if "blocks" in report:
        # What else is known of a block follows from the curvature, and from rounding errors.
        blocks = report.pop("blocks")
        report["regularization"] = {name: blocks[name].get("regularization") for name in blocks}
    return {
        "format": FORMAT,
        "mode": lazy.mode,
        **_plain(report),
        "options": _options(getattr(lazy.model, "approximator", None)),
        "model parameters": parameter_digest(lazy.model.objective),
        "test data": lazy.test.digest,
        "training data": lazy.train.digest,
    }


def _options(component: Any) -> Any:
    """Return the options of an approximator, of its parts too, ready for JSON."""
    if component is None or isinstance(component, str | bool | int | float | np.generic):
        return _plain(component)
    if isinstance(component, Mapping):
        return {str(key): _options(part) for key, part in component.items()}
    if isinstance(component, Sequence):
        return [_options(part) for part in component]
    names = list(inspect.signature(type(component)).parameters)
    options = {name: _options(getattr(component, name, None)) for name in names}
    return {"class": type(component).__name__, **options}


def _existing(folder: Path) -> zarr.Array[Any] | None:
    """Return the array of influences that is there, None if there is nothing."""
    array = _array(folder)
    if array is None:
        if folder.is_file() or (folder.exists() and any(folder.iterdir())):
            raise CheckpointError(
                f"{folder} is there and is no array of zarr: give another path, or remove it "
                "yourself"
            )
        return None
    if not {"identity", "complete"} <= array.attrs.keys():
        raise CheckpointError(
            f"{folder} is an array of zarr, but not of influences: overwrite=True replaces it"
        )
    return array


def _array(folder: Path) -> zarr.Array[Any] | None:
    """Return the array in a folder, None if it holds none."""
    if not (folder / "zarr.json").is_file():
        return None
    try:
        return zarr.open_array(folder, mode="r+", zarr_format=3)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove(folder: Path) -> None:
    """Remove an array of zarr, if there is one; anything else stays."""
    if _array(folder) is None:
        return
    # Under another name first: what is half removed must not look like an array.
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    folder.rename(aside)
    shutil.rmtree(aside)


def _created(
    lazy: LazyInfluences, folder: Path, identity: dict[str, Any], chunks: tuple[int, int] | None
) -> zarr.Array[Any]:
    """Return a new array in which nothing is done."""
    n_test, n_train, *features = lazy.shape
    if chunks is None:
        chunks = min(max(lazy.test.lengths), lazy.group_size()), max(lazy.train.lengths)
    whole = len(chunks) == 2 and all(isinstance(c, int) and c >= 1 for c in chunks)
    if not whole:
        raise InvalidOptionError(
            f"chunks is {chunks!r}: it must be two whole numbers, of test and of training points"
        )
    attributes = {
        "description": DESCRIPTION,
        "sign": SIGN,
        "units": UNITS[lazy.mode],
        "mode": lazy.mode,
        "report": _plain(lazy.model.report),
        "versions": _versions(),
        "identity": identity,
        "complete": False,
    }
    return zarr.create_array(
        folder,
        shape=lazy.shape,
        chunks=(min(chunks[0], n_test), min(chunks[1], n_train), *features),
        dtype=str(lazy.dtype).removeprefix("torch."),
        compressors=[Crc32cCodec()],
        fill_value=math.nan,
        attributes=attributes,
        dimension_names=["test", "train", *(f"feature_{axis}" for axis in range(len(features)))],
    )


def _check_identity(array: zarr.Array[Any], identity: dict[str, Any], folder: Path) -> None:
    """Refuse an array whose numbers have another origin."""
    there: Any = array.attrs["identity"]
    differing = [key for key, value in identity.items() if not _same(there.get(key), value)]
    if not differing:
        return
    told = [
        key if key in DIGESTS else f"{key} ({there.get(key)!r} there, {identity[key]!r} here)"
        for key in differing
    ]
    raise CheckpointError(
        f"{folder} holds influences of another origin; different are {', '.join(told)}: give "
        "another path, or overwrite=True to replace them"
    )


def _same(there: Any, here: Any) -> bool:
    """Return whether two parts of an identity are equal, numbers up to rounding."""
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        same_keys = bool(there.keys() == here.keys())
        return same_keys and all(_same(there[key], here[key]) for key in here)
    if isinstance(here, list) and isinstance(there, list):
        return len(there) == len(here) and all(map(_same, there, here))
    if isinstance(here, float) and isinstance(there, Real):
        return math.isclose(here, there, rel_tol=CLOSE)
    return bool(there == here)


def _fill(lazy: LazyInfluences, array: zarr.Array[Any], new: bool) -> None:
    """Compute and write the chunks that are not done."""
    groups = list(_groups(lazy, array, new))
    width = array.chunks[1]
    columns: dict[tuple[int, int], _Column] = {}
    for test, train, block in lazy.blocks(groups):
        for number in range(train.start // width, -(-train.stop // width)):
            whole = slice(number * width, min((number + 1) * width, array.shape[1]))
            key = (test.start, number)
            column = columns.setdefault(key, _Column(test, whole, array))
            column.take(train, block)
            if column.full:
                array[test, whole] = column.scores
                del columns[key]


class _Column:
    """Chunks of the same training points, which come in batches.

    Parameters
    ----------
    test, train : slice
        The points.
    array : zarr.Array
        Where they will be written.
    """

    def __init__(self, test: slice, train: slice, array: zarr.Array[Any]) -> None:
        size = (test.stop - test.start, train.stop - train.start, *array.shape[2:])
        self.scores = np.empty(size, dtype=array.dtype)
        self._train = train
        self._missing: int = size[1]

    @property
    def full(self) -> bool:
        """Whether all training points have come."""
        return self._missing == 0

    def take(self, train: slice, block: np.ndarray[Any, Any]) -> None:
        """Copy the scores of those training points that are its own."""
        start = max(train.start, self._train.start)
        stop = min(train.stop, self._train.stop)
        here = slice(start - self._train.start, stop - self._train.start)
        self.scores[:, here] = block[:, start - train.start : stop - train.start]
        self._missing -= stop - start


def _groups(lazy: LazyInfluences, array: zarr.Array[Any], new: bool) -> Iterator[Group]:
    """Yield groups of test points in whole chunks, with the training points they lack."""
    from dvl_influence.lazy_influences import Group

    height, width = array.chunks[:2]
    n_test, n_train = array.shape[:2]
    most = max(1, lazy.group_size() // height)
    n_rows, n_columns = -(-n_test // height), -(-n_train // width)
    run: list[int] = []
    lacking: list[int] = []

    def group() -> Group:
        test = slice(run[0] * height, min((run[-1] + 1) * height, n_test))
        train = tuple(slice(c * width, min((c + 1) * width, n_train)) for c in lacking)
        return Group(test, train)

    for row in range(n_rows):
        missing = [c for c in range(n_columns) if new or not _is_done(array, row, c)]
        if run and (missing != lacking or len(run) == most):
            yield group()
            run = []
        if missing:
            run.append(row)
        lacking = missing
    if run:
        yield group()


def _is_done(array: zarr.Array[Any], row: int, column: int) -> bool:
    """Return whether a chunk can be read and holds every score."""
    height, width = array.chunks[:2]
    test = slice(row * height, (row + 1) * height)
    train = slice(column * width, (column + 1) * width)
    try:
        scores = np.asarray(array[test, train])
    except (ValueError, RuntimeError):
        return False
    return not bool(np.isnan(scores).any())


def _versions() -> dict[str, str]:
    """Return the versions of what took part."""
    wanted = ("numpy", "torch", "zarr")
    found = {d.metadata["Name"]: d.version for d in distributions()}
    return {
        name: version
        for name, version in sorted(found.items())
        if name in wanted or name.startswith("dvl-")
    }


def _plain(value: Any) -> Any:
    """Return what JSON can hold: numbers that are not finite become texts."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
