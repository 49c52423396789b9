"""HTTP to OpenID providers, with a bound on bytes and on seconds, and no redirects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, TypeVar

import httpx
import msgspec

from app import __version__
from app.errors import ProviderFailed, ProviderUnreachable

T = TypeVar("T")
REQUEST_SECONDS: Final = 5.0
"""For a whole answer: a person waits for it."""
MAX_ANSWER_BYTES: Final = 256 << 10
MAX_CONNECTIONS: Final = 16


class ProviderHttp:
    """Client of all providers. Make it in a thread: loading all certificates takes a while."""

    def __init__(self, seconds: float = REQUEST_SECONDS) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            timeout=seconds,
            headers={
                "User-Agent": f"wick/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # what is compressed has no bound
            },
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=2),
            follow_redirects=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(
        self, title: str, url: str, answer: type[T], headers: Mapping[str, str] | None = None
    ) -> T:
        """Get JSON of the shape `answer`. Raises ProviderFailed."""
        status, content = await self._send(title, "GET", url, headers=headers)
        if status != httpx.codes.OK:
            raise ProviderFailed(f"{title} answers with an error ({status}) at {_place(url)}.")
        return decode(title, url, content, answer)

    async def post(
        self, title: str, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Post a form; return the status and the body. Raises ProviderFailed."""
        return await self._send(title, "POST", url, headers=headers, form=form)

    async def _send(
        self,
        title: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream(method, url, headers=headers, data=form) as response,
            ):
                content = bytearray()
                async for chunk in response.aiter_raw():
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        raise ProviderFailed(
                            f"{title} sends more than Wick reads at {_place(url)}."
                        )
        except (httpx.TimeoutException, TimeoutError) as error:
            raise ProviderUnreachable(f"{title} does not answer.") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise ProviderUnreachable(f"{title} can't be reached.") from error
        if response.is_redirect:
            raise ProviderFailed(
                f"{title} sends Wick on to another address at {_place(url)}. Set the issuer to the"
                " address that it has itself."
            )
        return response.status_code, bytes(content)


def decode(title: str, url: str, content: bytes, answer: type[T]) -> T:
    """Decode JSON. Raises ProviderFailed."""
    try:
        return msgspec.json.decode(content, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderFailed(f"{title} answers with what is not valid at {_place(url)}.") from error


def _place(url: str) -> str:
    """Return an address without its query."""
    return url.partition("?")[0]
