"""The constructor's signature is the option schema: for the command line, files, repr and docs."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dvl_core.annotations import arms_of, from_text, is_plain, text_of
from dvl_core.docstrings import citation_of, parameter_docs, summary_of
from dvl_core.errors import InvalidOptionError

__all__ = [
    "PARTS",
    "Described",
    "Option",
    "check_options",
    "citation_of",
    "options_of",
    "parse_option",
    "select_parts",
    "summary_of",
]

PARTS = frozenset(
    {
        "backend",
        "model",
        "sampler",
        "scorer",
        "stopping",
        "store",
        "test",
        "train",
        "utility",
    }
)
"""Names of parameters that take an object made elsewhere; the others are plain options."""


@dataclass(frozen=True, slots=True)
class Option:
    """One parameter of a constructor.

    Parameters
    ----------
    name : str
        Name of the parameter.
    type : str
        Its annotation, as written; empty without one.
    default : object
        Its default; None if it is required.
    required : bool
        Whether it has no default.
    kind : str
        "positional" or "keyword".
    doc : str
        What the docstring says, on one line.
    is_part : bool
        Whether it takes a part (see `PARTS`) and not a plain value.
    """

    name: str
    type: str
    default: Any
    required: bool
    kind: str
    doc: str
    is_part: bool


class Described:
    """Mixin: a repr that shows the constructor's arguments that differ from their defaults.

    Examples
    --------
    >>> class Blur(Described):
    ...     def __init__(self, radius=1.0, *, copies=3):
    ...         self.radius = radius
    ...         self._copies = copies
    >>> Blur(copies=5), Blur()
    (Blur(copies=5), Blur())
    """

    def __repr__(self) -> str:
        shown = []
        for parameter in _parameters(type(self)):
            value = _value_of(self, parameter)
            if value is not parameter.empty and not _same(value, parameter.default):
                shown.append(f"{parameter.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


def options_of(component: Callable[..., Any]) -> list[Option]:
    """Return the parameters of a class or factory, in their order.

    Parameters
    ----------
    component : type or callable
        What `dvl_core.get` returned.

    Examples
    --------
    >>> def blur(image, *, radius: float = 1.0):
    ...     '''Blur.
    ...
    ...     Parameters
    ...     ----------
    ...     radius : float
    ...         How far, in pixels.
    ...     '''
    >>> options_of(blur)[1].doc
    'How far, in pixels.'
    """
    docs = parameter_docs(component)
    return [
        Option(
            name=parameter.name,
            type=text_of(parameter.annotation),
            default=None if parameter.default is parameter.empty else parameter.default,
            required=parameter.default is parameter.empty,
            kind="keyword" if parameter.kind is parameter.KEYWORD_ONLY else "positional",
            doc=docs.get(parameter.name, ""),
            is_part=parameter.name in PARTS and not is_plain(component, parameter.annotation),
        )
        for parameter in _parameters(component)
    ]


def check_options(
    component: Callable[..., Any], options: Mapping[str, Any], *, label: str | None = None
) -> None:
    """Check that a constructor takes these options and misses none that it needs.

    Parameters
    ----------
    component : type or callable
        What is to be made.
    options : mapping
        Arguments by parameter name.
    label : str, optional
        How the message names the component; its ``__name__`` by default.

    Raises
    ------
    InvalidOptionError
        For an unknown option, with the closest known name, or for a missing one.
    """
    label = label or _name_of(component)
    known = _parameters(component)
    if not _takes_anything(component):
        for name in options:
            if name not in {parameter.name for parameter in known}:
                raise _unknown_option(label, name, [parameter.name for parameter in known])
    missing = [p.name for p in known if p.default is p.empty and p.name not in options]
    if missing:
        raise InvalidOptionError(f"{label} needs {', '.join(missing)}")


def select_parts(
    component: Callable[..., Any], available: Mapping[str, Any], *, label: str | None = None
) -> dict[str, Any]:
    """Return those of the available parts that a constructor takes.

    Parameters
    ----------
    component : type or callable
        What is to be made.
    available : mapping
        Everything at hand, by parameter name; None stands for what is not at hand.
    label : str, optional
        How the message names the component; its ``__name__`` by default.

    Returns
    -------
    dict
        Arguments by parameter name. Parts that are None are left to their defaults.

    Raises
    ------
    InvalidOptionError
        If a part that it needs is not available.

    Examples
    --------
    >>> def blur(model, *, test=None): ...
    >>> select_parts(blur, {"model": "m", "sampler": "s", "test": None})
    {'model': 'm'}
    """
    taken = {p.name: p for p in _parameters(component)}
    chosen = {name: part for name, part in available.items() if name in taken and part is not None}
    missing = [
        option.name
        for option in options_of(component)
        if option.is_part and option.required and option.name not in chosen
    ]
    if missing:
        raise InvalidOptionError(f"{label or _name_of(component)} needs {', '.join(missing)}")
    return chosen


def parse_option(
    component: Callable[..., Any], key: str, text: str, *, label: str | None = None
) -> Any:
    """Turn the text of a command line into a value for an option.

    Parameters
    ----------
    component : type or callable
        Whose option it is.
    key : str
        Name of the option; dashes stand for underscores.
    text : str
        Its value: JSON, or what the annotation of the parameter makes of it.
    label : str, optional
        How the message names the component; its ``__name__`` by default.

    Raises
    ------
    InvalidOptionError
        If there is no such option, or the text does not fit its type.

    Examples
    --------
    >>> def blur(radius: float = 1.0, mode: Literal["box", "gauss"] = "box"): ...
    >>> parse_option(blur, "radius", "2")
    2.0
    """
    label = label or _name_of(component)
    by_name = {parameter.name: parameter for parameter in _parameters(component)}
    name = key.strip().replace("-", "_")
    if name not in by_name:
        if not _takes_anything(component):
            plain = [option.name for option in options_of(component) if not option.is_part]
            raise _unknown_option(label, key, plain)
        return from_text(text, ())
    annotation = by_name[name].annotation
    if name in PARTS and not is_plain(component, annotation):
        raise InvalidOptionError(f"{label}: {name} is assembled for it, it is no plain option")
    try:
        return from_text(text, arms_of(component, annotation))
    except ValueError as error:
        raise InvalidOptionError(f"{label}: option {name!r} takes {error}, not {text!r}") from None


def _parameters(component: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        every = inspect.signature(component).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in every if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _takes_anything(component: Callable[..., Any]) -> bool:
    try:
        every = inspect.signature(component).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in every)


def _unknown_option(label: str, name: str, known: Iterable[str]) -> InvalidOptionError:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else "."
    listed = f" Options: {', '.join(names)}" if names else " It takes none"
    return InvalidOptionError(f"{label} has no option {name!r}{guess}{listed}")


def _name_of(component: Callable[..., Any]) -> str:
    return str(getattr(component, "__name__", component))


def _value_of(instance: object, parameter: inspect.Parameter) -> Any:
    for name in (parameter.name, f"_{parameter.name}"):
        try:
            return getattr(instance, name)
        except AttributeError:
            continue
    return parameter.empty


def _same(value: Any, default: Any) -> bool:
    if value is default:
        return True
    try:
        return type(value) is type(default) and bool(value == default)
    except ValueError:  # arrays have no single truth value
        return False
