"""Responses as OpenAI's clients read them: whole, or as events of items while they are made."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from app.api import http
from app.api.openai.chat import logprobs_of
from app.api.openai.response_schemas import (
    InputTokensDetails,
    OutputTokensDetails,
    ResponseUsage,
)
from app.api.thought_signatures import sign
from app.errors import ApiError
from app.inference.completions import Completions
from app.inference.protocol import Delta, Failed, Finished
from app.inference.queue import Interrupted
from app.models.text.tools import ToolCallDelta
from app.web import errors

PARAM: Final = "input"
ItemKind = Literal["reasoning", "message", "function_call"]
_PREFIXES: Final[Mapping[ItemKind, str]] = {
    "reasoning": "rs_",
    "message": "msg_",
    "function_call": "fc_",
}
Event = dict[str, Any]
Save = Callable[[dict[str, Any]], Awaitable[None]]


def new_id() -> str:
    return f"resp_{secrets.token_hex(16)}"


def response_of_item(item_id: str) -> str:
    """Return the id of the response that an item belongs to."""
    return "resp_" + item_id.partition("_")[2].partition("_")[0]


@dataclass(slots=True)
class ItemWriter:
    """Makes the events of items from the pieces of an answer.

    response_id: stands in the ids of items; is_summary: whether thoughts come as summaries;
    is_encrypted: whether they come in a form to send back, too; items: those that have ended.
    """

    response_id: str
    is_summary: bool = False
    is_encrypted: bool = False
    items: list[dict[str, Any]] = field(default_factory=list)
    _item: dict[str, Any] | None = None
    _text: str = ""
    _logprobs: list[Any] = field(default_factory=list)
    _call: int = -1

    def write(self, delta: Delta) -> Iterator[Event]:
        """Make the events of more of a thought, of text, or of calls."""
        if delta.thought:
            yield from self._begin("reasoning", {"summary": [], "content": []})
            self._text += delta.thought
            yield self._thought_event("delta", {"delta": delta.thought})
        if delta.text:
            yield from self._begin("message", {"role": "assistant", "content": []})
            self._text += delta.text
            told = logprobs_of(delta.tokens)
            logprobs = [] if told is None else told["content"]
            self._logprobs += logprobs
            more = {"delta": delta.text, "logprobs": logprobs}
            yield self._part_event("response.output_text.delta", more)
        for call in delta.calls:
            yield from self._write_call(call)

    def close(self, *, is_cut: bool = False) -> Iterator[Event]:
        """End the last item. An answer has a message, or a call, at least."""
        if self._item is None and not self.items:
            yield from self._begin("message", {"role": "assistant", "content": []})
        yield from self._end("incomplete" if is_cut else "completed")

    def _write_call(self, call: ToolCallDelta) -> Iterator[Event]:
        if call.index != self._call:
            yield from self._end()
            self._call = call.index
            begun = {"call_id": call.id, "name": call.name, "arguments": ""}
            yield from self._begin("function_call", begun)
        if call.arguments:
            self._text += call.arguments
            more = {"delta": call.arguments}
            yield self._event("response.function_call_arguments.delta", more)

    def _begin(self, kind: ItemKind, fields: dict[str, Any]) -> Iterator[Event]:
        if self._item is not None and self._item["type"] == kind:
            return
        yield from self._end()
        suffix = f"{self.response_id.removeprefix('resp_')}_{len(self.items)}"
        self._item = {
            "id": _PREFIXES[kind] + suffix,
            "type": kind,
            "status": "in_progress",
            **fields,
        }
        added = {"output_index": len(self.items), "item": dict(self._item)}
        yield {"type": "response.output_item.added", **added}
        if kind == "reasoning":
            yield self._thought_part_event("added", "")
        elif kind == "message":
            part = {"part": _text_part("", [])}
            yield self._part_event("response.content_part.added", part)

    def _end(self, status: str = "completed") -> Iterator[Event]:
        item = self._item
        if item is None:
            return
        if item["type"] == "reasoning":
            yield from self._end_thought(item)
        elif item["type"] == "message":
            yield from self._end_text(item)
        else:
            item["arguments"] = self._text
            done = {"name": item["name"], "arguments": self._text}
            yield self._event("response.function_call_arguments.done", done)
        item["status"] = status
        yield {
            "type": "response.output_item.done",
            "output_index": len(self.items),
            "item": item,
        }
        self.items.append(item)
        self._item, self._text, self._logprobs = None, "", []

    def _end_thought(self, item: dict[str, Any]) -> Iterator[Event]:
        yield self._thought_event("done", {"text": self._text})
        yield self._thought_part_event("done", self._text)
        kind = "summary" if self.is_summary else "content"
        item[kind] = [_thought_part(self._text, is_summary=self.is_summary)]
        if self.is_encrypted:
            item["encrypted_content"] = sign(self._text)

    def _end_text(self, item: dict[str, Any]) -> Iterator[Event]:
        done = {"text": self._text, "logprobs": self._logprobs}
        yield self._part_event("response.output_text.done", done)
        part = _text_part(self._text, self._logprobs)
        yield self._part_event("response.content_part.done", {"part": part})
        item["content"] = [part]

    def _thought_event(self, what: str, fields: dict[str, Any]) -> Event:
        if self.is_summary:
            kind = f"response.reasoning_summary_text.{what}"
            return self._event(kind, {"summary_index": 0, **fields})
        return self._part_event(f"response.reasoning_text.{what}", fields)

    def _thought_part_event(self, what: str, text: str) -> Event:
        part = {"part": _thought_part(text, is_summary=self.is_summary)}
        if self.is_summary:
            kind = f"response.reasoning_summary_part.{what}"
            return self._event(kind, {"summary_index": 0, **part})
        return self._part_event(f"response.content_part.{what}", part)

    def _part_event(self, kind: str, fields: dict[str, Any]) -> Event:
        return self._event(kind, {"content_index": 0, **fields})

    def _event(self, kind: str, fields: dict[str, Any]) -> Event:
        item = {} if self._item is None else {"item_id": self._item["id"]}
        return {"type": kind, "output_index": len(self.items), **item, **fields}


def _text_part(text: str, logprobs: list[Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def _thought_part(text: str, *, is_summary: bool) -> dict[str, Any]:
    return {"type": "summary_text" if is_summary else "reasoning_text", "text": text}


@dataclass(slots=True)
class ResponseReply:
    """One response. fields: those of the response that the request says; path: of the request;
    save: keeps the response, where it is to be kept."""

    completions: Completions
    writer: ItemWriter
    fields: dict[str, Any]
    path: str
    save: Save | None = None
    _created: int = field(default_factory=lambda: int(time.time()))
    _number: int = 0

    async def whole(self) -> dict[str, Any]:
        """Raises ApiError."""
        deltas: list[Delta] = []
        while True:
            match await self._next():
                case Delta() as delta:
                    deltas.append(delta)
                case Finished() as finished:
                    events = [*self.writer.write(Delta.joined(deltas))]
                    events += self.writer.close(is_cut=finished.reason == "length")
                    return await self._end(finished)
                case Failed() | Interrupted() as failed:
                    raise errors.of_event(failed, PARAM)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Stream the events; comments keep the connection alive while nothing comes."""
        try:
            for kind in ("response.created", "response.in_progress"):
                yield self._sse({"type": kind, "response": self._response("in_progress")})
            due = time.monotonic() + http.KEEP_ALIVE_SECONDS
            while True:
                heard = await self._next(due - time.monotonic())
                if heard is None and time.monotonic() < due:
                    continue
                due = time.monotonic() + http.KEEP_ALIVE_SECONDS
                match heard:
                    case Delta() as delta:
                        for one in self.writer.write(delta):
                            yield self._sse(one)
                    case Finished() as finished:
                        for one in self.writer.close(is_cut=finished.reason == "length"):
                            yield self._sse(one)
                        made = await self._end(finished)
                        yield self._sse({"type": f"response.{made['status']}", "response": made})
                        return
                    case Failed() | Interrupted() as failed:
                        yield self._sse(self._failure(errors.of_event(failed, PARAM)))
                        return
                    case _:
                        yield http.COMMENT
        finally:
            self.completions.cancel()

    async def _next(self, seconds: float | None = None) -> object:
        heard = await self.completions.next(seconds)
        told = heard[1] if heard else None
        return told if isinstance(told, Delta | Finished | Failed | Interrupted) else None

    def _sse(self, content: Event) -> bytes:
        numbered = content | {"sequence_number": self._number}
        self._number += 1
        return f"event: {content['type']}\n".encode() + http.event(numbered)

    async def _end(self, finished: Finished) -> dict[str, Any]:
        """Make the whole response, and keep it before its program hears of its end."""
        is_cut = finished.reason == "length"
        made = self._response("incomplete" if is_cut else "completed") | {
            "completed_at": None if is_cut else int(time.time()),
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "usage": _usage(finished),
        }
        if self.save is not None:
            await self.save(made)
        return made

    def _failure(self, error: ApiError) -> Event:
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        if error.status in {400, 413, 422}:
            code = "invalid_prompt"
        told = {"code": code, "message": str(error)}
        return {"type": "response.failed", "response": self._response("failed") | {"error": told}}

    def _response(self, status: str) -> dict[str, Any]:
        return {
            "id": self.writer.response_id,
            "object": "response",
            "created_at": self._created,
            "completed_at": None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "output": list(self.writer.items),
            "usage": None,
            **self.fields,
        }


def _usage(finished: Finished) -> dict[str, Any]:
    read, written = finished.prompt_tokens, finished.completion_tokens
    usage = ResponseUsage(
        read,
        InputTokensDetails(finished.cached_tokens),
        written,
        OutputTokensDetails(finished.thought_tokens),
        read + written,
    )
    made: dict[str, Any] = msgspec.to_builtins(usage)
    return made
