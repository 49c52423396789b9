"""HTTP for downloads: safe redirects, public addresses only, failures as sentences.

Where pulls of users elsewhere must stay out of this machine's own network, a name says nothing:
whoever owns it may let it lead to 127.0.0.1 or 192.168.1.1. So what counts is the address that is
connected to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.request import getproxies

import httpx

from app import __version__
from app.errors import PullError
from app.net import leads_here

TIMEOUT: Final = httpx.Timeout(30.0, connect=15.0)
MAX_REDIRECTS: Final = 10
LENGTH: Final = re.compile(r"[0-9]{1,18}")
IPV4_OVER_IPV6: Final = ipaddress.ip_network("64:ff9b::/96")


def client(*, is_public: bool = False) -> httpx.AsyncClient:
    """Make an HTTP client. Call it in a thread: loading all certificates takes a tenth of a second.

    is_public: refuse every address that is not on the internet.
    """
    # It would log every address, and with some of them a password of an hour's worth.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Compressed bytes could not be counted, or gone on with.
    headers = {"User-Agent": f"wick/{__version__}", "Accept-Encoding": "identity"}
    hooks: dict[str, list[Callable[..., Any]]] = {"response": [_check_redirect]}
    transport = _public_transport() if is_public else None
    if is_public and transport is None:
        hooks["request"] = [_check_public]
    return httpx.AsyncClient(
        timeout=TIMEOUT, headers=headers, transport=transport, event_hooks=hooks
    )


async def _check_redirect(response: httpx.Response) -> None:
    """Refuse a redirect to an invalid host name, for which httpx raises no error of its own."""
    try:
        _ = httpx.URL(response.headers.get("Location", "")).host
    except (httpx.InvalidURL, UnicodeError) as error:
        raise httpx.RemoteProtocolError("The redirect leads nowhere.") from error


@asynccontextmanager
async def follow(
    web: httpx.AsyncClient, url: str, headers: Mapping[str, str], trusted: str = ""
) -> AsyncIterator[httpx.Response]:
    """Send GET `url`, follow redirects, and return the response with its body unread.

    Redirects may lead to https, to this computer if the first address was on it too, and to URLs
    that begin with `trusted`. Raises PullError or an httpx error.
    """
    request = web.build_request("GET", url, headers=headers)
    was_here = leads_here(request.url.host)
    for _ in range(MAX_REDIRECTS):
        response = await web.send(request, stream=True)
        try:
            if response.next_request is None:
                yield response
                return
            request = response.next_request
        finally:
            await response.aclose()
        here = leads_here(request.url.host)
        if trusted and str(request.url).startswith(trusted):
            continue
        if here and not was_here:
            raise PullError("The download redirects to this machine; refused.")
        if request.url.scheme != "https" and not here:
            raise PullError(
                "The server sends Wick on to an address that is not https: "
                f"{request.url.scheme}://{request.url.host}."
            )
    raise PullError(f"{httpx.URL(url).host} sends Wick from one address to the next without end.")


async def get_body(
    web: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str],
    trusted: str,
    limit: int,
    check: Callable[[httpx.Response], None],
) -> bytes:
    """Send GET `url` and return a body of at most `limit` bytes; redirects as in `follow`.

    check: raises PullError for an answer that is none. Raises PullError.
    """
    try:
        async with follow(web, url, headers, trusted) as response:
            check(response)
            return await _read_body(response, limit)
    except httpx.HTTPError as error:
        raise connection_error(error, is_kept=False) from error


async def _read_body(response: httpx.Response, limit: int) -> bytes:
    """Read a body of at most `limit` bytes. Raises PullError for a longer one."""
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > limit:
            raise PullError(f"{response.url.host} sends more than Wick reads.")
    return bytes(content)


def raise_for_status(status: int, url: str) -> None:
    """Raises PullError, a sentence, unless `status` means that the file follows."""
    if status in (200, 206):
        return
    host = httpx.URL(url).host
    if status in (401, 403):
        raise PullError(f"{host} does not give public access to this file ({status}).")
    if status in (404, 410):
        raise PullError(f"{host} does not have this file.")
    if status == 429 or status >= 500:
        raise PullError(f"{host} cannot answer now ({status}). Try again in a while.")
    raise PullError(f"{host} answered with {status} instead of the file.")


def content_length(response: httpx.Response) -> int:
    """Return the Content-Length in bytes; 0 if it is missing or invalid."""
    length = response.headers.get("Content-Length", "")
    return int(length) if LENGTH.fullmatch(length) else 0


def connection_error(error: httpx.HTTPError, *, is_kept: bool = True) -> PullError:
    """Describe a failed connection in a sentence. is_kept: another try goes on where it broke."""
    host = error.request.url.host  # perhaps not the one that was asked first
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return PullError(f"The certificate of {host} is not trusted.")
        return PullError(f"Can't reach {host}; is this machine online?")
    if isinstance(error, httpx.ProxyError):
        return PullError(f"Can't reach the proxy to {host}.")
    kept = " What has come is kept for another try." if is_kept else ""
    if isinstance(error, httpx.TimeoutException):
        return PullError(f"{host} sent nothing for a while.{kept}")
    return PullError(f"The connection to {host} broke.{kept}")


def _public_transport() -> httpx.AsyncHTTPTransport | None:
    """Make the transport for public addresses; None behind a proxy, which decides for itself."""
    return None if getproxies().keys() & {"http", "https", "all"} else PublicTransport()


class PublicTransport(httpx.AsyncHTTPTransport):
    """Transport to public addresses only. Raises PullError for a name that leads elsewhere."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        failure: httpx.TransportError | None = None
        for address in await _public_addresses(request.url):
            # The connection is to the address that was looked at; the name is for the certificate.
            here = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": request.url.host},
            )
            try:
                return await super().handle_async_request(here)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error  # perhaps there is no way to addresses of this kind
        raise failure or httpx.ConnectError("The name has no address.")


async def _check_public(request: httpx.Request) -> None:
    """Check the address of a request that a client with a proxy may send directly."""
    with contextlib.suppress(httpx.ConnectError):
        await _public_addresses(request.url)


async def _public_addresses(url: httpx.URL) -> list[str]:
    """Resolve the host of `url`. Raises PullError unless all its addresses are public, an httpx
    error if the name is unknown.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host, url.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: an empty or too long part of it
        raise httpx.ConnectError(str(error)) from error
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    if not all(is_public(address) for address in addresses):
        raise PullError(
            f"{url.host} is on the server's private network; only commands on the server can "
            "download from there."
        )
    return addresses


def is_public(text: str) -> bool:
    """Tell whether an address belongs to the internet, not to this computer or its network."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in IPV4_OVER_IPV6:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast
