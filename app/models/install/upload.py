"""Takes a model that a person sends from the page: one file, or all parts of a split one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import DiskFull, PullError, PullRefused
from app.models.disk import ensure_space
from app.models.gguf.split import model_stem
from app.models.install.cancellable import write
from app.models.install.install import PullSpec, install
from app.models.install.progress import ProgressCallback, ProgressTracker, PullProgress
from app.models.model import Model
from app.models.sources import all_shards
from app.models.store import ModelStore, name_for

CHUNK_BYTES: Final = 1 << 20
MAGIC: Final = b"GGUF"
NAMED_MISSING: Final = 3


@dataclass(frozen=True, slots=True)
class UploadManifest:
    """What comes in one body. sizes: bytes of each of its files, one after the other; None if
    nobody said, which is allowed for one file."""

    file: str
    sizes: tuple[int, ...] | None

    @property
    def total(self) -> int | None:
        return None if self.sizes is None else sum(self.sizes)

    def check(self) -> None:
        """Raises PullRefused for what cannot become a model."""
        if self.sizes is not None and (not self.sizes or min(self.sizes) <= 0):
            raise PullRefused(f"{self.file} is empty.")
        parts = all_shards(self.file)
        if len(parts) != len(self.sizes or (0,)):
            raise PullRefused(_incomplete(self.file, parts, parts[1:]))

    @property
    def name(self) -> str:
        """On the shelf."""
        return name_for(Path(model_stem(self.file)))


def group_uploads(files: Sequence[tuple[str, int]]) -> list[tuple[UploadManifest, list[int]]]:
    """Names and sizes as one parcel for each model, with the places of its files in `files`.

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
    named = ", ".join(missing[:NAMED_MISSING])
    more = f" and {len(missing) - NAMED_MISSING} more" if missing[NAMED_MISSING:] else ""
    return (
        f"{file} is one of {len(parts)} parts of a model, and {named}{more} "
        f"{'is' if len(missing) == 1 else 'are'} missing: choose all parts together."
    )


async def receive(
    spec: PullSpec,
    store: ModelStore,
    pieces: AsyncIterator[bytes],
    parcel: UploadManifest,
    report: Callable[[PullProgress], None],
) -> Model:
    """Write `pieces` beside the shelf, and install what they make. Nothing stays if it fails.

    Raises PullError, another ModelError if the file will not do, or what `pieces` raises.
    """
    notify = ProgressTracker(report).report
    try:
        with store.incoming(2 * (parcel.total or 0)) as folder:
            notify("receiving", 0, parcel.total or 0)
            paths = await _unpack(parcel, folder, pieces, notify)
            return await install(paths[0], spec, store, notify)
    except DiskFull as error:
        raise PullError(str(error)) from error


async def _unpack(
    parcel: UploadManifest, folder: Path, pieces: AsyncIterator[bytes], notify: ProgressCallback
) -> list[Path]:
    """Write the files of a parcel, in the order in which they come."""
    count, stem = len(parcel.sizes or (0,)), parcel.name
    names = [f"{stem}-{n:05d}-of-{count:05d}.gguf" for n in range(1, count + 1)]
    paths = [folder / name for name in (names if count > 1 else [f"{stem}.gguf"])]
    done = 0
    async for place, piece in _split_stream(_rechunk(pieces), parcel):
        if not paths[place].exists() and not piece.startswith(MAGIC):
            raise PullRefused(f"{all_shards(parcel.file)[place]} is not a GGUF file.")
        ensure_space(folder, 0)
        with paths[place].open("ab") as file:
            await write(file, piece)
        done += len(piece)
        notify("receiving", done, parcel.total or 0)
    if not paths[-1].exists() or (parcel.total is not None and done != parcel.total):
        raise PullError(f"Only a part of {parcel.file} arrived. Please send it again.")
    return paths


async def _split_stream(
    pieces: AsyncIterator[bytes], parcel: UploadManifest
) -> AsyncIterator[tuple[int, bytes]]:
    """The same bytes, each piece with the place of its file in the parcel."""
    place, left = 0, list(parcel.sizes or ())
    async for piece in pieces:
        rest = piece
        while left and rest:
            if place == len(left):
                raise PullError(f"More of {parcel.file} came than was announced.")
            now, rest = rest[: left[place]], rest[left[place] :]
            yield place, now
            left[place] -= len(now)
            place += not left[place]
        if rest:
            yield 0, rest


async def _rechunk(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a write."""
    waiting = bytearray()
    try:
        async for piece in pieces:
            waiting += piece
            if len(waiting) >= CHUNK_BYTES:
                yield bytes(waiting)
                waiting = bytearray()
    except (OSError, EOFError) as error:
        raise PullError("The file broke off on its way. Please send it again.") from error
    if waiting:
        yield bytes(waiting)
