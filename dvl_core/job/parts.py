"""From the words of the command line to the parts of a valuation."""

from __future__ import annotations

import difflib
import functools
import json
import math
import operator
import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from dvl_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from dvl_core.protocols import Backend, Store
    from dvl_core.stopping import StoppingRule

__all__ = [
    "backend_from",
    "default_model",
    "is_classification",
    "known_scorer",
    "model_from",
    "option_pairs",
    "stopping_from",
    "store_from",
]

MOST_CLASSES = 20


def model_from(target: str, options: str | None) -> Any:
    """Return the model that ``module:Class`` and JSON options describe.

    Raises
    ------
    InvalidOptionError
        If there is no such module or class, the options are no JSON object, or do not fit.
    """
    module_name, separator, class_name = target.replace(":", " ").partition(" ")
    if not separator:
        module_name, _, class_name = target.rpartition(".")
    if not module_name or not class_name or module_name.startswith("."):
        raise InvalidOptionError(f"--model must be MODULE:CLASS, got {target!r}")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        guess = _guess_module(module_name) if error.name == module_name else ""
        raise InvalidOptionError(
            f"--model: cannot import {module_name!r}: {error}{guess}"
        ) from error
    except (Exception, SystemExit) as error:
        raise InvalidOptionError(
            f"--model: cannot import {module_name!r}: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, class_name):
        raise InvalidOptionError(
            f"--model: module {module_name!r} has no {class_name!r}"
            + _guess(class_name, [name for name in dir(module) if name[0].isupper()])
        )
    keywords = _json_object(options)
    try:
        model = getattr(module, class_name)(**keywords)
    except (TypeError, ValueError) as error:
        guess = _guess_keyword(getattr(module, class_name), keywords)
        raise InvalidOptionError(
            f"--model-options do not fit {class_name}: {error}{guess}"
        ) from error
    if not callable(getattr(model, "fit", None)):
        raise InvalidOptionError(f"--model: {target!r} makes no model: there is no method fit")
    return model


def _guess_keyword(made_by: Any, keywords: dict[str, Any]) -> str:
    """Return a hint at the option that was meant by the first one that does not exist."""
    try:
        taken = list(signature(made_by).parameters)
    except (TypeError, ValueError):
        return ""
    return next((_guess(keyword, taken) for keyword in keywords if keyword not in taken), "")


def _guess_module(name: str) -> str:
    """Return a hint at the closest module beside the one that does not exist."""
    package = name.rpartition(".")[0]
    try:
        path = import_module(package).__path__ if package else None
    except Exception:
        return ""
    known = [f"{package}.{m.name}".lstrip(".") for m in pkgutil.iter_modules(path)]
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _json_object(text: str | None) -> dict[str, Any]:
    """Return the JSON object in `text`; empty for None."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidOptionError(f"--model-options is no valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidOptionError(f'--model-options must be a JSON object like {{"C": 1}}: {text}')
    return value


def is_classification(y: Any, model: Any, scorer: str | None) -> bool:
    """Decide whether the target is a class: by the model, else the scorer, else the values.

    Numbers are classes if they are whole and at most 20 different ones occur.
    """
    import numpy as np
    from sklearn.base import is_classifier, is_regressor
    from sklearn.metrics import get_scorer

    # Any object with fit will do as a model; only scikit-learn's say what they predict.
    if hasattr(model, "__sklearn_tags__"):
        if is_classifier(model):
            return True
        if is_regressor(model):
            return False
    if scorer is not None:
        metric = getattr(get_scorer(scorer), "_score_func", None)
        module = str(getattr(metric, "__module__", ""))
        if module.endswith("_regression"):
            return False
        if module.endswith(("_classification", "_ranking")):
            return True
    values = np.asarray(y)
    if values.dtype.kind not in "iuf":
        return True
    whole = bool(np.all(values == np.round(values)))
    return whole and len(np.unique(values)) <= MOST_CLASSES


def default_model(classification: bool) -> Any:
    """Return the model whose score rows are judged by when the user names none."""
    from sklearn.linear_model import LogisticRegression, Ridge

    return LogisticRegression(max_iter=1000) if classification else Ridge()


def stopping_from(rules: Sequence[str], budget: int | None) -> StoppingRule | None:
    """Return the rules ``NAME=VALUE`` and the budget of evaluations, joined by "or".

    Raises
    ------
    InvalidOptionError
        If a rule is unknown or its value is no number.
    """
    from dvl_core import stopping

    known = {
        _kebab(name): getattr(stopping, name)
        for name in stopping.__all__
        if name not in ("Progress", "StoppingRule", "Verdict", "NoStopping")
    }
    made: list[StoppingRule] = [] if budget is None else [stopping.MaxEvaluations(budget)]
    for text in rules:
        name, separator, value = text.partition("=")
        key = _kebab(name.strip())
        if key not in known:
            raise InvalidOptionError(f"--stop: there is no rule {name!r}{_guess(key, known)}")
        try:
            number = float(value) if separator else math.nan
        except ValueError:
            number = math.nan
        # The parameter that has no better default.
        given = {"history-deviation": "rtol"}.get(key, next(iter(signature(known[key]).parameters)))
        counts = given.startswith("n_")
        if not math.isfinite(number) or (counts and not number.is_integer()):
            kind = "a whole number" if counts else "a number"
            raise InvalidOptionError(f"--stop: write {key}=NUMBER with {kind}, got {text!r}")
        try:
            made.append(known[key](**{given: int(number) if counts else number}))
        except InvalidOptionError as error:
            raise InvalidOptionError(f"--stop {text}: {error}") from error
    return functools.reduce(operator.or_, made) if made else None


def backend_from(name: str | Mapping[str, Any] | None, n_jobs: int | None) -> Backend | None:
    """Return the backend of that name with that many workers; joblib if only workers are given.

    A mapping holds the name and options.
    """
    from dvl_core import registry
    from dvl_core.options import options_of

    if name is None and n_jobs is None:
        return None
    if n_jobs == 0:
        raise InvalidOptionError("--n-jobs must be a number of workers, or -1 for one per core")
    chosen = name or "joblib"
    options = {}
    if n_jobs is not None:
        plain = chosen.get("name", "") if isinstance(chosen, Mapping) else chosen
        taken = {option.name for option in options_of(registry.get("backend", plain))}
        if "n_jobs" not in taken:
            raise InvalidOptionError(f"--n-jobs: backend {plain!r} has no option n_jobs")
        options["n_jobs"] = n_jobs
    backend: Backend = registry.create("backend", chosen, **options)
    return backend


def store_from(specs: Sequence[str | Mapping[str, Any]]) -> Store | None:
    """Return the store that is described, the chain of several, or None if there are none.

    A description is ``name``, ``name:rest`` or ``name://rest``, where what follows the name is the
    first argument of the store's constructor: a path, servers, a URL; or a mapping with the name
    and options.
    """
    stores = [_one_store(spec) for spec in specs]
    if len(stores) < 2:
        return stores[0] if stores else None
    from dvl_core.stores import ChainStore

    return ChainStore(stores)


def _one_store(spec: str | Mapping[str, Any]) -> Store:
    """Return the store of one description."""
    from dvl_core import registry
    from dvl_core.options import options_of

    if isinstance(spec, Mapping):
        described: Store = registry.create("store", spec)
        return described
    name, _, rest = spec.partition(":")
    rest = rest.removeprefix("//")
    if not rest:
        store: Store = registry.create("store", name)
        return store
    options = options_of(registry.get("store", name))
    if not options:
        raise InvalidOptionError(f"--store: {name!r} takes nothing after its name, got {rest!r}")
    made: Store = registry.create("store", name, **{options[0].name: rest})
    return made


def known_scorer(name: str) -> str:
    """Return `name` if scikit-learn has such a scorer, else raise with the closest one."""
    from sklearn.metrics import get_scorer_names

    if name not in get_scorer_names():
        guess = _guess(name, get_scorer_names())
        raise InvalidOptionError(f"--scorer: scikit-learn has no scorer {name!r}{guess}")
    return name


def _kebab(name: str) -> str:
    """Return a class name or a phrase in lower case with dashes."""
    dashed = "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
    return dashed.replace("_", "-")


def _guess(name: str, known: Any) -> str:
    """Return a hint at the closest known name, or at all if they are few."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(names)}" if len(names) <= 12 else ""


def option_pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names and values of ``NAME=VALUE`` texts.

    Raises
    ------
    InvalidOptionError
        If one has no equals sign.
    """
    pairs = []
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise InvalidOptionError(f"--option must be NAME=VALUE, got {text!r}")
        pairs.append((name.strip(), value))
    return pairs
