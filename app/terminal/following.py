"""An answer that comes as server-sent events, taken up again where the connection broke off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

import httpx
from httpx_sse import ServerSentEvent, SSEError, aconnect_sse

from app.chats.streams import Stream
from app.errors import ChatNotFound, PeerError
from app.terminal.backend import Asked, Ended, Event, Text, Waiting
from app.terminal.replies import refusal, said
from app.terminal.words import waiting

TRIES: Final = 8
PAUSE: Final = 0.5
"""Seconds between two tries to reach a server that has gone, say, for a restart."""
SILENCE: Final = httpx.Timeout(30.0, connect=5.0)
"""The server says a word every ten seconds."""


@dataclass(slots=True)
class _Place:
    """`text`: what has come of the answer; told: how much of it the person has."""

    text: str = ""
    told: int = 0
    line: str = ""
    last_id: str = ""


async def follow(client: httpx.AsyncClient, asked: Asked, start: int) -> AsyncGenerator[Event]:
    """Ends with Ended. Raises PeerError when the server has gone and does not come back."""
    url = f"/api/v1/chats/{asked.chat_id}/messages/{asked.answer_id}"
    place, tries = _Place(told=start), 0
    while True:
        headers = {"Last-Event-ID": place.last_id} if place.last_id else {}
        try:
            async with aconnect_sse(
                client, "GET", f"{url}/events", headers=headers, timeout=SILENCE
            ) as source:
                if source.response.status_code not in {200, 204}:
                    await source.response.aread()
                    raise refusal(source.response, str(client.base_url))
                async for event in source.aiter_sse():
                    tries = 0
                    for news in _news(event, asked, place):
                        yield news
                        if isinstance(news, Ended):
                            return
        except (httpx.TransportError, SSEError):
            pass
        tries += 1
        if tries > TRIES:
            raise PeerError(
                f"Wick at {client.base_url} has ended or cannot be reached any more. What it has "
                "written so far is kept there."
            )
        await asyncio.sleep(PAUSE)


def _news(event: ServerSentEvent, asked: Asked, place: _Place) -> list[Event]:
    """What an event means for the person."""
    place.last_id = event.id or place.last_id
    data: dict[str, Any] = json.loads(event.data)
    match event.event:
        case "replace":
            place.text = data["text"]
        case "delta":
            place.text += data["text"]
        case "status":
            line = _worth_saying(data, asked)
            is_new, place.line = line != place.line, line
            return [Waiting(line)] if is_new else []
        case "gone":
            raise ChatNotFound("This answer was taken back or deleted elsewhere.")
        case "end":
            return [Ended(said(data))]
        case _:
            return []
    piece = place.text[place.told :]
    place.told = max(place.told, len(place.text))
    return [Text(piece)] if piece else []


def _worth_saying(data: dict[str, Any], asked: Asked) -> str:
    stream = Stream(
        asked.answer_id,
        asked.chat_id,
        0,
        "",
        status=data["status"],
        place=data["place"] or 0,
        seconds=data["seconds"],
        held=data["held"],
        detail=data["detail"],
        prompt_done=data["prompt_done"],
        prompt_total=data["prompt_total"],
        trouble=data["trouble"],
    )
    return waiting(stream)
