"""Maximum sample reuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dvl_core.designs import BernoulliDesign
from dvl_core.designs.adjusted import AdjustedMeans
from dvl_core.designs.kept import KeptCoalitionsDesign
from dvl_core.designs.streaming import StreamingAdjustedDesign
from dvl_core.errors import InvalidOptionError
from dvl_core.semivalues import BanzhafSemivalue, checked_size_law

if TYPE_CHECKING:
    from dvl_core.protocols import Design, Semivalue

__all__ = ["MSRSampler"]


@dataclass(frozen=True)
class MSRSampler:
    """Maximum sample reuse: every coalition informs every player, as member or as outsider.

    Made for Banzhaf values. For other semivalues the weights of the samples are so uneven that
    few of them count once there are more than a handful of players: it warns.

    Parameters
    ----------
    p : float, optional
        Probability with which a player is in a coalition; None: that of the Banzhaf value that is
        estimated, 1/2 for other semivalues.
    subtract : str
        A game that is fitted to the utilities and subtracted from them, and whose values are added
        back, see `AdjustedSampler`. "nothing": plain means. "size": a smooth function of the size;
        it hardly helps where sizes hardly differ, as they do with many players. "linear": and an
        additive game, at the cost of O(n^2) a coalition, which leaves a tenth of the squared error
        on data games.

    References
    ----------
    Wang, J. T. and Jia, R. (2023). Data Banzhaf: A Robust Data Valuation Framework for Machine
    Learning. AISTATS, eq. 8. Li, W. and Yu, Y. (2023). Robust Data Valuation with Weighted Banzhaf
    Values. NeurIPS, for p other than 1/2.

    Examples
    --------
    >>> MSRSampler().design(100, BanzhafSemivalue()).guarantee
    'consistent'
    """

    p: float | None = None
    subtract: Literal["nothing", "size", "linear"] = "nothing"

    def __post_init__(self) -> None:
        if self.subtract not in ("nothing", "size", "linear"):
            raise InvalidOptionError(
                f"subtract must be 'nothing', 'size' or 'linear', got {self.subtract!r}"
            )
        if self.p is not None and not 0 < self.p < 1:
            raise InvalidOptionError(f"p must lie strictly between 0 and 1, got {self.p}")

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        p = self.p
        if p is None:
            p = semivalue.p if isinstance(semivalue, BanzhafSemivalue) else 0.5
        law = checked_size_law(semivalue, n_players)
        plain = BernoulliDesign(law, p, "msr", semivalue.name)
        if self.subtract == "nothing" or n_players < 3:
            return plain
        if self.subtract == "size":
            return StreamingAdjustedDesign(law, plain.size_law, "msr")
        means = AdjustedMeans(law, plain.size_law, "linear", paired=False)
        return KeptCoalitionsDesign(means, "msr")
