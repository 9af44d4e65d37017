"""A ledger on memcached servers, shared by all runs and workers that reach them."""

from __future__ import annotations

import os
import re
import secrets
import time
import weakref
from collections.abc import Sequence
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dvl_core.errors import InvalidOptionError, MissingDependencyError
from dvl_core.options import Described
from dvl_core.stores.memory import checked_keys, checked_records
from dvl_memcached.records import name_start, names_of, packed, unpacked
from dvl_memcached.servers import parsed_servers, server_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dvl_core.protocols import BoolArray, ByteArray, FloatArray, IntArray
    from dvl_memcached.client import BatchClient
    from dvl_memcached.connections import Connections

__all__ = ["MemcachedStore"]

_BATCH = 2_000
"""Records in a request: their answers fit into the buffers of a connection, whatever they are."""

_PREFIX = re.compile(r"[!-~]{1,200}")
_LONGEST_RELATIVE = 30 * 24 * 3_600
"""Seconds: memcached takes a larger number for a point in time."""


class MemcachedStore(Described):
    """A ledger on memcached servers.

    Records are 13 bytes: version, value and a checksum of key and value. Nothing is unpickled, and
    whatever else a server has under the name of a record (garbage, entries of other programs or
    versions, records of other keys) is not found, and replaced by the next `put`.

    Servers may forget: when they are full, restarted, or told to. They may also fail, time out, or
    not be there at all. What they do not answer is not found, what they do not keep is computed
    again, and a run goes on with the same values; the first failure is a `DvlWarning`, once in each
    process. A server that failed is left alone for `pause` seconds and then tried again.

    Constructing connects to nothing. A store serves several threads and forked processes; a pickled
    copy has the same servers and options, and connects for itself.

    Parameters
    ----------
    servers : str or sequence of (str, int)
        ``"host:port"``, several of them with commas between, or ``[(host, port), ...]``. Each key
        has its server; all clients must name the same servers, in any order.
    prefix : str
        What the names of all entries begin with: letters, digits and signs, no spaces. Runs with
        different prefixes do not see each other's records.
    timeout : float
        Seconds that the answer to a request of up to 2,000 records may take.
    connect_timeout : float
        Seconds that connecting may take.
    pause : float
        Seconds for which a server that failed is left alone.
    expire : int
        Seconds after which servers forget a record; 0: never.

    Raises
    ------
    InvalidOptionError
        If an option is out of range, or a server has no such address.
    MissingDependencyError
        If pymemcache is not installed.

    Notes
    -----
    Whoever can write to a server can forge records: the checksum is against accidents. Servers
    belong into a network that one trusts.

    Examples
    --------
    >>> MemcachedStore("10.0.0.1:11211,10.0.0.2:11211", expire=86_400)
    MemcachedStore(servers=(('10.0.0.1', 11211), ('10.0.0.2', 11211)), expire=86400)
    """

    def __init__(
        self,
        servers: str | Sequence[tuple[str, int]] = "127.0.0.1:11211",
        *,
        prefix: str = "dvl",
        timeout: float = 1.0,
        connect_timeout: float = 1.0,
        pause: float = 10.0,
        expire: int = 0,
    ) -> None:
        _connections_class()
        self.servers = parsed_servers(servers)
        if not _PREFIX.fullmatch(prefix):
            raise InvalidOptionError(
                f"prefix must be 1 to 200 printable ASCII characters without spaces, got {prefix!r}"
            )
        for name, seconds in (("timeout", timeout), ("connect_timeout", connect_timeout)):
            if not 0 < seconds < float("inf"):
                raise InvalidOptionError(f"{name} must be a positive number, got {seconds!r}")
        if not pause >= 0:
            raise InvalidOptionError(f"pause must be 0 or more seconds, got {pause!r}")
        if not (isinstance(expire, int) and expire >= 0):
            raise InvalidOptionError(f"expire must be 0 or more whole seconds, got {expire!r}")
        self.prefix = prefix
        self.timeout = timeout
        self.connect_timeout = connect_timeout
        self.pause = pause
        self.expire = expire
        self._name = secrets.token_hex(8)
        self._start()

    def get(self, keys: ByteArray) -> tuple[FloatArray, BoolArray]:
        """Look up a batch.

        Parameters
        ----------
        keys : uint8 array [b, 16]
            Digests.

        Returns
        -------
        values : float array [b]
            Recorded values, 0.0 where there is none or no server answers.
        found : bool array [b]
            Which keys have a record.

        Raises
        ------
        StoreError
            If the keys have another shape.
        """
        keys = checked_keys(keys)
        values, found = np.zeros(len(keys)), np.zeros(len(keys), dtype=bool)
        connections = self._connections()
        nothing: dict[bytes, tuple[bytes, bytes]] = {}
        for number, batch in self._batches(keys):
            asked = keys[batch]
            names = names_of(asked, self.prefix)
            there = connections.attempt(number, methodcaller("look_up", names), nothing)
            contents = [there.get(name, (b"", b""))[0] for name in names]
            values[batch], found[batch] = unpacked(asked, contents)
        return values, found

    def put(self, keys: ByteArray, values: FloatArray) -> None:
        """Record a batch; a key that has a sound record keeps it, whoever wrote it.

        Parameters
        ----------
        keys : uint8 array [b, 16]
            Digests.
        values : float array [b]
            Any number or infinity.

        Raises
        ------
        StoreError
            If a value is NaN or the shapes do not match; nothing of the batch is recorded then.
        """
        keys, values = checked_records(keys, values)
        connections = self._connections()
        for number, batch in self._batches(keys):
            record = partial(self._record, keys=keys[batch], values=values[batch])
            complaint = connections.attempt(number, record, None)
            if complaint is not None:
                connections.refused(number, complaint)

    def __len__(self) -> int:
        """Return the number of records with this prefix on the servers that answer.

        It has a server list the names of all its entries: some seconds for millions of them. One
        that cannot, because it is older than 1.6 or was told not to, gives the number of all.
        """
        connections = self._connections()
        count = methodcaller("count", name_start(self.prefix))
        return sum(connections.attempt(number, count, 0) for number in range(len(self.servers)))

    def close(self) -> None:
        """Close the connections; safe to call twice, and a later use connects again."""
        _close(self._open)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def _start(self) -> None:
        """Begin without connections; those to come are closed with the store."""
        self._open: dict[int, Connections] = {}
        weakref.finalize(self, _close, self._open)

    def _connections(self) -> Connections:
        """Return the connections of this process: a forked child must not use its parent's."""
        process = os.getpid()
        connections = self._open.get(process)
        if connections is None:
            connections = _connections_class()(
                self.servers, self._name, self.timeout, self.connect_timeout, self.pause
            )
            # Of two threads that come here at once, the first wins; nothing is connected yet.
            return self._open.setdefault(process, connections)
        return connections

    def _batches(self, keys: ByteArray) -> Iterator[tuple[int, IntArray]]:
        """Yield numbers of servers, and positions [m] of keys that such a server has."""
        numbers = server_numbers(keys, self.servers)
        for number in range(len(self.servers)):
            positions = np.flatnonzero(numbers == number)
            for start in range(0, len(positions), _BATCH):
                yield number, positions[start : start + _BATCH]

    def _record(self, client: BatchClient, keys: ByteArray, values: FloatArray) -> bytes | None:
        """Write records [b] where there is none; return what the server complains of, if it does.

        What is there but no record is replaced only if it is still the same when the replacement
        comes: of several clients that found it, one replaces it.
        """
        from dvl_memcached.client import NOT_STORED, SERVER_ERROR

        expire = self.expire
        if expire > _LONGEST_RELATIVE:
            expire += int(time.time())
        names, contents = names_of(keys, self.prefix), packed(keys, values)
        answers = client.add(names, contents, expire)
        taken = [i for i, answer in enumerate(answers) if answer == NOT_STORED]
        if taken:
            there = client.look_up([names[i] for i in taken])
            present = [there.get(names[i], (contents[i], b"")) for i in taken]
            _, sound = unpacked(keys[taken], [content for content, _ in present])
            garbage = [
                (names[i], number, contents[i])
                for i, (_, number), is_sound in zip(taken, present, sound, strict=True)
                if not is_sound
            ]
            if garbage:
                answers += client.replace(garbage, expire)
        return next((answer for answer in answers if answer.startswith(SERVER_ERROR)), None)


def _close(connections: dict[int, Connections]) -> None:
    """Close the connections of this process."""
    mine = connections.pop(os.getpid(), None)
    if mine is not None:
        mine.close()


def _connections_class() -> type[Connections]:
    """Return the class that needs pymemcache."""
    try:
        from dvl_memcached.connections import Connections
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"MemcachedStore needs the package {error.name}: pip install pymemcache"
        ) from error
    return Connections
