"""The parser of all Markdown that is shown."""

from __future__ import annotations

import re
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_block import StateBlock, list_block, paragraph
from markdown_it.rules_core import StateCore
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
    return _mark(state, silent, can_split_word=state.src[state.pos] == "*")


def _mark(state: StateInline, silent: bool, *, can_split_word: bool) -> bool:  # noqa: FBT001
    marker = state.src[state.pos]
    if silent or marker not in "_*":
        return False
    scanned = _scan(state, can_split_word=can_split_word)
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


# What users type. Their own words are shown as they typed them: only what is clearly marked is
# rendered (code, emphasis, links, lists, tables, formulas), and every other sign, line and
# indentation stays. Without a fence, code has comments that begin with `#`, names like `__init__`
# and lines that begin with `>>>` or `+`; none of it becomes something else.

_AS_TYPED: Final = ("code", "heading", "lheading", "hr", "blockquote", "reference", "html_block")
_AS_TYPED_INLINE: Final = ("escape", "entity", "newline", "html_inline", "image")


def make_prompt_parser(**options: Any) -> MarkdownIt:
    """Make a parser of what users type into their messages."""
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_DEPTH, **options})
    parser.enable(["table", "strikethrough"])
    for plugin in (formulas, bare_links, bounded_brackets):
        parser.use(plugin)
    parser.block.ruler.at("paragraph", _typed_paragraph)
    parser.block.ruler.at("list", _typed_list, {"alt": ["paragraph"]})
    parser.inline.ruler.at("emphasis", _typed_emphasis)
    parser.core.ruler.push("shown", _show_paragraphs)
    parser.block.ruler.disable(_AS_TYPED)
    parser.inline.ruler.disable(_AS_TYPED_INLINE)
    return parser


def _typed_paragraph(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001
    """Keep the indentation of its first line."""
    is_one = paragraph(state, start, end, silent)
    inline = state.tokens[-2]
    first, last = inline.map or (start, state.line)
    inline.content = state.getLines(first, last, state.blkIndent, False).rstrip(" \t\n")  # noqa: FBT003
    return is_one


def _typed_list(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001
    at = state.bMarks[start] + state.tShift[start]
    return state.src[at : at + 1] != "+" and list_block(state, start, end, silent)


def _typed_emphasis(state: StateInline, silent: bool) -> bool:  # noqa: FBT001
    """Mark emphasis by asterisks only, and not within a word: `2*3*4` is a product."""
    return state.src[state.pos] == "*" and _mark(state, silent, can_split_word=False)


def _show_paragraphs(state: StateCore) -> None:
    """Make lists loose, so that each of their lines stands in a paragraph."""
    for token in state.tokens:
        token.hidden = False
