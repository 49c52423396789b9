"""Lines of the log, as JSON and as text."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from app.logs.lines import FACTS, LogLine, from_json, line_of, to_json, to_text
from app.logs.request_ids import RequestRef, create_detached_task, current_request, work_on

SECRET = "marmalade"


def record(message: object, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("app.some", logging.WARNING, "", 0, message, arguments, None)
    vars(made).update(extra)
    return made


def test_a_line_is_one_object_and_can_be_read_again() -> None:
    with work_on(RequestRef("request-1")):
        line = line_of(record("%d of %s\n{", 2, 'three"', **{FACTS: {"seconds": 0.5}}), "a child")
    text = to_json(line)
    assert "\n" not in text
    assert from_json(text) == line
    assert (line.level, line.logger, line.source) == ("warning", "app.some", "a child")
    assert (line.request, line.facts) == ("request-1", {"seconds": 0.5})
    assert current_request().id == ""


def test_exceptions_among_the_arguments_quote_nobody() -> None:
    assert line_of(record("It failed: %s", ValueError(SECRET))).message == "It failed: ValueError"
    given = {"error": ValueError(SECRET)}
    assert SECRET not in line_of(record("It failed: %(error)s", given)).message
    assert SECRET not in line_of(record(ValueError(SECRET))).message


@pytest.mark.parametrize("text", ["", "{", "no line", '{"at": 7}', '{"at": "2026-11-29"}', "\x00"])
def test_what_is_no_line_is_none(text: str) -> None:
    assert from_json(text) is None


def test_a_wrong_call_of_the_log_ends_nothing() -> None:
    assert line_of(record("%d apples", "some")).message == "%d apples"


def test_text_gives_a_terminal_no_orders() -> None:
    at = datetime(2026, 11, 29, 6, 30, tzinfo=UTC)
    line = LogLine(at, "error", "app", "red \x1b[31m\r\x07", "child", "id-12345", {}, ["  a\x1b"])
    text = to_text(line)
    assert text.endswith("ERROR   child: red \\x1b[31m\\x0d\\x07 [id-12345]\n  a\\x1b")
    assert text.startswith(f"{at.astimezone():%Y-%m-%d %H:%M:%S},000 ")


async def test_tasks_belong_to_the_request_that_began_them_unless_they_outlive_it() -> None:
    async def seen() -> str:
        return current_request().id

    with work_on(RequestRef("request-1")):
        assert await create_detached_task(seen(), "for ever") == ""
        assert await seen() == "request-1"
