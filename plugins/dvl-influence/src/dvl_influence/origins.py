"""Where stored numbers come from: what decides them, and whether that is the same."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import distributions
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.digests import UndigestibleError, digest
from dvl_core.errors import CheckpointError
from dvl_influence.state_files import parameter_digest

if TYPE_CHECKING:
    from dvl_influence.attribution import AttributionModel

__all__ = ["check_identity", "model_identity", "plain", "versions"]

FORMAT = 2
DIGESTS = ("loss", "model parameters", "test data", "training data", "factors")
"""Parts of the identity whose values mean nothing to a reader."""

CLOSE = 1e-3
"""Relative difference up to which two derived regularizations count as the same: what is derived
from a curvature carries the rounding errors of the machine that did it."""


def model_identity(model: AttributionModel) -> dict[str, Any]:
    """Return what decides the numbers of a fitted model, ready for JSON."""
    report = dict(model.report)
    if "blocks" in report:
        # What else is known of a block follows from the curvature, and from rounding errors.
        blocks = report.pop("blocks")
        report["regularization"] = {name: blocks[name].get("regularization") for name in blocks}
    return {
        "format": FORMAT,
        **plain(report),
        "options": _options(getattr(model, "approximator", None)),
        "loss": _digest(model.objective.loss),
        "model parameters": parameter_digest(model.objective),
    }


def check_identity(
    there: Mapping[str, Any], here: Mapping[str, Any], holder: str, way_out: str
) -> None:
    """Refuse numbers of another origin.

    Parameters
    ----------
    there, here : mapping
        The identity that was stored, and what of it must be the same.
    holder, way_out : str
        Beginning and end of the message: what holds the numbers, and what to do.

    Raises
    ------
    CheckpointError
        If a part differs; the message names it.
    """
    differing = [key for key, value in here.items() if not _same(there.get(key), value)]
    if not differing:
        return
    told = [
        key if key in DIGESTS else f"{key} ({there.get(key)!r} there, {here[key]!r} here)"
        for key in differing
    ]
    raise CheckpointError(f"{holder} of another origin; different are {', '.join(told)}: {way_out}")


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of what took part."""
    wanted = ("numpy", "torch", "zarr")
    found = {d.metadata["Name"]: d.version for d in distributions()}
    return {
        name: version
        for name, version in sorted(found.items())
        if name in wanted or name.startswith("dvl-")
    }


def plain(value: Any) -> Any:
    """Return what JSON can hold: numbers that are not finite become texts."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _options(component: Any) -> Any:
    """Return the options of an approximator, of its parts too, ready for JSON."""
    if component is None or isinstance(component, str | bool | int | float | np.generic):
        return plain(component)
    if isinstance(component, Mapping):
        return {str(key): _options(part) for key, part in component.items()}
    if isinstance(component, Sequence):
        return [_options(part) for part in component]
    names: Iterable[str] = inspect.signature(type(component)).parameters
    options = {name: _options(getattr(component, name, None)) for name in names}
    return {"class": type(component).__name__, **options}


def _digest(function: Any) -> str | None:
    """Return a digest of the code of a function, None if it cannot be told."""
    try:
        return digest(function)
    except UndigestibleError:
        return None


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
