"""Nets ready to be trained, or the reason why a coalition has no well-defined net."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from sklearn.utils import check_random_state

from dvl_core.errors import InvalidOptionError
from dvl_core.tensors import torch_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dvl_torch.base import TorchEstimator

__all__ = ["check_rows_apart", "new_net", "seed_of"]

PROBED_ROWS = 4
ROUNDING = {"float64": 1e-6, "float32": 1e-2}
"""By how much outputs of a row may differ when others are computed with it."""


def seed_of(random_state: Any) -> int:
    """Return the seed that follows from a ``random_state``; a new one each time for None."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def new_net(model: TorchEstimator) -> Any:
    """Return a net with the initial parameters, in the model's type and on its device.

    Parameters
    ----------
    model : TorchClassifier or TorchRegressor
        Its module is copied, or made with torch's generators seeded.

    Raises
    ------
    InvalidOptionError
        If the module is none, or has a layer whose output for a row depends on other rows, on
        chance or on what came before.
    """
    torch = torch_module()
    module = model.module
    if isinstance(module, torch.nn.Module):
        net = copy.deepcopy(module)
    elif callable(module):
        # Imported here: estimators are told by the code they refer to, and a lock has no content.
        from dvl_core.utilities.torch_models import torch_seeded

        with torch_seeded(seed_of(model.random_state)):
            net = module()
    else:
        net = None
    if not isinstance(net, torch.nn.Module):
        raise InvalidOptionError(
            f"module must be a torch.nn.Module or a function that returns one, got {module!r}"
        )
    for name, layer in net.named_modules():
        reason = next(_reasons(layer), None)
        if reason is not None:
            where = f"layer {name!r}, a {type(layer).__name__}," if name else type(layer).__name__
            raise InvalidOptionError(f"{where} {reason}")
    return net.to(device=model.device or "cpu", dtype=getattr(torch, model.dtype))


def check_rows_apart(net: Any, x: Any, dtype: str) -> Any:
    """Return a net's outputs for a few rows; refuse one that is no function of single rows.

    Parameters
    ----------
    net : torch.nn.Module
        In training mode.
    x : tensor [m, ...]
        Rows; a few of them are tried.
    dtype : {"float64", "float32"}
        In which it computes.

    Raises
    ------
    InvalidOptionError
        If it mixes rows, draws random numbers or changes while it computes.
    """
    torch = torch_module()
    few = x[:PROBED_ROWS]
    buffers = [buffer.clone() for buffer in net.buffers()]
    with torch.no_grad():
        together, again = net(few), net(few)
        alone = torch.cat([net(few[:1]), net(few[1:])]) if len(few) > 1 else together
    changed = any(
        not torch.equal(old, new) for old, new in zip(buffers, net.buffers(), strict=True)
    )
    way_out = "; coalitions need nets that compute each row by itself, and always the same"
    if changed:
        raise InvalidOptionError("the net changes its buffers while it computes" + way_out)
    if not _near(together, again, ROUNDING[dtype]):
        raise InvalidOptionError("the net draws random numbers while it computes" + way_out)
    if not _near(together, alone, ROUNDING[dtype]):
        raise InvalidOptionError("the net's output for a row depends on the other rows" + way_out)
    return together


def _near(one: Any, other: Any, tolerance: float) -> bool:
    if one.shape != other.shape:
        return False
    scale = max(1.0, float(one.abs().max()))
    near = torch_module().isclose(one, other, rtol=0.0, atol=tolerance * scale, equal_nan=True)
    return bool(near.all())


def _reasons(layer: Any) -> Iterator[str]:
    """Yield why coalitions cannot be trained with this layer, and the way out."""
    nn = torch_module().nn
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        yield "mixes the rows of a batch: use GroupNorm or LayerNorm"
    if isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.track_running_stats:
        yield "keeps statistics of batches: set track_running_stats=False"
    if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
        yield "is random in training: set p=0"
    if isinstance(layer, nn.RReLU):
        yield "is random in training: use LeakyReLU"
    if isinstance(layer, nn.RNNBase | nn.MultiheadAttention) and layer.dropout > 0:
        yield "is random in training: set dropout=0"
    if any(nn.parameter.is_lazy(parameter) for parameter in layer.parameters(recurse=False)):
        yield "learns its size from the first batch: give the sizes"
