"""Markdown as lines for a terminal, drawn by rich."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import ClassVar, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich import markdown
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

# Models write tags as text, and rich would pass over them: no HTML, as on the page.
_PARSER: Final = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
CODE_THEME: Final = "ansi_dark"
"""The terminal's own colours, on its own ground."""
_THEME: Final = Theme(
    {
        "markdown.code": "bold cyan",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.block_quote": "italic",
    }
)
_PADDING: Final = re.compile(r"(?: |\x1b\[[0-9;]*m(?: *)\x1b\[0m)+\Z")
"""At the end of a line, with its colours: it would only be copied."""
MOST_COLUMNS: Final = 100
"""Longer lines are hard to read."""
_CONTROLS: Final = {
    code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


def plain(text: str) -> str:
    """Without what a terminal would take for commands."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def blocks_end(text: str) -> int:
    """Up to which offset the outermost blocks of `text` are complete: another follows them."""
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


def lines_of(text: str, like: Console) -> list[str]:
    """`text` as lines with colours, no wider than the console `like`; none is blank at the ends."""
    sink = io.StringIO()
    console = Console(
        file=sink,
        force_terminal=True,
        color_system=like.color_system,  # type: ignore[arg-type]  # its own name for itself
        width=min(like.width - 1, MOST_COLUMNS),
        legacy_windows=False,
        highlight=False,
        theme=_THEME,
    )
    console.print(_Markdown(plain(text)))
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
    """As rich's, without the blank lines around it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            table.show_edge = False  # type: ignore[union-attr]  # it yields one table
            yield table


class _Markdown(markdown.Markdown):
    elements: ClassVar = {
        **markdown.Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
        "table_open": _Table,
    }

    def __init__(self, text: str) -> None:
        super().__init__("", code_theme=CODE_THEME, hyperlinks=False)
        self.parsed = list(_with_line_breaks(_PARSER.parse(text)))


def _with_line_breaks(tokens: list[Token]) -> Iterator[Token]:
    """Where the model began a line, a line begins."""
    for token in tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
        yield token


def cells(line: str) -> int:
    """The columns that a line with colours takes."""
    return Text.from_ansi(line).cell_len
