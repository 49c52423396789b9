"""`wick chat`: chats in the terminal, or one question and its answer."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import textwrap
from typing import TYPE_CHECKING, TextIO

from app.config import Settings
from app.errors import ConfigError, InvalidSettings, ModelNotFound, WickError
from app.models.parameters import SETTINGS

if TYPE_CHECKING:
    from app.terminal.files import LocalFile

NUMBERS = tuple(name for name, row in SETTINGS.items() if row.is_number)
OPTIONS = {name: row for name, row in SETTINGS.items() if row.options}
DESCRIPTION = """\
Chat in the terminal, with the same chats as the page. A QUESTION, or text from
a pipe, gets one answer; with both, the text follows the question.
"""
LIST_FIELDS = 30
EXIT_CODES = """exit codes:
  0    done
  1    failed; a line says why
  2    wrong usage, invalid setting or unusable data folder
  3    no such model
  130  stopped by Ctrl-C
  141  the reader of the output closed it
  143  terminated (SIGTERM)

examples:
  wick chat
  wick chat --resume
  wick chat -m smollm2-135m "Why is the sky blue?"
  wick chat -f notes.md "Sum this up in one sentence."
  git diff | wick chat "Write a message for this commit." --temporary
  echo "Name three rivers." | wick chat --json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "chat",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("question", metavar="QUESTION", nargs="*", help="the question")
    parser.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        action="append",
        default=[],
        help="attach this text file to the question (repeatable; -: standard input)",
    )
    parser.add_argument("-m", "--model", metavar="NAME", default="", help="model that answers")
    chats = parser.add_argument_group("chat (default: a new one)")
    chats.add_argument(
        "-r",
        "--resume",
        metavar="CHAT",
        nargs="?",
        const="last",
        help="continue the last chat, or the one with this id or title",
    )
    chats.add_argument("--list", action="store_true", help=f"list the last {LIST_FIELDS} chats")
    chats.add_argument(
        *("--temporary", "--no-save"),
        action="store_true",
        help="do not save this chat; it ends with the program",
    )
    chats.add_argument("--persona", metavar="NAME", default="", help="begin it with this persona")
    how = parser.add_argument_group("chat settings (default: the model's)")
    how.add_argument("--system", metavar="TEXT", help="system prompt")
    for name in NUMBERS:
        how.add_argument(_flag(name), metavar="N", help=argparse.SUPPRESS)
    for name, row in OPTIONS.items():
        how.add_argument(_flag(name), choices=row.options, help=row.help.replace("%", "%%"))
    how.add_argument(
        "--stop",
        metavar="TEXT",
        action="append",
        help=r"stop when the model writes this (repeatable; \n: line break, \\: backslash)",
    )
    how.description = textwrap.fill(
        f"numbers: {', '.join(map(_flag, NUMBERS))}", 76, break_on_hyphens=False
    )
    out = parser.add_argument_group("output")
    out.add_argument("--json", action="store_true", help="print one JSON object")
    out.add_argument(
        "--stream", action="store_true", help="with --json: print a line for every step"
    )
    where = parser.add_argument_group(
        "server (default: the one that uses the data folder, or none)"
    )
    where.add_argument("--url", metavar="URL", default="", help="URL of a Wick server")
    where.add_argument(
        "--key", metavar="KEY", default="", help="API key of that server (default: WICK_KEY)"
    )
    parser.set_defaults(func=run)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    # Here and not above: the engine, and libraries that no other command needs.
    from app.cli.private_server import open_private_server
    from app.terminal.start import ChatOptions, start

    question = _question(arguments)
    is_alone = not question and _is_terminal(sys.stdin) and sys.stdout.isatty()
    if not question and not arguments.list and (not is_alone or arguments.json):
        raise ConfigError("Give a question, or use a terminal: wick chat --help says more.")
    options = ChatOptions(
        question=question,
        model=arguments.model,
        resume=arguments.resume,
        is_list=arguments.list,
        is_temporary=arguments.temporary,
        persona=arguments.persona,
        form=("lines" if arguments.stream else "json") if arguments.json else "text",
        settings=_settings(arguments),
        url=arguments.url,
        key=arguments.key or settings.key,
        files=_files(arguments.file),
    )
    try:
        return asyncio.run(start(options, settings, open_private_server))
    except BrokenPipeError:
        sys.stdout = None  # nothing more is to be written at the end
        return 141
    except asyncio.CancelledError:
        return 143
    except WickError as error:
        if arguments.json:
            print(json.dumps({"error": str(error)}, ensure_ascii=False))
        if isinstance(error, InvalidSettings):
            raise ConfigError(str(error)) from error
        if isinstance(error, ModelNotFound):
            print(f"wick: {error}", file=sys.stderr)
            return 3
        raise


def _question(arguments: argparse.Namespace) -> str:
    """Join the question on the line and the text from a pipe."""
    parts = [" ".join(arguments.question)]
    is_piped = "-" not in arguments.file
    if not arguments.list and is_piped and sys.stdin is not None and not _is_terminal(sys.stdin):
        parts.append(sys.stdin.buffer.read().decode(errors="replace").strip("\n"))
    return "\n\n".join(part for part in parts if part.strip())


def _files(names: list[str]) -> list[LocalFile]:
    from app.terminal.files import read_files

    try:
        return read_files(names) if names else []
    except WickError as error:
        raise ConfigError(str(error)) from error


def _is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal; a closed one is none."""
    return stream is not None and stream.isatty()


def _settings(arguments: argparse.Namespace) -> dict[str, str]:
    given = {name: getattr(arguments, name) for name in (*NUMBERS, *OPTIONS)}
    given["system_prompt"] = arguments.system
    # A line break that the shell made is one of the text: a line of the form is one stop string.
    stops = [text.replace("\n", r"\n") for text in arguments.stop or ()]
    given["stop"] = "\n".join(stops) if stops else None
    return {name: value for name, value in given.items() if value is not None}
