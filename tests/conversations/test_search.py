"""Snippets of hits as plain text."""

from __future__ import annotations

from app.conversations.search import split_highlights
from app.db.search import END, START


def test_highlights_are_counted_in_the_plain_snippet() -> None:
    text, marks = split_highlights(f"a<br>**b**[^1] {START}fox{END}")
    assert (text, [text[first:end] for first, end in marks]) == ("a b[1] fox", ["fox"])
