"""Downloads over HTTP: a file, or all parts of a split model, resumed after an interruption.

`NAME.part` holds the bytes received so far, `NAME.json` the version of the file they belong to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import httpx

from app.errors import PullError
from app.models.adapted import space_for_copy
from app.models.disk import ensure_space, file_digest
from app.models.install.http_client import (
    client,
    connection_error,
    content_length,
    follow,
    raise_for_status,
)
from app.models.install.progress import CancelToken, ProgressCallback, run_cancellable, write_chunk
from app.models.sources import WebSpec, all_shards

log = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 20
"""How often it connects for one file, each time but the last having brought something."""
PAUSE_SECONDS: Final = 1.0
"""Seconds before it connects again."""
CHUNK_BYTES: Final = 1 << 20
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


class _VersionChanged(Exception):
    """Error: the bytes on the disk belong to another version of the file."""


async def fetch_web(
    spec: WebSpec, folder: Path, notify: ProgressCallback, *, is_public: bool = False
) -> Path:
    """Download the file, or all files of a split model, into `folder`; return the first one's path.

    is_public: only from the internet, not from this computer's network. Raises PullError or
    DiskFull.
    """
    parts = urlsplit(spec.url)
    place = parts.path.rpartition("/")[0]
    remotes = [
        RemoteFile(
            urlunsplit(parts._replace(path=f"{place}/{quote(name)}")), name, {}, None, spec.sha256
        )
        for name in all_shards(spec.file)
    ]
    async with await asyncio.to_thread(client, is_public=is_public) as web:
        if len(remotes) > 1:
            sizes = await asyncio.gather(*(_size_of(web, remote) for remote in remotes))
            return await fetch_all(web, remotes, sizes, folder, notify)
        return await fetch_all(web, remotes, None, folder, notify)


async def fetch_all(
    web: httpx.AsyncClient,
    remotes: Sequence[RemoteFile],
    sizes: Sequence[int] | None,
    folder: Path,
    notify: ProgressCallback,
) -> Path:
    """Download and verify all files, one after the other; return the first one's path."""
    total = sum(sizes) if sizes and all(sizes) else 0
    if total:
        here = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        ensure_space(folder, max(total - here, 0) + space_for_copy(total))
    before, paths = 0, []
    for remote in remotes:

        def step(done: int, size: int, before: int = before) -> None:
            notify("downloading", before + done, total or (size if len(remotes) == 1 else 0))

        path = await download(web, remote, folder, step, space_for_copy(total) if total else None)
        paths.append(path)
        before += path.stat().st_size
    for remote, path in zip(remotes, paths, strict=True):
        if remote.sha256:
            await verify(path, remote.sha256, notify)
    return paths[0]


async def verify(path: Path, sha256: str, notify: ProgressCallback) -> None:
    """Verify a checksum. Raises PullError, and removes the file, if it is wrong."""
    size = path.stat().st_size

    def work(stop: CancelToken) -> str:
        def step(done: int) -> None:
            stop.check()
            notify("checking", done, size)

        return file_digest(path, step)

    if await run_cancellable(work) != sha256:
        for each in (path, path.with_name(f"{path.name}.json")):
            each.unlink(missing_ok=True)
        raise PullError(f"Checksum mismatch: {path.name} is damaged and was deleted.")


async def _size_of(web: httpx.AsyncClient, remote: RemoteFile) -> int:
    """Ask the server for the size in bytes; 0 if it does not say. Raises PullError."""
    try:
        async with follow(web, remote.url, remote.headers, remote.trusted) as response:
            raise_for_status(response.status_code, remote.url)
            return content_length(response)
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
        except _VersionChanged:
            file.reset()
        except httpx.TransportError as error:
            if attempt == MAX_ATTEMPTS or file.done <= before:
                raise connection_error(error) from error
            log.info("Going on with %s at %d bytes: %r", remote.name, file.done, error)
            await asyncio.sleep(PAUSE_SECONDS)
        except httpx.HTTPError as error:
            raise connection_error(error) from error
    raise PullError(f"{httpx.URL(remote.url).host} sends another file each time it is asked.")


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
            raise _VersionChanged

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
                raise _VersionChanged
            total = int(match[3])
        else:
            self.reset()
            total = content_length(response)
        if self._remote.size and total and total != self._remote.size:
            self.reset()
            raise PullError(f"{self._remote.name} has an unexpected size.")
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
                        await write_chunk(file, full)
                        self.done += len(full)
            except (httpx.HTTPError, asyncio.CancelledError):
                file.write(waiting)
                self.done += len(waiting)
                raise
            file.write(waiting)
            self.done += len(waiting)
        if total and self.done != total:
            self.reset()
            raise PullError(f"{self._remote.name} has an unexpected size.")
