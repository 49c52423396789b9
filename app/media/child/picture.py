"""Decodes one picture: `python -m app.media.child.picture < FILE > RESULT`.

A hostile file may break a codec, take all memory or never end, so this is a process for one file,
with bounds on memory and time. RESULT is one line of JSON, `Decoded` or `Refused`; after `Decoded`
come the bytes of the picture and of its thumbnail. Both are encoded anew from the pixels: nothing
else of the file comes through.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import sys
from typing import Final, Literal

import msgspec
from PIL import AvifImagePlugin, Image, ImageCms

FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "HEIF")
MAX_PIXELS: Final = 64_000_000
MAX_SIDE: Final = 4096
"""Pixels of the longer side; a larger picture is made smaller."""
THUMBNAIL_SIDE: Final = 512
MAX_PNG_BYTES: Final = 4 << 20
"""A larger PNG becomes a JPEG."""
MEMORY_BYTES: Final = 3 << 29
CPU_SECONDS: Final = 20
_LOSSY: Final = frozenset({"JPEG", "MPO", "WEBP", "AVIF", "HEIF"})
_WITH_ALPHA: Final = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})

AvifImagePlugin.DEFAULT_MAX_THREADS = 1
with contextlib.suppress(ImportError):  # there may be no build for this system
    import pi_heif

    pi_heif.options.DECODE_THREADS = 1
    pi_heif.register_heif_opener(thumbnails=False)
Image.MAX_IMAGE_PIXELS = None  # `decode` has its own limit, and says so in numbers


class Decoded(msgspec.Struct, tag="decoded", frozen=True):
    """width, height: pixels; size, thumbnail: bytes of the picture and of its thumbnail (WebP)."""

    width: int
    height: int
    media_type: Literal["image/png", "image/jpeg"]
    size: int
    thumbnail: int


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """width, height: pixels of a picture that has too many of them."""

    reason: Literal["damaged", "pixels", "memory"]
    width: int = 0
    height: int = 0


class TooManyPixels(Exception):
    pass


def main() -> None:
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # native code may print
    confine()
    header, *parts = answer(sys.stdin.buffer.read())
    result.write(msgspec.json.encode(header) + b"\n")
    for part in parts:
        result.write(part)
    result.flush()
    os._exit(0)  # codecs have nothing to clear away, and might fail at that


def confine() -> None:
    """Take no more than allowed: no file, no further process, and what others leave of the CPU."""
    bounds = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 16,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in bounds.items():
        with contextlib.suppress(OSError, ValueError):  # what the system does not know, or forbids
            resource.setrlimit(which, (most, most))
    os.nice(5)


def answer(data: bytes) -> tuple[Decoded, bytes, bytes] | tuple[Refused]:
    """Decode a file, whatever is in it."""
    try:
        return decode(data)
    except TooManyPixels as error:
        return (Refused("pixels", *error.args),)
    except MemoryError:
        return (Refused("memory"),)
    except Exception:  # codecs raise a dozen kinds on a damaged file
        return (Refused("damaged"),)


def decode(data: bytes) -> tuple[Decoded, bytes, bytes]:
    """Read the first frame, upright, without metadata."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise TooManyPixels(image.width, image.height)
        is_lossy = image.format in _LOSSY
        picture = _upright(image)
    encoded, media_type = _encoded(picture, is_lossy=is_lossy)
    width, height = picture.size
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), reducing_gap=2.0)
    thumbnail = io.BytesIO()
    picture.save(thumbnail, "WEBP", quality=80, method=2)
    small = thumbnail.getvalue()
    return Decoded(width, height, media_type, len(encoded), len(small)), encoded, small


def _upright(image: Image.Image) -> Image.Image:
    """Return the pixels in RGB, no larger than MAX_SIDE, turned as the camera was."""
    image.draft("RGB", (MAX_SIDE, MAX_SIDE))  # a JPEG is decoded at a fraction of its size
    image.load()
    profile, orientation = image.info.get("icc_profile"), _orientation(image)
    picture = _on_white(image)
    picture.thumbnail((MAX_SIDE, MAX_SIDE), reducing_gap=2.0)
    if isinstance(profile, bytes) and image.mode in {"RGB", "RGBA"}:
        picture = _in_srgb(picture, profile)
    if orientation is not None:
        picture = picture.transpose(orientation)
    return picture


_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION: Final = 0x0112


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata of a sound picture
        return None


def _on_white(image: Image.Image) -> Image.Image:
    """Return a copy in RGB; what is transparent becomes white."""
    if image.mode.startswith("I;16"):  # whose values would be cut, not scaled
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
        return image.convert("RGB") if image.mode != "RGB" else image.copy()
    seen = image.convert("RGBA")
    seen.thumbnail((MAX_SIDE, MAX_SIDE), reducing_gap=2.0)
    picture = Image.new("RGB", seen.size, "white")
    picture.paste(seen, mask=seen.getchannel("A"))
    return picture


def _in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert colours of another space; they stay as they are where the profile is damaged."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        changed = ImageCms.profileToProfile(
            picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except Exception:
        return picture
    return changed or picture


def _encoded(
    picture: Image.Image, *, is_lossy: bool
) -> tuple[bytes, Literal["image/png", "image/jpeg"]]:
    """Encode without loss what came so, unless that is large."""
    picture.info.clear()
    if not is_lossy:
        png = io.BytesIO()
        picture.save(png, "PNG")
        if png.tell() <= MAX_PNG_BYTES:
            return png.getvalue(), "image/png"
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=90)
    return jpeg.getvalue(), "image/jpeg"


if __name__ == "__main__":
    main()
