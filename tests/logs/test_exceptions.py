"""What is logged of an exception: where it came from, and none of what it quotes."""

from __future__ import annotations

import sqlite3

import pytest

from app.errors import ChatNotFound, ModelLoadError, StoreError, TemplateError
from app.logs.exceptions import describe_exception, describe_trace

SECRET = "marmalade"


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError(f"invalid literal: {SECRET}"), "ValueError"),
        (KeyError(SECRET), "KeyError"),
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET), "UnicodeDecodeError"),
        (OSError(28, "No space left on device", SECRET), "OSError: No space left on device"),
        (sqlite3.OperationalError("database is locked"), "OperationalError: database is locked"),
        (
            sqlite3.OperationalError(f'fts5: syntax error near "{SECRET}"'),
            "OperationalError: fts5: syntax error near …",
        ),
        (StoreError(f'The database refused "{SECRET}".'), "StoreError: The database refused …"),
        (ChatNotFound(SECRET), "ChatNotFound"),
        (TemplateError(SECRET), "TemplateError"),
        (ModelLoadError("It does not fit."), "ModelLoadError: It does not fit."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_words_are_logged_where_they_quote_nobody(error: Exception, text: str) -> None:
    assert describe_exception(error) == text
    assert SECRET not in "\n".join(describe_trace(raised(error)))


def test_a_trace_has_causes_and_members_of_groups() -> None:
    inner = raised(ValueError(SECRET), raised(TypeError("one argument is missing")))
    lines = describe_trace(raised(ExceptionGroup(SECRET, [inner])))
    text = "\n".join(lines)
    assert text.count("Traceback (most recent call last):") == 3
    assert "TypeError: one argument is missing" in text
    assert text.index("TypeError") < text.index("ValueError")
    assert "in raised" in text
    assert SECRET not in text
