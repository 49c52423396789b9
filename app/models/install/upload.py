"""Receives a model that a user uploads from the page: one file, or all parts of a split one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import DiskFull, PullError, PullRefused
from app.models.adapted import space_for_copy
from app.models.disk import ensure_space
from app.models.gguf.reader import list_names, model_stem
from app.models.install.install import PullSpec, install
from app.models.install.progress import ProgressCallback, ProgressTracker, PullProgress, write_chunk
from app.models.model import Model
from app.models.sources import all_shards
from app.models.store import ModelStore, name_for

CHUNK_BYTES: Final = 1 << 20
MAGIC: Final = b"GGUF"


@dataclass(frozen=True, slots=True)
class UploadManifest:
    """Contents of one upload. `sizes`: bytes of each file, in order; None if unknown, which is
    allowed for a single file.
    """

    file: str
    sizes: tuple[int, ...] | None

    @property
    def needed(self) -> int:
        """Bytes of the disk that it and what is made of it take."""
        total = self.total or 0
        return total + space_for_copy(total)

    @property
    def total(self) -> int | None:
        return None if self.sizes is None else sum(self.sizes)

    def check(self) -> None:
        """Raises PullRefused for files that cannot become a model."""
        if self.sizes is not None and (not self.sizes or min(self.sizes) <= 0):
            raise PullRefused(f"{self.file} is empty.")
        parts = all_shards(self.file)
        if len(parts) != len(self.sizes or (0,)):
            raise PullRefused(_incomplete(self.file, parts, parts[1:]))

    @property
    def name(self) -> str:
        """Name of the model in the store."""
        return name_for(Path(model_stem(self.file)))


def group_uploads(files: Sequence[tuple[str, int]]) -> list[tuple[UploadManifest, list[int]]]:
    """Group names and sizes into one manifest per model, with the indexes of its files in `files`.

    Raises PullRefused when a part of a split model is missing.
    """
    places = {file: place for place, (file, _) in enumerate(files)}
    made: dict[str, tuple[UploadManifest, list[int]]] = {}
    for file in sorted(places):
        parts = all_shards(file)
        if missing := [part for part in parts if part not in places]:
            raise PullRefused(_incomplete(file, parts, missing))
        spec = [places[part] for part in parts]
        made[parts[0]] = UploadManifest(parts[0], tuple(files[place][1] for place in spec)), spec
    return list(made.values())


def _incomplete(file: str, parts: Sequence[str], missing: Sequence[str]) -> str:
    return (
        f"{file} is one of {len(parts)} parts of a model, and {list_names(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} missing: choose all parts together."
    )


async def receive(
    spec: PullSpec,
    store: ModelStore,
    chunks: AsyncIterator[bytes],
    manifest: UploadManifest,
    report: Callable[[PullProgress], None],
) -> Model:
    """Write `chunks` to a staging folder and install the model. Nothing stays if it fails.

    Raises PullError, another ModelError if the file is unsuitable, or what `chunks` raises.
    """
    notify = ProgressTracker(report).report
    try:
        with store.incoming(manifest.needed) as folder:
            notify("receiving", 0, manifest.total or 0)
            paths = await _unpack(manifest, folder, chunks, notify)
            return await install(paths[0], spec, store, notify, keep="share")
    except DiskFull as error:
        raise PullError(str(error)) from error


async def _unpack(
    manifest: UploadManifest, folder: Path, chunks: AsyncIterator[bytes], notify: ProgressCallback
) -> list[Path]:
    """Write the files of a manifest, in the order in which they come."""
    count, stem = len(manifest.sizes or (0,)), manifest.name
    names = [f"{stem}-{n:05d}-of-{count:05d}.gguf" for n in range(1, count + 1)]
    paths = [folder / name for name in (names if count > 1 else [f"{stem}.gguf"])]
    done = 0
    async for place, chunk in _split_stream(rechunk(chunks), manifest):
        if not paths[place].exists() and not chunk.startswith(MAGIC):
            raise PullRefused(f"{all_shards(manifest.file)[place]} is not a GGUF file.")
        ensure_space(folder, 0)
        with paths[place].open("ab") as file:
            await write_chunk(file, chunk)
        done += len(chunk)
        notify("receiving", done, manifest.total or 0)
    if not paths[-1].exists() or (manifest.total is not None and done != manifest.total):
        raise PullError(f"Only part of {manifest.file} arrived. Try again.")
    return paths


async def _split_stream(
    chunks: AsyncIterator[bytes], manifest: UploadManifest
) -> AsyncIterator[tuple[int, bytes]]:
    """Split the body into files: yield each chunk with the index of its file."""
    place, left = 0, list(manifest.sizes or ())
    async for chunk in chunks:
        rest = chunk
        while left and rest:
            if place == len(left):
                raise PullError(f"More of {manifest.file} came than was announced.")
            now, rest = rest[: left[place]], rest[left[place] :]
            yield place, now
            left[place] -= len(now)
            place += not left[place]
        if rest:
            yield 0, rest


async def rechunk(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Merge small chunks into ones worth a write."""
    waiting = bytearray()
    try:
        async for chunk in chunks:
            waiting += chunk
            if len(waiting) >= CHUNK_BYTES:
                yield bytes(waiting)
                waiting = bytearray()
    except (OSError, EOFError) as error:
        raise PullError("The upload was interrupted. Try again.") from error
    if waiting:
        yield bytes(waiting)
