"""The same model with parameters that it had at other times of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dvl_core.errors import DataError, InvalidOptionError
from dvl_influence.objective import Objective

__all__ = ["Checkpoint", "objectives_at"]

Checkpoint = Mapping[str, torch.Tensor] | str | PathLike[str]
"""A state dictionary, or the path of a safetensors file with one."""


def objectives_at(objective: Objective, checkpoints: Sequence[Checkpoint]) -> list[Objective]:
    """Return the objective with the parameters and buffers of each checkpoint.

    Parameters
    ----------
    objective : Objective
        Model and loss.
    checkpoints : sequence of dict or path
        ``model.state_dict()`` at some times of training, or the paths of safetensors files.

    Raises
    ------
    InvalidOptionError
        If there is no checkpoint.
    DataError
        If a file cannot be read, or a checkpoint is of another model or not finite.
    """
    if isinstance(checkpoints, (str, PathLike, Mapping)) or not len(checkpoints):
        raise InvalidOptionError(
            "checkpoints must be a list of state dictionaries or paths of safetensors files, at "
            "least one"
        )
    return [_at(objective, c, f"checkpoint {k}") for k, c in enumerate(checkpoints)]


def _at(objective: Objective, checkpoint: Checkpoint, name: str) -> Objective:
    state = checkpoint
    if not isinstance(checkpoint, Mapping):
        name = f"{name} ({checkpoint})"
        state = _read(checkpoint, name)
    assert isinstance(state, Mapping)
    _check(objective, state, name)

    def own(key: str) -> torch.Tensor:
        tensor = state[key].detach().to(objective.device, copy=True)
        return tensor.to(objective.dtype) if tensor.is_floating_point() else tensor

    there = objective.restricted(objective.names)
    there.vector = torch.cat([own(key).reshape(-1) for key in objective.names])
    there.fixed = {key: own(key) if key in state else old for key, old in objective.fixed.items()}
    return there


def _read(path: Any, name: str) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise DataError(f"{name} does not exist") from None
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{name} is no safetensors file: {error}; write it with "
            "safetensors.torch.save_file(model.state_dict(), path)"
        ) from error


def _check(objective: Objective, state: Mapping[str, Any], name: str) -> None:
    """Refuse the state of another model."""
    expected = objective.model.state_dict()
    missing = [key for key in expected if key not in state and key in _known(objective)]
    unknown = [key for key in state if key not in expected]
    if missing or unknown:
        wrong = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}, which the model lacks"
        raise DataError(f"{name} is of another model: it {wrong}")
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise DataError(
                f"{name} is of another model: {key!r} has shape {tuple(tensor.shape)}, in the "
                f"model {tuple(expected[key].shape)}"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DataError(f"{name} holds NaN or infinity in {key!r}")


def _known(objective: Objective) -> set[str]:
    """Return the names that must be there; a tensor with two names has one of them only."""
    return {*objective.names, *objective.fixed}
