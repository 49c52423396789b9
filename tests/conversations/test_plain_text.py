from __future__ import annotations

import pytest

from app.conversations.plain_text import strip_markup
from app.conversations.search import split_highlights
from app.conversations.titles import made_title
from app.db.search import END, START


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("one<br>two <BR/> three<br />", "one two three "),
        ("H<sub>2</sub>O, <kbd>Esc</kbd>", "H2O, Esc"),
        ("<details><summary>More</summary>", "More"),
        ("**Bold** and ```code```", "Bold and code"),
        ("so[^1] and [^12]: note", "so[1] and [12]: note"),
        ("[^a-z] <b>x</b> 2 < 3 <subject>", "[^a-z] <b>x</b> 2 < 3 <subject>"),
        (f"<{START}kbd{END}>", f"<{START}kbd{END}>"),
    ],
)
def test_markup_is_stripped_from_snippets(text: str, plain: str) -> None:
    assert strip_markup(text) == plain


def test_highlights_are_counted_in_the_plain_snippet() -> None:
    text, marks = split_highlights(f"a<br>**b**[^1] {START}fox{END}")
    assert (text, [text[first:end] for first, end in marks]) == ("a b[1] fox", ["fox"])


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Water, H<sub>2</sub>O", "Water, H2O"),
        ("Foxes<br>", "Foxes"),
        ("**The `<kbd>` tag**", "The `<kbd>` tag"),
        ("Foxes[^1]", "Foxes"),
    ],
)
def test_titles_that_models_write_are_plain(said: str, title: str) -> None:
    assert made_title(said) == title
