"""Bodies of requests and responses: their types and limits, and how they come and go.

What is uploaded comes no faster than it is taken, so a file of any size is held in memory nowhere.
What is exported is made whole before its first byte goes out: what breaks meanwhile is an error
with its status, and never a file that ends in the middle and looks whole.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Any, Final

from hypercorn.typing import ASGIReceiveCallable
from quart import Request, Response
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestTimeout

from app.conversations.imports.reader import MAX_FILE_BYTES
from app.errors import DiskFull

FORM: Final = "application/x-www-form-urlencoded"
NOT_JSON: Final = "Send JSON in UTF-8 with the header Content-Type: application/json."

MIB: Final = 1 << 20
IMPORT_PATH: Final = "/exchange/import"
UPLOAD_PREFIX: Final = "/models/upload/"
DEFAULT_BYTES: Final = MIB
_BY_PATH: Final = {
    "/v1/chat/completions": 8 * MIB,
    "/v1/completions": 16 * MIB,
    "/v1/embeddings": 16 * MIB,
    "/v1/rerank": 16 * MIB,
    "/api/chat": 8 * MIB,
    "/api/generate": 8 * MIB,
    "/api/embed": 16 * MIB,
    "/api/embeddings": 16 * MIB,
    IMPORT_PATH: MAX_FILE_BYTES + MIB,
}
MAX_BUFFERED_BYTES: Final = 4 << 20
"""Bytes of a body that may wait to be taken; then the sender has to wait."""
IDLE_TIMEOUT: Final = 30.0
"""Seconds between two pieces of a body, after which the rest of it is given up."""
CHUNK_BYTES: Final = 256 << 10


def is_json(mimetype: str) -> bool:
    """Return whether a body of this type is JSON. Without a type it is taken for that."""
    return mimetype in {"", "application/json"} or (
        mimetype.startswith("application/") and mimetype.endswith("+json")
    )


def max_body_bytes(path: str) -> int:
    """Return the limit, which holds for an inflated body too."""
    return _BY_PATH.get(path, DEFAULT_BYTES)


def format_size(size: int) -> str:
    return f"{size >> 20} MiB"


class BackpressuredBody(Body):
    """A body that says when it has been read, so that more of it may come."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._was_read = asyncio.Event()

    async def __anext__(self) -> bytes:
        try:
            async with asyncio.timeout(IDLE_TIMEOUT):
                data = await super().__anext__()
        except TimeoutError:
            raise RequestTimeout("The upload timed out.") from None
        self._was_read.set()
        return data

    async def wait_for_room(self) -> None:
        """Wait until less than MAX_BUFFERED_BYTES wait to be read."""
        while len(self._data) > MAX_BUFFERED_BYTES:
            self._was_read.clear()
            await self._was_read.wait()


class WickRequest(Request):
    """A request as large as its address takes: of any size where models are uploaded."""

    body_class = BackpressuredBody

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **options: Any) -> None:
        is_upload = method == "PUT" and path.startswith(UPLOAD_PREFIX)
        options["max_content_length"] = None if is_upload else max_body_bytes(path)
        self.max_content_length = max_body_bytes(path)
        if path == IMPORT_PATH:
            options["body_timeout"] = None  # it takes as long as it takes, while it comes
        super().__init__(method, scheme, path, *rest, **options)


class BackpressuredConnection(ASGIHTTPConnection):
    """Takes a body no faster than it is read. Quart alone would gather all of it in memory."""

    async def handle_messages(self, request: Request, receive: ASGIReceiveCallable) -> None:
        async def patiently() -> Any:
            if isinstance(request.body, BackpressuredBody):
                await request.body.wait_for_room()
            return await receive()

        await super().handle_messages(request, patiently)


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
