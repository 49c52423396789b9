"""Request bodies and responses of the API: JSON in, perhaps compressed; JSON or a stream out."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import msgspec
from quart import Response, request
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from app.errors import ApiError, NotLoggedIn
from app.inference.completions import Completions
from app.inference.protocol import Failed
from app.inference.queue import Interrupted
from app.web import errors
from app.web.bodies import FORM, MIB, NOT_JSON, is_json, max_body_bytes
from app.web.security import auth

# Responses that are streamed while they are generated, and end with their connection.


KEEP_ALIVE_SECONDS = 10.0
"""Without a word from us for that long, a proxy or a client might think that we are gone."""
RECHECK_SECONDS = 1.0
"""Seconds after which a stream that goes on asks again whether it may."""
COMMENT = b": waiting\n\n"
T = TypeVar("T")


def event(content: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


def line(content: Any) -> bytes:
    """One line of a stream of JSON objects."""
    return msgspec.json.encode(content) + b"\n"


def start_with_connection(completions: Completions) -> None:
    """Start completions that end with their connection, whatever becomes of that."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a request is handled by one
    task.add_done_callback(lambda _: completions.cancel())
    completions.begin()


async def while_allowed(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; it is cancelled when the key is revoked, or the login ends, or the user is
    kept out. Raises NotLoggedIn then."""
    is_allowed = auth.authorization_check()
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=RECHECK_SECONDS))[0]:
            if not await is_allowed():
                raise NotLoggedIn("This API key or session is no longer valid.")
        return await task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def wait_first_event(completions: Completions, param: str) -> None:
    """Wait a while for the first text, so that what fails before can fail with a status of its own.

    Raises ApiError.
    """
    first = await completions.first_event(KEEP_ALIVE_SECONDS)
    if isinstance(first, Failed | Interrupted):
        raise errors.of_event(first, param)


def response(content: AsyncGenerator[bytes, None], content_type: str) -> Response:
    made = Response(_until_revoked(content, auth.authorization_check()), content_type=content_type)
    made.timeout = None
    made.headers["X-Accel-Buffering"] = "no"  # a proxy is not to gather it
    return made


async def _until_revoked(
    content: AsyncGenerator[bytes, None], is_allowed: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[bytes, None]:
    """Pass the content on until the key is revoked, the login ends, or the user is kept out."""
    checked = time.monotonic()
    async with contextlib.aclosing(content) as parts:
        async for part in parts:
            if time.monotonic() - checked >= RECHECK_SECONDS:
                if not await is_allowed():
                    return
                checked = time.monotonic()
            yield part


def sse(content: AsyncGenerator[bytes, None]) -> Response:
    return response(content, "text/event-stream; charset=utf-8")


def ndjson(content: AsyncGenerator[bytes, None]) -> Response:
    return response(content, "application/x-ndjson")


def error_event(error: ApiError, path: str) -> bytes:
    return event(errors.body(error, path))


# What programs send and are sent: JSON, checked against the shape that is documented.


HALF_CHARACTER: Final = (
    "A text in this request has half a character: \\ud800 to \\udfff stand in pairs only."
)
_HALF_CHARACTER = re.compile(
    rb"(?i)\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}"
)
_PLACE = re.compile(r" - at (?:key in )?`\$\.?([^`]*)`$")


async def parse_body(kind: type[T]) -> T:
    """The body of this request, where none is one without fields. Fields that are not known are
    passed over. Raises ApiError."""
    data = await _body() or b"{}"
    try:
        # Not strict, because some programs have no whole numbers and send 40.0, or send "40".
        return msgspec.json.decode(data, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise explain_invalid(str(error)) from error
    except UnicodeDecodeError as error:
        raise ApiError("The body of this request is not UTF-8.") from error
    except (msgspec.DecodeError, RecursionError) as error:
        if _HALF_CHARACTER.search(data):
            raise ApiError(HALF_CHARACTER) from error
        raise ApiError(f"The body of this request is not JSON: {error}.") from error


async def _body() -> bytes:
    """Read the whole body, inflated. Raises ApiError and HTTPException."""
    charset = request.mimetype_params.get("charset", "utf-8").lower().replace("_", "-")
    # Who shows a key may leave out the type, and curl then calls it a form.
    if not (is_json(request.mimetype) or request.mimetype == FORM):
        raise ApiError(NOT_JSON, status=415)
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        raise ApiError(NOT_JSON, status=415)
    most = max_body_bytes(request.path)
    try:
        async with asyncio.timeout(_seconds(most)):
            return await _read_inflated(
                request.body, request.headers.get("Content-Encoding", ""), most
            )
    except _BodyTooLarge:
        raise RequestEntityTooLarge from None
    except TimeoutError:
        raise RequestTimeout from None


def _seconds(most: int) -> float | None:
    """Seconds in which a body has to come: the usual time for each MiB of what it may have."""
    return request.body_timeout and request.body_timeout * max(1, most // MIB)


def explain_invalid(text: str) -> ApiError:
    """Turn a validation error into a sentence with the name of the field."""
    place = _PLACE.search(text)
    sentence = text.removesuffix(place[0]) if place else text
    missing = re.fullmatch(r"Object missing required field `(\w+)`", sentence)
    param = ".".join(filter(None, (place[1] if place else "", missing[1] if missing else "")))
    return ApiError(f"{sentence}{f' for {param}' if place else ''}.", param=param or None)


def json_response(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status=status, content_type="application/json")


def one_of(value: str, allowed: Sequence[str], name: str) -> str:
    """Raises ApiError."""
    if value not in allowed:
        raise ApiError(f"{name} must be one of {', '.join(allowed)}.", param=name)
    return value


# Bodies as they were before they were compressed, inflated no further than allowed.


_ENCODINGS: Final = ("gzip", "deflate")
_GZIP: Final = 16 + zlib.MAX_WBITS
_DAMAGED: Final = "The compressed body of this request is damaged."


class _BodyTooLarge(Exception):
    """Body of more bytes than are allowed."""


async def _read_inflated(chunks: AsyncIterator[bytes], encoding: str, max_bytes: int) -> bytes:
    """Read a whole body, as it was before it was compressed.

    Raises _BodyTooLarge, and ApiError for an encoding that is unknown or damaged.
    """
    kind = encoding.strip().lower().removeprefix("x-") or "identity"
    if kind not in {*_ENCODINGS, "identity"}:
        sentence = f"Compressed as “{kind}” Wick cannot read this; it takes gzip and deflate."
        raise ApiError(sentence, status=415)
    inflater = None if kind == "identity" else _Inflater(kind)
    whole = bytearray()
    async for chunk in chunks:
        if inflater is None:
            whole += chunk
        else:  # the event loop serves others meanwhile
            whole += await asyncio.to_thread(inflater.feed, chunk, max_bytes + 1 - len(whole))
        if len(whole) > max_bytes:
            raise _BodyTooLarge
    if inflater is not None and whole:
        inflater.check_end()
    return bytes(whole)


class _Inflater:
    """One body, chunk by chunk. `deflate` may come with or without the head that it should have."""

    def __init__(self, kind: str) -> None:
        self._is_gzip = kind == "gzip"
        self._stream: Any = None

    def feed(self, chunk: bytes, max_bytes: int) -> bytes:
        """Decode the body, to never more than `max_bytes`. Raises ApiError."""
        inflated = bytearray()
        try:
            while chunk and len(inflated) < max_bytes:
                if self._stream is None or self._stream.eof:
                    self._stream = self._opened(chunk)
                inflated += self._stream.decompress(chunk, max_bytes - len(inflated))
                chunk = self._stream.unused_data if self._stream.eof else b""
                if chunk and not self._is_gzip:
                    raise ApiError(_DAMAGED)
        except zlib.error as error:
            raise ApiError(_DAMAGED) from error
        return bytes(inflated)

    def _opened(self, chunk: bytes) -> Any:
        if self._is_gzip:
            return zlib.decompressobj(_GZIP)
        has_head = chunk[0] & 0x0F == zlib.DEFLATED and chunk[0] >> 4 <= 7
        return zlib.decompressobj(zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS)

    def check_end(self) -> None:
        """Raises ApiError when the rest is missing."""
        if not self._stream.eof:
            raise ApiError(_DAMAGED)
