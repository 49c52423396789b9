"""Exceptions in the log: their types, and where they came from, without what people wrote.

The words of an exception may quote whatever was being worked on: a message, a search, a file's
name. So only those of types whose words are known are logged, without what they quote.
"""

from __future__ import annotations

import re
import sqlite3
import traceback
from types import TracebackType
from typing import Final

from app.errors import (
    BackupError,
    ConfigError,
    ModelError,
    ServiceError,
    StoreError,
    TemplateError,
)

MAX_WORDS_CHARS: Final = 500
MAX_LINKED: Final = 8
"""Causes of an exception, and members of a group, that are logged."""
_KNOWN: Final = (
    *(sqlite3.Error, AttributeError, ImportError, MemoryError, RecursionError, TypeError),
    *(BackupError, ConfigError, ModelError, ServiceError, StoreError),
)
_UNKNOWN: Final = (TemplateError,)
"""Known types' children that quote what a chat template says."""
_QUOTED: Final = re.compile(r"""(["'`]).*""", re.DOTALL)


def describe_exception(error: BaseException) -> str:
    """Return its type, and its words where they hold nothing of what people wrote."""
    name = type(error).__name__
    words = _words(error)
    return f"{name}: {words}" if words else name


def _words(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or ""
    if not isinstance(error, _KNOWN) or isinstance(error, _UNKNOWN):
        return ""
    words = " ".join(str(error).split())[:MAX_WORDS_CHARS]
    is_ours = type(error).__module__ == "app.errors" and not isinstance(error, StoreError)
    return words if is_ours else _QUOTED.sub("…", words)


def describe_trace(error: BaseException) -> list[str]:
    """Return the lines of a traceback, causes first, with `describe_exception` for the words."""
    lines = list[str]()
    for linked in reversed(_chain(error)):
        lines += _trace_of(linked, linked.__traceback__)
    return lines


def _chain(error: BaseException) -> list[BaseException]:
    """List an exception and its causes."""
    found: list[BaseException] = [error]
    while len(found) < MAX_LINKED:
        last = found[-1]
        cause = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if cause is None or cause in found:
            break
        found.append(cause)
    return found


def _trace_of(error: BaseException, trace: TracebackType | None) -> list[str]:
    lines = ["Traceback (most recent call last):"]
    for part in traceback.format_tb(trace):
        lines += part.rstrip("\n").split("\n")
    lines.append(describe_exception(error))
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions[:MAX_LINKED]:
            lines += [f"  | {line}" for line in describe_trace(member)]
    return lines
