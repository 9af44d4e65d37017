"""dvl finds out what each training point is worth.

Everything in ``__all__`` is public. Names are imported when first used, so that ``import dvl_core``
and the command line stay fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "AbsoluteStandardError": "dvl_core.stopping",
    "AdjustedSampler": "dvl_core.samplers",
    "AntitheticSampler": "dvl_core.samplers",
    "BanzhafSemivalue": "dvl_core.semivalues",
    "BetaSemivalue": "dvl_core.semivalues",
    "ChainStore": "dvl_core.stores",
    "ComponentRef": "dvl_core.registry",
    "Dataset": "dvl_core.data",
    "DeterministicPermutationSampler": "dvl_core.samplers",
    "DeterministicUniformSampler": "dvl_core.samplers",
    "DiskStore": "dvl_core.stores",
    "DvlError": "dvl_core.errors",
    "DvlWarning": "dvl_core.errors",
    "FunctionGame": "dvl_core.games",
    "HistoryDeviation": "dvl_core.stopping",
    "JoblibBackend": "dvl_core.backends",
    "LOOSampler": "dvl_core.samplers",
    "LOOSemivalue": "dvl_core.semivalues",
    "MatchedSampler": "dvl_core.samplers",
    "MaxEvaluations": "dvl_core.stopping",
    "MaxTime": "dvl_core.stopping",
    "MaxUpdates": "dvl_core.stopping",
    "MemoryStore": "dvl_core.stores",
    "MinUpdates": "dvl_core.stopping",
    "ModelUtility": "dvl_core.utilities",
    "NoStopping": "dvl_core.stopping",
    "OneSampleFitsAllSampler": "dvl_core.samplers",
    "RankCorrelation": "dvl_core.stopping",
    "RecordingSampler": "dvl_core.samplers",
    "RelativeStandardError": "dvl_core.stopping",
    "SemivalueValuation": "dvl_core.valuation",
    "SerialBackend": "dvl_core.backends",
    "ShapleySemivalue": "dvl_core.semivalues",
    "SizeLawSemivalue": "dvl_core.semivalues",
    "SignCertainty": "dvl_core.stopping",
    "StableSet": "dvl_core.stopping",
    "SupervisedScorer": "dvl_core.scorers",
    "UniformSampler": "dvl_core.samplers",
    "UtilityValuation": "dvl_core.valuation",
    "ValuationResult": "dvl_core.result",
    "create": "dvl_core.registry",
    "get": "dvl_core.registry",
    "hookimpl": "dvl_core.hooks",
    "list_plugins": "dvl_core.registry",
    "override": "dvl_core.registry",
    "register": "dvl_core.registry",
}

__all__ = ["__version__", *sorted(_EXPORTS)]

if TYPE_CHECKING:
    from dvl_core.backends import JoblibBackend as JoblibBackend
    from dvl_core.backends import SerialBackend as SerialBackend
    from dvl_core.data import Dataset as Dataset
    from dvl_core.errors import DvlError as DvlError
    from dvl_core.errors import DvlWarning as DvlWarning
    from dvl_core.games import FunctionGame as FunctionGame
    from dvl_core.hooks import hookimpl as hookimpl
    from dvl_core.registry import ComponentRef as ComponentRef
    from dvl_core.registry import create as create
    from dvl_core.registry import get as get
    from dvl_core.registry import list_plugins as list_plugins
    from dvl_core.registry import override as override
    from dvl_core.registry import register as register
    from dvl_core.result import ValuationResult as ValuationResult
    from dvl_core.samplers import AdjustedSampler as AdjustedSampler
    from dvl_core.samplers import AntitheticSampler as AntitheticSampler
    from dvl_core.samplers import DeterministicPermutationSampler as DeterministicPermutationSampler
    from dvl_core.samplers import DeterministicUniformSampler as DeterministicUniformSampler
    from dvl_core.samplers import LOOSampler as LOOSampler
    from dvl_core.samplers import MatchedSampler as MatchedSampler
    from dvl_core.samplers import OneSampleFitsAllSampler as OneSampleFitsAllSampler
    from dvl_core.samplers import RecordingSampler as RecordingSampler
    from dvl_core.samplers import UniformSampler as UniformSampler
    from dvl_core.scorers import SupervisedScorer as SupervisedScorer
    from dvl_core.semivalues import BanzhafSemivalue as BanzhafSemivalue
    from dvl_core.semivalues import BetaSemivalue as BetaSemivalue
    from dvl_core.semivalues import LOOSemivalue as LOOSemivalue
    from dvl_core.semivalues import ShapleySemivalue as ShapleySemivalue
    from dvl_core.semivalues import SizeLawSemivalue as SizeLawSemivalue
    from dvl_core.stopping import AbsoluteStandardError as AbsoluteStandardError
    from dvl_core.stopping import HistoryDeviation as HistoryDeviation
    from dvl_core.stopping import MaxEvaluations as MaxEvaluations
    from dvl_core.stopping import MaxTime as MaxTime
    from dvl_core.stopping import MaxUpdates as MaxUpdates
    from dvl_core.stopping import MinUpdates as MinUpdates
    from dvl_core.stopping import NoStopping as NoStopping
    from dvl_core.stopping import RankCorrelation as RankCorrelation
    from dvl_core.stopping import RelativeStandardError as RelativeStandardError
    from dvl_core.stopping import SignCertainty as SignCertainty
    from dvl_core.stopping import StableSet as StableSet
    from dvl_core.stores import ChainStore as ChainStore
    from dvl_core.stores import DiskStore as DiskStore
    from dvl_core.stores import MemoryStore as MemoryStore
    from dvl_core.utilities import ModelUtility as ModelUtility
    from dvl_core.valuation import SemivalueValuation as SemivalueValuation
    from dvl_core.valuation import UtilityValuation as UtilityValuation


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
