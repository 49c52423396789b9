"""Responses of a server: event streams that resume, and JSON as the terminal's own records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, fields
from typing import Any, Final

import httpx
from httpx_sse import ServerSentEvent, SSEError, aconnect_sse

from app.conversations.hub import LiveAnswer
from app.conversations.refs import AnswerRef
from app.errors import ChatNotFound, ModelNotFound, NotLoggedIn, PeerError, WickError
from app.terminal.backend import (
    AnswerEnded,
    ChatSummary,
    Event,
    MessageRecord,
    SearchHit,
    StatusUpdate,
    TextDelta,
    describe_wait,
)

# What a server answers, as the terminal's own values.


def error_of(response: httpx.Response, place: str) -> WickError:
    """What the server said, in its own words."""
    try:
        error = response.json()["error"]
        sentence, code = str(error["message"]), error.get("code")
    except (ValueError, KeyError, TypeError):
        return PeerError(
            f"What answers at {place} did not do it (status {response.status_code}): is it Wick?"
        )
    if response.status_code == 401:
        return NotLoggedIn(f"{sentence} Give an API key with --key or WICK_KEY.")
    if code == "model_not_found":
        return ModelNotFound(sentence)
    if response.status_code == 404:
        return ChatNotFound(sentence)
    return PeerError(sentence)


def parse_message(values: dict[str, Any]) -> MessageRecord:
    return MessageRecord(**{field.name: values[field.name] for field in fields(MessageRecord)})


def parse_chat(chat: dict[str, Any]) -> ChatSummary:
    return ChatSummary(chat["id"], chat["title"], chat["model"], chat["updated_at"])


def parse_hit(hit: dict[str, Any]) -> SearchHit:
    marks = [(first, end) for first, end in hit["marks"]]
    return SearchHit(hit["chat_id"], hit["title"], hit["snippet"], marks)


# An answer that comes as server-sent events, taken up again where the connection broke off.


MAX_ATTEMPTS: Final = 8
RETRY_SECONDS: Final = 0.5
"""Seconds between two tries to reach a server that has gone, say, for a restart."""
IDLE_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
"""The server says a word every ten seconds."""


@dataclass(slots=True)
class _Progress:
    """`text`: what has come of the answer; sent: how many characters of it the person
    has; line: the last status, as a sentence."""

    text: str = ""
    sent: int = 0
    line: str = ""
    last_id: str = ""


async def follow(client: httpx.AsyncClient, asked: AnswerRef, start: int) -> AsyncGenerator[Event]:
    """Ends with AnswerEnded. Raises PeerError when the server has gone and does not come back."""
    url = f"/api/v1/chats/{asked.chat_id}/messages/{asked.answer_id}"
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
                async for event in source.aiter_sse():
                    tries = 0
                    for news in _to_event(event, asked, progress):
                        yield news
                        if isinstance(news, AnswerEnded):
                            return
        except (httpx.TransportError, SSEError):
            pass
        tries += 1
        if tries > MAX_ATTEMPTS:
            raise PeerError(
                f"Wick at {client.base_url} has ended or cannot be reached any more. What it has "
                "written so far is kept there."
            )
        await asyncio.sleep(RETRY_SECONDS)


def _to_event(event: ServerSentEvent, asked: AnswerRef, progress: _Progress) -> list[Event]:
    """What an event means for the person."""
    progress.last_id = event.id or progress.last_id
    data: dict[str, Any] = json.loads(event.data)
    match event.event:
        case "replace":
            progress.text = data["text"]
        case "delta":
            progress.text += data["text"]
        case "status":
            line = _status_text(data, asked)
            is_new, progress.line = line != progress.line, line
            return [StatusUpdate(line)] if is_new else []
        case "gone":
            raise ChatNotFound("This answer was taken back or deleted elsewhere.")
        case "end":
            return [AnswerEnded(parse_message(data))]
        case _:
            return []
    piece = progress.text[progress.sent :]
    progress.sent = max(progress.sent, len(progress.text))
    return [TextDelta(piece)] if piece else []


def _status_text(data: dict[str, Any], asked: AnswerRef) -> str:
    stream = LiveAnswer(
        asked.answer_id,
        asked.chat_id,
        0,
        "",
        status=data["status"],
        position=data["place"] or 0,
        eta_seconds=data["seconds"],
        is_pending=data["held"],
        detail=data["detail"],
        prompt_done=data["prompt_done"],
        prompt_total=data["prompt_total"],
        warning=data["trouble"],
        is_thinking=data.get("thinking", False),
    )
    return describe_wait(stream)
