"""Which distribution provides a first-party component, for the hint when it is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["DEFAULT_METHOD", "DEFAULT_ROW_METHOD", "KNOWN_PLUGINS", "install_hint"]

DEFAULT_METHOD = "shapley"
"""What the command line uses when the user names a model, groups or a budget but no method."""

DEFAULT_ROW_METHOD = "data-oob"
"""What it uses when the user names nothing: seconds, and the best at finding wrong labels."""

KNOWN_PLUGINS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("backend", "dask"): "dvl-dask",
        ("backend", "dask-cuda"): "dvl-dask-cuda",
        ("backend", "ray"): "dvl-ray",
        ("inverse-hessian", "arnoldi"): "dvl-arnoldi",
        ("inverse-hessian", "cg"): "dvl-cg",
        ("inverse-hessian", "datainf"): "dvl-datainf",
        ("inverse-hessian", "direct"): "dvl-direct",
        ("inverse-hessian", "ekfac"): "dvl-ekfac",
        ("inverse-hessian", "identity"): "dvl-influence",
        ("inverse-hessian", "lissa"): "dvl-lissa",
        ("inverse-hessian", "nystroem"): "dvl-nystroem",
        ("sampler", "antithetic-owen"): "dvl-shapley",
        ("sampler", "antithetic-permutation"): "dvl-shapley",
        ("sampler", "complementary"): "dvl-shapley",
        ("sampler", "group-testing"): "dvl-shapley",
        ("sampler", "kernel-banzhaf"): "dvl-banzhaf",
        ("sampler", "least-squares"): "dvl-shapley",
        ("sampler", "msr"): "dvl-banzhaf",
        ("sampler", "owen"): "dvl-shapley",
        ("sampler", "permutation"): "dvl-shapley",
        ("sampler", "quasi-permutation"): "dvl-shapley",
        ("sampler", "stratified"): "dvl-shapley",
        ("sampler", "truncated-permutation"): "dvl-shapley",
        ("sampler", "vrds"): "dvl-shapley",
        ("store", "memcached"): "dvl-memcached",
        ("store", "zarr"): "dvl-zarr",
        ("utility", "dul"): "dvl-dul",
        ("valuation", "banzhaf"): "dvl-banzhaf",
        ("valuation", "beta-shapley"): "dvl-beta",
        ("valuation", "classwise-shapley"): "dvl-classwise",
        ("valuation", "data-oob"): "dvl-oob",
        ("valuation", "delta-shapley"): "dvl-delta",
        ("valuation", "group-testing-shapley"): "dvl-shapley",
        ("valuation", "knn-shapley"): "dvl-knn",
        ("valuation", "least-core"): "dvl-least-core",
        ("valuation", "loo"): "dvl-loo",
        ("valuation", "random"): "dvl-random",
        ("valuation", "shapley"): "dvl-shapley",
    }
)
"""(kind, name) -> distribution, for all first-party components outside the core."""


def install_hint(kind: str, name: str) -> str | None:
    """Return the command that installs a first-party component, or None for a stranger.

    Examples
    --------
    >>> install_hint("backend", "ray")
    'pip install dvl-ray'
    """
    distribution = KNOWN_PLUGINS.get((kind, name))
    return f"pip install {distribution}" if distribution else None
