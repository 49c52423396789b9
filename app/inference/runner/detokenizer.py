"""Turns token bytes into text for users: whole characters only, and nothing past a stop."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass

from app.models.text.thinking import Part, ThinkingParser


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
    """Chunk of new text: of the thought, of the answer, or of both."""

    thought: str = ""
    answer: str = ""

    def __bool__(self) -> bool:
        return bool(self.thought or self.answer)

    def __add__(self, other: TextChunk) -> TextChunk:
        return TextChunk(self.thought + other.thought, self.answer + other.answer)


class Detokenizer:
    """Turns token bytes into certain text. `text` is the answer passed on so far.

    thinking: tells the thought from the answer; None for models that only answer. Stops count in
    the answer only.
    """

    def __init__(self, stops: Iterable[str], thinking: ThinkingParser | None = None) -> None:
        self._decoder = TextDecoder()
        self._filter = StopFilter(stops)
        self._thinking = thinking
        self._parts: list[str] = []

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

    def feed(self, data: bytes) -> TextChunk:
        text = self._decoder.feed(data)
        if self._thinking is None:
            return TextChunk(answer=self._release(self._filter.feed(text)))
        return self._divided(self._thinking.feed(text))

    def flush(self) -> TextChunk:
        """End the answer: return the text held back, but nothing of a character that was cut."""
        rest = TextChunk() if self._thinking is None else self._divided(self._thinking.flush())
        return rest + TextChunk(answer=self._release(self._filter.flush()))

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
