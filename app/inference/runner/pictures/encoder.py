"""Turns pictures of a prompt into rows for the model, chunk by chunk, and keeps what it made.

What a picture becomes in a sequence depends on its size alone, so a prompt is made without looking
at a pixel. Pixels are read, and chunks encoded, only when a step comes to rows that no KV cache
holds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import PromptRefused
from app.inference.runner.engines.engine import GoOn, Logits
from app.inference.runner.engines.llama_native import NativeLlama
from app.inference.runner.engines.mtmd_native import (
    SAMPLE_RATE,
    Axes,
    Chunk,
    NativePicture,
    NativeProjector,
    ProjectorError,
    TokensChunk,
)
from app.inference.runner.pictures.decoder import read_media
from app.inference.runner.pictures.image_ids import is_first_row, row_ids
from app.models.model import Projector, TurnImage

KEPT_BYTES: Final = 64 << 20
"""Of rows that were encoded; those not used for longest go first."""
OPEN_PICTURES: Final = 2
"""That are cut up and resized, while their chunks are encoded."""
MAX_ROWS: Final = 512
"""Of a chunk whose rows see each other, which is then one step."""
KNOWN_CHUNKS: Final = 4096
KNOWN_SIZES: Final = 256
TRIED_SIZES: Final = ((64, 64), (1600, 1200))
"""Of pictures whose tokens are looked at when a projector is loaded: one chunk, and many."""


@dataclass(frozen=True, slots=True, eq=False)
class PictureRows:
    """Chunk of a picture as it stands in a sequence. chunk: its number among the picture's;
    ids, positions, axes, is_causal: see `RowsChunk`."""

    image: TurnImage
    chunk: int
    ids: tuple[int, ...]
    positions: int
    axes: Axes | None
    is_causal: bool


@dataclass(frozen=True, slots=True)
class PictureSpan:
    """Place of rows in a sequence, from `start` on."""

    start: int
    rows: PictureRows

    @property
    def end(self) -> int:
        return self.start + len(self.rows.ids)


class PictureEncoder:
    """Encoder of one model's pictures. Any thread may ask; one at a time encodes.

    digest: of the projector's file; max_rows: that may be in one step. Raises ProjectorError where
    the projector does not belong to the model.
    """

    def __init__(
        self,
        native: NativeProjector,
        digest: str,
        vocab_size: int,
        read: Callable[[TurnImage], bytes] = read_media,
        kept_bytes: int = KEPT_BYTES,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self._native = native
        self._digest = digest
        self._vocab_size = vocab_size
        self._read = read
        self._kept_bytes = kept_bytes
        self._max_rows = max_rows
        self._layouts: OrderedDict[tuple[int, int, int], list[Chunk]] = OrderedDict()
        self._chunks: OrderedDict[int, PictureRows] = OrderedDict()
        self._encoded: OrderedDict[tuple[int, ...], Logits] = OrderedDict()
        self._open: OrderedDict[tuple[str, tuple[int, int, int]], NativePicture] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self.chunks_encoded = 0
        for size in TRIED_SIZES if native.sees else ():
            self._layout(TurnImage("", "", *size))
        if native.hears:
            self._layout(TurnImage("", "", 0, 0, samples=SAMPLE_RATE))

    @classmethod
    def open(cls, path: Path, projector: Projector, model: NativeLlama) -> PictureEncoder:
        """Open a model's projector. Raises ProjectorError."""
        return cls(NativeProjector(path, model), projector.digest, model.vocab_size)

    # What a prompt holds.

    def ids(self, image: TurnImage) -> list[int]:
        """List the ids of a picture in a prompt: tokens around it, and its rows.

        Raises PromptRefused.
        """
        if not (self._native.hears if image.is_sound else self._native.sees):
            what = "hear sound" if image.is_sound else "see pictures"
            raise PromptRefused(f"This model cannot {what}.")
        try:
            layout = self._layout(image)
        except ProjectorError as error:
            raise PromptRefused(str(error)) from error
        ids: list[int] = []
        for number, chunk in enumerate(layout):
            if isinstance(chunk, TokensChunk):
                ids += chunk.tokens
                continue
            made = row_ids(image.id, self._digest, number, chunk.rows)
            rows = PictureRows(
                image, number, made, chunk.positions, chunk.axes, is_causal=chunk.is_causal
            )
            self._remember(rows)
            ids += made
        return ids

    def spans(self, ids: Sequence[int]) -> list[PictureSpan]:
        """Find the rows in a prompt. Raises PromptRefused for rows of a picture it never saw."""
        found: list[PictureSpan] = []
        place = 0
        while place < len(ids):
            if ids[place] >= 0:
                place += 1
                continue
            with self._lock:
                rows = self._chunks.get(ids[place]) if is_first_row(ids[place]) else None
            if rows is None or tuple(ids[place : place + len(rows.ids)]) != rows.ids:
                raise PromptRefused("The prompt holds a part of a picture that is not known.")
            found.append(PictureSpan(place, rows))
            place = found[-1].end
        return found

    def _layout(self, image: TurnImage) -> list[Chunk]:
        size = _size(image)
        with self._lock:
            if (known := self._layouts.get(size)) is not None:
                self._layouts.move_to_end(size)
                return known
        if image.is_sound:
            layout = self._native.sound_layout(image.samples)
        else:
            layout = self._native.layout(image.width, image.height)
        self._check(layout)
        with self._lock:
            self._layouts[size] = layout
            while len(self._layouts) > KNOWN_SIZES:
                self._layouts.popitem(last=False)
        return layout

    def _check(self, layout: Sequence[Chunk]) -> None:
        """Raises ProjectorError for what the engine could not evaluate."""
        for chunk in layout:
            if not isinstance(chunk, TokensChunk):
                if not chunk.is_causal and chunk.rows > self._max_rows:
                    raise ProjectorError("Wick cannot read so many rows of a picture at once.")
            elif any(not 0 <= token < self._vocab_size for token in chunk.tokens):
                # Evaluated, a token of -1 would end the process.
                raise ProjectorError(
                    "The model's projector belongs to another model: it needs tokens that this "
                    "one does not have."
                )

    def _remember(self, rows: PictureRows) -> None:
        with self._lock:
            self._chunks[rows.ids[0]] = rows
            self._chunks.move_to_end(rows.ids[0])
            while len(self._chunks) > KNOWN_CHUNKS:
                self._chunks.popitem(last=False)

    # What a step needs.

    def find(self, rows: PictureRows) -> Logits | None:
        """Find the numbers of a chunk, if they were computed and are still kept."""
        with self._lock:
            found = self._encoded.get(rows.ids)
            if found is not None:
                self._encoded.move_to_end(rows.ids)
            return found

    def encode(self, rows: PictureRows, threads: int, go_on: GoOn | None = None) -> Logits:
        """Compute the numbers of a chunk. go_on: is asked between two operations.

        Raises PromptRefused, EngineError, or StepInterrupted when `go_on` said no.
        """
        if (known := self.find(rows)) is not None:
            return known
        try:
            picture = self._opened(rows.image)
        except ProjectorError as error:
            raise PromptRefused(str(error)) from error
        found = self._native.encode(picture, rows.chunk, len(rows.ids), threads, go_on)
        self.chunks_encoded += 1
        self._keep(rows, found)
        return found

    def _opened(self, image: TurnImage) -> NativePicture:
        key = image.id, _size(image)
        if (known := self._open.get(key)) is not None:
            self._open.move_to_end(key)
            return known
        data = self._read(image)
        if image.is_sound:
            picture = self._native.open_sound(image.samples, data)
        else:
            picture = self._native.open_picture(image.width, image.height, data)
        self._open[key] = picture
        while len(self._open) > OPEN_PICTURES:
            self._open.popitem(last=False)[1].close()
        return picture

    def _keep(self, rows: PictureRows, found: Logits) -> None:
        with self._lock:
            self._encoded[rows.ids] = found
            self._bytes += found.nbytes
            while self._bytes > self._kept_bytes and len(self._encoded) > 1:
                self._bytes -= self._encoded.popitem(last=False)[1].nbytes

    def release_pictures(self) -> None:
        """Give back the memory of pictures that were cut up, when nobody waits for their chunks."""
        for picture in self._open.values():
            picture.close()
        self._open.clear()

    def close(self) -> None:
        """Free everything. Nobody may be encoding."""
        self.release_pictures()
        self._native.close()


def _size(image: TurnImage) -> tuple[int, int, int]:
    """Return all that decides what it becomes in a sequence."""
    return image.width, image.height, image.samples


class BlindEncoder:
    """Stands for a projector that cannot be used: whoever shows a picture hears why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def ids(self, image: TurnImage) -> list[int]:
        """Raises PromptRefused."""
        raise PromptRefused(self._reason)
