"""Start of `wick chat`: from the command line to a conversation, one answer or the list."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
)
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from rich.console import Console

from app.config import Settings
from app.conversations.answer_state import AnswerRef
from app.conversations.settings import ChatSettings
from app.errors import ConfigError, DataFolderInUse, WickError
from app.local_server import CHAT_COMMAND, acquire_or_discover, tls_context
from app.logs.writer import write_log
from app.temp_folders import scratch
from app.terminal.answer_display import show
from app.terminal.files import LocalFile
from app.terminal.format import apply_changes, chats_table, find_chat, resolve_model
from app.terminal.http_backend import HttpBackend, connect, connect_private
from app.terminal.markdown import strip_control
from app.terminal.records import (
    MessageRecord,
    OpenChat,
    PersonaRecord,
    answer_stats,
    documents_note,
    dropped_note,
    ending_note,
    thought_note,
    to_dict,
)
from app.terminal.screen import PlainScreen, Screen, TerminalScreen

# Which Wick the terminal talks to: a server that was named, one that runs here, or none.


class PrivateServer(NamedTuple):
    """Server of this process alone. `secret`: without it nobody is let in."""

    url: str
    secret: str


ServerOpener = Callable[[Settings], AbstractAsyncContextManager[PrivateServer]]


@asynccontextmanager
async def open_backend(
    settings: Settings, options: ChatOptions, open_server: ServerOpener
) -> AsyncIterator[HttpBackend]:
    """Connect to the named server, else the one that owns the data folder, else a private one.

    While another `wick chat` works alone on the same data folder, a temporary chat has a private
    server with a temporary folder. Raises DataFolderInUse for any other then.
    """
    url, key, trust, is_owned = options.url, options.key, None, False
    async with AsyncExitStack() as stack:
        own = stack.enter_context(ExitStack())
        try:
            owner = None if url else await acquire_or_discover(settings.data_dir, CHAT_COMMAND, own)
            is_owned = owner is None
        except DataFolderInUse:
            if not options.is_temporary:
                raise
        else:
            if owner is not None:
                url, key = owner.url, key or owner.secret
                trust = tls_context(settings) if settings.tls_cert else None
        if url:
            yield await stack.enter_async_context(connect(url, key, trust))
            return
        if is_owned:
            size = settings.log_mb << 20
            stack.enter_context(write_log(settings.data_dir, "warning", size))
        else:
            folder = stack.enter_context(scratch("wick-chat-"))
            settings = replace(settings, data_dir=folder)
            logging.getLogger().addHandler(logging.NullHandler())
        server = await stack.enter_async_context(open_server(settings))
        backend = await stack.enter_async_context(connect_private(server.url, server.secret))
        backend.can_save = is_owned
        yield backend


# From the options of the command line to the conversation, the answer or the list.


MAX_LISTED = 30
MIN_COLUMNS = 100
"""Columns of a table that is not shown on a terminal."""


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Options of `wick chat`.

    `resume`: `last`, an id or a title, None for a new chat; settings: fields as text; files: for
    the first message; persona: the name of that of a new chat.
    """

    question: str = ""
    model: str = ""
    resume: str | None = None
    is_list: bool = False
    is_temporary: bool = False
    persona: str = ""
    form: Literal["text", "json", "lines"] = "text"
    settings: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    key: str = field(default="", repr=False)
    files: Sequence[LocalFile] = ()


async def start(options: ChatOptions, settings: Settings, open_server: ServerOpener) -> int:
    """Run `wick chat`; return the exit code. Raises WickError."""
    _leave_at_signals()
    async with open_backend(settings, options, open_server) as backend:
        if options.is_list:
            return await _list(backend, options)
        if options.question:
            return await _answer_once(backend, options, settings)
        return await _run_repl(backend, options, settings)


def _leave_at_signals() -> None:
    """Have the first of them cancel this task: answers keep their text, runners end.

    A terminal that is closed may send two, and the second must not cut the end short.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one

    def leave() -> None:
        if not task.cancelling():
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, leave)


async def _list(backend: HttpBackend, options: ChatOptions) -> int:
    chats = await backend.chats(MAX_LISTED)
    if options.form != "text":
        write_json([asdict(chat) for chat in chats])
        return 0
    console = Console()
    if not console.is_terminal:
        console = Console(width=MIN_COLUMNS)
    if chats:
        console.print(chats_table(chats))
    else:
        console.print("No chats yet. Start one: wick chat")
    return 0


async def _answer_once(backend: HttpBackend, options: ChatOptions, settings: Settings) -> int:
    opened = await _resumed(backend, options)
    persona = await _persona(backend, options)
    models = await backend.models()
    default = opened.chat.model if opened else persona.model if persona else ""
    default = default if any(model.name == default for model in models) else ""
    model = resolve_model(models, options.model or default)
    chosen = await _choose_chat(backend, opened, options, settings)
    is_temporary = options.is_temporary
    files = [await backend.upload(file, model, is_temporary=is_temporary) for file in options.files]
    if opened:
        ref = await backend.submit(opened.chat.id, options.question, model, files)
    else:
        ref = await backend.begin(
            *(options.question, model, chosen, files, persona), is_temporary=is_temporary
        )
    try:
        return await OneShot(backend, options.form, is_temporary).run(ref)
    finally:
        if is_temporary:
            await _erase(backend.delete_permanently(ref.chat_id))


async def _run_repl(backend: HttpBackend, options: ChatOptions, settings: Settings) -> int:
    from app.terminal.commands import completions, run_command
    from app.terminal.prompt import InputPrompt, without_echo
    from app.terminal.repl import Repl

    opened = await _resumed(backend, options)
    prompt = InputPrompt(settings.terminal_history, lambda text: completions(repl, text))
    repl = Repl(backend, Console(), prompt, settings.message_chars, options.is_temporary)
    chosen = await _choose_chat(backend, opened, options, settings)
    if opened:
        await repl.switch_to(opened)
        if options.model:
            repl.model = resolve_model(repl.models, options.model)
    else:
        repl.defaults = chosen
        await repl.begin_with(await _persona(backend, options), options.model)
    repl.files = [
        await backend.upload(file, repl.model, is_temporary=repl.is_temporary)
        for file in options.files
    ]
    try:
        with without_echo():
            await repl.run(run_command, opened.path if opened else ())
    finally:
        await _erase(repl.leave())
    return 0


async def _resumed(backend: HttpBackend, options: ChatOptions) -> OpenChat | None:
    if options.resume is None:
        return None
    for option, is_given in (("--temporary", options.is_temporary), ("--persona", options.persona)):
        if is_given:
            raise ConfigError(f"{option} is for new chats: leave out that or --resume.")
    return await backend.open((await find_chat(backend, options.resume)).id)


async def _persona(backend: HttpBackend, options: ChatOptions) -> PersonaRecord | None:
    if not options.persona:
        return None
    from app.terminal.library import find_persona

    return find_persona(await backend.personas(), options.persona)


async def _choose_chat(
    backend: HttpBackend, opened: OpenChat | None, options: ChatOptions, settings: Settings
) -> ChatSettings:
    """The settings of the chat, with those of the command line; kept if the chat has begun."""
    now = await backend.settings(opened.chat.id) if opened else ChatSettings()
    new = apply_changes(now, options.settings, settings.message_chars)
    if opened and new != now:
        await backend.choose_settings(opened.chat.id, new)
    return new


async def _erase(erasing: Awaitable[None]) -> None:
    try:
        await erasing
    except WickError as error:
        Console(stderr=True).print(f"wick: {error}", markup=False, highlight=False)


# One question and its answer, for scripts and pipes.


@dataclass(frozen=True, slots=True)
class OneShot:
    """One question and its answer.

    `form`: as text, as one JSON object at the end, or as a line of JSON for every step.
    """

    backend: HttpBackend
    form: str
    is_temporary: bool

    async def run(self, ref: AnswerRef) -> int:
        """Show the answer; return the exit code."""
        answer = await show(self.backend, ref, self._screen())
        self._report(ref.chat_id, answer)
        if answer.status == "stopped":
            return 130
        return 0 if answer.status == "done" else 1

    def _screen(self) -> Screen:
        if self.form == "json":
            return NullScreen()
        if self.form == "lines":
            return JsonLinesScreen()
        console = Console()
        notes = Console(stderr=True, style="dim")
        if console.is_terminal and not console.no_color and not console.is_dumb_terminal:
            return TerminalScreen(console)
        return PlainScreen(sys.stdout, notes if notes.is_terminal else None)

    def _report(self, chat_id: str, answer: MessageRecord) -> None:
        if self.form != "text":
            kept = to_dict(None if self.is_temporary else chat_id, answer)
            write_json({"type": "end", **kept} if self.form == "lines" else kept)
        notes = Console(stderr=True)
        if answer.status != "done":
            notes.print(
                f"wick: {strip_control(ending_note(answer))}", markup=False, highlight=False
            )
        elif self.form == "text" and notes.is_terminal and sys.stdout.isatty():
            for note in (ending_note, dropped_note, documents_note, thought_note, answer_stats):
                if line := note(answer):
                    notes.print(strip_control(line), style="dim", markup=False, highlight=False)


class NullScreen:
    """Screen that shows nothing: the end has everything."""

    def show_status(self, sentence: str) -> None:
        pass

    def thought(self, delta: str) -> None:
        pass

    def text(self, delta: str) -> None:
        pass

    def note(self, sentence: str) -> None:
        pass

    def pause(self) -> None:
        pass

    def tick(self) -> float | None:
        return None

    def end(self) -> None:
        pass


class JsonLinesScreen(NullScreen):
    """Screen with a line of JSON for every step."""

    def show_status(self, sentence: str) -> None:
        if sentence:
            write_json({"type": "waiting", "text": sentence})

    def thought(self, delta: str) -> None:
        write_json({"type": "thought", "text": delta})

    def text(self, delta: str) -> None:
        write_json({"type": "text", "text": delta})

    def note(self, sentence: str) -> None:
        write_json({"type": "note", "text": sentence})


def write_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)
