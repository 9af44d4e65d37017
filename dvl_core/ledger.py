"""The ledger: utility values recorded by content, so that no coalition is paid for twice.

A record is keyed by the utility's fingerprint and the coalition, never by order, index or run.
Where the value of a coalition may depend, in its last bits, on the batch it was computed in (a
batched model, a matrix product), the key includes the batch: a block is then answered whole or not
at all, and a run that uses a store equals one that does not, to the bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import UtilityError
from dvl_core.protocols import Evaluation, Fingerprinted, ReportsFailures

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, ByteArray, FloatArray, Store, Utility

__all__ = ["Ledger", "coalition_keys", "fingerprint_if_known", "values_through_store"]


def coalition_keys(fingerprint: str, coalitions: BoolArray, whole_batch: bool = False) -> ByteArray:
    """Return the keys [b, 16] of `coalitions` [b, n] for the utility with this `fingerprint`.

    Parameters
    ----------
    fingerprint : str
        Digest of all that determines the values.
    coalitions : bool array [b, n]
        One coalition a row.
    whole_batch : bool
        Make the keys depend on the whole batch.

    Examples
    --------
    >>> import numpy as np
    >>> keys = coalition_keys("game", np.eye(3, dtype=bool))
    >>> keys.shape
    (3, 16)
    """
    packed = np.packbits(coalitions, axis=1)
    context = hashlib.blake2b(f"{fingerprint}:{coalitions.shape[1]}:".encode(), digest_size=32)
    if whole_batch:
        context.update(packed.tobytes())
    secret = context.digest()
    raw, width = packed.tobytes(), packed.shape[1]
    digests = [
        hashlib.blake2b(raw[i * width : (i + 1) * width], digest_size=16, key=secret).digest()
        for i in range(len(packed))
    ]
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 16)


def fingerprint_if_known(utility: Utility | None) -> str | None:
    """Return the fingerprint of a utility that has one."""
    return utility.fingerprint if isinstance(utility, Fingerprinted) else None


def evaluate(utility: Utility, coalitions: BoolArray) -> Evaluation:
    """Return checked values, and failures where the utility reports them.

    Raises
    ------
    UtilityError
        If the utility returns another shape than [b], or a value that is not finite.
    """
    if isinstance(utility, ReportsFailures):
        evaluation = utility.evaluate(coalitions)
    else:
        none = np.zeros(len(coalitions), dtype=bool)
        evaluation = Evaluation(np.asarray(utility(coalitions), dtype=float), none)
    if evaluation.values.shape != (len(coalitions),):
        raise UtilityError(
            f"the utility returned values of shape {evaluation.values.shape} for "
            f"{len(coalitions)} coalitions; expected ({len(coalitions)},)"
        )
    bad = np.flatnonzero(~np.isfinite(evaluation.values))
    if len(bad):
        members = np.flatnonzero(coalitions[bad[0]])
        shown = ", ".join(map(str, members[:10])) + (", ..." if len(members) > 10 else "")
        raise UtilityError(
            f"the utility is {evaluation.values[bad[0]]} on the coalition of {len(members)} "
            f"players [{shown}]; it must be finite"
        )
    return evaluation


@dataclass
class Ledger:
    """A utility as a block sees it: through the store, counting, collecting what is new.

    Parameters
    ----------
    utility : Utility
        Bound utility.
    fingerprint : str, optional
        Its fingerprint; None: the store is not used.
    store : Store, optional
        Where to look values up. Nothing is written: what is new is collected in `keys` and
        `values`, and recorded by whoever folds the block.
    """

    utility: Utility
    fingerprint: str | None = None
    store: Store | None = None
    n_evaluations: int = 0
    n_computed: int = 0
    n_failures: int = 0
    keys: list[ByteArray] = field(default_factory=list)
    values: list[FloatArray] = field(default_factory=list)

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        """Return the utilities [b] of `coalitions` [b, n]."""
        if len(coalitions) == 0:
            return np.zeros(0)
        self.n_evaluations += len(coalitions)
        if self.store is None or self.fingerprint is None:
            return self._compute(coalitions).values
        invariant = isinstance(self.utility, Fingerprinted) and self.utility.batch_invariant
        keys = coalition_keys(self.fingerprint, coalitions, whole_batch=not invariant)
        values, found = self.store.get(keys)
        if found.all():
            return values
        missing = ~found if invariant else np.ones(len(found), dtype=bool)
        computed = self._compute(coalitions[missing])
        values = values.copy()
        values[missing] = computed.values
        # A stand-in for a failed fit is not recorded: a later run must count the failure too.
        kept = ~computed.failed
        self.keys.append(keys[missing][kept])
        self.values.append(computed.values[kept])
        return values

    def _compute(self, coalitions: BoolArray) -> Evaluation:
        """Evaluate and count."""
        evaluation = evaluate(self.utility, coalitions)
        self.n_computed += len(coalitions)
        self.n_failures += int(evaluation.failed.sum())
        return evaluation

    def new_records(self) -> tuple[ByteArray, FloatArray]:
        """Return keys [m, 16] and values [m] that the store does not have yet."""
        if not self.keys:
            return np.zeros((0, 16), dtype=np.uint8), np.zeros(0)
        return np.concatenate(self.keys), np.concatenate(self.values)


def values_through_store(utility: Utility, coalitions: BoolArray, store: Store) -> FloatArray:
    """Return utilities [b], from `store` where it has them, and record those computed."""
    ledger = Ledger(utility, fingerprint_if_known(utility), store)
    values = ledger(coalitions)
    keys, new = ledger.new_records()
    if len(keys):
        store.put(keys, new)
    return values
