"""A conversation at the terminal: prompts, answers and commands in turn."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.text import Text

import app
from app.conversations.answer_state import AnswerRef
from app.conversations.settings import ChatSettings
from app.errors import ChatNotFound, WickError
from app.terminal.answer_display import show
from app.terminal.files import SentFile, describe
from app.terminal.format import one_line, resolve_model
from app.terminal.http_backend import HttpBackend
from app.terminal.markdown import render_lines, strip_control
from app.terminal.prompt import MARK, InputPrompt
from app.terminal.records import (
    ChatSummary,
    MessageRecord,
    ModelSummary,
    OpenChat,
    answer_stats,
    dropped_note,
    ending_note,
    thought_note,
)
from app.terminal.screen import PlainScreen, Screen, TerminalScreen

HISTORY_SHOWN: Final = 4
"""Messages of a chat that are shown when it is opened."""
CommandRunner = Callable[["Repl", str], Awaitable[None]]


@dataclass(slots=True)
class Repl:
    """State of a conversation.

    `listed`: the chats that were listed last, to be named by number; files: those that go with the
    next message; created_chats: those in which
    something was asked here; chat_id: empty until a new chat has begun, and then `overrides` are
    its settings, `defaults` at first.
    """

    backend: HttpBackend
    console: Console
    prompt: InputPrompt
    longest_prompt: int
    is_kept: bool = True
    chat_id: str = ""
    defaults: ChatSettings = field(default_factory=ChatSettings)
    overrides: ChatSettings = field(default_factory=ChatSettings)
    model: str = ""
    title: str = ""
    draft: str = ""
    files: list[SentFile] = field(default_factory=list)
    deleted: str = ""
    is_over: bool = False
    models: Sequence[ModelSummary] = ()
    listed: Sequence[ChatSummary] = ()
    created_chats: set[str] = field(default_factory=set)

    async def run(self, run_command: CommandRunner, path: Sequence[MessageRecord] = ()) -> None:
        """Read and answer until the user leaves; `path`: the messages so far.

        `run_command` runs a line that begins with a slash.
        """
        self._greet()
        with self._report_error():
            await self.show_history(path)
        is_leaving = False
        while not self.is_over:
            try:
                text, self.draft = await self.prompt.read(self.draft), ""
            except EOFError:
                break
            except KeyboardInterrupt:
                if is_leaving:
                    break
                is_leaving = True
                self.info("Press Ctrl-C again to quit.")
                continue
            is_leaving = False
            with self._report_error():
                await (run_command(self, text) if is_command(text) else self.ask(text))

    async def ask(self, text: str) -> None:
        text = text.removeprefix("/") if text.startswith("//") else text
        try:
            if self.chat_id:
                ref = await self.backend.submit(self.chat_id, text, self.model, self.files)
            else:
                ref = await self.backend.begin(text, self.model, self.overrides, self.files)
        except WickError:
            self.draft = text  # nothing was saved: it is not lost
            raise
        self.chat_id, self.files = ref.chat_id, []
        self.created_chats.add(ref.chat_id)
        await self.answer(ref)

    async def answer(self, ref: AnswerRef, start: int = 0) -> None:
        """Show an answer that is on its way, from the character `start` on."""
        self.console.print()
        self.close(await show(self.backend, ref, self._screen(), start))

    def close(self, answer: MessageRecord) -> None:
        """Print how an answer ended."""
        end = ending_note(answer)
        if answer.status == "failed":
            self.error(end)
        elif end:
            self.info(end)
        for line in (
            dropped_note(answer),
            thought_note(answer),
            answer_stats(answer) if answer.completion_tokens else "",
        ):
            if line:
                self.info(line)
        self.console.print()

    async def begin(self, model: str = "") -> None:
        """Begin a new chat."""
        self.models = await self.backend.models()
        self.model = resolve_model(self.models, model)
        self.chat_id, self.title, self.overrides = "", "", self.defaults

    async def settings(self) -> ChatSettings:
        """Get the settings chosen for this chat."""
        return await self.backend.settings(self.chat_id) if self.chat_id else self.overrides

    async def choose_settings(self, chosen: ChatSettings) -> None:
        self.overrides = chosen
        if self.chat_id:
            await self.backend.choose_settings(self.chat_id, chosen)

    async def opened(self) -> OpenChat:
        """Open this chat as it is now. Raises ChatNotFound while it has no message."""
        if not self.chat_id:
            raise ChatNotFound("This chat is still empty.")
        return await self.backend.open(self.chat_id)

    async def switch_to(self, opened: OpenChat) -> None:
        """Go on with a chat; `opened` is shown by `show_history`."""
        self.models = await self.backend.models()
        self.chat_id, self.title = opened.chat.id, opened.chat.title
        there = any(model.name == opened.chat.model for model in self.models)
        self.model = resolve_model(self.models, opened.chat.model if there else "")
        if not there:
            self.info(f"{opened.chat.model} is no longer installed. Now using {self.model}.")

    async def show_history(self, path: Sequence[MessageRecord], most: int = HISTORY_SHOWN) -> None:
        """Show the end of a chat, and what is being written in it."""
        if len(path) > most:
            self.info(f"{len(path) - most} earlier messages; /history shows them all.")
        if path:
            self.console.print()
        for message in path[-most:]:
            if message.role == "user":
                self._question(message.text)
                if message.attachments:
                    names = ", ".join(one_line(file["name"]) for file in message.attachments)
                    self.info(f"{' ' * len(MARK)}Attached: {names}")
            elif message.is_running:
                await self.answer(AnswerRef(self.chat_id, None, message.id))
            else:
                self.console.print()
                self._show(message.text)
                self.close(message)

    def print(self, text: str | Text) -> None:
        self.console.print(text, markup=False, highlight=False)

    def info(self, text: str) -> None:
        """Print a remark, dimmed."""
        self.console.print(strip_control(text), style="dim", markup=False, highlight=False)

    def error(self, text: str) -> None:
        self.console.print(strip_control(text), style="red", markup=False, highlight=False)

    def _greet(self) -> None:
        where = f" at {self.backend.location}" if self.backend.location else ""
        about = f" · {one_line(self.title)}" if self.title else ""
        head = Text(f"Wick {app.__version__}{where} · {self.model}{about}", style="bold")
        self.console.print(head, no_wrap=True, overflow="ellipsis", highlight=False)
        kept = "" if self.is_kept else " This chat is not saved."
        self.warn_if_remote()
        self.show_files()
        self.info(f"Enter sends, Alt-Enter starts a new line, /help lists commands.{kept}")

    def warn_if_remote(self) -> None:
        """Say where the messages go, when they do not stay with Wick."""
        line = next((line for line in self.models if line.name == self.model), None)
        if line is not None and line.sent_to:
            self.info(f"What you write to {line.name} is sent to {', '.join(line.sent_to)}.")

    def show_files(self) -> None:
        if self.files:
            self.info(f"Attached to your next message: {', '.join(map(describe, self.files))}.")

    def _question(self, text: str) -> None:
        first, *rest = strip_control(text).split("\n")
        self.print(Text(MARK, style="bold cyan").append(first, style="not bold default"))
        for line in rest:
            self.print(" " * len(MARK) + line)

    def _show(self, text: str) -> None:
        if self._is_plain:
            self.print(strip_control(text))
            return
        for line in render_lines(text, self.console):
            self.console.file.write(f"{line}\n")
        self.console.file.flush()

    @property
    def _is_plain(self) -> bool:
        return self.console.no_color or self.console.is_dumb_terminal

    def _screen(self) -> Screen:
        if self._is_plain:
            return PlainScreen(sys.stdout, self.console)
        return TerminalScreen(self.console)

    @contextlib.contextmanager
    def _report_error(self) -> Iterator[None]:
        """Print what goes wrong; the conversation goes on."""
        try:
            yield
        except WickError as error:
            self.error(str(error))
        except KeyboardInterrupt:
            self.info("No longer waiting for this answer.")


def is_command(text: str) -> bool:
    """Tell commands from text: a path is none, and two slashes stand for one."""
    first = text.split(maxsplit=1)[0]
    return first.startswith("/") and "/" not in first[1:]
