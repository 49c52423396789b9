"""Pictures and sounds of messages: kept once by digest, and deleted with the last attachment that
has them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

from app.db import pictures
from app.db.attachments import Attachment, NewAttachment
from app.db.connection import Database, WriteFn
from app.errors import WickError
from app.media.picture_files import PictureFiles
from app.media.pictures import Picture
from app.media.protocol import SAMPLE_RATE
from app.media.sounds import TOKENS_PER_WINDOW, WINDOW_SECONDS, count_samples
from app.models.model import TurnImage

log = logging.getLogger(__name__)
T = TypeVar("T")
SWEEP_SECONDS: Final = 5.0
PIXELS_PER_TOKEN: Final = 750
"""How models that see count, as hosted ones say; local ones mostly take fewer."""
MAX_PICTURE_TOKENS: Final = 1600


class Pictures:
    """Files of pictures beside the database whose attachments have them."""

    def __init__(self, db: Database, files: PictureFiles) -> None:
        self._db = db
        self.files = files
        self._turn = asyncio.Lock()

    async def save(self, found: Sequence[Picture], work: WriteFn[T]) -> T:
        """Keep pictures, then write the rows that have them. Raises DiskFull."""
        async with self._turn:  # what is kept and in no row yet must not be swept away
            for picture in found:
                await asyncio.to_thread(self.files.put, picture)
            return await self._db.write(work)

    async def images(
        self, files: Sequence[Attachment], *, sees: bool, hears: bool
    ) -> dict[int, TurnImage]:
        """Map ids of those files that are pictures or sounds to what a model is given that sees
        or hears."""

        def find() -> dict[int, TurnImage]:
            found = {}
            for file in files:
                if not ((file.is_picture and sees) or (file.is_sound and hears)):
                    continue
                path = self.files.path(file.digest, file.media_type)
                if path is not None:
                    found[file.id] = _image(file, path)
            return found

        return await asyncio.to_thread(find)

    async def sweep(self) -> None:
        """Delete the files of pictures that nobody has any more."""
        while await pictures.has_freed(self._db):
            async with self._turn:
                unused = await self._db.write(pictures.take_freed)
                await self._remove(unused)

    async def remove_orphans(self) -> None:
        """Delete what a crash has left, between a file and its row."""
        async with self._turn:
            found = await asyncio.to_thread(self.files.digests)
            await self._remove(await pictures.unused(self._db, found))

    async def _remove(self, digests: Sequence[str]) -> None:
        for digest in digests:
            await asyncio.to_thread(self.files.remove, digest)

    async def run(self) -> None:
        """Remove orphans, then sweep until cancelled."""
        await self.remove_orphans()
        while True:
            try:
                await self.sweep()
            except (WickError, OSError) as error:
                log.warning("Pictures were not deleted yet: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)


def _image(file: Attachment, path: Path) -> TurnImage:
    samples = count_samples(file.size) if file.is_sound else 0
    return TurnImage(file.digest, str(path), file.width, file.height, samples=samples)


def sound_attachment(name: str, sound: Picture, text: str = "") -> NewAttachment:
    seconds = count_samples(len(sound.data)) / SAMPLE_RATE
    return NewAttachment(
        name=name,
        kind="audio",
        media_type=sound.media_type,
        size=len(sound.data),
        digest=sound.digest,
        text=text,
        tokens=TOKENS_PER_WINDOW * max(1, math.ceil(seconds / WINDOW_SECONDS)),
    )


def picture_attachment(name: str, picture: Picture, alt: str = "", text: str = "") -> NewAttachment:
    tokens = max(1, round(picture.width * picture.height / PIXELS_PER_TOKEN))
    return NewAttachment(
        name=name,
        kind="image",
        media_type=picture.media_type,
        size=len(picture.data),
        digest=picture.digest,
        text=text,
        tokens=min(tokens, MAX_PICTURE_TOKENS),
        width=picture.width,
        height=picture.height,
        alt=alt,
    )
