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
from app.conversations.tool_calls import CallRecord, Decision
from app.errors import ChatNotFound, WickError
from app.terminal.answer_display import show
from app.terminal.call_questions import OPTIONS, describe_end, question
from app.terminal.files import SentFile, describe
from app.terminal.format import one_line, resolve_model
from app.terminal.http_backend import HttpBackend
from app.terminal.markdown import render_lines, strip_control
from app.terminal.prompt import MARK, InputPrompt, forget_typed
from app.terminal.records import (
    ChatSummary,
    MessageRecord,
    ModelSummary,
    OpenChat,
    PersonaRecord,
    PromptRecord,
    answer_stats,
    documents_note,
    dropped_note,
    ending_note,
    parse_calls,
    thought_note,
)
from app.terminal.screen import PlainScreen, Screen, TerminalScreen

HISTORY_SHOWN: Final = 4
"""Messages of a chat that are shown when it is opened."""
TEMPORARY: Final = "This chat is temporary: it is not saved, and ends when you leave it."
CommandRunner = Callable[["Repl", str], Awaitable[None]]


@dataclass(slots=True)
class Repl:
    """State of a conversation.

    `listed`: the chats that were listed last, to be named by number; files: those that go with the
    next message; chat_id: empty until a new chat has begun, and then `overrides` are its settings,
    `defaults` at first, over those of its `persona`; is_temporary: this chat is kept in memory
    alone, and ends when another begins; tools: names of those that are on in a new chat.
    """

    backend: HttpBackend
    console: Console
    prompt: InputPrompt
    longest_prompt: int
    is_temporary: bool = False
    chat_id: str = ""
    defaults: ChatSettings = field(default_factory=ChatSettings)
    overrides: ChatSettings = field(default_factory=ChatSettings)
    model: str = ""
    usual_model: str = ""
    persona: PersonaRecord | None = None
    title: str = ""
    draft: str = ""
    files: list[SentFile] = field(default_factory=list)
    tools: Sequence[str] = ()
    deleted: str = ""
    is_over: bool = False
    models: Sequence[ModelSummary] = ()
    prompts: Sequence[PromptRecord] = ()
    personas: Sequence[PersonaRecord] = ()
    listed: Sequence[ChatSummary] = ()

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
                ref = await self.backend.begin(
                    *(text, self.model, self.overrides, self.files, self.persona),
                    is_temporary=self.is_temporary,
                    tools=self.tools,
                )
        except WickError:
            self.draft = text  # nothing was saved: it is not lost
            raise
        self.chat_id, self.files = ref.chat_id, []
        await self.answer(ref)

    async def answer(self, ref: AnswerRef, start: int = 0) -> None:
        """Show an answer that is on its way, from the character `start` on."""
        self.console.print()
        ask = self._ask if sys.stdin.isatty() and not self.console.is_dumb_terminal else None
        self.close(await show(self.backend, ref, self._screen(), start, ask))

    async def _ask(self, call: CallRecord) -> Decision | None:
        """Ask about a call of a tool; what was typed before is no answer to it."""
        forget_typed()
        return await self.prompt.choose(question(call), OPTIONS, "deny")

    def close(self, answer: MessageRecord) -> None:
        """Print how an answer ended."""
        end, thought = ending_note(answer), thought_note(answer)
        if answer.status == "failed":
            self.error(end)
        elif end:
            self.info(end)
        for line in (
            dropped_note(answer),
            documents_note(answer),
            f"{thought}; /thought shows it" if thought else "",
            answer_stats(answer, self.console.width) if answer.completion_tokens else "",
        ):
            if line:
                self.info(line)
        self.console.print()

    async def begin(self, model: str = "", *, is_temporary: bool | None = None) -> None:
        """Begin a new chat like this one: with its persona, and temporary as it is unless said."""
        models = await self.backend.models()
        self.model = resolve_model(models, model)
        await self._leave(is_temporary=self.is_temporary if is_temporary is None else is_temporary)
        self.models = models
        self.chat_id, self.title, self.overrides = "", "", self.defaults
        await self.load_library()

    async def begin_with(self, persona: PersonaRecord | None, model: str = "") -> None:
        """Begin a new chat with a persona, or without one.

        Unless a model is named, that of the persona answers, else the one before that came.
        """
        if self.persona is None or not self.persona.model:
            self.usual_model = self.model
        self.models = await self.backend.models()
        self.persona = persona
        own = persona.model if persona else ""
        if own and not model and not any(found.name == own for found in self.models):
            self.info(f"{own} is not installed.")
            own = ""
        await self.begin(model or own or self.usual_model)

    async def load_library(self) -> None:
        """Get what may be completed; servers and keys that give none of it do not matter."""
        with contextlib.suppress(WickError):
            self.prompts = await self.backend.prompts()
            self.personas = await self.backend.personas()

    async def leave(self) -> None:
        """Leave this chat for good; a temporary one ends, and what was not sent there."""
        await self._leave(is_temporary=self.is_temporary)
        while self.is_temporary and self.files:
            await self.backend.remove_file(self.files.pop())

    async def _leave(self, *, is_temporary: bool) -> None:
        """End a temporary chat, and take files that were not sent yet along to the next chat."""
        if self.is_temporary and self.chat_id:
            with contextlib.suppress(ChatNotFound):  # with its server
                await self.backend.delete_permanently(self.chat_id)
            self.chat_id = ""
            self.info("The temporary chat has ended.")
        if is_temporary != self.is_temporary:
            for file in self.files:
                await self.backend.remove_file(file)
            sources, self.files = [file.source for file in self.files], []
            for source in sources:
                self.files.append(
                    await self.backend.upload(source, self.model, is_temporary=is_temporary)
                )
        self.is_temporary = self.prompt.is_temporary = is_temporary

    async def settings(self) -> ChatSettings:
        """Get the settings of this chat: of one that has not begun, those it will begin with."""
        if self.chat_id:
            return await self.backend.settings(self.chat_id)
        usual = self.persona.settings.overrides if self.persona else {}
        return ChatSettings(**{**usual, **self.overrides.overrides})

    async def own_settings(self) -> ChatSettings:
        """Get the settings that were chosen for this chat itself."""
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
        if opened.chat.id != self.chat_id:
            await self._leave(is_temporary=False)
        self.chat_id, self.title = opened.chat.id, opened.chat.title
        self.persona = opened.persona
        await self.load_library()
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
                for call in parse_calls(message.calls):
                    self.info(describe_end(call))
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
        parts = [f"Wick {app.__version__}{where}", self.model]
        parts += [one_line(self.persona.title)] if self.persona else []
        self.print(Text(" · ".join(parts), style="bold"))
        if self.title:
            title = Text(one_line(self.title), style="bold")
            self.console.print(title, no_wrap=True, overflow="ellipsis", highlight=False)
        self.warn_if_remote()
        self.show_files()
        self.info("Enter sends · Alt-Enter starts a new line · /help")
        if self.is_temporary:
            self.info(TEMPORARY)
        self.introduce()

    def introduce(self) -> None:
        """Show how the persona of a new chat greets, and what one could begin with."""
        if self.persona is None or self.chat_id:
            return
        if self.persona.greeting:
            self.console.print()
            self._show(self.persona.greeting)
            self.console.print()
        if self.starters:
            self.info("Press Tab to begin with:")
            for starter in self.starters:
                self.info(f"{' ' * len(MARK)}{one_line(starter)}")
            self.console.print()

    @property
    def starters(self) -> Sequence[str]:
        """Suggestions of the persona, while the chat is empty."""
        return () if self.persona is None or self.chat_id else self.persona.starters

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
