"""What web servers answer to a download: safe redirects are followed, refusals put in words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import httpx

from app.errors import PullError
from app.models.spec import is_loopback

MAX_REDIRECTS: Final = 10


@asynccontextmanager
async def follow(
    web: httpx.AsyncClient, url: str, headers: Mapping[str, str], trusted: str = ""
) -> AsyncIterator[httpx.Response]:
    """The answer to GET `url`, its body still to be read.

    Redirects may lead to https, to this machine if the first address was there too, and to what
    begins with `trusted`. Raises PullError or an httpx error.
    """
    request = web.build_request("GET", url, headers=headers)
    was_here = is_loopback(request.url.host)
    for _ in range(MAX_REDIRECTS):
        response = await web.send(request, stream=True)
        try:
            if response.next_request is None:
                yield response
                return
            request = response.next_request
        finally:
            await response.aclose()
        here = is_loopback(request.url.host)
        if trusted and str(request.url).startswith(trusted):
            continue
        if here and not was_here:
            raise PullError("The server sends Wick back to this machine; that cannot be meant.")
        if request.url.scheme != "https" and not here:
            raise PullError(
                "The server sends Wick on to an address that is not https: "
                f"{request.url.scheme}://{request.url.host}."
            )
    raise PullError(f"{httpx.URL(url).host} sends Wick from one address to the next without end.")


def raise_for_status(status: int, url: str) -> None:
    """Raises PullError, a sentence, unless `status` says that the file comes."""
    if status in (200, 206):
        return
    host = httpx.URL(url).host
    if status in (401, 403):
        raise PullError(f"{host} does not give this file to everybody ({status}).")
    if status in (404, 410):
        raise PullError(f"{host} does not have this file.")
    if status == 429 or status >= 500:
        raise PullError(f"{host} cannot answer now ({status}). Try again in a while.")
    raise PullError(f"{host} answered with {status} instead of the file.")
