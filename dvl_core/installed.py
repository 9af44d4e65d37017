"""Which code comes from an installed distribution, and of which version."""

from __future__ import annotations

import sys
import sysconfig
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

__all__ = ["installed_version", "source_of"]


@cache
def installed_version(module: str) -> str | None:
    """Return the version of the distribution, or of Python, that a module belongs to.

    Parameters
    ----------
    module : str
        Dotted name of a module.

    Returns
    -------
    str or None
        None for code outside of it: a script, a notebook, a checkout installed as editable, which
        changes while its version does not.

    Examples
    --------
    >>> installed_version("numpy.linalg") is None, installed_version("__main__") is None
    (False, True)
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "builtins":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    loaded = sys.modules.get(module) or sys.modules.get(top)
    path = getattr(loaded, "__file__", None)
    if path is None or not _is_installed(Path(path)):
        return None
    version = getattr(sys.modules.get(top), "__version__", None)
    return version if isinstance(version, str) else _recorded_version(top)


def _is_installed(path: Path) -> bool:
    """Return whether a file lies in a folder of installed packages."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(sysconfig.get_path(key)) for key in ("purelib", "platlib"))


@cache
def _recorded_version(top: str) -> str | None:
    """Return the version in the metadata of the distribution that holds a top-level package."""
    names = metadata.packages_distributions().get(top)
    return metadata.version(names[0]) if names else None


def source_of(module: ModuleType, error: type[Exception]) -> bytes:
    """Return the source of a module; raise `error` if it has none."""
    path = getattr(module, "__file__", None)
    if path is None or not path.endswith(".py"):
        raise error(f"the module {module.__name__} has no source")
    return Path(path).read_bytes()
