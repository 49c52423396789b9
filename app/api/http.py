"""Request bodies and responses of the API: JSON in, JSON or a stream out."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import msgspec
from quart import Response, request
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from app.api.content_encoding import TooLarge, gather
from app.errors import ApiError, NotLoggedIn
from app.inference.completions import Completions
from app.inference.protocol import Failed
from app.inference.queue import Interrupted
from app.web import errors
from app.web.bodies import FORM, MIB, NOT_JSON, is_json, max_body_bytes
from app.web.security import auth

# Answers that are sent while they are made, and that end when nobody reads them any more.


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
    """Start what a program asked for. It ends with its connection, whatever becomes of that."""
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
        raise _explained(str(error)) from error
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
            return await gather(request.body, request.headers.get("Content-Encoding", ""), most)
    except TooLarge:
        raise RequestEntityTooLarge from None
    except TimeoutError:
        raise RequestTimeout from None


def _seconds(most: int) -> float | None:
    """Seconds in which a body has to come: the usual time for each MiB of what it may have."""
    return request.body_timeout and request.body_timeout * max(1, most // MIB)


def _explained(text: str) -> ApiError:
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
