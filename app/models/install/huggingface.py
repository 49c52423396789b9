"""Downloads models from the Hugging Face hub, configured by the hub's own library.

The library reads where the hub is (HF_ENDPOINT), the token (HF_TOKEN, or the one the user signed in
with) and whether the hub may be contacted at all (HF_HUB_OFFLINE). The bytes come by plain HTTP
like any others, so that a pull can be cancelled at once, resumes after a break, and never fills the
disk.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from app.errors import PullError
from app.models.install.download import LENGTH, RemoteFile, client, connection_error
from app.models.install.hub_repository import choose_file, explain
from app.models.install.progress import ProgressCallback
from app.models.install.web import fetch_all
from app.models.sources import HubRepoSpec, HubSpec, all_shards

SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HubEndpoint:
    """Address of the hub and the headers for it."""

    endpoint: str
    headers: Mapping[str, str]


async def fetch_hub(spec: HubSpec, folder: Path, notify: ProgressCallback) -> Path:
    """Download the file, or all files of a split model, into `folder`; return the first one's path.

    Every file is checked against the hub's checksum. Raises PullError or DiskFull.
    """
    hub = await asyncio.to_thread(_hub)
    place = spec.path.removesuffix(spec.file)
    async with await asyncio.to_thread(client) as web:
        remotes = [await _find_file(web, hub, spec, place + file) for file in all_shards(spec.file)]
        sizes = [remote.size or 0 for remote in remotes]
        return await fetch_all(web, remotes, sizes, folder, notify)


async def fetch_hub_repository(
    spec: HubRepoSpec,
    folder: Path,
    notify: ProgressCallback,
    *,
    budget: int,
    chosen: Callable[[str], None],
) -> Path:
    """Download the model of a repository that fits, or that was asked for; return its path.

    budget: bytes of memory that models may take, 0 for any; chosen: is told the quantization.
    Raises PullError or DiskFull.
    """
    hub = await asyncio.to_thread(_hub)
    async with await asyncio.to_thread(client) as web:
        file, entry = await choose_file(web, hub.endpoint, dict(hub.headers), spec, budget)
    chosen(entry.quantisation or entry.path)
    notify("downloading", 0, 0)
    return await fetch_hub(file, folder, notify)


def _hub() -> HubEndpoint:
    """Load the hub's settings. Run it in a thread: the library takes half a second to import."""
    from huggingface_hub import constants, get_token

    if constants.is_offline_mode():
        raise PullError("HF_HUB_OFFLINE is set, so Wick does not ask the hub for anything.")
    # The library's own headers would tell more of this machine, and ask the hub for more.
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return HubEndpoint(constants.ENDPOINT, {"Authorization": f"Bearer {token}"} if token else {})


async def _find_file(
    web: httpx.AsyncClient, hub: HubEndpoint, spec: HubSpec, path: str
) -> RemoteFile:
    """Ask the hub for a file's size, checksum and commit."""
    from huggingface_hub import constants, hf_hub_url

    url = hf_hub_url(spec.repo, path, revision=spec.revision, endpoint=hub.endpoint)
    response = await _head(web, hub, url)
    explain(response, spec.repo, spec.revision, path)
    headers = response.headers
    etag = headers.get(constants.HUGGINGFACE_HEADER_X_LINKED_ETAG) or headers.get("ETag", "")
    etag = etag.removeprefix("W/").strip('"')
    size = headers.get(constants.HUGGINGFACE_HEADER_X_LINKED_SIZE)
    if size is None and not response.is_redirect:
        size = headers.get("Content-Length")
    told = etag if SHA256.fullmatch(etag) else None
    if told and spec.sha256 and told != spec.sha256:
        raise PullError(f"{path} is another file on the hub now than the one you want.")
    commit = headers.get(constants.HUGGINGFACE_HEADER_X_REPO_COMMIT)
    fixed = hf_hub_url(spec.repo, path, revision=commit or spec.revision, endpoint=hub.endpoint)
    name = path.rpartition("/")[2]
    length = int(size) if size and LENGTH.fullmatch(size) else None
    return RemoteFile(
        fixed, name, hub.headers, length, told or spec.sha256, trusted=hub.endpoint + "/"
    )


async def _head(web: httpx.AsyncClient, hub: HubEndpoint, url: str) -> httpx.Response:
    """Send HEAD to the hub: follow a renamed repository, but not the redirect to the bytes."""
    try:
        for _ in range(5):
            response = await web.head(url, headers=dict(hub.headers))
            onwards = response.next_request
            if onwards is None or "X-Linked-Etag" in response.headers:
                return response
            if not str(onwards.url).startswith(hub.endpoint + "/"):
                return response
            url = str(onwards.url)
    except httpx.HTTPError as error:
        raise connection_error(error) from error
    return response
