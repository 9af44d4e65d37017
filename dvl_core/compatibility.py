"""Is a distribution usable here? Its own metadata against what is installed, with no import."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Literal, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from dvl_core import __version__
from dvl_core.discovery import CORE, Metadata, canonical, environment_key, read_metadata

__all__ = [
    "Problem",
    "compatibility_problem",
    "find_installed",
    "requirement_problems",
]


class Problem(NamedTuple):
    """Why a distribution cannot be used."""

    status: Literal["missing-dependency", "incompatible", "broken"]
    reason: str


def find_installed(name: str) -> Metadata | None:
    """Return the metadata of what is installed under a name; None if nothing is."""
    return _find(canonical(name), environment_key())


@lru_cache(maxsize=1024)
def _find(name: str, key: tuple[object, ...]) -> Metadata | None:
    try:
        metadata = read_metadata(distribution(name))
    except (PackageNotFoundError, ValueError):
        return None
    # The core that is running counts, even where stale metadata of another one lies about.
    return metadata._replace(version=__version__) if name == CORE else metadata


def compatibility_problem(
    metadata: Metadata, find: Callable[[str], Metadata | None] = find_installed
) -> Problem | None:
    """Compare the requirements of a distribution with what is installed.

    Parameters
    ----------
    metadata : Metadata
        Of the distribution that provides a component.
    find : callable
        Maps the name of a distribution to `Metadata`, or None.

    Returns
    -------
    Problem or None
        None if all requirements are met. Unreadable metadata comes before missing packages, and
        these before wrong versions; the reason names all requirements that are not met.
    """
    problems = [*_python_problems(metadata), *requirement_problems(metadata.requires, find)]
    if not problems:
        return None
    order = ("broken", "missing-dependency", "incompatible")
    status = min((problem.status for problem in problems), key=order.index)
    return Problem(status, "; ".join(dict.fromkeys(problem.reason for problem in problems)))


def requirement_problems(
    requires: Iterable[str],
    find: Callable[[str], Metadata | None] = find_installed,
    *,
    extra: str = "",
) -> Iterator[Problem]:
    """Yield a problem for each requirement (PEP 508 text) that is not met.

    Parameters
    ----------
    requires : iterable of str
        The ``Requires-Dist`` lines. Those for another extra than `extra` are skipped.
    find : callable
        Maps the name of a distribution to `Metadata`, or None.
    extra : str
        The extra for which the requirements are read; empty for those that always apply.

    Examples
    --------
    >>> list(requirement_problems(["surely-not-installed>=2"]))[0].reason
    'needs surely-not-installed>=2 (not installed)'
    """
    yield from _walk(requires, find, extra, set())


def _walk(
    requires: Iterable[str],
    find: Callable[[str], Metadata | None],
    extra: str,
    seen: set[tuple[str, str]],
) -> Iterator[Problem]:
    for text in requires:
        try:
            requirement = _parse(text)
        except InvalidRequirement:
            yield Problem("broken", f"its requirement {text!r} cannot be read")
            continue
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        installed = find(requirement.name)
        if installed is None:
            yield Problem("missing-dependency", f"needs {_short(requirement)} (not installed)")
            continue
        if not _satisfies(installed.version, requirement.specifier):
            reason = f"needs {_short(requirement)} ({installed.version or 'unknown'} is installed)"
            yield Problem("incompatible", reason)
        for wanted in sorted(requirement.extras):
            # An extra is nothing but more requirements; two packages may name each other's.
            key = (canonical(requirement.name), wanted)
            if key not in seen:
                seen.add(key)
                only = [line for line in installed.requires if "extra" in line]
                yield from _walk(only, find, wanted, seen)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Requirement:
    return Requirement(text)


def _short(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def _satisfies(version: str, specifier: SpecifierSet) -> bool:
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return not specifier


def _python_problems(metadata: Metadata) -> Iterator[Problem]:
    wanted = metadata.requires_python
    if not wanted:
        return
    try:
        fits = SpecifierSet(wanted).contains(platform.python_version(), prereleases=True)
    except InvalidSpecifier:
        yield Problem("broken", f"its Requires-Python {wanted!r} cannot be read")
        return
    if not fits:
        reason = f"needs Python {wanted} (this is {platform.python_version()})"
        yield Problem("incompatible", reason)
