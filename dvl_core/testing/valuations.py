"""What every valuation method must do.

Each check takes a `Maker` of the method. Methods of a utility are run on games whose answer is
known; all are run on a small data set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.backends import JoblibBackend, SerialBackend
from dvl_core.data import Dataset
from dvl_core.errors import DataError, NotFittedError
from dvl_core.games import AdditiveGame, RandomGame, SizeGame, exact_values
from dvl_core.options import PARTS
from dvl_core.stopping import MaxEvaluations
from dvl_core.testing.requirements import ERRORS_ALLOWED, NotApplicable, require
from dvl_core.testing.samples import held_out_data, model_utility, train_data

if TYPE_CHECKING:
    from dvl_core.result import ValuationResult
    from dvl_core.testing.maker import Maker

__all__ = [
    "check_valuation_backends",
    "check_valuation_budget",
    "check_valuation_checkpoint",
    "check_valuation_estimates_its_semivalue",
    "check_valuation_leaves_data_alone",
    "check_valuation_names",
    "check_valuation_null_player",
    "check_valuation_options",
    "check_valuation_result",
    "check_valuation_seed",
    "check_valuation_single_player",
    "check_valuation_sorts",
    "check_valuation_symmetry",
]

SMALL = 300
LARGE = 6_000


def _method(make: Maker, **parts: Any) -> Any:
    """Return the method with a utility of the sample data, a small budget and a seed."""
    given: dict[str, Any] = {
        "utility": model_utility(),
        "test": held_out_data(),
        "stopping": MaxEvaluations(SMALL),
        "seed": 1,
        "backend": SerialBackend(),
    }
    return make(**{**given, **parts})


def _on_data(make: Maker, train: Dataset | None = None, **parts: Any) -> ValuationResult:
    """Return the result of the method on the sample data."""
    result: ValuationResult = _method(make, **parts).fit(train or train_data()).result
    return result


def _on_game(make: Maker, game: Any, **parts: Any) -> tuple[Any, ValuationResult]:
    """Return the method and its result on a game."""
    if not make.takes("utility"):
        raise NotApplicable("it takes no utility")
    method = _method(make, **{"utility": game, "stopping": MaxEvaluations(LARGE), **parts})
    try:
        return method, method.fit().result
    except DataError as error:
        raise NotApplicable(f"it needs data, a game alone will not do: {error}") from None


def check_valuation_result(make: Maker) -> None:
    """Return itself from `fit`, and a complete result; before that, NotFittedError."""
    method = _method(make)
    for what in ("result", "values"):
        try:
            getattr(method, what) if what == "result" else method.values()
        except NotFittedError:
            continue
        require(False, f"{what} before fit must raise NotFittedError")
    train = train_data()
    require(method.fit(train) is method, "fit must return the method itself")
    result, n = method.result, len(train)
    for name in ("values", "stderr", "variances", "counts", "indices", "names"):
        array = getattr(result, name)
        require(
            np.shape(array) == (n,), f"{name} has shape {np.shape(array)}, there are {n} players"
        )
    require(bool(np.isfinite(result.values).all()), f"a value is not finite: {result.values}")
    require(bool((result.stderr >= 0).all()), "a standard error is negative or NaN")
    require(bool((result.counts >= 0).all()), "a count is negative")
    require(bool(result.algorithm), "the result does not name its algorithm")
    require(bool(result.stop_reason), "the result does not say why it stopped")


def check_valuation_sorts(make: Maker) -> None:
    """Sort ascending, worst first, on request, and remember who is who."""
    method = _method(make).fit(train_data())
    plain, ascending = method.values(), method.values(sort=True)
    require(bool(np.all(np.diff(ascending.values) >= 0)), "values(sort=True) is not ascending")
    require(
        np.array_equal(plain.values[ascending.indices], ascending.values),
        "indices of the sorted result do not lead back to the players",
    )


def check_valuation_names(make: Maker) -> None:
    """Carry the names of the players into the result."""
    plain = train_data()
    names = [f"row-{i}" for i in range(len(plain))]
    result = _on_data(make, Dataset(plain.x, plain.y, names=names))
    require(list(result.names) == names, f"the players are named {list(result.names)[:3]} ...")


def check_valuation_seed(make: Maker) -> None:
    """Give equal bits for equal seeds."""
    if not make.takes("seed"):
        raise NotApplicable("it takes no seed")
    one, same = _on_data(make, seed=3), _on_data(make, seed=3)
    require(one.seed == 3, f"the result says seed {one.seed}, it was given 3")
    require(one.values.tobytes() == same.values.tobytes(), "two runs with the same seed differ")


def check_valuation_backends(make: Maker) -> None:
    """Give equal bits on another backend with more workers."""
    if not make.takes("backend"):
        raise NotApplicable("it takes no backend")
    serial = _on_data(make)
    threads = _on_data(make, backend=JoblibBackend(n_jobs=2, backend="threading"))
    require(serial.values.tobytes() == threads.values.tobytes(), "two threads give other values")
    require(serial.stderr.tobytes() == threads.stderr.tobytes(), "two threads give other errors")
    require(
        serial.n_evaluations == threads.n_evaluations,
        f"two threads used {threads.n_evaluations} evaluations, one {serial.n_evaluations}",
    )


def check_valuation_checkpoint(make: Maker) -> None:
    """Find a finished run in its checkpoint, and return it without training anything."""
    if not make.takes("checkpoint"):
        raise NotApplicable("it takes no checkpoint")
    path = make.folder / "checkpoint.npz"
    first = _on_data(make, checkpoint=path)
    require(path.is_file(), "no checkpoint was written")
    second = _on_data(make, checkpoint=path)
    require(first.values.tobytes() == second.values.tobytes(), "a resumed run has other values")
    require(second.n_computed == 0, f"a finished run trained {second.n_computed} models again")


def check_valuation_budget(make: Maker) -> None:
    """Use no more evaluations than MaxEvaluations allows."""
    if not make.takes("stopping"):
        raise NotApplicable("it takes no stopping rule")
    used = _on_data(make, stopping=MaxEvaluations(150)).n_evaluations
    require(used <= 150, f"with a budget of 150 evaluations it used {used}")


def check_valuation_leaves_data_alone(make: Maker) -> None:
    """Leave the training and the test data as they are."""
    train, test = train_data(), held_out_data()
    _on_data(make, train, test=test)
    for what, data, fresh in (
        ("training", train, train_data()),
        ("test", test, held_out_data()),
    ):
        same = np.array_equal(data.x, fresh.x) and np.array_equal(data.y, fresh.y)
        require(same, f"the {what} data was changed")


def check_valuation_null_player(make: Maker) -> None:
    """Give a player that changes no coalition the value zero."""
    _, result = _on_game(make, AdditiveGame([0.0, 1.0, -2.0, 3.0, 0.5]))
    _require_close(result.values[:1], np.zeros(1), result.stderr[:1], "a null player")


def check_valuation_symmetry(make: Maker) -> None:
    """Give players that are interchangeable equal values."""
    if not make.takes("utility"):
        plain = train_data()
        rows = [0, 0, *range(2, len(plain))]
        result = _on_data(make, Dataset(plain.x[rows], plain.y[rows]))
        error = np.hypot(*result.stderr[:2])
        _require_close(result.values[1:2], result.values[:1], error, "two identical rows")
        return
    n = 5
    _, result = _on_game(make, SizeGame(n))
    errors = np.hypot(result.stderr, result.stderr[0])
    expected = np.full(n, result.values[0])
    _require_close(result.values, expected, errors, "interchangeable players")


def check_valuation_single_player(make: Maker) -> None:
    """Take a game of one player."""
    _, result = _on_game(make, RandomGame(1, 0))
    require(len(result) == 1 and bool(np.isfinite(result.values).all()), "it has no finite value")


def check_valuation_estimates_its_semivalue(make: Maker) -> None:
    """Agree with enumeration, if it names the semivalue that it estimates."""
    game = RandomGame(5, 7)
    method, result = _on_game(make, game)
    semivalue = getattr(method, "semivalue", None)
    if semivalue is None:
        raise NotApplicable("it names no semivalue")
    design = (method.sampler or method.default_sampler()).design(5, semivalue)
    if design.guarantee == "biased-by-option":
        raise NotApplicable("its default sampler is biased by option, as it declares")
    expected = exact_values(game, semivalue)
    _require_close(result.values, expected, result.stderr, semivalue.name)


def check_valuation_options(make: Maker) -> None:
    """Have a default for every option that is not a part assembled for it."""
    lacking = [o.name for o in make.options.values() if o.required and o.name not in PARTS]
    require(not lacking, f"the options {', '.join(lacking)} have no default")


def _require_close(got: Any, expected: Any, stderr: Any, what: str) -> None:
    """Require agreement within the standard errors."""
    error = np.abs(got - expected)
    require(
        bool(np.all(error <= ERRORS_ALLOWED * stderr + 1e-9)),
        f"{what}: got {np.round(got, 5)}, expected {np.round(expected, 5)}, with standard errors "
        f"{np.round(stderr, 5)}",
    )
