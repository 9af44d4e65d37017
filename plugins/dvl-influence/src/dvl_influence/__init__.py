"""Influence functions for torch models: which training points helped, which harmed a prediction.

Everything in ``__all__`` is public. Names are imported when first used: the parts that only need a
linear operator work without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "AttributionModel": "dvl_influence.attribution",
    "Curvature": "dvl_influence.curvature",
    "DampedOperator": "dvl_influence.operators",
    "GradientCosineInfluence": "dvl_influence.similarity",
    "GradientDotInfluence": "dvl_influence.similarity",
    "IdentityApproximator": "dvl_influence.identity",
    "InfluenceModel": "dvl_influence.model",
    "LinearSolution": "dvl_influence.solutions",
    "Objective": "dvl_influence.objective",
    "RelativeInfluence": "dvl_influence.relative",
    "SequentialInfluenceCalculator": "dvl_influence.calculators",
    "TracInInfluence": "dvl_influence.tracin",
    "TrakInfluence": "dvl_influence.trak",
}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from dvl_influence.attribution import AttributionModel as AttributionModel
    from dvl_influence.calculators import (
        SequentialInfluenceCalculator as SequentialInfluenceCalculator,
    )
    from dvl_influence.curvature import Curvature as Curvature
    from dvl_influence.identity import IdentityApproximator as IdentityApproximator
    from dvl_influence.model import InfluenceModel as InfluenceModel
    from dvl_influence.objective import Objective as Objective
    from dvl_influence.operators import DampedOperator as DampedOperator
    from dvl_influence.relative import RelativeInfluence as RelativeInfluence
    from dvl_influence.similarity import GradientCosineInfluence as GradientCosineInfluence
    from dvl_influence.similarity import GradientDotInfluence as GradientDotInfluence
    from dvl_influence.solutions import LinearSolution as LinearSolution
    from dvl_influence.tracin import TracInInfluence as TracInInfluence
    from dvl_influence.trak import TrakInfluence as TrakInfluence


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
