"""Input at the terminal: lines with history and completion, and nothing echoed between prompts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, get_app_session
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, has_completions, is_done
from prompt_toolkit.formatted_text import AnyFormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input.typeahead import clear_typeahead
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


def forget_typed() -> None:
    """Forget the keys that nobody has read yet."""
    clear_typeahead(get_app_session().input)
    if termios is not None and sys.stdin.isatty():
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


# Input of the user: one line or many, with a history and completion.


T = TypeVar("T")
MARK: Final = "› "
QUOTES: Final = '"""'
HINT: Final = "Ask anything, or /help"
TEMPORARY_HINT: Final = "Temporary chat: ask anything, or /help"
_STYLE: Final = Style.from_dict(
    {
        "mark": "bold ansicyan",
        "blank": "ansicyan",
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
"""What the text before the cursor may become: whole texts, each with what it means."""


class InputPrompt:
    """Prompt of a conversation.

    `history`: the file that keeps what was typed, None for none; `words`: for completion.
    `is_temporary`: what is typed belongs to a temporary chat, and is written nowhere.
    """

    def __init__(self, history: Path | None, words: CompletionSource) -> None:
        self.is_temporary = False
        self._session: PromptSession[str] = PromptSession(
            [("class:mark", MARK)],
            multiline=True,
            prompt_continuation=" " * len(MARK),
            history=self._history(history),
            completer=_Completer(words),
            complete_while_typing=Condition(self._is_command),
            key_bindings=_bindings(),
            placeholder=self._placeholder,
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

    async def read_blank(self, name: str) -> str:
        """Read what goes into a blank of a saved prompt; nothing is an answer, too.

        Raises EOFError for Ctrl-D, KeyboardInterrupt for Ctrl-C on an empty line.
        """
        session: PromptSession[str] = PromptSession(
            [("class:blank", f"{name}: ")],
            multiline=True,
            prompt_continuation="  ",
            key_bindings=_bindings(is_optional=True),
            style=_STYLE,
        )
        return unwrapped(await session.prompt_async(set_exception_handler=False))

    async def read_secret(self, question: str) -> str:
        """Read what nobody may see while it is typed, and what is kept nowhere.

        Raises EOFError for Ctrl-D, KeyboardInterrupt for Ctrl-C.
        """
        session: PromptSession[str] = PromptSession(question, is_password=True, style=_STYLE)
        return await session.prompt_async(set_exception_handler=False)

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

    def _placeholder(self) -> AnyFormattedText:
        return [("class:placeholder", TEMPORARY_HINT if self.is_temporary else HINT)]

    def _history(self, path: Path | None) -> History:
        """Open the history in a file; one that ends with this prompt where there can be none."""
        if path is None:
            return InMemoryHistory()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            path.chmod(0o600)
        except OSError:  # a folder that cannot be written: the chat goes on without
            return InMemoryHistory()
        return _DiscreetHistory(path, lambda: self.is_temporary)

    def _is_command(self) -> bool:
        text = self._session.default_buffer.text
        return text.startswith("/") and "\n" not in text


def is_open(text: str) -> bool:
    """Tell whether Enter begins a line: after a backslash, or within three quotation marks."""
    if _is_quoted(text):
        return not text.strip().endswith(QUOTES) or text.strip() == QUOTES
    return text.endswith("\\")


def unwrapped(text: str) -> str:
    """Remove the quotation marks that only served to begin lines."""
    if not _is_quoted(text):
        return text
    return text.strip().removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")


def _is_quoted(text: str) -> bool:
    return text.lstrip().startswith(QUOTES)


class _DiscreetHistory(FileHistory):
    """History in a file, which gets nothing that is entered while `is_paused`."""

    def __init__(self, path: Path, is_paused: Callable[[], bool]) -> None:
        super().__init__(path)
        self._is_paused = is_paused

    def store_string(self, string: str) -> None:
        if not self._is_paused():
            super().store_string(string)


def _bindings(*, is_optional: bool = False) -> KeyBindings:
    """Bind the keys of a line; `is_optional`: an empty one may be entered."""
    bindings = KeyBindings()

    @bindings.add("enter", filter=~is_done)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None
        elif is_open(buffer.document.text_before_cursor):
            if not _is_quoted(buffer.text):
                buffer.delete_before_cursor()  # the backslash
            buffer.insert_text("\n")
        elif buffer.text.strip() or is_optional:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("c-c")
    @bindings.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.complete_state:
            event.current_buffer.cancel_completion()
        elif event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt())

    @bindings.add("tab", filter=~has_completions)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.start_completion(select_first=False, insert_common_part=True)

    return bindings


class _Completer(Completer):
    def __init__(self, words: CompletionSource) -> None:
        self._words = words

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        text = document.text_before_cursor
        if "\n" in document.text:
            return
        for whole, meaning in self._words(text):
            if whole.casefold().startswith(text.casefold()) and whole != text:
                start = text.rfind(" ") + 1
                yield Completion(
                    whole[start:], start_position=start - len(text), display_meta=meaning
                )
