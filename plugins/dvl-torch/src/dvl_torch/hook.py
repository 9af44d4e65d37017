"""The hook by which every run of an installed dvl-torch trains nets for whole blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dvl_core import hookimpl
from dvl_core.utilities import ModelUtility

if TYPE_CHECKING:
    from dvl_core.protocols import Utility

__all__ = ["dvl_wrap_utility"]


@hookimpl
def dvl_wrap_utility(utility: Utility) -> Utility | None:
    """Return the stacked form of the utility of a net in double precision, else None."""
    # A subclass may fit or score in another way.
    if type(utility) is not ModelUtility:
        return None
    from dvl_torch.estimators import TorchClassifier, TorchRegressor

    model = utility.model
    # In single precision rounding grows beyond what nobody would notice.
    if type(model) not in (TorchClassifier, TorchRegressor) or model.dtype != "float64":
        return None
    from dvl_torch.utility import stacked

    found = stacked(utility)
    return None if found is utility else found
