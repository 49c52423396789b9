"""Streams of other servers: server-sent events from bytes, and chunks of an answer from those."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from app.inference.protocol import SampledToken, TokenLogprob, to_storable
from app.models.text.call_parser import make_call_id
from app.models.text.tools import ToolCallDelta

# Server-sent events from bytes that nobody vouches for: lines and the whole are bounded.


MAX_EVENT_BYTES: Final = 1 << 20
MAX_STREAM_BYTES: Final = 256 << 20


class ProtocolViolation(Exception):
    """Error of data that makes no sense. Its text goes on after “What the server sends …”."""


class SseParser:
    """Give `feed` the bytes as they come. An event that is cut off at the end is none.

    llama-server used to tell an error in a field of that name: it counts as data, too.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._total = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """The data of each event that is whole now. Raises ProtocolViolation."""
        self._total += len(piece)
        if self._total > MAX_STREAM_BYTES:
            raise ProtocolViolation("does not end")
        *whole, rest = piece.split(b"\n")
        for end in whole:
            self._rest += end
            line = bytes(self._rest).removesuffix(b"\r")
            self._rest.clear()
            if line:
                self._take(line)
            elif self._data:
                yield self._event()
        self._rest += rest
        if len(self._rest) + self._size > MAX_EVENT_BYTES:
            raise ProtocolViolation("has events without end")

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name in {b"data", b"error"}:
            self._data.append(value.removeprefix(b" "))
            self._size += len(value) + 1

    def _event(self) -> str:
        data, self._data, self._size = b"\n".join(self._data), [], 0
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise ProtocolViolation("is not text") from error


# What a chunk of an answer means, in OpenAI's protocol.


DONE: Final = "[DONE]"
MAX_COUNT: Final = 1 << 40
MAX_CALLS: Final = 128
MAX_CALL_NAME_CHARS: Final = 256


@dataclass(frozen=True, slots=True)
class ChunkUsage:
    prompt: int
    completion: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class CallFragment:
    """Fragment of a tool call, as the server sends it: not all tell its index or its id."""

    index: int | None
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Content of one event. thought: what the model reasons before it answers; finish: the
    server's word for how the answer ended; prompt_progress: prompt tokens done and in all; tokens:
    how likely those of the text were, where that was asked for; calls: more of tool calls."""

    text: str = ""
    thought: str = ""
    finish: str = ""
    usage: ChunkUsage | None = None
    prompt_progress: tuple[int, int] | None = None
    tokens: tuple[SampledToken, ...] = ()
    calls: tuple[CallFragment, ...] = ()


class ErrorChunk(Exception):
    """The server tells of an error in the middle of its stream, as `value`."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    @property
    def body(self) -> bytes:
        return json.dumps({"error": self.value}).encode()


def parse_chunk(data: str) -> Chunk:
    """Parse the data of one event. Raises ProtocolViolation or ErrorChunk."""
    try:
        chunk = json.loads(data)
        if not isinstance(chunk, dict):
            raise ProtocolViolation("is not OpenAI's protocol")
        if (error := chunk.get("error")) is not None:
            raise ErrorChunk(error)
        if "choices" not in chunk and "message" in chunk and "code" in chunk:
            raise ErrorChunk(chunk)
        return _parse_choice(chunk)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ProtocolViolation("is not OpenAI's protocol") from error


def _parse_choice(chunk: dict[str, Any]) -> Chunk:
    usage = _usage(chunk.get("usage"))
    reading = _reading(chunk.get("prompt_progress"))
    choices = chunk.get("choices") or ()
    if not choices:
        return Chunk(usage=usage, prompt_progress=reading)
    choice = choices[0]
    delta = choice.get("delta") or {}
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    return Chunk(
        text=_storable(delta.get("content") or choice.get("text") or ""),
        thought=_storable(thought or ""),
        finish=str(choice.get("finish_reason") or ""),
        usage=usage,
        prompt_progress=reading,
        tokens=_tokens(choice.get("logprobs")),
        calls=_calls(delta),
    )


def _calls(delta: dict[str, Any]) -> tuple[CallFragment, ...]:
    """Parse fragments of tool calls, also of the one call that older servers know."""
    given = delta.get("tool_calls") or ()
    if not given and delta.get("function_call"):
        given = [{"function": delta["function_call"]}]
    return tuple(_call(call) for call in given)


def _call(call: dict[str, Any]) -> CallFragment:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    index, call_id, name = call.get("index"), call.get("id"), function.get("name")
    if index is not None and not 0 <= _count(index) < MAX_CALLS:
        raise ProtocolViolation("calls too many tools")
    named = _storable(str(call_id or "")), _storable(name or "")
    if max(map(len, named)) > MAX_CALL_NAME_CHARS:
        raise ProtocolViolation("has names without end")
    return CallFragment(index, *named, _storable(arguments or ""))


class CallJoiner:
    """Makes the deltas of calls from what servers send: with or without index and id, in pieces or
    whole, with names that come again."""

    def __init__(self) -> None:
        self.calls: list[ToolCallDelta] = []
        """Calls that have begun, without their arguments."""
        self._places: dict[int, int] = {}
        self._held: dict[int, str] = {}
        self._filled = set[int]()

    def add(self, fragments: Iterable[CallFragment]) -> tuple[ToolCallDelta, ...]:
        """Raises ProtocolViolation."""
        made = tuple(delta for one in fragments if (delta := self._add(one)) is not None)
        self._filled |= {delta.index for delta in made if delta.arguments}
        return made

    def flush(self) -> tuple[ToolCallDelta, ...]:
        """End the calls: those without arguments get an empty object."""
        empty = [call.index for call in self.calls if call.index not in self._filled]
        self._filled |= set(empty)
        return tuple(ToolCallDelta(index, arguments="{}") for index in empty)

    def _add(self, one: CallFragment) -> ToolCallDelta | None:
        place = self._place(one)
        if place is None:
            if not one.name:  # its name is still to come
                index = -1 if one.index is None else one.index
                self._held[index] = self._held.get(index, "") + one.arguments
                return None
            return self._begin(one)
        return ToolCallDelta(place, arguments=one.arguments) if one.arguments else None

    def _place(self, one: CallFragment) -> int | None:
        """Number of the call that this is more of; None where it begins one."""
        place = self._places.get(one.index) if one.index is not None else None
        if one.index is None and self.calls and not one.name:
            place = len(self.calls) - 1
        is_other = place is not None and one.name and one.id not in {"", self.calls[place].id}
        return None if is_other else place

    def _begin(self, one: CallFragment) -> ToolCallDelta:
        if len(self.calls) >= MAX_CALLS:
            raise ProtocolViolation("calls too many tools")
        place = len(self.calls)
        if one.index is not None:
            self._places[one.index] = place
        held = self._held.pop(-1 if one.index is None else one.index, "")
        begun = ToolCallDelta(place, one.id or make_call_id(), one.name)
        self.calls.append(begun)
        return replace(begun, arguments=held + one.arguments)


def _usage(values: Any) -> ChunkUsage | None:
    if not values:
        return None
    details = values.get("prompt_tokens_details") or {}
    prompt = _count(values.get("prompt_tokens"))
    cached = min(prompt, _count(details.get("cached_tokens")))
    return ChunkUsage(prompt, _count(values.get("completion_tokens")), cached)


def _reading(values: Any) -> tuple[int, int] | None:
    if not values:
        return None
    total = _count(values.get("total"))
    return min(total, _count(values.get("processed"))), total


def _tokens(values: Any) -> tuple[SampledToken, ...]:
    """Parse token probabilities, as chats have them or as plain completions do."""
    if not isinstance(values, dict):
        return ()
    if values.get("tokens"):
        return _tokens_of_text(values)
    return tuple(
        SampledToken(
            _bytes(token),
            _logprob(token["logprob"]),
            tuple(
                TokenLogprob(_bytes(o), _logprob(o["logprob"]))
                for o in token.get("top_logprobs") or ()
            ),
        )
        for token in values.get("content") or ()
    )


def _tokens_of_text(values: dict[str, Any]) -> tuple[SampledToken, ...]:
    texts = values["tokens"]
    others = values.get("top_logprobs") or [None] * len(texts)
    return tuple(
        SampledToken(
            _encoded(text),
            _logprob(logprob),
            tuple(
                TokenLogprob(_encoded(o), _logprob(value)) for o, value in (likely or {}).items()
            ),
        )
        for text, logprob, likely in zip(texts, values["token_logprobs"], others, strict=True)
    )


def _bytes(token: dict[str, Any]) -> tuple[int, ...]:
    given = token.get("bytes")
    if isinstance(given, list) and given:  # of a number bytes() would make so many
        return tuple(bytes(given))
    return _encoded(token["token"])


def _encoded(text: Any) -> tuple[int, ...]:
    return tuple(_storable(text).encode())


def _logprob(given: Any) -> float:
    value = float(given)
    return value if math.isfinite(value) else -9999.0


def _count(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or not 0 <= value < MAX_COUNT:
        raise ProtocolViolation("counts wrongly")
    return value


def _storable(text: Any) -> str:
    """Text that can be kept: JSON can name halves of characters, and NUL."""
    if not isinstance(text, str):
        raise ProtocolViolation("is not OpenAI's protocol")
    return to_storable(text)
