"""Formulas in Markdown: `$…$`, `$$…$$`, `\\(…\\)` and `\\[…\\]`.

A block of them ends at its closing mark. One whose opening mark stands alone on its line may hold
empty lines, as far as its closing mark is within `MAX_LOOK_CHARS`; any other ends at an empty line.
What was never closed stays one block: what stands further below must not change what was shown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from app.markup.tex import MAX_SOURCE_CHARS

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

MAX_LOOK_CHARS: Final = 2 * MAX_SOURCE_CHARS

# A dollar before a space, beside a letter or a digit, or before another dollar is money. Letters of
# scripts that put no spaces between words may stand right beside a formula.
_BESIDE: Final = re.compile(r"[0-9A-Za-z_\u00aa-\u02ff\u0370-\u1fff]")
_INLINE: Final = re.compile(
    r"\$\$(?P<a>(?:[^$\\]|\\.)+?)\$\$"
    r"|\$(?![\s$])(?P<b>(?:[^$\\\n]|\\[^\n])*?(?:[^\s$\\]|\\\S))"
    r"\$(?![0-9A-Za-z_$\u00aa-\u02ff\u0370-\u1fff])"
    r"|\\\((?P<c>.+?)\\\)"
    r"|\\\[(?P<d>.+?)\\\]",
    re.DOTALL,
)
_MONEY: Final = re.compile(r"\d[\d.,]*\s+[^\W\d_]{2}")
_CLOSING: Final = {"$$": "$$", "\\[": "\\]"}


def formulas(parser: MarkdownIt) -> None:
    """Plugin for markdown-it; its tokens are of the type `formula`, their source is the content."""
    parser.inline.ruler.before("escape", "formula", _inline)
    parser.block.ruler.before(
        "fence", "formula", _block, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )


def _inline(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
    char, before = state.src[state.pos], state.src[state.pos - 1 : state.pos]
    if char not in "$\\" or (char == "$" and (before in {"$", "\\"} or _BESIDE.match(before))):
        return False
    found = _INLINE.match(state.src, state.pos, state.pos + MAX_SOURCE_CHARS)
    if not found or (found["b"] and _MONEY.match(found["b"])):
        return False
    if not silent:
        token = state.push("formula", "math", 0)
        token.content, token.markup = found[found.lastgroup or 0], found[0]
        token.meta = {"display": found.lastgroup in {"a", "d"}}
    state.pos = found.end()
    return True


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001
    first = _line(state, start).rstrip()
    closing = _CLOSING.get(first[:2])
    if closing is None or state.is_code_block(start):
        return False
    closes = first.endswith(closing) and len(first) >= 4
    if closing in first[2:] and not closes:
        return False  # one inside a sentence
    if silent:
        return True
    last = start if closes else _last_line(state, start, end, closing)
    token = state.push("formula", "math", 0)
    token.block, token.map = True, [start, last + 1]
    token.markup = "\n".join(_line(state, number) for number in range(start, last + 1)).rstrip()
    if closes or (last > start and _line(state, last).rstrip().endswith(closing)):
        token.content = token.markup[2:-2]
    token.meta = {"display": True}
    state.line = last + 1
    return True


def _last_line(state: StateBlock, start: int, end: int, closing: str) -> int:
    """The line with the closing mark, or else the last one that belongs to what was begun."""
    is_alone = len(_line(state, start).rstrip()) == 2
    before_gap, last = None, start
    for number in range(start + 1, end):
        if state.isEmpty(number):
            before_gap = last if before_gap is None else before_gap
            if not is_alone:
                return last
            continue
        if state.sCount[number] < state.blkIndent:
            break
        if before_gap is not None and state.eMarks[number] - state.bMarks[start] > MAX_LOOK_CHARS:
            return before_gap
        last = number
        if _line(state, number).rstrip().endswith(closing):
            return number
    return last


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]
