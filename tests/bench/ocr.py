"""Measure text in pictures: `python -m tests.bench.ocr [errors] [pauses]`; run nothing beside it.

Prints wrong characters and CPU seconds of rendered pages in several languages, sizes and colours,
and the longest pause of an answer of SmolLM2's while pictures are read. Errors need fonts with
Chinese characters (`apt-get install fonts-noto-cjk fonts-dejavu-core`).
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx
from PIL import Image, ImageDraw, ImageFont

from app.media.child.ocr import OcrEngine
from app.media.protocol import Recognize, Recognized
from tests.bench.pauses import answer_pauses, describe_pauses
from tests.e2e.server import Server
from tests.smollm2 import store_with_smollm2

SANS: Final = "DejaVuSans.ttf"
MONO: Final = "DejaVuSansMono.ttf"
CHINESE: Final = "NotoSansCJK-Regular.ttc"
WIDTH: Final = 1000
TEXTS: Final = {
    "English": (
        SANS,
        """Opening hours of the town library
From Monday to Friday the library is open from nine to six.
On Saturdays it closes at 13:00, and on Sundays it stays shut.
Books can be kept for four weeks; films only for seven days.
Please return them on time, since others may be waiting.
A reader's card costs 12.50 a year, and is free for children.""",
    ),
    "German": (
        SANS,
        """Öffnungszeiten der Stadtbücherei
Von Montag bis Freitag ist die Bücherei von neun bis sechs geöffnet.
Samstags schließt sie schon um 13:00 Uhr, sonntags bleibt sie zu.
Bücher dürfen vier Wochen lang behalten werden, Filme sieben Tage.
Bitte gebt sie pünktlich zurück, denn andere könnten darauf warten.
Ein Ausweis kostet 12,50 Euro im Jahr; für Kinder ist er kostenlos.""",
    ),
    "Chinese": (
        CHINESE,
        """市图书馆开放时间
星期一至星期五上午九点到下午六点开放。
星期六下午一点关门，星期日全天不开放。
图书可以借四个星期，电影只能借七天。
请按时归还，因为其他读者可能正在等待。
办理借书证每年需要十二元，儿童免费。""",
    ),
    "code": (
        MONO,
        """def total(prices: list[int], rate: float = 0.19) -> int:
    if not prices:
        raise ValueError("nothing to add")
    result = sum(price for price in prices if price > 0)
    return round(result * (1 + rate))
print(total([1200, 350, 99]), file=sys.stderr)""",
    ),
}
SIZES: Final = (14, 18, 26)
COLOURS: Final = {"light": ("white", "black"), "dark": ("#1e1e1e", "#d4d4d4")}


def render(font: str, text: str, size: int, colours: tuple[str, str]) -> bytes:
    paper, ink = colours
    image = Image.new("RGB", (WIDTH, round(size * 1.6) * (text.count("\n") + 1) + 40), paper)
    ImageDraw.Draw(image).multiline_text(
        (20, 20), text, ink, ImageFont.truetype(font, size), spacing=round(size * 0.4)
    )
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def wrong_characters(found: str, wanted: str) -> int:
    """Count characters to replace, insert and delete; spaces do not count."""
    found, wanted = "".join(found.split()), "".join(wanted.split())
    before = list(range(len(wanted) + 1))
    for row, one in enumerate(found, 1):
        now = [row]
        for column, other in enumerate(wanted, 1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (one != other)))
        before = now
    return before[-1]


def measure_errors() -> None:
    engine = OcrEngine()
    for name, (font, text) in TEXTS.items():
        wrong, total, cpu, worst = 0, 0, 0.0, ""
        for size in SIZES:
            for colour, colours in COLOURS.items():
                picture, began = render(font, text, size, colours), time.process_time()
                result = engine.work(Recognize(1, len(picture)), picture)
                cpu += time.process_time() - began
                assert isinstance(result, Recognized)
                count, length = wrong_characters(result.text, text), len("".join(text.split()))
                if count:
                    worst += f" {size} px {colour} {count / length:.1%};"
                wrong, total = wrong + count, total + length
        pictures = len(SIZES) * len(COLOURS)
        print(
            f"{name}: {wrong / total:.2%} wrong characters of {total}, "
            f"{cpu / pictures:.2f} CPU s a picture.{worst}"
        )


async def measure_pauses(folder: Path) -> None:
    (folder / "data").mkdir()
    server = Server(folder / "data", store_with_smollm2(), threads=2)
    await server.start()
    written = [pair for pair in TEXTS.values() if pair[0] != CHINESE]
    pages = [render(font, text, 18, COLOURS["light"]) for font, text in written]
    headers = {"Authorization": "Bearer none", "HX-Request": "true", "Origin": server.origin}
    async with httpx.AsyncClient(base_url=server.origin, timeout=240, headers=headers) as http:

        async def read() -> None:
            for page in pages:
                await read_picture(http, page)

        await read()  # loads the models
        for name, work in (("alone", None), ("beside OCR", read)):
            print(f"answer {name}: {describe_pauses(await answer_pauses(http, work))}")
    await server.close()


async def read_picture(http: httpx.AsyncClient, picture: bytes) -> None:
    sent = await http.post("/attachments?name=page.png", content=picture)
    number = sent.raise_for_status().text.split('data-attachment="')[1].split('"')[0]
    (await http.get(f"/attachments/{number}/text")).raise_for_status()
    (await http.delete(f"/attachments/{number}")).raise_for_status()


def main() -> None:
    parts = sys.argv[1:] or ["errors", "pauses"]
    if "errors" in parts:
        measure_errors()
    if "pauses" in parts:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure_pauses(Path(folder)))


if __name__ == "__main__":
    main()
