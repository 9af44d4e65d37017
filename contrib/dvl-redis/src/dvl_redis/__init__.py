"""A store of dvl in a Redis hash, shared by all processes that reach the server."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from dvl_core.errors import InvalidOptionError, MissingDependencyError, StoreError

__all__ = ["RedisStore"]

_VERSION = 1
_BATCH = 5_000

# Runs on the server, where nothing comes between the look and the write.
_REPLACE = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
"""


def _packed(key: bytes, value: float) -> bytes:
    """Return the record of a value: version, value, and a checksum that includes the key."""
    content = struct.pack("<Bd", _VERSION, value)
    return content + struct.pack("<I", zlib.crc32(key + content))


def _unpacked(key: bytes, content: bytes | None) -> float:
    """Return the value in a record of `key`; NaN for anything else."""
    if content is None or len(content) != 13:
        return np.nan
    value: float = struct.unpack("<d", content[1:9])[0]
    return value if content == _packed(key, value) else np.nan


def _fields(keys: np.ndarray) -> list[bytes]:
    """Return each of `keys` [b, 16] as bytes."""
    if keys.ndim != 2 or keys.shape[1] != 16 or keys.dtype != np.uint8:
        raise StoreError(f"keys must be uint8 [b, 16], got {keys.dtype} of shape {keys.shape}")
    content = keys.tobytes()
    return [content[i : i + 16] for i in range(0, len(content), 16)]


class RedisStore:
    """A ledger in a hash of a Redis server.

    Records have a checksum; nothing is unpickled, and what is no record is not found, and replaced
    by the next `put`. A server that cannot be reached is a `StoreError`.

    Parameters
    ----------
    url : str
        ``redis://[[user]:password@]host[:port][/database]``, also without ``redis://``.
    name : str
        Name of the hash.
    timeout : float
        Seconds that connecting, or an answer, may take.

    Examples
    --------
    >>> RedisStore("127.0.0.1:6379/0")
    RedisStore('redis://127.0.0.1:6379/0')
    """

    def __init__(
        self, url: str = "redis://127.0.0.1:6379/0", *, name: str = "dvl", timeout: float = 5.0
    ) -> None:
        try:
            from redis import Redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"RedisStore needs the package {error.name}: pip install redis"
            ) from error
        self.url = url if "://" in url else f"redis://{url}"
        self._shown = re.sub("//.*@", "//", self.url)
        self.name = name
        self.timeout = timeout
        limits = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        try:
            # Connects when used, once for each thread and forked process.
            self._client: Any = Redis.from_url(self.url, retry=Retry(NoBackoff(), 1), **limits)
        except ValueError as error:
            raise InvalidOptionError(f"{self._shown} is no URL of a server: {error}") from error

    def get(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [b] and which of `keys` [b, 16] were found; 0.0 where not."""
        fields = _fields(keys)
        contents: list[bytes | None] = []
        with self._errors_told():
            for start in range(0, len(fields), _BATCH):
                contents += self._client.hmget(self.name, fields[start : start + _BATCH])
        values = np.array(list(map(_unpacked, fields, contents)), dtype=np.float64)
        found = ~np.isnan(values)
        return np.where(found, values, 0.0), found

    def put(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Record `values` [b] under `keys` [b, 16]; what is there already stays."""
        fields, values = _fields(keys), np.asarray(values, dtype=np.float64)
        if values.shape != (len(fields),):
            raise StoreError(f"{len(fields)} keys came with values of shape {values.shape}")
        if np.isnan(values).any():
            raise StoreError("a value is NaN: nothing of its batch is recorded")
        records = list(zip(fields, map(_packed, fields, values.tolist()), strict=True))
        with self._errors_told():
            for start in range(0, len(records), _BATCH):
                self._put(records[start : start + _BATCH])

    def _put(self, records: list[tuple[bytes, bytes]]) -> None:
        """Write each (field, content) where there is no record yet."""
        writes = self._client.pipeline(transaction=False)
        for field, content in records:
            writes.hsetnx(self.name, field, content)
        taken = [record for record, new in zip(records, writes.execute(), strict=True) if not new]
        present = self._client.hmget(self.name, [field for field, _ in taken]) if taken else []
        for (field, content), there in zip(taken, present, strict=True):
            if there is not None and np.isnan(_unpacked(field, there)):
                self._client.eval(_REPLACE, 1, self.name, field, there, content)

    def __len__(self) -> int:
        """Return the number of records."""
        with self._errors_told():
            return int(self._client.hlen(self.name))

    def close(self) -> None:
        """Close the connections; safe to call twice, and a later use connects again."""
        self._client.close()
        self._client.connection_pool.disconnect()

    def __repr__(self) -> str:
        return f"RedisStore({self._shown!r})"

    def __reduce__(self) -> Any:
        return partial(type(self), name=self.name, timeout=self.timeout), (self.url,)

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """Turn what the client raises into `StoreError`."""
        from redis.exceptions import RedisError

        try:
            yield
        except RedisError as error:
            raise StoreError(f"Redis server at {self._shown} failed: {error}") from error
