"""What every utility must do.

Each check takes a factory. A utility that has no players yet is bound to the kit's training data;
one whose players are given, like a game, is used as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import DvlError
from dvl_core.protocols import Fingerprinted, ReportsFailures, Seedable
from dvl_core.testing.requirements import NotApplicable, pickled_copy, require
from dvl_core.testing.samples import train_data

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray, Utility

__all__ = [
    "check_utility_batch_equals_single",
    "check_utility_binds_a_copy",
    "check_utility_deterministic",
    "check_utility_empty_batch",
    "check_utility_failures",
    "check_utility_fingerprint",
    "check_utility_leaves_input_alone",
    "check_utility_pickles",
    "check_utility_refuses_other_players",
    "check_utility_seed",
    "check_utility_shape_and_type",
]

MakeUtility = Callable[[], "Utility"]


def _bound(make: MakeUtility, seed: int = 0) -> Utility:
    """Return a utility with players and, where it can take one, a seed."""
    utility = make()
    if utility.n_players is None:
        utility = utility.with_data(train_data())
    return utility.with_seed(seed) if isinstance(utility, Seedable) else utility


def _coalitions(utility: Utility, count: int = 16) -> BoolArray:
    """Return coalitions [count, n]: the empty, the full, and random ones."""
    n = utility.n_players
    assert n is not None
    coalitions = np.random.default_rng(1).random((count, n)) < 0.5
    coalitions[0], coalitions[1] = False, True
    return coalitions


def _same(one: FloatArray, other: FloatArray) -> bool:
    """Whether two arrays are equal to the bit."""
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def check_utility_binds_a_copy(make: MakeUtility) -> None:
    """Be bound to data in a copy that has as many players as the data; stay as it was."""
    utility = make()
    if utility.n_players is not None:
        raise NotApplicable("its players are given")
    train = train_data()
    bound = utility.with_data(train)
    require(bound is not utility, "with_data returned the utility itself")
    require(utility.n_players is None, "with_data bound the utility itself, not a copy")
    require(
        bound.n_players == len(train),
        f"bound to {len(train)} points it has {bound.n_players} players",
    )
    again = bound.with_data(train.select(range(5)))
    require(again.n_players == 5, "bound a second time it does not follow the new data")
    require(bound.n_players == len(train), "binding a copy changed the one it was copied from")


def check_utility_shape_and_type(make: MakeUtility) -> None:
    """Give a finite float64 for each coalition, the empty and the full one included."""
    utility = _bound(make)
    values = utility(_coalitions(utility))
    require(
        isinstance(values, np.ndarray) and values.dtype == np.float64 and values.shape == (16,),
        f"16 coalitions must give float64 of shape (16,), got {getattr(values, 'dtype', '')} "
        f"{type(values).__name__} of shape {np.shape(values)}",
    )
    require(bool(np.isfinite(values).all()), f"a value is not finite: {values}")


def check_utility_empty_batch(make: MakeUtility) -> None:
    """Take batches of size zero."""
    utility = _bound(make)
    values = utility(_coalitions(utility)[:0])
    require(np.shape(values) == (0,), f"no coalitions gave values of shape {np.shape(values)}")


def check_utility_batch_equals_single(make: MakeUtility) -> None:
    """Give a coalition the same value alone, in a batch, and in another order."""
    utility = _bound(make)
    coalitions = _coalitions(utility)
    batch = utility(coalitions)
    single = np.concatenate([utility(coalitions[i : i + 1]) for i in range(len(coalitions))])
    backwards = utility(coalitions[::-1])[::-1]
    for how, values in (("alone", single), ("in another order", backwards)):
        worst = float(np.abs(values - batch).max())
        scale = max(1.0, float(np.abs(batch).max()))
        require(worst <= 1e-9 * scale, f"a value differs by {worst:g} when evaluated {how}")
        if isinstance(utility, Fingerprinted) and utility.batch_invariant:
            require(
                _same(values, batch),
                f"it claims to be batch_invariant, but bits differ when evaluated {how}",
            )


def check_utility_leaves_input_alone(make: MakeUtility) -> None:
    """Leave the coalitions and the training data as they are; take read-only coalitions."""
    utility = make()
    train = train_data()
    if utility.n_players is None:
        utility = utility.with_data(train)
    coalitions = _coalitions(utility)
    before = coalitions.copy()
    utility(coalitions)
    require(np.array_equal(coalitions, before), "the coalitions were changed")
    same = np.array_equal(train.x, train_data().x) and np.array_equal(train.y, train_data().y)
    require(same, "the training data was changed")
    coalitions.flags.writeable = False
    require(len(utility(coalitions)) == 16, "read-only coalitions were not evaluated")


def check_utility_deterministic(make: MakeUtility) -> None:
    """Give the same values each time, if it has a fingerprint to be recognised by."""
    utility = _bound(make)
    if not isinstance(utility, Fingerprinted) or utility.fingerprint is None:
        raise NotApplicable("it has no fingerprint, so it promises nothing")
    coalitions = _coalitions(utility)
    first = utility(coalitions)
    require(_same(utility(coalitions), first), "asked twice it gives different values")
    require(_same(_bound(make)(coalitions), first), "made and bound again it gives other values")


def check_utility_fingerprint(make: MakeUtility) -> None:
    """Have the same fingerprint for the same data, and another one for other data."""
    utility = _bound(make)
    if not isinstance(utility, Fingerprinted) or utility.fingerprint is None:
        raise NotApplicable("it has no fingerprint, so its values are never stored")
    again = _bound(make)
    assert isinstance(again, Fingerprinted)
    require(again.fingerprint == utility.fingerprint, "made again it has another fingerprint")
    if make().n_players is not None:
        return
    other = make().with_data(train_data(seed=5))
    if isinstance(other, Seedable):
        other = other.with_seed(0)
    assert isinstance(other, Fingerprinted)
    require(other.fingerprint != utility.fingerprint, "other data has the same fingerprint")


def check_utility_seed(make: MakeUtility) -> None:
    """Follow the seed in a copy; stay as it was."""
    utility = make()
    if utility.n_players is None:
        utility = utility.with_data(train_data())
    if not isinstance(utility, Seedable):
        raise NotApplicable("it takes no seed")
    coalitions = _coalitions(utility)
    one, same = utility.with_seed(1), utility.with_seed(1)
    require(one is not utility, "with_seed returned the utility itself")
    require(_same(one(coalitions), same(coalitions)), "the same seed gives different values")


def check_utility_pickles(make: MakeUtility) -> None:
    """Give the same values in a pickled copy, as workers use it."""
    utility = _bound(make)
    coalitions = _coalitions(utility)
    copy = pickled_copy(utility)
    require(_same(copy(coalitions), utility(coalitions)), "a pickled copy gives other values")


def check_utility_failures(make: MakeUtility) -> None:
    """Tell failures in `evaluate`, with the values that a call gives."""
    utility = _bound(make)
    if not isinstance(utility, ReportsFailures):
        raise NotApplicable("it reports no failures")
    coalitions = _coalitions(utility)
    evaluation = utility.evaluate(coalitions)
    failed = evaluation.failed
    require(
        isinstance(failed, np.ndarray) and failed.dtype == np.bool_ and failed.shape == (16,),
        "failed must be a bool for each coalition",
    )
    require(_same(evaluation.values, utility(coalitions)), "evaluate and a call differ in values")


def check_utility_refuses_other_players(make: MakeUtility) -> None:
    """Refuse coalitions of another number of players with a DvlError."""
    utility = _bound(make)
    n = utility.n_players
    assert n is not None
    for shape in ((2, n + 1), (n,)):
        try:
            utility(np.ones(shape, dtype=bool))
        except DvlError:
            continue
        require(False, f"coalitions of shape {shape} were evaluated for {n} players")
