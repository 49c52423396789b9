"""What is on a terminal while an answer grows, as an emulator of one sees it."""

from __future__ import annotations

import io
import random

import pyte
import pytest
from rich.console import Console

from app.terminal import screen
from app.terminal.markdown import blocks_end, render_lines, strip_control
from app.terminal.screen import PlainScreen, TerminalScreen

ANSWER = """# A title

Some *slanted* text with **bold** words and `code`, long enough that it does not fit on one line of
a narrow terminal, and a [link](http://example.org/a).
A line of its own.

- one
- two
  - below two
- three

```python
def area(radius: float) -> float:
    \"\"\"A circle's.\"\"\"
    return 3.14 * radius**2
```

1. first
2. second

| river | length |
|---|---|
| Danube | 2,850 km |
| Rhine | 1,233 km |

> somebody said this

<think>no tag is lost</think>

The end.
"""


class Emulator:
    """A terminal of that size, and a console that writes to it."""

    def __init__(self, width: int, height: int) -> None:
        self.screen = pyte.HistoryScreen(width, height, history=1000)
        self.stream = pyte.Stream(self.screen)
        self.console = Console(
            file=self,  # type: ignore[arg-type]
            force_terminal=True,
            color_system="standard",
            width=width,
            height=height,
        )

    def write(self, text: str) -> int:
        self.stream.feed(text.replace("\x1b[?2026h", "").replace("\x1b[?2026l", ""))
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """Scrolled away or not, without the empty ones at the end."""
        width = self.screen.columns
        gone = [
            "".join(line[column].data for column in range(width)).rstrip()
            for line in self.screen.history.top
        ]
        here = [line.rstrip() for line in self.screen.display]
        return "\n".join(gone + here).rstrip("\n").split("\n")


def expected(text: str, emulator: Emulator) -> list[str]:
    plain_console = Console(file=io.StringIO(), width=emulator.console.width, color_system=None)
    return [line.rstrip() for line in render_lines(text, plain_console)]


@pytest.mark.parametrize(("width", "height"), [(80, 50), (80, 12), (40, 24), (20, 8)])
def test_an_answer_is_shown_once_however_it_is_split(
    width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "FRAME_SECONDS", 0.0)
    monkeypatch.setattr(screen, "MAX_CPU_SHARE", 0)
    for seed in range(3):
        emulator, chance = Emulator(width, height), random.Random(seed)
        drawn = TerminalScreen(emulator.console)
        drawn.show_status("Reading")
        rest = ANSWER
        while rest:
            size = chance.randint(1, 9)
            drawn.text(rest[:size])
            rest = rest[size:]
            if chance.random() < 0.1:
                drawn.show_status(chance.choice(["", "Writing to a disk that is full", "x" * 200]))
        drawn.end()
        emulator.write("next\r\n")
        lines = emulator.lines
        assert lines[-1] == "next"
        # On the lowest one the head of the table has left before its columns are known.
        if height > 8:
            assert lines[:-1] == expected(ANSWER, emulator)
        assert "".join("".join(lines[:-1]).split()).count("Theend.") == 1


def test_final_lines_are_not_written_again() -> None:
    emulator = Emulator(80, 24)
    drawn = TerminalScreen(emulator.console)
    drawn.text("One paragraph.\n\nAnother")
    written: list[str] = []
    emulator.write = written.append  # type: ignore[assignment, method-assign]
    drawn.text(" one.")
    while drawn.tick():
        pass
    assert "One paragraph." not in "".join(written)
    assert "Another one." in "".join(written)


def test_drawing_uses_a_small_share_of_the_time() -> None:
    emulator = Emulator(80, 24)
    drawn = TerminalScreen(emulator.console)
    drawn.text("a")
    drawn.text("b")
    wait = drawn.tick()
    assert wait is not None
    assert wait > 0
    assert emulator.lines == ["a"]
    drawn.end()
    assert emulator.lines == ["ab"]


def test_a_status_line_disappears_completely() -> None:
    emulator = Emulator(80, 24)
    drawn = TerminalScreen(emulator.console)
    drawn.show_status("Waiting: number 3 in line")
    assert emulator.lines == ["Waiting: number 3 in line"]
    drawn.show_status("Waiting: next in line")
    assert emulator.lines == ["Waiting: next in line"]
    drawn.end()
    assert emulator.lines == [""]


def test_control_characters_of_a_model_are_removed() -> None:
    emulator = Emulator(80, 24)
    drawn = TerminalScreen(emulator.console)
    drawn.text("safe \x1b[2Jand \x1b]0;sound\x07 \x9b31m")
    drawn.end()
    assert emulator.lines == ["safe \ufffd[2Jand \ufffd]0;sound\ufffd \ufffd31m"]
    assert strip_control("a\tb\r\nc") == "a\tb\nc"


def test_markdown_blocks_end_where_another_begins() -> None:
    assert blocks_end("One.\n\nTwo") == 0
    assert blocks_end("One.\n\nTwo\n") == len("One.\n\n")
    assert blocks_end("```\nOne.\n\nTwo\n") == 0
    assert blocks_end("- a\n- b\n\nThen\n") == len("- a\n- b\n\n")


def test_a_plain_screen_prints_the_text_unchanged() -> None:
    out = io.StringIO()
    shown = PlainScreen(out)
    shown.show_status("Loading")
    shown.text("**a** \x1b")
    shown.text("b")
    shown.end()
    assert out.getvalue() == "**a** \x1bb\n"
