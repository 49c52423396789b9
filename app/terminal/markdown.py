"""Markdown as lines for a terminal, drawn by rich."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from markdown_it.token import Token
from rich import markdown
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from app.markup.parser import make_parser

MAX_DEPTH: Final = 20
"""Of quotes and lists in each other: each needs a few columns."""
_PARSER: Final = make_parser(maxNesting=MAX_DEPTH)
CODE_THEME: Final = "ansi_dark"
"""The terminal's own colours, on its own ground."""
_THEME: Final = Theme(
    {
        "markdown.code": "bold cyan",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.block_quote": "italic",
        "markdown.kbd": "bold",
        "markdown.mark": "reverse",
    }
)
_PADDING: Final = re.compile(r"(?: |\x1b\[[0-9;]*m(?: *)\x1b\[0m)+\Z")
"""At the end of a line, with its colours: it would only be copied."""
MAX_COLUMNS: Final = 100
"""Longer lines are hard to read."""
_CONTROLS: Final = {
    code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


def strip_control(text: str) -> str:
    """Remove what a terminal would take for commands."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def blocks_end(text: str) -> int:
    """Offset up to which the outermost blocks of `text` are complete: another follows them."""
    complete = text.rfind("\n") + 1
    starts = [
        token.map[0]
        for token in _PARSER.parse(text[:complete])
        if token.level == 0 and token.nesting >= 0 and token.map
    ]
    if len(starts) < 2:
        return 0
    end = 0
    for _ in range(starts[-1]):
        end = text.find("\n", end) + 1
    return end


def render_lines(text: str, like: Console) -> list[str]:
    """Render `text` as lines with colours, no wider than the console `like`.

    No line at either end is blank.
    """
    sink = io.StringIO()
    console = Console(
        file=sink,
        force_terminal=True,
        color_system=like.color_system,  # type: ignore[arg-type]  # its own name for itself
        width=min(like.width - 1, MAX_COLUMNS),
        legacy_windows=False,
        highlight=False,
        theme=_THEME,
    )
    console.print(_Markdown(strip_control(text)))
    lines = [_PADDING.sub("", line) for line in sink.getvalue().split("\n")]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    return lines


class _Heading(markdown.Heading):
    LEVEL_ALIGN: ClassVar = {f"h{level}": "left" for level in range(1, 7)}


class _Code(markdown.CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).removesuffix("\n")
        yield Padding(
            Syntax(
                code, self.lexer_name, theme=self.theme, word_wrap=True, background_color="default"
            ),
            (0, 0, 0, 2),
        )


class _Table(markdown.TableElement):
    """Table of rich, without the blank lines around it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            table.show_edge = False  # type: ignore[union-attr]  # it yields one table
            yield table


class _Note(markdown.ListItem):
    """A footnote, where it was written."""

    @classmethod
    def create(cls, _: markdown.Markdown, token: Token) -> _Note:
        return cls(f"[{token.meta['label']}] ")

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = cell_len(self.label)
        inner = options.update(width=max(options.max_width - width, 1))
        for number, line in enumerate(console.render_lines(self.elements, inner)):
            yield Segment(" " * width if number else self.label)
            yield from line
            yield Segment.line()


class _Notes(dict[str, int]):
    """Notes that are defined, or will be: what refers to one is printed before it has come."""

    def __contains__(self, label: object) -> bool:
        return super().__contains__(label) or bool(re.fullmatch(r"\d{1,3}", str(label)))


class _Markdown(markdown.Markdown):
    elements: ClassVar = {
        **markdown.Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
        "table_open": _Table,
        "footnote_reference_open": _Note,
    }

    def __init__(self, text: str) -> None:
        super().__init__("", code_theme=CODE_THEME, hyperlinks=False)
        self.inlines = self.inlines | {"kbd", "mark"}
        self.parsed = list(to_drawable(_PARSER.parse(text, {"notes": _Notes()})))


def cells(line: str) -> int:
    """The columns that a line with colours takes."""
    return Text.from_ansi(line).cell_len


# Tokens of the Markdown parser that rich does not know, as ones that it draws.


DEFAULT_SUMMARY: Final = "Details"
"""What browsers call details without a summary."""
_RAISED: Final = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_LOWERED: Final = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_ORDINALS: Final = {"st", "nd", "rd", "th"}


def to_drawable(tokens: Sequence[Token]) -> Iterator[Token]:
    """Convert blocks. Formulas are their source, of details the summary is a heading."""
    for number, token in enumerate(tokens):
        if token.type == "inline":
            token.children = list(_inline(token.children or []))
            yield token
        elif token.type == "formula":
            yield Token("fence", "code", 0, content=f"{token.markup}\n", info="latex")
        elif token.type == "details_open":
            if tokens[number + 1].type != "summary_open":
                yield from _heading(DEFAULT_SUMMARY)
        elif token.type in {"summary_open", "summary_close"}:
            yield Token(token.type.replace("summary", "heading"), "h3", token.nesting)
        elif token.type != "details_close":
            yield token


def _heading(text: str) -> Iterator[Token]:
    yield Token("heading_open", "h3", 1)
    yield Token("inline", "", 0, children=[_text(text)])
    yield Token("heading_close", "h3", -1)


def _inline(tokens: Sequence[Token]) -> Iterator[Token]:
    """Convert the tokens within a line. Where the model began a line, a line begins."""
    number = 0
    while number < len(tokens):
        token = tokens[number]
        number += 1
        if token.type == "softbreak":
            token.type = "hardbreak"
        if token.type == "footnote_ref":
            yield _text(f"[{token.meta['label']}]")
        elif token.type == "formula":
            yield Token("code_inline", "code", 0, content=token.markup)
        elif token.type == "html_inline":  # of a task list: the parser takes no HTML
            yield _text("☑" if "checked=" in token.content else "☐")
        elif token.type == "tag_open" and token.tag in {"sub", "sup"}:
            end = _end_of(tokens, number)
            yield _text(to_small_text("".join(_words(tokens[number:end])), token.tag))
            number = end + 1
        elif token.type == "link_open" and token.markup in {"autolink", "linkify"}:
            end = _end_of(tokens, number)  # the address is its text already
            yield from tokens[number:end]
            number = end + 1
        elif token.type == "image":
            yield Token("link_open", "a", 1, attrs={"href": token.attrs.get("src", "")})
            yield _text(token.content)
            yield Token("link_close", "a", -1)
        else:
            yield token


def _end_of(tokens: Sequence[Token], number: int) -> int:
    """Index at which the element ends whose content begins there."""
    depth = 1
    for place in range(number, len(tokens)):
        depth += tokens[place].nesting
        if depth == 0:
            return place
    return len(tokens)


def _words(tokens: Sequence[Token]) -> Iterator[str]:
    for token in _inline(tokens):
        yield "\n" if token.type == "hardbreak" else token.content


def to_small_text(text: str, tag: str) -> str:
    """Small text that is set above (`sup`) or below (`sub`), so that 10⁶ is not read as 106."""
    if not text.strip() or text in _ORDINALS:
        return text
    small = text.translate(_RAISED if tag == "sup" else _LOWERED)
    if all(old != new for old, new in zip(text, small, strict=True)):
        return small
    mark = "^" if tag == "sup" else "_"
    return f"{mark}{text}" if re.fullmatch(r"\w+", text) else f"{mark}({text})"


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)
