"""Decoding in the child: what comes through, and that nothing hostile breaks it."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from app.media.child.picture import FORMATS, Decoded, Refused, answer
from tests.media.samples import HEIC, drawn, encoded

KINDS = [kind for kind in FORMATS if kind not in {"MPO", "HEIF"}]
"""Those that Pillow can write by itself."""


def decoded(data: bytes) -> tuple[Decoded, Image.Image, Image.Image]:
    header, *parts = answer(data)
    assert isinstance(header, Decoded), header
    picture, thumbnail = (Image.open(io.BytesIO(part)) for part in parts)
    assert [header.size, header.thumbnail] == [len(part) for part in parts]
    assert picture.size == (header.width, header.height)
    assert thumbnail.format == "WEBP"
    return header, picture, thumbnail


def is_red(image: Image.Image, x: int, y: int) -> bool:
    pixel = image.convert("RGB").getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel[0] > 180 and pixel[1] < 80


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_read_and_encoded_anew(kind: str) -> None:
    header, picture, thumbnail = decoded(encoded(kind=kind))
    is_lossy = kind in {"JPEG", "WEBP", "AVIF"}
    assert header.media_type == ("image/jpeg" if is_lossy else "image/png")
    assert (header.width, header.height) == (60, 40)
    assert is_red(picture, 5, 5)
    assert not is_red(picture, 50, 30)
    assert is_red(thumbnail, 5, 5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_set_upright_and_its_metadata_dropped(orientation: int) -> None:
    turns = Image.Transpose
    undo = {
        **{2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM},
        **{5: turns.TRANSPOSE, 6: turns.ROTATE_90, 7: turns.TRANSVERSE, 8: turns.ROTATE_270},
    }
    image = drawn() if orientation == 1 else drawn().transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera of mine"
    data = encoded(image, "JPEG", exif=exif, comment=b"a secret")
    header, *parts = answer(data)
    assert isinstance(header, Decoded)
    assert (header.width, header.height) == (60, 40)
    assert is_red(Image.open(io.BytesIO(parts[0])), 5, 5)
    for part in parts:
        assert b"camera" not in part
        assert b"secret" not in part


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb_on_white(mode: str) -> None:
    kind = "JPEG" if mode in {"CMYK", "YCbCr"} else "PNG"
    _, picture, _ = decoded(encoded(drawn().convert(mode), kind))
    assert picture.mode == "RGB"
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    _, picture, _ = decoded(encoded(clear))
    assert picture.getpixel((4, 4)) == (255, 255, 255)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [drawn(), Image.new("RGB", (60, 40), "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        _, picture, _ = decoded(data)
        assert is_red(picture, 5, 5), kind


def test_a_large_picture_is_made_smaller() -> None:
    header, picture, thumbnail = decoded(encoded(drawn(5000, 100), "JPEG"))
    assert (header.width, header.height) == (4096, 82)
    assert max(thumbnail.size) == 512
    assert is_red(picture, 100, 5)


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png_bomb(width: int, height: int) -> bytes:
    """A small file that says it has that many pixels, all of them black."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min((width // 8 + 1) * height, 8 << 20)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_bombs_are_refused_before_they_are_decoded() -> None:
    assert answer(png_bomb(30_000, 30_000)) == (Refused("pixels", 30_000, 30_000),)
    assert isinstance(answer(png_bomb(2**31 - 1, 2**31 - 1))[0], Refused)
    gif = bytearray(encoded(kind="GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    assert isinstance(answer(bytes(gif))[0], Refused)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(70 << 20), 9))
    png = encoded()
    assert answer(png[:33] + text + png[33:]) == (Refused("damaged"),)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_picture_is_refused(kind: str) -> None:
    data = encoded(drawn(200, 200), kind)
    for share in (0.02, 0.3, 0.6):
        assert answer(data[: int(len(data) * share)]) == (Refused("damaged"),)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF"]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert answer(data) == (Refused("damaged"),)


def test_of_a_polyglot_only_the_pixels_come_through() -> None:
    for tail in (b"<script>alert(1)</script>", b"PK\x03\x04 a zip", b"%PDF-1.7"):
        header, *parts = answer(encoded(kind="JPEG") + tail)
        assert isinstance(header, Decoded)
        assert not any(tail in part for part in parts)


def mutants(count: int) -> list[bytes]:
    """Damaged pictures: bytes changed, taken out, doubled."""
    chance = random.Random(16)
    seeds = [encoded(drawn(16, 16), kind) for kind in KINDS]
    seeds += [encoded(drawn(16, 16).convert(mode)) for mode in ("1", "P", "LA", "I;16")]
    seeds += [encoded(drawn(16, 16), "TIFF", compression=c) for c in ("tiff_lzw", "jpeg")]
    seeds += [encoded(drawn(16, 16), "JPEG", progressive=True), HEIC]
    made = []
    for number in range(count):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    data[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
                case 2:
                    del data[at : at + chance.randint(1, 16)]
                case _:
                    data[at:at] = data[at : at + chance.randint(1, 64)]
        made.append(bytes(data))
    return made


BATCH = """
import resource
from app.media.child import picture
from tests.media.child.test_picture import mutants
picture.CPU_SECONDS = 90
picture.confine()
results = [type(picture.answer(data)[0]).__name__ for data in mutants(5000)]
print(results.count("Decoded"), results.count("Refused"))
"""


def test_five_thousand_damaged_pictures_crash_nothing() -> None:
    batch = subprocess.run(
        [sys.executable, "-c", BATCH], capture_output=True, text=True, check=False
    )
    assert batch.returncode == 0, (batch.returncode, batch.stderr[-2000:])
    sound, refused = map(int, batch.stdout.split())
    assert sound + refused == 5000
    assert min(sound, refused) > 300  # neither all harmless nor all broken at once
