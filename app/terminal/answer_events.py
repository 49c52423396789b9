"""An answer that comes as server-sent events, taken up again where the connection broke off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from httpx_sse import ServerSentEvent, SSEError, aconnect_sse

from app.conversations.answer_state import AnswerRef, LiveAnswer
from app.conversations.tool_calls import CallRecord
from app.errors import ChatNotFound, PeerError
from app.terminal.records import (
    AnswerEnded,
    CallsChanged,
    Event,
    StatusUpdate,
    TextDelta,
    ThoughtDelta,
    describe_wait,
    error_of,
    parse_calls,
    parse_message,
)

MAX_ATTEMPTS: Final = 8
RETRY_SECONDS: Final = 0.5
"""Seconds between two tries to reach a server that has gone, say, for a restart."""
IDLE_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
"""The server says a word every ten seconds."""


@dataclass(slots=True)
class _Progress:
    """Reader's position in an answer: text and thought so far, and how much of each was passed on.

    line: the last status, as a sentence; calls: as they stood then.
    """

    text: str = ""
    sent: int = 0
    thought: str = ""
    thought_sent: int = 0
    line: str = ""
    last_id: str = ""
    calls: Sequence[CallRecord] = ()


async def follow(client: httpx.AsyncClient, ref: AnswerRef, start: int) -> AsyncGenerator[Event]:
    """Follow an answer to AnswerEnded.

    Raises PeerError when the server has gone and does not come back.
    """
    url = f"/api/v1/chats/{ref.chat_id}/messages/{ref.answer_id}"
    progress, tries = _Progress(sent=start), 0
    while True:
        headers = {"Last-Event-ID": progress.last_id} if progress.last_id else {}
        try:
            async with aconnect_sse(
                client, "GET", f"{url}/events", headers=headers, timeout=IDLE_TIMEOUT
            ) as source:
                if source.response.status_code not in {200, 204}:
                    await source.response.aread()
                    raise error_of(source.response, str(client.base_url))
                progress.thought = ""  # each connection begins with all of it
                async for event in source.aiter_sse():
                    tries = 0
                    for news in _to_event(event, ref, progress):
                        yield news
                        if isinstance(news, AnswerEnded):
                            return
        except (httpx.TransportError, SSEError):
            pass
        tries += 1
        if tries > MAX_ATTEMPTS:
            raise PeerError(
                f"Lost the connection to Wick at {client.base_url}. What it has written so far is "
                "kept there."
            )
        await asyncio.sleep(RETRY_SECONDS)


def _to_event(event: ServerSentEvent, ref: AnswerRef, progress: _Progress) -> list[Event]:
    """Turn a server-sent event into what it means for the user."""
    if not event.data:  # a comment, which httpx-sse takes for an event
        return []
    progress.last_id = event.id or progress.last_id
    data: dict[str, Any] = json.loads(event.data)
    match event.event:
        case "replace":
            progress.text = data["text"]
        case "delta":
            progress.text += data["text"]
        case "thought":
            progress.thought += data["text"]
            delta = progress.thought[progress.thought_sent :]
            progress.thought_sent = max(progress.thought_sent, len(progress.thought))
            return [ThoughtDelta(delta)] if delta else []
        case "status":
            line = _status_text(data, ref)
            calls = parse_calls(data.get("calls"))
            news: list[Event] = [StatusUpdate(line)] if line != progress.line else []
            news += [CallsChanged(calls)] if calls != progress.calls else []
            progress.line, progress.calls = line, calls
            return news
        case "gone":
            raise ChatNotFound("This answer was canceled or deleted elsewhere.")
        case "end":
            return [AnswerEnded(parse_message(data))]
        case _:
            return []
    delta = progress.text[progress.sent :]
    progress.sent = max(progress.sent, len(progress.text))
    return [TextDelta(delta)] if delta else []


def _status_text(data: dict[str, Any], ref: AnswerRef) -> str:
    stream = LiveAnswer(
        ref.answer_id,
        ref.chat_id,
        0,
        "",
        status=data["status"],
        position=data["place"] or 0,
        eta_seconds=data["seconds"],
        is_pending=data["held"],
        detail=data["detail"],
        prompt_done=data["prompt_done"],
        prompt_total=data["prompt_total"],
        reading=data.get("reading", ""),
        warning=data["trouble"],
        is_thinking=data.get("thinking", False),
        calls=parse_calls(data.get("calls")),
    )
    return describe_wait(stream)
