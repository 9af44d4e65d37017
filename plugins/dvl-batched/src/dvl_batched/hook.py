"""The hook by which every run of an installed dvl-batched uses batched utilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dvl_core import hookimpl
from dvl_core.utilities import ModelUtility

if TYPE_CHECKING:
    from dvl_core.protocols import Utility

__all__ = ["dvl_wrap_utility"]


@hookimpl
def dvl_wrap_utility(utility: Utility) -> Utility | None:
    """Return the batched form of a `ModelUtility` whose answers can be reproduced, else None."""
    # A subclass may fit or score in another way.
    if type(utility) is not ModelUtility:
        return None
    from dvl_batched.utility import batched

    found = batched(utility)
    return None if found is utility else found
