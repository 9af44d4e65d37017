"""What a valuation method says of itself to those who look for one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["MethodProfile", "profile_of"]


@dataclass(frozen=True)
class MethodProfile:
    """A line in the table of methods; a valuation has it as the class attribute `profile`.

    Parameters
    ----------
    answers : str
        The question that its values answer.
    guarantee : str
        How close its values come to the answer, and whether it has standard errors.
    cost : str
        What it takes, in fits or seconds.
    needs : str
        What must be there: a utility, a test set, classes.

    Examples
    --------
    >>> MethodProfile("nothing: the baseline", "none", "none", "nothing").needs
    'nothing'
    """

    answers: str
    guarantee: str
    cost: str
    needs: str


def profile_of(component: Any) -> dict[str, str]:
    """Return the profile of a component by field, empty if it has none.

    Examples
    --------
    >>> profile_of(int)
    {}
    """
    profile = getattr(component, "profile", None)
    return asdict(profile) if isinstance(profile, MethodProfile) else {}
