"""HTML as Markdown: web pages, and what other readers make of their documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import bs4
from markdownify import ATX, MarkdownConverter

from app.documents.child.text import Pages
from app.documents.protocol import PageRead

_UNSEEN: Final = (
    "script",
    "style",
    "template",
    "noscript",
    "svg",
    "head",
    "iframe",
    "object",
    "title",
)


class _Converter(MarkdownConverter):
    """Markdown for models: text, headings, lists, tables and code; no addresses, no pictures."""

    def convert_img(self, el: Any, text: str, parent_tags: Any) -> str:
        alt = " ".join(str(el.get("alt") or "").split())
        return f"[Picture: {alt}]" if alt else ""

    def convert_a(self, el: Any, text: str, parent_tags: Any) -> str:
        return text


def read(data: bytes, notify: Callable[[PageRead], None]) -> Pages:
    """Read a web page; its title comes first where no heading says it."""
    soup = bs4.BeautifulSoup(data, "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    text = to_markdown(soup)
    if title and title not in text[:1000]:
        text = f"# {title}\n\n{text}"
    return Pages([text], unit=None)


def to_markdown(html: str | bytes | bs4.BeautifulSoup) -> str:
    """Convert HTML to Markdown."""
    soup = html if isinstance(html, bs4.BeautifulSoup) else bs4.BeautifulSoup(html, "html.parser")
    for element in soup(_UNSEEN):
        element.decompose()
    for comment in soup(string=lambda text: isinstance(text, bs4.element.PreformattedString)):
        comment.extract()
    converter = _Converter(
        heading_style=ATX,
        bullets="-",
        escape_asterisks=False,
        escape_underscores=False,
        table_infer_header=True,
    )
    text: str = converter.convert_soup(soup)
    return text.strip()
