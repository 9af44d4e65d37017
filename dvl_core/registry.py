"""Components by kind and name: found through metadata, imported when asked for."""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as copy_with
from typing import Any, get_args

from dvl_core import assembly
from dvl_core.component import (
    IN_PROCESS,
    ComponentRef,
    earlier_failure,
    forget_failures,
    in_process_ref,
)
from dvl_core.discovery import (
    COMPONENT_GROUPS,
    Kind,
    Status,
    canonical,
    environment_key,
    forget_offers,
    offers,
)
from dvl_core.errors import AmbiguousComponentError, UnknownComponentError

__all__ = [
    "KINDS",
    "STATUSES",
    "ComponentRef",
    "Kind",
    "Registry",
    "Status",
    "create",
    "get",
    "list_plugins",
    "override",
    "refresh",
    "register",
    "registry",
]

KINDS: tuple[Kind, ...] = get_args(Kind)
STATUSES: tuple[Status, ...] = get_args(Status)


class Registry:
    """All components that can be named, without importing any.

    Parameters
    ----------
    refs : iterable of ComponentRef
        What distributions offer. None by default: an empty registry, for tests.

    Examples
    --------
    >>> registry = Registry.from_environment()
    >>> [ref.name for ref in registry.list("scorer") if ref.distribution == "dvl-core"]
    ['supervised']
    """

    def __init__(self, refs: Iterable[ComponentRef] = ()) -> None:
        self._offered = tuple(refs)
        self._registered: dict[tuple[Kind, str], ComponentRef] = {}

    @classmethod
    def from_environment(cls) -> Registry:
        """Return a registry of what is installed, as DVL_PLUGINS and DVL_DISABLE_PLUGINS allow."""
        return cls(
            ComponentRef(
                COMPONENT_GROUPS[offer.group],
                offer.name,
                offer.status,
                offer.reason,
                offer.distribution,
                offer.version,
                offer.target,
            )
            for offer in offers()
            if offer.group in COMPONENT_GROUPS
        )

    def list(self, kind: str | None = None) -> builtins.list[ComponentRef]:
        """Return the components of a kind, or of all, sorted by kind, name and distribution."""
        kinds = KINDS if kind is None else (_checked_kind(kind),)
        shown = map(self._with_context, [*self._offered, *self._registered.values()])
        return sorted(
            (ref for ref in shown if ref.kind in kinds),
            key=lambda ref: (KINDS.index(ref.kind), ref.name, ref.distribution),
        )

    def find(self, kind: str, name: str) -> ComponentRef:
        """Return the one component that a name means.

        Parameters
        ----------
        kind : str
            One of the seven kinds.
        name : str
            ``"name"`` or ``"distribution:name"``.

        Raises
        ------
        UnknownComponentError
            If there is none. Its second argument, if any, says how to get it.
        AmbiguousComponentError
            If several distributions offer that name.
        """
        checked = _checked_kind(kind)
        distribution, _, bare = name.rpartition(":")
        named = self._candidates(checked, bare)
        if distribution:
            named = [r for r in named if canonical(r.distribution) == canonical(distribution)]
        elif (checked, bare) in self._registered:
            return self._registered[checked, bare]
        if not named:
            raise self._unknown(checked, name)
        usable = [ref for ref in named if _is_usable(ref)] or named
        if len({ref.distribution for ref in usable}) > 1:
            raise AmbiguousComponentError(_ambiguity(usable))
        return usable[0]

    def get(self, kind: str, name: str) -> Callable[..., Any]:
        """Import a component and return its class; see `find` and `ComponentRef.load`."""
        return self.find(kind, name).load()

    def create(self, kind: str, spec: Any, **options: Any) -> Any:
        """Make a component.

        Parameters
        ----------
        kind : str
            One of the seven kinds.
        spec : str, mapping or component
            A name; ``{"name": ..., option: value}``; or a ready object, returned as it is.
        **options
            Arguments of the constructor, by its own parameter names. Where a parameter stands for
            a component (a valuation's ``sampler``, say), a name or a mapping is made into one.

        Returns
        -------
        object
            The component.

        Raises
        ------
        InvalidOptionError
            If the component takes no such option, lacks one that it needs, or refuses a value.
        DvlError
            If the component cannot be found or loaded.
        """
        checked = _checked_kind(kind)
        if not isinstance(spec, str | Mapping):
            return assembly.ready(checked, spec, options)
        name, options = assembly.split_spec(checked, spec, options)
        return assembly.construct(self.find(checked, name), options, self.create)

    def register(
        self,
        kind: str,
        name: str,
        target: Callable[..., Any] | str,
        *,
        replace: bool = False,
    ) -> None:
        """Add a component for the life of this process.

        Parameters
        ----------
        kind : str
            One of the seven kinds.
        name : str
            Public name; no colon.
        target : type, callable or str
            The class, a factory, or ``"package.module:Class"``, imported when first used.
        replace : bool
            Whether it may take the place of a usable component of that name.

        Raises
        ------
        AmbiguousComponentError
            If the name is taken and `replace` is false. To register a newer version of the same
            class, as a notebook cell that runs twice does, is not a conflict.
        """
        ref = in_process_ref(_checked_kind(kind), name, target)
        taken = [
            other
            for other in self._candidates(ref.kind, name)
            if other.status == "ok"
            and (other.distribution, other.target) != (ref.distribution, ref.target)
        ]
        if taken and not replace:
            raise AmbiguousComponentError(
                f"{ref.kind} {name!r} is already provided by {_providers(taken)}: choose another "
                "name, or pass replace=True"
            )
        self._registered[ref.kind, name] = ref

    @contextmanager
    def override(self, kind: str, name: str, target: Callable[..., Any] | str) -> Iterator[None]:
        """Register a component for the length of a ``with`` block, whatever has its name."""
        before = dict(self._registered)
        self.register(kind, name, target, replace=True)
        try:
            yield
        finally:
            self._registered.clear()
            self._registered.update(before)

    def _adopt(self, other: Registry) -> None:
        """Share what was registered in `other`, also by blocks of `override` still open."""
        self._registered = other._registered

    def _candidates(self, kind: Kind, name: str) -> builtins.list[ComponentRef]:
        every = [*self._offered, *self._registered.values()]
        return [ref for ref in every if (ref.kind, ref.name) == (kind, name)]

    def _with_context(self, ref: ComponentRef) -> ComponentRef:
        """Return `ref` with the status that follows from other components and earlier loads."""
        if ref.status != "ok":
            return ref
        failure = earlier_failure(ref)
        if failure:
            return copy_with(ref, status="broken", reason=failure)
        if ref.distribution == IN_PROCESS:
            return ref
        if (ref.kind, ref.name) in self._registered:
            return copy_with(ref, status="disabled", reason="replaced by a registration")
        rivals = [other for other in self._candidates(ref.kind, ref.name) if _is_usable(other)]
        if len(rivals) > 1:
            return copy_with(ref, status="ambiguous", reason=_ambiguity(rivals))
        return ref

    def _unknown(self, kind: Kind, name: str) -> UnknownComponentError:
        from dvl_core.known_plugins import KNOWN_PLUGINS, install_hint

        distribution, _, bare = name.rpartition(":")
        hint = install_hint(kind, bare)
        if hint and not self._candidates(kind, bare):
            return UnknownComponentError(f"{kind} {bare!r} is not installed: {hint}", hint)
        if distribution and self._candidates(kind, bare):
            providers = _providers(self._candidates(kind, bare))
            return UnknownComponentError(
                f"{distribution} offers no {kind} {bare!r}; it comes from {providers}"
            )
        installed = sorted({ref.name for ref in self.list(kind) if ref.status == "ok"})
        known = {known_name for known_kind, known_name in KNOWN_PLUGINS if known_kind == kind}
        close = difflib.get_close_matches(
            bare.lower().replace("_", "-"), sorted({*installed, *known}), n=1
        )
        guess = f"; did you mean {close[0]!r}?" if close else "."
        if close and close[0] not in installed:
            guess = f"; did you mean {close[0]!r} ({install_hint(kind, close[0])})?"
        names = ", ".join(installed) or "none"
        return UnknownComponentError(f"unknown {kind} {name!r}{guess} Installed: {names}")


def _checked_kind(kind: str) -> Kind:
    for known in KINDS:
        if kind == known:
            return known
    close = difflib.get_close_matches(str(kind), KINDS, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else "."
    raise UnknownComponentError(f"unknown kind {kind!r}{guess} Kinds: {', '.join(KINDS)}")


def _is_usable(ref: ComponentRef) -> bool:
    return ref.status == "ok" and not earlier_failure(ref)


def _providers(refs: Iterable[ComponentRef]) -> str:
    return " and ".join(sorted({ref.distribution for ref in refs}))


def _ambiguity(refs: Iterable[ComponentRef]) -> str:
    every = list(refs)
    qualified = " or ".join(sorted(f"'{ref.distribution}:{ref.name}'" for ref in every))
    return (
        f"{every[0].kind} {every[0].name!r} is provided by {_providers(every)}: write {qualified}"
    )


class _Default:
    """The registry of this process, rebuilt when what it was built from changes."""

    key: tuple[object, ...] | None = None
    current = Registry()


def registry() -> Registry:
    """Return the registry of this process.

    It follows changes of ``sys.path``, DVL_PLUGINS and DVL_DISABLE_PLUGINS; after installing a
    package while Python runs, call `refresh`.
    """
    key = environment_key()
    if key != _Default.key:
        built = Registry.from_environment()
        built._adopt(_Default.current)
        forget_failures()
        _Default.key, _Default.current = key, built
    return _Default.current


def refresh() -> None:
    """Look again at what is installed, and try again what failed to load; registrations stay."""
    forget_offers()


def list_plugins(kind: str | None = None) -> list[ComponentRef]:
    """Return what is installed, from metadata alone; see `Registry.list`."""
    return registry().list(kind)


def get(kind: str, name: str) -> Callable[..., Any]:
    """Return the class of a component; see `Registry.get`."""
    return registry().get(kind, name)


def create(kind: str, spec: Any, **options: Any) -> Any:
    """Make a component from a name, a mapping or a ready object; see `Registry.create`."""
    return registry().create(kind, spec, **options)


def register(
    kind: str, name: str, target: Callable[..., Any] | str, *, replace: bool = False
) -> None:
    """Add a component for the life of this process; see `Registry.register`."""
    registry().register(kind, name, target, replace=replace)


@contextmanager
def override(kind: str, name: str, target: Callable[..., Any] | str) -> Iterator[None]:
    """Register a component for the length of a ``with`` block; see `Registry.override`."""
    with registry().override(kind, name, target):
        yield
