"""From what was written on the command line to the conversation, the answer or the list."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from rich.console import Console

from app.chats.chat_settings import ChatSettings
from app.config import Settings
from app.errors import ConfigError, WickError
from app.terminal.backend import Backend, Opened
from app.terminal.choices import changed, choice_of
from app.terminal.find import found_backend
from app.terminal.lists import chats_table, find_chat
from app.terminal.once import Once, write_json

LISTED = 30
NARROWEST = 100
"""Columns of a table that is not shown on a terminal."""


@dataclass(frozen=True, slots=True)
class Wish:
    """`resume`: `last`, an id or a title, None for a new chat; settings: fields as text."""

    question: str = ""
    model: str = ""
    resume: str | None = None
    is_list: bool = False
    is_kept: bool = True
    form: Literal["text", "json", "lines"] = "text"
    settings: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    key: str = field(default="", repr=False)


async def start(wish: Wish, settings: Settings) -> int:
    """The exit code. Raises WickError."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    for number in (signal.SIGTERM, signal.SIGHUP):  # answers keep their text, runners end
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with found_backend(settings, wish.url, wish.key, is_kept=wish.is_kept) as backend:
        if wish.is_list:
            return await _list(backend, wish)
        if wish.question:
            return await _once(backend, wish, settings)
        return await _talk(backend, wish, settings)


async def _list(backend: Backend, wish: Wish) -> int:
    chats = await backend.chats(LISTED)
    if wish.form != "text":
        write_json([asdict(chat) for chat in chats])
        return 0
    console = Console()
    if not console.is_terminal:
        console = Console(width=NARROWEST)
    if chats:
        console.print(chats_table(chats))
    else:
        console.print("There is no chat yet. Begin one: wick chat")
    return 0


async def _once(backend: Backend, wish: Wish, settings: Settings) -> int:
    opened = await _resumed(backend, wish)
    models = await backend.models()
    usual = opened.chat.model if opened else ""
    usual = usual if any(model.name == usual for model in models) else ""
    model = choice_of(models, wish.model or usual)
    chosen = await _chosen(backend, opened, wish, settings)
    if opened:
        asked = await backend.ask(opened.chat.id, wish.question, model)
    else:
        asked = await backend.begin(wish.question, model, chosen)
    try:
        return await Once(backend, wish.form, wish.is_kept).show(asked)
    finally:
        if not wish.is_kept:
            await _erase(backend, asked.chat_id)


async def _talk(backend: Backend, wish: Wish, settings: Settings) -> int:
    from app.terminal.commands import obey, words
    from app.terminal.prompt import Prompt
    from app.terminal.quiet import without_echo
    from app.terminal.talk import Talk

    opened = await _resumed(backend, wish)
    history = settings.terminal_history if wish.is_kept else None
    prompt = Prompt(history, lambda text: words([model.name for model in talk.models], text))
    talk = Talk(backend, Console(), prompt, settings.message_chars, wish.is_kept)
    chosen = await _chosen(backend, opened, wish, settings)
    if opened:
        await talk.enter(opened)
        if wish.model:
            talk.model = choice_of(talk.models, wish.model)
    else:
        talk.usual = chosen
        await talk.begin(wish.model)
    try:
        with without_echo():
            await talk.run(obey, opened.path if opened else ())
    finally:
        if not wish.is_kept:
            for chat_id in talk.begun:
                await _erase(backend, chat_id)
    return 0


async def _resumed(backend: Backend, wish: Wish) -> Opened | None:
    if wish.resume is None:
        return None
    if not wish.is_kept:
        raise ConfigError("--no-save is for new chats: leave out either that or --resume.")
    return await backend.open((await find_chat(backend, wish.resume)).id)


async def _chosen(
    backend: Backend, opened: Opened | None, wish: Wish, settings: Settings
) -> ChatSettings:
    """The settings of the chat, with those of the command line; kept if the chat has begun."""
    now = await backend.settings(opened.chat.id) if opened else ChatSettings()
    new = changed(now, wish.settings, settings.message_chars)
    if opened and new != now:
        await backend.choose_settings(opened.chat.id, new)
    return new


async def _erase(backend: Backend, chat_id: str) -> None:
    try:
        await backend.erase(chat_id)
    except WickError as error:
        Console(stderr=True).print(f"wick: {error}", markup=False, highlight=False)
