"""Commands about saved prompts and personas, and how these are found by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.padding import Padding
from rich.text import Text

from app.conversations.saved_prompts import fill
from app.errors import LibraryEntryNotFound
from app.terminal.format import cut, one_line
from app.terminal.records import PersonaRecord, PromptRecord
from app.terminal.repl import Repl, is_command

PREVIEW_CHARS: Final = 200
MEANING_CHARS: Final = 60
CHOICE_COLUMNS: Final = 12
"""Columns before the text of a choice, and some behind it."""
NOBODY: Final = "-"
"""Argument that stands for no persona."""


# Saved prompts.


async def prompts(repl: Repl, _: str) -> None:
    """List the saved prompts with the beginning of each."""
    repl.prompts = await repl.backend.prompts()
    if not repl.prompts:
        repl.info(f"No saved prompts yet. {_where_to_add(repl, 'prompts')}")
        return
    width = max(len(one.name) for one in repl.prompts) + len("/") + len("  ")
    for prompt in repl.prompts:
        name = Text(f"/{one_line(prompt.name)}".ljust(width), style="cyan")
        about = cut(prompt.text, max(repl.console.width - width, 10))
        repl.print(name.append(about, style="default"))


async def insert(repl: Repl, line: str) -> None:
    """Put the saved prompt `NAME [TEXT]` into the next message; the text fills its first blank."""
    name, _, text = line.partition(" ")
    if not name:
        await prompts(repl, "")
    elif not await insert_if_saved(repl, name.removeprefix("/"), text.strip()):
        raise LibraryEntryNotFound(f"No saved prompt is called “{name}”. /prompts lists them.")


async def insert_if_saved(repl: Repl, name: str, text: str) -> bool:
    """Do the same if there is a prompt of this name; tell whether there is."""
    repl.prompts = await repl.backend.prompts()
    wanted = name.casefold()
    found = next((one for one in repl.prompts if one.name.casefold() == wanted), None)
    if found is None:
        return False
    try:
        filled = await _filled(repl, found, text)
    except (EOFError, KeyboardInterrupt):
        repl.info("Canceled.")
        return True
    repl.draft = f"/{filled}" if is_command(filled) else filled
    return True


async def _filled(repl: Repl, prompt: PromptRecord, text: str) -> str:
    """The prompt with its blanks filled in, the first by `text` if there is any.

    A text that has no blank to go to follows the prompt.
    """
    if not prompt.blanks:
        return f"{prompt.text}\n\n{text}" if text else prompt.text
    values = {prompt.blanks[0]: text} if text else {}
    missing = [name for name in prompt.blanks if name not in values]
    if missing:
        repl.info(cut(prompt.text, PREVIEW_CHARS))
    for name in missing:
        values[name] = await repl.prompt.read_blank(one_line(name))
    return fill(prompt.text, values)


# Personas.


async def personas(repl: Repl, _: str) -> None:
    """List the personas with the beginning of what each is told."""
    repl.personas = await repl.backend.personas()
    if not repl.personas:
        repl.info(f"No personas yet. {_where_to_add(repl, 'personas')}")
        return
    for persona in repl.personas:
        is_current = repl.persona is not None and persona.id == repl.persona.id
        parts = [persona.model, "chosen" if is_current else ""]
        note = "".join(f" · {one_line(part)}" for part in parts if part)
        repl.print(Text(one_line(persona.title), style="bold").append(note, style="not bold dim"))
        about = cut(persona.instructions or persona.greeting, PREVIEW_CHARS)
        if about:
            repl.console.print(Padding(Text(about), (0, 0, 0, 3)), highlight=False)
    repl.info("Begin a chat with one: /persona NAME")


async def persona(repl: Repl, name: str) -> None:
    """Begin a new chat with a persona, `-` for none; without a name, choose it."""
    repl.personas = await repl.backend.personas()
    if name == NOBODY:
        chosen = None
    elif name:
        chosen = find_persona(repl.personas, name)
    elif not repl.personas:
        await personas(repl, "")
        return
    else:
        number = await _choose(repl)
        if number is None:
            return
        chosen = next((one for one in repl.personas if one.id == number), None)
    await repl.begin_with(chosen)
    who = f"with {one_line(chosen.title)}" if chosen else "without a persona"
    repl.info(f"New chat {who}. {repl.model} answers.")
    repl.warn_if_remote()
    repl.introduce()


async def _choose(repl: Repl) -> int | None:
    """Let the user choose: the id of a persona, 0 for none; None after Escape."""
    room = max(repl.console.width - CHOICE_COLUMNS, 10)
    options = [(0, "No persona")]
    for one in repl.personas:
        about = f"{one.title} · {one.instructions}" if one.instructions else one.title
        options.append((one.id, cut(about, room)))
    default = repl.persona.id if repl.persona else repl.personas[0].id
    if default not in {number for number, _ in options}:
        default = 0
    return await repl.prompt.choose("Choose a persona (Escape to cancel)", options, default)


def find_persona(found: Sequence[PersonaRecord], wanted: str) -> PersonaRecord:
    """Find a persona by its name or the beginning of it. Raises LibraryEntryNotFound."""
    key = wanted.casefold().strip()
    same = [one for one in found if one.name.casefold() == key or one.title.casefold() == key]
    same = same or [one for one in found if one.name.casefold().startswith(key)]
    if len(same) == 1:
        return same[0]
    names = ", ".join(one.name for one in same or found)
    if same:
        raise LibraryEntryNotFound(f"“{wanted}” matches {names}.")
    known = f"Personas: {names}." if names else "You have none yet."
    raise LibraryEntryNotFound(f"No persona is called “{wanted}”. {known}")


def _where_to_add(repl: Repl, what: str) -> str:
    """Say on which page these are made."""
    if repl.backend.location:
        return f"Add some at {repl.backend.location}/{what}."
    return f"Add some on the page /{what} of “wick serve”."


# What completes a line.


def prompt_choices(repl: Repl) -> list[tuple[str, str]]:
    """List the names of saved prompts, each with the beginning of its text."""
    return [(one.name, cut(one.text, MEANING_CHARS)) for one in repl.prompts]


def persona_choices(repl: Repl) -> list[tuple[str, str]]:
    """List the names of personas, each with the beginning of what it is told."""
    return [(one.name, cut(one.instructions, MEANING_CHARS)) for one in repl.personas]
