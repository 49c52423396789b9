"""Uploading a model from the page: a file of any size, held in memory nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from hypercorn.typing import ASGIReceiveCallable
from quart import Blueprint, Request, Response, request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestTimeout

from app.audit import audit
from app.errors import PullRefused
from app.web.entrance import for_owners
from app.web.identity import current_user
from app.web.state import state

blueprint = Blueprint("uploads", __name__)
PREFIX: Final = "/models/upload/"
HELD: Final = 4 << 20
"""Bytes of a body that may wait to be taken; then the sender has to wait."""
SILENCE: Final = 30.0
"""Seconds between two pieces of a body, after which the rest of it is given up."""


class RoomyBody(Body):
    """A body that says when it has been read, so that more of it may come."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._was_read = asyncio.Event()

    async def __anext__(self) -> bytes:
        try:
            async with asyncio.timeout(SILENCE):
                data = await super().__anext__()
        except TimeoutError:
            raise RequestTimeout("The rest of this file did not come.") from None
        self._was_read.set()
        return data

    async def has_room(self) -> None:
        """Wait until less than HELD bytes wait to be read."""
        while len(self._data) > HELD:
            self._was_read.clear()
            await self._was_read.wait()


class UploadRequest(Request):
    """A request whose body may be of any size where models are uploaded, and nowhere else."""

    body_class = RoomyBody

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **options: Any) -> None:
        if method == "PUT" and path.startswith(PREFIX):
            options["max_content_length"] = None
        super().__init__(method, scheme, path, *rest, **options)


class PatientConnection(ASGIHTTPConnection):
    """Takes a body no faster than it is read. Quart alone would gather all of it in memory."""

    async def handle_messages(self, request: Request, receive: ASGIReceiveCallable) -> None:
        async def patiently() -> Any:
            if isinstance(request.body, RoomyBody):
                await request.body.has_room()
            return await receive()

        await super().handle_messages(request, patiently)


def _fitting(most: int) -> int | None:
    """Bytes that are to come, if that is known. Raises PullRefused."""
    size = request.content_length
    if size is not None and size > most:
        raise _too_large(most)
    return size


async def _up_to(most: int, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whatever the sender said of its size."""
    async for piece in pieces:
        most -= len(piece)
        if most < 0:
            raise _too_large(state().settings.upload_mb << 20)
        yield piece


def _too_large(most: int) -> PullRefused:
    audit("limit-reached", limit="size of an upload", user=current_user())
    return PullRefused(f"This file is too large: uploads may have {most >> 20:,} MB here.")


@blueprint.put(f"{PREFIX}<filename>")
@for_owners
async def upload(filename: str) -> Response:
    """The raw file as the body. How far it is comes over the sockets."""
    most = state().settings.upload_mb << 20
    await state().pulls.receive(filename, _up_to(most, request.body), _fitting(most))
    return Response(status=204)
