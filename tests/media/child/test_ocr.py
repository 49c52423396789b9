"""Text in pictures: how well it is read, and that lines are put together as people read them."""

from __future__ import annotations

from difflib import SequenceMatcher

import pytest
from PIL import Image

from app.errors import MediaError
from app.media.child.ocr import OcrEngine, TextBox, in_lines
from app.media.protocol import Recognize, Recognized, Transcribe
from tests.media.samples import drawn, encoded, written

MAX_ERRORS = 0.02
"""Wrong characters, as a share."""
TEXTS = {
    "English": "The bakery opens at seven.\nOn Saturday it closes at 13:00.\nClosed on Sundays.",
    "German": "Die Bäckerei öffnet um sieben Uhr.\nSamstags schließt sie früher.",
    "code": "def total(prices: list[int]) -> int:\nreturn sum(prices) * 3",
}


@pytest.fixture(scope="module")
def engine() -> OcrEngine:
    return OcrEngine()


def read(engine: OcrEngine, image: Image.Image, kind: str = "PNG") -> str:
    data = encoded(image, kind)
    result = engine.work(Recognize(3, len(data)), data)
    assert isinstance(result, Recognized)
    assert result.id == 3
    return result.text


@pytest.mark.parametrize("what", TEXTS)
def test_text_is_read_with_few_errors(engine: OcrEngine, what: str) -> None:
    found = "".join(read(engine, written(TEXTS[what], 28)).split())
    wanted = "".join(TEXTS[what].split())
    same = sum(block.size for block in SequenceMatcher(None, wanted, found).get_matching_blocks())
    assert 1 - same / max(len(wanted), len(found)) <= MAX_ERRORS, found


def test_a_picture_without_text_has_none(engine: OcrEngine) -> None:
    assert read(engine, drawn(300, 200), "JPEG") == ""


def test_it_does_not_hear(engine: OcrEngine) -> None:
    with pytest.raises(MediaError):
        engine.work(Transcribe(1, 0), b"")


def test_boxes_become_rows_and_paragraphs() -> None:
    boxes = [
        *(TextBox(200, 300, 11, 31, "two"), TextBox(0, 90, 10, 30, "one")),
        *(TextBox(0, 90, 40, 60, "three"), TextBox(0, 90, 120, 140, "four")),
    ]
    assert in_lines(boxes) == "one two\nthree\n\nfour"
    assert in_lines([]) == ""
