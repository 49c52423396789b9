"""Pictures that users bring: recognized by their first bytes, decoded in a disposable process.

No other process of Wick decodes what came from outside (`app/media/child/picture.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import logging
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import msgspec

from app.config import confined_environment
from app.errors import AttachmentRefused
from app.media.thread_holder import NO_THREADS, ThreadHolder

log = logging.getLogger(__name__)
COMMAND: Final = (sys.executable, "-m", "app.media.child.picture")
MAX_PICTURE_BYTES: Final = 20 << 20
MAX_PIXELS: Final = 64_000_000
HEIF_PACKAGE: Final = "pi_heif"
WALL_SECONDS: Final = 60.0
MAX_RESULT_BYTES: Final = 40 << 20
SUPPORTED: Final = "JPEG, PNG, GIF, WebP, HEIC, AVIF, BMP and TIFF"
_SIGNATURES: Final = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"),
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
)
_AVIF: Final = frozenset({b"avif", b"avis"})
_HEIF: Final = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_NAMES: Final = frozenset(
    {"png", "jpg", "jpeg", "gif", "webp", "avif", "bmp", "tif", "tiff", "heic", "heif", "svgz"}
)
_ENCODED: Final = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


@dataclass(frozen=True, slots=True)
class Picture:
    """Decoded picture. data: its file, encoded anew, and its SHA-256; thumbnail: a WebP."""

    width: int
    height: int
    media_type: str
    data: bytes
    thumbnail: bytes
    digest: str


class _Header(msgspec.Struct, tag_field="type", tag="decoded", frozen=True):
    width: int
    height: int
    media_type: str
    size: int
    thumbnail: int


class _Refusal(msgspec.Struct, tag_field="type", tag="refused", frozen=True):
    reason: str
    width: int = 0
    height: int = 0


def is_picture(name: str, data: bytes) -> bool:
    """Tell whether a file is a picture, or calls itself one; SVG is text."""
    ending = PurePosixPath(name).suffix.lower().removeprefix(".")
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    is_heif = data[4:8] == b"ftyp" and data[8:12] in _AVIF | _HEIF
    is_bmp = data[:2] == b"BM" and data[6:10] == bytes(4)  # and no text about a BMW
    is_other = is_webp or is_heif or is_bmp
    return data.startswith(_SIGNATURES) or is_other or ending in _NAMES


class PictureDecoder:
    """Decodes one picture after the other, each in a process of its own."""

    def __init__(self, threads: ThreadHolder = NO_THREADS) -> None:
        self._threads = threads
        self._turn = asyncio.Semaphore(1)  # one takes up to half a gigabyte, for a moment

    async def decode(self, name: str, data: bytes) -> Picture:
        """Decode a picture. Raises AttachmentRefused, a sentence that calls it by `name`."""
        if len(data) > MAX_PICTURE_BYTES:
            limit = MAX_PICTURE_BYTES >> 20
            raise AttachmentRefused(f"{name} is too large: the limit for pictures is {limit} MB.")
        ending = PurePosixPath(name).suffix.lower()
        is_heif = data[4:8] == b"ftyp" and data[8:12] in _HEIF
        if is_heif and importlib.util.find_spec(HEIF_PACKAGE) is None:
            raise AttachmentRefused(
                f"HEIC pictures can't be read here. Save {name} as JPEG or PNG first."
            )
        if ending == ".svgz":
            raise AttachmentRefused(
                f"{name} is packed. Attach the SVG itself, which is read as text."
            )
        async with self._turn, self._threads.hold():
            result = await _run(name, data)
        return await asyncio.to_thread(_checked, name, result)


async def _run(name: str, data: bytes) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=confined_environment(),
    )
    assert process.stdin is not None  # noqa: S101 - asked for pipes
    assert process.stdout is not None  # noqa: S101
    try:
        async with asyncio.timeout(WALL_SECONDS):
            _, result = await asyncio.gather(
                _feed(process.stdin, data), _read(process.stdout, MAX_RESULT_BYTES)
            )
    except TimeoutError:
        raise _too_much(name) from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        while await process.stdout.read(1 << 20):  # what it still held in its pipe
            pass
        await process.wait()
    return result


async def _feed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(ConnectionError):  # it is dead, which the end of its result says too
        stdin.write(data)
        await stdin.drain()
    stdin.close()


async def _read(stdout: asyncio.StreamReader, most: int) -> bytes:
    """Read to the end; nothing of a result that is too large."""
    result = bytearray()
    while chunk := await stdout.read(1 << 20):
        result += chunk
        if len(result) > most:
            return b""
    return bytes(result)


def _checked(name: str, result: bytes) -> Picture:
    """Check what the process says, which is not trusted. Raises AttachmentRefused."""
    line, _, rest = result.partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=_Header | _Refusal)
    except msgspec.DecodeError:  # it died, or was broken into
        log.warning("The process that decoded a picture ended without a result.")
        raise _too_much(name) from None
    if isinstance(header, _Refusal):
        raise _refused(name, header)
    data, thumbnail = rest[: header.size], rest[header.size :]
    is_sound = (
        0 < header.width <= 4096
        and 0 < header.height <= 4096
        and header.size > 0
        and len(thumbnail) == header.thumbnail
        and data.startswith(_ENCODED.get(header.media_type, b"\0unknown"))
        and thumbnail[:4] == b"RIFF"
        and thumbnail[8:12] == b"WEBP"
    )
    if not is_sound:
        raise _too_much(name)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(header.width, header.height, header.media_type, data, thumbnail, digest)


def _refused(name: str, refusal: _Refusal) -> AttachmentRefused:
    if refusal.reason == "pixels":
        return AttachmentRefused(
            f"{name} has {refusal.width:,} × {refusal.height:,} pixels; the limit is"
            f" {MAX_PIXELS // 1_000_000} million. Make it smaller."
        )
    if refusal.reason == "memory":
        return _too_much(name)
    return AttachmentRefused(
        f"{name} is damaged, or not a picture that Wick can read: {SUPPORTED}."
    )


def _too_much(name: str) -> AttachmentRefused:
    return AttachmentRefused(f"{name} can't be read: it takes too much time or memory.")
