"""What a line means that begins with a slash."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from rich.text import Text

from app.models.parameters import SETTINGS, Parameter
from app.terminal import answer_commands, chat_commands
from app.terminal.repl import CommandRunner, Repl


@dataclass(frozen=True, slots=True)
class Command:
    """`argument` as the help shows it."""

    name: str
    argument: str
    about: str
    run: CommandRunner


async def _help(talk: Repl, _: str) -> None:
    for heading, commands in _SECTIONS.items():
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=_USAGE)
        table.add_column(overflow="fold")
        for command in commands:
            usage = Text(f"/{command.name}", style="cyan").append(
                f" {command.argument}".rstrip(), style="dim"
            )
            table.add_row(usage, Text(command.about))
        talk.print(Text(f"\n{heading}", style="bold"))
        talk.console.print(table)
    talk.console.print()
    talk.info(
        'Enter sends. Alt-Enter, a backslash before Enter, or """ around all of it: several '
        "lines. Ctrl-C stops an answer; at the prompt, twice, it leaves, as Ctrl-D does."
    )


async def _quit(talk: Repl, _: str) -> None:
    talk.is_over = True


_USAGE: Final = 24
"""Columns, so that the sections stand below each other."""
_SECTIONS: Final = {
    "Answers": (
        Command("model", "[NAME]", "choose who answers", answer_commands.model),
        Command(
            "again", "[MODEL]", "another answer to the last question", answer_commands.regenerate
        ),
        Command("edit", "", "ask the last question in other words", answer_commands.edit),
        Command(
            "continue", "", "go on with an answer that was cut", answer_commands.continue_answer
        ),
        Command("copy", "", "the last answer to the clipboard", answer_commands.copy),
    ),
    "Chat settings": (
        Command("settings", "", "what was chosen", answer_commands.settings),
        Command(
            "system", "[TEXT | -]", "show, set or drop the system prompt", answer_commands.system
        ),
        Command(
            "set",
            "NAME VALUE",
            "say, temperature 0.2; - for the default",
            answer_commands.set_setting,
        ),
        Command(
            "stop", "[TEXT | -]", r"a text that ends answers; \n: line break", answer_commands.stop
        ),
    ),
    "Chats": (
        Command("new", "", "begin a chat", chat_commands.new),
        Command("chats", "", "choose among the latest", chat_commands.chats),
        Command("open", "ID | NUMBER | last", "go on with one", chat_commands.open_chat),
        Command("search", "WORDS", "find something in all of them", chat_commands.search),
        Command("history", "", "the whole of this one", chat_commands.history),
        Command("rename", "TITLE", "call this one something else", chat_commands.rename),
        Command("export", "[FILE]", "write it to a file, .md or .json", chat_commands.export),
        Command(
            "delete", "", "put it into the trash; /undelete brings it back", chat_commands.delete
        ),
    ),
    "Else": (
        Command("help", "", "this list", _help),
        Command("quit", "", "leave", _quit),
    ),
}
_SHOWN: Final = {command.name: command for part in _SECTIONS.values() for command in part}
_VALUES: Final = {name: row for name, row in SETTINGS.items() if row.is_number or row.options}
"""Settings that a command of their name sets."""
_RUN: Final[dict[str, CommandRunner]] = {
    **{name: command.run for name, command in _SHOWN.items()},
    "undelete": chat_commands.undelete,
    "regenerate": answer_commands.regenerate,
    "exit": _quit,
    "bye": _quit,
    "?": _help,
}


async def run_command(talk: Repl, line: str) -> None:
    """Do what the line says."""
    name, _, rest = line.strip().removeprefix("/").partition(" ")
    name = name.casefold()
    if name in _VALUES:  # /temperature 0.2
        await answer_commands.set_setting(talk, f"{name} {rest.strip()}".strip())
    elif name in _RUN:
        await _RUN[name](talk, rest.strip())
    else:
        near = difflib.get_close_matches(name, [*_RUN, *_VALUES], 1)
        hint = f" Did you mean /{near[0]}?" if near else " /help lists them."
        talk.error(f"There is no command /{name}.{hint}")
        talk.info("To send it as it is, begin it with two slashes.")


def completions(models: Iterable[str], text: str) -> Iterable[tuple[str, str]]:
    """What may complete a line that begins with a slash, and what it means."""
    if " " not in text:
        yield from ((f"/{name}", command.about) for name, command in _SHOWN.items())
        yield from ((f"/{name}", _range(row)) for name, row in _VALUES.items())
    elif text.startswith(("/model ", "/again ")):
        command = text.partition(" ")[0]
        yield from ((f"{command} {name}", "") for name in models)
    elif text.startswith("/set "):
        yield from ((f"/set {name}", _range(row)) for name, row in _VALUES.items())


def _range(row: Parameter) -> str:
    return f"{row.subject}, {row.range}"
