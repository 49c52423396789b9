"""The parser of all Markdown that is shown."""

from __future__ import annotations

import re
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter, Scanned
from mdit_py_plugins.tasklists import tasklists_plugin

from app.markup.formulas import formulas
from app.markup.links import bare_links, bounded_brackets, footnotes
from app.markup.tags import details, inline_tags

MAX_DEPTH: Final = 100


def make_parser(**options: Any) -> MarkdownIt:
    """Make a parser of CommonMark without HTML, and what models write beyond it."""
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_DEPTH, **options})
    parser.enable(["table", "strikethrough"])
    for plugin in (
        *(tasklists_plugin, formulas, details, footnotes, inline_tags, bare_links, _cjk_emphasis),
        bounded_brackets,
    ):
        parser.use(plugin)
    return parser


# Emphasis beside Chinese, Japanese and Korean, as the CJK-friendly amendment to CommonMark has it.
# CommonMark tells the beginning of an emphasis from its end by the spaces and punctuation around
# it, so `**注意：**请` would stay as it is. In scripts without spaces a letter counts as a
# space would.

_CJK: Final = re.compile(
    "[\u1100-\u11ff\u20a9\u2329\u232a\u2630-\u2637\u268a-\u268f\u2e80-\u303e\u3041-\ua4cf"
    "\ua960-\ua97c\uac00-\ud7fb\uf900-\ufaff\ufe10-\ufe6f\uff01-\uffee"
    "\U00016fe0-\U0001b2fb\U0001d300-\U0001d376\U0001f200-\U0001f265\U00020000-\U0003ffff]"
)


def _cjk_emphasis(parser: MarkdownIt) -> None:
    """Plugin for markdown-it."""
    parser.inline.ruler.at("emphasis", _emphasis)


def _emphasis(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
    marker = state.src[state.pos]
    if silent or marker not in "_*":
        return False
    scanned = _scan(state, can_split_word=marker == "*")
    for _ in range(scanned.length):
        token = state.push("text", "", 0)
        token.content = marker
        state.delimiters.append(
            Delimiter(
                marker=ord(marker),
                length=scanned.length,
                token=len(state.tokens) - 1,
                end=-1,
                open=scanned.can_open,
                close=scanned.can_close,
            )
        )
    state.pos += scanned.length
    return True


def _scan(state: StateInline, *, can_split_word: bool) -> Scanned:
    """Return what the run of marks at this place may do."""
    scanned = state.scanDelims(state.pos, can_split_word)
    end = state.pos + scanned.length
    before = state.src[state.pos - 1] if state.pos > 0 else " "
    after = state.src[end] if end < state.posMax else " "
    if not (_CJK.match(before) or _CJK.match(after)):
        return scanned
    opens = not isWhiteSpace(ord(after)) and (
        not _is_punctuation(after) or _is_border(before) or bool(_CJK.match(after))
    )
    closes = not isWhiteSpace(ord(before)) and (
        not _is_punctuation(before) or _is_border(after) or bool(_CJK.match(before))
    )
    if can_split_word:
        return Scanned(opens, closes, scanned.length)
    return Scanned(
        opens and (not closes or _is_punctuation(before)),
        closes and (not opens or _is_punctuation(after)),
        scanned.length,
    )


def _is_border(char: str) -> bool:
    return isWhiteSpace(ord(char)) or _is_punctuation(char) or bool(_CJK.match(char))


def _is_punctuation(char: str) -> bool:
    return isMdAsciiPunct(ord(char)) or isPunctChar(char)
