"""Documents of each kind as other programs write them, and those that cannot be read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pypdfium2
import pytest

from app.documents.document import Document
from app.documents.pages import split_pages
from app.documents.protocol import PageRead
from app.documents.reader import MAX_DOCUMENT_BYTES, DocumentReader
from app.errors import AttachmentRefused

FILES = Path(__file__).parent / "files"
PAGES = ("burns 17 litres", "199 steps", "called Biscuit")


async def read(name: str, data: bytes | None = None) -> Document:
    return await DocumentReader().read(name, (FILES / name).read_bytes() if data is None else data)


@pytest.mark.parametrize("name", ["report.pdf", "printed.pdf", "report.docx", "report.odt"])
async def test_pages_are_read_in_their_order(name: str) -> None:
    found = await read(name)
    pages = split_pages(found.text)
    assert (found.pages, found.note, [number for number, _ in pages]) == (3, "", [1, 2, 3])
    for (_, text), wanted in zip(pages, PAGES, strict=True):
        assert wanted in text


@pytest.mark.parametrize("name", ["report.docx", "report.odt", "report.epub"])
async def test_headings_tables_and_lists_become_markdown(name: str) -> None:
    text = (await read(name)).text
    assert "| Thing | Price |\n| --- | --- |\n| Oil | 12 |\n| Wicks | 3.5 |" in text
    if name != "report.epub":  # where LibreOffice writes them as plain paragraphs
        assert "# The lighthouse of Köln" in text
        assert "- Steps of stone\n- Steps of iron" in text


async def test_what_has_no_pages_has_no_marks() -> None:
    found = await read("report.rtf")
    assert found.pages == 0
    assert [number for number, _ in split_pages(found.text)] == [0]
    assert all(wanted in found.text for wanted in PAGES)


@pytest.mark.parametrize("name", ["prices.xlsx", "prices.xls", "prices.ods"])
async def test_a_sheet_is_a_table(name: str) -> None:
    text = (await read(name)).text
    rows = ["| Item | Price | Bought |", "| --- | --- | --- |", "| Oil | 12 | 2026-01-31 |"]
    assert text.startswith("\n".join(["[Sheet 1]", "# prices", "", *rows]))


@pytest.mark.parametrize("name", ["show.pptx", "show.odp"])
async def test_slides_have_their_notes(name: str) -> None:
    found = await read(name)
    assert found.pages == 2
    assert "17 litres a night" in dict(split_pages(found.text))[1]
    assert "Notes: Hold the rail" in dict(split_pages(found.text))[2]


async def test_a_web_page_is_what_a_person_sees() -> None:
    page = b"""<title>Foxes</title><style>p {}</style><script>alert(1)</script><!-- hidden -->
    <p>A <a href="http://x.test/">fox</a> &amp; a <b>hen</b>.</p><img src="x" alt="a den">"""
    found = await read("page.html", page)
    assert found.text == "# Foxes\n\nA fox & a **hen**.\n\n[Picture: a den]"


async def test_mail_is_its_head_and_its_text() -> None:
    mail = (
        b"From: Ada <ada@x.test>\r\nTo: Ben <ben@x.test>\r\nSubject: =?utf-8?q?K=C3=B6ln?=\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<p>Come <b>soon</b>.</p>"
    )
    text = (await read("hello.eml", mail)).text
    assert text == "From: Ada <ada@x.test>\nTo: Ben <ben@x.test>\nSubject: Köln\n\nCome **soon**."


async def test_progress_comes_in_pages() -> None:
    seen: list[PageRead] = []
    await DocumentReader().read("report.pdf", (FILES / "report.pdf").read_bytes(), seen.append)
    assert seen == [PageRead(1, 3), PageRead(2, 3), PageRead(3, 3)]


async def test_content_counts_more_than_a_name() -> None:
    data = (FILES / "report.docx").read_bytes()
    found = await read("report.xlsx", data)
    assert found.media_type.endswith("wordprocessingml.document")
    assert (await read("no ending", (FILES / "report.pdf").read_bytes())).pages == 3


def zipped(parts: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return packed.getvalue()


ODT = b"application/vnd.oasis.opendocument.text"
BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c SYSTEM "file:///etc/passwd">]><a>&b;&c;</a>"""
SPREAD = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.pdf", b"%PDF-1.7 and nothing", "a.pdf is damaged"),
        ("a.docx", b"PK\x03\x04 and nothing", "a.docx is damaged"),
        ("a.docx", zipped({"word/document.xml": BOMB}), "a.docx is damaged"),
        ("a.odt", zipped({"mimetype": ODT, "content.xml": BOMB}), "a.odt is damaged"),
        ("a.odt", zipped({"mimetype": ODT, "content.xml": bytes(140 << 20)}), "too much text"),
        ("a.zip", zipped({"a.txt": b"text"}), "a.zip is not a document that Wick can read"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Save it as DOCX first"),
        ("a.html", b"<div>" * 20_000, "a.html"),
        ("a.html", b"<script>only()</script>", "a.html has no text"),
        ("a.eml", b"no head\n\nbut text", "a.eml is damaged"),
        ("a.pdf", b"x" * (MAX_DOCUMENT_BYTES + 1), "the limit for documents is 50 MB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_read_is_told_by_its_name(name: str, data: bytes, why: str) -> None:
    with pytest.raises(AttachmentRefused, match=why):
        await read(name, data)


async def test_a_locked_document_says_so() -> None:
    with pytest.raises(AttachmentRefused, match="locked with a password"):
        await read("locked.pdf")


class Recognizer:
    """Stands in for the media child. can_recognize: whether it is set up."""

    def __init__(self, *, can_recognize: bool = True) -> None:
        self.can_recognize = can_recognize
        self.pictures: list[bytes] = []

    async def recognize(self, picture: bytes, user_id: int) -> str:
        self.pictures.append(picture)
        return f" words of user {user_id}\n"


def scanned() -> bytes:
    """A PDF of three pages, of which the second alone has text."""
    made = pypdfium2.PdfDocument.new()
    source = pypdfium2.PdfDocument((FILES / "report.pdf").read_bytes())
    picture = source[0].render(scale=1).to_pil().convert("RGB")
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG")
    for number in range(3):
        if number == 1:
            made.import_pages(source, [1])
            continue
        page = made.new_page(300, 400)
        image = pypdfium2.PdfImage.new(made)
        image.load_jpeg(io.BytesIO(jpeg.getvalue()), inline=True)
        image.set_matrix(pypdfium2.PdfMatrix().scale(300, 400))
        page.insert_obj(image)
        page.gen_content()
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


async def test_pages_that_are_pictures_are_told_by_their_numbers() -> None:
    found = await read("scan.pdf", scanned())
    assert found.textless == (1, 3)
    assert found.note.startswith("Pages 1 and 3 have no text: they are pictures.")
    assert "isn't set up here" in found.note
    assert "199 steps" in dict(split_pages(found.text))[2]


async def test_pages_that_are_pictures_are_recognized_where_that_is_set_up() -> None:
    recognizer, seen = Recognizer(), list[PageRead]()
    found = await DocumentReader(recognizer).read("scan.pdf", scanned(), seen.append, 7)
    assert found.note == "The text of pages 1 and 3 was recognized in pictures."
    assert [page for page in split_pages(found.text) if page[0] != 2] == [
        (1, "words of user 7"),
        (3, "words of user 7"),
    ]
    assert seen[-2:] == [PageRead(1, 3), PageRead(3, 3)]
    assert all(picture.startswith(b"\xff\xd8\xff") for picture in recognizer.pictures)
