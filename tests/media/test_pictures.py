"""Pictures in the parent: every ending of the process that decodes them is a sentence."""

from __future__ import annotations

import hashlib
import io
import sys

import pytest
from PIL import Image

from app.errors import AttachmentRefused
from app.media import pictures
from app.media.pictures import MAX_PICTURE_BYTES, PictureDecoder, is_picture
from tests.media.child.test_picture import png_bomb
from tests.media.samples import HEIC, drawn, encoded


async def test_a_picture_comes_back_encoded_anew() -> None:
    picture = await PictureDecoder().decode("a.png", encoded(kind="JPEG", comment=b"secret"))
    assert (picture.width, picture.height, picture.media_type) == (60, 40, "image/jpeg")
    assert picture.digest == hashlib.sha256(picture.data).hexdigest()
    assert b"secret" not in picture.data


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.png", png_bomb(30_000, 30_000), "a.png has 30,000 × 30,000 pixels; the limit is 64 m"),
        ("a.png", encoded()[:50], "a.png is damaged, or not a picture that Wick can read: JPEG"),
        ("a.jpg", b"just words", "a.jpg is damaged, or not a picture"),
        ("b.heic", b"\0\0\0\x18ftypheic" + bytes(100), "b.heic is damaged"),
        ("c.svgz", b"\x1f\x8b", "Attach the SVG itself, which is read as text"),
        ("d.png", bytes(MAX_PICTURE_BYTES + 1), "d.png is too large: the limit for pictures is 20"),
    ],
)
async def test_a_refusal_is_a_sentence(name: str, data: bytes, why: str) -> None:
    with pytest.raises(AttachmentRefused, match=why):
        await PictureDecoder().decode(name, data)


async def test_a_picture_of_a_phone_is_read_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = await PictureDecoder().decode("a.heic", HEIC)
    assert (decoded.width, decoded.height, decoded.media_type) == (32, 48, "image/jpeg")
    with Image.open(io.BytesIO(decoded.data)) as image:
        above, below = image.getpixel((16, 6)), image.getpixel((16, 42))
    assert isinstance(above, tuple)
    assert isinstance(below, tuple)
    assert (above[2] > 150, below[0] > 150) == (True, True)
    monkeypatch.setattr(pictures, "HEIF_PACKAGE", "no_such_package")
    with pytest.raises(AttachmentRefused, match="HEIC pictures can't be read here"):
        await PictureDecoder().decode("a.heic", HEIC)


DEATHS = {
    "killed": "import os; os.kill(os.getpid(), 11)",
    "silent": "import sys; sys.stdin.buffer.read()",
    "lying": """print('{"type":"decoded","width":9,"height":9,"media_type":"image/png",'
                      '"size":3,"thumbnail":3}\\n<svg>')""",
    "boundless": "import os\nwhile True: os.write(1, bytes(1 << 20))",
    "endless": "import time; time.sleep(1000)",
}


@pytest.mark.parametrize("how", DEATHS)
async def test_a_child_that_dies_lies_or_hangs_harms_nobody(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "COMMAND", (sys.executable, "-c", DEATHS[how]))
    if how == "endless":
        monkeypatch.setattr(pictures, "WALL_SECONDS", 0.1)
    decoder = PictureDecoder()
    with pytest.raises(AttachmentRefused, match="can't be read: it takes too much time or memory"):
        await decoder.decode("a.png", encoded(drawn(900, 900)))
    monkeypatch.undo()
    assert (await decoder.decode("a.png", encoded())).width == 60


def test_pictures_are_known_by_their_bytes() -> None:
    assert all(is_picture("x", encoded(kind=k)) for k in ("PNG", "JPEG", "GIF", "WEBP", "BMP"))
    assert all(is_picture("x", encoded(kind=k)) for k in ("AVIF", "TIFF"))
    assert is_picture("photo.HEIC", b"")
    assert not is_picture("drive.txt", b"BMW is a brand of cars")
    assert not is_picture("logo.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
