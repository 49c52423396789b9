"""Answers that are sent while they are made, and that end when nobody reads them any more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from quart import Response

from app.errors import ApiError, NotLoggedIn
from app.inference.completions import Completions
from app.inference.protocol import Failed
from app.inference.requests import Interrupted
from app.web.api import access, failures

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
    """What it gives; it is cancelled when the key is revoked, or the login ends, or the person is
    kept out. Raises NotLoggedIn then."""
    is_allowed = access.authorization_check()
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=RECHECK_SECONDS))[0]:
            if not await is_allowed():
                raise NotLoggedIn("This API key or login does not hold any more.")
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
        raise failures.of_event(first, param)


def response(content: AsyncGenerator[bytes, None], content_type: str) -> Response:
    made = Response(
        _until_revoked(content, access.authorization_check()), content_type=content_type
    )
    made.timeout = None
    made.headers["X-Accel-Buffering"] = "no"  # a proxy is not to gather it
    return made


async def _until_revoked(
    content: AsyncGenerator[bytes, None], is_allowed: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[bytes, None]:
    """Until the key is revoked, or the login ends, or the person is kept out."""
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
    return event(failures.body(error, path))
