"""What a child process logs comes to the parent's log, with its level and without its words."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

import pytest

from app.logs.child import relay_lines, relay_noise
from app.logs.lines import line_of

SECRET = "marmalade"
CHILD = f"""
import logging, sys
from app.logs.child import log_to_parent
log_to_parent()
log = logging.getLogger("runner")
log.info("not worth it")
log.warning("100 %% of %d", 7)
print("a native library", file=sys.stderr)
raise ValueError("{SECRET}")
"""


def test_a_child_says_what_it_has_to_say(caplog: pytest.LogCaptureFixture) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, check=False)
    assert done.returncode == 1
    assert SECRET.encode() not in done.stderr
    with caplog.at_level(logging.DEBUG):
        relay_noise(done.stderr, "runner of tiny", logging.getLogger("app.child"))
    lines = [line_of(record, getattr(record, "source", "")) for record in caplog.records]
    assert [(line.level, line.message) for line in lines] == [
        ("warning", "100 % of 7"),
        ("info", "a native library"),
        ("critical", "It ended by an error inside Wick."),
    ]
    assert {line.source for line in lines} == {"runner of tiny"}
    assert lines[-1].trace[-1] == "ValueError"


async def test_lines_are_whole_however_they_come(caplog: pytest.LogCaptureFixture) -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"one\ntw" + b"x" * 200_000)
    stream.feed_data(b"\nthree")
    stream.feed_eof()
    with caplog.at_level(logging.DEBUG):
        log = logging.getLogger("app.child")
        found = [line async for line in relay_lines(stream, "a child", log)]
    assert (found[0], found[-1]) == ("one", "three")
    assert "".join(found[1:-1]) == "tw" + "x" * 200_000
    assert max(map(len, found)) < 100_000
