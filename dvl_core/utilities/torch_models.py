"""Models that learn with torch: told by their code, seeded through torch's generators.

They have no ``random_state``: initial weights, dropout and the order of batches come from a
generator that all threads of a process share.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeGuard

from sklearn.base import is_classifier

from dvl_core.installed import installed_version
from dvl_core.tensors import torch_module
from dvl_core.threads import one_torch_thread
from dvl_core.utilities.seeding import parts_of

__all__ = ["takes_columns", "torch_seeded", "uses_torch"]

# One fit at a time draws from the generators; reentrant, as a fit may value data itself.
_GENERATORS = threading.RLock()

Code = type | types.FunctionType | types.MethodType

_TORCH_BASED = ("torch", "skorch")

# Not read: their estimators and tables do not learn with torch, though some code takes its tensors.
_WITHOUT_TORCH = {"numpy", "scipy", "sklearn", "pandas", "polars", "joblib"}


def uses_torch(model: Any) -> bool:
    """Return whether `model`, or a part of it, is of torch or has code that refers to torch.

    Parameters
    ----------
    model : object
        Its classes and functions are read, and those of the same package, or of no installed one,
        that they refer to.
    """
    if find_spec("torch") is None:
        return False
    found: list[Any] = [part if _is_code(part) else type(part) for part in parts_of(model)]
    seen: set[int] = set()
    while found:
        thing = found.pop()
        if _top(thing) in _TORCH_BASED:
            return True
        if _is_code(thing) and id(thing) not in seen:
            seen.add(id(thing))
            found += _referred(thing)
    return False


def takes_columns(model: Any) -> bool:
    """Return whether `model` compares the shapes of its output and the target: torch's losses do.

    Classifiers of torch take one label a row.
    """
    return uses_torch(model) and not (hasattr(model, "get_params") and is_classifier(model))


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Seed torch and use one thread as long as the context lasts; then all is as it was.

    Fits in several threads of a process wait for each other: processes run them in parallel.

    Parameters
    ----------
    seed : int
        Between 0 and 2**32.
    """
    torch = torch_module()
    with _GENERATORS, one_torch_thread():
        state = torch.get_rng_state()
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            # On a device that is not in use yet it takes effect when that is first used.
            torch.cuda.manual_seed_all(seed)
        try:
            yield
        finally:
            torch.set_rng_state(state)
            if devices:
                torch.cuda.set_rng_state_all(devices)


def _referred(code: Code) -> list[Any]:
    """Return what a class or function is made of or refers to, as far as it may be of torch."""
    if isinstance(code, types.MethodType):
        return [code.__func__]
    if isinstance(code, type):
        if _top(code) in _WITHOUT_TORCH | sys.stdlib_module_names:
            return list(code.__bases__)
        return [*code.__bases__, *map(_function_of, vars(code).values())]
    names = _names(code.__code__)
    read = [code.__globals__[name] for name in names if name in code.__globals__]
    read += [cell.cell_contents for cell in code.__closure__ or () if _is_filled(cell)]
    for module in [thing for thing in read if isinstance(thing, types.ModuleType)]:
        read += [vars(module)[name] for name in names if name in vars(module)]
    imported = [types.ModuleType(name) for name in names if name in _TORCH_BASED]
    return imported + [thing for thing in read if _is_near(thing, code)]


def _function_of(member: Any) -> Any:
    """Return the function behind a member of a class."""
    return member.fget if isinstance(member, property) else getattr(member, "__func__", member)


def _names(code: types.CodeType) -> set[str]:
    """Return the names that code, and the code inside it, reads or imports."""
    names = {part for name in code.co_names for part in name.split(".")[:1]}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _is_code(thing: object) -> TypeGuard[Code]:
    return isinstance(thing, Code)


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _top(thing: Any) -> str:
    """Return the top-level package of a module, class, function or object."""
    name = thing.__name__ if isinstance(thing, types.ModuleType) else None
    name = name or getattr(thing, "__module__", None) or type(thing).__module__
    return str(name).partition(".")[0]


def _is_near(thing: Any, function: types.FunctionType) -> bool:
    """Return whether something is of torch, of the package of `function`, or not installed."""
    if _top(thing) in (*_TORCH_BASED, _top(function)):
        return True
    return installed_version(str(getattr(thing, "__module__", None) or "")) is None
