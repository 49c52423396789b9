"""Thoughts over a connection that breaks, and how long they took."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx

from app.conversations.answer_state import AnswerRef
from app.terminal.http_backend import HttpBackend, parse_message
from app.terminal.records import AnswerEnded, ThoughtDelta, thought_note

MESSAGE = {"id": 2, "role": "assistant", "text": "Blue.", "status": "done"}


class Broken(httpx.AsyncByteStream):
    """Bytes of a stream whose connection breaks after them."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content
        raise httpx.ReadError("broken")


def event(name: str, **content: object) -> bytes:
    return f"event: {name}\nid: 12345678-0\ndata: {json.dumps(content)}\n\n".encode()


async def test_a_new_connection_repeats_no_thought() -> None:
    streams = [
        event("thought", text="Blu"),
        event("thought", text="Blue, I")
        + event("thought", text=" think.")
        + event("end", **MESSAGE),
    ]

    def answer(_: httpx.Request) -> httpx.Response:
        headers = {"Content-Type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=Broken(streams.pop(0)))

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(base_url="http://wick", transport=transport) as client:
        events = [e async for e in HttpBackend(client, "").follow(AnswerRef("a", 1, 2))]
    *thoughts, end = events
    assert thoughts == [ThoughtDelta("Blu"), ThoughtDelta("e, I"), ThoughtDelta(" think.")]
    assert isinstance(end, AnswerEnded)


def test_the_note_about_a_thought_has_its_duration() -> None:
    assert thought_note(parse_message(MESSAGE)) == ""
    assert thought_note(parse_message(MESSAGE | {"thought_seconds": 12.4})) == "Thought for 12 s"
    assert thought_note(parse_message(MESSAGE | {"thought_seconds": 0.2})) == "Thought for 1 s"
    assert thought_note(parse_message(MESSAGE | {"thought_seconds": 65})) == "Thought for 1 min 5 s"
