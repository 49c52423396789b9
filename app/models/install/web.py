"""Downloads models from web servers: one file, or all parts of a split one, with one progress."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import httpx

from app.errors import PullError
from app.models.adapted import space_for_copy
from app.models.disk import ensure_space, file_digest
from app.models.install.cancellable import CancelToken, run_cancellable
from app.models.install.download import RemoteFile, client, download, size_of
from app.models.install.progress import ProgressCallback
from app.models.sources import WebSpec, all_shards


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
            sizes = await asyncio.gather(*(size_of(web, remote) for remote in remotes))
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
        raise PullError(
            f"{path.name} is not the file it should be: its checksum is another. It was deleted."
        )
