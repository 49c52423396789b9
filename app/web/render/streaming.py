"""Markdown while it grows: finished blocks rendered once for all tabs, the open one anew."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from app.conversations.answer_state import LiveAnswer
from app.conversations.hub import Hub
from app.web.render.code_blocks import code_foot, code_head
from app.web.render.markdown import (
    count_blocks,
    parse_blocks,
    plain_text,
    render_markdown,
)

# An answer as blocks while it grows: what is finished, rendered once, and the one that is open.
#
# Whether a block has ended is decided on complete lines only. Once another has begun after it, no
# later text can change it, with one exception: a link or a note may be defined further below. The
# open block is rendered again as it grows, but a large one not every time: until its turn comes the
# new text follows it as it was written. Code in a fence only grows; it gets its colours when it
# closes.


# A small open block is rendered at every look. A larger one when the looks since have earned what
# it will take, by the measure of the last time: seconds for a look, and for a new character, so
# that a text which comes all at once is rendered at once.
ALWAYS, EARNED_A_LOOK, EARNED_A_CHARACTER = 300, 0.0005, 0.00002

_FENCE = re.compile(
    r"(?:[ \t]*\n)*(?P<mark>`{3,}(?=[^`\n]*\n)|~{3,}) *(?P<language>[\w+#.-]*)[^\n]*\n"
)
_MAYBE_CLOSING = re.compile(r" {0,3}[`~]*[ \t]*\Z")
_LAST_TAGS = re.compile(
    r"(?:</(?:p|li|ul|ol|blockquote|td|tr|tbody|table|h[1-6]|div|details|span)>\s*)+\Z"
)


class RenderCursor(NamedTuple):
    """A place in an answer, up to which a tab has it: finished blocks, which rendering of the open
    one, and how many characters of text after that."""

    finished: int = 0
    revision: int = 0
    tail: int = 0


@dataclass(frozen=True, slots=True)
class OpenBlock:
    """The open block: `tail` is text that follows `head`, inside of the elements `foot` closes."""

    head: Markup
    tail: str
    foot: Markup


class BlockUpdate(NamedTuple):
    """An update of a tab: add `finished` before the open block, then replace that with
    `opened` or, where it is None, add `tail` to its text."""

    finished: Markup
    opened: OpenBlock | None
    tail: str


class StreamedMarkdown:
    """One answer, for everybody who reads it. Give `feed` the whole text whenever it has grown."""

    def __init__(self, message_id: int | None = None) -> None:
        self._message_id = message_id
        self._taken = 0
        self._text = ""  # as the parser sees it: line feeds only
        self._start = 0  # of what is not finished
        self._looked = 0  # up to here complete lines were searched for the end of a block
        self._credit = 0.0
        self._seconds_a_character = 0.000002
        self._fence: _Fence | None = None
        self._references: dict[str, Any] = {}
        self._notes: dict[str, int] = {}
        self._finished: list[Markup] = []
        self._revision = 0
        self._head, self._foot = Markup(""), Markup("")
        self._tail = slice(0, 0)

    @property
    def cursor(self) -> RenderCursor:
        return RenderCursor(len(self._finished), self._revision, self._tail.stop - self._tail.start)

    @property
    def finished(self) -> Markup:
        return Markup("").join(self._finished)

    @property
    def open(self) -> OpenBlock:
        return OpenBlock(self._head, self._text[self._tail], self._foot)

    def update_since(self, cursor: RenderCursor) -> BlockUpdate:
        """Return what somebody at `cursor` does not have yet."""
        finished = Markup("").join(self._finished[cursor.finished :])
        if cursor.revision != self._revision:
            return BlockUpdate(finished, self.open, "")
        start = self._tail.start + cursor.tail
        return BlockUpdate(finished, None, self._text[start : self._tail.stop])

    def feed(self, text: str) -> None:
        """Take in `text`, the whole answer so far."""
        grown = self._consume(text, is_whole=False)
        if not grown:
            return
        if self._fence is not None and not self._close(self._fence):
            return
        self._credit += EARNED_A_LOOK + EARNED_A_CHARACTER * grown
        size = len(self._text) - self._start
        if size > ALWAYS and size * self._seconds_a_character > self._credit:
            self._tail = slice(self._tail.start, len(self._text))
            return
        self._credit, began = 0.0, time.thread_time()
        try:
            self._reparse()
        except (RecursionError, ValueError, IndexError):
            self._show(plain_text(""), self._start)
        self._seconds_a_character = (time.thread_time() - began) / max(size, ALWAYS)

    def finish(self, text: str) -> bool:
        """The answer has ended. Whether its blocks are what the whole text renders to."""
        self._consume(text, is_whole=True)
        self._fence = None
        try:
            self._finish_until(len(self._text))
        except (RecursionError, ValueError, IndexError):
            return False
        self._show(Markup(""), len(self._text))
        return self.finished == render_markdown(text, self._message_id)

    def _consume(self, text: str, *, is_whole: bool) -> int:
        end = len(text)
        if not is_whole and text.endswith("\r"):
            end -= 1  # perhaps the first half of a line's end
        new = text[self._taken : end]
        self._taken += len(new)
        self._text += re.sub(r"\r\n?", "\n", new).replace("\0", "\ufffd")
        return len(new)

    def _reparse(self) -> None:
        lines = self._text.rfind("\n") + 1
        if lines > max(self._looked, self._start):
            self._looked = lines
            if count_blocks(self._text[self._start : lines]) > 1:
                self._finish_until(lines, but=1)
        fence = self._opened_fence()
        if fence is not None and not self._close(fence):
            return
        blocks = parse_blocks(self._text[self._start :], self._env(), self._message_id)
        self._show(Markup("").join(block.html for block in blocks), len(self._text))

    def _finish_until(self, end: int, *, but: int = 0) -> None:
        """Finish all blocks before `end`, except for the last `but`."""
        text = self._text[self._start : end]
        env = self._env()
        blocks = parse_blocks(text, env, self._message_id)
        blocks = blocks[: len(blocks) - but]
        if not blocks:
            return
        last = blocks[-1].end if but else text.count("\n") + 1
        for label, reference in env["references"].items():
            if label not in self._references and reference["map"][1] <= last:
                self._references[label] = reference
        for label, end_line in env.get("notes", {}).items():
            if label not in self._notes and end_line <= last:
                self._notes[label] = end_line
        self._finished += [block.html for block in blocks]
        self._start = _offset(self._text, self._start, last) if but else end
        self._show(Markup(""), self._start)

    def _env(self) -> dict[str, Any]:
        """Return what is known of what stands above."""
        return {"references": dict(self._references), "notes": dict(self._notes)}

    # Code in a fence.

    def _opened_fence(self) -> _Fence | None:
        found = _FENCE.match(self._text, self._start)
        if found is None:
            return None
        self._fence = _Fence(found["mark"], found.end())
        self._show(code_head(found["language"][:30], is_open=True), found.end(), code_foot())
        return self._fence

    def _close(self, fence: _Fence) -> bool:
        """Return whether the fence is closed by now; then its code is final."""
        end = fence.find_end(self._text)
        if end is None:
            self._show_code(fence)
            return False
        self._fence = None
        self._finish_until(end)
        return True

    def _show_code(self, fence: _Fence) -> None:
        """Show code, but for a last line that may yet turn out to be the closing one."""
        last = self._text.rfind("\n") + 1
        is_held = _MAYBE_CLOSING.match(self._text, max(last, fence.start))
        end = max(last, fence.start) if is_held else len(self._text)
        self._tail = slice(self._tail.start, max(end, self._tail.stop))

    def _show(self, head: Markup, shown: int, foot: Markup | None = None) -> None:
        """The open block anew; text from the offset `shown` on follows it as it is."""
        self._revision += 1
        if foot is None:  # what follows belongs inside the last line, wherever that is
            found = _LAST_TAGS.search(head)
            foot = head[found.start() :] if found else Markup("")
            head = head[: found.start()] if found else head
        self._head, self._foot = head, foot
        self._tail = slice(shown, shown if foot == code_foot() else len(self._text))


@dataclass(slots=True)
class _Fence:
    """A fence that was opened with `mark`; its code begins at the offset `start`."""

    mark: str
    start: int
    looked: int = 0

    def find_end(self, text: str) -> int | None:
        """The offset behind its closing line, once there is one. Complete lines only."""
        closing = re.compile(rf"^ {{0,3}}{self.mark[0]}{{{len(self.mark)},}}[ \t]*\n", re.MULTILINE)
        found = closing.search(text, max(self.start, self.looked))
        if found:
            return found.end()
        self.looked = text.rfind("\n") + 1
        return None


def _offset(text: str, start: int, lines: int) -> int:
    for _ in range(lines):
        start = text.find("\n", start) + 1
    return start


# The answers that run, as blocks: each is parsed once, however many tabs look at it.


class StreamRenderers:
    """Blocks by message id, for as long as the hub knows their streams."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._blocks: dict[int, tuple[LiveAnswer, int, StreamedMarkdown]] = {}

    def blocks(self, stream: LiveAnswer) -> StreamedMarkdown:
        """Fed with all the text that there is after its last call of a tool. An answer that goes
        on begins anew."""
        place = stream.text_place
        known, begin, blocks = self._blocks.get(
            stream.message_id, (None, 0, StreamedMarkdown(stream.message_id))
        )
        if known is not stream or begin != place:
            ended = [number for number in self._blocks if self._hub.stream(number) is None]
            for number in ended:
                del self._blocks[number]
            blocks = StreamedMarkdown(stream.message_id)
            self._blocks[stream.message_id] = (stream, place, blocks)
        blocks.feed(stream.text[place:])
        return blocks
