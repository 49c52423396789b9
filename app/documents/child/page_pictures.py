"""Draws pages of a PDF: `python -m app.documents.child.page_pictures NUMBER... < FILE > RESULT`.

A process for one file, with the bounds of that which reads its text. RESULT has for each page a
line of JSON, `PagePicture`, and then the bytes of a JPEG.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Final

import msgspec
import pypdfium2

from app.documents.child.limits import confine
from app.documents.protocol import PagePicture

DOTS_PER_POINT: Final = 200 / 72
MAX_SIDE: Final = 2400
"""Pixels of the longer side: an A4 page at 200 dots an inch."""
QUALITY: Final = 85


def main() -> None:
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # native code may print
    confine()
    document = pypdfium2.PdfDocument(sys.stdin.buffer.read())
    for number in map(int, sys.argv[1:]):
        picture = draw(document[number - 1])
        result.write(msgspec.json.encode(PagePicture(number, len(picture))) + b"\n")
        result.write(picture)
        result.flush()
    os._exit(0)  # PDFium has nothing to clear away, and might fail at that


def draw(page: pypdfium2.PdfPage) -> bytes:
    """Draw a page in grey, as a JPEG."""
    scale = min(DOTS_PER_POINT, MAX_SIDE / max(1, *page.get_size()))
    image = page.render(scale=scale, grayscale=True).to_pil()
    page.close()
    encoded = io.BytesIO()
    image.convert("L").save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


if __name__ == "__main__":
    main()
