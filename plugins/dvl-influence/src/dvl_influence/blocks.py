"""Diagonal blocks of the curvature: all parameters, layers, tensors, or what the user says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from dvl_core.errors import InvalidOptionError
from dvl_influence.objective import Objective

__all__ = ["BlockStructure", "block_names"]

BlockStructure = Literal["full", "layer", "parameter"] | Mapping[str, Sequence[str]]
"""``"full"``: one block; ``"layer"``: one per module; ``"parameter"``: one per tensor; or names of
blocks with the names of their parameters. Parameters in no block take no part."""


def block_names(objective: Objective, blocks: BlockStructure) -> dict[str, tuple[str, ...]]:
    """Return the names of the parameters of each block, in the order of the model.

    Raises
    ------
    InvalidOptionError
        If there is no such structure, a block is empty, names an unknown parameter, or shares one
        with another block.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1, bias=False))
    >>> block_names(Objective(net, torch.nn.functional.mse_loss), "layer")
    {'0': ('0.weight', '0.bias'), '1': ('1.weight',)}
    """
    names = objective.names
    if blocks == "full":
        return {"full": names}
    if blocks == "parameter":
        return {name: (name,) for name in names}
    if blocks == "layer":
        layers: dict[str, tuple[str, ...]] = {}
        for name in names:
            layer = name.rpartition(".")[0]
            layers[layer] = (*layers.get(layer, ()), name)
        return layers
    if not isinstance(blocks, Mapping) or not blocks:
        raise InvalidOptionError(
            f"blocks is {blocks!r}: it must be 'full', 'layer', 'parameter', or a dictionary of "
            "block names with lists of parameter names"
        )
    owner: dict[str, str] = {}
    for block, members in blocks.items():
        if isinstance(members, str) or not members:
            raise InvalidOptionError(
                f"block {block!r} must be a list of parameter names, not empty"
            )
        for name in members:
            if name not in names:
                raise InvalidOptionError(
                    f"block {block!r} names {name!r}, which is no free parameter of the model; "
                    f"those are {', '.join(names)}"
                )
            if name in owner:
                raise InvalidOptionError(
                    f"parameter {name!r} is in blocks {owner[name]!r} and {block!r}: blocks must "
                    "not overlap"
                )
            owner[name] = block
    return {block: tuple(name for name in names if owner.get(name) == block) for block in blocks}
