"""Sounds for models that hear: decoded in a disposable process, and kept as WAV files.

A file has 44 bytes, then samples of 16 bits at 16 kHz, of one channel: so browsers play it, and
runners read it without a decoder.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from typing import Final

from app.errors import MediaTooLarge
from app.media.audio import AudioDecoder
from app.media.pictures import Picture
from app.media.protocol import SAMPLE_BYTES, SAMPLE_RATE

SOUND_TYPE: Final = "audio/wav"
HEADER_BYTES: Final = 44
MAX_SOUND_FILE_BYTES: Final = 20 << 20
"""Of a sound as it comes, for a model that hears."""
MAX_SOUND_SECONDS: Final = 300
WINDOW_SECONDS, TOKENS_PER_WINDOW = 30, 750
"""As Qwen2-Audio counts, which fills a window with silence; most make fewer tokens of one."""


class SoundDecoder:
    """Decodes sounds for models that hear, which needs no voice model."""

    def __init__(self, audio: AudioDecoder | None = None) -> None:
        self._audio = audio or AudioDecoder()

    async def decode(self, name: str, data: bytes) -> Picture:
        """Decode a sound, which takes the place of a picture. Raises MediaError."""
        if len(data) > MAX_SOUND_FILE_BYTES:
            limit = MAX_SOUND_FILE_BYTES >> 20
            raise MediaTooLarge(f"{name} is too large for a model to hear: up to {limit} MB.")
        samples = await self._audio.decode(name, data)
        if len(samples) > MAX_SOUND_SECONDS * SAMPLE_RATE * SAMPLE_BYTES:
            limit = MAX_SOUND_SECONDS // 60
            raise MediaTooLarge(f"{name} is too long for a model to hear: up to {limit} minutes.")
        return await asyncio.to_thread(as_file, samples)


def as_file(samples: bytes) -> Picture:
    """Make the file that is kept of a sound."""
    rate = SAMPLE_RATE * SAMPLE_BYTES
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, rate, SAMPLE_BYTES, 16)
    rest = b"WAVE" + form + struct.pack("<4sI", b"data", len(samples)) + samples
    data = struct.pack("<4sI", b"RIFF", len(rest)) + rest
    return Picture(0, 0, SOUND_TYPE, data, b"", hashlib.sha256(data).hexdigest())


def samples_of(data: bytes) -> bytes:
    """Return the samples in a file that Wick has made."""
    return data[HEADER_BYTES:]


def count_samples(size: int) -> int:
    """Count the samples in a file of so many bytes."""
    return max(0, size - HEADER_BYTES) // SAMPLE_BYTES
