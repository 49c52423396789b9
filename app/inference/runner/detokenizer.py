"""From token bytes to the text a person sees: whole characters only, and nothing past a stop."""

from __future__ import annotations

import codecs
from collections.abc import Iterable


class TextDecoder:
    """UTF-8 in pieces. What is not UTF-8, and NUL, becomes U+FFFD; however the bytes are cut,
    the concatenated text is the same."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        return self._decoder.decode(data).replace("\0", "\ufffd")


class StopFilter:
    """Passes text on up to the first stop string, holding back what might begin one."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._pending = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """The text that is certain now. Once `stopped`, always empty."""
        if self.stopped:
            return ""
        self._pending += text
        # The stop that is complete first wins, so that the cut between tokens plays no part.
        ends = [
            (at + len(stop), at) for stop in self._stops if (at := self._pending.find(stop)) >= 0
        ]
        if ends:
            self.stopped = True
            passed, self._pending = self._pending[: min(ends)[1]], ""
            return passed
        keep = self._partial_stop()
        passed, self._pending = (
            self._pending[: len(self._pending) - keep],
            self._pending[-keep:] * bool(keep),
        )
        return passed

    def flush(self) -> str:
        """What was held back and turned out not to be a stop."""
        passed, self._pending = self._pending, ""
        return passed

    def _partial_stop(self) -> int:
        """How many characters at the end may be the beginning of a stop."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for size in range(min(longest, len(self._pending)), 0, -1):
            tail = self._pending[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0


class Detokenizer:
    """Token bytes in, certain text out. `text` is all that was passed on so far."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._decoder = TextDecoder()
        self._filter = StopFilter(stops)
        self._parts: list[str] = []

    @property
    def stopped(self) -> bool:
        return self._filter.stopped

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def feed(self, data: bytes) -> str:
        return self._release(self._filter.feed(self._decoder.feed(data)))

    def flush(self) -> str:
        """The end of the answer: held-back text comes out. Of a character that was cut nothing
        does."""
        return self._release(self._filter.flush())

    def _release(self, text: str) -> str:
        if text:
            self._parts.append(text)
        return text
