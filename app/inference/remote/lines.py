"""Server-sent events from bytes that nobody vouches for: lines and the whole are bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

MAX_EVENT_BYTES: Final = 1 << 20
MAX_STREAM_BYTES: Final = 256 << 20


class ProtocolViolation(Exception):
    """What came makes no sense. The text goes on after “What the server sends …”."""


class SseParser:
    """Give `feed` the bytes as they come. An event that is cut off at the end is none.

    llama-server used to tell an error in a field of that name: it counts as data, too.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._total = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """The data of each event that is whole now. Raises Garbage."""
        self._total += len(piece)
        if self._total > MAX_STREAM_BYTES:
            raise ProtocolViolation("does not end")
        *whole, rest = piece.split(b"\n")
        for end in whole:
            self._rest += end
            line = bytes(self._rest).removesuffix(b"\r")
            self._rest.clear()
            if line:
                self._take(line)
            elif self._data:
                yield self._event()
        self._rest += rest
        if len(self._rest) + self._size > MAX_EVENT_BYTES:
            raise ProtocolViolation("has events without end")

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name in {b"data", b"error"}:
            self._data.append(value.removeprefix(b" "))
            self._size += len(value) + 1

    def _event(self) -> str:
        data, self._data, self._size = b"\n".join(self._data), [], 0
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise ProtocolViolation("is not text") from error
