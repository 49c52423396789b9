"""Hugging Face hub: the file of a repository that is the model and fits, and its download.

The hub's own library reads where the hub is (HF_ENDPOINT), the token (HF_TOKEN, or the one the
user signed in with) and whether the hub may be contacted at all (HF_HUB_OFFLINE). The bytes come by
plain HTTP like any others, so that a pull can be cancelled at once, resumes after a break, and
never fills the disk.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from app.errors import PullError
from app.models import projectors
from app.models.install.download import RemoteFile, fetch_all
from app.models.install.http_client import (
    LENGTH,
    client,
    connection_error,
    get_body,
    raise_for_status,
)
from app.models.install.progress import ProgressCallback
from app.models.model import format_bytes
from app.models.sources import NOT_MODELS, HubRepoSpec, HubSpec, all_shards

log = logging.getLogger(__name__)

SHA256: Final = re.compile(r"[0-9a-f]{64}")
MAX_LISTING_BYTES: Final = 16 << 20
RUNNER_BYTES: Final = 512 << 20
"""Bytes that a model takes beside its file at the least: a short context, and the program."""
ACCESS_HINT: Final = (
    "If it is private, or its terms must be accepted first, see to that on the hub, and give Wick "
    "a token by the environment variable HF_TOKEN."
)
PREFERRED: Final = ("Q4_K_M", "UD-Q4_K_XL", "Q4_K_S", "Q4_0", "MXFP4", "IQ4_XS", "Q8_0")
"""What is taken where nothing is said: a good answer for its memory comes first."""
QUANTISATION: Final = re.compile(
    r"(?:^|[-_./])((?:UD-)?(?:I?Q[0-9]\w*|TQ[0-9]_[0-9]|[BF]F?16|F32|MXFP4(?:_MOE)?|NVFP4))(?=[.-]|$)",
    re.I | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class HubEndpoint:
    """Address of the hub and the headers for it."""

    endpoint: str
    headers: Mapping[str, str]


async def fetch_hub(
    spec: HubSpec, folder: Path, notify: ProgressCallback, projector: str | None = None
) -> Path:
    """Download the file, or all files of a split model, into `folder`; return the first one's path.

    projector: path of a file to download beside it. Every file is checked against the hub's
    checksum. Raises PullError or DiskFull.
    """
    hub = await asyncio.to_thread(_hub)
    place = spec.path.removesuffix(spec.file)
    async with await asyncio.to_thread(client) as web:
        remotes = [await _find_file(web, hub, spec, place + file) for file in all_shards(spec.file)]
        if projector is not None:
            remotes.append(await _find_file(web, hub, replace(spec, sha256=None), projector))
        sizes = [remote.size or 0 for remote in remotes]
        return await fetch_all(web, remotes, sizes, folder, notify)


async def fetch_hub_file(
    spec: HubSpec, folder: Path, notify: ProgressCallback, *, budget: int
) -> Path:
    """Download a file that was named, and the projector that its repository has for it.

    budget: bytes of memory that models may take, 0 for any. Raises PullError or DiskFull.
    """
    hub = await asyncio.to_thread(_hub)
    repository = HubRepoSpec(spec.repo, None, spec.revision)
    projector = None
    async with await asyncio.to_thread(client) as web:
        try:
            files = (await _listing(web, hub.endpoint, dict(hub.headers), repository)).siblings
        except PullError as error:  # the file itself may be had all the same
            log.info("The projectors of %s are not known: %s", spec.repo, error)
            files = []
    own = set(all_shards(spec.file))
    size = sum(_size(f) for f in files if f.rfilename.rpartition("/")[2] in own)
    projector = choose_projector(files, spec.path, budget and budget - size)
    return await fetch_hub(spec, folder, notify, projector)


async def fetch_hub_repository(
    spec: HubRepoSpec,
    folder: Path,
    notify: ProgressCallback,
    *,
    budget: int,
    chosen: Callable[[str], None],
) -> Path:
    """Download the model of a repository that fits, or that was asked for; return its path.

    budget: bytes of memory that models may take, 0 for any; chosen: is digest the quantization.
    Raises PullError or DiskFull.
    """
    hub = await asyncio.to_thread(_hub)
    async with await asyncio.to_thread(client) as web:
        file, entry, projector = await _choose_file(
            web, hub.endpoint, dict(hub.headers), spec, budget
        )
    chosen(entry.quantisation or entry.path)
    notify("downloading", 0, 0)
    return await fetch_hub(file, folder, notify, projector)


async def fetch_hub_projector(
    spec: HubRepoSpec, folder: Path, notify: ProgressCallback, model: str
) -> Path:
    """Download the projector of a repository that fits a model by its name, or the only one.

    Raises PullError or DiskFull.
    """
    hub = await asyncio.to_thread(_hub)
    async with await asyncio.to_thread(client) as web:
        listing = await _listing(web, hub.endpoint, dict(hub.headers), spec)
    paths = [file.rfilename for file in listing.siblings if _is_projector(file.rfilename)]
    paths = projectors.ranked(paths, model) or sorted(paths, key=projectors.rank)
    if not paths:
        raise PullError(f"The repository {spec.repo} has no projector (mmproj).")
    return await fetch_hub(HubSpec(spec.repo, paths[0], spec.revision), folder, notify)


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
    _explain(response, spec.repo, spec.revision, path)
    headers = response.headers
    etag = headers.get(constants.HUGGINGFACE_HEADER_X_LINKED_ETAG) or headers.get("ETag", "")
    etag = etag.removeprefix("W/").strip('"')
    size = headers.get(constants.HUGGINGFACE_HEADER_X_LINKED_SIZE)
    if size is None and not response.is_redirect:
        size = headers.get("Content-Length")
    digest = etag if SHA256.fullmatch(etag) else None
    if digest and spec.sha256 and digest != spec.sha256:
        raise PullError(f"{path} is another file on the hub now than the one you want.")
    commit = headers.get(constants.HUGGINGFACE_HEADER_X_REPO_COMMIT)
    fixed = hf_hub_url(spec.repo, path, revision=commit or spec.revision, endpoint=hub.endpoint)
    name = path.rpartition("/")[2]
    length = int(size) if size and LENGTH.fullmatch(size) else None
    return RemoteFile(
        fixed, name, hub.headers, length, digest or spec.sha256, trusted=hub.endpoint + "/"
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


class _Lfs(msgspec.Struct):
    sha256: str | None = None
    size: int | None = None


class _File(msgspec.Struct):
    rfilename: str
    size: int | None = None
    lfs: _Lfs | None = None


class _Listing(msgspec.Struct):
    """Listing of a repository by the hub. sha: the commit that it speaks of."""

    siblings: list[_File]
    sha: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFileEntry:
    """A model of a repository: its file or the first of several, with the bytes of all of them."""

    path: str
    size: int
    sha256: str | None = None

    @property
    def quantisation(self) -> str:
        """Read the quantization from its name, such as Q4_K_M; empty where it says nothing."""
        found = QUANTISATION.findall(self.path.removesuffix(".gguf"))
        return found[-1].upper() if found else ""

    def is_called(self, tag: str) -> bool:
        """Tell whether its name has this tag, as llama.cpp looks for it: whole, in any case."""
        pattern = rf"(?:^|[-_./]){re.escape(tag)}[.-]"
        return re.search(pattern, self.path, re.IGNORECASE) is not None


async def _choose_file(
    web: httpx.AsyncClient, url: str, headers: dict[str, str], spec: HubRepoSpec, budget: int
) -> tuple[HubSpec, ModelFileEntry, str | None]:
    """Ask the hub what a repository holds, and choose one of its models, and a projector for it.

    url: of the hub's API; budget: bytes of memory that it may take, 0 for any. Raises PullError.
    """
    listing = await _listing(web, url, headers, spec)
    entry = choose(spec, models_of(listing.siblings), budget)
    revision = listing.sha if listing.sha and re.fullmatch(r"[0-9a-f]{40}", listing.sha) else None
    projector = choose_projector(listing.siblings, entry.path, budget and budget - entry.size)
    file = HubSpec(spec.repo, entry.path, revision or spec.revision, entry.sha256)
    return file, entry, projector


def choose_projector(files: Iterable[_File], model: str, left: int) -> str | None:
    """Choose the projector for a model of a repository: the best that fits, in its folder or above.

    left: bytes of memory beside the model's, 0 for any.
    """
    sizes = {file.rfilename: _size(file) for file in files if _is_projector(file.rfilename)}
    place = model.rpartition("/")[0]
    for folder in dict.fromkeys((place, "")):
        paths = {p.rpartition("/")[2]: p for p in sizes if p.rpartition("/")[0] == folder}
        for name in projectors.ranked(paths, model.rpartition("/")[2]):
            if not left or sizes[paths[name]] + RUNNER_BYTES <= left:
                return paths[name]
    return None


def _is_projector(path: str) -> bool:
    return _is_safe(path) and projectors.is_projector_name(path.rpartition("/")[2])


async def _listing(
    web: httpx.AsyncClient, url: str, headers: dict[str, str], spec: HubRepoSpec
) -> _Listing:
    at = f"/revision/{quote(spec.revision, safe='')}" if spec.revision else ""
    address = f"{url}/api/models/{spec.repo}{at}?blobs=true"
    content = await get_body(
        *(web, address, headers, f"{url}/", MAX_LISTING_BYTES),
        check=lambda response: _explain(response, spec.repo, spec.revision),
    )
    try:
        return msgspec.json.decode(content, type=_Listing)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PullError("The hub's answer makes no sense. Try again in a while.") from error


def models_of(files: Iterable[_File]) -> list[ModelFileEntry]:
    """The models among the files of a repository, each split one once."""
    by_path = {file.rfilename: file for file in files if _may_be_model(file.rfilename)}
    entries = []
    for path, file in by_path.items():
        place, _, name = path.rpartition("/")
        try:
            parts = [f"{place}/{part}" if place else part for part in all_shards(name)]
        except PullError:  # a number that no part has
            continue
        if path != parts[0] or not by_path.keys() >= set(parts):
            continue
        sha256 = file.lfs.sha256 if file.lfs is not None and len(parts) == 1 else None
        entries.append(ModelFileEntry(path, sum(_size(by_path[part]) for part in parts), sha256))
    return entries


def _may_be_model(path: str) -> bool:
    name = path.lower()
    is_model = name.endswith(".gguf") and not any(mark in name for mark in NOT_MODELS)
    return is_model and _is_safe(path)


def _is_safe(path: str) -> bool:
    unsafe = path.startswith("/") or "\\" in path or ".." in path
    return path.isprintable() and not unsafe


def _size(file: _File) -> int:
    size: Any = file.size if file.lfs is None or file.lfs.size is None else file.lfs.size
    return max(0, size or 0)


def choose(spec: HubRepoSpec, entries: Sequence[ModelFileEntry], budget: int) -> ModelFileEntry:
    """The quantization that was asked for, else the best that fits. Raises PullError."""
    if not entries:
        raise PullError(f"{spec.repo} on the hub holds no GGUF file of a model.")
    if spec.quantisation is not None:
        named = [entry for entry in entries if entry.is_called(spec.quantisation)]
        if not named:
            raise PullError(f"{spec.repo} has no {spec.quantisation}; it has {_names(entries)}.")
        return min(named, key=lambda entry: len(entry.path))
    fitting = [each for each in entries if not budget or each.size + RUNNER_BYTES <= budget]
    if not fitting:
        least = min(entries, key=lambda entry: entry.size)
        raise PullError(
            f"{spec.repo} is too large for this machine: its smallest file "
            f"({least.quantisation or least.path}) has {format_bytes(least.size)}, and models may "
            f"use {format_bytes(budget)} of memory."
        )
    return min(fitting, key=_rank)


def _rank(entry: ModelFileEntry) -> tuple[int, int, str]:
    """Preferred ones first, then the largest."""
    kind = entry.quantisation
    place = PREFERRED.index(kind) if kind in PREFERRED else len(PREFERRED)
    return place, -entry.size, entry.path


def _names(entries: Sequence[ModelFileEntry]) -> str:
    names = sorted({entry.quantisation or entry.path for entry in entries})
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def _explain(
    response: httpx.Response, repo: str, revision: str | None, path: str | None = None
) -> None:
    """Raises PullError with the reason that the hub gives, unless the answer is a good one."""
    if response.status_code < 400:
        return
    reason = response.headers.get("X-Error-Code", "")
    if reason == "GatedRepo":
        raise PullError(
            f"{repo} is only for those who have accepted its terms: do that on the hub, and "
            "give Wick a token by the environment variable HF_TOKEN."
        )
    if reason == "RevisionNotFound":
        raise PullError(f"{repo} has no revision “{revision or 'main'}”.")
    if reason == "EntryNotFound":
        raise PullError(f"{repo} on the hub has no file {path}.")
    if reason == "RepoNotFound" or path is None or response.status_code in (401, 403):
        # The hub does not tell strangers whether a repository exists.
        raise PullError(
            f"The hub does not give {repo} to Wick, or has none of that name. {ACCESS_HINT}"
        )
    raise_for_status(response.status_code, str(response.url))
