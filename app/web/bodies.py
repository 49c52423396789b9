"""Bodies of requests and responses: their types and limits, and how they come and go.

What is uploaded comes no faster than it is taken, so a file of any size is held in memory nowhere.
What is exported is made whole before its first byte goes out: what breaks meanwhile is an error
with its status, and never a file that ends in the middle and looks whole. Text goes out compressed.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar, Final

from hypercorn.typing import ASGIReceiveCallable
from quart import Quart, Request, Response, request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body
from quart.wrappers.response import DataBody, FileBody
from werkzeug.exceptions import RequestTimeout

from app.audit import audit
from app.config import DEFAULT_AUDIO_MB, Settings
from app.conversations.imports.reader import MAX_FILE_BYTES
from app.conversations.quotas import RETRY_SECONDS
from app.disk_reserve import ensure_kept_free
from app.documents.reader import MAX_DOCUMENT_BYTES
from app.errors import DiskFull, LimitReached
from app.media.audio import MAX_DICTATION_BYTES
from app.media.pictures import MAX_PICTURE_BYTES

FORM: Final = "application/x-www-form-urlencoded"
NOT_JSON: Final = "Send JSON in UTF-8 with the header Content-Type: application/json."

MIB: Final = 1 << 20
IMPORT_PATH: Final = "/exchange/import"
UPLOAD_PREFIX: Final = "/models/upload/"
DEFAULT_BYTES: Final = MIB
ATTACHMENT_BYTES: Final = max(MAX_PICTURE_BYTES, MAX_DOCUMENT_BYTES) + 1
"""One more than a file may have, so that one that is too large is told by its name."""
_BY_PATH: Final = {
    "/v1/chat/completions": 8 * MIB,
    "/v1/responses": 8 * MIB,
    "/v1/responses/input_tokens": 8 * MIB,
    "/v1/messages": 8 * MIB,
    "/v1/messages/count_tokens": 8 * MIB,
    "/tokenize": 8 * MIB,
    "/detokenize": 8 * MIB,
    "/apply-template": 8 * MIB,
    "/v1/completions": 16 * MIB,
    "/v1/embeddings": 16 * MIB,
    "/v1/rerank": 16 * MIB,
    "/api/chat": 8 * MIB,
    "/api/generate": 8 * MIB,
    "/api/embed": 16 * MIB,
    "/api/embeddings": 16 * MIB,
    "/dictation": MAX_DICTATION_BYTES + 1,
    "/attachments": ATTACHMENT_BYTES,
    "/attachments/temporary": ATTACHMENT_BYTES,
    "/folder-documents": 4 * MAX_DOCUMENT_BYTES,
    "/library/import": 9 * MIB,
    "/api/v1/library": 8 * MIB,
    "/api/v1/files": ATTACHMENT_BYTES,
    IMPORT_PATH: MAX_FILE_BYTES + MIB,
}
_AUDIO: Final = {
    "/v1/audio/transcriptions": MIB,
    "/v1/audio/translations": MIB,
    "/dictation/file": 1,
}
"""What a body has beside its recording, at most."""
MAX_BUFFERED_BYTES: Final = 4 << 20
"""Bytes of a body that may wait to be taken; then the sender has to wait."""
MAX_EXPORTS: Final = 2
IDLE_TIMEOUT: Final = 30.0
"""Seconds between two pieces of a body, after which the rest of it is given up."""
CHUNK_BYTES: Final = 256 << 10


def is_json(mimetype: str) -> bool:
    """Return whether a body of this type is JSON. Without a type it is taken for that."""
    return mimetype in {"", "application/json"} or (
        mimetype.startswith("application/") and mimetype.endswith("+json")
    )


def max_body_bytes(path: str, max_audio_mb: int = DEFAULT_AUDIO_MB) -> int:
    """Return the limit, which holds for an inflated body too."""
    if path in _AUDIO:
        return max_audio_mb * MIB + _AUDIO[path]
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
    max_audio_mb: ClassVar[int] = DEFAULT_AUDIO_MB

    @classmethod
    def limited(cls, settings: Settings) -> type[WickRequest]:
        """Return a class of requests with the limits of these settings."""
        return type(cls.__name__, (cls,), {"max_audio_mb": settings.max_audio_mb})

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **options: Any) -> None:
        is_upload = method == "PUT" and path.startswith(UPLOAD_PREFIX)
        most = max_body_bytes(path, self.max_audio_mb)
        options["max_content_length"] = None if is_upload else most
        self.max_content_length = most
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


class ExportSpool:
    """Files that are exported, on the disk until they are sent: MAX_EXPORTS of one user at a time.

    keep_free: bytes that they may not take of the disk that has `folder`, where they lie on it.
    """

    def __init__(self, folder: Path, keep_free: int) -> None:
        self._folder, self._keep_free = folder, keep_free
        self._counts = Counter[int]()

    async def response(
        self, user_id: int, pieces: AsyncIterator[bytes], content_type: str
    ) -> Response:
        """The answer with all of these pieces. Raises DiskFull, LimitReached, and whatever making
        them raises."""
        if self._counts[user_id] >= MAX_EXPORTS:
            audit("limit-reached", limit="exports", user=user_id)
            raise LimitReached(
                f"{MAX_EXPORTS} of your exports are on their way, the limit. Wait for one.",
                RETRY_SECONDS,
            )
        self._counts[user_id] += 1
        try:
            file = await asyncio.to_thread(tempfile.TemporaryFile)
        except OSError as error:
            self._counts[user_id] -= 1
            raise _disk_full() from error
        try:
            size = await self._fill(file, pieces)
        except BaseException:
            self._close(user_id, file)
            raise
        sent = _SentFile(file, partial(self._close, user_id, file))
        response = Response(sent, content_type=content_type)
        response.timeout = None
        response.content_length = size
        return response

    def _close(self, user_id: int, file: IO[bytes]) -> None:
        if not file.closed:
            file.close()
            self._counts[user_id] -= 1

    async def _fill(self, file: IO[bytes], pieces: AsyncIterator[bytes]) -> int:
        size, buffer = 0, bytearray()
        async for piece in pieces:
            buffer += piece
            if len(buffer) >= CHUNK_BYTES:
                size += await self._write(file, bytes(buffer))
                buffer.clear()
        size += await self._write(file, bytes(buffer))
        await asyncio.to_thread(file.seek, 0)
        return size

    async def _write(self, file: IO[bytes], data: bytes) -> int:
        def write() -> int:
            if os.fstat(file.fileno()).st_dev == self._folder.stat().st_dev:
                ensure_kept_free(self._folder, len(data), self._keep_free)
            return file.write(data)

        try:
            return await asyncio.to_thread(write)
        except OSError as error:
            raise _disk_full() from error


class _SentFile:
    """Chunks of a file, which is closed at its end, or when nobody wants them any more."""

    def __init__(self, file: IO[bytes], close: Callable[[], None]) -> None:
        self._file, self._close = file, close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._file.closed and (
            data := await asyncio.to_thread(self._file.read, CHUNK_BYTES)
        ):
            return data
        self._close()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._close()

    def __del__(self) -> None:  # of a response that was never begun
        self._close()


def _disk_full() -> DiskFull:
    return DiskFull("There is no room left for temporary files here; nothing was exported.")


# Text is what a page consists of, and gzip makes a quarter of it.

_MIN_COMPRESSED_BYTES: Final = 500
"""Less fits into one packet anyway."""
_MAX_COMPRESSED_BYTES: Final = 16 << 20
"""More would only fill memory."""
_TEXT_TYPES: Final = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "image/svg+xml",
    }
)


def compress(app: Quart) -> None:
    """Compress what this application answers, where that is safe and worth it."""

    @app.after_request
    async def shrink(response: Response) -> Response:
        if not _is_text(response):
            return response
        response.headers.add("Vary", "Accept-Encoding, Sec-Fetch-Site")
        if not _is_wanted():
            return response
        whole = await response.get_data(as_text=False)
        if not _MIN_COMPRESSED_BYTES <= len(whole) <= _MAX_COMPRESSED_BYTES:
            return response
        if "immutable" in response.headers.get("Cache-Control", ""):
            packed = await asyncio.to_thread(_pack_once, whole)
        else:
            packed = await asyncio.to_thread(gzip.compress, whole, 5)
        response.set_data(packed)
        response.headers["Content-Encoding"] = "gzip"
        response.headers.pop("Accept-Ranges", None)
        response.headers.pop("ETag", None)  # it named the bytes before
        return response


def _is_text(response: Response) -> bool:
    """Tell whether this is text as a whole; what is made while it is sent is left alone."""
    return (
        response.status_code == 200
        and isinstance(response.response, (DataBody, FileBody))
        and ((mimetype := response.mimetype or "").startswith("text/") or mimetype in _TEXT_TYPES)
        and "Content-Encoding" not in response.headers
    )


def _is_wanted() -> bool:
    """Return whether this request may have its answer compressed.

    A foreign website that makes a browser ask for our pages, again and again with other words in
    the address, could learn from the sizes of the encrypted answers what else they say (BREACH).
    Browsers say who asks, and what another site asks for is not compressed.
    """
    return (
        request.method == "GET"
        and request.accept_encodings.quality("gzip") > 0
        and request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}
    )


@functools.lru_cache(maxsize=64)
def _pack_once(whole: bytes) -> bytes:
    """Compress as well as can be, once: the same files are asked for by every page."""
    return gzip.compress(whole, 9, mtime=0)
