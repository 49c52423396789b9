"""Bodies of requests as they were before they were compressed, inflated no further than allowed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any, Final

from app.errors import ApiError

ACCEPTED: Final = ("gzip", "deflate")
_GZIP: Final = 16 + zlib.MAX_WBITS
_DAMAGED: Final = "The compressed body of this request is damaged."


class TooLarge(Exception):
    """More than was allowed."""


async def gather(pieces: AsyncIterator[bytes], encoding: str, most: int) -> bytes:
    """The whole body. Raises TooLarge, and ApiError for an encoding that is unknown or damaged."""
    kind = encoding.strip().lower().removeprefix("x-") or "identity"
    if kind not in {*ACCEPTED, "identity"}:
        sentence = f"Compressed as “{kind}” Wick cannot read this; it takes gzip and deflate."
        raise ApiError(sentence, status=415)
    inflater = None if kind == "identity" else Inflater(kind)
    whole = bytearray()
    async for piece in pieces:
        if inflater is None:
            whole += piece
        else:  # the event loop serves others meanwhile
            whole += await asyncio.to_thread(inflater.feed, piece, most + 1 - len(whole))
        if len(whole) > most:
            raise TooLarge
    if inflater is not None and whole:
        inflater.check_end()
    return bytes(whole)


class Inflater:
    """One body, piece by piece. `deflate` may come with or without the head that it should have."""

    def __init__(self, kind: str) -> None:
        self._is_gzip = kind == "gzip"
        self._stream: Any = None

    def feed(self, piece: bytes, most: int) -> bytes:
        """Decode the body, to never more than `most` bytes. Raises ApiError."""
        inflated = bytearray()
        try:
            while piece and len(inflated) < most:
                if self._stream is None or self._stream.eof:
                    self._stream = self._opened(piece)
                inflated += self._stream.decompress(piece, most - len(inflated))
                piece = self._stream.unused_data if self._stream.eof else b""
                if piece and not self._is_gzip:
                    raise ApiError(_DAMAGED)
        except zlib.error as error:
            raise ApiError(_DAMAGED) from error
        return bytes(inflated)

    def _opened(self, piece: bytes) -> Any:
        if self._is_gzip:
            return zlib.decompressobj(_GZIP)
        has_head = piece[0] & 0x0F == zlib.DEFLATED and piece[0] >> 4 <= 7
        return zlib.decompressobj(zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS)

    def check_end(self) -> None:
        """Raises ApiError when the rest is missing."""
        if not self._stream.eof:
            raise ApiError(_DAMAGED)
