"""Commands of the conversation: lines that begin with a slash, and what they do."""

from __future__ import annotations

import asyncio
import base64
import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from rich.text import Text

from app.conversations.settings import stop_strings_to_lines
from app.errors import ChatNotFound, InvalidMessage
from app.models.parameters import SETTINGS, Parameter
from app.terminal import chat_commands as chats
from app.terminal import library
from app.terminal.files import check_count, matching_files, read_file
from app.terminal.format import (
    apply_changes,
    chat_models,
    cut,
    describe_settings,
    one_line,
    resolve_model,
)
from app.terminal.markdown import strip_control
from app.terminal.records import MessageRecord
from app.terminal.repl import CommandRunner, Repl

# Commands about answers: who gives them, how, and to what.


async def model(repl: Repl, name: str) -> None:
    repl.models = await repl.backend.models()
    if not name:
        options = [
            (line.name, _label(line.title, line.name, line.state))
            for line in chat_models(repl.models)
        ]
        default = resolve_model(repl.models, repl.model)
        name = await repl.prompt.choose("Choose a model", options, default) or ""
        if not name:
            return
    name = resolve_model(repl.models, name)
    if repl.chat_id:
        await repl.backend.choose_model(repl.chat_id, name)
    repl.model = name
    repl.info(f"Now using {name}.")
    repl.warn_if_remote()


def _label(title: str, name: str, state: str) -> str:
    parts = [name, title if title != name else "", state]
    return strip_control(" · ".join(part for part in parts if part))


async def regenerate(repl: Repl, name: str) -> None:
    if name:
        repl.models = await repl.backend.models()
        name = resolve_model(repl.models, name)
    last = await _last(repl, "user")
    answer = await repl.backend.regenerate(repl.chat_id, last.id, name or repl.model)
    await repl.answer(answer)


async def edit(repl: Repl, text: str) -> None:
    """Resend the last message as the text on the line, or as edited at the prompt."""
    last = await _last(repl, "user")
    if not text:
        try:
            text = await repl.prompt.read(last.text)
        except (EOFError, KeyboardInterrupt):
            repl.info("Nothing was changed.")
            return
    answer = await repl.backend.edit(repl.chat_id, last.id, text, repl.model)
    await repl.answer(answer)


async def attach(repl: Repl, name: str) -> None:
    """Attach a file to the next message; without a name say which ones are, `-` for none."""
    if name == "-":
        repl.files = []
    elif name:
        check_count(len(repl.files) + 1)
        file = await asyncio.to_thread(read_file, name)
        sent = await repl.backend.upload(file, repl.model, is_temporary=repl.is_temporary)
        repl.files.append(sent)
    if repl.files:
        repl.show_files()
    else:
        repl.info("No file is attached.")


async def continue_answer(repl: Repl, _: str) -> None:
    last = await _last(repl, "assistant")
    start = len(last.text.rstrip("\ufffd"))
    answer = await repl.backend.continue_answer(repl.chat_id, last.id)
    await repl.answer(answer, start)


async def thought(repl: Repl, _: str) -> None:
    """Print what the model thought before its last answer."""
    last = await _last(repl, "assistant")
    repl.info((last.thought or "").strip() or "The model did not think before this answer.")


async def copy(repl: Repl, _: str) -> None:
    """Copy the last answer by the terminal itself (OSC 52), which works over ssh, too."""
    last = await _last(repl, "assistant")
    coded = base64.b64encode(last.text.encode()).decode()
    repl.console.file.write(f"\x1b]52;c;{coded}\x07")
    repl.console.file.flush()
    repl.info("Copied, if your terminal allows it.")


async def tools(repl: Repl, text: str) -> None:
    """List the tools; switch those that are named on or off, `-` for all off."""
    if not repl.chat_id:
        await _choose_first_tools(repl, text)
        return
    found = await repl.backend.tools(repl.chat_id)
    chosen = [tool.name for tool in found if tool.on]
    if text:
        chosen = _toggled(chosen, text)
        if unknown := set(chosen) - {tool.name for tool in found}:
            raise InvalidMessage(f"There is no tool “{min(unknown)}”. /tools lists them.")
        await repl.backend.choose_tools(repl.chat_id, chosen)
    else:
        for tool in found:
            mark = "on " if tool.name in chosen else "off"
            repl.print(Text(f"{mark}  ").append(one_line(tool.name), style="cyan"))
            repl.info(f"     {cut(tool.description, max(repl.console.width - 6, 10))}")
    repl.info(_describe_tools(chosen))


async def _choose_first_tools(repl: Repl, text: str) -> None:
    """Choose those with which a chat will begin; the server knows which there are."""
    repl.tools = _toggled(repl.tools, text) if text else repl.tools
    repl.info(_describe_tools(repl.tools))
    if not text:
        repl.info("Once the chat has begun, /tools lists all that there are.")


def _toggled(chosen: Sequence[str], text: str) -> list[str]:
    if text == "-":
        return []
    named = list(dict.fromkeys(text.replace(",", " ").split()))
    kept = [name for name in chosen if name not in named]
    return [*kept, *(name for name in named if name not in chosen)]


def _describe_tools(names: Sequence[str]) -> str:
    if not names:
        return "No tools are on in this chat. Switch one on: /tools NAME"
    return f"On in this chat: {', '.join(names)}. Each call asks before it runs."


async def settings(repl: Repl, _: str) -> None:
    lines = describe_settings(await repl.settings())
    for line in lines:
        repl.print(strip_control(line))
    if not lines:
        repl.info("This chat uses the defaults of its model.")


async def set_setting(repl: Repl, text: str) -> None:
    """Set `NAME VALUE`, with `-` for the default; show the value of a name alone."""
    if not text:
        await settings(repl, "")
        repl.info(f"Settings: {', '.join(SETTINGS)}.")
        return
    name, _, value = text.partition(" ")
    name, value = name.replace("-", "_").casefold(), value.strip()
    name = "system_prompt" if name == "system" else name
    if name not in SETTINGS:
        raise InvalidMessage(f"No setting is called “{name}”. Settings: {', '.join(SETTINGS)}.")
    now = await repl.settings()
    if not value:
        chosen = now.overrides.get(name)
        repl.print(strip_control(f"{name}: {chosen if chosen is not None else 'default'}"))
        return
    await _choose(repl, name, "" if value == "-" else value)


async def _choose(repl: Repl, name: str, text: str) -> None:
    """Set one setting from text as the page's form has it; an empty text is the default."""
    await repl.choose_settings(
        apply_changes(await repl.own_settings(), {name: text}, repl.longest_prompt)
    )
    repl.info(f"{name} {'set' if text else 'reset to the default'}.")


async def system(repl: Repl, text: str) -> None:
    await set_setting(repl, f"system_prompt {text}".strip())


async def stop(repl: Repl, text: str) -> None:
    """Add a text that ends answers; `-` for none."""
    if not text or text == "-":
        await set_setting(repl, f"stop {text}".strip())
        return
    now = stop_strings_to_lines((await repl.settings()).get("stop") or ())
    await _choose(repl, "stop", f"{now}\n{text}")


async def _last(repl: Repl, role: str) -> MessageRecord:
    opened = await repl.opened()
    found = next((message for message in reversed(opened.path) if message.role == role), None)
    if found is None:
        raise ChatNotFound("This chat has no such message yet.")
    return found


# The list of all commands, and what a line means.


@dataclass(frozen=True, slots=True)
class Command:
    """Command of a conversation; `argument` as the help shows it."""

    name: str
    argument: str
    about: str
    run: CommandRunner


async def _help(repl: Repl, _: str) -> None:
    for heading, commands in _SECTIONS.items():
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=_USAGE)
        table.add_column(overflow="fold")
        for command in commands:
            usage = Text(f"/{command.name}", style="cyan").append(
                f" {command.argument}".rstrip(), style="dim"
            )
            table.add_row(usage, Text(command.about))
        repl.print(Text(f"\n{heading}", style="bold"))
        repl.console.print(table)
    repl.console.print()
    repl.info(
        'Enter sends. For several lines: Alt-Enter, a backslash before Enter, or """ around the '
        "text. Ctrl-C stops the answer; twice at the prompt it quits, as does Ctrl-D."
    )


async def _quit(repl: Repl, _: str) -> None:
    repl.is_over = True


_USAGE: Final = 24
"""Columns, so that the sections stand below each other."""
_SECTIONS: Final = {
    "Answers": (
        Command("model", "[NAME]", "choose a model", model),
        Command("again", "[MODEL]", "regenerate the last answer", regenerate),
        Command("edit", "", "edit and resend your last message", edit),
        Command("continue", "", "continue a cut answer", continue_answer),
        Command("attach", "[FILE | -]", "attach a text file to your next message", attach),
        Command("thought", "", "show what the model thought before its last answer", thought),
        Command("copy", "", "copy the last answer to the clipboard", copy),
    ),
    "Prompts and personas": (
        Command("prompts", "", "list saved prompts", library.prompts),
        Command(
            "prompt", "NAME", "put a saved prompt into your message, as does /NAME", library.insert
        ),
        Command("personas", "", "list personas", library.personas),
        Command(
            "persona", "[NAME | -]", "start a chat with a persona, or without", library.persona
        ),
    ),
    "Chat settings": (
        Command("tools", "[NAME ... | -]", "list tools, or switch them on and off", tools),
        Command("settings", "", "show this chat's settings", settings),
        Command("system", "[TEXT | -]", "show, set or remove the system prompt", system),
        Command("set", "NAME VALUE", "change a setting; - restores the default", set_setting),
        Command(
            "stopwords", "[TEXT | -]", r"stop when the model writes this; \n: line break", stop
        ),
    ),
    "Chats": (
        Command("new", "", "start another chat like this one", chats.new),
        Command(
            "temporary", "", "start a chat that is not saved; again: one that is", chats.temporary
        ),
        Command("chats", "", "choose a recent chat", chats.choose_chat),
        Command("open", "ID | NUMBER | last", "open a chat", chats.open_chat),
        Command("search", "WORDS", "search all chats", chats.search),
        Command("history", "", "show this whole chat", chats.history),
        Command("rename", "TITLE", "rename this chat", chats.rename),
        Command(
            "export", "[FILE]", "export this chat to a file: .md, .json, .json.age", chats.export
        ),
        Command("delete", "", "move this chat to trash; /undelete brings it back", chats.delete),
    ),
    "Other": (
        Command("help", "", "show this list", _help),
        Command("quit", "", "quit", _quit),
    ),
}
_SHOWN: Final = {command.name: command for part in _SECTIONS.values() for command in part}
_VALUES: Final = {name: row for name, row in SETTINGS.items() if row.is_number or row.options}
"""Settings that a command of their name sets."""
_RUN: Final[dict[str, CommandRunner]] = {
    **{name: command.run for name, command in _SHOWN.items()},
    "undelete": chats.undelete,
    "stop": stop,
    "regenerate": regenerate,
    "exit": _quit,
    "bye": _quit,
    "?": _help,
}


async def run_command(repl: Repl, line: str) -> None:
    """Run the command on a line."""
    name, _, rest = line.strip().removeprefix("/").partition(" ")
    name = name.casefold()
    if name in _VALUES:  # /temperature 0.2
        await set_setting(repl, f"{name} {rest.strip()}".strip())
    elif name in _RUN:
        await _RUN[name](repl, rest.strip())
    elif not await library.insert_if_saved(repl, name, rest.strip()):
        names = [*_RUN, *_VALUES, *(prompt.name for prompt in repl.prompts)]
        near = difflib.get_close_matches(name, names, 1)
        hint = f" Did you mean /{near[0]}?" if near else " /help lists them."
        repl.error(f"Unknown command /{name}.{hint}")
        repl.info("To send it as text, begin it with two slashes.")


def completions(repl: Repl, text: str) -> Iterable[tuple[str, str]]:
    """List what may complete a line, and what each means: commands, their arguments, starters."""
    command, space, argument = text.partition(" ")
    if not text.startswith("/"):
        yield from ((starter, "") for starter in repl.starters)
    elif not space:
        yield from ((f"/{name}", command.about) for name, command in _SHOWN.items())
        yield from ((f"/{name}", _range(row)) for name, row in _VALUES.items())
        for name, meaning in library.prompt_choices(repl):
            if name not in _RUN and name not in _VALUES:
                yield f"/{name}", meaning
    elif command in _FILES:
        yield from ((f"{command} {name}", "") for name in matching_files(argument))
    elif choices := _ARGUMENTS.get(command):
        yield from ((f"{command} {name}", meaning) for name, meaning in choices(repl))


def _model_choices(repl: Repl) -> list[tuple[str, str]]:
    return [(model.name, "") for model in chat_models(repl.models)]


def _setting_choices(_: Repl) -> list[tuple[str, str]]:
    return [(name, _range(row)) for name, row in _VALUES.items()]


_FILES: Final = ("/attach", "/export")
_ARGUMENTS: Final[dict[str, Callable[[Repl], list[tuple[str, str]]]]] = {
    "/model": _model_choices,
    "/again": _model_choices,
    "/set": _setting_choices,
    "/prompt": library.prompt_choices,
    "/persona": library.persona_choices,
}


def _range(row: Parameter) -> str:
    return f"{row.subject}, {row.range}"
