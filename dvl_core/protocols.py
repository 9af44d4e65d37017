"""What each kind of component must do, as `typing.Protocol` classes.

The seven protocols are the contract between the core, its plugins and strangers: no base class is
needed to satisfy them. The smaller protocols below them are optional capabilities, which the engine
finds with `isinstance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dvl_core.data import Dataset
    from dvl_core.result import ValuationResult
    from dvl_core.statistics import Estimate

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    ByteArray = NDArray[np.uint8]
    AnyArray = NDArray[Any]

__all__ = [
    "Accumulator",
    "Backend",
    "Design",
    "Evaluation",
    "Fingerprinted",
    "Finishing",
    "Guarantee",
    "InverseHessianApproximator",
    "LinearOperator",
    "ReportsFailures",
    "Sampler",
    "Scorer",
    "Seedable",
    "Semivalue",
    "Solution",
    "Store",
    "Uneven",
    "Utility",
    "Valuation",
]

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

Guarantee = Literal["exact", "unbiased", "consistent", "biased-by-option"]
"""What an estimate is for a semivalue: tests hold each design to what it declares."""


@runtime_checkable
class Utility(Protocol):
    """The game: says how good a model is that was trained on a coalition of players."""

    @property
    def n_players(self) -> int | None:
        """Number of players; None until the utility is bound to data."""

    def with_data(self, train: Dataset) -> Self:
        """Return a copy bound to `train`; the original stays as it was."""

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        """Return the utility [b] of each row of `coalitions` [b, n]."""


@runtime_checkable
class Scorer(Protocol):
    """Turns a fitted model into a number; larger is better."""

    @property
    def default(self) -> float:
        """The score of a model that learned nothing: the utility of the empty coalition."""

    def __call__(self, model: Any) -> float:
        """Return the score of a fitted model."""


@runtime_checkable
class Semivalue(Protocol):
    """A law on the size of the coalition that a player joins."""

    @property
    def name(self) -> str:
        """How results name it, parameters included."""

    def size_law(self, n_players: int) -> FloatArray:
        """Return p [n]: p[k] is the probability that the player joins a coalition of size k."""


class Accumulator(Protocol):
    """Running statistics of a run: fed in block order, in the parent process."""

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Take in what `Design.evaluate` returned for the next block."""

    def estimate(self) -> Estimate:
        """Return values, variances, counts and standard errors so far."""

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that a checkpoint must hold."""

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved `state`, bit for bit."""


@runtime_checkable
class Finishing(Protocol):
    """An accumulator whose values take work that is done once, when the run is over."""

    def finish(self) -> tuple[Estimate, dict[str, Any]]:
        """Return the final estimate, and what else belongs into the extras of the result."""


class Design(Protocol):
    """How blocks of random numbers become coalitions, and utilities become statistics.

    Immutable, picklable and light: it travels to the workers.
    """

    @property
    def n_players(self) -> int:
        """Number of players."""

    @property
    def n_blocks(self) -> int | None:
        """Number of blocks after which there is nothing more to learn; None if unending."""

    @property
    def block_evaluations(self) -> int:
        """The most utility values that one block uses."""

    @property
    def guarantee(self) -> Guarantee:
        """What the estimates are for the semivalue of this design."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description of all that decides what a block evaluates."""

    def anchors(self) -> BoolArray:
        """Return the coalitions [a, n] that every block needs, evaluated once a run."""

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, AnyArray]:
        """Draw and evaluate one block; pure, so that any worker may do it."""

    def accumulator(self) -> Accumulator:
        """Return fresh statistics for a run."""


@runtime_checkable
class Uneven(Protocol):
    """A design whose blocks differ in how many utility values they use."""

    def evaluations_in(self, block: int) -> int:
        """Return the most utility values that block number `block` uses."""


@runtime_checkable
class Sampler(Protocol):
    """Chooses which coalitions are evaluated."""

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design for a semivalue, or refuse with `UnsupportedSemivalueError`."""


@runtime_checkable
class Valuation(Protocol):
    """A method that gives each training point (or group) its worth."""

    def fit(self, train: Dataset | None = None) -> Self:
        """Compute the values; None when the utility already has its players."""

    @property
    def result(self) -> ValuationResult:
        """The result of `fit`, in the order of the players."""

    def values(self, sort: bool = False) -> ValuationResult:
        """Return the result; with ``sort=True`` ascending, worst first."""


@runtime_checkable
class LinearOperator(Protocol):
    """A symmetric matrix [p, p] known by its products."""

    @property
    def size(self) -> int:
        """The dimension p."""

    def matvec(self, vectors: Any) -> Any:
        """Return the products [m, p] of the operator with the rows of `vectors` [m, p]."""

    def dense(self) -> Any:
        """Return the matrix [p, p]."""


class Solution(Protocol):
    """What `InverseHessianApproximator.solve` returns."""

    @property
    def value(self) -> Any:
        """The approximate solutions [m, p]."""

    @property
    def residual(self) -> Any:
        """Relative residual norms [m]."""

    @property
    def iterations(self) -> int:
        """Iterations used; 0 for direct methods."""

    @property
    def converged(self) -> bool:
        """Whether every solution met its tolerance."""


@runtime_checkable
class InverseHessianApproximator(Protocol):
    """Approximates the product of an inverse curvature matrix with vectors."""

    def init(self, curvature: LinearOperator) -> Any:
        """Return the state that all solves share, for instance a factorisation."""

    def solve(self, state: Any, rhs: Any) -> Solution:
        """Solve for the rows of `rhs` [m, p]."""


@runtime_checkable
class Backend(Protocol):
    """Runs tasks, here or elsewhere."""

    @property
    def n_workers(self) -> int:
        """How many tasks run at the same time."""

    @property
    def task_seconds(self) -> float:
        """How long a task should take for its overhead not to matter; 0 for no overhead."""

    def map(self, function: Callable[[S, T], R], shared: S, tasks: Iterable[T]) -> Iterator[R]:
        """Yield ``function(shared, task)`` in the order of `tasks`.

        `tasks` is consumed lazily, a bounded number ahead of what was yielded. An exception of a
        task is raised where its result would have been yielded; `WorkerError` if the task was lost
        with the process that ran it, after which the backend works on. Closing the iterator cancels
        what has not started and leaves no worker busy for longer than one task.
        """


@runtime_checkable
class Store(Protocol):
    """A ledger of utility values by 16-byte keys; append-only, content-addressed."""

    def get(self, keys: ByteArray) -> tuple[FloatArray, BoolArray]:
        """Return values [b] and which of `keys` [b, 16] were found; 0.0 where not."""

    def put(self, keys: ByteArray, values: FloatArray) -> None:
        """Record `values` [b] under `keys` [b, 16]; what is there already stays."""

    def __len__(self) -> int:
        """Return the number of records."""

    def close(self) -> None:
        """Release files and connections; safe to call twice."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Utility values of a batch and which of them are stand-ins for failed fits."""

    values: FloatArray
    failed: BoolArray


@runtime_checkable
class ReportsFailures(Protocol):
    """A utility that tells which coalitions it could not evaluate."""

    def evaluate(self, coalitions: BoolArray) -> Evaluation:
        """Return values and failures of each row of `coalitions` [b, n]."""


@runtime_checkable
class Fingerprinted(Protocol):
    """A utility whose values can be recognised in a store and after a restart."""

    @property
    def fingerprint(self) -> str | None:
        """Digest of all that determines the values; None if that cannot be known."""

    @property
    def batch_invariant(self) -> bool:
        """Whether a coalition has the same value, to the bit, in whatever batch it comes."""


@runtime_checkable
class Seedable(Protocol):
    """A utility whose randomness can be fixed."""

    def with_seed(self, seed: int) -> Self:
        """Return a copy whose randomness follows from `seed`, the same for every coalition."""
