"""`wick logs`: what the server has logged, also while it runs or after it ended."""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Final

from app.config import Settings
from app.errors import ConfigError
from app.logs.files import LogReader, log_files
from app.logs.lines import LEVELS, LogLine, to_json, to_text

LINES: Final = 200
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
PLAIN: Final = "\x1b[0m"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "logs",
        description="Show what the server has logged in the data folder, the newest last. Nothing"
        " that people write is in it.",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="show new lines until Ctrl-C")
    parser.add_argument(
        "-n", "--lines", type=int, help=f"show so many lines (default: {LINES}, or all --since)"
    )
    parser.add_argument(
        "--since", metavar="WHEN", help="10m, 2h or 3d ago, or a local time: 2026-11-29T06:30"
    )
    parser.add_argument(
        "--level", choices=LEVELS[:-1], default="debug", help="show lines of this level and above"
    )
    parser.add_argument(
        "--request", metavar="ID", help="show lines of one request, named by X-Request-Id"
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON, one object a line (also: WICK_LOG=json)"
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    now = datetime.now(UTC)
    since = parse_since(arguments.since, now) if arguments.since else None
    count = arguments.lines
    if count is None and since is None and not arguments.request:
        count = LINES
    if count is not None and count < 0:
        raise ConfigError(f"--lines {count} is wrong: it takes a number from 0 on.")
    if not log_files(settings.data_dir) and not arguments.follow:
        print(f"Nothing has been logged in {settings.data_dir} yet.", file=sys.stderr)
        return 1

    def wanted(lines: Iterable[LogLine]) -> Iterator[LogLine]:
        least = LEVELS.index(arguments.level)
        for line in lines:
            is_of_request = not arguments.request or line.request == arguments.request
            if line.level_number >= least and is_of_request and (since is None or line.at >= since):
                yield line

    form = to_json if arguments.json or settings.log == "json" else _coloured
    try:
        with closing(LogReader(settings.data_dir)) as reader:
            for line in deque(wanted(reader.read()), maxlen=count):
                print(form(line))
            sys.stdout.flush()
            if arguments.follow:
                for line in wanted(reader.follow()):
                    print(form(line), flush=True)
    except BrokenPipeError:  # its reader, such as head, has what it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _coloured(line: LogLine) -> str:
    text = to_text(line)
    colour = COLOURS.get(line.level) if sys.stdout.isatty() else None
    return f"{colour}{text}{PLAIN}" if colour else text


def parse_since(text: str, now: datetime) -> datetime:
    """Parse a time, or how long ago it was. Raises ConfigError."""
    if text[-1:] in UNITS and text[:-1].isdecimal() and len(text) <= 7:
        return now - timedelta(seconds=int(text[:-1]) * UNITS[text[-1]])
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"--since {text} is wrong: it takes 10m, 2h or 3d, or a time such as 2026-11-29T06:30."
        ) from None
