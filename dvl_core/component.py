"""A reference to a component that is not imported yet, and what must hold once it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from dvl_core import protocols
from dvl_core.discovery import Kind, Status, split_target
from dvl_core.errors import (
    IncompatibleComponentError,
    InvalidOptionError,
    MissingDependencyError,
    PluginLoadError,
    UnknownComponentError,
)

__all__ = [
    "IN_PROCESS",
    "PROTOCOLS",
    "ComponentRef",
    "check_instance",
    "earlier_failure",
    "forget_failures",
    "in_process_ref",
]

IN_PROCESS = "in-process"
"""What stands for the distribution of components that were registered by hand."""

PROTOCOLS: dict[Kind, type] = {
    "sampler": protocols.Sampler,
    "utility": protocols.Utility,
    "scorer": protocols.Scorer,
    "valuation": protocols.Valuation,
    "inverse-hessian": protocols.InverseHessianApproximator,
    "backend": protocols.Backend,
    "store": protocols.Store,
}

_failures: dict[tuple[str, ...], PluginLoadError] = {}


@dataclass(frozen=True, slots=True)
class ComponentRef:
    """What metadata tells about a component; only `load` imports it.

    Parameters
    ----------
    kind : str
        One of the seven kinds.
    name : str
        Public name.
    status : str
        "ok", "disabled", "missing-dependency", "incompatible", "ambiguous" or "broken".
    reason : str
        Why the status is not "ok"; empty otherwise.
    distribution : str
        Who provides it; "in-process" for what `register` added.
    version : str
        Version of the distribution.
    target : str
        ``package.module:Class``.
    """

    kind: Kind
    name: str
    status: Status
    reason: str
    distribution: str
    version: str
    target: str
    component: Callable[..., Any] | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str:
        """How messages name it: "valuation 'shapley' of dvl-shapley"."""
        return f"{self.kind} {self.name!r} of {self.distribution}"

    def load(self) -> Callable[..., Any]:
        """Import the component and check it against the protocol of its kind.

        Returns
        -------
        type or callable
            The class, or the factory that the target names.

        Raises
        ------
        MissingDependencyError, IncompatibleComponentError
            If the metadata already shows that it cannot work.
        UnknownComponentError
            If it is disabled.
        PluginLoadError
            If it is broken: no such module or attribute, an error while importing, members of the
            protocol missing.
        """
        self._refuse()
        try:
            component = self.component or _import_target(self)
            _check_component(self, component)
        except PluginLoadError as error:
            _failures[self._key] = error
            raise
        _failures.pop(self._key, None)
        return component

    @property
    def _key(self) -> tuple[str, ...]:
        return (self.kind, self.name, self.distribution, self.target)

    def _refuse(self) -> None:
        message = f"{self.label} cannot be used: {self.reason}"
        if self.status == "missing-dependency":
            raise MissingDependencyError(message)
        if self.status == "incompatible":
            raise IncompatibleComponentError(message)
        if self.status == "disabled":
            raise UnknownComponentError(f"{self.label} is disabled: {self.reason}", self.reason)
        if self.status == "broken":
            raise PluginLoadError(message) from _failures.get(self._key)


def in_process_ref(kind: Kind, name: str, target: Callable[..., Any] | str) -> ComponentRef:
    """Return the reference to a component that this process registers itself.

    Raises
    ------
    InvalidOptionError
        If the name or the target cannot be one.
    """
    if not name or ":" in name:
        raise InvalidOptionError(f"{name!r} cannot name a {kind}: a name has no colon")
    if isinstance(target, str):
        try:
            _, attribute = split_target(target)
        except ValueError as error:
            raise InvalidOptionError(f"{kind} {name!r}: {error}") from None
        if not attribute:
            raise InvalidOptionError(f"{kind} {name!r}: target {target!r} names no class")
        return ComponentRef(kind, name, "ok", "", IN_PROCESS, "", target)
    if not callable(target):
        raise InvalidOptionError(f"{kind} {name!r}: {target!r} is neither a class nor a target")
    where = f"{target.__module__}:{getattr(target, '__qualname__', type(target).__qualname__)}"
    return ComponentRef(kind, name, "ok", "", IN_PROCESS, "", where, target)


def earlier_failure(ref: ComponentRef) -> str:
    """Return what went wrong when `ref` was last loaded in this process; empty if nothing did."""
    error = _failures.get(ref._key)
    return "" if error is None else str(error)


def forget_failures() -> None:
    """Forget all failed loads."""
    _failures.clear()


def check_instance(ref: ComponentRef, instance: object) -> None:
    """Check that an instance has all members of its protocol.

    Raises
    ------
    PluginLoadError
        If members are missing; the message names them.
    """
    protocol = PROTOCOLS[ref.kind]
    missing = [name for name in _methods(protocol) if not _has_method(type(instance), name)]
    missing += [name for name in _data_members(protocol) if not _has_attribute(instance, name)]
    _report_missing(ref, missing)


def _import_target(ref: ComponentRef) -> Any:
    """Import the module of `ref` and return the attribute that it names."""
    start = f"{ref.label} ({ref.target}) cannot be loaded"
    try:
        module, attribute = split_target(ref.target)
        loaded: Any = import_module(module)
    except (Exception, SystemExit) as error:
        raise PluginLoadError(f"{start}: {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        try:
            loaded = getattr(loaded, part)
        except (Exception, SystemExit) as error:
            raise PluginLoadError(f"{start}: module {module!r} has no {attribute!r}") from error
    return loaded


def _check_component(ref: ComponentRef, component: Any) -> None:
    if not callable(component):
        kind = type(component).__name__
        raise PluginLoadError(f"{ref.label} ({ref.target}) is a {kind}, not a class or a factory")
    if isinstance(component, type):
        methods = _methods(PROTOCOLS[ref.kind])
        _report_missing(ref, [name for name in methods if not _has_method(component, name)])


def _report_missing(ref: ComponentRef, missing: list[str]) -> None:
    if missing:
        protocol = PROTOCOLS[ref.kind].__name__
        names = ", ".join(missing)
        raise PluginLoadError(
            f"{ref.label} ({ref.target}) is no {protocol}: it lacks {names} "
            f"(see dvl_core.protocols.{protocol})"
        )


def _methods(protocol: type) -> list[str]:
    # Functions that `typing` itself puts on a protocol come from another module.
    return [
        name
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and member.__module__ == protocol.__module__
    ]


def _data_members(protocol: type) -> list[str]:
    return [name for name, member in vars(protocol).items() if isinstance(member, property)]


def _has_method(cls: type, name: str) -> bool:
    # Not getattr: on a class, `__call__` would find the one of its metaclass.
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None) is not None


def _has_attribute(instance: object, name: str) -> bool:
    # Not hasattr alone: reading a property may run it, and `result` raises before `fit`.
    missing = object()
    return inspect.getattr_static(instance, name, missing) is not missing or hasattr(instance, name)
