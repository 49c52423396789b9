"""Files of pictures and sounds by their digest: in the data folder, or in memory for temporary
chats."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from app.errors import DiskFull
from app.media.pictures import Picture
from app.media.sounds import SOUND_TYPE

ENDINGS: Final = {"image/png": ".png", "image/jpeg": ".jpg", SOUND_TYPE: ".wav"}
THUMBNAIL: Final = ".webp"
THUMBNAIL_TYPE: Final = "image/webp"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class PictureFiles(Protocol):
    """Pictures and their thumbnails, and sounds, which have none. What is not there is None."""

    def put(self, picture: Picture) -> None:
        """Raises DiskFull."""

    def read(self, digest: str, media_type: str) -> bytes | None: ...

    def path(self, digest: str, media_type: str) -> Path | None:
        """Return the file as another process of this user can open it."""

    def remove(self, digest: str) -> None: ...

    def digests(self) -> set[str]: ...


class PictureFolder:
    """Pictures as `aa/DIGEST.png` or `.jpg`, with a thumbnail `.webp` beside; sounds as `.wav`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, picture: Picture) -> None:
        try:
            if picture.thumbnail:
                self._write(self._file(picture.digest, THUMBNAIL), picture.thumbnail)
            self._write(self._file(picture.digest, ENDINGS[picture.media_type]), picture.data)
        except OSError as error:
            raise DiskFull("There is no room left on the disk for this picture.") from error

    def _write(self, file: Path, data: bytes) -> None:
        """Write a file whole or not at all."""
        if file.exists():
            return
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = file.with_name(f"{file.name}.{secrets.token_hex(4)}.tmp")
        try:
            beside.touch(mode=0o600)
            with beside.open("wb") as new:
                new.write(data)
                new.flush()
                os.fsync(new.fileno())
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)

    def read(self, digest: str, media_type: str) -> bytes | None:
        with contextlib.suppress(OSError):
            return self._file(digest, _ending(media_type)).read_bytes()
        return None

    def path(self, digest: str, media_type: str) -> Path | None:
        file = self._file(digest, _ending(media_type))
        return file if file.is_file() else None

    def remove(self, digest: str) -> None:
        for file in self._file(digest, "").parent.glob(f"{digest}.*"):
            file.unlink(missing_ok=True)

    def digests(self) -> set[str]:
        """List all, also of files that a crash has left half written."""
        names = (file.name.partition(".")[0] for file in self._folder.glob("??/*"))
        return {name for name in names if _DIGEST.fullmatch(name)}

    def _file(self, digest: str, ending: str) -> Path:
        return self._folder / digest[:2] / f"{digest}{ending}"


@dataclass(frozen=True, slots=True)
class _OpenCopy:
    """A copy of a picture that another process can open, until it is closed."""

    path: Path
    close: Callable[[], None]


def _open_copy(digest: str, data: bytes) -> _OpenCopy:
    """Raises DiskFull."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create(f"wick-{digest[:8]}")
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(data)
        return _OpenCopy(Path(f"/proc/{os.getpid()}/fd/{memory}"), partial(os.close, memory))
    try:  # macOS: a file of this user alone, which the system also clears away
        temporary = tempfile.NamedTemporaryFile(prefix="wick-picture-")  # noqa: SIM115
        temporary.write(data)
        temporary.flush()
    except OSError as error:
        raise DiskFull("There is no room left on the disk for this picture.") from error
    return _OpenCopy(Path(temporary.name), temporary.close)


class PictureMemory:
    """Pictures that no disk holds, but for what another process has to open where the system has
    no files in memory."""

    def __init__(self) -> None:
        self._pictures: dict[str, Picture] = {}
        self._opened: dict[str, _OpenCopy] = {}

    def put(self, picture: Picture) -> None:
        self._pictures[picture.digest] = picture

    def read(self, digest: str, media_type: str) -> bytes | None:
        picture = self._pictures.get(digest)
        if picture is None:
            return None
        return picture.thumbnail if media_type == THUMBNAIL_TYPE else picture.data

    def path(self, digest: str, media_type: str) -> Path | None:
        """Return a file in memory, or a temporary one where the system has none in memory."""
        data = self.read(digest, media_type)
        if data is None:
            return None
        if digest not in self._opened:
            self._opened[digest] = _open_copy(digest, data)
        return self._opened[digest].path

    def remove(self, digest: str) -> None:
        self._pictures.pop(digest, None)
        if (opened := self._opened.pop(digest, None)) is not None:
            opened.close()

    def digests(self) -> set[str]:
        return set(self._pictures)


class HeldPictures(PictureMemory):
    """Pictures in memory until all who have put them have released them."""

    def __init__(self) -> None:
        super().__init__()
        self._holders = Counter[str]()

    def put(self, picture: Picture) -> None:
        super().put(picture)
        self._holders[picture.digest] += 1

    def release(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self._holders[digest] -= 1
            if self._holders[digest] <= 0:
                del self._holders[digest]
                self.remove(digest)


def _ending(media_type: str) -> str:
    return THUMBNAIL if media_type == THUMBNAIL_TYPE else ENDINGS[media_type]
