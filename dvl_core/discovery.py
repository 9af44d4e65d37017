"""What the installed distributions offer to dvl, read from their metadata; nothing is imported."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from typing import Literal, NamedTuple

__all__ = [
    "COMMAND_GROUP",
    "COMPONENT_GROUPS",
    "CORE",
    "HOOK_GROUP",
    "Kind",
    "Metadata",
    "Offer",
    "Status",
    "canonical",
    "environment_key",
    "forget_offers",
    "offers",
    "read_metadata",
    "split_target",
]

Kind = Literal["sampler", "utility", "scorer", "valuation", "inverse-hessian", "backend", "store"]
Status = Literal["ok", "disabled", "missing-dependency", "incompatible", "ambiguous", "broken"]

COMPONENT_GROUPS: dict[str, Kind] = {
    "dvl.samplers": "sampler",
    "dvl.utilities": "utility",
    "dvl.scorers": "scorer",
    "dvl.valuations": "valuation",
    "dvl.inverse_hessians": "inverse-hessian",
    "dvl.backends": "backend",
    "dvl.stores": "store",
}
COMMAND_GROUP = "dvl.commands"
HOOK_GROUP = "dvl.hooks"
CORE = "dvl-core"

_GROUPS = {*COMPONENT_GROUPS, COMMAND_GROUP, HOOK_GROUP}
_TARGET = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+))?\s*(?:\[[^]]*])?")


@dataclass(frozen=True, slots=True)
class Offer:
    """One entry point of a ``dvl.*`` group and what the metadata tells about it.

    Parameters
    ----------
    group : str
        Entry-point group.
    name : str
        Public name.
    target : str
        ``package.module:attribute``, as the distribution wrote it.
    distribution : str
        Name of the distribution, as it writes it itself.
    version : str
        Version of the distribution; empty if its metadata has none.
    status : str
        "ok", "disabled", "missing-dependency", "incompatible" or "broken".
    reason : str
        Why the status is not "ok".
    """

    group: str
    name: str
    target: str
    distribution: str
    version: str
    status: Status = "ok"
    reason: str = ""


def canonical(distribution: str) -> str:
    """Return the PEP 503 form of a distribution's name.

    Examples
    --------
    >>> canonical("Dvl_KNN")
    'dvl-knn'
    """
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


class Metadata(NamedTuple):
    """What dvl needs to know of a distribution; what is missing or unreadable is empty."""

    name: str = ""
    version: str = ""
    requires: tuple[str, ...] = ()
    requires_python: str = ""


def read_metadata(dist: Distribution) -> Metadata:
    """Return the metadata of a distribution.

    Read here and not by `Distribution.metadata`, which parses the long description too, anew for
    each field: with thirty plugins this took more time than all the rest of a listing.
    """
    try:
        text, elsewhere = dist.read_text("METADATA"), []
        if not text and (text := dist.read_text("PKG-INFO")):
            # The egg-info of old tools keeps its requirements in a file of their own.
            elsewhere = dist.requires or []
    except Exception:
        return Metadata()
    fields: dict[str, list[str]] = {}
    for line in (text or "").partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.lower(), []).append(value.strip())
    first = {key: values[0] for key, values in fields.items()}
    return Metadata(
        first.get("name", ""),
        first.get("version", ""),
        (*fields.get("requires-dist", ()), *elsewhere),
        first.get("requires-python", ""),
    )


def split_target(target: str) -> tuple[str, str]:
    """Split ``package.module:attribute``; the attribute may be missing.

    Raises
    ------
    ValueError
        If the text has another form.

    Examples
    --------
    >>> split_target("package.module:Class")
    ('package.module', 'Class')
    """
    match = _TARGET.fullmatch(target.strip())
    module, attribute = (match["module"], match["attribute"] or "") if match else ("", "")
    parts = [*module.split("."), *(attribute.split(".") if attribute else ())]
    if not all(part.isidentifier() for part in parts):
        raise ValueError(f"target {target!r} is not of the form package.module:attribute")
    return module, attribute


class _Looks:
    """How often a new look at the file system was asked for."""

    count = 0


def environment_key() -> tuple[object, ...]:
    """Return what discovery depends on: a cache is good for as long as this stays the same."""
    variables = os.environ.get("DVL_PLUGINS"), os.environ.get("DVL_DISABLE_PLUGINS")
    return (_Looks.count, *variables, tuple(sys.path))


def offers() -> tuple[Offer, ...]:
    """Return all offers of the installed distributions, sorted by group, name, distribution."""
    return _offers(environment_key())


def forget_offers() -> None:
    """Make `offers`, and all that is built from it, look at the file system again."""
    importlib.invalidate_caches()
    _Looks.count += 1


@lru_cache(maxsize=4)
def _offers(key: tuple[object, ...]) -> tuple[Offer, ...]:
    found: dict[str, list[Offer]] = {}
    for dist in distributions():
        try:
            entries = list(_entries(dist.read_text("entry_points.txt") or ""))
        except Exception:
            # Entry points that cannot be read do not even tell whether they concern dvl.
            continue
        if not entries:
            continue
        metadata = read_metadata(dist)
        # As for imports, the first of two copies on the path is the one that counts.
        if canonical(metadata.name) not in found:
            found[canonical(metadata.name)] = list(_judge(metadata, entries))
    every = (offer for found_offers in found.values() for offer in found_offers)
    return tuple(sorted(every, key=lambda o: (o.group, o.name, o.distribution)))


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (group, name, target) of our groups; a line with no ``=`` has an empty target."""
    if "dvl." not in text:
        return
    group = ""
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            group = line[1:-1].strip()
        elif group in _GROUPS:
            name, _, target = (part.strip() for part in line.partition("="))
            yield group, name, target


def _judge(metadata: Metadata, entries: list[tuple[str, str, str]]) -> Iterator[Offer]:
    """Yield the offers of one distribution with their statuses."""
    status, reason = _distribution_status(metadata)
    name = metadata.name or "(unnamed)"
    seen: set[tuple[str, str]] = set()
    for group, entry, target in entries:
        own: tuple[Status, str] = (status, reason)
        if (group, entry) in seen:
            own = ("broken", f"{name} declares {entry!r} twice")
        elif status == "ok":
            own = _target_status(group, target)
        seen.add((group, entry))
        yield Offer(group, entry, target, name, metadata.version, *own)


def _distribution_status(metadata: Metadata) -> tuple[Status, str]:
    if canonical(metadata.name) == CORE:
        return "ok", ""
    if not metadata.name:
        return "broken", "its distribution has no readable METADATA"
    disabled = _disabled_by(metadata.name)
    if disabled:
        return "disabled", disabled
    # Only where there is a plugin: importing `packaging` costs a listing 20 ms.
    from dvl_core.compatibility import compatibility_problem

    problem = compatibility_problem(metadata)
    return (problem.status, problem.reason) if problem else ("ok", "")


def _disabled_by(name: str) -> str:
    allowed, denied = os.environ.get("DVL_PLUGINS"), os.environ.get("DVL_DISABLE_PLUGINS", "")
    if canonical(name) in {canonical(entry) for entry in denied.split(",")}:
        return "DVL_DISABLE_PLUGINS names it"
    if allowed is not None and canonical(name) not in {canonical(x) for x in allowed.split(",")}:
        return "DVL_PLUGINS does not name it"
    return ""


def _target_status(group: str, target: str) -> tuple[Status, str]:
    try:
        module, attribute = split_target(target)
    except ValueError as error:
        return "broken", str(error)
    if not attribute and group != HOOK_GROUP:
        return "broken", f"target {target!r} names no class: write package.module:Class"
    top = module.partition(".")[0]
    if not _exists(top):
        return "broken", f"module {top!r} cannot be found"
    return "ok", ""


def _exists(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
