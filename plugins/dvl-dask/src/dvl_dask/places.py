"""Which workers of a cluster can take a task, and what to do while there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dvl_core.errors import DvlError, InvalidOptionError, WorkerError
from dvl_core.flights import Demand

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Places", "checked_resources"]

AHEAD = 2
"""Tasks under way for each that runs: one runs while the next one waits at its worker."""
FAR_AHEAD = 6
"""The same where the cluster is to grow, which it does if much is waiting."""


def checked_resources(resources: Mapping[str, float] | None) -> dict[str, float] | None:
    """Return what a task takes of its worker, or None for nothing.

    Raises
    ------
    InvalidOptionError
        If they are no mapping of names to positive numbers.
    """
    if resources is None:
        return None
    if not isinstance(resources, Mapping):
        raise InvalidOptionError(
            f'resources must be a mapping like {{"GPU": 1}}, got {resources!r}'
        )
    for name, amount in resources.items():
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not amount > 0:
            raise InvalidOptionError(
                f"resources: a task must take a positive number of {name!r}, got {amount!r}"
            )
    return dict(resources) or None


@dataclass
class Places:
    """Where tasks can run on a cluster.

    Parameters
    ----------
    client : Client
        Of the cluster.
    resources : dict, optional
        What a task takes of its worker.
    worker_timeout : float
        Seconds to wait for a worker that can take a task.
    """

    client: Client
    resources: dict[str, float] | None
    worker_timeout: float
    _have_been: bool = field(default=False, init=False)

    def demand(self, n_jobs: int | None) -> Demand:
        """Return how many tasks to run at the same time and to have under way.

        Parameters
        ----------
        n_jobs : int, optional
            How many to run; None: as many as the cluster can, or can grow to.
        """
        there = self._by_worker()
        now = sum(there.values())
        if n_jobs is not None and n_jobs < now:
            # Nothing in reserve: it would run.
            return Demand(n_jobs, n_jobs)
        wanted = n_jobs or max(1, now, self._to_come(there))
        return Demand(wanted, wanted * (FAR_AHEAD if wanted > now else AHEAD))

    def exist(self) -> bool:
        """Return whether a worker can take a task."""
        return any(self._by_worker().values())

    def wait(self) -> list[str]:
        """Return the addresses of the workers that can take a task, once there is one.

        Raises
        ------
        InvalidOptionError
            If there are workers, and none of them ever had such resources.
        DvlError
            If none comes in time.
        WorkerError
            If the scheduler is gone.
        """
        places = self._by_worker()
        if not any(places.values()):
            if places and not self._have_been:
                raise InvalidOptionError(self._impossible())
            self._call_for_worker()
            places = self._by_worker()
        self._have_been = True
        return [address for address, number in places.items() if number > 0]

    def no_worker(self) -> DvlError:
        """Return the error that no worker came in time."""
        kind = "" if self.resources is None else f" with the resources {self.resources}"
        return DvlError(
            f"the Dask cluster had no worker{kind} for {self.worker_timeout:g} s: start workers, "
            "or wait longer with the option worker_timeout"
        )

    def _call_for_worker(self) -> None:
        """Wait with a task that nobody can run yet: that is what makes adaptive clusters grow."""
        call = self.client.submit(_nothing, pure=False, resources=self.resources)
        try:
            call.exception(timeout=self.worker_timeout)
        except TimeoutError:
            self.client.cancel([call])
            raise self.no_worker() from None
        if call.status != "finished":
            raise WorkerError(f"the Dask cluster lost a task that does nothing ({call.status})")

    def _impossible(self) -> str:
        assert self.resources is not None
        offers = [worker["resources"] for worker in self._workers().values()]
        best = ", ".join(
            f"{max((offer.get(name, 0) for offer in offers), default=0):g} {name}"
            for name in self.resources
        )
        return (
            f"no worker of the Dask cluster can run a task that takes {self.resources}: the best "
            f"of {len(offers)} offers {best}; start workers with such resources, as in 'dask "
            'worker --resources "GPU=1"\', or ask for less'
        )

    def _by_worker(self) -> dict[str, int]:
        """Return how many tasks each worker can run at the same time, by its address."""
        try:
            if self.resources is None:
                return dict(self.client.nthreads())
            workers = self._workers()
        except (OSError, RuntimeError) as error:
            # A client that has given up says so by a RuntimeError.
            raise WorkerError(f"the scheduler of Dask does not answer: {error}") from error
        return {
            address: min(
                worker["nthreads"],
                *(
                    int(worker["resources"].get(name, 0) // need)
                    for name, need in self.resources.items()
                ),
            )
            for address, worker in workers.items()
        }

    def _to_come(self, there: dict[str, int]) -> int:
        """Return how many tasks an adaptive cluster can grow to run; 0 if it does not grow.

        That is known of a cluster that this process made. One without a limit may double.
        """
        adaptive = getattr(self.client.cluster, "_adaptive", None)
        if adaptive is None:
            return 0
        if math.isinf(adaptive.maximum):
            return 2 * max(1, sum(there.values()))
        return int(adaptive.maximum) * max([1, *there.values()])

    def _workers(self) -> dict[str, Any]:
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])


def _nothing() -> None:
    """Do nothing; on a worker."""
