"""Answers as Anthropic's clients read them: whole, or as events of blocks while they are made."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from app.api import http
from app.api.anthropic.schemas import MessageUsage, OutputDetails, StopReason
from app.api.thought_signatures import sign
from app.errors import ApiError, PromptTooLong
from app.inference.completions import Completions
from app.inference.protocol import Delta, Failed, Finished, Prefill
from app.inference.queue import Interrupted
from app.models.text.tools import ToolCallDelta
from app.web import errors

PARAM: Final = "messages"
BlockKind = Literal["thinking", "text", "tool_use"]


def error_of(event: Failed | Interrupted) -> ApiError:
    """Return what an answer ended with; of a prompt that is too long in the words by which agents
    know that they have to shorten it."""
    made = errors.of_event(event, PARAM)
    if not isinstance(event, Failed) or event.status != PromptTooLong.status:
        return made
    sentence = f"prompt is too long: {made}"
    if event.prompt_tokens and event.context_length:
        sentence = (
            f"prompt is too long: {event.prompt_tokens} tokens > {event.context_length} maximum"
        )
    return ApiError(sentence, status=made.status, param=PARAM, code=made.code)


async def wait_first_event(completions: Completions) -> None:
    """Wait a while for the first text, so that what fails before has a status of its own.

    Raises ApiError.
    """
    first = await completions.first_event(http.KEEP_ALIVE_SECONDS)
    if isinstance(first, Failed | Interrupted):
        raise error_of(first)


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event, named by its type."""
    return f"event: {content['type']}\n".encode() + http.event(content)


@dataclass(slots=True)
class BlockWriter:
    """Makes the events of blocks from the pieces of an answer. shows_thoughts: whether thoughts
    are blocks at all; omits_thoughts: whether those have a signature alone."""

    shows_thoughts: bool
    omits_thoughts: bool = False
    index: int = -1
    _kind: BlockKind | None = None
    _call: int = -1
    _thought: list[str] = field(default_factory=list)

    def write(self, delta: Delta) -> Iterator[dict[str, Any]]:
        """Make the events of more text, of a thought, or of calls."""
        if delta.thought and self.shows_thoughts:
            yield from self._begin("thinking", {"thinking": "", "signature": ""})
            self._thought.append(delta.thought)
            if not self.omits_thoughts:
                yield self._delta({"type": "thinking_delta", "thinking": delta.thought})
        if delta.text:
            yield from self._begin("text", {"text": ""})
            yield self._delta({"type": "text_delta", "text": delta.text})
        for call in delta.calls:
            yield from self._write_call(call)

    def close(self) -> Iterator[dict[str, Any]]:
        """End the last block. An answer has one at least, since clients read the first."""
        if self.index < 0:
            yield from self._begin("text", {"text": ""})
        yield from self._end()

    def _write_call(self, call: ToolCallDelta) -> Iterator[dict[str, Any]]:
        if call.index != self._call or self._kind != "tool_use":
            yield from self._end()
            self._call = call.index
            yield from self._begin("tool_use", {"id": call.id, "name": call.name, "input": {}})
        if call.arguments:
            yield self._delta({"type": "input_json_delta", "partial_json": call.arguments})

    def _begin(self, kind: BlockKind, empty: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._kind == kind:
            return
        yield from self._end()
        self._kind = kind
        self.index += 1
        block = {"type": kind, **empty}
        yield {"type": "content_block_start", "index": self.index, "content_block": block}

    def _end(self) -> Iterator[dict[str, Any]]:
        if self._kind is None:
            return
        if self._kind == "thinking":
            signature = sign("".join(self._thought))
            yield self._delta({"type": "signature_delta", "signature": signature})
            self._thought.clear()
        self._kind = None
        yield {"type": "content_block_stop", "index": self.index}

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self.index, "delta": delta}


def gather_blocks(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the blocks together of which these events tell."""
    blocks: list[dict[str, Any]] = []
    arguments = ""
    for one in events:
        match one:
            case {"content_block": block}:
                blocks.append(dict(block))
                arguments = ""
            case {"delta": {"partial_json": more}}:
                arguments += more
            case {"delta": delta}:
                for name in delta.keys() - {"type"}:
                    blocks[-1][name] += delta[name]
            case {"type": "content_block_stop"} if blocks[-1]["type"] == "tool_use":
                blocks[-1]["input"] = _object(arguments)
    return blocks


def _object(arguments: str) -> Any:
    """Read the arguments of a call; an answer that was cut may have the beginning of them only."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return {}


@dataclass(slots=True)
class MessageReply:
    """One answer of `model`. max_tokens: its limit; stops: the stop strings of the request; path:
    that of the request."""

    completions: Completions
    model: str
    path: str
    writer: BlockWriter
    max_tokens: int
    stops: tuple[str, ...]
    _id: str = field(default_factory=lambda: f"msg_{secrets.token_hex(12)}")
    _read: tuple[int, int] = (0, 0)
    """Tokens of the prompt, and how many of them were in memory."""

    async def whole(self) -> dict[str, Any]:
        """Raises ApiError."""
        deltas: list[Delta] = []
        while True:
            match await self._next():
                case Delta() as delta:
                    deltas.append(delta)
                case Finished() as finished:
                    events = [*self.writer.write(Delta.joined(deltas)), *self.writer.close()]
                    return self._message(gather_blocks(events), finished)
                case Failed() | Interrupted() as failed:
                    raise error_of(failed)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Stream the events; `ping` keeps the connection alive while nothing comes."""
        try:
            has_begun = False
            due = time.monotonic() + http.KEEP_ALIVE_SECONDS
            while True:
                heard = await self._next(due - time.monotonic())
                if heard is None and time.monotonic() < due:
                    continue
                due = time.monotonic() + http.KEEP_ALIVE_SECONDS
                if not has_begun and not isinstance(heard, Failed | Interrupted):
                    has_begun = True
                    yield event({"type": "message_start", "message": self._message([], None)})
                    yield event({"type": "ping"})
                match heard:
                    case Delta() as delta:
                        for one in self.writer.write(delta):
                            yield event(one)
                    case Finished() as finished:
                        for one in (*self.writer.close(), *self._last(finished)):
                            yield event(one)
                        return
                    case Failed() | Interrupted() as failed:
                        yield event(errors.body(error_of(failed), self.path))
                        return
                    case _:
                        yield event({"type": "ping"})
        finally:
            self.completions.cancel()

    async def _next(self, seconds: float | None = None) -> object:
        """The next of what this protocol tells; progress is noted and passed over."""
        heard = await self.completions.next(seconds)
        told = heard[1] if heard else None
        if isinstance(told, Prefill):
            self._read = told.total, told.cached
        return told if isinstance(told, Delta | Finished | Failed | Interrupted) else None

    def _last(self, finished: Finished) -> Iterator[dict[str, Any]]:
        reason, stop = self._stopped(finished)
        delta = {"stop_reason": reason, "stop_sequence": stop}
        yield {"type": "message_delta", "delta": delta, "usage": self._usage(finished)}
        yield {"type": "message_stop"}

    def _message(self, blocks: list[dict[str, Any]], finished: Finished | None) -> dict[str, Any]:
        reason, stop = (None, None) if finished is None else self._stopped(finished)
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": blocks,
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": self._usage(finished),
        }

    def _stopped(self, finished: Finished) -> tuple[StopReason, str | None]:
        """Tell why the answer ended, and at which of the request's stop strings."""
        if finished.reason == "tool_calls":
            return "tool_use", None
        if finished.reason == "length":
            is_full = finished.completion_tokens < self.max_tokens
            return ("model_context_window_exceeded" if is_full else "max_tokens"), None
        if finished.stop in self.stops:
            return "stop_sequence", finished.stop
        return "end_turn", None

    def _usage(self, finished: Finished | None) -> dict[str, Any]:
        total, cached = self._read
        if finished is not None:
            total, cached = finished.prompt_tokens, finished.cached_tokens
        written = 0 if finished is None else finished.completion_tokens
        thought = OutputDetails(0 if finished is None else finished.thought_tokens)
        usage = MessageUsage(max(0, total - cached), written, cached, 0, thought)
        made: dict[str, Any] = msgspec.to_builtins(usage)
        return made
