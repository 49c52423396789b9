"""Ids of requests: one for each HTTP request and each message on a socket.

Whatever is logged while one is worked on has its id, and so have the tasks that it begins.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar

T = TypeVar("T")
_ID_BYTES: Final = 9


@dataclass(frozen=True, slots=True)
class RequestRef:
    """What is being worked on. id: of the request, empty for none; trace_parent: the span to which
    its parts belong, as W3C's `traceparent`, empty without tracing."""

    id: str = ""
    trace_parent: str = ""


_current: ContextVar[RequestRef] = ContextVar("wick_request", default=RequestRef())  # noqa: B039


def new_request_id() -> str:
    return secrets.token_urlsafe(_ID_BYTES)


def current_request() -> RequestRef:
    return _current.get()


@contextmanager
def work_on(request: RequestRef) -> Iterator[None]:
    """Have everything in the block belong to this request."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


def create_detached_task(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start what outlives the request that happens to need it first, and belongs to none."""
    return asyncio.create_task(work, name=name, context=Context())
