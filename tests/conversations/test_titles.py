"""What a model says becomes a title only if it looks like one."""

from __future__ import annotations

import pytest

from app.conversations.titles import is_about, made_title


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
