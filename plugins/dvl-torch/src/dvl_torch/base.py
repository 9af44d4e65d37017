"""How a net is trained on the rows of one coalition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from dvl_core.tensors import as_array, torch_module
from dvl_torch.losses import batch_loss
from dvl_torch.minibatches import minibatch_numbers
from dvl_torch.nets import check_rows_apart, new_net
from dvl_torch.optimizers import torch_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["TorchEstimator"]


class TorchEstimator(BaseEstimator, ABC):  # type: ignore[misc]
    """What classifier and regressor share: a net is trained for a fixed number of epochs."""

    own_loss: ClassVar[str]
    """Name of the loss whose gradient is known in closed form."""

    module: Any
    loss: str | Callable[[Any, Any], Any]
    optimizer: str
    learning_rate: float
    momentum: float
    nesterov: bool
    betas: tuple[float, float]
    epsilon: float
    weight_decay: float
    epochs: int
    n_batches: int
    dtype: str
    device: str | None
    random_state: Any

    def features_of(self, X: Any) -> NDArray[Any]:
        """Return rows [m, ...] in the type in which the net computes."""
        return np.asarray(check_array(as_array(X), allow_nd=True, dtype=self.dtype))

    def to_device(self, array: NDArray[Any]) -> Any:
        """Return a copy of an array as a tensor on the device of the net."""
        return torch_module().tensor(array, device=self.device or "cpu")

    @abstractmethod
    def shaped(self, output: Any, target: Any) -> Any:
        """Return outputs of the net in the shape in which the loss wants them."""

    @abstractmethod
    def check_outputs(self, output: Any, target: Any) -> None:
        """Raise unless the net's `output` [m, ...] for some rows is one for their target."""

    def _train(self, x: NDArray[Any], target: NDArray[Any]) -> None:
        """Set `module_` to a net that is trained on rows and targets."""
        torch = torch_module()
        net, loss = new_net(self).train(), batch_loss(self)
        rows, goals = self.to_device(x), self.to_device(target)
        self.check_outputs(check_rows_apart(net, rows, self.dtype), goals)
        numbers = minibatch_numbers(x, self.n_batches, self.random_state)
        parts = [np.flatnonzero(numbers == number) for number in range(self.n_batches)]
        batches = [(rows[part], goals[part]) for part in parts if len(part)]
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        optimizer = torch_optimizer(self, trained)
        with torch.enable_grad():
            for _ in range(self.epochs):
                for batch, goal in batches:
                    optimizer.zero_grad()
                    loss(self.shaped(net(batch), goal), goal).backward()
                    optimizer.step()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in trained):
            raise ArithmeticError("the training diverged: lower learning_rate")
        self.module_ = net.eval()
        self.n_features_in_ = x.shape[1]

    def _outputs(self, X: Any) -> Any:
        """Return what the fitted net says of rows, as a tensor."""
        check_is_fitted(self, "module_")
        x = self.features_of(X)
        if x.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {x.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        with torch_module().no_grad():
            return self.module_(self.to_device(x)).cpu()
