"""Makes the component under test, as often and with what parts a check needs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvl_core.errors import ConformanceError
from dvl_core.options import Option, options_of
from dvl_core.testing.samples import sample_part

__all__ = ["Maker"]


class Maker:
    """A factory of one component that fills in its constructor's parameters by their names.

    Parameters
    ----------
    component : type or callable
        Class of the component, or a factory, for instance a ``functools.partial`` with options.
    folder : path
        What is passed for a required parameter ``path`` lies in here, always the same.
    """

    def __init__(self, component: Callable[..., Any], folder: Path) -> None:
        self.component = component
        self.folder = folder
        self.options: dict[str, Option] = {o.name: o for o in options_of(component)}

    def takes(self, name: str) -> bool:
        """Whether the constructor has a parameter of that name."""
        return name in self.options

    def __call__(self, **parts: Any) -> Any:
        """Return a new component.

        Parameters
        ----------
        **parts
            Arguments by parameter name; those that the constructor does not know are left out.

        Raises
        ------
        ConformanceError
            If it needs an argument for which there is no sample.
        """
        arguments = {name: part for name, part in parts.items() if name in self.options}
        for option in self.options.values():
            if option.required and option.name not in arguments:
                arguments[option.name] = self._sample(option.name)
        return self.component(**arguments)

    def _sample(self, name: str) -> Any:
        """Return a stand-in for a required parameter."""
        if name == "path":
            return self.folder / "component"
        cls: Any = self.component
        while isinstance(cls, functools.partial):
            cls = cls.func
        if name == "model" and hasattr(cls, "default_model"):
            return cls.default_model(classification=True)
        try:
            return sample_part(name)
        except KeyError:
            raise ConformanceError(
                f"{getattr(cls, '__name__', cls)} requires {name!r}, for which the kit has no "
                "sample: give it a default, or test it through a factory that fills it in, such "
                f"as functools.partial(..., {name}=...)"
            ) from None
