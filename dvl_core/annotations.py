"""What the annotation of a constructor's parameter says, and text read by it."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

__all__ = ["arms_of", "from_text", "is_plain", "text_of"]

_SCALARS = (bool, int, float, str, type(None))
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def text_of(annotation: Any) -> str:
    """Return an annotation as its author wrote it; empty for none.

    Examples
    --------
    >>> text_of(int), text_of("int | None"), text_of(list[int])
    ('int', 'int | None', 'list[int]')
    """
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def arms_of(component: Callable[..., Any], annotation: Any) -> tuple[Any, ...]:
    """Return the members of a parameter's annotation, taken as a union.

    Parameters
    ----------
    component : type or callable
        Whose parameter it is: names in the annotation mean what they mean in its module.
    annotation : object
        The annotation, or its text.

    Returns
    -------
    tuple
        Types; ``object`` stands for a name that is known to type checkers only. Empty for a
        parameter without annotation.

    Examples
    --------
    >>> arms_of(print, "int | OnlyForTypeCheckers | None")
    (<class 'int'>, <class 'object'>, <class 'NoneType'>)
    """
    if annotation is inspect.Parameter.empty:
        return ()
    if isinstance(annotation, str):
        return tuple(_evaluated(annotation, _namespace(component)))
    return tuple(_flat(annotation))


def is_plain(component: Callable[..., Any], annotation: Any) -> bool:
    """Return whether a parameter takes nothing but numbers, strings, truth values and None."""
    arms = arms_of(component, annotation)
    return bool(arms) and all(arm in _SCALARS or get_origin(arm) is Literal for arm in arms)


def from_text(text: str, arms: tuple[Any, ...]) -> Any:
    """Return the value that a text of the command line stands for.

    Parameters
    ----------
    text : str
        What the user wrote.
    arms : tuple
        From `arms_of`.

    Raises
    ------
    ValueError
        If it fits none of them; the message lists what would.

    Examples
    --------
    >>> from_text("2", (int, type(None))), from_text("[1, 2]", (list,)), from_text("2", (str,))
    (2, [1, 2], '2')
    """
    literals = [value for arm in arms if get_origin(arm) is Literal for value in get_args(arm)]
    for value in literals:
        if text == str(value):
            return value
    lowered = text.strip().lower()
    if lowered in {"none", "null"} and (type(None) in arms or not arms):
        return None
    # Where both fit, 0 and 1 are numbers.
    if bool in arms and lowered in _TRUE | _FALSE and not (int in arms and lowered in {"0", "1"}):
        return lowered in _TRUE
    for parse, number in ((_integer, int), (float, float)):
        if number in arms:
            try:
                return parse(text)
            except ValueError:
                continue
    if not arms or any(arm not in _SCALARS and get_origin(arm) is not Literal for arm in arms):
        return _json_or_text(text)
    if str in arms:
        return text
    allowed = [repr(value) for value in literals]
    allowed += ["None" if arm is type(None) else arm.__name__ for arm in arms if arm in _SCALARS]
    raise ValueError(" or ".join(allowed))


def _integer(text: str) -> int:
    """Return an integer, written as such or like 1e6."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():
            raise
        return int(value)


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _namespace(component: Callable[..., Any]) -> Mapping[str, Any]:
    is_class = isinstance(component, type)
    function = inspect.getattr_static(component, "__init__") if is_class else component
    module = sys.modules.get(getattr(component, "__module__", ""))
    own = getattr(inspect.unwrap(function), "__globals__", None) or vars(module or typing)
    # Literal and Any may be imported for type checkers only.
    return {**vars(typing), **own}


def _evaluated(text: str, namespace: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the arms of an annotation's text, each evaluated by itself."""
    try:
        nodes = [ast.parse(text, mode="eval").body]
    except SyntaxError:
        nodes = []
        yield object
    while nodes:
        node = nodes.pop(0)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            nodes[:0] = [node.left, node.right]
            continue
        try:
            # The same as typing.get_type_hints does, for code that is imported already.
            yield from _flat(eval(ast.unparse(node), dict(namespace)))
        except Exception:
            yield object


def _flat(annotation: Any) -> Iterator[Any]:
    if annotation is None:
        yield type(None)
    elif get_origin(annotation) in (Union, types.UnionType):
        for arm in get_args(annotation):
            yield from _flat(arm)
    else:
        yield annotation
