"""Markdown as models write it beyond CommonMark, on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from app.terminal.markdown import render_lines
from app.terminal.screen import MarkdownStream


def drawn(text: str, *, color_system: str | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=60, color_system=color_system)  # type: ignore[arg-type]
    return render_lines(text, console)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one<br>two<br/>three", ["one", "two", "three"]),
        ("**注意：**请", ["注意：请"]),
        ("**「強調」**です", ["「強調」です"]),
        ("H<sub>2</sub>O and 10<sup>6</sup>", ["H₂O and 10⁶"]),
        ("x<sup>n+1</sup>, 2<sup>k</sup>, 1<sup>st</sup>", ["xⁿ⁺¹, 2^k, 1st"]),
        ("v<sub>max</sub>, a<sub>i, j</sub>", ["v_max, a_(i, j)"]),
        ("Press <kbd>Ctrl</kbd>, not <mark>Alt</mark>", ["Press Ctrl, not Alt"]),
        ("no partner <kbd> and <b>x</b>", ["no partner <kbd> and <b>x</b>"]),
        ("See https://e.example/a.", ["See https://e.example/a."]),
        ("See <https://e.example/a>.", ["See https://e.example/a."]),
        ("See [it](https://e.example/a).", ["See it (https://e.example/a)."]),
        ("![A fox](https://e.example/f.png)", ["A fox (https://e.example/f.png)"]),
        ("so $x^2$ and \\(y\\)", ["so $x^2$ and \\(y\\)"]),
        ("$$\nx^2\n$$", ["  $$", "  x^2", "  $$"]),
        ("- [x] done\n- [ ] open", [" • ☑ done", " • ☐ open"]),
        ("A claim.[^1]\n\n[^1]: Its *source*.", ["A claim.[1]", "", "[1] Its source."]),
        ("Not yet known[^2]", ["Not yet known[2]"]),
        ("A class [^a-z] of signs", ["A class [^a-z] of signs"]),
        (
            "<details>\n<summary>More <sub>1</sub></summary>\n\nInside.\n\n- a\n\n</details>",
            ["More ₁", "", "Inside.", "", " • a"],
        ),
        ("<details>\n\nInside.\n\n</details>", ["Details", "", "Inside."]),
    ],
)
def test_markup_beyond_commonmark_is_rendered(text: str, lines: list[str]) -> None:
    assert drawn(text) == lines


def test_a_line_break_in_a_table_cell() -> None:
    lines = drawn("| a | b |\n|---|---|\n| one<br>two | $x$ |")
    assert [line.split() for line in lines if "─" not in line] == [
        ["a", "b"],
        ["one", "$x$"],
        ["two"],
    ]


def test_keys_and_marked_text_are_highlighted() -> None:
    [line] = drawn("<kbd>A</kbd> <mark>b</mark>", color_system="standard")
    assert "\x1b[1mA" in line
    assert "\x1b[7mb" in line


def test_a_long_footnote_stays_beside_its_number() -> None:
    lines = drawn("[^12]: " + "word " * 20 + "\n\n    Second.")
    assert lines[0].startswith("[12] word")
    assert all(line.startswith("     ") for line in lines[1:] if line)


@pytest.mark.parametrize("mark", ["> ", "- ", "<details>\n", "[^1]: "])
def test_deeply_nested_markup_is_rendered(mark: str) -> None:
    assert any("x" in line for line in drawn(mark * 9 + "x"))
    drawn(mark * 300 + "x")  # past the bound the parser gives up


def test_a_streamed_answer_ends_up_rendered_like_a_whole_one() -> None:
    text = (
        "A[^1] **注：**b<br>c\n\n<details>\n<summary>S</summary>\n\nIn.\n\n</details>\n\n"
        "[^1]: N\n\nEnd"
    )
    console = Console(file=io.StringIO(), width=60, height=40, color_system=None)
    stream, final = MarkdownStream(console), list[str]()
    for sign in text:
        stream.feed(sign)
        final += stream.frame().final
    assert final + stream.end() == drawn(text)
