"""The exception tree: everything that dvl raises on purpose descends from `DvlError`.

Where a builtin fits, the class inherits from it too, so that ``except KeyError`` and friends work.
"""

from __future__ import annotations

__all__ = [
    "AmbiguousComponentError",
    "CheckpointError",
    "ConformanceError",
    "DataError",
    "DvlError",
    "DvlWarning",
    "IncompatibleComponentError",
    "InvalidOptionError",
    "MissingDependencyError",
    "NotFittedError",
    "PluginLoadError",
    "ResultError",
    "RunInterrupted",
    "StoreError",
    "UnknownComponentError",
    "UnsupportedSemivalueError",
    "UtilityError",
    "WorkerError",
]


class DvlError(Exception):
    """Base class of all errors raised by dvl and its plugins."""


class DvlWarning(UserWarning):
    """Base class of all warnings: something that changes what the numbers mean."""


class InvalidOptionError(DvlError, ValueError):
    """An option has a value that the component cannot take, or no such option exists."""


class DataError(DvlError, ValueError):
    """The data cannot be used as given: empty, ragged, wrong length, missing target ..."""


class NotFittedError(DvlError, AttributeError):
    """A result was asked for before `fit`."""


class UnsupportedSemivalueError(DvlError, ValueError):
    """A sampler does not cover the semivalue that it was combined with."""


class UtilityError(DvlError, RuntimeError):
    """Training or scoring failed on a coalition; the message names the coalition."""


class WorkerError(DvlError, RuntimeError):
    """A task was lost with the process that ran it: killed, out of memory, or its machine gone."""


class StoreError(DvlError, OSError):
    """A store cannot be read or written."""


class CheckpointError(DvlError, ValueError):
    """A checkpoint is unreadable, or belongs to another run."""


class ResultError(DvlError, ValueError):
    """Two results cannot be combined, or a saved result cannot be read."""


class ConformanceError(DvlError, AssertionError):
    """A component breaks the contract of its kind."""


class UnknownComponentError(DvlError, KeyError):
    """No component of that kind and name is known."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which puts quotes around a sentence.
        return str(self.args[0]) if self.args else ""


class AmbiguousComponentError(DvlError, LookupError):
    """Two distributions provide a component of the same kind and name."""


class MissingDependencyError(DvlError, ImportError):
    """A package that a component needs is not installed."""


class IncompatibleComponentError(DvlError, ImportError):
    """A component needs another version of a package than the one that is installed."""


class PluginLoadError(DvlError, ImportError):
    """A plugin failed to import, lacks its target or does not satisfy its protocol."""


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C during a run; the partial result is in `result`.

    Descends from `KeyboardInterrupt`, not from `DvlError`: a handler of errors must not swallow it.
    """

    def __init__(self, result: object) -> None:
        super().__init__("interrupted")
        self.result = result
