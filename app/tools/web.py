"""Fetches of tools from the web: pages from the internet alone, and a SearXNG of the owner's."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from app.errors import PullError, WickError

if TYPE_CHECKING:
    import httpx

MAX_PAGE_BYTES: Final = 5_000_000
MAX_RESULTS_BYTES: Final = 2_000_000
MAX_URL_CHARS: Final = 2_000
MAX_QUERY_CHARS: Final = 400
RESULTS: Final = 8
EXCERPT_CHARS: Final = 400
_ADDRESS: Final = re.compile(r"https?://[^\s]+", re.IGNORECASE)
_ENDINGS: Final = {
    "application/pdf": ".pdf",
    "text/html": ".html",
    "application/xhtml+xml": ".html",
}


class WebError(WickError):
    """Nothing was fetched; the message says why."""


@dataclass(frozen=True, slots=True)
class Page:
    """Content of an address. name: of its file, with an ending that says its kind; is_plain:
    it is text as it is."""

    data: bytes
    name: str
    is_plain: bool


async def fetch_page(url: str) -> Page:
    """Fetch a page from the internet, and from nowhere else. Raises WebError."""
    if not _ADDRESS.fullmatch(url) or len(url) > MAX_URL_CHARS:
        raise WebError("Give one address that begins with https://.")
    kind = list[str]()

    def check(response: httpx.Response) -> None:
        kind.append(response.headers.get("Content-Type", "").partition(";")[0].strip().lower())
        _check_status(response)

    data = await _get(url, check, MAX_PAGE_BYTES, is_public=True)
    ending = _ENDINGS.get(kind[-1], "")
    if not ending and kind[-1].startswith(("text/", "application/json")):
        return Page(data, "page.txt", is_plain=True)
    path = urlsplit(url).path.rpartition("/")[2]
    return Page(data, f"page{ending}" if ending else path[-80:] or "page.html", is_plain=False)


def _check_status(response: httpx.Response) -> None:
    if response.status_code >= 400:
        raise WebError(f"{response.url.host} answers with the error {response.status_code}.")


async def _get(url: str, check: Any, limit: int, *, is_public: bool) -> bytes:
    import httpx  # here and not above: few chats fetch anything, and it takes a while to load

    from app.models.install import http_client

    try:
        client = await asyncio.to_thread(http_client.client, is_public=is_public)
        async with client:
            return await http_client.get_body(client, url, {}, "", limit, check)
    except (PullError, httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise WebError(f"The address can't be read: {error}") from error


class _Found(msgspec.Struct):
    title: str = ""
    url: str = ""
    content: str | None = ""


class _Results(msgspec.Struct):
    results: list[_Found]


async def search(searxng: str, query: str) -> str:
    """Ask the owner's SearXNG. Raises WebError."""
    words = " ".join(query.split())
    if not words or len(words) > MAX_QUERY_CHARS:
        raise WebError(f"Give a few words, at most {MAX_QUERY_CHARS} characters.")
    url = f"{searxng.rstrip('/')}/search?format=json&q={quote(words, safe='')}"
    data = await _get(url, _check_search, MAX_RESULTS_BYTES, is_public=False)
    try:
        found = msgspec.json.decode(data, type=_Results).results[:RESULTS]
    except (msgspec.MsgspecError, UnicodeError):
        raise WebError("The search engine's answer can't be read.") from None
    lines = [f"{one.title}\n{one.url}\n{(one.content or '')[:EXCERPT_CHARS]}" for one in found]
    return "\n\n".join(line.strip() for line in lines) or "Nothing was found."


def _check_search(response: httpx.Response) -> None:
    if response.status_code == 403:
        raise WebError("The search engine does not answer in JSON: its owner must allow that.")
    _check_status(response)
