"""Input at the terminal: lines with history and completion, and nothing echoed between prompts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, has_completions, is_done
from prompt_toolkit.formatted_text import AnyFormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.shortcuts.choice_input import ChoiceInput
from prompt_toolkit.styles import Style

# Terminal without echo: text typed during an answer is kept for the next prompt, unseen.


try:
    import termios
except ImportError:  # Windows, where the console does not echo by itself
    termios = None  # type: ignore[assignment]


@contextlib.contextmanager
def without_echo() -> Iterator[None]:
    """Keep keys pressed between two prompts from appearing in the middle of an answer."""
    if termios is None or not sys.stdin.isatty():
        yield
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    changed = termios.tcgetattr(number)
    changed[3] &= ~termios.ECHO
    termios.tcsetattr(number, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


# Input of the user: one line or many, with a history and completion.


T = TypeVar("T")
MARK: Final = "› "
QUOTES: Final = '"""'
_STYLE: Final = Style.from_dict(
    {
        "mark": "bold ansicyan",
        "placeholder": "ansibrightblack",
        "completion-menu.completion": "bg:default fg:default",
        "completion-menu.completion.current": "reverse",
        "completion-menu.meta.completion": "bg:default fg:ansibrightblack",
        "completion-menu.meta.completion.current": "bg:default fg:default",
        "scrollbar.background": "bg:default",
        "scrollbar.button": "bg:default",
        "selected-option": "bold",
    }
)
CompletionSource = Callable[[str], Iterable[tuple[str, str]]]
"""What may follow the text before the cursor: whole texts, each with what it means."""


class InputPrompt:
    """Prompt of a conversation.

    `history`: the file that keeps what was typed, None for none; `words`: for completion.
    """

    def __init__(self, history: Path | None, words: CompletionSource) -> None:
        self._session: PromptSession[str] = PromptSession(
            [("class:mark", MARK)],
            multiline=True,
            prompt_continuation=" " * len(MARK),
            history=_kept(history),
            completer=_CommandCompleter(words),
            complete_while_typing=Condition(self._is_command),
            key_bindings=_bindings(),
            placeholder=[("class:placeholder", "Ask anything, or /help")],
            style=_STYLE,
            reserve_space_for_menu=6,
            include_default_pygments_style=False,
        )

    async def read(self, text: str = "") -> str:
        """Read what the user sends, which begins as `text`.

        Raises EOFError for Ctrl-D, KeyboardInterrupt for Ctrl-C on an empty line.
        """
        typed = await self._session.prompt_async(default=text, set_exception_handler=False)
        return unwrapped(typed)

    async def choose(
        self, message: str, options: Sequence[tuple[T, AnyFormattedText]], default: T
    ) -> T | None:
        """Choose one of the options by arrows or number; None after Escape."""
        bindings = KeyBindings()

        @bindings.add("escape", eager=True)
        @bindings.add("c-d")
        def _(event: KeyPressEvent) -> None:
            event.app.exit(exception=KeyboardInterrupt())

        def heading() -> str:
            get_app().erase_when_done = True  # the list is of no use once something was chosen
            return message

        question = ChoiceInput(
            message=heading,
            options=options,
            default=default,
            symbol="›",
            style=_STYLE,
            key_bindings=bindings,
        )
        try:
            return await question.prompt_async()
        except KeyboardInterrupt:
            return None

    def _is_command(self) -> bool:
        text = self._session.default_buffer.text
        return text.startswith("/") and "\n" not in text


def is_open(text: str) -> bool:
    """Tell whether Enter begins a line: after a backslash, or within three quotation marks."""
    if text.lstrip().startswith(QUOTES):
        return not text.strip().endswith(QUOTES) or text.strip() == QUOTES
    return text.endswith("\\")


def unwrapped(text: str) -> str:
    """Remove the marks that only served to begin lines."""
    stripped = text.strip()
    if stripped.startswith(QUOTES):
        return stripped.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
    return text.replace("\\\n", "\n")


def _kept(path: Path | None) -> History:
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError:  # a folder that cannot be written: the chat goes on without
        return InMemoryHistory()
    return FileHistory(path)


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter", filter=~is_done)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None
        elif is_open(buffer.document.text_before_cursor):
            buffer.insert_text("\n")
        elif buffer.text.strip():
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("c-c")
    @bindings.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt())

    @bindings.add("tab", filter=~has_completions)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.start_completion(select_first=False, insert_common_part=True)

    return bindings


class _CommandCompleter(Completer):
    def __init__(self, words: CompletionSource) -> None:
        self._words = words

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in document.text:
            return
        for whole, meaning in self._words(text):
            if whole.startswith(text) and whole != text:
                start = text.rfind(" ") + 1
                yield Completion(
                    whole[start:], start_position=start - len(text), display_meta=meaning
                )
