"""Original files of a model: how they come into its folder of the store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Literal, Protocol

from app.models.disk import ensure_space

Keep = Literal["copy", "share", "link"]
"""copy: the store has a file of its own; share: the same, but where the disk allows it without a
copy (the file was brought for the store); link: it stays another program's, and takes no room."""
COPY_BYTES: Final = 4 << 20


class Digest(Protocol):
    """A checksum that is being computed."""

    def update(self, data: bytes, /) -> None: ...


def place_originals(
    sources: Sequence[Path],
    folder: Path,
    keep: Keep,
    digest: Digest | None,
    progress: Callable[[int], None],
) -> tuple[str, ...]:
    """Put the parts of a model into `folder`; the names they have there, the first one first.

    digest: is given all bytes, in one go with the copy; progress: hears how many were read.
    Raises OSError or DiskFull.
    """
    names = original_names(len(sources))
    done = 0
    for source, name in zip(sources, names, strict=True):
        with contextlib.ExitStack() as stack:
            copy: BinaryIO | None = None
            if not _linked(source, folder / name, keep):
                ensure_space(folder, source.stat().st_size)
                copy = stack.enter_context((folder / name).open("wb"))
            elif digest is None:
                continue
            reader = stack.enter_context(source.open("rb"))
            while chunk := reader.read(COPY_BYTES):
                if copy is not None:
                    copy.write(chunk)
                if digest is not None:
                    digest.update(chunk)
                done += len(chunk)
                progress(done)
    return names


def original_names(count: int) -> tuple[str, ...]:
    """Name the parts of a split model as llama.cpp expects them."""
    if count == 1:
        return ("original.gguf",)
    return tuple(f"original-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))


def _linked(source: Path, target: Path, keep: Keep) -> bool:
    """Link `target` to the same file, without a copy of its bytes; False where that is impossible.

    A hard link also stays when the other program deletes its own; not every disk has them, and
    nobody may link to another user's files.
    """
    if keep == "copy":
        return False
    try:
        target.hardlink_to(source.resolve())
        return True
    except OSError:
        if keep == "share":
            return False
    target.symlink_to(source.resolve())
    return True
