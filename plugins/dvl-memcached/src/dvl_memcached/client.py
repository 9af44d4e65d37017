"""Batches over one connection of pymemcache: a request for thousands of records, one answer.

pymemcache has no batch of `add`, and reads an answer in small pieces. Here it makes and pools the
connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar
from urllib.parse import quote

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheUnexpectedCloseError, MemcacheUnknownError

__all__ = ["NOT_STORED", "SERVER_ERROR", "BatchClient"]

R = TypeVar("R")

NOT_STORED = b"NOT_STORED"
SERVER_ERROR = b"SERVER_ERROR"

_ANSWERS = {b"STORED", NOT_STORED, b"EXISTS", b"NOT_FOUND"}
_RECEIVED_AT_ONCE = 1 << 16
_PAUSE_WHILE_BUSY = 0.01


class BatchClient(Client):
    """One connection; whoever uses it closes it after any exception.

    ``timeout`` is the time that the whole answer to a request may take.
    """

    def look_up(self, names: Sequence[bytes]) -> dict[bytes, tuple[bytes, bytes]]:
        """Return what is there under `names`: content, and the number of this very content."""
        return self._exchange(b"gets %b\r\n" % b" ".join(names), _values)

    def add(self, names: Iterable[bytes], contents: Iterable[bytes], expire: int) -> list[bytes]:
        """Write `contents` under those of `names` that have none; return an answer for each."""
        return self._store(
            [
                b"add %b 0 %d %d\r\n%b\r\n" % (name, expire, len(content), content)
                for name, content in zip(names, contents, strict=True)
            ]
        )

    def replace(self, entries: Iterable[tuple[bytes, bytes, bytes]], expire: int) -> list[bytes]:
        """Write each (name, number, content) if what is there still has that number."""
        return self._store(
            [
                b"cas %b 0 %d %d %b\r\n%b\r\n" % (name, expire, len(content), number, content)
                for name, number, content in entries
            ]
        )

    def count(self, start: str) -> int:
        """Return how many names begin with `start`, or of all if the server cannot list them."""
        listed = b"\nkey=%b" % quote(start, safe="").encode()
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            listing = self._exchange(b"lru_crawler metadump hash\r\n", _listing, long=True)
            if listing.endswith(b"END\r\n"):
                return listing.count(listed) + listing.startswith(listed[1:])
            if not listing.startswith(b"BUSY"):
                break
            time.sleep(_PAUSE_WHILE_BUSY)
        return int(self.stats()[b"curr_items"])

    def _store(self, commands: Sequence[bytes]) -> list[bytes]:
        """Send commands that are answered by one line each; return the lines."""

        def parsed(reply: bytearray) -> list[bytes] | None:
            lines = bytes(reply).split(b"\r\n")[:-1]
            unknown = [line for line in set(lines) - _ANSWERS if not line.startswith(SERVER_ERROR)]
            if unknown or len(lines) > len(commands):
                raise MemcacheUnknownError((unknown or lines)[-1][:80])
            return lines if len(lines) == len(commands) else None

        return self._exchange(b"".join(commands), parsed)

    def _exchange(
        self, request: bytes, parsed: Callable[[bytearray], R | None], *, long: bool = False
    ) -> R:
        """Send `request` and return the answer, once `parsed` takes it for complete.

        A `long` answer may take as long as it wants if only something comes all the time.
        """
        if self.sock is None:
            # Connects, and makes sure that it is memcached that answers.
            self.version()
        self.sock.settimeout(self.timeout)
        deadline = time.monotonic() + self.timeout
        self.sock.sendall(request)
        reply = bytearray()
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("timed out")
            self.sock.settimeout(remaining)
            piece = self.sock.recv(_RECEIVED_AT_ONCE)
            if not piece:
                raise MemcacheUnexpectedCloseError("the server closed the connection")
            reply += piece
            if long:
                deadline = time.monotonic() + self.timeout
            if piece.endswith(b"\n"):
                answer = parsed(reply)
                if answer is not None:
                    return answer


def _values(reply: bytearray) -> dict[bytes, tuple[bytes, bytes]] | None:
    """Return content and number by name from the answer to ``gets``; None if it goes on.

    Contents are skipped by their length: they may look like anything.
    """
    if reply.startswith(b"VALUE ") and not reply.endswith(b"END\r\n"):
        return None
    text, position = bytes(reply), 0
    found: dict[bytes, tuple[bytes, bytes]] = {}
    while (end := text.find(b"\r\n", position)) >= 0:
        line = text[position:end]
        if line == b"END":
            return found
        word, *fields = line.split(b" ")
        if word != b"VALUE" or len(fields) != 4 or not fields[2].isdigit():
            raise MemcacheUnknownError(line[:80])
        name, _, size, number = fields
        position = end + 2 + int(size) + 2
        found[name] = text[end + 2 : position - 2], number
    return None


def _listing(reply: bytearray) -> bytearray | None:
    """Return the answer to ``metadump`` if it is complete: names, or why there are none."""
    if reply.startswith(b"key=") and not reply.endswith(b"END\r\n"):
        return None
    return reply
