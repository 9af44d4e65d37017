"""Torch tensors as tables and labels, without importing torch: who has a tensor has loaded it."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import numpy as np

from dvl_core.errors import DataError

__all__ = ["as_array", "from_raw", "is_tensor", "main_memory_tensor", "raw_array", "torch_module"]


def torch_module() -> Any:
    """Return torch; loaded now only if something that needs it arrived before it."""
    return sys.modules.get("torch") or importlib.import_module("torch")


def is_tensor(thing: object) -> bool:
    """Return whether `thing` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, getattr(torch, "Tensor", ()))


def main_memory_tensor(tensor: Any, what: str) -> Any:
    """Return a plain dense tensor that shares the memory of `tensor`, without its gradient.

    Parameters
    ----------
    tensor : torch.Tensor
        On the CPU.
    what : str
        Name of the argument, for the message.

    Raises
    ------
    DataError
        If it is on another device, sparse or quantized.
    """
    torch = torch_module()
    if tensor.device.type != "cpu":
        raise DataError(
            f"{what} is a tensor on {tensor.device}; data stay in main memory, from where every "
            f"worker takes its rows, and the model moves them to its device: pass {what}.cpu()"
        )
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise DataError(
            f"{what} is a sparse or quantized tensor: pass {what}.to_dense() or "
            f"{what}.dequantize(); sparse data can be a scipy matrix"
        )
    return tensor.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()


def as_array(thing: Any) -> Any:
    """Return a tensor as an array of its numbers; anything else as it is."""
    if not is_tensor(thing):
        return thing
    tensor = thing.detach().cpu()
    try:
        return tensor.resolve_conj().resolve_neg().numpy()
    except TypeError:
        # numpy has no bfloat16 or narrower floats.
        return tensor.to_dense().float().numpy()


def raw_array(tensor: Any) -> np.ndarray[Any, Any]:
    """Return the content of a tensor, sharing memory; as flat bytes where numpy lacks the type.

    Raises
    ------
    TypeError
        If the tensor is sparse or quantized.
    """
    tensor = tensor.detach().cpu()
    try:
        array: np.ndarray[Any, Any] = tensor.numpy()
    except TypeError:
        flat = tensor.contiguous().reshape(-1)
        array = flat.view(torch_module().uint8).numpy()
    return array


def from_raw(array: np.ndarray[Any, Any], dtype: str, shape: tuple[int, ...]) -> Any:
    """Return the tensor of which `raw_array` gave `array`; they share memory.

    Parameters
    ----------
    array : array
        Content.
    dtype : str
        Name of the type of the tensor, such as ``torch.float32``.
    shape : tuple of int
        Shape of the tensor.
    """
    torch = torch_module()
    with warnings.catch_warnings():
        # An array that a worker maps into memory is read-only: rows are copied, never changed.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(array)
    return tensor.view(getattr(torch, dtype.removeprefix("torch."))).reshape(shape)
