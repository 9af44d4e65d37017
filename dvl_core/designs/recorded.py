"""Any design, and all that it evaluates kept: other values can be made of it afterwards."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import DvlWarning
from dvl_core.protocols import Finishing, Uneven

if TYPE_CHECKING:
    from dvl_core.protocols import (
        Accumulator,
        AnyArray,
        BoolArray,
        Design,
        FloatArray,
        Guarantee,
        IntArray,
    )
    from dvl_core.statistics import Estimate

__all__ = ["RecordedDesign", "anchors_with_ends"]


def anchors_with_ends(source: Design) -> tuple[BoolArray, IntArray]:
    """Return the empty and the full coalition, and the anchors of a design besides [a, n].

    Returns
    -------
    anchors : bool array [a, n]
        Of which the first two are the ends.
    places : int array
        Where among them those of the design are.
    """
    n, theirs = source.n_players, source.anchors()
    ours = np.array([[False] * n, [True] * n])
    sizes = theirs.sum(axis=1)
    new = (sizes > 0) & (sizes < n)
    places = np.where(sizes == 0, 0, 1)
    places[new] = 2 + np.arange(int(new.sum()))
    return np.concatenate([ours, theirs[new]]), places


@dataclass(frozen=True, eq=False)
class RecordedDesign:
    """Does what another design does, and keeps the coalitions with their utilities.

    Parameters
    ----------
    source : Design
        The other design.
    """

    source: Design

    @property
    def n_players(self) -> int:
        """Number of players."""
        return self.source.n_players

    @property
    def n_blocks(self) -> int | None:
        """As many as the source has."""
        return self.source.n_blocks

    @property
    def block_evaluations(self) -> int:
        """The most utility values that one block uses."""
        return self.source.block_evaluations

    def evaluations_in(self, block: int) -> int:
        """Return what the source says of a block."""
        if isinstance(self.source, Uneven):
            return self.source.evaluations_in(block)
        return self.block_evaluations

    @property
    def guarantee(self) -> Guarantee:
        """What the estimates of the source are."""
        return self.source.guarantee

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and that they are kept."""
        return {"recorded": self.source.identity}

    def anchors(self) -> BoolArray:
        """Return the ends, and what the source needs besides [a, n]."""
        return anchors_with_ends(self.source)[0]

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, AnyArray]:
        """Return the sample of the source, and the ``members``, ``values`` and ``ends``.

        ``drawn`` is false of a block in which coalitions are enumerated.
        """
        asked: list[BoolArray] = [np.zeros((0, self.n_players), dtype=bool)]
        answered: list[FloatArray] = [np.zeros(0)]

        def recorded(coalitions: BoolArray) -> FloatArray:
            values = utility(coalitions)
            asked.append(coalitions)
            answered.append(values)
            return values

        places = anchors_with_ends(self.source)[1]
        sample = self.source.evaluate(block, recorded, rng, anchor_values[places])
        enumerated = "enumeration" in sample and int(sample["enumeration"]) >= 0
        return {f"source.{name}": array for name, array in sample.items()} | {
            "members": np.packbits(np.concatenate(asked), axis=1),
            "values": np.concatenate(answered),
            "ends": anchor_values[:2],
            "drawn": np.array(not enumerated),
        }

    def accumulator(self) -> Accumulator:
        """Return the statistics of the source, and an empty record."""
        return _Recorded(self.source.accumulator(), self.n_players)


class _Recorded:
    """Statistics of the source, and all coalitions so far."""

    def __init__(self, source: Accumulator, n_players: int) -> None:
        self.source = source
        self.n_players = n_players
        self.members: list[AnyArray] = [np.zeros((0, -(-n_players // 8)), dtype=np.uint8)]
        self.values: list[FloatArray] = [np.zeros(0)]
        self.lengths: list[int] = []
        self.drawn: list[bool] = []
        self.ends = np.full(2, np.nan)

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Hand a block on, and keep what it evaluated."""
        self.source.fold(_of_source(sample))
        self.members.append(sample["members"])
        self.values.append(sample["values"])
        self.lengths.append(len(sample["values"]))
        self.drawn.append(bool(sample["drawn"]))
        self.ends = sample["ends"]

    def estimate(self) -> Estimate:
        """Return the estimate of the source."""
        return self.source.estimate()

    def finish(self) -> tuple[Estimate, dict[str, Any]]:
        """Return the last estimate of the source, and the record as extras."""
        extras: dict[str, Any] = {}
        if isinstance(self.source, Finishing):
            estimate, extras = self.source.finish()
        else:
            estimate = self.source.estimate()
            unknown = int(np.isnan(estimate.values).sum())
            if unknown:
                warnings.warn(
                    f"{unknown} of {len(estimate.values)} players have no value (NaN): nothing was "
                    "evaluated that informs them",
                    DvlWarning,
                    stacklevel=2,
                )
        record = {f"record_{name}": array for name, array in self._arrays().items()}
        return estimate, extras | record | {"record_n_players": self.n_players}

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        theirs = {f"source.{name}": array for name, array in self.source.state().items()}
        return theirs | self._arrays()

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state."""
        self.source.restore(_of_source(state))
        self.members, self.values = [state["members"]], [state["values"]]
        self.lengths = state["lengths"].tolist()
        self.drawn = state["drawn"].tolist()
        self.ends = state["ends"]

    def _arrays(self) -> dict[str, AnyArray]:
        self.members = [np.concatenate(self.members)]
        self.values = [np.concatenate(self.values)]
        lengths = np.array(self.lengths, dtype=np.int64)
        return {
            "members": self.members[0],
            "values": self.values[0],
            "lengths": lengths,
            "drawn": np.array(self.drawn, dtype=bool),
            "ends": self.ends,
        }


def _of_source(arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Return the entries that belong to the source, under its own names."""
    prefix = "source."
    return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}
