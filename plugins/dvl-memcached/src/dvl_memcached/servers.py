"""Which servers there are, and which of them has which key."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, ByteArray, IntArray

__all__ = ["DEFAULT_PORT", "Address", "address_text", "parsed_servers", "server_numbers"]

Address = tuple[str, int]

DEFAULT_PORT = 11211


def parsed_servers(servers: str | Sequence[Any]) -> tuple[Address, ...]:
    """Return host and port of each server.

    Raises
    ------
    InvalidOptionError
        If one is not an address, one comes twice, or there is none.

    Examples
    --------
    >>> parsed_servers("cache-1:11300, cache-2, [::1]:11211")
    (('cache-1', 11300), ('cache-2', 11211), ('::1', 11211))
    >>> parsed_servers([("cache-1", 11300)])
    (('cache-1', 11300),)
    """
    if isinstance(servers, str):
        servers = servers.split(",")
    if not isinstance(servers, Sequence):
        raise InvalidOptionError(
            f"servers must be 'host:port' or [(host, port), ...], got {servers!r}"
        )
    addresses = tuple(_parsed(server) for server in servers)
    if not addresses:
        raise InvalidOptionError("servers is empty: name at least one, such as '127.0.0.1:11211'")
    if len(set(addresses)) < len(addresses):
        raise InvalidOptionError(f"a server comes twice in {servers!r}")
    return addresses


def _parsed(server: Any) -> Address:
    """Return host and port of one server, given as text or as a pair."""
    match server:
        case str():
            host, separator, port = server.strip().rpartition(":")
            if not separator or server.strip().endswith("]"):
                host, port = server.strip(), str(DEFAULT_PORT)
        case [str() as host, int() | str() as port]:
            pass
        case _:
            host = port = ""
    host = host.removeprefix("[").removesuffix("]")
    # A colon in a host that was not in brackets: an IPv6 address whose port cannot be told.
    ambiguous = isinstance(server, str) and ":" in host and "[" not in server
    if not host or ambiguous or not str(port).isdecimal() or not 0 < int(port) < 65_536:
        raise InvalidOptionError(
            f"{server!r} is not the address of a server: write 'host:port', '[IPv6 address]:port' "
            "or (host, port)"
        )
    return host, int(port)


def address_text(address: Address) -> str:
    """Return an address as ``host:port``.

    Examples
    --------
    >>> address_text(("::1", 11211))
    '[::1]:11211'
    """
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_numbers(keys: ByteArray, servers: Sequence[Address]) -> IntArray:
    """Return which of `servers` has each of `keys` [b, 16].

    Every server draws a number for every key, and the highest has it. So the order of the servers
    does not matter, and when one is added or removed, only the keys that it gets or had move.
    Thaler & Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions
    on Networking 6 (1998), section III.

    Examples
    --------
    >>> keys = np.arange(64, dtype=np.uint8).reshape(4, 16)
    >>> here, there = ("10.0.0.1", 11211), ("10.0.0.2", 11211)
    >>> server_numbers(keys, [here, there]) + server_numbers(keys, [there, here])
    array([1, 1, 1, 1])
    """
    if len(servers) == 1:
        return np.zeros(len(keys), dtype=np.int64)
    # Keys are digests: any eight bytes of them are as good as random.
    digests = keys.view("<u8").reshape(-1, 2)[:, 0]
    drawn = np.stack([_scrambled(digests ^ _seed(server)) for server in servers])
    highest: IntArray = np.argmax(drawn, axis=0)
    return highest


def _seed(server: Address) -> np.uint64:
    """Return a number that stands for a server, the same in every process."""
    digest = blake2b(address_text(server).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _scrambled(numbers: AnyArray) -> AnyArray:
    """Return `numbers` [b] with all their bits mixed: the output function of SplitMix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scrambled: AnyArray = numbers ^ (numbers >> np.uint64(31))
    return scrambled
