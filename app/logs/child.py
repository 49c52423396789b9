"""The log of a child process: lines of JSON on its standard error, which its parent takes over.

What native libraries print there is no such line; the parent logs it as it is.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final

from app.logs.lines import FACTS, TRACE, from_json, line_of, to_json

CHUNK_BYTES: Final = 4096
MAX_LINE_BYTES: Final = 64 << 10


class _ChildFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return to_json(line_of(record))


def log_to_parent(level: int = logging.WARNING) -> None:
    """Have everything that is logged, and an exception that nobody caught, go to the parent."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ChildFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    sys.excepthook = _log_failure


def _log_failure(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("wick").critical("It ended by an error inside Wick.", exc_info=error)


async def relay_lines(
    stream: asyncio.StreamReader, source: str, log: logging.Logger
) -> AsyncIterator[str]:
    """Log what a child says until it closes its standard error; yield each line in few words."""
    rest = b""
    while chunk := await stream.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield relay_line(line, source, log)
        if len(rest) > MAX_LINE_BYTES:
            yield relay_line(rest, source, log)
            rest = b""
    if rest:
        yield relay_line(rest, source, log)


def relay_line(
    data: bytes, source: str, log: logging.Logger, native_level: int = logging.DEBUG
) -> str:
    """Log a line of a child's standard error as said by `source`; return it in few words."""
    line = from_json(data)
    if line is None:
        text = data.decode("utf-8", "replace")
        log.log(native_level, "%s", text, extra={"source": source})
        return text
    number = logging.getLevelNamesMapping().get(line.level.upper(), logging.INFO)
    extra = {"source": source, FACTS: line.facts, TRACE: line.trace}
    log.log(number, line.message, extra=extra)
    return " ".join([line.message, *line.trace[-1:]])


def relay_noise(noise: bytes, source: str, log: logging.Logger) -> None:
    """Log all that a child has said, which has ended otherwise than it should."""
    for line in noise[-MAX_LINE_BYTES:].splitlines():
        relay_line(line, source, log, logging.INFO)
