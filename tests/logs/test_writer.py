"""The writer of the log: on the screen in text or JSON, in the file, whatever happens."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from app.logs.files import LogReader
from app.logs.lines import LogLine
from app.logs.throttle import MAX_LINES
from app.logs.writer import REQUESTS, LogWriter, log_task_failure, screen_sink, write_log

log = logging.getLogger("app.something")
SECRET = "marmalade"


@contextmanager
def written(folder: Path, level: str = "info") -> Iterator[list[LogLine]]:
    """What is in the files, once the block has ended."""
    found: list[LogLine] = []
    with write_log(folder, level, 1 << 20):
        yield found
    with closing(LogReader(folder)) as reader:
        found += reader.read()


def test_levels_count_and_libraries_are_heard_from_warnings_on(tmp_path: Path) -> None:
    with written(tmp_path) as lines:
        for name in ("app.x", "wick", "httpx"):
            logging.getLogger(name).debug("debug")
            logging.getLogger(name).info("info")
            logging.getLogger(name).warning("warning")
    assert [(line.logger, line.level) for line in lines] == [
        *(("app.x", "info"), ("app.x", "warning"), ("wick", "info"), ("wick", "warning")),
        ("httpx", "warning"),
    ]
    assert logging.getLogger("app").level == logging.NOTSET  # as it was


def test_a_flood_is_bounded_and_counted(tmp_path: Path) -> None:
    with written(tmp_path) as lines:
        for number in range(500):
            log.warning("It failed: %d", number)
        log.info("All else is there.")
    assert len([line for line in lines if line.message.startswith("It failed")]) == MAX_LINES
    assert "All else is there." in [line.message for line in lines]
    assert lines[-1].message.startswith(f"{500 - MAX_LINES} more lines like “It failed: %d”")


def test_the_screen_has_text_or_json() -> None:
    for form in ("text", "json"):
        screen = io.StringIO()
        writer = LogWriter([screen_sink(screen, form, is_verbose=False)])
        for name in ("app.x", REQUESTS):
            writer.handle(logging.LogRecord(name, logging.INFO, "", 0, "hello", (), None))
        writer.close()
        rows = screen.getvalue().splitlines()
        if form == "json":
            assert [json.loads(row)["message"] for row in rows] == ["hello", "hello"]
        else:
            assert [row[24:] for row in rows] == ["INFO    hello"]


def test_a_closed_screen_keeps_the_file_going(tmp_path: Path) -> None:
    screen = io.StringIO()
    screen.close()
    with write_log(tmp_path, "info", 1 << 20, screen_sink(screen, "text", is_verbose=False)):
        log.info("hello")
    with closing(LogReader(tmp_path)) as reader:
        assert [line.message for line in reader.read()] == ["hello"]


def test_what_nobody_caught_is_logged_without_its_words(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError(SECRET)

    def fail_with(text: str) -> None:
        raise KeyError(text)

    hooks = threading.excepthook, sys.unraisablehook
    with written(tmp_path) as lines:
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn_explicit("It is old.", DeprecationWarning, "some.py", 7)
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(log_task_failure)
        loop.call_soon(fail_with, SECRET)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
    text = "\n".join(line.message + "\n".join(line.trace) for line in lines)
    assert [line.trace[-1] for line in lines if line.trace] == ["ValueError", "KeyError"]
    assert "in fail" in text
    assert "It is old." in text
    assert SECRET not in text
    assert (threading.excepthook, sys.unraisablehook) == hooks
