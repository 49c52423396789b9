"""Thoughts over a connection that breaks, and how long they took."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx

from app.api.http import COMMENT
from app.conversations.answer_state import AnswerRef
from app.terminal.http_backend import HttpBackend
from app.terminal.records import AnswerEnded, TextDelta, ThoughtDelta, parse_message, thought_note

MESSAGE = {"id": 2, "role": "assistant", "text": "Blue.", "status": "done"}


class Broken(httpx.AsyncByteStream):
    """Bytes of a stream whose connection breaks after them."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content
        raise httpx.ReadError("broken")


def stream_of(*contents: bytes) -> httpx.AsyncClient:
    """Client of a server whose connections bring one of these each, and break."""
    left = list(contents)

    def answer(_: httpx.Request) -> httpx.Response:
        headers = {"Content-Type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=Broken(left.pop(0)))

    return httpx.AsyncClient(base_url="http://wick", transport=httpx.MockTransport(answer))


def event(name: str, **content: object) -> bytes:
    return f"event: {name}\nid: 12345678-0\ndata: {json.dumps(content)}\n\n".encode()


async def test_a_new_connection_repeats_no_thought() -> None:
    thinking = event("thought", text="Blue, I") + event("thought", text=" think.")
    async with stream_of(
        event("thought", text="Blu"), thinking + event("end", **MESSAGE)
    ) as client:
        events = [e async for e in HttpBackend(client, "").follow(AnswerRef("a", 1, 2))]
    *thoughts, end = events
    assert thoughts == [ThoughtDelta("Blu"), ThoughtDelta("e, I"), ThoughtDelta(" think.")]
    assert isinstance(end, AnswerEnded)


async def test_a_comment_that_keeps_the_connection_alive_is_no_event() -> None:
    async with stream_of(
        event("delta", text="Blue.") + COMMENT + event("end", **MESSAGE)
    ) as client:
        events = [e async for e in HttpBackend(client, "").follow(AnswerRef("a", 1, 2))]
    assert events[0] == TextDelta("Blue.")
    assert [type(one) for one in events[1:]] == [AnswerEnded]


def test_the_note_about_a_thought_has_its_duration() -> None:
    assert thought_note(parse_message(MESSAGE)) == ""
    assert thought_note(parse_message(MESSAGE | {"thought_seconds": 12.4})) == "Thought for 12 s"
    short, long = ({"thought_seconds": seconds} for seconds in (0.2, 65))
    assert thought_note(parse_message(MESSAGE | short)) == "Thought for 1 s"
    assert thought_note(parse_message(MESSAGE | long)) == "Thought for 1 min 5 s"
