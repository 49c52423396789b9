"""Writer of the log: takes records from any thread, and writes lines in a thread of its own.

A disk or a terminal that stalls holds up nothing but that thread.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Literal

from app.logs.files import LogFile
from app.logs.lines import LogLine, line_of, to_json, to_text
from app.logs.throttle import MAX_LINES, MAX_ROUTINE_LINES, Kind, LineThrottle

WAITING_LINES: Final = 10_000
END_SECONDS: Final = 2.0
REQUESTS: Final = "wick.requests"
ANSWERS: Final = "wick.answers"
AUDIT: Final = "wick.audit"
LIFE: Final = "wick.life"
ROUTINE: Final = frozenset({REQUESTS, ANSWERS, LIFE})
"""Loggers of lines for each request, and of starts and stops: in the file, in JSON, not in the text
on a terminal."""
OURS: Final = ("app", "wick")
"""Loggers of Wick's own. Those of libraries may quote anything: only their warnings are logged."""
Sink = Callable[[LogLine], None]
counts: Final = Counter[str]()
"""Lines of this process by level, those included that were left out."""


class LogWriter(logging.Handler):
    """Handler that bounds lines of one kind and hands them to sinks. What comes faster than it can
    be written is left out, and counted."""

    def __init__(self, sinks: list[Sink], throttle: LineThrottle | None = None) -> None:
        super().__init__()
        self._sinks = sinks
        self._throttle = throttle or LineThrottle()
        self._lines: queue.Queue[LogLine | None] = queue.Queue(WAITING_LINES)
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            counts[record.levelname.lower()] += 1
            self._report(self._throttle.flush())
            kind = record.name, str(record.msg), record.levelno
            most = MAX_ROUTINE_LINES if record.name in ROUTINE else MAX_LINES
            if record.name == AUDIT or self._throttle.allow(kind, most):  # that bounds itself
                self._put(line_of(record, getattr(record, "source", "")))
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A line that cannot be made ends nothing, and its words are not printed."""

    def _report(self, left_out: list[tuple[Kind, int]]) -> None:
        for (logger, message, level), count in left_out:
            text = f"{count} more lines like “{message}” were left out within a minute."
            self._put(line_of(logging.LogRecord(logger, level, "", 0, text, None, None)))

    def _put(self, line: LogLine) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += 1

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            for sink in self._sinks:
                with suppress(OSError, ValueError):  # a full disk, a closed terminal
                    sink(line)
            if self._lost and self._lines.empty():
                lost, self._lost = self._lost, 0
                self._report([(("wick", "all kinds, which came too fast", logging.WARNING), lost)])

    def close(self) -> None:
        """Write what is waiting, and end."""
        self._report(self._throttle.flush(at_end=True))
        with suppress(queue.Full):
            self._lines.put(None, timeout=END_SECONDS)
        self._thread.join(END_SECONDS)
        super().close()


def screen_sink(stream: IO[str], form: Literal["text", "json"], *, is_verbose: bool) -> Sink:
    """Return a sink that prints. is_verbose: text has a line for each request, too."""

    def write(line: LogLine) -> None:
        if form == "json":
            stream.write(f"{to_json(line)}\n")
        elif is_verbose or line.logger not in ROUTINE:
            stream.write(f"{to_text(line)}\n")
        stream.flush()

    return write


@contextmanager
def write_log(
    data_folder: Path, level: str, max_bytes: int, screen: Sink | None = None
) -> Iterator[None]:
    """Write what is logged into the data folder and, with `screen`, there, while this is open."""
    root, number = logging.getLogger(), logging.getLevelNamesMapping()[level.upper()]
    loggers = {root: max(number, logging.WARNING)}
    loggers |= {logging.getLogger(name): number for name in OURS}
    before = {logger: logger.level for logger in loggers}
    file = _open_file(data_folder, max_bytes)
    sinks = [screen, None if file is None else file.write]
    writer = LogWriter([sink for sink in sinks if sink is not None])
    hooks = threading.excepthook, sys.unraisablehook
    for logger, least in loggers.items():
        logger.setLevel(least)
    root.addHandler(writer)
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_thread_failure
    sys.unraisablehook = _log_unraisable
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        logging.captureWarnings(capture=False)
        root.removeHandler(writer)
        for logger, least in before.items():
            logger.setLevel(least)
        writer.close()
        if file is not None:
            file.close()


def _open_file(data_folder: Path, max_bytes: int) -> LogFile | None:
    """Without room for it, the log is on the screen alone."""
    try:
        return LogFile(data_folder, max_bytes)
    except OSError as error:
        print(f"The log can't be written into {data_folder}: {error.strerror}.", file=sys.stderr)
        return None


def _log_thread_failure(problem: threading.ExceptHookArgs) -> None:
    if problem.exc_value is not None:
        logging.getLogger("wick").error("A thread failed.", exc_info=problem.exc_value)


def _log_unraisable(problem: Any) -> None:
    if problem.exc_value is not None:
        logging.getLogger("wick").error("An exception went nowhere.", exc_info=problem.exc_value)


def log_task_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody awaited, as the exception handler of a loop. asyncio's own prints values."""
    error = context.get("exception")
    if isinstance(error, asyncio.CancelledError):  # connections at the end, in Python 3.11
        return
    # Behind a callback's name stand its arguments.
    message = str(context.get("message") or "An exception went nowhere.").partition("(")[0]
    logging.getLogger("wick").error("asyncio: %s", message, exc_info=error)
