"""One projector in llama.cpp's library: the calls, without any policy.

Any thread may ask for layouts and read pictures; one at a time may encode.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ctypes import byref, c_int32, c_size_t, c_void_p, string_at
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.inference.runner.engines.engine import EngineError, GoOn, Logits
from app.inference.runner.engines.llama_library import LOG
from app.inference.runner.engines.llama_native import NativeLlama
from app.inference.runner.engines.mtmd_library import (
    MARKER,
    TEXT_CHUNK,
    DecoderPosition,
    InputText,
    load_mtmd,
)
from app.inference.runner.engines.operations import OperationGate

Axes = NDArray[np.int32]
"""Positions of rows, relative to the first one: shape (4, rows)."""
_UNUSUAL_THREADS: Final = 23_063
SAMPLE_RATE: Final = 16_000
SAMPLE_BYTES: Final = 4
"""Samples of a sound in a second, and bytes of each, a 32-bit float."""
_FIELDS_BYTES: Final = 256
"""Of the library's own struct, in whose beginning the number of threads stands."""


class ProjectorError(Exception):
    """The projector cannot be used; the message says why, as a sentence."""


@dataclass(frozen=True, slots=True)
class TokensChunk:
    """Tokens that the library puts around a picture, or between its tiles."""

    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RowsChunk:
    """Rows of numbers that stand for a tile, or for a whole picture.

    positions: how many of the text's positions they take; axes: where each row stands, None where
    they follow one another like tokens; is_causal: whether a row sees only those before it.
    """

    rows: int
    positions: int
    axes: Axes | None
    is_causal: bool


Chunk = TokensChunk | RowsChunk


class NativePicture:
    """Picture that the library has cut up and resized, ready to be encoded chunk by chunk."""

    def __init__(self, projector: NativeProjector, chunks: int) -> None:
        self.projector, self.chunks = projector, chunks

    def close(self) -> None:
        self.projector.free_chunks(self.chunks)
        self.chunks = 0


class NativeProjector:
    """A projector file beside a model that is loaded. Raises ProjectorError."""

    def __init__(self, path: Path, model: NativeLlama) -> None:
        self._lib = load_mtmd()
        known = self._lib.mtmd_get_cap_from_file(bytes(path))
        if not (known.vision or known.audio):
            raise ProjectorError(
                "The file beside the model shows it no pictures and no sound, or is damaged."
            )
        self._gate = OperationGate()
        self._handle = self._open(path, model)
        self._threads = _threads_field(self._handle)
        if self._threads is None:  # another layout: one thread, which cannot be changed
            self._lib.mtmd_free(self._handle)
            self._handle = self._open(path, model, threads=1)
        self.sees = bool(self._lib.mtmd_support_vision(self._handle))
        rate = self._lib.mtmd_get_audio_sample_rate(self._handle)
        self.hears = bool(self._lib.mtmd_support_audio(self._handle)) and rate == SAMPLE_RATE
        self.has_axes = bool(self._lib.mtmd_decode_use_mrope(self._handle))
        self.width = model.row_width

    def _open(self, path: Path, model: NativeLlama, threads: int = _UNUSUAL_THREADS) -> int:
        params = self._lib.mtmd_context_params_default()
        params.use_gpu = params.print_timings = params.warmup = False
        params.n_threads = threads
        params.cb_eval = self._gate.address
        LOG.clear()
        handle: int | None = self._lib.mtmd_init_from_file(bytes(path), model.handle, params)
        if not handle:
            reason = LOG.reason().replace(str(path), path.name)
            raise ProjectorError(f"The model's projector cannot be used: {reason}")
        return handle

    def layout(self, width: int, height: int) -> list[Chunk]:
        """Return what a picture of that size becomes, without its pixels. Raises ProjectorError."""
        return self._layout(self._lib.mtmd_bitmap_init(width, height, None))

    def sound_layout(self, samples: int) -> list[Chunk]:
        """Return what a sound of that length becomes. Raises ProjectorError."""
        silence = bytes(SAMPLE_BYTES * samples)
        return self._layout(self._lib.mtmd_bitmap_init_from_audio(samples, silence))

    def _layout(self, bitmap: int) -> list[Chunk]:
        chunks = self._tokenize(bitmap)
        try:
            return [self._chunk(chunk) for chunk in self._each(chunks)]
        finally:
            self.free_chunks(chunks)

    def open_picture(self, width: int, height: int, pixels: bytes) -> NativePicture:
        """Cut up and resize a picture, of three bytes a pixel. Raises ProjectorError."""
        if len(pixels) != 3 * width * height:
            raise ProjectorError("The picture's file does not have the size that it should.")
        bitmap = self._lib.mtmd_bitmap_init(width, height, pixels)
        return NativePicture(self, self._tokenize(bitmap))

    def open_sound(self, samples: int, data: bytes) -> NativePicture:
        """Cut up a sound of so many samples. Raises ProjectorError."""
        if len(data) != SAMPLE_BYTES * samples:
            raise ProjectorError("The sound's file does not have the size that it should.")
        return NativePicture(
            self, self._tokenize(self._lib.mtmd_bitmap_init_from_audio(samples, data))
        )

    def encode(
        self,
        picture: NativePicture,
        number: int,
        rows: int,
        threads: int,
        go_on: GoOn | None = None,
    ) -> Logits:
        """Compute the rows of one chunk of a picture. go_on: is asked between two operations.

        Raises EngineError, StepInterrupted when `go_on` said no.
        """
        if self._threads is not None:
            self._threads.value = max(1, threads)
        chunk = self._lib.mtmd_input_chunks_get(picture.chunks, number)
        if self._lib.mtmd_input_chunk_get_n_tokens(chunk) != rows:
            raise EngineError("a picture was cut into other chunks than it should be")
        LOG.clear()
        with self._gate.asking(go_on):
            code = self._lib.mtmd_encode_chunk(self._handle, chunk)
        if code:
            raise EngineError(f"the engine failed to encode a picture: {LOG.reason()}")
        found = self._lib.mtmd_get_output_embd(self._handle)
        data = string_at(found, rows * self.width * 4)
        return np.frombuffer(data, np.float32).reshape(rows, self.width)

    def _chunk(self, chunk: int) -> Chunk:
        lib = self._lib
        if lib.mtmd_input_chunk_get_type(chunk) == TEXT_CHUNK:
            size = c_size_t()
            tokens = lib.mtmd_input_chunk_get_tokens_text(chunk, byref(size))
            return TokensChunk(tuple(tokens[: size.value]))
        rows = lib.mtmd_input_chunk_get_n_tokens(chunk)
        axes = self._axes(chunk, rows) if self.has_axes else None
        causal = not lib.mtmd_decode_use_non_causal(self._handle, chunk)
        return RowsChunk(rows, lib.mtmd_input_chunk_get_n_pos(chunk), axes, causal)

    def _axes(self, chunk: int, rows: int) -> Axes:
        image = self._lib.mtmd_input_chunk_get_tokens_image(chunk)
        if not image:  # a sound's follow one another on all axes
            one = np.arange(rows, dtype=np.int32)
            return np.stack([one, one, one, np.zeros_like(one)])
        found = (DecoderPosition * rows)()
        self._lib.mtmd_helper_image_get_decoder_pos(image, 0, found)
        values = np.frombuffer(bytes(found), np.uint32).reshape(rows, 4)
        return np.ascontiguousarray(values[:, [0, 2, 1, 3]].T.astype(np.int32))  # t, y, x, z

    def _tokenize(self, bitmap: int) -> int:
        """Take a bitmap and give its chunks. Raises ProjectorError."""
        lib = self._lib
        chunks: int = lib.mtmd_input_chunks_init()
        text = InputText(MARKER, len(MARKER), add_special=False, parse_special=True)
        LOG.clear()
        try:
            code = lib.mtmd_tokenize(self._handle, chunks, byref(text), (c_void_p * 1)(bitmap), 1)
        finally:
            lib.mtmd_bitmap_free(bitmap)
        if code:
            self.free_chunks(chunks)
            raise ProjectorError(f"The model's projector cannot take a picture: {LOG.reason()}")
        return chunks

    def _each(self, chunks: int) -> Iterator[int]:
        for number in range(self._lib.mtmd_input_chunks_size(chunks)):
            yield self._lib.mtmd_input_chunks_get(chunks, number)

    def free_chunks(self, chunks: int) -> None:
        if chunks:
            self._lib.mtmd_input_chunks_free(chunks)

    def close(self) -> None:
        """Free everything. No picture may be open."""
        if self._handle:
            self._lib.mtmd_free(self._handle)
            self._handle = 0


def _threads_field(handle: int) -> c_int32 | None:
    """Find the number of threads in the library's struct, for which it has no function; None where
    it does not stand there exactly once."""
    data = string_at(handle, _FIELDS_BYTES)
    wanted = struct.pack("=i", _UNUSUAL_THREADS)
    places = [at for at in range(0, _FIELDS_BYTES, 4) if data[at : at + 4] == wanted]
    return c_int32.from_address(handle + places[0]) if len(places) == 1 else None
