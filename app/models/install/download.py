"""Downloads files over HTTP and resumes interrupted downloads.

`NAME.part` holds the bytes received so far, `NAME.json` the version of the file they belong to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from app import __version__
from app.errors import PullError
from app.models.disk import ensure_space
from app.models.install.cancellable import write
from app.models.install.http_client import check_public, follow, public_transport, raise_for_status

log = logging.getLogger(__name__)

TIMEOUT: Final = httpx.Timeout(30.0, connect=15.0)
MAX_ATTEMPTS: Final = 20
"""How often it connects for one file, each time but the last having brought something."""
PAUSE_SECONDS: Final = 1.0
"""Seconds before it connects again."""
CHUNK_BYTES: Final = 1 << 20
LENGTH: Final = re.compile(r"[0-9]{1,18}")
CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """File to download. `size` in bytes and `sha256` where they are known in advance.

    trusted: URL prefixes that are allowed without https.
    """

    url: str
    name: str
    headers: Mapping[str, str]
    size: int | None = None
    sha256: str | None = None
    trusted: str = ""


class VersionChanged(Exception):
    """Error: the bytes on the disk belong to another version of the file."""


def client(*, is_public: bool = False) -> httpx.AsyncClient:
    """Make an HTTP client. Call it in a thread: loading all certificates takes a tenth of a second.

    is_public: refuse every address that is not on the internet.
    """
    # It would log every address, and with some of them a password of an hour's worth.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Compressed bytes could not be counted, or gone on with.
    headers = {"User-Agent": f"wick/{__version__}", "Accept-Encoding": "identity"}
    hooks: dict[str, list[Callable[..., Any]]] = {"response": [_check_redirect]}
    transport = public_transport() if is_public else None
    if is_public and transport is None:
        hooks["request"] = [check_public]
    return httpx.AsyncClient(
        timeout=TIMEOUT, headers=headers, transport=transport, event_hooks=hooks
    )


async def _check_redirect(response: httpx.Response) -> None:
    """Refuse a redirect to an invalid host name, for which httpx raises no error of its own."""
    try:
        _ = httpx.URL(response.headers.get("Location", "")).host
    except (httpx.InvalidURL, UnicodeError) as error:
        raise httpx.RemoteProtocolError("The redirect leads nowhere.") from error


async def size_of(web: httpx.AsyncClient, remote: RemoteFile) -> int:
    """Ask the server for the size in bytes; 0 if it does not say. Raises PullError."""
    try:
        async with follow(web, remote.url, remote.headers, remote.trusted) as response:
            raise_for_status(response.status_code, remote.url)
            return _length(response)
    except httpx.HTTPError as error:
        raise connection_error(error) from error


async def download(
    web: httpx.AsyncClient,
    remote: RemoteFile,
    folder: Path,
    progress: Callable[[int, int], None],
    reserve: int | None = None,
) -> Path:
    """Download `remote` into `folder`, resuming what is there, and return the path.

    `progress` is called with bytes done and total of this file. `reserve`: bytes of disk space
    needed afterwards, the file's own size if None. Reconnects as long as that brings new bytes.
    Raises PullError or DiskFull.
    """
    file = _Download(remote, folder, progress, reserve)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        before = file.done
        try:
            await file.run(web)
            return file.finish()
        except VersionChanged:
            file.reset()
        except httpx.TransportError as error:
            if attempt == MAX_ATTEMPTS or file.done <= before:
                raise connection_error(error) from error
            log.info("Going on with %s at %d bytes: %r", remote.name, file.done, error)
            await asyncio.sleep(PAUSE_SECONDS)
        except httpx.HTTPError as error:
            raise connection_error(error) from error
    raise PullError(f"{httpx.URL(remote.url).host} sends another file each time it is asked.")


def _length(response: httpx.Response) -> int:
    """Return the Content-Length in bytes; 0 if it is missing or invalid."""
    length = response.headers.get("Content-Length", "")
    return int(length) if LENGTH.fullmatch(length) else 0


def connection_error(error: httpx.HTTPError) -> PullError:
    """Describe a failed connection in a sentence."""
    host = error.request.url.host  # perhaps not the one that was asked first
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return PullError(f"The certificate of {host} is not trusted.")
        return PullError(f"{host} cannot be reached; is this machine online?")
    if isinstance(error, httpx.ProxyError):
        return PullError(f"The proxy to {host} cannot be reached.")
    if isinstance(error, httpx.TimeoutException):
        return PullError(f"{host} sent nothing for a while. What has come is kept for another try.")
    return PullError(f"The connection to {host} broke. What has come is kept for another try.")


class _Download:
    """State of one file on the disk, and single attempts to fetch the rest of it."""

    def __init__(
        self,
        remote: RemoteFile,
        folder: Path,
        progress: Callable[[int, int], None],
        reserve: int | None,
    ) -> None:
        self._remote = remote
        self._path = folder / remote.name
        self._part = folder / f"{remote.name}.part"
        self._note = folder / f"{remote.name}.json"
        self._progress = progress
        self._reserve = reserve
        self._version = self._noted()
        if self._path.exists():
            self._path.rename(self._part)
        if self._version.get("sha256") != remote.sha256:
            self.reset()
        self.done = self._part.stat().st_size if self._part.exists() else 0

    def reset(self) -> None:
        """Begin anew."""
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self._version, self.done = {}, 0

    def finish(self) -> Path:
        self._part.replace(self._path)
        return self._path

    async def run(self, web: httpx.AsyncClient) -> None:
        headers = dict(self._remote.headers)
        if not self._version:  # what is here could not be told from another version
            self.reset()
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
            # A file that its checksum names is the same on whichever server it lies.
            if validator := self._version.get("validator"):
                headers |= {} if self._remote.sha256 else {"If-Range": validator}
        async with follow(web, self._remote.url, headers, self._remote.trusted) as response:
            if response.status_code == 416 and self.done:
                self._check_whole(response)
                return
            raise_for_status(response.status_code, self._remote.url)
            total = self._begin(response)
            rest = max(total - self.done, 0)
            ensure_space(
                self._part.parent, rest + (total if self._reserve is None else self._reserve)
            )
            await self._write(response, total)

    def _noted(self) -> dict[str, str]:
        try:
            values = json.loads(self._note.read_text(encoding="utf-8"))
            return {str(key): value for key, value in dict(values).items() if value}
        except (OSError, ValueError, TypeError, RecursionError):
            return {}

    def _check_whole(self, response: httpx.Response) -> None:
        """Check that the file is complete when the server has no more bytes; else start over."""
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[3]) != self.done:
            raise VersionChanged

    def _begin(self, response: httpx.Response) -> int:
        """Check that the response continues the bytes on disk; return the total, 0 if unknown."""
        kind = response.headers.get("Content-Type", "")
        if kind.startswith("text/html"):
            raise PullError(
                "The address leads to a web page, not to a file. "
                "On a model hub, take the address behind “download”, or hf:OWNER/REPO/FILE.gguf."
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise PullError("The server sends the file compressed, though it was asked not to.")
        if response.status_code == 206:
            match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if match is None or match[1] is None or int(match[1]) != self.done:
                raise VersionChanged
            total = int(match[3])
        else:
            self.reset()
            total = _length(response)
        if self._remote.size and total and total != self._remote.size:
            self.reset()
            raise PullError(f"{self._remote.name} has another size than it should have.")
        total = total or self._remote.size or 0
        self._keep_version(response)
        return total

    def _keep_version(self, response: httpx.Response) -> None:
        etag = response.headers.get("ETag", "")
        validator = response.headers.get("Last-Modified", "") if etag[:2] in ("", "W/") else etag
        values = {"validator": validator, "sha256": self._remote.sha256}
        self._version = {key: value for key, value in values.items() if value}
        self._note.write_text(json.dumps(self._version) + "\n", encoding="utf-8")

    async def _write(self, response: httpx.Response, total: int) -> None:
        """Append the body. Bytes received before the connection breaks are kept."""
        waiting = bytearray()
        self._progress(self.done, total)  # speed is of what comes from now on
        with self._part.open("ab") as file:
            try:
                async for piece in response.aiter_raw():
                    waiting += piece
                    self._progress(self.done + len(waiting), total)
                    if len(waiting) >= CHUNK_BYTES:
                        ensure_space(self._part.parent, 0)
                        full, waiting = bytes(waiting), bytearray()
                        await write(file, full)
                        self.done += len(full)
            except (httpx.HTTPError, asyncio.CancelledError):
                file.write(waiting)
                self.done += len(waiting)
                raise
            file.write(waiting)
            self.done += len(waiting)
        if total and self.done != total:
            self.reset()
            raise PullError(f"{self._remote.name} has another size than it should have.")
