"""Formulas in Markdown, and from TeX to MathML: right, or not at all.

They stand between `$`, `$$`, `\\(` or `\\[` and their closing marks, at which a block ends. One
whose opening mark stands alone on its line may hold empty lines, as far as its closing mark is
within `MAX_AHEAD_CHARS`; any other ends at an empty line. What was never closed stays one block:
what stands further below must not change what was shown.

The library refuses what it does not know. What it would read otherwise than TeX does is rewritten
before, and its styles become classes and attributes after, since the page's policy forbids styles.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from math_core import LatexToMathML

MAX_SOURCE_CHARS: Final = 1000
MAX_AHEAD_CHARS: Final = 2 * MAX_SOURCE_CHARS

# A dollar before a space, beside a letter or a digit, or before another dollar is money. Letters of
# scripts that put no spaces between words may stand right beside a formula.
_LETTER: Final = re.compile(r"[0-9A-Za-z_\u00aa-\u02ff\u0370-\u1fff]")
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
    if char not in "$\\" or (char == "$" and (before in {"$", "\\"} or _LETTER.match(before))):
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
    """Find the line with the closing mark, or else the last one that belongs to what was begun."""
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
        if before_gap is not None and state.eMarks[number] - state.bMarks[start] > MAX_AHEAD_CHARS:
            return before_gap
        last = number
        if _line(state, number).rstrip().endswith(closing):
            return number
    return last


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


# From TeX to MathML.

MAX_MATHML_CHARS: Final = 60_000
MAX_DEPTH: Final = 24
"""Groups in groups: the library calls itself for each, and its stack has an end."""
MAX_LINES: Final = 40
"""`|`, which may open or close."""
MAX_UNMATCHED: Final = 10
"""Brackets that are never closed: each doubles the time that the library takes."""

TAGS: Final = {
    "math", "mrow", "mi", "mo", "mn", "mtext", "mspace", "msup", "msub", "msubsup", "mover",
    "munder", "munderover", "mfrac", "msqrt", "mroot", "mtable", "mtr", "mtd", "mpadded",
    "mphantom", "mmultiscripts", "mprescripts",
}  # fmt: skip
ATTRIBUTES: Final = {
    "math": {"display"},
    "mo": {
        "stretchy", "form", "symmetric", "minsize", "maxsize", "movablelimits", "lspace", "rspace",
    },
    "mi": {"mathvariant"},
    "mfrac": {"linethickness", "displaystyle", "scriptlevel"},
    "mspace": {"width"},
    "mover": {"accent"},
    "munder": {"accentunder"},
    "mtable": {"displaystyle", "scriptlevel", "class"},
    "mtd": {"class"},
    "mtext": {"class"},
    "mrow": {"displaystyle", "scriptlevel", "class", "mathcolor"},
}  # fmt: skip

_MACROS: Final = {
    "mbox": r"\text{#1}",
    "hbox": r"\text{#1}",
    "pmb": r"\boldsymbol{#1}",
    "mathbbm": r"\mathbb{#1}",
    "wideparen": r"\overparen{#1}",
    "substack": r"\begin{matrix}#1\end{matrix}",
    "mathstrut": "{}",
    "hfill": r"\quad",
}
# An environment under the name of the one that the library has for it; without the numbers that
# would begin with (1) in every formula.
_ENVIRONMENTS: Final = {
    "split": "aligned", "alignedat": "aligned", "smallmatrix": "matrix",
    "align": "align*", "alignat": "align*", "alignat*": "align*",
    "flalign": "align*", "flalign*": "align*",
    "equation": "equation*", "gather": "gather*", "multline": "multline*",
}  # fmt: skip
_ENVIRONMENT: Final = re.compile(
    r"\\(?P<end>begin|end)\s*\{(?P<name>[a-zA-Z]+\*?)\}(?P<rest>\s*\[[tcb]\]|\s*\{\d+\})?"
)
_EQUATION_ARRAY: Final = re.compile(r"\\(begin|end)\s*\{eqnarray\*?\}")
_ROW_GAP: Final = re.compile(
    r"\\\\\*?[ \t]*(\[\s*-?[\d.]*\s*(?:pt|em|ex|mm|cm|in|px|mu|\\\w+)\s*\])?"
)
_TEXT: Final = re.compile(r"\\(?:text[a-z]*|mbox)\{(?:[^{}\\]|\\.)*\}", re.DOTALL)
_SIGN_AND_SPACE: Final = re.compile(r"(\\[%$&#_{}])[ \n]")
_FORMULA_IN_TEXT: Final = re.compile(r"\\(?:text|textrm|mbox)\{([^{}$]*(?:\$[^{}$]*\$[^{}$]*)+)\}")
_NOTHING_SHOWN: Final = re.compile(r"\\label\s*\{[^{}]*\}|\\require\s*\{[a-z]*\}")
_EMPTY_LINES: Final = re.compile(r"(?:\n[ \t]*){2,}")
_SIGN: Final = re.compile(r"\\[a-zA-Z]+|\\.|[^\w\s.,+=-]", re.DOTALL)
_DEFINITION: Final = re.compile(r"\\(?:[gex]?def|let|(?:re)?new\w+|\w*command)\b")
_NO_BRACKETS: Final = re.compile(
    r"\\l(?:e[a-z]*|l|t|g|im[a-z]*|n[a-z]*|og|dots|ambda|or|and|ong[a-z]*|abel|arge|hd|times|oop[a-z]*)"
)
"""Commands that begin as those of opening brackets do."""
_CLOSES: Final = {")": "(", "]": "[", r"\}": r"\{", r"\urcorner": r"\ulcorner"}

_CLASSES: Final = {
    "text-align: left": "m-start",
    "text-align: right": "m-end",
    "padding-left: 0": "m-joined",
    "padding-right: 0": "m-joins",
    "padding-left:1em": "m-apart",
    "width: 100%": "m-wide",
    "width: 50%": "m-side",
    "width: 7.5%": "m-margin",
    **{
        f"border-{side}: 0.05em {kind} currentcolor": f"m-{side}-{kind}"
        for side in ("top", "bottom", "left", "right")
        for kind in ("solid", "dashed")
    },
}
_ONLY_FINER: Final = re.compile(
    r"justify-items: (?:start|end)|padding-(?:left|right|top|bottom): ?[\d.]+(?:em)?"
    r"|margin-left:-?[\d.]+em|font-size:[\d.]+%|width:[\d.]+(?:rem|em)"
)
"""What is right without it, if a hair's breadth to the side."""
_COLOUR: Final = re.compile(r"color:(#[0-9A-F]{6})")
_STYLE: Final = re.compile(r' style="([^"]*)"')
_WORDS: Final = re.compile(
    r'<mtext><(?P<tag>b|i|code|span)(?: class="(?P<font>[\w-]*)")?>'
    r"(?P<text>[^<]*)</(?P=tag)></mtext>"
)
_FONTS: Final = {
    "b": "m-bold",
    "i": "m-slanted",
    "code": "m-fixed",
    "math-core-sans-serif-font": "",
    "math-core-serif-font": "",
}
_ENCLOSURES: Final = {
    "box": "m-box",
    "updiagonalstrike": "m-up",
    "downdiagonalstrike": "m-down",
    "updiagonalstrike downdiagonalstrike": "m-crossed",
}
_ENCLOSED: Final = re.compile(r'<menclose notation="([^"]*)">')
_STROKES: Final = re.compile(r'<mrow class="menclose-\w+"></mrow>')
_ELEMENT: Final = re.compile(r"</?(\w+)")


class _UnknownError(Exception):
    """Something in a formula would not be shown as it is meant."""


@functools.cache
def _converter() -> LatexToMathML:
    from math_core import LatexToMathML

    return LatexToMathML(
        macros=_MACROS,
        fancy_error=False,
        allow_unreliable_rendering=True,
        max_expansions=100,
    )


@functools.lru_cache(maxsize=1024)
def to_mathml(source: str, *, display: bool) -> str | None:
    """None for what is no formula, too much of one, or one that would be shown wrong.

    Not yet safe: it is still to be cleaned.
    """
    from math_core import LatexError

    if not source.strip() or len(source) > MAX_SOURCE_CHARS:
        return None
    try:
        tex = _rewritten(source.strip(), display=display)
        if not _is_bounded(tex):
            return None
        html = _converter().convert_with_local_state(tex, displaystyle=display)
        if "\\substack" in tex:  # the library has no other table that stays small
            html = html.replace(' scriptlevel="0"', "")
        return _restyled(html) if len(html) <= MAX_MATHML_CHARS else None
    except (LatexError, _UnknownError):
        return None


def _rewritten(tex: str, *, display: bool) -> str:
    """Rewrite TeX as the library takes it."""
    if any(_ends_nothing(tex, gap) for gap in _EMPTY_LINES.finditer(tex)):
        raise _UnknownError
    tex = _EMPTY_LINES.sub("\n", tex)
    tex = _NOTHING_SHOWN.sub("", tex)
    tex = _EQUATION_ARRAY.sub(_as_array, tex)
    tex = _ENVIRONMENT.sub(_as_known, tex)
    tex = _ROW_GAP.sub(r"\\\\ ", tex)
    tex = _TEXT.sub(lambda found: _SIGN_AND_SPACE.sub(r"\1\\ ", found[0]), tex)
    tex = _FORMULA_IN_TEXT.sub(_apart, tex)
    if display and "\\begin" not in tex and _has_rows(tex):
        tex = rf"\begin{{gathered}}{tex}\end{{gathered}}"
    if display and "\\tag" in tex and not re.search(r"\\begin\{(?:align|gather|multline|eq)", tex):
        tex = rf"\begin{{equation*}}{tex}\end{{equation*}}"
    return tex


def _ends_nothing(tex: str, gap: re.Match[str]) -> bool:
    """Return whether the lines around an empty one would run into each other."""
    before, after = tex[: gap.start()].rstrip(), tex[gap.end() :].lstrip()
    is_row = before.endswith("\\\\") or re.search(r"\\begin\{[a-z]+\*?\}(?:\{[^{}]*\})?\Z", before)
    return not is_row and not after.startswith("\\end")


def _has_rows(tex: str) -> bool:
    """Return whether a row ends outside of all groups."""
    depth = 0
    for sign in _SIGN.findall(tex):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if sign == "\\\\" and depth == 0:
            return True
    return False


def _as_array(found: re.Match[str]) -> str:
    return r"\begin{array}{rcl}" if found[1] == "begin" else r"\end{array}"


def _as_known(found: re.Match[str]) -> str:
    name, rest = found["name"], found["rest"] or ""
    is_position = rest.lstrip().startswith("[") or name.startswith("alignat") or "edat" in name
    known = _ENVIRONMENTS.get(name, name)
    return rf"\{found['end']}{{{known}}}" + ("" if is_position else rest)


def _apart(found: re.Match[str]) -> str:
    """Part `\\text{if $x$}` into text and a formula."""
    parts = found[1].split("$")
    return "".join(
        rf"\text{{{part}}}" if number % 2 == 0 else f"{{{part}}}"
        for number, part in enumerate(parts)
        if part
    )


def _is_bounded(tex: str) -> bool:
    """Return whether the library comes through it in time, and at all."""
    depth, lines, opened = 0, 0, list[str]()
    for sign in _SIGN.findall(tex):
        if sign in {"{", r"\left", r"\begin"}:
            depth += 1
        elif sign in {"}", r"\right", r"\end"}:
            depth -= 1
        elif sign == "|":
            lines += 1
        elif _opens(sign):
            opened.append(sign)
        elif opened and _closes(sign, opened[-1]):
            opened.pop()
        if depth + len(opened) > MAX_DEPTH or len(opened) > MAX_UNMATCHED:
            return False
    return lines <= MAX_LINES and not _DEFINITION.search(tex)


def _opens(sign: str) -> bool:
    """Return whether it may be an opening bracket; rather too many than too few."""
    if sign.startswith("\\l"):
        return not _NO_BRACKETS.fullmatch(sign)
    return sign in _CLOSES.values() or unicodedata.category(sign[0]) in {"Ps", "Pi"}


def _closes(sign: str, opening: str) -> bool:
    if sign.startswith("\\r"):
        return opening == f"\\l{sign[2:]}"
    if sign in _CLOSES:
        return opening == _CLOSES[sign]
    return unicodedata.category(sign[0]) in {"Pe", "Pf"} and not opening.isascii()


def _restyled(html: str) -> str:
    """Replace styles by classes."""
    html = _STROKES.sub("", html)
    html = _ENCLOSED.sub(_enclosure, html).replace("</menclose>", "</mrow>")
    html = _WORDS.sub(_words, html)
    html = _STYLE.sub(_attributes, html)
    if "voffset" in html or not TAGS.issuperset(_ELEMENT.findall(html)):
        raise _UnknownError
    return html


def _enclosure(found: re.Match[str]) -> str:
    if found[1] not in _ENCLOSURES:
        raise _UnknownError
    return f'<mrow class="{_ENCLOSURES[found[1]]}">'


def _words(found: re.Match[str]) -> str:
    font = found["font"] or found["tag"]
    if font not in _FONTS:
        raise _UnknownError
    shown = f' class="{_FONTS[font]}"' if _FONTS[font] else ""
    return f"<mtext{shown}>{found['text']}</mtext>"


def _attributes(found: re.Match[str]) -> str:
    classes, others = [], ""
    for declaration in found[1].rstrip(";").split(";"):
        if declaration in _CLASSES:
            classes.append(_CLASSES[declaration])
        elif colour := _COLOUR.fullmatch(declaration):
            others += f' mathcolor="{colour[1]}"'
        elif not _ONLY_FINER.fullmatch(declaration):
            raise _UnknownError
    return (f' class="{" ".join(classes)}"' if classes else "") + others
