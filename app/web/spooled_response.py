"""Answers that are made whole before the first byte of them goes out.

What breaks while it is made is then an error with its status, and never a file that ends in the
middle and looks whole. It lies on the disk meanwhile, and its size is told.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Final

from quart import Response

from app.errors import DiskFull

CHUNK_BYTES: Final = 256 << 10


async def spooled(pieces: AsyncIterator[bytes], content_type: str) -> Response:
    """The answer with all of these pieces. Raises DiskFull, and whatever making them raises."""
    try:
        file = await asyncio.to_thread(tempfile.TemporaryFile)
    except OSError as error:
        raise _no_room() from error
    try:
        size = await _fill(file, pieces)
    except BaseException:
        file.close()
        raise
    response = Response(_sent(file), content_type=content_type)
    response.timeout = None
    response.content_length = size
    return response


async def _fill(file: IO[bytes], pieces: AsyncIterator[bytes]) -> int:
    size, buffer = 0, bytearray()
    async for piece in pieces:
        buffer += piece
        if len(buffer) >= CHUNK_BYTES:
            size += await _write(file, bytes(buffer))
            buffer.clear()
    size += await _write(file, bytes(buffer))
    await asyncio.to_thread(file.seek, 0)
    return size


async def _write(file: IO[bytes], data: bytes) -> int:
    try:
        return await asyncio.to_thread(file.write, data)
    except OSError as error:
        raise _no_room() from error


async def _sent(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield data


def _no_room() -> DiskFull:
    return DiskFull("There is no room left for temporary files here, so nothing was exported.")
