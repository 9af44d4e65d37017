"""Fitted influence models on disk: arrays in safetensors, all else in JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dvl_core.errors import DataError, NotFittedError
from dvl_influence.blocks import block_names
from dvl_influence.curvature import Curvature
from dvl_influence.data import Points
from dvl_influence.fitting import FittedBlock, TrainingPoints
from dvl_influence.objective import Objective
from dvl_influence.operators import DampedOperator
from dvl_influence.regularization import Damping

if TYPE_CHECKING:
    from dvl_influence.model import InfluenceModel

__all__ = ["load_state", "parameter_digest", "save_state"]

ARRAYS = "state.safetensors"
DESCRIPTION = "state.json"
FORMAT = 1


def parameter_digest(objective: Objective) -> str:
    """Return a digest of all parameters and buffers of a model, in working precision."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted({**objective.split(objective.vector), **objective.fixed}.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_state(model: InfluenceModel, folder: Path) -> None:
    """Write the fitted state of `model` into `folder`, the description last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    arrays = {}
    for name, block in model.fitted.items():
        to_arrays = getattr(model.approximator, "to_arrays", None)
        for key, array in (to_arrays(block.state) if to_arrays else {}).items():
            tensor = torch.as_tensor(np.asarray(array)) if not torch.is_tensor(array) else array
            arrays[f"{name}/{key}"] = tensor.detach().cpu().contiguous().clone()
    save_file(arrays, folder / ARRAYS)
    blocks = {
        name: {"regularization": block.damping.value, "reason": block.damping.reason}
        for name, block in model.fitted.items()
    }
    description = {
        **_identity(model, model.objective),
        "blocks": blocks,
        "report": model.report,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1))


def load_state(
    model: InfluenceModel, folder: Path, train_loader: Iterable[Any] | None
) -> tuple[Objective, dict[str, FittedBlock], TrainingPoints]:
    """Return the objective, the blocks and what is known of the training points."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        with safe_open(folder / ARRAYS, framework="pt") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        saved = {
            name: (b["regularization"], b["reason"]) for name, b in description["blocks"].items()
        }
        report = description["report"]
        trained = TrainingPoints(int(report["n_train"]), str(report["train_digest"]))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} holds no saved influence model: {error.filename} is missing"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise DataError(f"{folder} is damaged: {type(error).__name__}: {error}") from error
    objective = model._view()
    for key, value in _identity(model, objective).items():
        if description.get(key) != value:
            raise DataError(
                f"{folder} was saved for another {key.replace('_', ' ')}: "
                f"{description.get(key)!r} there, {value!r} here"
            )
    points = _points(model, objective, train_loader, trained)
    curvature = Curvature(objective, points, model.curvature, memory_budget=model.memory_budget)
    from_arrays = getattr(model.approximator, "from_arrays", None)
    if from_arrays is None and train_loader is None:
        raise NotFittedError(
            f"{type(model.approximator).__name__} reads the training data at every solve: give "
            "load(path, train_loader)"
        )
    fitted = {}
    for name, parameters in block_names(objective, model.blocks).items():
        value, reason = saved[name]
        operator = DampedOperator(curvature.restricted(parameters), value)
        if from_arrays:
            own = {
                key.removeprefix(f"{name}/"): tensor.to(objective.device)
                for key, tensor in arrays.items()
                if key.startswith(f"{name}/")
            }
            state = from_arrays(own, operator)
        else:
            state = model.approximator.init(operator)
        damping = Damping(value, reason)
        fitted[name] = FittedBlock(objective.positions(parameters), operator, damping, state)
    return objective, fitted, trained


def _points(
    model: InfluenceModel,
    objective: Objective,
    loader: Iterable[Any] | None,
    trained: TrainingPoints,
) -> Any:
    """Return the training points, or none at all where the method can do without."""
    if loader is None:
        return []
    points = Points(loader, objective.device, objective.dtype, adapter=model.adapter)
    if points.digest != trained.digest:
        raise DataError(
            f"the state was fitted to {trained.number} training points; the loader has "
            f"{points.n_points}, and they are others"
        )
    return points


def _identity(model: InfluenceModel, objective: Objective) -> dict[str, Any]:
    """Return what must be the same for a saved state to be of use."""
    blocks = {name: list(names) for name, names in block_names(objective, model.blocks).items()}
    return {
        "format": FORMAT,
        "method": type(model.approximator).__name__,
        "curvature": model.curvature,
        "precision": str(objective.dtype),
        "block_parameters": blocks,
        "parameter_digest": parameter_digest(objective),
    }
