"""Screens for answers: drawn with Markdown while they grow, or plain text."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TextIO

from rich.console import Console

from app.terminal.markdown import blocks_end, cells, render_lines, strip_control

# An answer that grows: lines that are printed once for good, and the last block, drawn anew.


class Frame(NamedTuple):
    """Lines of an answer.

    `final`: those that will not change; `live`: lines after them that may.
    """

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

    def feed(self, delta: str) -> None:
        self._text += delta

    def frame(self) -> Frame:
        """Collect what has become final since the last frame, and what is live now."""
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
        """Return the rest."""
        frame = self.frame()
        return frame.final + frame.live

    @property
    def _room(self) -> int:
        return max(self.console.height - 3, 2)

    def _lines(self, text: str) -> list[str]:
        lines = render_lines(text, self.console)
        return lines if self._is_first or not lines else ["", *lines]


# Where an answer appears: drawn with Markdown on a terminal, or as plain text anywhere else.


FRAME_SECONDS: Final = 0.05
MAX_CPU_SHARE: Final = 10
"""One part in so many of the time may go into drawing: the same cores make the tokens."""
DIM, UNDIM = "\x1b[2m", "\x1b[22m"
# Terminals that know it show all that stands between at once.
BEGIN_UPDATE, END_UPDATE = "\x1b[?2026h", "\x1b[?2026l"


class Screen(Protocol):
    """Place where one answer is shown."""

    def show_status(self, sentence: str) -> None:
        """Show what is happening; empty: nothing that need be said."""
        ...

    def thought(self, delta: str) -> None:
        """Take more of what the model thinks before it answers."""
        ...

    def text(self, delta: str) -> None: ...

    def note(self, sentence: str) -> None:
        """Show everything so far, and a remark below it; what follows stands below that."""
        ...

    def pause(self) -> None:
        """Show everything so far and leave the screen to a question; what follows stands below."""
        ...

    def tick(self) -> float | None:
        """Show what was held back. In how many seconds to come again, None: nothing is held."""
        ...

    def end(self) -> None:
        """Show everything, and begin the next line."""
        ...


class TerminalScreen:
    """Terminal on which only lines that changed are written, from the first of them on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._growing = MarkdownStream(console)
        self._live: list[str] = []
        self._sentence = ""
        self._next = 0.0
        self._is_stale = False

    def show_status(self, sentence: str) -> None:
        self._sentence = strip_control(sentence)
        self._draw()

    def thought(self, delta: str) -> None:
        """Leave it out: the status says that the model thinks."""

    def text(self, delta: str) -> None:
        self._growing.feed(delta)
        self._is_stale = True
        self.tick()

    def tick(self) -> float | None:
        if not self._is_stale:
            return None
        if (left := self._next - time.monotonic()) > 0:
            return left
        self._draw()
        return None

    def note(self, sentence: str) -> None:
        line = f"{DIM}{self._cut(strip_control(sentence))}{UNDIM}"
        self._show([*self._growing.end(), line], [])
        self._begin_anew()

    def pause(self) -> None:
        self.end()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._growing, self._is_stale = MarkdownStream(self._console), False

    def end(self) -> None:
        self._sentence = ""
        self._show(self._growing.end(), [])

    def _draw(self) -> None:
        began = time.monotonic()
        self._is_stale = False
        frame = self._growing.frame()
        self._show(frame.final, frame.live + self._status())
        now = time.monotonic()
        self._next = now + max(FRAME_SECONDS, MAX_CPU_SHARE * (now - began))

    def _status(self) -> list[str]:
        if not self._sentence:
            return []
        return [f"{DIM}{self._cut(self._sentence)}{UNDIM}"]

    def _cut(self, text: str) -> str:
        room = self._console.width - 1
        return text if len(text) <= room else text[: room - 1] + "…"

    def _show(self, final: list[str], live: list[str]) -> None:
        """Make `final` and then `live` of the lines that are live now."""
        old, new = self._live, final + live
        same = 0
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        self._live = live
        is_moved = final and not live  # the cursor leaves the last line, which is final
        if same == len(old) == len(new) and not is_moved:
            return
        out = self._up_to(old[same:]) if same < len(old) else ("\r\n" if old and new[same:] else "")
        out += "\r\n".join(new[same:])
        is_wiped_behind = same == len(new) < len(old)  # and the cursor is a line too far down
        if is_moved and not is_wiped_behind:
            out += "\r\n"
        elif is_wiped_behind and new and not is_moved:
            out += self._back_onto(new[-1])
        self._write(out)

    def _up_to(self, lines: list[str]) -> str:
        """Move to the start of the first of these, the last ones on the screen, and wipe them."""
        width = self._console.width
        rows = sum(max(1, -(-cells(line) // width)) for line in lines)
        return (f"\r\x1b[{rows - 1}A" if rows > 1 else "\r") + "\x1b[J"

    def _back_onto(self, line: str) -> str:
        """Put the cursor at the end of the last line."""
        return f"\x1b[A\r{line}"

    def _write(self, text: str) -> None:
        file = self._console.file
        file.write(f"{BEGIN_UPDATE}{text}{END_UPDATE}")
        file.flush()


class PlainScreen:
    """Text as it comes, for files, pipes and terminals without colours. `notes` gets the rest."""

    def __init__(self, out: TextIO, notes: Console | None = None) -> None:
        self._out = out
        self._notes = notes
        self._is_terminal = out.isatty()
        self._last = "\n"
        self._noted = ""

    def show_status(self, sentence: str) -> None:
        """Print only what is new but for its numbers: here nothing can be written over."""
        words = re.sub(r"[\d.,]+", "", sentence)
        if words and words != self._noted and self._notes is not None:
            self._notes.print(strip_control(sentence), markup=False, highlight=False)
        self._noted = words

    def thought(self, delta: str) -> None:
        """Leave it out: the status says that the model thinks."""

    def text(self, delta: str) -> None:
        self._out.write(strip_control(delta) if self._is_terminal else delta)
        self._out.flush()
        self._last = delta[-1:] or self._last

    def note(self, sentence: str) -> None:
        self.pause()
        if self._notes is not None:
            self._notes.print(strip_control(sentence), markup=False, highlight=False)

    def pause(self) -> None:
        self.end()
        self._last = "\n"

    def tick(self) -> float | None:
        return None

    def end(self) -> None:
        if self._last != "\n":
            self._out.write("\n")
            self._out.flush()
