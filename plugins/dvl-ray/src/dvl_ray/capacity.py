"""How many tasks a cluster has room for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["describe", "rooms"]

SMALLEST_SHARE = 1e-4
"""Ray counts resources in ten-thousandths."""


def rooms(nodes: Iterable[Mapping[str, Any]], request: Mapping[str, float]) -> int:
    """Return how many tasks that ask for `request` the `nodes` can run at the same time.

    Parameters
    ----------
    nodes : iterable of mapping
        As ``ray.nodes()`` gives them.
    request : mapping of str to float
        What a task asks for. One that asks for nothing is counted as one that asks for a CPU.

    Examples
    --------
    >>> nodes = [{"Resources": {"CPU": 8.0, "GPU": 1.0}}]
    >>> rooms(nodes, {"CPU": 2}), rooms(nodes, {"CPU": 1, "GPU": 0.5}), rooms(nodes, {"TPU": 1})
    (4, 2, 0)
    """
    wanted = {name: amount for name, amount in request.items() if amount > 0} or {"CPU": 1.0}
    return sum(
        min(
            int((node["Resources"].get(name, 0.0) + SMALLEST_SHARE / 2) // amount)
            for name, amount in wanted.items()
        )
        for node in nodes
    )


def describe(resources: Mapping[str, float]) -> str:
    """Return resources as words.

    Examples
    --------
    >>> describe({"CPU": 2.0, "GPU": 0.5, "big": 0})
    'CPU: 2, GPU: 0.5'
    """
    amounts = [f"{name}: {amount:g}" for name, amount in resources.items() if amount]
    return ", ".join(amounts) or "nothing"
