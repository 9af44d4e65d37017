"""The connection of this process to a cluster: Ray knows one, which all backends share."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from dvl_core.errors import DvlError, InvalidOptionError, MissingDependencyError, WorkerError
from dvl_ray.processes import command_of, end_all, family_of, lives

__all__ = ["Session", "join"]

SECONDS_TO_ANSWER = 5.0
TRIES_TO_START = 3
"""Ray gives up after half a minute, which a busy machine may take."""

_TOKEN = "; if the cluster asks for a token, set the environment variable RAY_AUTH_MODE=token"

_VITAL = ("raylet/raylet", "gcs_server")

_lock = threading.RLock()
_current: Session | None = None


@dataclass(eq=False)
class Session:
    """A connection, as long as it lasts.

    Parameters
    ----------
    connection : tuple
        What tells it from a later one.
    ours : bool
        Whether it was opened here, and with it perhaps a cluster.
    runtime_env : dict, optional
        That of all its tasks.
    started : list of psutil.Process
        What was started for it.
    """

    connection: tuple[str, ...]
    ours: bool
    runtime_env: dict[str, Any] | None
    started: list[Any] = field(default_factory=list)
    process: int = field(default_factory=os.getpid)

    def __post_init__(self) -> None:
        self._vital = [p for p in self.started if any(word in command_of(p) for word in _VITAL)]

    @property
    def has_died(self) -> bool:
        """Whether a process has ended without which a cluster that was started here is lost."""
        return not all(map(lives, self._vital))

    @property
    def is_open(self) -> bool:
        """Whether it is still the connection of this process; the cluster may be gone."""
        return self.process == os.getpid() and _connection() == self.connection

    @property
    def answers(self) -> bool:
        """Whether somebody answers at the address of the cluster."""
        # A connection through Ray Client reports by itself that it was lost.
        return len(self.connection) < 2 or _answers(self.connection[0])

    def nodes(self) -> list[dict[str, Any]]:
        """Return the living nodes of the cluster, as ``ray.nodes`` describes them.

        Raises
        ------
        WorkerError
            If the cluster does not say, or there is none.
        """
        import ray

        try:
            living = [node for node in ray.nodes() if node["Alive"]]
        except Exception as error:
            raise WorkerError(f"the Ray cluster does not tell its nodes: {error}") from error
        if not living:
            self.end()
            raise WorkerError("no node of the Ray cluster is alive")
        return living

    def end(self) -> None:
        """End the connection if it was opened here, and what was started with it."""
        global _current
        with _lock:
            if _current is self:
                _current = None
            if self.ours and self.is_open:
                import ray

                family = [p for parent in self.started for p in family_of(parent)]
                # Newer versions can wait until the processes are gone.
                waits = "wait_for_processes" in inspect.signature(ray.shutdown).parameters
                ray.shutdown(**({"wait_for_processes": True} if waits else {}))
                _tell_errors_to_stdout(True)
                end_all(family)


def join(
    address: str | None, cpus: int, runtime_env: dict[str, Any] | None
) -> tuple[Session, bool]:
    """Return the connection of this process, opened if there is none.

    Parameters
    ----------
    address : str, optional
        That of the cluster; None: what the environment variable ``RAY_ADDRESS`` says, else "local".
    cpus : int
        The number of CPUs of a cluster that is started.
    runtime_env : dict, optional
        For a connection that is opened.

    Returns
    -------
    session : Session
        The connection.
    opened : bool
        Whether it was opened now: it is for the caller to `end` it.

    Raises
    ------
    InvalidOptionError
        If no cluster answers at the address, or this process is connected to another one.
    MissingDependencyError
        If Ray is not installed.
    """
    global _current
    with _lock:
        connection = _connection()
        if connection is not None:
            if _current is None or not _current.is_open:
                _current = Session(connection, False, None)
            if _current.answers:
                _refuse_another(address, _current)
                return _current, False
            if not _current.ours:
                raise InvalidOptionError(
                    f"the Ray cluster at {connection[0]}, to which this process is connected, does "
                    "not answer: call ray.shutdown() and connect again"
                )
            _current.end()
        started = _open(address, cpus, runtime_env)
        _tell_errors_to_stdout(False)
        _current = Session(_connection() or (), True, runtime_env, started)
        return _current, True


def _connection() -> tuple[str, ...] | None:
    """Return what identifies the connection of this process; None if there is none."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    client = sys.modules.get("ray.util.client")
    if client is not None and client.ray.is_connected():
        return ("Ray Client",)
    context = ray.get_runtime_context()
    return (context.gcs_address, context.get_job_id())


def _open(address: str | None, cpus: int, runtime_env: dict[str, Any] | None) -> list[Any]:
    """Connect to a cluster, or start one; return the processes that were started."""
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            f"the backend ray needs the package ray ({error}): pip install ray"
        ) from error
    target = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if runtime_env:
        options["runtime_env"] = runtime_env
    if target == "local":
        return _start(num_cpus=cpus, **options)
    if ":" in target and "://" not in target and not _answers(target):
        raise InvalidOptionError(f"no Ray cluster answers at {target}")
    if target.startswith("ray://") and find_spec("grpc") is None:
        raise MissingDependencyError(
            f"the address {target!r} needs Ray Client: pip install 'ray[client]'"
        )
    with _own_sigterm():
        try:
            ray.init(target, **options)
        except ImportError as error:
            raise MissingDependencyError(
                f"the address {target!r} needs Ray Client ({error}): pip install 'ray[client]'"
            ) from error
        except (OSError, RuntimeError, ValueError) as error:
            asks = "" if "RAY_AUTH_MODE" in os.environ else _TOKEN
            raise InvalidOptionError(
                f"no connection to the Ray cluster {target!r}: {error}{asks}"
            ) from error
    return []


def _start(**options: Any) -> list[Any]:
    """Start a cluster on this machine; return its processes that are children of this one."""
    import psutil
    import ray

    this, home = psutil.Process(), os.path.dirname(ray.__file__)
    before = set(this.children())
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for tries_left in reversed(range(TRIES_TO_START)):
        failure: Exception | None = None
        try:
            with _on_loopback(), _own_sigterm():
                ray.init("local", include_dashboard=False, **options)
        except Exception as error:
            failure = error
        started = [p for p in this.children() if p not in before and home in command_of(p)]
        if failure is None:
            return started
        end_all([p for parent in started for p in family_of(parent)])
        if not tries_left:
            raise DvlError(f"Ray cannot start a cluster on this machine: {failure}") from failure
    raise AssertionError


def _refuse_another(address: str | None, session: Session) -> None:
    """Refuse an address that is not that of the connection."""
    if address is None or ":" not in address or "://" in address or len(session.connection) < 2:
        return
    here, there = (_host_and_port(a) for a in (session.connection[0], address))
    if here[1] == there[1] and _same_host(here[0], there[0]):
        return
    raise InvalidOptionError(
        f"this process is connected to the Ray cluster at {session.connection[0]} and cannot use "
        f"the one at {address}: close the other backend, or call ray.shutdown()"
    )


def _host_and_port(address: str) -> tuple[str, str]:
    """Split an address; that of an IPv6 host has brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def _same_host(one: str, other: str) -> bool:
    """Return whether two names stand for one host."""
    if one == other:
        return True
    try:
        found = [{entry[4][0] for entry in socket.getaddrinfo(host, None)} for host in (one, other)]
    except OSError:
        return False
    return bool(found[0] & found[1]) or _is_loopback(found[1])


def _is_loopback(addresses: set[Any]) -> bool:
    """Return whether these are addresses of this machine."""
    return all(str(a).startswith("127.") or a == "::1" for a in addresses)


def _answers(address: str) -> bool:
    """Return whether somebody listens at ``host:port``."""
    try:
        socket.create_connection(_host_and_port(address), timeout=SECONDS_TO_ANSWER).close()
    except (OSError, ValueError):
        return False
    return True


def _tell_errors_to_stdout(tell: bool) -> None:
    """Let Ray report the deaths of processes on stdout, as it does, or on stderr."""
    from ray._private import worker

    usual = getattr(worker, "print_to_stdstream", None)
    usual = getattr(usual, "usual", usual)
    if usual is None:
        return

    def to_stderr(data: dict[str, Any], *arguments: Any, **keywords: Any) -> None:
        usual(data | {"is_err": True}, *arguments, **keywords)

    to_stderr.usual = usual  # type: ignore[attr-defined]
    worker.print_to_stdstream = usual if tell else to_stderr


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let what Ray starts listen on the loopback interface, as it does on systems with firewalls.

    Asked for 127.0.0.1, Ray takes an address that others can reach.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what this process does at SIGTERM, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
