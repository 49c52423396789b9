"""Formulas in Markdown to MathML: `$…$`, `$$…$$`, `\\(…\\)` and `\\[…\\]`.

A block of them ends at its closing mark or at an empty line, whichever comes first, and stays one
block when it was never closed: what stands further below must not change what was already shown.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import escape

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

LONGEST = 1000
"""Characters of a formula; a longer one is shown as it was written."""

TAGS = {
    "math", "mrow", "mi", "mo", "mn", "ms", "mtext", "mspace", "msup", "msub", "msubsup", "mover",
    "munder", "munderover", "mfrac", "msqrt", "mroot", "mtable", "mtr", "mtd", "mpadded",
    "mphantom", "mstyle", "menclose", "mmultiscripts",
}  # fmt: skip
ATTRIBUTES = {
    "math": {"display"},
    "mo": {"stretchy", "fence", "separator", "largeop", "movablelimits", "lspace", "rspace"},
    "mi": {"mathvariant"},
    "mfrac": {"linethickness"},
    "mspace": {"width"},
    "mover": {"accent"},
    "munder": {"accentunder"},
    "mtable": {"columnalign", "columnlines", "rowlines", "rowspacing"},
    "mtd": {"columnalign"},
    "mstyle": {"displaystyle", "scriptlevel"},
}

# A dollar before a space, beside a letter or a digit, or before another dollar is money.
_INLINE = re.compile(
    r"\$\$(?P<a>[^$]+?)\$\$"
    r"|\$(?![\s$])(?P<b>[^$\n]*?[^\s$\\])\$(?![\w$])"
    r"|\\\((?P<c>.+?)\\\)"
    r"|\\\[(?P<d>.+?)\\\]",
    re.DOTALL,
)
_MONEY = re.compile(r"\d[\d.,]*\s+[^\W\d_]{2}")
_CLOSING = {"$$": "$$", "\\[": "\\]"}
_OTHER_TAGS = re.compile(rf"<(?!/?(?:{'|'.join(sorted(TAGS))})[\s/>])")


def _inline(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
    char, before = state.src[state.pos], state.src[state.pos - 1 : state.pos]
    if char not in "$\\" or (char == "$" and (before.isalnum() or before in {"$", "\\"})):
        return False
    found = _INLINE.match(state.src, state.pos, state.pos + LONGEST)
    if not found or (found["b"] and _MONEY.match(found["b"])):
        return False
    if not silent:
        token = state.push("formula", "math", 0)
        token.content, token.markup = found[found.lastgroup or 0], found[0]
        token.meta = {"display": found.lastgroup in {"a", "d"}}
    state.pos = found.end()
    return True


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001
    first = _line(state, start)
    closing = _CLOSING.get(first[:2])
    if closing is None or state.is_code_block(start):
        return False
    closes = first.rstrip().endswith(closing) and len(first.rstrip()) >= 4
    if closing in first[2:] and not closes:
        return False  # one inside a sentence
    if silent:
        return True
    line = start
    while not closes and line + 1 < end and not state.isEmpty(line + 1):
        if state.sCount[line + 1] < state.blkIndent:
            break
        line += 1
        closes = _line(state, line).rstrip().endswith(closing)
    token = state.push("formula", "math", 0)
    token.block, token.map = True, [start, line + 1]
    token.markup = "\n".join(_line(state, number) for number in range(start, line + 1))
    token.content = token.markup.rstrip()[2:-2] if closes else ""
    token.meta = {"display": True}
    state.line = line + 1
    return True


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


@functools.lru_cache(maxsize=1024)
def mathml(source: str, *, display: bool) -> str | None:
    """None for what is no formula, or too much of one. Not yet safe: it is still to be cleaned."""
    from latex2mathml.converter import convert  # 0.1 s, and only some answers hold formulas

    if not source.strip() or len(source) > LONGEST:
        return None
    try:
        html: str = convert(source.strip(), display="block" if display else "inline")
    except Exception:  # whatever it stumbles over, the source is shown instead
        return None
    return None if _OTHER_TAGS.search(html) else html


def _render(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
    token = tokens[index]
    html = mathml(token.content, display=token.meta["display"])
    if html is None:
        html = f"<code>{escape(token.markup)}</code>"
    return f"<p>{html}</p>" if token.block else html


def formulas(parser: MarkdownIt) -> None:
    """Plugin for markdown-it."""
    parser.inline.ruler.before("escape", "formula", _inline)
    parser.block.ruler.before(
        "fence", "formula", _block, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    parser.add_render_rule("formula", _render)
