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
    """Content of an address. name: of its file, with an ending that says its kind; text: of what is
    text as it is, empty for all else."""

    data: bytes
    name: str
    text: str = ""


async def fetch_page(url: str) -> Page:
    """Fetch a page from the internet, and from nowhere else. Raises WebError."""
    if not _ADDRESS.fullmatch(url) or len(url) > MAX_URL_CHARS:
        raise WebError("Give one address that begins with https://.")
    types = list[tuple[str, str]]()

    def check(response: httpx.Response) -> None:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        types.append((kind, response.charset_encoding or ""))
        _check_status(response)

    data = await _get(url, check, MAX_PAGE_BYTES, is_public=True)
    if not data.strip():
        raise WebError("The page is empty.")
    kind, charset = types[-1]
    ending = _ENDINGS.get(kind, "")
    if not ending and kind.startswith(("text/", "application/json")):
        return Page(data, "page.txt", _decode(data, charset or "utf-8"))
    if ending == ".html" and charset:  # what the server says counts more than what the page says
        data = _decode(data, charset).encode("utf-8-sig")
    path = urlsplit(url).path.rpartition("/")[2]
    return Page(data, f"page{ending}" if ending else path[-80:] or "page.html")


def _decode(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, "replace")
    except LookupError:  # there is no such charset
        return data.decode("utf-8", "replace")


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
    title: str | None = ""
    url: str | None = ""
    content: str | None = ""

    @property
    def text(self) -> str:
        lines = self.title, self.url, (self.content or "")[:EXCERPT_CHARS]
        return "\n".join(line.strip() for line in lines if line and line.strip())


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
    return "\n\n".join(one.text for one in found if one.text) or "Nothing was found."


def _check_search(response: httpx.Response) -> None:
    if response.status_code == 403:
        raise WebError("The search engine does not answer in JSON: its owner must allow that.")
    _check_status(response)
