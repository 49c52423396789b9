"""An answer that grows: lines that are printed once for good, and the last block, drawn anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from rich.console import Console

from app.terminal.markdown import blocks_end, render_lines


class Frame(NamedTuple):
    """`final`: lines that will not change; `live`: lines after them that may."""

    final: list[str]
    live: list[str]


@dataclass(slots=True)
class MarkdownStream:
    """One answer. Blocks of the outermost level are final once another has begun behind them.

    A block taller than the screen cannot be drawn anew: its first lines become final as they leave.
    """

    console: Console
    _text: str = ""
    _start: int = 0
    _looked: int = 0
    _is_first: bool = True
    _gone: int = field(default=0)
    """Lines of the last block that are final already."""

    def feed(self, piece: str) -> None:
        self._text += piece

    def frame(self) -> Frame:
        """What has become final since the last frame, and what is live now."""
        final: list[str] = []
        complete = self._text.rfind("\n") + 1
        if complete > self._looked:
            self._looked = complete
            if end := blocks_end(self._text[self._start :]):
                final += self._lines(self._text[self._start : self._start + end])[self._gone :]
                self._start += end
                self._gone, self._is_first = 0, False
        live = self._lines(self._text[self._start :])[self._gone :]
        if (leaving := len(live) - self._room) > 0:
            self._gone += leaving
            final += live[:leaving]
            live = live[leaving:]
        return Frame(final, live)

    def end(self) -> list[str]:
        """The rest."""
        frame = self.frame()
        return frame.final + frame.live

    @property
    def _room(self) -> int:
        return max(self.console.height - 3, 2)

    def _lines(self, text: str) -> list[str]:
        lines = render_lines(text, self.console)
        return lines if self._is_first or not lines else ["", *lines]
