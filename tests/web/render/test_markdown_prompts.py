"""What users type: rendered where it is clearly marked, and else as they typed it."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.render.markdown import render_prompt


def shown(text: str) -> str:
    """The text that is on the page, without the heads of code."""
    bare = re.sub(r'<div class="bar">.*?</div>', "", render_prompt(text))
    return html.unescape(re.sub(r"<[^>]*>", "", bare))


def test_what_is_marked_is_rendered() -> None:
    rendered = render_prompt(
        "In **bold** and *slanted*, `code`, [a link](https://e.example) and https://f.example\n\n"
        "```python\nprint(1)\n```\n\n- one\n- two\n\n1. first\n\n| a | b |\n|--|--|\n| 1 | 2 |\n"
    )
    for piece in (
        "<strong>bold</strong>",
        "<em>slanted</em>",
        "<code>code</code>",
        'href="https://e.example"',
        'href="https://f.example"',
        "<pre",
        "<span>python</span>",
        "<li>",
        "<ol",
        "<table",
    ):
        assert piece in rendered


@pytest.mark.parametrize(
    "text",
    [
        "one line\nand another\n    and one that is indented",
        "one\n\ntwo\n\n\n\nthree",
        "\ttab\v\f\x85\u2028 and \ufeff",
        "    def f():\n        # a comment\n        return __init__",
        "# no heading",
        ">>> print(1)\n1",
        "> said by another\nand this by me",
        "+ new line\n context",
        "a * b * c, 2*3*4 and a_b_c",
        "C:\\new\\folder, \\*, &amp; and <b>tags</b>",
        "Title\n-----",
        "---",
        "[x]: somewhere",
        "<!-- a comment -->",
        "It costs $5 or $10",
    ],
)
def test_all_else_is_shown_as_it_was_typed(text: str) -> None:
    assert shown(text) == text
    assert set(re.findall(r"<(\w+)", render_prompt(text))) <= {"p", "br"}


@given(st.text(st.sampled_from("ab \n\t#>+-_=&;<\\:."), max_size=60))
def test_no_sign_that_is_no_mark_is_lost(text: str) -> None:
    def signs(text: str) -> list[str]:
        return sorted(re.sub(r"[\s-]", "", text))  # a dash may begin an item of a list

    assert signs(shown(text)) == signs(text)
