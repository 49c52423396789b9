"""Lines of the log: made of records of `logging`, written as JSON or text, and read again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from app.logs.exceptions import describe_exception, describe_trace
from app.logs.request_ids import current_request

FACTS: Final = "facts"
"""Of `extra` of a record: figures, which text does not repeat."""
TRACE: Final = "trace"
"""Of `extra`: the lines of a traceback that a child has described already."""
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
MAX_MESSAGE_CHARS: Final = 4000
MAX_TRACE_LINES: Final = 200
Fact = str | int | float | bool | None


class LogLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. at: when, in UTC; source: the child process that said it, empty for the server;
    request: the id of what was being worked on; facts: figures of it; trace: of an exception."""

    at: datetime
    level: str
    logger: str
    message: str
    source: str = ""
    request: str = ""
    facts: dict[str, Fact] = {}
    trace: list[str] = []

    @property
    def level_number(self) -> int:
        return LEVELS.index(self.level) if self.level in LEVELS else 1


def line_of(record: logging.LogRecord, source: str = "") -> LogLine:
    """Make a line. Exceptions among the arguments are described without what they may quote."""
    facts: Mapping[str, Fact] = getattr(record, FACTS, {})
    return LogLine(
        at=datetime.fromtimestamp(record.created, UTC),
        level=record.levelname.lower(),
        logger=record.name,
        message=_message(record)[:MAX_MESSAGE_CHARS],
        source=source,
        request=current_request().id,
        facts=dict(facts),
        trace=_trace(record),
    )


def _trace(record: logging.LogRecord) -> list[str]:
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return list(getattr(record, TRACE, []))
    return describe_trace(error)[-MAX_TRACE_LINES:]


def _message(record: logging.LogRecord) -> str:
    arguments = record.args
    if isinstance(arguments, tuple):
        arguments = tuple(
            describe_exception(value) if isinstance(value, BaseException) else value
            for value in arguments
        )
    elif isinstance(arguments, Mapping):
        arguments = {
            name: describe_exception(value) if isinstance(value, BaseException) else value
            for name, value in arguments.items()
        }
    if isinstance(record.msg, BaseException):
        return describe_exception(record.msg)
    try:
        return str(record.msg) % arguments if arguments else str(record.msg)
    except (TypeError, ValueError):  # a wrong call of the log must not end what is logged
        return str(record.msg)


def to_json(line: LogLine) -> str:
    return msgspec.json.encode(line).decode()


def from_json(text: str | bytes) -> LogLine | None:
    """Read a line; None for one that was cut off, or is none."""
    try:
        return msgspec.json.decode(text, type=LogLine)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def to_text(line: LogLine) -> str:
    """Write a line for people: local time, level, message, and the request it belongs to."""
    at = f"{line.at.astimezone():%Y-%m-%d %H:%M:%S},{line.at.microsecond // 1000:03}"
    source = f"{line.source}: " if line.source else ""
    request = f" [{line.request}]" if line.request else ""
    head = f"{at} {line.level.upper():7} {source}{line.message}{request}"
    return "\n".join(_printable(part) for part in (*head.split("\n"), *line.trace))


def _printable(text: str) -> str:
    """Escape what a terminal would take for an order."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
