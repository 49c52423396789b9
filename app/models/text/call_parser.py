"""Parser of what a model writes: text, and the calls of tools in it, as they come."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from app.models.text.argument_values import (
    ObjectScanner,
    find_end,
    open_cdata,
    parse_schema,
    properties_of,
    read_gemma_fields,
    read_python_fields,
    read_value,
)
from app.models.text.tool_formats import (
    ARGUMENTS,
    HEADER,
    ID,
    ID_CHARS,
    KEY,
    KIND,
    NAME,
    VALUE,
    CallPart,
    Slot,
    ToolFormat,
    dump,
    is_short_id,
)
from app.models.text.tools import ToolCall, ToolCallDelta, ToolSpec, is_whole

Part = str | ToolCallDelta
_LETTERS = string.ascii_letters + string.digits
_Steps = Generator[Part | None, None, None]
"""Parts as they come; None where more text is needed."""
_Read = str | tuple[str, str] | None
"""More of the arguments, or the name and the id of a call; None where more text is needed."""


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


CUT_ARGUMENTS: Final = "{"
"""Arguments of a call that is cut before its first one: no object, so that nobody takes it for a
call without arguments."""


class _NoCallError(Exception):
    """Text that turned out to be no call, or the rest of one that is cut."""


@dataclass(slots=True)
class CallParser:
    """Splits streamed text into text and calls. Whatever the pieces are, the parts joined are the
    same.

    tools: those that are offered, whose schemas tell texts from numbers. gate: asked at a marker,
    with the marker and the text that has come behind it, whether a call begins there; all text
    before it has been given out by then.
    """

    format: ToolFormat
    tools: Sequence[ToolSpec] = ()
    gate: Callable[[str, str], bool] = lambda _marker, _rest: True
    calls: int = 0
    """Calls that are complete."""
    begun: int = 0
    """Calls that were given out, the one included that is cut."""
    is_repeating: bool = False
    """True when a call came again as it was, which is given out once."""
    is_calling: bool = False
    """True inside a call, or behind one that another may follow."""
    _text: str = ""
    _unread: str | None = None
    """All text since a marker, as long as it may turn out to be no call."""
    _is_last: bool = False
    _skips_space: bool = False
    _known: set[tuple[str, str]] = field(default_factory=set)
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
                yield from self._give_up(space, marker)
            self.is_calling, self._unread = False, None

    def _give_up(self, space: str, marker: str) -> Iterator[str]:
        """Give out as text what turned out to be no call; the rest of one that is cut is none."""
        if self._unread is not None:
            self._text = self._unread
            yield marker if self._skips_space else space + marker
            self._skips_space = False
        elif self._is_last:
            self._text = ""

    # Text, up to a marker that begins a call.

    def _text_before_marker(self) -> Generator[Part | None, None, tuple[str, str]]:
        """Give out text; returns the space behind it and the marker that ends it, which is empty
        at the end of all text."""
        while True:
            place, marker = self._next_marker()
            if marker:
                before, self._text = self._text[:place], self._text[place + len(marker) :]
                before = before.lstrip() if self._skips_space else before
                if said := before.rstrip():
                    self._skips_space = False
                    yield said
                if self.gate(marker, self._text):
                    return before[len(said) :], marker
                self._skips_space = False
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
        yield from self._call(self.format.after(marker))
        while (yield from self._goes_on()):
            self._unread, self._text = self._text, self._text[len(self.format.between) :]
            try:
                yield from self._call(self.format.call)
            except _NoCallError:
                if self._unread is None:
                    raise
                # Of text that is no call all is text but the end of the calls before it.
                self._text = self._unread.removeprefix(self.format.end)
                return

    def _goes_on(self) -> Generator[None, None, bool]:
        """Read what stands behind the last call; True where another one follows, with what stands
        between the two."""
        between, end, head = self.format.between, self.format.end, self.format.call[0]
        assert isinstance(head, str)  # noqa: S101 - every call begins with text
        more = between + head
        while True:
            text = self._text
            if more and text.startswith(more):
                return True
            may_grow = more.startswith(text) or (end.startswith(text) and text != end)
            if not may_grow:
                self._text = text.removeprefix(end)
                return False
            if self._is_last:  # a mark that is cut is no text
                self._text = ""
                return False
            yield None

    def _call(self, parts: tuple[CallPart, ...]) -> _Steps:
        """Read one call. One of a tool that was called already is held back until its end, since
        models may say the same call again."""
        begun: tuple[str, str] | None = None
        is_held, fragments = False, list[str]()
        try:
            for part in self._read(parts):
                if part is None:
                    yield None
                elif isinstance(part, tuple):
                    begun, self._unread = part, None
                    is_held = any(part[0] == other for other, _ in self._known)
                    if not is_held:
                        yield ToolCallDelta(self.begun, part[1], part[0])
                else:
                    fragments.append(part)
                    if not is_held:
                        yield ToolCallDelta(self.begun, arguments=part)
        except _NoCallError:
            if begun is None:
                raise
            if not is_whole(ToolCall("", "", "".join(fragments))):
                yield from self._cut(begun, "".join(fragments), is_held=is_held)
                raise
            if self._is_last:  # all of it is there but the mark that ends it
                self._text = ""
        assert begun is not None  # noqa: S101 - every call has arguments, behind its name
        call = (begun[0], "".join(fragments))
        if call in self._known:
            self.is_repeating = True
            return
        if is_held:
            yield ToolCallDelta(self.begun, begun[1], *call)
        self._known.add(call)
        self.begun += 1
        self.calls += 1

    def _cut(
        self, begun: tuple[str, str], arguments: str, *, is_held: bool
    ) -> Iterator[ToolCallDelta]:
        """Give out what is there of a call that is cut, unless it was about to come again."""
        name, call_id = begun
        if not is_held:
            if not arguments:
                yield ToolCallDelta(self.begun, arguments=CUT_ARGUMENTS)
        elif not any(name == one and known.startswith(arguments) for one, known in self._known):
            yield ToolCallDelta(self.begun, call_id, name, arguments or CUT_ARGUMENTS)
        else:
            return
        self.begun += 1

    def _read(self, parts: tuple[CallPart, ...]) -> Generator[_Read, None, None]:
        """Read the parts of a call: gives out its name with its id, then its arguments."""
        call_id, name = "", ""
        for place, part in enumerate(parts):
            if isinstance(part, str):
                yield from self._literal(part, is_first=place == 0)
            elif part is ARGUMENTS:
                begun = name, self._id(name, call_id)
                yield from self._arguments(begun, self._ends(parts, place))
            elif part is NAME:
                name = (yield from self._until(self._ends(parts, place))).strip()
            elif part is ID:
                call_id = yield from self._until(self._ends(parts, place))
            else:
                yield from self._until(self._ends(parts, place))

    def _id(self, name: str, written: str) -> str:
        if self.format.long_id:
            return self.format.long_id.format(name=name, id=written)
        return written if is_short_id(written) else make_call_id()

    def _ends(self, parts: tuple[CallPart, ...], place: int) -> tuple[str, ...]:
        """List the texts that may follow a slot."""
        following = parts[place + 1 : place + 3]
        if not following:
            return ()
        if following[0] is HEADER:
            return (" ", "<")
        first = self.format.parameter[0] if following[0] is ARGUMENTS else following[0]
        rest = following[1] if following[0] is ARGUMENTS else ""
        return tuple(text for text in (first, rest) if isinstance(text, str) and text)

    def _arguments(
        self, begun: tuple[str, str], ends: tuple[str, ...]
    ) -> Generator[_Read, None, None]:
        match self.format.arguments:
            case "json":
                yield begun
                yield from self._json()
            case "tags":
                yield begun
                yield from self._tags(begun[0], ends[0])
            case "gemma":
                quote = self.format.quote
                read = partial(read_gemma_fields, quote=quote)
                yield from self._bracketed(begun, (quote,), "{[", "}]", read)
            case "python":
                quotes = ('"', "'")
                yield from self._bracketed(begun, quotes, "([{", ")]}", read_python_fields)

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

    def _until(self, ends: tuple[str, ...]) -> Generator[None, None, str]:
        """Read up to the first of these texts, which stays."""
        while True:
            places = [place for end in ends if (place := self._text.find(end)) >= 0]
            if places:
                found, self._text = self._text[: min(places)], self._text[min(places) :]
                return found
            if self._is_last:
                raise _NoCallError
            yield None

    def _json(self) -> Generator[str | None, None, None]:
        """Read an object of JSON, given out as it comes."""
        scanner = ObjectScanner()
        while True:
            size = scanner.feed(self._text)
            given, self._text = self._text[:size], self._text[size:]
            if given:
                yield given
            if scanner.is_over:
                return
            if self._is_last:
                raise _NoCallError
            yield None

    def _bracketed(
        self,
        begun: tuple[str, str],
        quotes: tuple[str, ...],
        opening: str,
        closing: str,
        read: Callable[[str], dict[str, Any]],
    ) -> Generator[_Read, None, None]:
        """Read arguments up to the bracket that ends them, which stays."""
        seen = 0
        while True:
            if closing[-1] in self._text[seen:] or closing[0] in self._text[seen:]:
                end = find_end(self._text, 0, quotes, opening, closing)
                if end >= 0:
                    inner, self._text = self._text[:end], self._text[end:]
                    try:
                        arguments = dump(read(inner))
                    except ValueError:
                        raise _NoCallError from None
                    yield begun
                    yield arguments
                    return
            seen = len(self._text)
            if self._is_last:
                yield begun
                raise _NoCallError
            yield None

    def _tags(self, name: str, end: str) -> Generator[str | None, None, None]:
        """Read parameters between tags, each of which is given out when it is whole."""
        tool = next((tool for tool in self.tools if tool.name == name), None)
        root = parse_schema("" if tool is None else tool.parameters)
        schemas, between = properties_of(root, root), ""
        yield "{"
        while (yield from self._has_parameter(end)):
            key, kind, text = yield from self._parameter()
            if self.format.has_cdata:
                text = open_cdata(text)
            value = text if kind == "true" else read_value(text, schemas.get(key, {}), root)
            yield f"{between}{dump(key)}: {dump(value)}"
            between = ", "
        yield "}"

    def _has_parameter(self, end: str) -> Generator[None, None, bool]:
        begin = self.format.parameter[0]
        assert isinstance(begin, str)  # noqa: S101 - every parameter begins with text
        while True:
            self._text = self._text.lstrip()
            if self._text.startswith((begin, end)):
                return self._text.startswith(begin)
            is_begun = begin.startswith(self._text) or end.startswith(self._text)
            if self._is_last or not is_begun:
                raise _NoCallError
            yield None

    def _parameter(self) -> Generator[None, None, tuple[str, str, str]]:
        """Read one parameter: its key, its kind where it has one, and its value."""
        read: dict[Slot, str] = {KEY: "", KIND: "", VALUE: ""}
        parts = self.format.parameter
        for place, part in enumerate(parts):
            if isinstance(part, str):
                yield from self._literal(part, is_first=False)
            else:
                following = parts[place + 1]
                assert isinstance(following, str)  # noqa: S101 - text stands between two slots
                read[part] = yield from self._until((following,))
        return read[KEY], read[KIND], read[VALUE]
