"""Parser of what a model writes: text, and the calls of tools in it, as they come."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from app.models.text.tool_formats import (
    ARGUMENTS,
    ID,
    ID_CHARS,
    NAME,
    CallPart,
    ToolFormat,
    is_short_id,
)
from app.models.text.tools import ToolCallDelta

Part = str | ToolCallDelta
_LETTERS = string.ascii_letters + string.digits
_Steps = Generator[Part | None, None, None]
"""Parts as they come; None where more text is needed."""


def make_call_id() -> str:
    """Make an id that every template takes."""
    return "".join(secrets.choice(_LETTERS) for _ in range(ID_CHARS))


def short_id(text: str) -> str:
    """The id of a call as every template takes it; the same one for the same text."""
    if is_short_id(text):
        return text
    number = int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    letters = []
    for _ in range(ID_CHARS):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(letters)


class _NoCallError(Exception):
    """Text that turned out to be no call."""


@dataclass(slots=True)
class CallParser:
    """Splits streamed text into text and calls. Whatever the pieces are, the parts joined are the
    same.

    gate: asked at a marker, with the marker and the text that has come behind it, whether a call
    begins there; all text before it has been given out by then.
    """

    format: ToolFormat
    gate: Callable[[str, str], bool] = lambda _marker, _rest: True
    calls: int = 0
    """Calls that are complete."""
    is_calling: bool = False
    """True inside a call, or behind one that another may follow."""
    _text: str = ""
    _unread: str | None = None
    """All text since a marker, as long as it may turn out to be no call."""
    _is_last: bool = False
    _skips_space: bool = False
    _steps: _Steps | None = field(default=None, init=False)

    def feed(self, text: str) -> Iterator[Part]:
        """Add text and give out the parts that are certain now, in order."""
        self._text += text
        if self._unread is not None:
            self._unread += text
        yield from self._run()

    def flush(self) -> Iterator[Part]:
        """Give out the text that was held back and turned out to be no call."""
        self._is_last = True
        yield from self._run()

    def _run(self) -> Iterator[Part]:
        if self._steps is None:
            self._steps = self._all()
        for part in self._steps:
            if part is None:
                return
            yield part

    def _all(self) -> _Steps:
        while True:
            space, marker = yield from self._text_before_marker()
            if not marker:
                return
            self.is_calling, self._unread = True, self._text
            try:
                yield from self._calls(marker)
                self._skips_space = True
            except _NoCallError:
                if self._unread is not None:
                    self._text = self._unread
                    yield space + marker
            self.is_calling, self._unread = False, None

    # Text, up to a marker that begins a call.

    def _text_before_marker(self) -> Generator[Part | None, None, tuple[str, str]]:
        """Give out text; returns the space behind it and the marker that ends it, which is empty
        at the end of all text."""
        while True:
            place, marker = self._next_marker()
            if marker:
                before, self._text = self._text[:place], self._text[place + len(marker) :]
                if said := before.rstrip():
                    self._skips_space = False
                    yield said
                if self.gate(marker, self._text):
                    return before[len(said) :], marker
                yield before[len(said) :] + marker
                continue
            kept = 0 if self._is_last else self._uncertain()
            certain = self._text[: len(self._text) - kept]
            self._text = self._text[len(certain) :]
            if self._skips_space:
                certain = certain.lstrip()
            if certain:
                self._skips_space = False
                yield certain
            if self._is_last:
                return "", ""
            yield None

    def _next_marker(self) -> tuple[int, str]:
        found = [(at, m) for m in self.format.markers if (at := self._text.find(m)) >= 0]
        return min(found, default=(0, ""))

    def _uncertain(self) -> int:
        """Count the characters at the end that may begin a marker, and the space before it."""
        longest = max(map(len, self.format.markers)) - 1
        size = next(
            (
                size
                for size in range(min(longest, len(self._text)), 0, -1)
                if any(marker.startswith(self._text[-size:]) for marker in self.format.markers)
            ),
            0,
        )
        text = self._text[: len(self._text) - size]
        return size + len(text) - len(text.rstrip())

    # Calls.

    def _calls(self, marker: str) -> _Steps:
        parts = self.format.after(marker)
        yield from self._call(parts)
        while (yield from self._goes_on()):
            yield from self._call(self.format.call)

    def _goes_on(self) -> Generator[None, None, bool]:
        """Read what stands between two calls, or behind the last one."""
        between, end = self.format.between, self.format.end
        while True:
            text = self._text
            if between and text.startswith(between):
                self._text = text[len(between) :]
                return True
            if text.startswith(end) and not (between.startswith(text) and not self._is_last):
                self._text = text[len(end) :]
                return False
            if self._is_last or not (between.startswith(text) or end.startswith(text)):
                return False
            yield None

    def _call(self, parts: tuple[CallPart, ...]) -> _Steps:
        """Read one call."""
        call_id, name, is_first = "", "", True
        for place, part in enumerate(parts):
            if isinstance(part, str):
                yield from self._literal(part, is_first=is_first)
            elif part is NAME:
                name = yield from self._until(_literal_after(parts, place))
            elif part is ID:
                call_id = yield from self._until(_literal_after(parts, place))
            elif part is ARGUMENTS:
                call_id = call_id or make_call_id()
                self._unread = None
                yield ToolCallDelta(self.calls, call_id, name)
                yield from self._json()
            is_first = False
        self.calls += 1

    def _literal(self, text: str, *, is_first: bool) -> Generator[None, None, None]:
        """Read this text; of the first one of a call the space in front of it may differ."""
        while True:
            have = self._text
            if is_first and text:
                bare, have = text.lstrip(), have.lstrip()
                text = bare
            if have.startswith(text):
                self._text = have[len(text) :]
                return
            if self._is_last or not text.startswith(have):
                raise _NoCallError
            yield None

    def _until(self, end: str) -> Generator[None, None, str]:
        """Read up to a text, which stays."""
        while True:
            if (place := self._text.find(end)) >= 0:
                found, self._text = self._text[:place], self._text[place:]
                return found
            if self._is_last:
                raise _NoCallError
            yield None

    def _json(self) -> _Steps:
        """Read an object of JSON, given out as it comes."""
        scanner = _ObjectScanner()
        while True:
            size = scanner.feed(self._text)
            given, self._text = self._text[:size], self._text[size:]
            if given:
                yield ToolCallDelta(self.calls, arguments=given)
            if scanner.is_over:
                return
            if self._is_last:
                raise _NoCallError
            yield None


@dataclass(slots=True)
class _ObjectScanner:
    """Finds the end of an object of JSON in streamed text."""

    is_over: bool = False
    _depth: int = 0
    _is_string: bool = False
    _is_escaped: bool = False

    def feed(self, text: str) -> int:
        """Count the characters of `text` that belong to the object."""
        for place, char in enumerate(text):
            if self._is_string:
                self._in_string(char)
            elif char == '"':
                self._is_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    self.is_over = True
                    return place + 1
        return len(text)

    def _in_string(self, char: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif char == "\\":
            self._is_escaped = True
        elif char == '"':
            self._is_string = False


def _literal_after(parts: tuple[CallPart, ...], place: int) -> str:
    text = parts[place + 1]
    assert isinstance(text, str)  # noqa: S101 - text stands between two slots
    return text
