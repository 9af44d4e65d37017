from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from dvl_core.errors import InvalidOptionError
from dvl_core.options import (
    PARTS,
    Described,
    check_options,
    citation_of,
    options_of,
    parse_option,
    select_parts,
    summary_of,
)

if TYPE_CHECKING:
    from nowhere import Sampler, Thing


class Base:
    """Base of methods.

    Parameters
    ----------
    utility : Utility
        The game.
    seed : int, optional
        Where randomness starts.
    """


class Method(Described, Base):
    """Value points by
    a method.

    More words.

    Parameters
    ----------
    alpha, beta : float
        Two numbers, of which
        both are documented together.

        Not on the one line.
    mode : {"a", "b"}
        How.

    References
    ----------
    .. [1] A. Author. On methods. Journal, 2022.
    .. [2] B. Author. More on methods. 2023.
    """

    def __init__(
        self,
        utility: Any,
        sampler: Sampler | None = None,
        *,
        alpha: float = 4,
        beta: float = 1.0,
        mode: Literal["a", "b", 3] = "a",
        n: int | None = None,
        flag: bool = False,
        label: str = "x",
        weights: list[float] | None = None,
        thing: Thing | int = 0,
        either: bool | int = 0,
        backend: str | None = None,
        seed=None,
    ) -> None:
        self.utility, self.sampler, self.alpha, self.beta = utility, sampler, alpha, beta
        self._mode, self.n, self.flag, self.label = mode, n, flag, label
        self.weights, self.seed = weights, seed


class Open:
    def __init__(self, a: int = 1, *args: int, **rest: int) -> None: ...


@dataclass
class Record:
    size: int | None = None


def factory(size: int = 3, *, sampler: Any = None) -> Record:
    """Make a record."""
    return Record(size)


def test_options_of_reads_signature_and_docstring():
    options = {option.name: option for option in options_of(Method)}
    assert list(options)[:4] == ["utility", "sampler", "alpha", "beta"]
    alpha = options["alpha"]
    assert (alpha.type, alpha.default, alpha.required, alpha.kind) == ("float", 4, False, "keyword")
    assert alpha.doc == options["beta"].doc
    assert alpha.doc == "Two numbers, of which both are documented together."
    assert options["mode"].type == 'Literal["a", "b", 3]'.replace('"', "'")
    assert options["mode"].doc == "How."
    assert (options["utility"].required, options["utility"].kind) == (True, "positional")
    assert options["utility"].doc == "The game."
    assert options["seed"].doc == "Where randomness starts."
    assert options["n"].doc == ""


def test_parts_are_told_from_plain_options_by_name_and_type():
    parts = [option.name for option in options_of(Method) if option.is_part]
    assert parts == ["utility", "sampler"]
    assert {"utility", "sampler", "model", "test", "stopping", "store", "backend"} <= PARTS


def test_options_of_other_callables():
    assert [option.name for option in options_of(Open)] == ["a"]
    assert options_of(Record)[0].type == "int | None"
    assert [option.name for option in options_of(factory)] == ["size", "sampler"]
    assert options_of(Base) == []


def test_summary_and_citation():
    assert summary_of(Method) == "Value points by a method."
    assert citation_of(Method) == (
        "A. Author. On methods. Journal, 2022. B. Author. More on methods. 2023."
    )
    assert (summary_of(Record), citation_of(Record)) == ("", None)
    assert summary_of(factory) == "Make a record."
    assert summary_of(Open) == ""


def test_check_options():
    check_options(Method, {"utility": 1, "alpha": 2})
    check_options(Open, {"anything": 1})
    with pytest.raises(InvalidOptionError, match=r"^Method has no option 'alhpa'.*mean 'alpha'"):
        check_options(Method, {"utility": 1, "alhpa": 2})
    with pytest.raises(InvalidOptionError, match=r"^valuation 'm' needs utility$"):
        check_options(Method, {}, label="valuation 'm'")
    with pytest.raises(InvalidOptionError, match="It takes none"):
        check_options(Base, {"x": 1})


def test_select_parts():
    available = {"utility": 1, "sampler": None, "model": 3, "seed": 7}
    assert select_parts(Method, available) == {"utility": 1, "seed": 7}
    with pytest.raises(InvalidOptionError, match="Method needs utility"):
        select_parts(Method, {"model": 3})


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("alpha", "4", 4.0),
        ("alpha", "1e-3", 1e-3),
        ("n", "12", 12),
        ("n", "1e6", 1_000_000),
        ("n", "none", None),
        ("n", "null", None),
        ("n", str(2**80 + 1), 2**80 + 1),
        ("flag", "true", True),
        ("flag", "No", False),
        ("flag", "1", True),
        ("either", "1", 1),
        ("either", "yes", True),
        ("label", "12", "12"),
        ("label", "none", "none"),
        ("mode", "b", "b"),
        ("mode", "3", 3),
        ("weights", "[1, 2.5]", [1, 2.5]),
        ("weights", "none", None),
        ("thing", "3", 3),
        ("thing", "named", "named"),
        ("backend", "loky", "loky"),
        ("seed", "7", 7),
        ("seed", '{"a": 1}', {"a": 1}),
        ("seed", "None", None),
        ("seed", "text", "text"),
    ],
)
def test_parse_option_follows_the_annotation(key, text, value):
    parsed = parse_option(Method, key, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("alpha", "four", "^Method: option 'alpha' takes float, not 'four'$"),
        ("n", "1.5", "takes int or None, not '1.5'"),
        ("flag", "maybe", "takes bool"),
        ("mode", "c", "takes 'a' or 'b' or 3, not 'c'"),
        ("alhpa", "1", "no option 'alhpa'; did you mean 'alpha'"),
        ("sampler", "msr", "sampler is assembled"),
    ],
)
def test_parse_option_says_what_would_fit(key, text, message):
    with pytest.raises(InvalidOptionError, match=message):
        parse_option(Method, key, text)


def test_parse_option_of_other_callables():
    class Dashed:
        def __init__(self, *, n_jobs: int = 1) -> None: ...

    assert parse_option(Dashed, "n-jobs", "2") == 2
    assert parse_option(Record, "size", "2") == 2
    assert parse_option(factory, "size", "2") == 2
    assert parse_option(Open, "anything", "[2]") == [2]


def test_described_shows_what_differs_from_the_defaults():
    assert repr(Method(1)) == "Method(utility=1)"
    assert repr(Method(1, alpha=4.0, mode="b")) == "Method(utility=1, alpha=4.0, mode='b')"
    array = np.zeros(2)
    assert repr(Method(1, weights=array)) == f"Method(utility=1, weights={array!r})"


def test_described_does_not_fail_on_what_was_not_stored():
    method = Method.__new__(Method)
    method.alpha = 5.0
    assert repr(method) == "Method(alpha=5.0)"
