"""Links, footnotes and images: what leads elsewhere, looked for with a bounded amount of work.

Addresses that stand in a text without any mark become links: http, https and mailto. Footnotes are
`[^1]` in the text, and `[^1]: …` where its note stands.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, MutableMapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from markdown_it import helpers, rules_inline

if TYPE_CHECKING:
    from linkify_it import LinkifyIt
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
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


# Footnotes.

_REFERENCE: Final = re.compile(r"\[\^([^\]\[\s^]{1,40})\]")
_DEFINITION: Final = re.compile(r"\[\^[^\]\[\s^]{1,40}\]:")


def footnotes(parser: MarkdownIt) -> None:
    """Plugin for markdown-it. A note stays where it was written: what is shown is never moved.

    Its tokens are `footnote_ref`, `footnote_reference_open` and its end, their `meta["label"]` says
    which; of several notes with one label the first has `meta["is_first"]`. `env["notes"]` holds,
    and gets, the line after each note by label.
    """
    parser.block.ruler.before(
        "reference", "footnote", _note, {"alt": ["paragraph", "reference", "blockquote"]}
    )
    parser.inline.ruler.before("link", "footnote", _reference)


def known_notes(env: MutableMapping[str, Any]) -> dict[str, int]:
    """Return the notes that are defined, by label."""
    notes: dict[str, int] = env.setdefault("notes", {})
    return notes


def _note(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001
    from mdit_py_plugins.footnote.index import footnote_def

    begins = state.bMarks[start] + state.tShift[start]
    if not _DEFINITION.match(state.src, begins, state.eMarks[start]):
        return False
    place = len(state.tokens)
    if not footnote_def(state, start, end, silent):
        return False
    if not silent:
        token, notes = state.tokens[place], known_notes(state.env)
        token.meta["is_first"] = token.meta["label"] not in notes
        notes.setdefault(token.meta["label"], state.line)
    return True


def _reference(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
    if state.src[state.pos] != "[" or state.linkLevel > 0:
        return False
    found = _REFERENCE.match(state.src, state.pos, state.posMax)
    if found is None or found[1] not in known_notes(state.env):
        return False
    if not silent:
        token = state.push("footnote_ref", "", 0)
        token.meta["label"] = found[1]
    state.pos = found.end()
    return True


# Links and images in brackets. Each opening bracket may need all that follows it to be looked
# through, in vain: for a crafted text that grows with the square of its length. What is past the
# bound of a text stays text.

MAX_STEPS = 100_000
"""Tokens that are looked through for the ends of labels, of all brackets of one text."""
ADDRESS_STEPS: Final = 8
"""For what follows a label: an address is not looked for far, but character by character."""
_LEFT: Final = "bracket_steps"


def bounded_brackets(parser: MarkdownIt) -> None:
    """Plugin for markdown-it."""
    counted = SimpleNamespace(**(vars(helpers) | {"parseLinkLabel": _label_end}))
    parser.helpers = counted  # type: ignore[assignment]  # rules only look up names in it
    parser.inline.ruler.at("link", _bounded(rules_inline.link))
    parser.inline.ruler.at("image", _bounded(rules_inline.image))


def _bounded(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    def look(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
        if state.src[state.pos] not in "[!" or state.env.setdefault(_LEFT, MAX_STEPS) <= 0:
            return False
        return rule(state, silent)

    return look


def _label_end(state: StateInline, start: int, disableNested: bool = False) -> int:  # noqa: FBT001, FBT002, N803
    """Return where the label that begins at `start` ends, or -1: markdown-it's own, but counted."""
    before, state.pos = state.pos, start + 1
    end = _find_end(state, may_hold_links=not disableNested)
    state.pos = before
    if end >= 0 and state.src.startswith("(", end + 1):
        state.env[_LEFT] -= ADDRESS_STEPS
    return end


def _find_end(state: StateInline, *, may_hold_links: bool) -> int:
    level = 1
    while state.pos < state.posMax and state.env[_LEFT] > 0:
        state.env[_LEFT] -= 1
        mark, at = state.src[state.pos], state.pos
        level -= mark == "]"
        if level == 0:
            return at
        state.md.inline.skipToken(state)
        if mark == "[":
            if at == state.pos - 1:  # no part of a token
                level += 1
            elif not may_hold_links:
                return -1
    return -1
