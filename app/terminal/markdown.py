"""Markdown as lines for a terminal, drawn by rich."""

from __future__ import annotations

import io
import re
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
from app.terminal.markdown_tokens import to_drawable

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


def render_lines(text: str, like: Console) -> list[str]:
    """`text` as lines with colours, no wider than the console `like`; none is blank at the ends."""
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
    """As rich's, without the blank lines around it."""

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
