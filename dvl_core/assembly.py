"""From a name and options to a component, by nothing but its constructor's parameter names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from dvl_core.component import ComponentRef, check_instance
from dvl_core.discovery import Kind
from dvl_core.errors import DvlError, InvalidOptionError, MissingDependencyError

__all__ = ["construct", "ready", "split_spec"]


def ready(kind: Kind, component: Any, options: Mapping[str, Any]) -> Any:
    """Return a component that was given instead of a name, if it can be one.

    Raises
    ------
    InvalidOptionError
        If it is None or a class, or if options come with it, which nothing would read.
    """
    if component is None:
        raise InvalidOptionError(f"no {kind} was given: pass a name, a mapping or an object")
    if isinstance(component, type):
        name = component.__name__
        raise InvalidOptionError(f"{kind}: {name} is a class; pass an instance, {name}(...)")
    if options:
        given = ", ".join(sorted(options))
        raise InvalidOptionError(
            f"{kind} is a ready {type(component).__name__}: it takes no options ({given}) any more"
        )
    return component


def split_spec(
    kind: Kind, spec: str | Mapping[str, Any], options: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the name and all options of ``"name"`` or ``{"name": ..., option: value}``.

    Raises
    ------
    InvalidOptionError
        If the mapping has no name, or an option is given twice.
    """
    if isinstance(spec, str):
        return spec, options
    name = spec.get("name")
    if not isinstance(name, str):
        raise InvalidOptionError(f"a {kind} given as a mapping needs its name: {{'name': ...}}")
    for option in spec:
        if option in options:
            raise InvalidOptionError(f"option {option!r} of {kind} {name!r} is given twice")
    return name, {**{key: value for key, value in spec.items() if key != "name"}, **options}


def construct(
    ref: ComponentRef, options: Mapping[str, Any], create: Callable[[str, Any], Any]
) -> Any:
    """Load a component and call its constructor.

    Parameters
    ----------
    ref : ComponentRef
        The component.
    options : mapping
        Arguments by parameter name. A name or a mapping for a part of the constructor that has a
        kind of its own (a valuation's ``sampler``, say) is made into a component.
    create : callable
        ``create(kind, spec)``, which makes these parts.

    Raises
    ------
    InvalidOptionError
        If the constructor takes no such option, lacks one, or refuses a value.
    MissingDependencyError
        If the constructor imports a package that is not installed.
    PluginLoadError
        If the component cannot be loaded or is not what its kind demands.
    """
    from dvl_core.options import check_options, options_of

    component = ref.load()
    check_options(component, options, label=ref.label)
    parts = {option.name for option in options_of(component) if option.is_part}
    made = {
        name: create(name, value)
        if name in parts.intersection(get_args(Kind)) and isinstance(value, str | Mapping)
        else value
        for name, value in options.items()
    }
    try:
        instance = component(**made)
    except DvlError:
        raise
    except ImportError as error:
        raise MissingDependencyError(f"{ref.label} cannot be made: {error}") from error
    except (TypeError, ValueError) as error:
        raise InvalidOptionError(f"{ref.label}: {error}") from error
    check_instance(ref, instance)
    return instance
