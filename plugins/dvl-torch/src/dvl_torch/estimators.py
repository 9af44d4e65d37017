"""Nets of torch as scikit-learn estimators that are well-defined on every coalition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from dvl_core.errors import InvalidOptionError
from dvl_core.tensors import as_array
from dvl_torch.base import TorchEstimator
from dvl_torch.optimizers import check_training

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from dvl_core.protocols import IntArray

__all__ = ["TorchClassifier", "TorchRegressor"]


class TorchClassifier(ClassifierMixin, TorchEstimator):  # type: ignore[misc]
    """A net of torch that learns classes.

    What it learns follows from the rows and the options alone, whatever the order of the rows, and
    each row counts in the same way whoever else is there. So it can be trained for many coalitions
    at once, see `StackedTorchUtility`. Nets that mix rows, are random or keep a state while they
    compute are refused: batch normalisation, dropout.

    Parameters
    ----------
    module : torch.nn.Module or callable
        The net: rows [m, ...] to one output a class [m, k]. A module starts from the parameters
        that it has, a function without arguments, or a class, makes a new one for each fit, with
        torch's generators seeded. It is given numbers of type `dtype`: a net that begins with an
        embedding calls ``x.long()``.
    loss : "cross_entropy" or callable
        ``loss(output, target)`` of torch, the mean over the rows; targets are numbers of classes.
    optimizer : {"sgd", "adam", "adamw"}
        Update of ``torch.optim`` by that name.
    learning_rate : float
        Step size.
    momentum : float
        Of sgd.
    nesterov : bool
        Whether the momentum of sgd is Nesterov's.
    betas : (float, float)
        Decay of the two moments of adam and adamw.
    epsilon : float
        Keeps adam and adamw from dividing by zero.
    weight_decay : float
        Penalty: added to the gradient by sgd and adam, taken off the parameters by adamw.
    epochs : int
        How often the net sees each row.
    n_batches : int
        Mini-batches of an epoch, taken in turn; 1: all rows at once. The mini-batch of a row
        follows from its content and `random_state`, not from the other rows; one without rows is
        passed over.
    classes : array-like [k], optional
        All classes, those included that some coalitions lack; outputs belong to them in sorted
        order. Default: the classes in `y`, of which there must be as many as outputs, so that rows
        that lack a class are refused.
    dtype : {"float64", "float32"}
        Type of features and parameters.
    device : str, optional
        Where torch computes. Default: the CPU.
    random_state : int, RandomState or None
        Initial parameters of a `module` that is a function, and mini-batches.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from torch import nn
    >>> x, y = load_iris(return_X_y=True)
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    >>> model = TorchClassifier(net, learning_rate=0.05, epochs=100).fit(x, y)
    >>> model.score(x, y) > 0.9, model.predict_proba(x[:2]).shape
    (True, (2, 3))
    """

    own_loss = "cross_entropy"

    def __init__(
        self,
        module: Any,
        *,
        loss: str | Callable[[Any, Any], Any] = "cross_entropy",
        optimizer: Literal["sgd", "adam", "adamw"] = "adam",
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        epochs: int = 100,
        n_batches: int = 1,
        classes: ArrayLike | None = None,
        dtype: Literal["float64", "float32"] = "float64",
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.module = module
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.betas = betas
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.n_batches = n_batches
        self.classes = classes
        self.dtype = dtype
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train a new net.

        Parameters
        ----------
        X : array-like [m, ...]
            Rows; finite numbers.
        y : array-like [m]
            Labels.

        Raises
        ------
        InvalidOptionError
            If an option is none, or the net cannot be used: the message says why.
        ValueError
            If a label is none of `classes`, the net has more outputs than there are classes, or
            `X` or `y` is no table or target.
        ArithmeticError
            If a parameter becomes infinite.
        """
        check_training(self)
        x, labels = self.features_of(X), column_or_1d(as_array(y))
        check_consistent_length(x, labels)
        check_classification_targets(labels)
        self.classes_, codes = self.classes_and_codes(labels)
        self._train(x, codes)
        return self

    def classes_and_codes(self, labels: NDArray[Any]) -> tuple[NDArray[Any], IntArray]:
        """Return the classes that the outputs stand for, and the number of each label [m]."""
        classes = np.unique(labels if self.classes is None else np.asarray(self.classes))
        unknown = ~np.isin(labels, classes)
        if unknown.any():
            raise ValueError(f"the label {labels[unknown][0]!r} is none of classes={classes}")
        return classes, np.searchsorted(classes, labels).astype(np.int64)

    def shaped(self, output: Any, target: Any) -> Any:
        """Return outputs of the net in the shape in which the loss wants them: as they are."""
        return output

    def check_outputs(self, output: Any, target: Any) -> None:
        """Raise unless the net's `output` is [m, k] for as many classes."""
        if output.ndim != 2:
            raise InvalidOptionError(
                f"the net's output has shape {tuple(output.shape)}: a classifier needs one number "
                "for each row and class"
            )
        if output.shape[1] != len(self.classes_):
            way_out = "" if self.classes is not None else "; name all classes in classes="
            raise ValueError(
                f"the net has {output.shape[1]} outputs for {len(self.classes_)} classes{way_out}"
            )

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the class of the largest output for each row [m]."""
        return np.asarray(self.classes_[self._outputs(X).argmax(dim=1).numpy()])

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Return the softmax of the outputs [m, k], in the order of `classes_`, as doubles."""
        return np.asarray(self._outputs(X).double().softmax(dim=1).numpy())


class TorchRegressor(RegressorMixin, TorchEstimator):  # type: ignore[misc]
    """A net of torch that learns numbers; see `TorchClassifier`.

    Parameters
    ----------
    module : torch.nn.Module or callable
        The net, as for `TorchClassifier`: rows [m, ...] to targets [m], [m, 1] or [m, t].
    loss : "squared_error" or callable
        ``loss(output, target)`` of torch, the mean over the rows; both are [m] for one target, else
        [m, t].
    optimizer : {"sgd", "adam", "adamw"}
        Update of ``torch.optim`` by that name.
    learning_rate : float
        Step size.
    momentum : float
        Of sgd.
    nesterov : bool
        Whether the momentum of sgd is Nesterov's.
    betas : (float, float)
        Decay of the two moments of adam and adamw.
    epsilon : float
        Keeps adam and adamw from dividing by zero.
    weight_decay : float
        Penalty: added to the gradient by sgd and adam, taken off the parameters by adamw.
    epochs : int
        How often the net sees each row.
    n_batches : int
        Mini-batches of an epoch, as for `TorchClassifier`.
    dtype : {"float64", "float32"}
        Type of features, targets and parameters.
    device : str, optional
        Where torch computes. Default: the CPU.
    random_state : int, RandomState or None
        Initial parameters of a `module` that is a function, and mini-batches.

    Examples
    --------
    >>> from torch import nn
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = TorchRegressor(nn.Linear(1, 1), optimizer="sgd", learning_rate=0.5)
    >>> model.fit(x, 3 * x[:, 0] - 1).predict([[0.0]]).round(6)
    array([-1.])
    """

    own_loss = "squared_error"

    def __init__(
        self,
        module: Any,
        *,
        loss: str | Callable[[Any, Any], Any] = "squared_error",
        optimizer: Literal["sgd", "adam", "adamw"] = "adam",
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        epochs: int = 100,
        n_batches: int = 1,
        dtype: Literal["float64", "float32"] = "float64",
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.module = module
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.betas = betas
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.n_batches = n_batches
        self.dtype = dtype
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train a new net.

        Parameters
        ----------
        X : array-like [m, ...]
            Rows; finite numbers.
        y : array-like [m] or [m, t]
            Targets.

        Raises
        ------
        InvalidOptionError
            If an option is none, or the net cannot be used: the message says why.
        ValueError
            If `X` or `y` is no table or target.
        ArithmeticError
            If a parameter becomes infinite.
        """
        check_training(self)
        x = self.features_of(X)
        target = check_array(as_array(y), ensure_2d=False, dtype=self.dtype, input_name="y")
        check_consistent_length(x, target)
        if target.ndim == 2 and target.shape[1] == 1:
            target = target[:, 0]
        self._train(x, target)
        self._target_shape = target.shape[1:]
        return self

    def shaped(self, output: Any, target: Any) -> Any:
        """Return outputs of the net in the shape of their targets."""
        return output.reshape(target.shape)

    def check_outputs(self, output: Any, target: Any) -> None:
        """Raise unless the net's `output` [m, ...] has one number for each target of a row."""
        if output[:1].numel() != target[:1].numel():
            raise InvalidOptionError(
                f"the net gives {output[:1].numel()} numbers a row for {target[:1].numel()} targets"
            )

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return targets [m], or [m, t] where there are several."""
        output = self._outputs(X).numpy()
        return np.asarray(output.reshape(len(output), *self._target_shape))
