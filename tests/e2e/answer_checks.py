"""Checks what a page may show of an answer while it is written."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from app.config import asset_dir
from app.web.render.fragments import Fragments
from app.web.render.markdown import render_markdown
from app.web.render.streaming import StreamedMarkdown


def only_pieces_of(text: str, seen: Iterable[str]) -> bool:
    """Tell whether each seen text is what some beginning of `text` looks like: nothing twice or
    missing.

    Spaces do not count: Markdown drops some at the end of what is still open.
    """
    fragments = Fragments(asset_dir("templates"), asset_dir("static"))
    wanted, blocks = {_dense(one) for one in seen}, StreamedMarkdown()
    for end in range(len(text) + 1):
        blocks.feed(text[:end])
        shown = blocks.finished + fragments.open_block(0, blocks.open)
        wanted.discard(_dense(html.unescape(re.sub(r"<[^>]*>", "", shown))))
    assert not wanted, sorted(wanted, key=len)[:3]
    return True


def first_word(text: str) -> str:
    """The first word of a text, as a page shows it."""
    return html.unescape(re.sub(r"<[^>]*>", " ", render_markdown(text))).split()[0]


def _dense(text: str) -> str:
    return re.sub(r"\s+", "", text)
