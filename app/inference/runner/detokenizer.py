"""Turns token bytes into text for users: whole characters only, and nothing past a stop."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.models.text.call_parser import CallParser
from app.models.text.thinking import Part, ThinkingParser
from app.models.text.tools import ToolCallDelta


class TextDecoder:
    """Decoder of UTF-8 in chunks. Invalid bytes and NUL become U+FFFD; however the bytes are cut,
    the concatenated text is the same.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        return self._decoder.decode(data).replace("\0", "\ufffd")


class StopFilter:
    """Filter that passes text on up to the first stop string, holding back what might begin one."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._pending = ""
        self.stopped = False
        self.stop = ""

    def feed(self, text: str) -> str:
        """Add text and return what is certain now; nothing once `stopped`."""
        if self.stopped:
            return ""
        self._pending += text
        # The stop that is complete first wins, so that the cut between tokens plays no part.
        ends = [
            (at + len(stop), at, stop)
            for stop in self._stops
            if (at := self._pending.find(stop)) >= 0
        ]
        if ends:
            _, start, self.stop = min(ends)
            self.stopped = True
            passed, self._pending = self._pending[:start], ""
            return passed
        keep = self._partial_stop()
        passed, self._pending = (
            self._pending[: len(self._pending) - keep],
            self._pending[-keep:] * bool(keep),
        )
        return passed

    def flush(self) -> str:
        """Return the text held back that turned out not to be a stop."""
        passed, self._pending = self._pending, ""
        return passed

    def _partial_stop(self) -> int:
        """Count the characters at the end that may begin a stop."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for size in range(min(longest, len(self._pending)), 0, -1):
            tail = self._pending[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Chunk of new text: of the thought, of the answer, or of both; and of calls behind it."""

    thought: str = ""
    answer: str = ""
    calls: tuple[ToolCallDelta, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.thought or self.answer or self.calls)

    def __add__(self, other: TextChunk) -> TextChunk:
        return TextChunk(
            self.thought + other.thought, self.answer + other.answer, self.calls + other.calls
        )


class Detokenizer:
    """Turns token bytes into certain text. `text` is the answer passed on so far.

    thinking: tells the thought from the answer; None for models that only answer. calls: tells
    calls of tools from all else; None where none are offered. on_marker: asked where a call may
    begin, with its marker and the text that has come behind it. Stops count in the answer only.
    """

    def __init__(
        self,
        stops: Iterable[str],
        thinking: ThinkingParser | None = None,
        calls: CallParser | None = None,
        on_marker: Callable[[str, str], bool] = lambda _marker, _rest: True,
    ) -> None:
        self._decoder = TextDecoder()
        self._filter = StopFilter(stops)
        self._thinking = thinking
        self._calls = calls
        self._on_marker = on_marker
        self._parts: list[str] = []
        self._line = ""
        if calls is not None:
            calls.gate = self._may_call

    @property
    def stopped(self) -> bool:
        return self._filter.stopped

    @property
    def stop(self) -> str:
        """The stop string that ended the answer; empty for none."""
        return self._filter.stop

    @property
    def is_thinking(self) -> bool:
        return self._thinking is not None and self._thinking.is_thinking

    @property
    def has_thought(self) -> bool:
        return self._thinking is not None and self._thinking.has_thought

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def is_over(self) -> bool:
        """Tell whether a stop has come, or a call that was made already."""
        return self.stopped or (self._calls is not None and self._calls.is_repeating)

    @property
    def calls(self) -> int:
        """Number of calls that are complete."""
        return 0 if self._calls is None else self._calls.calls

    def feed(self, data: bytes) -> TextChunk:
        text = self._decoder.feed(data)
        return self._said(text) if self._calls is None else self._split(self._calls.feed(text))

    def flush(self) -> TextChunk:
        """End the answer: return the text held back, but nothing of a character that was cut."""
        rest = TextChunk() if self._calls is None else self._split(self._calls.flush())
        if self._thinking is not None:
            rest += self._divided(self._thinking.flush())
        return rest + TextChunk(answer=self._release(self._filter.flush()))

    def _split(self, parts: Iterable[str | ToolCallDelta]) -> TextChunk:
        chunk = TextChunk()
        for part in parts:
            if isinstance(part, ToolCallDelta):
                chunk += TextChunk(calls=(part,))
            else:
                self._line = (self._line + part).rpartition("\n")[2]
                chunk += self._said(part)
        return chunk

    def _may_call(self, marker: str, rest: str) -> bool:
        """Tell whether a marker begins a call. Models think about markers, too, within a line; a
        call on a line of its own ends the thought."""
        assert self._calls is not None  # noqa: S101 - it is its parser that asks
        known, thinking = self._calls.format, self._thinking
        if self.stopped or (known.at_start and "".join(self._parts).strip()):
            return False
        if known.in_header:
            is_place = thinking is None or thinking.is_in_header
        else:
            is_place = not self.is_thinking or not self._line.strip()
        if not is_place or not self._on_marker(marker, rest):
            return False
        if thinking is not None and not known.in_header:
            thinking.end_thought()
        return True

    def _said(self, text: str) -> TextChunk:
        if self._thinking is None:
            return TextChunk(answer=self._release(self._filter.feed(text)))
        return self._divided(self._thinking.feed(text))

    def _divided(self, parts: Iterable[tuple[Part, str]]) -> TextChunk:
        piece = TextChunk()
        for part, text in parts:
            if part == "thought":
                piece += TextChunk(thought=text)
            else:
                piece += TextChunk(answer=self._release(self._filter.feed(text)))
        return piece

    def _release(self, text: str) -> str:
        if text:
            self._parts.append(text)
        return text
