"""Audio files that users bring, decoded in a disposable process (`app/media/child/audio.py`)."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Final

from app.config import confined_environment
from app.errors import MediaFailed, MediaRefused, MediaTooLarge
from app.media.protocol import SAMPLE_BYTES, SAMPLE_RATE
from app.media.thread_holder import NO_THREADS, ThreadHolder

log = logging.getLogger(__name__)
MODULE: Final = "app.media.child.audio"
FFMPEG: Final = "ffmpeg"
MAX_SECONDS: Final = 3600
MAX_DICTATION_SECONDS: Final = 300
MAX_DICTATION_BYTES: Final = MAX_DICTATION_SECONDS * SAMPLE_RATE * SAMPLE_BYTES
"""Of one utterance: the page sends what was said at each pause."""
MAX_RESULT_BYTES: Final = (MAX_SECONDS + 60) * SAMPLE_RATE * SAMPLE_BYTES
WALL_SECONDS: Final = 300.0
DAMAGED, TOO_LONG = 3, 4
BUILT_IN: Final = ("WAV", "FLAC", "OGG", "MP3", "AIFF")
BY_FFMPEG: Final = ("M4A", "WEBM", "MP4", "AAC", "WMA")
_FFMPEG_ONLY: Final = frozenset(kind.lower() for kind in BY_FFMPEG)
_ENDINGS: Final = _FFMPEG_ONLY | {"wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff"}
_BY_FFMPEG: Final = (b"\x1aE\xdf\xa3", b"\x30\x26\xb2\x75")
"""First bytes of Matroska (WEBM) and of WMA."""


def formats() -> tuple[str, ...]:
    """Formats that can be decoded here."""
    return BUILT_IN + (BY_FFMPEG if shutil.which(FFMPEG) else ())


def is_audio(name: str) -> bool:
    """Tell whether a file calls itself sound, or a video with some."""
    return _ending(name) in _ENDINGS


class AudioDecoder:
    """Decodes one file after the other, each in a process of its own."""

    def __init__(self, threads: ThreadHolder = NO_THREADS) -> None:
        self._threads = threads
        self._turn = asyncio.Semaphore(1)  # one hour of sound is 115 MB

    async def decode(self, name: str, data: bytes) -> bytes:
        """Decode a file to samples as a voice model takes them.

        Raises MediaRefused, MediaTooLarge or MediaFailed, a sentence that calls it by `name`.
        """
        async with self._turn, self._threads.hold():
            samples, code = await _run(data)
        if code == TOO_LONG:
            raise MediaTooLarge(f"{name} is too long: the limit is {MAX_SECONDS // 60} minutes.")
        if code not in (0, DAMAGED):
            log.warning("The process that decoded a sound ended with %d.", code)
            raise MediaFailed(f"{name} can't be read: it takes too much time or memory.")
        if code == DAMAGED or not samples:
            raise MediaRefused(_refusal(name, data))
        return samples


def _refusal(name: str, data: bytes) -> str:
    """Say why a file cannot be read."""
    is_known = data[4:8] == b"ftyp" or data.startswith(_BY_FFMPEG) or _ending(name) in _FFMPEG_ONLY
    if is_known and not shutil.which(FFMPEG):
        return (
            f"{name} can't be read without the program ffmpeg, which isn't installed on this"
            f" server. Without it, Wick reads {', '.join(BUILT_IN)}."
        )
    return f"{name} is damaged, or not audio that can be read here: {', '.join(formats())}."


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower().removeprefix(".")


async def _run(data: bytes) -> tuple[bytes, int]:
    program = shutil.which(FFMPEG)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", MODULE, *([program] if program else [])),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=confined_environment(),
    )
    assert process.stdin is not None  # noqa: S101 - asked for pipes
    assert process.stdout is not None  # noqa: S101
    result = bytearray()
    feeding = asyncio.create_task(_feed(process.stdin, data))
    try:
        async with asyncio.timeout(WALL_SECONDS):
            while chunk := await process.stdout.read(1 << 18):
                result += chunk
                if len(result) > MAX_RESULT_BYTES:
                    return b"", TOO_LONG
            await feeding
            code = await process.wait()
    except TimeoutError:
        code = -1
    finally:
        feeding.cancel()
        with suppress(ProcessLookupError):
            process.kill()
        while await process.stdout.read(1 << 20):  # what it still held in its pipe
            pass
        await process.wait()
        await asyncio.gather(feeding, return_exceptions=True)
    return bytes(result), code


async def _feed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(ConnectionError):  # it is dead, which the end of its result says too
        stdin.write(data)
        await stdin.drain()
    stdin.close()
