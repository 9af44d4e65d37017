"""Which checks there are for a kind of component, and running them, with and without pytest."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from dvl_core.errors import ConformanceError, DvlWarning, InvalidOptionError
from dvl_core.testing.maker import Maker
from dvl_core.testing.requirements import NotApplicable

__all__ = [
    "Check",
    "Outcome",
    "assert_conforms",
    "check_component",
    "checks",
    "conformance_test",
    "run_check",
]

_MODULES = {
    "sampler": ("samplers", "sampler_estimates"),
    "utility": ("utilities",),
    "scorer": ("scorers",),
    "valuation": ("valuations",),
    "inverse-hessian": ("inverse_hessians",),
    "backend": ("backends",),
    "store": ("stores",),
}


@dataclass(frozen=True)
class Check:
    """One thing that every component of a kind must do.

    Parameters
    ----------
    name : str
        Name without the prefix ``check_``.
    demand : str
        What is asked, in one sentence.
    function : callable
        Takes a `Maker`; raises `ConformanceError` or whatever the component raises.
    """

    name: str
    demand: str
    function: Callable[[Any], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a check.

    Parameters
    ----------
    check : Check
        The check.
    status : str
        "passed", "failed", "not applicable", "failed as expected", or "passed unexpectedly".
    message : str
        Why; empty if it passed.
    """

    check: Check
    status: Literal[
        "passed", "failed", "not applicable", "failed as expected", "passed unexpectedly"
    ]
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether the component is as it should be, or as it was declared to be."""
        return self.status not in ("failed", "passed unexpectedly")


def checks(kind: str) -> list[Check]:
    """Return the checks for a kind of component, in the order in which they run.

    Raises
    ------
    InvalidOptionError
        If there is no such kind.

    Examples
    --------
    >>> [check.name for check in checks("scorer")][:2]
    ['scorer_default', 'scorer_finite']
    """
    if kind not in _MODULES:
        raise InvalidOptionError(f"there is no kind {kind!r}; the kinds are {', '.join(_MODULES)}")
    modules = [import_module(f"dvl_core.testing.{name}") for name in _MODULES[kind]]
    found = [
        function
        for module in modules
        for name, function in vars(module).items()
        if name.startswith("check_")
    ]
    return [Check(f.__name__.removeprefix("check_"), _first_line(f), f) for f in found]


def check_component(
    kind: str,
    component: Callable[..., Any],
    *,
    expected_failures: Mapping[str, str] | None = None,
) -> list[Outcome]:
    """Run all checks of a kind on a component.

    Parameters
    ----------
    kind : str
        One of the seven kinds.
    component : type or callable
        Its class, or a factory. Required constructor parameters are filled in by their names.
    expected_failures : mapping of str to str, optional
        Names of checks that the component cannot pass, each with the reason.

    Returns
    -------
    list of Outcome
        One for each check.

    Raises
    ------
    InvalidOptionError
        If the kind is unknown, or an expected failure names no check.

    Examples
    --------
    >>> from dvl_core import MemoryStore
    >>> {outcome.status for outcome in check_component("store", MemoryStore)}
    {'passed'}
    """
    every = checks(kind)
    expected = dict(expected_failures or {})
    unknown = expected.keys() - {check.name for check in every}
    if unknown:
        raise InvalidOptionError(f"{', '.join(sorted(unknown))}: no such check of a {kind}")
    return [run_check(check, component, expected.get(check.name)) for check in every]


def run_check(
    check: Check, component: Callable[..., Any], expected_failure: str | None = None
) -> Outcome:
    """Run one check; nothing that the component raises gets out, Ctrl-C apart."""
    with tempfile.TemporaryDirectory(prefix="dvl-check-") as folder, warnings.catch_warnings():
        # Checks provoke what a user should be warned of.
        warnings.simplefilter("ignore", DvlWarning)
        try:
            check.function(Maker(component, Path(folder)))
        except NotApplicable as reason:
            return Outcome(check, "not applicable", str(reason))
        except Exception as error:
            message = str(error)
            if not isinstance(error, ConformanceError):
                message = f"{type(error).__name__}: {error}"
            if expected_failure is not None:
                return Outcome(check, "failed as expected", f"{expected_failure} ({message})")
            return Outcome(check, "failed", message)
    if expected_failure is not None:
        return Outcome(check, "passed unexpectedly", f"declared to fail: {expected_failure}")
    return Outcome(check, "passed")


def assert_conforms(
    kind: str,
    component: Callable[..., Any],
    *,
    expected_failures: Mapping[str, str] | None = None,
) -> None:
    """Run all checks of a kind on a component and raise if any fails.

    Parameters
    ----------
    kind, component, expected_failures
        As for `check_component`.

    Raises
    ------
    ConformanceError
        If a check fails, or passes that was declared to fail; the message names all of them.
    """
    outcomes = check_component(kind, component, expected_failures=expected_failures)
    bad = [outcome for outcome in outcomes if not outcome.ok]
    if bad:
        lines = [f"{outcome.check.name} {outcome.status}: {outcome.message}" for outcome in bad]
        raise ConformanceError(f"{len(bad)} of {len(outcomes)} checks failed\n" + "\n".join(lines))


def conformance_test(
    kind: str,
    component: Callable[..., Any],
    *,
    expected_failures: Mapping[str, str] | None = None,
) -> Callable[..., None]:
    """Return a pytest function that runs each check of a kind as a test of its own.

    Parameters
    ----------
    kind, component, expected_failures
        As for `check_component`.

    Returns
    -------
    callable
        To be assigned to a name that starts with ``test_``.

    Examples
    --------
    >>> from dvl_core import MemoryStore
    >>> test_memory_store_conforms = conformance_test("store", MemoryStore)
    """
    import pytest

    expected = dict(expected_failures or {})

    @pytest.mark.parametrize("check", checks(kind), ids=lambda check: check.name)
    def test(check: Check) -> None:
        outcome = run_check(check, component, expected.get(check.name))
        if outcome.status == "not applicable":
            pytest.skip(outcome.message)
        assert outcome.ok, f"{outcome.status}: {outcome.message}"

    return test


def _first_line(function: Callable[..., Any]) -> str:
    """Return the first line of a docstring."""
    return (function.__doc__ or "").strip().splitlines()[0]
