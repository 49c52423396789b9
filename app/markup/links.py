"""Addresses that stand in a text without any mark become links: http, https and mailto."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from linkify_it import LinkifyIt
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline

MAX_CHARS: Final = 2000
"""Of an address; a longer one stays text."""
_SCHEME: Final = re.compile(r"(?:\A|[^0-9A-Za-z+.-])(https?|mailto)\Z", re.IGNORECASE)
_FOREIGN_END: Final = re.compile(
    r"[\u3000-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65‘’“”…]"
)
"""Punctuation of scripts without spaces: it ends the address, not the sentence's own."""


def bare_links(parser: MarkdownIt) -> None:
    """Plugin for markdown-it."""
    parser.inline.ruler.after("text", "bare_link", _bare_link)


@functools.cache
def _finder() -> LinkifyIt:
    from linkify_it import LinkifyIt

    return LinkifyIt(options={"fuzzy_link": False, "fuzzy_email": False})


def _bare_link(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
    if silent or state.src[state.pos] != ":" or state.linkLevel > 0:
        return False
    found = _SCHEME.search(state.src, max(0, state.pos - 7), state.pos)
    if found is None or not state.pending.endswith(found[1]):
        return False
    start = found.start(1)
    text = state.src[start : start + MAX_CHARS + 1]
    if end := _FOREIGN_END.search(text):
        text = text[: end.start()]
    link = _finder().match_at_start(text)
    if link is None or len(link.url) > MAX_CHARS:
        return False
    shown = link.raw.rstrip("*_~")
    address = state.md.normalizeLink(shown)
    if not state.md.validateLink(address):
        return False
    state.pending = state.pending.removesuffix(found[1])
    opening = state.push("link_open", "a", 1)
    opening.attrs, opening.markup = {"href": address}, "linkify"
    state.push("text", "", 0).content = shown
    state.push("link_close", "a", -1)
    state.pos = start + len(shown)
    return True
