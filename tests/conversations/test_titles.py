"""Titles that models write, and markup taken out of them and of snippets."""

from __future__ import annotations

import pytest

from app.conversations.titles import is_about, made_title, strip_markup
from app.db.search import END, START


@pytest.mark.parametrize(
    ("said", "title"),
    [
        (' "All about foxes." ', "All about foxes"),
        ("Title: Letter to Sarah", "Letter to Sarah"),
        ("**Why leaves fall**", "Why leaves fall"),
        ("Hidden forests", "Hidden forests"),
        ("Dear Sarah,", None),
        ("Dear Sarah", None),
        ("Sure! Here is a title", None),
        ("Here are six words:", None),
        ("I can help with that", None),
        ("", None),
        ("...", None),
        ("one two three four five six seven eight nine ten eleven", None),
    ],
)
def test_only_text_that_looks_like_a_title_becomes_one(said: str, title: str | None) -> None:
    assert made_title(said) == title


@pytest.mark.parametrize(
    ("title", "text", "about"),
    [
        ("All about foxes", "Tell me of a fox and other foxes", True),
        ("Letters of thanks", "Write a letter to my aunt", True),
        ("The old man", "Write a letter to my aunt", False),
        ("東京の天気", "明日の東京の天気は？", True),
        ("Погода завтра", "Какая погода будет?", True),
    ],
)
def test_a_title_of_a_model_of_unknown_size_has_to_do_with_the_question(
    title: str, text: str, *, about: bool
) -> None:
    assert is_about(title, text) is about


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
