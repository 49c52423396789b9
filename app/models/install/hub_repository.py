"""Repositories of the model hub: which file is the model, in a quantization that fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from app.errors import PullError
from app.models.install.download import connection_error
from app.models.install.http_client import follow, raise_for_status, read_body
from app.models.model import format_bytes
from app.models.sources import NOT_MODELS, HubRepoSpec, HubSpec, all_shards

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


async def choose_file(
    web: httpx.AsyncClient, url: str, headers: dict[str, str], spec: HubRepoSpec, budget: int
) -> tuple[HubSpec, ModelFileEntry]:
    """Ask the hub what a repository holds, and choose one of its models.

    url: of the hub's API; budget: bytes of memory that it may take, 0 for any. Raises PullError.
    """
    listing = await _listing(web, url, headers, spec)
    entry = choose(spec, models_of(listing.siblings), budget)
    revision = listing.sha if listing.sha and re.fullmatch(r"[0-9a-f]{40}", listing.sha) else None
    return HubSpec(spec.repo, entry.path, revision or spec.revision, entry.sha256), entry


async def _listing(
    web: httpx.AsyncClient, url: str, headers: dict[str, str], spec: HubRepoSpec
) -> _Listing:
    at = f"/revision/{quote(spec.revision, safe='')}" if spec.revision else ""
    address = f"{url}/api/models/{spec.repo}{at}?blobs=true"
    try:
        async with follow(web, address, headers, f"{url}/") as response:
            explain(response, spec.repo, spec.revision)
            content = await read_body(response, MAX_LISTING_BYTES)
    except httpx.HTTPError as error:
        raise connection_error(error) from error
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
    unsafe = path.startswith("/") or "\\" in path or ".." in path or not path.isprintable()
    return name.endswith(".gguf") and not unsafe and not any(mark in name for mark in NOT_MODELS)


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


def explain(
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
