"""What a server answers, as the terminal's own values."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import httpx

from app.errors import ChatNotFound, ModelNotFound, NotLoggedIn, PeerError, WickError
from app.terminal.backend import ChatSummary, MessageRecord, SearchHit


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
